/* What a graph says about itself: schematic, parameter table, memory plan, cost. All of it is read off the
 * graph's nodes, values and parameters; nothing about the network is repeated here. Not collective. */
#ifndef MODEL_DESCRIBE_H
#define MODEL_DESCRIBE_H

#include <stdio.h>

#include "model/graph.h"

/* The forward nodes as Graphviz text for `dot -Tsvg`: one box per module, one row per resolution, the path of
 * the timestep and the skip connections in colours of their own. *text is the caller's (free()).
 * STATUS_FAILURE: no memory. */
Status describe_dot(const Graph *graph, char **text);

/* One line per parameter (name, shape, elements, bytes in float32), and their sum. */
void describe_parameters(const Graph *graph, FILE *stream);

/* The arena of one worker for training and for inference at the graph's batch: bytes with and without
 * sharing, the least any plan could do (the largest sum of values alive at one node), the largest values and
 * when they live. */
Status describe_memory(const Graph *graph, bool side_stream, FILE *stream);

/* Floating-point operations as op_flops counts them. */
typedef struct GraphCost {
    int64_t forward, backward;
} GraphCost;

/* One run of the whole graph, that is of as many images as its batch. */
GraphCost graph_cost(const Graph *graph);

/* One line per layer and per op with the cost of one image, and the sums for one image and for a step of
 * `images` images. */
void describe_cost(const Graph *graph, int64_t images, FILE *stream);

enum { DESCRIBE_NUMBER_BYTES = 32, DESCRIBE_SHAPE_BYTES = 96 };

/* 4953153 as "4,953,153", and bytes as "18.9 MiB"; return text. */
char *describe_number(int64_t number, char text[DESCRIBE_NUMBER_BYTES]);
char *describe_bytes(int64_t bytes, char text[DESCRIBE_NUMBER_BYTES]);

/* Dimensions as "64x3x3", returns text. */
char *describe_shape(int rank, const int64_t *dims, char text[DESCRIBE_SHAPE_BYTES]);

#endif
