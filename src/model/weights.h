/* Between a network's flat parameter array and the named tensors of a checkpoint. */
#ifndef MODEL_WEIGHTS_H
#define MODEL_WEIGHTS_H

#include "io/checkpoint.h"
#include "model/graph.h"

/* Describes the network's parameters for checkpoint_write; (graph->parameter_count) entries, owned by the
 * caller. */
Status weights_describe(const Graph *graph, TensorInfo **tensors);

/* Fails with STATUS_BAD_INPUT, naming file and tensor, unless the checkpoint has exactly the network's
 * tensors. */
Status weights_check(const Graph *graph, const Checkpoint *checkpoint, const char *where);

/* Copies one of a checked checkpoint's arrays, `from`, into the network's order: to
 * (graph->parameter_elements). */
void weights_copy(const Graph *graph, const Checkpoint *checkpoint, const float *from, float *to);

#endif
