/* Reverse-mode differentiation of a graph by appending gradient nodes. */
#ifndef MODEL_AUTODIFF_H
#define MODEL_AUTODIFF_H

#include "model/graph.h"

/* Appends nodes that compute, from the gradient of the output (a new input, graph->output_gradient), the
 * gradient of every parameter, in the order in which backward produces them; parameter offsets are renumbered
 * in that order, so that gradients that become ready together lie together. An op without a gradient rule is
 * refused here. */
Status autodiff_append(Graph *graph);

#endif
