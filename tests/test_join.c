/* Concatenations in place: which values move, and that all else stays. */
#include <stdlib.h>
#include <string.h>

#include "kernels/op_check.h"
#include "model/describe.h"
#include "model/plan.h"
#include "model/unet.h"
#include "test.h"
#include "unet_sizes.h"

static Graph *build(void) {
    Graph *graph = NULL;
    CHECK_OK(graph_create(&graph));
    CHECK_OK(unet_build_trainable(graph, &report));
    return graph;
}

static bool take_parts(const OpDescription *op) {
    return op_check_parts(op) == STATUS_OK;
}

static bool take_parts_but_in_backward(const OpDescription *op) {
    return op->kind != OP_GROUP_NORM_BACKWARD && take_parts(op);
}

/* Both operands in the result's memory, what is added there with its pitch, all else as it was. */
static void check_joined(const Graph *joined, const Graph *copied) {
    int concats = 0;
    for (int n = 0; n < copied->node_count; n++) {
        const Node *node = &joined->nodes[n];
        CHECK_OK(op_check_parts(&node->op));
        CHECK(memcmp(node->inputs, copied->nodes[n].inputs, sizeof node->inputs) == 0);
        CHECK(memcmp(node->op.inputs, copied->nodes[n].op.inputs, sizeof node->op.inputs) == 0);
        for (int i = 0; i < 2 && node->op.kind == OP_CONCAT; i++, concats++) {
            const Value *v = &joined->values[node->inputs[i]];
            CHECK(graph_root(joined, node->inputs[i]) == node->outputs[0]);
            CHECK(v->first_channel == (i ? node->op.inputs[0].d[3] : 0));
            CHECK(op_input_pitch(&node->op, i) == node->op.outputs[0].d[3]);
        }
    }
    CHECK(concats == 4);
}

static void test_join(void) {
    Graph *joined = build(), *copied = build();
    char *joined_text = NULL, *copied_text = NULL;
    Plan plan = {0};
    CHECK_OK(graph_join_in_place(joined, NULL));
    CHECK_OK(graph_join_in_place(joined, take_parts_but_in_backward)); /* the addends' first readers */
    CHECK(joined->node_count == copied->node_count);
    for (int n = 0; n < copied->node_count; n++)
        CHECK(memcmp(&joined->nodes[n].op, &copied->nodes[n].op, sizeof copied->nodes[n].op) == 0);
    CHECK_OK(graph_join_in_place(joined, take_parts));
    check_joined(joined, copied);
    CHECK_OK(plan_create(&plan, joined, joined->node_count, true));
    CHECK_OK(plan_check(&plan));
    for (int n = 0; n < joined->forward_nodes; n++) /* alive from where its first operand is computed */
        if (joined->nodes[n].op.kind == OP_CONCAT)
            for (int k = 0; k < n; k++)
                for (int i = 0; i < 2; i++)
                    CHECK(joined->nodes[k].outputs[0] != joined->nodes[n].inputs[i] ||
                          plan.first[joined->nodes[n].outputs[0]] <= k);
    CHECK_OK(describe_dot(joined, &joined_text));
    CHECK_OK(describe_dot(copied, &copied_text));
    CHECK(joined_text && copied_text && strcmp(joined_text, copied_text) == 0);
    free(joined_text);
    free(copied_text);
    plan_release(&plan);
    graph_destroy(joined);
    graph_destroy(copied);
}

/* An operand twice, and one that is read by what takes no parts. */
static void test_unjoined(void) {
    for (int twice = 0; twice < 2; twice++) {
        Graph *graph = NULL;
        CHECK_OK(graph_create(&graph));
        graph->input = graph_input(graph, "x", (Shape){{1, 4, 4, 1}});
        int h = graph_conv2d(graph, "conv", graph->input, GRAPH_NONE, 2, 3, 1, 1);
        int other = twice ? h : graph_silu(graph, "silu", h);
        int joined = graph_concat(graph, "joined", h, other);
        graph->output = graph_conv2d(graph, "last", joined, GRAPH_NONE, 1, 3, 1, 1);
        graph->forward_nodes = graph->node_count;
        CHECK_OK(graph_join_in_place(graph, take_parts));
        CHECK(graph_root(graph, h) == h && graph_root(graph, other) == other);
        for (int n = 0; n < graph->node_count; n++)
            CHECK_OK(op_check(&graph->nodes[n].op));
        graph_destroy(graph);
    }
}

int main(void) {
    test_join();
    test_unjoined();
    return test_result();
}
