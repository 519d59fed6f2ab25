/* The network as a graph: typed nodes appended in execution order. Building, gradients, memory planning, the
 * schematic, the parameter table and the FLOP count all read this one description. */
#ifndef MODEL_GRAPH_H
#define MODEL_GRAPH_H

#include "core/status.h"
#include "kernels/op.h"

enum { GRAPH_NAME_LENGTH = 96, GRAPH_NONE = -1 };

typedef enum ValueKind {
    VALUE_INPUT,             /* written by the caller before a run */
    VALUE_PARAMETER,         /* PyTorch layout */
    VALUE_ACTIVATION,        /* output of a node */
    VALUE_VIEW,              /* consecutive channels of an activation, in its memory */
    VALUE_PARAMETER_GRADIENT /* output of a backward node, in the parameter's layout */
} ValueKind;

typedef struct Value {
    ValueKind kind;
    DataType type;
    Shape shape;
    int parameter;         /* index of a parameter or its gradient in Graph.parameters: of the first one where
                            * several follow one another (Parameter.next); else GRAPH_NONE */
    int parent;            /* of a view: the activation; else GRAPH_NONE */
    int64_t first_channel; /* of a view */
    char name[GRAPH_NAME_LENGTH];
} Value;

typedef struct Node {
    OpDescription op;
    int inputs[OP_MAX_INPUTS];   /* values in ops.def's order; GRAPH_NONE: absent */
    int outputs[OP_MAX_OUTPUTS]; /* likewise */
    char name[GRAPH_NAME_LENGTH];
} Node;

typedef struct Parameter {
    char name[GRAPH_NAME_LENGTH]; /* as in PyTorch's state_dict */
    int rank;
    int64_t dims[4];
    int64_t count;
    int64_t offset;      /* in the flat parameter array; the order in which gradients become ready */
    int next;            /* the parameter behind this one in the same value, or GRAPH_NONE */
    bool decay;          /* subject to weight decay: weights of convolutions and linear layers */
    float initial_bound; /* initial value uniform in (-bound, bound); 0: constant initial_value */
    float initial_value;
} Parameter;

typedef struct Graph {
    Status status; /* first error; once set, builders return GRAPH_NONE and append nothing */
    char message[512];
    DataType activation_type; /* of feature maps; set before building */
    int value_count, node_count, parameter_count;
    int value_capacity, node_capacity, parameter_capacity;
    Value *values;
    Node *nodes;
    Parameter *parameters;
    int64_t parameter_elements; /* sum of counts */
    int forward_nodes;          /* nodes [0, forward_nodes) compute the output; the others gradients */
    int input, timesteps;       /* x_t (N,H,W,1) and t (N,1,1,1) */
    int output;                 /* eps_hat (N,H,W,1) */
    int output_gradient;        /* written by the loss; GRAPH_NONE without gradients */
    int input_gradient;         /* (N,H,W,1); GRAPH_NONE but where autodiff was asked for it */
} Graph;

/* An empty graph, owned by the caller; graph_destroy accepts NULL. */
Status graph_create(Graph **graph);
void graph_destroy(Graph *graph);

/* The first error met while building, with its message. */
Status graph_check(const Graph *graph);

/* Builders: append a value or node and return the (first) output's value. `name` is the PyTorch module path;
 * layers append their parameters NAME.weight and NAME.bias with PyTorch's default initialisation. */
int graph_input(Graph *graph, const char *name, Shape shape);
int graph_time_embedding(Graph *graph, const char *name, int t, int64_t channels);
int graph_linear(Graph *graph, const char *name, int x, int64_t out_channels);
/* Linear layers of one input, computed as one whose weight is theirs one behind the other: a value without
 * channels, to be read through its layers alone. Then the layers, one by one: parameters as graph_linear's;
 * the result, a view. */
int graph_linear_stack(Graph *graph, const char *name, int x);
int graph_linear_layer(Graph *graph, const char *name, int stack, int64_t out_channels);
int graph_silu(Graph *graph, const char *name, int x);
/* addend, as the result, is added to it; GRAPH_NONE: nothing. */
int graph_conv2d(Graph *graph, const char *name, int x, int addend, int64_t out_channels, int kernel,
                 int stride, int pad);
int graph_conv_transpose2d(Graph *graph, const char *name, int x, int64_t out_channels, int kernel,
                           int stride, int pad);
/* silu(group_norm(x + shift)); shift (N,1,1,C) may be GRAPH_NONE. */
int graph_group_norm_silu(Graph *graph, const char *name, int x, int shift, int groups);
int graph_concat(Graph *graph, const char *name, int a, int b);

/* Makes the parameters of a layer start at zero. */
void graph_start_at_zero(Graph *graph, const char *layer);

/* Makes the node that computes `value` write it as `type`. */
void graph_store_as(Graph *graph, int value, DataType type);

/* Lower level, for autodiff: an output-only value, channels of a value, and a node whose operands' shapes
 * come from its values. */
int graph_value(Graph *graph, ValueKind kind, DataType type, Shape shape, int parameter, const char *name);
int graph_view(Graph *graph, int parent, int64_t first_channel, int64_t channels, const char *name);
void graph_append(Graph *graph, OpKind kind, OpAttributes attributes, const char *name, const int *inputs,
                  const int *outputs);

/* The value whose memory holds this one: a view's parent, else the value itself. */
int graph_root(const Graph *graph, int value);

/* Whether a node computes nothing but gradients of parameters, which no other node reads. */
bool graph_node_is_leaf(const Graph *graph, int node);

/* The nodes [0, end), those that a graph begins with, which follow from the timesteps alone; join is the
 * first node after them that reads what they compute. end = 0: the graph begins with others. */
typedef struct TimestepBranch {
    int end, join;
} TimestepBranch;
TimestepBranch graph_timestep_branch(const Graph *graph);

/* The forward node that computes the value; NULL if none does. */
const Node *graph_source(const Graph *graph, int value);

/* The value a node reads or writes under the operand's name in ops.def; GRAPH_NONE if absent. */
int node_input(const Node *node, const char *operand);
int node_output(const Node *node, const char *operand);

/* Index of the parameter of that name, or GRAPH_NONE. */
int graph_find_parameter(const Graph *graph, const char *name);

#endif
