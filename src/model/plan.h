/* Memory plan: lifetimes of all activations and one arena offset for each, so that values that are never
 * alive together share memory. */
#ifndef MODEL_PLAN_H
#define MODEL_PLAN_H

#include "model/graph.h"

typedef struct Plan {
    int node_count; /* nodes [0, node_count) of the graph are run */
    int value_count;
    int64_t
        *offset; /* (value_count) byte offset in the arena; -1: none of its own (parameters, views, unused) */
    int64_t *bytes;    /* (value_count) */
    int *first, *last; /* (value_count) nodes between which the value is alive, inclusive */
    int64_t arena_bytes;
    int64_t unshared_bytes; /* what the values would take without sharing */
} Plan;

/* Plans the first `node_count` nodes: graph->forward_nodes for inference, graph->node_count with gradients.
 * Inputs are alive from the start (the output's gradient: from the end of the forward nodes), the output to
 * the end of the forward nodes at least; with an input gradient also, to the end, that gradient and what the
 * backward nodes read of the forward ones, so that these can be run again. With a side stream, on which the
 * timesteps' branch and the leaves of the graph are run, what the branch reads and computes is alive until it
 * is joined, what a leaf reads until the next one, or to the end. Owned by the caller; plan_release accepts a
 * zeroed plan. */
Status plan_create(Plan *plan, const Graph *graph, int node_count, bool side_stream);
void plan_release(Plan *plan);

/* Fails if two values that are alive together overlap in the arena. */
Status plan_check(const Plan *plan);

#endif
