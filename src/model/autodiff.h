/* Reverse-mode differentiation of a graph by appending gradient nodes. */
#ifndef MODEL_AUTODIFF_H
#define MODEL_AUTODIFF_H

#include "model/graph.h"

/* What to differentiate with respect to. */
typedef enum AutodiffTarget {
    AUTODIFF_PARAMETERS, /* every parameter: training */
    AUTODIFF_INPUT /* graph->input alone: graph->input_gradient = (d output / d input)^T output_gradient */
} AutodiffTarget;

/* Appends nodes that compute, from the gradient of the output (a new input, graph->output_gradient), the
 * gradients of the target; no node computes anything else. Parameter offsets are renumbered, for either
 * target, in the order in which backward produces their gradients, so that gradients that become ready
 * together lie together. An op without a gradient rule is refused here. */
Status autodiff_append(Graph *graph, AutodiffTarget target);

#endif
