/* The network's graph, its gradients, memory plan and descriptions; test_network.c runs it. */
#include "kernels/op_check.h"
#include "model/autodiff.h"
#include "model/describe.h"
#include "model/plan.h"
#include "model/unet.h"
#include "test.h"
#include "unet_sizes.h"

/* state_dict().keys() of tools/torch_unet.py's UNet([8, 16]) */
static const char *const torch_names[] = {"time_mlp.0.weight",
                                          "time_mlp.0.bias",
                                          "time_mlp.2.weight",
                                          "time_mlp.2.bias",
                                          "stem.weight",
                                          "stem.bias",
                                          "down.0.block.norm1.weight",
                                          "down.0.block.norm1.bias",
                                          "down.0.block.conv1.weight",
                                          "down.0.block.conv1.bias",
                                          "down.0.block.time.weight",
                                          "down.0.block.time.bias",
                                          "down.0.block.norm2.weight",
                                          "down.0.block.norm2.bias",
                                          "down.0.block.conv2.weight",
                                          "down.0.block.conv2.bias",
                                          "down.0.downsample.weight",
                                          "down.0.downsample.bias",
                                          "mid.0.norm1.weight",
                                          "mid.0.norm1.bias",
                                          "mid.0.conv1.weight",
                                          "mid.0.conv1.bias",
                                          "mid.0.time.weight",
                                          "mid.0.time.bias",
                                          "mid.0.norm2.weight",
                                          "mid.0.norm2.bias",
                                          "mid.0.conv2.weight",
                                          "mid.0.conv2.bias",
                                          "mid.1.norm1.weight",
                                          "mid.1.norm1.bias",
                                          "mid.1.conv1.weight",
                                          "mid.1.conv1.bias",
                                          "mid.1.time.weight",
                                          "mid.1.time.bias",
                                          "mid.1.norm2.weight",
                                          "mid.1.norm2.bias",
                                          "mid.1.conv2.weight",
                                          "mid.1.conv2.bias",
                                          "up.0.upsample.weight",
                                          "up.0.upsample.bias",
                                          "up.0.block.norm1.weight",
                                          "up.0.block.norm1.bias",
                                          "up.0.block.conv1.weight",
                                          "up.0.block.conv1.bias",
                                          "up.0.block.time.weight",
                                          "up.0.block.time.bias",
                                          "up.0.block.norm2.weight",
                                          "up.0.block.norm2.bias",
                                          "up.0.block.conv2.weight",
                                          "up.0.block.conv2.bias",
                                          "up.0.block.skip.weight",
                                          "up.0.block.skip.bias",
                                          "out.norm.weight",
                                          "out.norm.bias",
                                          "out.conv.weight",
                                          "out.conv.bias"};

static Graph *build(const UnetOptions *options) {
    Graph *graph = NULL;
    CHECK_OK(graph_create(&graph));
    CHECK_OK(unet_build_trainable(graph, options));
    return graph;
}

/* ---- graph ---- */

static void check_output_shape(const Graph *graph, const char *name, int64_t height, int64_t channels) {
    for (int n = 0; n < graph->forward_nodes; n++)
        if (strcmp(graph->nodes[n].name, name) == 0) {
            const int64_t *d = graph->nodes[n].op.outputs[0].d;
            CHECK(d[1] == height && d[2] == height && d[3] == channels);
            return;
        }
    printf("no node %s\n", name);
    CHECK(false);
}

static void test_shapes(void) {
    UnetOptions quick = report;
    Graph *graph = build(&report);
    CHECK(graph->parameter_elements == 4953153); /* the report's network in PyTorch */
    CHECK(shape_equal(graph->values[graph->output].shape, (Shape){{8, 28, 28, 1}}));
    check_output_shape(graph, "stem", 28, 64);
    check_output_shape(graph, "down.0.downsample", 14, 128);
    check_output_shape(graph, "down.1.downsample", 7, 256);
    check_output_shape(graph, "mid.1.conv2", 7, 256);
    check_output_shape(graph, "up.0.upsample", 14, 128);
    check_output_shape(graph, "up.1.concat", 28, 128);
    check_output_shape(graph, "up.1.block.conv2", 28, 64);
    graph_destroy(graph);
    quick.channels[0] = 16, quick.channels[1] = 32, quick.channels[2] = 64;
    graph = build(&quick);
    CHECK(graph->parameter_elements == 419217);
    graph_destroy(graph);
}

static void test_names(void) {
    UnetOptions two = small;
    two.channel_count = 2;
    Graph *graph = build(&two);
    int count = sizeof torch_names / sizeof *torch_names;
    CHECK(graph->parameter_count == count);
    for (int i = 0; i < count && i < graph->parameter_count; i++)
        CHECK(strcmp(graph->parameters[i].name, torch_names[i]) == 0);
    graph_destroy(graph);
}

/* Offsets are a permutation of consecutive pieces, and every parameter has one gradient. */
static void test_offsets(void) {
    Graph *graph = build(&small);
    int64_t next = 0;
    for (int n = graph->forward_nodes; n < graph->node_count; n++)
        for (int i = 0; i < OP_MAX_OUTPUTS; i++) {
            int value = graph->nodes[n].outputs[i];
            if (value == GRAPH_NONE || graph->values[value].kind != VALUE_PARAMETER_GRADIENT)
                continue;
            int64_t begin = next;
            for (int p = graph->values[value].parameter; p != GRAPH_NONE; p = graph->parameters[p].next) {
                CHECK(graph->parameters[p].offset == next);
                next += graph->parameters[p].count;
            }
            CHECK(shape_count(graph->values[value].shape) == next - begin);
        }
    CHECK(next == graph->parameter_elements);
    graph_destroy(graph);
}

/* The nodes that compute the gradient of a value in their output `operand`. */
static int gradient_nodes(const Graph *graph, OpKind kind, const char *operand) {
    int count = 0;
    for (int n = graph->forward_nodes; n < graph->node_count; n++)
        count += graph->nodes[n].op.kind == kind && node_output(&graph->nodes[n], operand) != GRAPH_NONE;
    return count;
}

/* In each block norm2's gradient has conv1's bias gradient with it; the other convolutions compute theirs. */
static void test_bias_gradients(void) {
    Graph *graph = build(&small);
    const int blocks = 2 * small.channel_count,
              weights = gradient_nodes(graph, OP_CONV2D_BACKWARD_PARAMETERS, "dweight");
    for (int n = graph->forward_nodes; n < graph->node_count; n++) {
        const Node *node = &graph->nodes[n];
        const int bias = node->op.kind == OP_GROUP_NORM_BACKWARD ? node_output(node, "dbias") : GRAPH_NONE;
        if (bias == GRAPH_NONE)
            continue;
        char name[GRAPH_NAME_LENGTH];
        snprintf(name, sizeof name, "%s", node->name);
        memcpy(strstr(name, "norm2"), "conv1", 5);
        const char *found = graph->parameters[graph->values[bias].parameter].name;
        CHECK(strncmp(found, name, strlen(name)) == 0 && strcmp(found + strlen(name), ".bias") == 0);
    }
    CHECK(gradient_nodes(graph, OP_GROUP_NORM_BACKWARD, "dbias") == blocks);
    CHECK(gradient_nodes(graph, OP_CONV2D_BACKWARD_PARAMETERS, "dbias") == weights - blocks);
    graph_destroy(graph);
}

/* A convolution whose result another node reads too: its bias gradient is its own. */
static void test_own_bias_gradients(void) {
    for (int read_twice = 0; read_twice < 2; read_twice++) {
        Graph *graph = NULL;
        CHECK_OK(graph_create(&graph));
        graph->input = graph_input(graph, "x", (Shape){{1, 4, 4, 1}});
        graph->timesteps = graph_input(graph, "t", (Shape){{1, 1, 1, 1}});
        int shift = graph_linear(graph, "time", graph->timesteps, 2);
        int h = graph_conv2d(graph, "conv", graph->input, GRAPH_NONE, 2, 3, 1, 1);
        int y = graph_group_norm_silu(graph, "norm", h, shift, 1);
        graph->output = graph_conv2d(graph, "last", y, read_twice ? h : GRAPH_NONE, 2, 3, 1, 1);
        graph->forward_nodes = graph->node_count;
        CHECK_OK(autodiff_append(graph, AUTODIFF_PARAMETERS));
        CHECK(gradient_nodes(graph, OP_GROUP_NORM_BACKWARD, "dbias") == !read_twice);
        CHECK(gradient_nodes(graph, OP_CONV2D_BACKWARD_PARAMETERS, "dbias") == 1 + read_twice);
        graph_destroy(graph);
    }
}

/* The time layers: one node, whose columns the blocks read in turn; so are their gradients, which the node's
 * gradient takes together. */
static void test_linear_stack(void) {
    Graph *graph = build(&small);
    int first = graph_find_parameter(graph, "down.0.block.time.weight");
    int linear_nodes[2] = {0, 0}, channels[2] = {0, 0}, parents[2] = {GRAPH_NONE, GRAPH_NONE};
    for (int n = 0; n < graph->node_count; n++) {
        const Node *node = &graph->nodes[n];
        bool backward = n >= graph->forward_nodes;
        int view = backward ? node_output(node, "dshift") : node_input(node, "shift");
        linear_nodes[backward] +=
            node->op.kind == OP_LINEAR || node->op.kind == OP_LINEAR_BACKWARD_PARAMETERS;
        if (view == GRAPH_NONE)
            continue;
        const Value *v = &graph->values[view];
        CHECK(v->kind == VALUE_VIEW && (parents[backward] == GRAPH_NONE || v->parent == parents[backward]));
        parents[backward] = v->parent;
        int64_t all = graph->values[v->parent].shape.d[3];
        CHECK(backward ? op_output_pitch(&node->op, op_output(node->op.kind, "dshift")) == all
                       : op_input_pitch(&node->op, op_input(node->op.kind, "shift")) == all);
        /* backward from the last block to the first */
        CHECK(v->first_channel == (backward ? all - channels[1] - v->shape.d[3] : channels[0]));
        channels[backward] += (int)v->shape.d[3];
        if (!backward) { /* the rows of the weight that make these columns */
            char name[GRAPH_NAME_LENGTH + 8];
            snprintf(name, sizeof name, "%s.weight", v->name);
            int weight = graph_find_parameter(graph, name);
            CHECK(weight != GRAPH_NONE && graph->parameters[weight].dims[0] == v->shape.d[3]);
            CHECK(weight != GRAPH_NONE &&
                  graph->parameters[weight].offset - graph->parameters[first].offset ==
                      v->first_channel * graph->parameters[weight].dims[1]);
        }
    }
    CHECK(linear_nodes[0] == 3 && linear_nodes[1] == 3);
    for (int k = 0; k < 2; k++)
        CHECK(parents[k] != GRAPH_NONE && channels[k] == graph->values[parents[k]].shape.d[3]);
    graph_destroy(graph);
}

/* A layer of a stack that nothing reads; and one that two nodes read, whose gradients cannot be added up in
 * place. */
static void test_stack_refusals(void) {
    for (int twice = 0; twice < 2; twice++) {
        Graph *graph = NULL;
        CHECK_OK(graph_create(&graph));
        graph->input = graph_input(graph, "x", (Shape){{1, 4, 4, 1}});
        graph->timesteps = graph_input(graph, "t", (Shape){{1, 1, 1, 1}});
        int stack = graph_linear_stack(graph, "stack", graph->timesteps);
        int first = graph_linear_layer(graph, "first", stack, 2);
        int second = graph_linear_layer(graph, "second", stack, 2);
        int h = graph_conv2d(graph, "conv", graph->input, GRAPH_NONE, 2, 3, 1, 1);
        h = graph_group_norm_silu(graph, "norm1", h, first, 1);
        if (twice) {
            h = graph_group_norm_silu(graph, "norm2", h, second, 1);
            h = graph_group_norm_silu(graph, "norm3", h, second, 1);
        }
        graph->output = h;
        graph->forward_nodes = graph->node_count;
        if (twice) {
            CHECK_OK(autodiff_append(graph, AUTODIFF_PARAMETERS));
            int added = 0;
            while (graph->nodes[added].op.kind != OP_ADD)
                added++;
            CHECK_ERROR(op_check(&graph->nodes[added].op), STATUS_BAD_INPUT, "expected a whole tensor");
        } else {
            CHECK_ERROR(autodiff_append(graph, AUTODIFF_PARAMETERS), STATUS_FAILURE,
                        "stack (linear) does not contribute");
        }
        graph_destroy(graph);
    }
}

/* What comes to a skip connection's gradient later is added to it in place; nothing else is left to add. */
static void test_growing_gradients(void) {
    for (int target = 0; target < 2; target++) {
        Graph *graph = NULL;
        int growing = 0;
        CHECK_OK(graph_create(&graph));
        CHECK_OK(unet_build_differentiable(graph, &small, target ? AUTODIFF_INPUT : AUTODIFF_PARAMETERS));
        for (int n = graph->forward_nodes; n < graph->node_count; n++) {
            const Node *node = &graph->nodes[n];
            CHECK(node->op.kind != OP_ADD);
            if (node->op.kind != OP_CONV2D_BACKWARD_DATA || node_input(node, "addend") == GRAPH_NONE)
                continue;
            growing++;
            CHECK(strstr(node->name, "downsample") && node_input(node, "addend") == node->outputs[0]);
        }
        CHECK(growing == small.channel_count - 1);
        graph_destroy(graph);
    }
}

/* With the input alone as target: the same order of parameters, none of their gradients, nothing of the time
 * path, and the gradients of the feature maps that training computes too, to the last. */
static void test_input_target(void) {
    Graph *trainable = build(&small), *graph = NULL;
    int linear_nodes = 0;
    CHECK_OK(graph_create(&graph));
    CHECK_OK(unet_build_differentiable(graph, &small, AUTODIFF_INPUT));
    CHECK(trainable->input_gradient == GRAPH_NONE && graph->input_gradient != GRAPH_NONE);
    CHECK(graph->parameter_count == trainable->parameter_count);
    for (int p = 0; p < graph->parameter_count; p++)
        CHECK(graph->parameters[p].offset == trainable->parameters[p].offset);
    for (int v = 0; v < graph->value_count; v++)
        CHECK(graph->values[v].kind != VALUE_PARAMETER_GRADIENT);
    for (int n = graph->forward_nodes; n < graph->node_count; n++)
        linear_nodes += graph->nodes[n].op.kind == OP_LINEAR_BACKWARD_DATA;
    CHECK(linear_nodes == 0);
    CHECK(graph->nodes[graph->node_count - 1].op.kind == OP_CONV2D_BACKWARD_DATA);
    CHECK(graph->nodes[graph->node_count - 1].outputs[0] == graph->input_gradient);
    CHECK(shape_equal(graph->values[graph->input_gradient].shape,
                      (Shape){{small.batch, small.height, small.width, 1}}));
    /* each convolution's data gradient costs what its output does; training costs twice that */
    GraphCost cost = graph_cost(graph);
    CHECK_NEAR((double)cost.backward / (double)cost.forward, 1, 0.1);
    graph_destroy(graph);
    graph_destroy(trainable);
}

/* What backward reads of the forward pass is kept, so that it can be run twice. */
static void test_input_plan(void) {
    Graph *graph = NULL;
    Plan plan = {0};
    CHECK_OK(graph_create(&graph));
    CHECK_OK(unet_build_differentiable(graph, &report, AUTODIFF_INPUT));
    CHECK_OK(plan_create(&plan, graph, graph->node_count, false));
    CHECK_OK(plan_check(&plan));
    CHECK(plan.last[graph->input_gradient] == plan.node_count);
    for (int n = graph->forward_nodes; n < graph->node_count; n++)
        for (int i = 0; i < OP_MAX_INPUTS; i++) {
            int value = graph->nodes[n].inputs[i];
            int root = value == GRAPH_NONE ? GRAPH_NONE : graph_root(graph, value);
            if (root != GRAPH_NONE && graph->values[root].kind == VALUE_ACTIVATION &&
                plan.first[root] < graph->forward_nodes)
                CHECK(plan.last[root] == plan.node_count);
        }
    plan_release(&plan);
    graph_destroy(graph);
}

static void test_refusals(void) {
    UnetOptions options = small;
    Graph *graph = NULL;
    options.height = 14;
    CHECK_OK(graph_create(&graph));
    CHECK_ERROR(unet_build(graph, &options), STATUS_BAD_INPUT, "multiples of 4");
    graph_destroy(graph);
    options = small;
    options.groups = 3;
    CHECK_OK(graph_create(&graph));
    CHECK_ERROR(unet_build(graph, &options), STATUS_BAD_INPUT, "model.groups");
    graph_destroy(graph);
}

/* The embedding of a layer's output: the forward op exists, a rule for its gradient does not. */
static void test_missing_rule(void) {
    Graph *graph = NULL;
    CHECK_OK(graph_create(&graph));
    graph->timesteps = graph_input(graph, "t", (Shape){{1, 1, 1, 1}});
    int h = graph_linear(graph, "linear", graph->timesteps, 1);
    graph->output = graph_time_embedding(graph, "embedding", h, 2);
    graph->forward_nodes = graph->node_count;
    CHECK_ERROR(autodiff_append(graph, AUTODIFF_PARAMETERS), STATUS_FAILURE,
                "time_embedding of embedding has no gradient rule");
    graph_destroy(graph);
}

/* A concatenation that a convolution reads first: its gradient is handed to no one. */
static void test_unread_concat(void) {
    Graph *graph = NULL;
    CHECK_OK(graph_create(&graph));
    graph->input = graph_input(graph, "x", (Shape){{1, 4, 4, 1}});
    int h = graph_conv2d(graph, "conv", graph->input, GRAPH_NONE, 2, 3, 1, 1);
    int joined = graph_concat(graph, "joined", h, graph_silu(graph, "silu", h));
    graph->output = graph_conv2d(graph, "last", joined, GRAPH_NONE, 1, 3, 1, 1);
    graph->forward_nodes = graph->node_count;
    CHECK_ERROR(autodiff_append(graph, AUTODIFF_PARAMETERS), STATUS_FAILURE,
                "joined (concat): expected a group_norm");
    graph_destroy(graph);
}

/* An output that is made from the timesteps alone. */
static void test_missing_input(void) {
    Graph *graph = NULL;
    CHECK_OK(graph_create(&graph));
    graph->input = graph_input(graph, "x", (Shape){{1, 1, 1, 1}});
    graph->timesteps = graph_input(graph, "t", (Shape){{1, 1, 1, 1}});
    graph->output = graph_linear(graph, "linear", graph->timesteps, 1);
    graph->forward_nodes = graph->node_count;
    CHECK_ERROR(autodiff_append(graph, AUTODIFF_INPUT), STATUS_FAILURE, "does not depend on the input");
    graph_destroy(graph);
}

/* ---- memory plan ---- */

static void test_plan(const UnetOptions *options) {
    Graph *graph = build(options);
    int nodes[] = {graph->forward_nodes, graph->node_count};
    int64_t arena[2];
    for (int k = 0; k < 2; k++) {
        Plan plan = {0};
        CHECK_OK(plan_create(&plan, graph, nodes[k], false));
        CHECK_OK(plan_check(&plan));
        CHECK(plan.arena_bytes > 0 && plan.arena_bytes < plan.unshared_bytes);
        for (int v = 0; v < plan.value_count; v++)
            CHECK(plan.offset[v] < 0 || plan.offset[v] + plan.bytes[v] <= plan.arena_bytes);
        arena[k] = plan.arena_bytes;
        plan_release(&plan);
    }
    CHECK(arena[0] < arena[1]);
    graph_destroy(graph);
}

/* What a leaf of the graph reads is there until the next leaf is reached. */
static void test_plan_of_leaves(void) {
    Graph *graph = build(&small);
    Plan plan = {0}, shorter = {0};
    int leaves = 0, next = graph->node_count;
    CHECK_OK(plan_create(&shorter, graph, graph->node_count, false));
    CHECK_OK(plan_create(&plan, graph, graph->node_count, true));
    CHECK_OK(plan_check(&plan));
    CHECK(plan.arena_bytes > shorter.arena_bytes);
    for (int n = graph->node_count - 1; n >= graph->forward_nodes; n--) {
        if (!graph_node_is_leaf(graph, n))
            continue;
        for (int i = 0; i < OP_MAX_INPUTS; i++) {
            int value = graph->nodes[n].inputs[i];
            CHECK(value == GRAPH_NONE || plan.last[graph_root(graph, value)] >= next - 1);
        }
        next = n;
        leaves++;
    }
    /* of time_mlp, the stacked time layers, stem, two levels down, middle, two levels up, out.conv */
    CHECK(leaves == 2 + 1 + 1 + 2 * 3 + 4 + 2 * 4 + 1);
    plan_release(&plan);
    plan_release(&shorter);
    graph_destroy(graph);
}

/* The timesteps' branch ends before the stem; what it computes shares no memory with what is alive before the
 * first block's second norm, which reads it. */
static void test_plan_of_branch(void) {
    Graph *graph = build(&small);
    const TimestepBranch branch = graph_timestep_branch(graph);
    Plan plan = {0};
    CHECK_OK(plan_create(&plan, graph, graph->forward_nodes, true));
    CHECK_OK(plan_check(&plan));
    CHECK(branch.end == 6 && strcmp(graph->nodes[branch.end].name, "stem") == 0);
    CHECK(strcmp(graph->nodes[branch.join].name, "down.0.block.norm2") == 0);
    for (int n = 0; n < branch.end; n++) {
        int value = graph->nodes[n].outputs[0];
        CHECK(plan.first[value] <= n && plan.last[value] >= branch.join - 1);
    }
    plan_release(&plan);
    graph_destroy(graph);
}

static void test_plan_overlap(void) {
    Graph *graph = build(&small);
    Plan plan = {0};
    CHECK_OK(plan_create(&plan, graph, graph->node_count, false));
    CHECK(plan.offset[graph->input] >= 0 && plan.offset[graph->timesteps] >= 0);
    plan.offset[graph->timesteps] = plan.offset[graph->input] + plan.bytes[graph->input] - 1;
    CHECK_ERROR(plan_check(&plan), STATUS_FAILURE, "overlap");
    plan_release(&plan);
    graph_destroy(graph);
}

/* ---- descriptions ---- */

static void test_descriptions(void) {
    Graph *graph = build(&report);
    char *text = NULL, number[DESCRIBE_NUMBER_BYTES];
    GraphCost cost = graph_cost(graph);
    CHECK_OK(describe_dot(graph, &text));
    CHECK(text && strstr(text, "down.1.block") && strstr(text, "skip <b>28&times;28&times;64"));
    CHECK(text && strstr(text, "4,953,153") && strstr(text, "time_mlp.2"));
    CHECK(strcmp(describe_number(-1234567, number), "-1,234,567") == 0);
    CHECK(strcmp(describe_number(999, number), "999") == 0);
    CHECK(strcmp(describe_bytes(1536, number), "1.5 KiB") == 0);
    /* the convolutions of one image, twice the multiply-adds, summed by hand: 1.042 GFLOP; norms add less
     * than 1 % */
    CHECK_NEAR((double)cost.forward / 8e9, 1.042, 0.0105);
    CHECK_NEAR((double)cost.backward / (double)cost.forward, 2, 0.02);
    free(text);
    graph_destroy(graph);
}

int main(void) {
    test_shapes();
    test_names();
    test_offsets();
    test_bias_gradients();
    test_own_bias_gradients();
    test_linear_stack();
    test_stack_refusals();
    test_growing_gradients();
    test_input_target();
    test_input_plan();
    test_refusals();
    test_missing_rule();
    test_unread_concat();
    test_missing_input();
    test_plan(&small);
    test_plan(&report);
    test_plan_of_leaves();
    test_plan_of_branch();
    test_plan_overlap();
    test_descriptions();
    return test_result();
}
