#include "model/autodiff.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct Autodiff {
    Graph *graph;
    AutodiffTarget target;
    int values;    /* forward values */
    bool *needed;  /* (forward values) depends on what is differentiated with respect to; of a parameter: its
                    * gradient is still to be computed */
    int *gradient; /* (forward values) value that holds the gradient so far, or GRAPH_NONE */
} Autodiff;

/* The first node that reads the value; NULL if there is none. */
static const Node *first_reader(const Graph *g, int value) {
    for (int n = 0; n < g->forward_nodes; n++)
        for (int i = 0; i < OP_MAX_INPUTS; i++)
            if (g->nodes[n].inputs[i] == value)
                return &g->nodes[n];
    return NULL;
}

static int reader_count(const Graph *g, int value) {
    int count = 0;
    for (int n = 0; n < g->forward_nodes; n++)
        for (int i = 0; i < OP_MAX_INPUTS; i++) {
            const int input = g->nodes[n].inputs[i];
            count += input != GRAPH_NONE && graph_root(g, input) == graph_root(g, value);
        }
    return count;
}

/* The bias of the convolution whose result a group_norm with a shift alone reads: its gradient is the sum of
 * the shift's, which group_norm_backward computes. GRAPH_NONE for other nodes. */
static int bias_before(const Graph *g, const Node *node) {
    if (node->op.kind != OP_GROUP_NORM || node_input(node, "shift") == GRAPH_NONE)
        return GRAPH_NONE;
    const int x = node_input(node, "x");
    const Node *source = graph_source(g, x);
    if (!source || source->op.kind != OP_CONV2D || reader_count(g, x) > 1)
        return GRAPH_NONE;
    return node_input(source, "bias");
}

/* Of a view: channels of its parent's gradient, which the gradients of all views make up. */
static int new_gradient(Autodiff *a, int value) {
    Graph *g = a->graph;
    const Value v = g->values[value];
    char name[GRAPH_NAME_LENGTH];
    snprintf(name, sizeof name, "d_%.90s", v.name);
    if (v.kind == VALUE_VIEW) {
        if (a->gradient[v.parent] == GRAPH_NONE)
            a->gradient[v.parent] = new_gradient(a, v.parent);
        return graph_view(g, a->gradient[v.parent], v.first_channel, v.shape.d[3], name);
    }
    return graph_value(g, VALUE_ACTIVATION, g->values[value].type, g->values[value].shape, GRAPH_NONE, name);
}

/* The value for a parameter's gradient, for the one node that is to compute it; GRAPH_NONE if none is. */
static int parameter_gradient(Autodiff *a, int value) {
    Graph *g = a->graph;
    char name[GRAPH_NAME_LENGTH];
    if (value == GRAPH_NONE || !a->needed[value])
        return GRAPH_NONE;
    a->needed[value] = false;
    int index = g->values[value].parameter;
    snprintf(name, sizeof name, "d_%.90s", g->values[value].name);
    return graph_value(g, VALUE_PARAMETER_GRADIENT, DATA_F32, g->values[value].shape, index, name);
}

/* Adds a contribution to the gradient of a forward value. */
static void contribute(Autodiff *a, const char *name, int value, int contribution) {
    int so_far = a->gradient[value];
    if (so_far == GRAPH_NONE) {
        a->gradient[value] = contribution;
        return;
    }
    int sum = new_gradient(a, value);
    graph_append(a->graph, OP_ADD, (OpAttributes){0}, name, (int[]){so_far, contribution}, (int[]){sum});
    a->gradient[value] = sum;
}

/* Whether the gradient of a value so far is in memory of its own, where more may be added to it: that of
 * another value may be the same. */
static bool may_grow(const Autodiff *a, int value) {
    int holders = 0;
    for (int v = 0; v < a->values; v++)
        holders += a->gradient[v] != GRAPH_NONE && a->gradient[v] == a->gradient[value];
    return holders == 1 && a->graph->values[a->gradient[value]].kind == VALUE_ACTIVATION;
}

/* y = f(x, weight, bias) of a linear layer or convolution, maybe with an addend, whose gradient is dy itself:
 * parameters first, so that their reduction can start. */
static void layer_rule(Autodiff *a, const Node *node, int dy, OpKind data, OpKind parameters) {
    int x = node_input(node, "x"), weight = node_input(node, "weight"), bias = node_input(node, "bias");
    int addend = node_input(node, "addend");
    int d_weight = parameter_gradient(a, weight), d_bias = parameter_gradient(a, bias);
    if (addend != GRAPH_NONE && a->needed[addend])
        contribute(a, node->name, addend, dy);
    if (d_weight != GRAPH_NONE)
        graph_append(a->graph, parameters, node->op.attributes, node->name, (int[]){x, dy},
                     (int[]){d_weight, d_bias});
    if (a->needed[x] && data == OP_CONV2D_BACKWARD_DATA && may_grow(a, x)) {
        int dx = a->gradient[x];
        graph_append(a->graph, data, node->op.attributes, node->name, (int[]){dy, weight, dx}, (int[]){dx});
    } else if (a->needed[x]) {
        int dx = new_gradient(a, x);
        graph_append(a->graph, data, node->op.attributes, node->name, (int[]){dy, weight, GRAPH_NONE},
                     (int[]){dx});
        contribute(a, node->name, x, dx);
    }
}

/* What group_norm_backward computes of the gradient with respect to x: all of it, or, where x is a
 * concatenation and no other contribution is to come, the gradients of its two operands. */
typedef struct NormGradient {
    int operands[2], gradients[2]; /* the second: GRAPH_NONE if it is x */
} NormGradient;

static NormGradient norm_gradient(Autodiff *a, const Node *node, int x) {
    const Node *source = graph_source(a->graph, x), *reader = first_reader(a->graph, x);
    NormGradient result = {{x, GRAPH_NONE}, {GRAPH_NONE, GRAPH_NONE}};
    if (source && source->op.kind == OP_CONCAT && reader->outputs[0] == node->outputs[0])
        for (int i = 0; i < 2; i++)
            result.operands[i] = source->inputs[i];
    for (int i = 0; i < 2 && result.operands[i] != GRAPH_NONE; i++)
        result.gradients[i] = new_gradient(a, result.operands[i]);
    return result;
}

static void group_norm_rule(Autodiff *a, const Node *node, int dy) {
    int x = node_input(node, "x"), shift = node_input(node, "shift");
    int gamma = node_input(node, "gamma"), beta = node_input(node, "beta");
    int addend = a->gradient[x]; /* the other path's contribution is added in the same pass */
    int d_gamma = parameter_gradient(a, gamma), d_beta = parameter_gradient(a, beta);
    int d_bias = parameter_gradient(a, bias_before(a->graph, node));
    NormGradient d = norm_gradient(a, node, x);
    bool shift_needed = shift != GRAPH_NONE && (a->needed[shift] || d_bias != GRAPH_NONE);
    int d_shift = shift_needed ? new_gradient(a, shift) : GRAPH_NONE;
    graph_append(
        a->graph, OP_GROUP_NORM_BACKWARD, node->op.attributes, node->name,
        (int[]){x, shift, gamma, beta, node_output(node, "mean"), node_output(node, "rstd"), dy, addend},
        (int[]){d.gradients[0], d_gamma, d_beta, d_shift, d.gradients[1], d_bias});
    a->gradient[x] = GRAPH_NONE; /* taken up as addend */
    for (int i = 0; i < 2 && d.operands[i] != GRAPH_NONE; i++)
        contribute(a, node->name, d.operands[i], d.gradients[i]);
    if (d.operands[0] != x)
        a->needed[x] = false; /* the concatenation's operands have their gradients already */
    if (d_shift != GRAPH_NONE)
        contribute(a, node->name, shift, d_shift);
}

/* Whether the value, or a view of it, has no gradient. */
static bool lacks_gradient(const Autodiff *a, int value) {
    bool lacks = a->gradient[value] == GRAPH_NONE;
    for (int v = 0; v < a->values; v++)
        lacks = lacks || (a->graph->values[v].parent == value && a->gradient[v] == GRAPH_NONE);
    return lacks;
}

static Status apply_rule(Autodiff *a, const Node *node) {
    int out = node->outputs[0], dy = a->gradient[out];
    if (!a->needed[out])
        return STATUS_OK;
    if (lacks_gradient(a, out))
        return status_error(STATUS_FAILURE, "autodiff: %s (%s) does not contribute to the output", node->name,
                            op_name(node->op.kind));
    switch (node->op.kind) {
    case OP_LINEAR:
        layer_rule(a, node, dy, OP_LINEAR_BACKWARD_DATA, OP_LINEAR_BACKWARD_PARAMETERS);
        return STATUS_OK;
    case OP_CONV2D:
        layer_rule(a, node, dy, OP_CONV2D_BACKWARD_DATA, OP_CONV2D_BACKWARD_PARAMETERS);
        return STATUS_OK;
    case OP_CONV_TRANSPOSE2D:
        layer_rule(a, node, dy, OP_CONV_TRANSPOSE2D_BACKWARD_DATA, OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS);
        return STATUS_OK;
    case OP_GROUP_NORM:
        group_norm_rule(a, node, dy);
        return STATUS_OK;
    case OP_SILU: {
        int x = node_input(node, "x"), dx = new_gradient(a, x);
        graph_append(a->graph, OP_SILU_BACKWARD, node->op.attributes, node->name, (int[]){x, dy},
                     (int[]){dx});
        contribute(a, node->name, x, dx);
        return STATUS_OK;
    }
    case OP_CONCAT: /* see norm_gradient */
        return status_error(STATUS_FAILURE,
                            "autodiff: %s (concat): expected a group_norm to be the first to read it",
                            node->name);
    default:
        return status_error(STATUS_FAILURE, "autodiff: op %s of %s has no gradient rule",
                            op_name(node->op.kind), node->name);
    }
}

/* A value depends on the target if any operand of its node does. */
static void mark_needed(Autodiff *a) {
    const Graph *g = a->graph;
    for (int v = 0; v < g->value_count; v++)
        a->needed[v] =
            a->target == AUTODIFF_PARAMETERS ? g->values[v].kind == VALUE_PARAMETER : v == g->input;
    for (int n = 0; n < g->forward_nodes; n++) {
        bool needed = false;
        for (int i = 0; i < OP_MAX_INPUTS; i++) {
            int value = g->nodes[n].inputs[i];
            needed = needed || (value != GRAPH_NONE && a->needed[graph_root(g, value)]);
        }
        for (int i = 0; i < OP_MAX_OUTPUTS; i++)
            if (g->nodes[n].outputs[i] != GRAPH_NONE)
                a->needed[g->nodes[n].outputs[i]] = needed;
    }
    for (int v = 0; v < a->values; v++)
        a->needed[v] = a->needed[graph_root(g, v)];
}

/* Places in the flat order for a value's parameters that have none yet. */
static void number_value(Graph *graph, int value, int64_t *next) {
    if (value == GRAPH_NONE || graph->values[value].kind != VALUE_PARAMETER)
        return;
    for (int p = graph->values[value].parameter; p != GRAPH_NONE; p = graph->parameters[p].next) {
        Parameter *parameter = &graph->parameters[p];
        if (parameter->offset >= 0)
            continue;
        parameter->offset = *next;
        *next += parameter->count;
    }
}

/* From the last node to the first, as backward goes. */
static Status number_parameters(Graph *graph) {
    int64_t next = 0;
    for (int p = 0; p < graph->parameter_count; p++)
        graph->parameters[p].offset = -1;
    for (int n = graph->forward_nodes - 1; n >= 0; n--) {
        for (int i = 0; i < OP_MAX_INPUTS; i++)
            number_value(graph, graph->nodes[n].inputs[i], &next);
        number_value(graph, bias_before(graph, &graph->nodes[n]), &next);
    }
    if (next != graph->parameter_elements)
        return status_error(STATUS_FAILURE, "autodiff: nodes read %lld of %lld parameter elements",
                            (long long)next, (long long)graph->parameter_elements);
    return STATUS_OK;
}

Status autodiff_append(Graph *graph, AutodiffTarget target) {
    Status status = STATUS_OK;
    Autodiff a = {.graph = graph, .target = target, .values = graph->value_count};
    TRY(ALLOCATE(&a.needed, graph->value_count));
    TRY(ALLOCATE(&a.gradient, graph->value_count));
    for (int v = 0; v < graph->value_count; v++)
        a.gradient[v] = GRAPH_NONE;
    mark_needed(&a);
    TRY(number_parameters(graph));
    graph->output_gradient = graph_value(graph, VALUE_INPUT, DATA_F32, graph->values[graph->output].shape,
                                         GRAPH_NONE, "d_eps_hat");
    a.gradient[graph->output] = graph->output_gradient;
    for (int n = graph->forward_nodes - 1; n >= 0; n--) {
        Node node = graph->nodes[n]; /* a copy: appending may move the array */
        TRY(apply_rule(&a, &node));
        TRY(graph_check(graph));
    }
    if (target == AUTODIFF_INPUT) {
        graph->input_gradient = a.gradient[graph->input];
        if (graph->input_gradient == GRAPH_NONE)
            FAIL(STATUS_FAILURE, "autodiff: the output does not depend on the input");
    }
done:
    free(a.needed);
    free(a.gradient);
    return status;
}
