#include "model/graph.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Status graph_create(Graph **graph) {
    Status status = ALLOCATE(graph, 1);
    if (status == STATUS_OK) {
        (*graph)->input = (*graph)->timesteps = (*graph)->output = GRAPH_NONE;
        (*graph)->output_gradient = (*graph)->input_gradient = GRAPH_NONE;
    }
    return status;
}

void graph_destroy(Graph *graph) {
    if (!graph)
        return;
    free(graph->values);
    free(graph->nodes);
    free(graph->parameters);
    free(graph);
}

Status graph_check(const Graph *graph) {
    return graph->status == STATUS_OK ? STATUS_OK : status_error(graph->status, "%s", graph->message);
}

__attribute__((format(printf, 3, 4))) static int graph_fail(Graph *graph, Status code, const char *format,
                                                            ...) {
    va_list arguments;
    if (graph->status == STATUS_OK) {
        va_start(arguments, format);
        vsnprintf(graph->message, sizeof graph->message, format, arguments);
        va_end(arguments);
        graph->status = code;
    }
    return GRAPH_NONE;
}

/* Makes room for one more element of an array of the graph; returns it zeroed, or NULL with the graph's error
 * set. */
static void *grow(Graph *graph, void **array, int *count, int *capacity, size_t element_bytes) {
    if (graph->status != STATUS_OK)
        return NULL;
    if (*count == *capacity) {
        int larger = *capacity ? 2 * *capacity : 64;
        void *moved = realloc(*array, (size_t)larger * element_bytes);
        if (!moved) {
            graph_fail(graph, STATUS_FAILURE, "out of memory while building the network's graph");
            return NULL;
        }
        *array = moved;
        *capacity = larger;
    }
    void *element = (char *)*array + (size_t)*count * element_bytes;
    memset(element, 0, element_bytes);
    (*count)++;
    return element;
}

int graph_value(Graph *graph, ValueKind kind, DataType type, Shape shape, int parameter, const char *name) {
    Value *value =
        grow(graph, (void **)&graph->values, &graph->value_count, &graph->value_capacity, sizeof *value);
    if (!value)
        return GRAPH_NONE;
    value->kind = kind;
    value->type = type;
    value->shape = shape;
    value->parameter = parameter;
    value->parent = GRAPH_NONE;
    snprintf(value->name, sizeof value->name, "%s", name);
    return graph->value_count - 1;
}

int graph_view(Graph *graph, int parent, int64_t first_channel, int64_t channels, const char *name) {
    if (graph->status != STATUS_OK)
        return GRAPH_NONE;
    Shape shape = graph->values[parent].shape;
    shape.d[3] = channels;
    int view = graph_value(graph, VALUE_VIEW, graph->values[parent].type, shape, GRAPH_NONE, name);
    if (view != GRAPH_NONE) {
        graph->values[view].parent = parent;
        graph->values[view].first_channel = first_channel;
    }
    return view;
}

int graph_root(const Graph *graph, int value) {
    return graph->values[value].kind == VALUE_VIEW ? graph->values[value].parent : value;
}

/* A view's pixels are as far apart as its parent's. */
static int64_t value_pitch(const Graph *graph, const Value *value) {
    return value->kind == VALUE_VIEW ? graph->values[value->parent].shape.d[3] : 0;
}

/* The operands as the node's values say. */
static void describe_operands(const Graph *graph, Node *node) {
    OpDescription *op = &node->op;
    for (int i = 0; i < OP_MAX_INPUTS; i++)
        if (node->inputs[i] != GRAPH_NONE) {
            const Value *value = &graph->values[node->inputs[i]];
            op->inputs[i] = value->shape;
            op->input_types[i] = value->type;
            op->input_pitches[i] = value_pitch(graph, value);
        }
    for (int i = 0; i < OP_MAX_OUTPUTS; i++)
        if (node->outputs[i] != GRAPH_NONE) {
            const Value *value = &graph->values[node->outputs[i]];
            op->outputs[i] = value->shape;
            op->output_types[i] = value->type;
            op->output_pitches[i] = value_pitch(graph, value);
        }
}

/* After values have changed. */
static void describe_nodes(Graph *graph) {
    for (int n = 0; n < graph->node_count; n++)
        describe_operands(graph, &graph->nodes[n]);
}

void graph_append(Graph *graph, OpKind kind, OpAttributes attributes, const char *name, const int *inputs,
                  const int *outputs) {
    Node *node = grow(graph, (void **)&graph->nodes, &graph->node_count, &graph->node_capacity, sizeof *node);
    if (!node)
        return;
    node->op.kind = kind;
    node->op.attributes = attributes;
    snprintf(node->name, sizeof node->name, "%s", name);
    for (int i = 0; i < OP_MAX_INPUTS; i++)
        node->inputs[i] = i < op_input_count(kind) ? inputs[i] : GRAPH_NONE;
    for (int i = 0; i < OP_MAX_OUTPUTS; i++)
        node->outputs[i] = i < op_output_count(kind) ? outputs[i] : GRAPH_NONE;
    describe_operands(graph, node);
}

void graph_start_at_zero(Graph *graph, const char *layer) {
    size_t length = strlen(layer);
    for (int p = 0; p < graph->parameter_count; p++)
        if (strncmp(graph->parameters[p].name, layer, length) == 0 &&
            graph->parameters[p].name[length] == '.')
            graph->parameters[p].initial_bound = graph->parameters[p].initial_value = 0;
}

void graph_store_as(Graph *graph, int value, DataType type) {
    if (graph->status != STATUS_OK)
        return;
    graph->values[value].type = type;
    describe_nodes(graph);
}

bool graph_node_is_leaf(const Graph *graph, int node) {
    for (int i = 0; i < OP_MAX_OUTPUTS; i++) {
        int value = graph->nodes[node].outputs[i];
        if (value != GRAPH_NONE && graph->values[value].kind != VALUE_PARAMETER_GRADIENT)
            return false;
    }
    return true;
}

/* Whether one of the nodes [0, end) computes the value. */
static bool is_computed_before(const Graph *graph, int value, int end) {
    for (int n = 0; n < end; n++)
        for (int i = 0; i < OP_MAX_OUTPUTS; i++) {
            int output = graph->nodes[n].outputs[i];
            if (output != GRAPH_NONE && graph_root(graph, output) == graph_root(graph, value))
                return true;
        }
    return false;
}

static bool follows_from_timesteps(const Graph *graph, int node) {
    for (int i = 0; i < OP_MAX_INPUTS; i++) {
        int value = graph->nodes[node].inputs[i];
        if (value != GRAPH_NONE && value != graph->timesteps &&
            graph->values[value].kind != VALUE_PARAMETER && !is_computed_before(graph, value, node))
            return false;
    }
    return true;
}

static bool reads_before(const Graph *graph, int node, int end) {
    for (int i = 0; i < OP_MAX_INPUTS; i++) {
        int value = graph->nodes[node].inputs[i];
        if (value != GRAPH_NONE && is_computed_before(graph, value, end))
            return true;
    }
    return false;
}

TimestepBranch graph_timestep_branch(const Graph *graph) {
    TimestepBranch branch = {0};
    while (branch.end < graph->forward_nodes && follows_from_timesteps(graph, branch.end))
        branch.end++;
    branch.join = branch.end;
    while (branch.join < graph->forward_nodes && !reads_before(graph, branch.join, branch.end))
        branch.join++;
    return branch;
}

const Node *graph_source(const Graph *graph, int value) {
    for (int n = 0; n < graph->forward_nodes; n++)
        for (int i = 0; i < OP_MAX_OUTPUTS; i++)
            if (graph->nodes[n].outputs[i] == value)
                return &graph->nodes[n];
    return NULL;
}

int node_input(const Node *node, const char *operand) {
    int index = op_input(node->op.kind, operand);
    return index < 0 ? GRAPH_NONE : node->inputs[index];
}

int node_output(const Node *node, const char *operand) {
    int index = op_output(node->op.kind, operand);
    return index < 0 ? GRAPH_NONE : node->outputs[index];
}

int graph_find_parameter(const Graph *graph, const char *name) {
    for (int i = 0; i < graph->parameter_count; i++)
        if (strcmp(graph->parameters[i].name, name) == 0)
            return i;
    return GRAPH_NONE;
}

int graph_input(Graph *graph, const char *name, Shape shape) {
    return graph_value(graph, VALUE_INPUT, DATA_F32, shape, GRAPH_NONE, name);
}

typedef struct ParameterRule {
    bool decay;
    float initial_bound, initial_value;
} ParameterRule;

/* Adds parameter LAYER.suffix with the given dimensions to the end of `stack`, a value that grows by them; or
 * to a value of its own if that is GRAPH_NONE. Returns the value. */
static int add_parameter(Graph *graph, int stack, const char *layer, const char *suffix, int rank,
                         const int64_t *dims, ParameterRule rule) {
    Parameter *parameter = grow(graph, (void **)&graph->parameters, &graph->parameter_count,
                                &graph->parameter_capacity, sizeof *parameter);
    if (!parameter)
        return GRAPH_NONE;
    Shape shape = {{1, 1, 1, 1}};
    snprintf(parameter->name, sizeof parameter->name, "%s.%s", layer, suffix);
    parameter->rank = rank;
    parameter->count = 1;
    for (int i = 0; i < rank; i++) {
        parameter->dims[i] = shape.d[i] = dims[i];
        parameter->count *= dims[i];
    }
    parameter->decay = rule.decay;
    parameter->initial_bound = rule.initial_bound;
    parameter->initial_value = rule.initial_value;
    parameter->offset = graph->parameter_elements;
    graph->parameter_elements += parameter->count;
    parameter->next = GRAPH_NONE;
    int index = graph->parameter_count - 1;
    if (stack == GRAPH_NONE)
        return graph_value(graph, VALUE_PARAMETER, DATA_F32, shape, index, parameter->name);
    int *link = &graph->values[stack].parameter;
    while (*link != GRAPH_NONE)
        link = &graph->parameters[*link].next;
    *link = index;
    graph->values[stack].shape.d[0] += dims[0];
    return stack;
}

/* Weight and bias of a linear or convolution layer, in the given values or, for GRAPH_NONE, new ones; both
 * uniform within 1/sqrt(fan_in) (PyTorch's default: Kaiming uniform with a = sqrt(5)). */
static void add_layer_parameters(Graph *graph, const char *layer, int rank, const int64_t *dims,
                                 int64_t out_channels, int64_t fan_in, int *weight, int *bias) {
    ParameterRule rule = {true, (float)(1.0 / sqrt((double)fan_in)), 0};
    *weight = add_parameter(graph, *weight, layer, "weight", rank, dims, rule);
    rule.decay = false;
    *bias = add_parameter(graph, *bias, layer, "bias", 1, &out_channels, rule);
}

int graph_time_embedding(Graph *graph, const char *name, int t, int64_t channels) {
    if (graph->status != STATUS_OK)
        return GRAPH_NONE;
    if (channels % 2)
        return graph_fail(graph, STATUS_BAD_INPUT, "%s: expected an even number of channels, found %lld",
                          name, (long long)channels);
    Shape shape = {{graph->values[t].shape.d[0], 1, 1, channels}};
    int e = graph_value(graph, VALUE_ACTIVATION, DATA_F32, shape, GRAPH_NONE, name);
    graph_append(graph, OP_TIME_EMBEDDING, (OpAttributes){0}, name, (int[]){t}, (int[]){e});
    return e;
}

int graph_linear(Graph *graph, const char *name, int x, int64_t out_channels) {
    if (graph->status != STATUS_OK)
        return GRAPH_NONE;
    Shape in = graph->values[x].shape, out = {{in.d[0], 1, 1, out_channels}};
    int weight = GRAPH_NONE, bias = GRAPH_NONE;
    add_layer_parameters(graph, name, 2, (int64_t[]){out_channels, in.d[3]}, out_channels, in.d[3], &weight,
                         &bias);
    int y = graph_value(graph, VALUE_ACTIVATION, DATA_F32, out, GRAPH_NONE, name);
    graph_append(graph, OP_LINEAR, (OpAttributes){0}, name, (int[]){x, weight, bias}, (int[]){y});
    return y;
}

int graph_linear_stack(Graph *graph, const char *name, int x) {
    if (graph->status != STATUS_OK)
        return GRAPH_NONE;
    Shape in = graph->values[x].shape;
    Shape weight_shape = {{0, in.d[3], 1, 1}}, bias_shape = {{0, 1, 1, 1}}, out = {{in.d[0], 1, 1, 0}};
    char weight_name[GRAPH_NAME_LENGTH], bias_name[GRAPH_NAME_LENGTH];
    snprintf(weight_name, sizeof weight_name, "%.80s.weight", name);
    snprintf(bias_name, sizeof bias_name, "%.80s.bias", name);
    int weight = graph_value(graph, VALUE_PARAMETER, DATA_F32, weight_shape, GRAPH_NONE, weight_name);
    int bias = graph_value(graph, VALUE_PARAMETER, DATA_F32, bias_shape, GRAPH_NONE, bias_name);
    int y = graph_value(graph, VALUE_ACTIVATION, DATA_F32, out, GRAPH_NONE, name);
    graph_append(graph, OP_LINEAR, (OpAttributes){0}, name, (int[]){x, weight, bias}, (int[]){y});
    return y;
}

int graph_linear_layer(Graph *graph, const char *name, int stack, int64_t out_channels) {
    if (graph->status != STATUS_OK)
        return GRAPH_NONE;
    const Node *node = graph->nodes;
    while (node->outputs[0] != stack)
        node++;
    int weight = node_input(node, "weight"), bias = node_input(node, "bias");
    int64_t in_channels = node->op.inputs[0].d[3], first = graph->values[stack].shape.d[3];
    add_layer_parameters(graph, name, 2, (int64_t[]){out_channels, in_channels}, out_channels, in_channels,
                         &weight, &bias);
    graph->values[stack].shape.d[3] += out_channels;
    int view = graph_view(graph, stack, first, out_channels, name);
    describe_nodes(graph);
    return view;
}

int graph_silu(Graph *graph, const char *name, int x) {
    if (graph->status != STATUS_OK)
        return GRAPH_NONE;
    int y =
        graph_value(graph, VALUE_ACTIVATION, graph->values[x].type, graph->values[x].shape, GRAPH_NONE, name);
    graph_append(graph, OP_SILU, (OpAttributes){0}, name, (int[]){x}, (int[]){y});
    return y;
}

int graph_conv2d(Graph *graph, const char *name, int x, int addend, int64_t out_channels, int kernel,
                 int stride, int pad) {
    if (graph->status != STATUS_OK)
        return GRAPH_NONE;
    Shape in = graph->values[x].shape;
    OpAttributes attributes = {.kernel = kernel, .stride = stride, .pad = pad};
    int64_t h = in.d[1] + 2 * pad - kernel, w = in.d[2] + 2 * pad - kernel;
    if (h < 0 || w < 0 || h % stride || w % stride)
        return graph_fail(
            graph, STATUS_BAD_INPUT,
            "%s: a %dx%d convolution of stride %d and padding %d does not tile a %lldx%lld image", name,
            kernel, kernel, stride, pad, (long long)in.d[1], (long long)in.d[2]);
    Shape out = {{in.d[0], h / stride + 1, w / stride + 1, out_channels}};
    if (addend != GRAPH_NONE && !shape_equal(graph->values[addend].shape, out))
        return graph_fail(graph, STATUS_FAILURE, "%s: what is added has another shape than the result", name);
    int weight = GRAPH_NONE, bias = GRAPH_NONE;
    add_layer_parameters(graph, name, 4, (int64_t[]){out_channels, in.d[3], kernel, kernel}, out_channels,
                         in.d[3] * kernel * kernel, &weight, &bias);
    int y = graph_value(graph, VALUE_ACTIVATION, graph->activation_type, out, GRAPH_NONE, name);
    graph_append(graph, OP_CONV2D, attributes, name, (int[]){x, weight, bias, addend}, (int[]){y});
    return y;
}

int graph_conv_transpose2d(Graph *graph, const char *name, int x, int64_t out_channels, int kernel,
                           int stride, int pad) {
    if (graph->status != STATUS_OK)
        return GRAPH_NONE;
    Shape in = graph->values[x].shape;
    OpAttributes attributes = {.kernel = kernel, .stride = stride, .pad = pad};
    Shape out = {{in.d[0], (in.d[1] - 1) * stride + kernel - 2 * pad,
                  (in.d[2] - 1) * stride + kernel - 2 * pad, out_channels}};
    int weight = GRAPH_NONE, bias = GRAPH_NONE;
    /* PyTorch takes the fan-in of a transposed convolution from its second dimension, the output channels. */
    add_layer_parameters(graph, name, 4, (int64_t[]){in.d[3], out_channels, kernel, kernel}, out_channels,
                         out_channels * kernel * kernel, &weight, &bias);
    int y = graph_value(graph, VALUE_ACTIVATION, graph->activation_type, out, GRAPH_NONE, name);
    graph_append(graph, OP_CONV_TRANSPOSE2D, attributes, name, (int[]){x, weight, bias}, (int[]){y});
    return y;
}

int graph_group_norm_silu(Graph *graph, const char *name, int x, int shift, int groups) {
    if (graph->status != STATUS_OK)
        return GRAPH_NONE;
    Shape shape = graph->values[x].shape, statistics = {{shape.d[0], 1, 1, groups}};
    OpAttributes attributes = {.groups = groups, .silu = true, .epsilon = 1e-5f};
    if (groups < 1 || shape.d[3] % groups)
        return graph_fail(graph, STATUS_BAD_INPUT,
                          "%s: %lld channels cannot be divided into %d groups (model.groups)", name,
                          (long long)shape.d[3], groups);
    int gamma =
        add_parameter(graph, GRAPH_NONE, name, "weight", 1, &shape.d[3], (ParameterRule){false, 0, 1});
    int beta = add_parameter(graph, GRAPH_NONE, name, "bias", 1, &shape.d[3], (ParameterRule){false, 0, 0});
    int y = graph_value(graph, VALUE_ACTIVATION, graph->activation_type, shape, GRAPH_NONE, name);
    int mean = graph_value(graph, VALUE_ACTIVATION, DATA_F32, statistics, GRAPH_NONE, name);
    int rstd = graph_value(graph, VALUE_ACTIVATION, DATA_F32, statistics, GRAPH_NONE, name);
    graph_append(graph, OP_GROUP_NORM, attributes, name, (int[]){x, shift, gamma, beta},
                 (int[]){y, mean, rstd});
    return y;
}

int graph_concat(Graph *graph, const char *name, int a, int b) {
    if (graph->status != STATUS_OK)
        return GRAPH_NONE;
    Shape left = graph->values[a].shape, right = graph->values[b].shape;
    if (left.d[0] != right.d[0] || left.d[1] != right.d[1] || left.d[2] != right.d[2])
        return graph_fail(graph, STATUS_FAILURE, "%s: the operands of a concatenation differ in N, H or W",
                          name);
    left.d[3] += right.d[3];
    int y = graph_value(graph, VALUE_ACTIVATION, graph->values[a].type, left, GRAPH_NONE, name);
    graph_append(graph, OP_CONCAT, (OpAttributes){0}, name, (int[]){a, b}, (int[]){y});
    return y;
}
