#include "model/plan.h"

#include <stdlib.h>

enum { ALIGNMENT = 64 };

static void mark_alive(Plan *plan, const Graph *graph, int value, int node) {
    if (value == GRAPH_NONE)
        return;
    value = graph_root(graph, value);
    if (plan->first[value] < 0 || node < plan->first[value])
        plan->first[value] = node;
    if (node > plan->last[value])
        plan->last[value] = node;
}

/* What backward reads of the forward pass is kept to the end, so that backward can be run again. */
static void keep_for_backward(Plan *plan, const Graph *graph) {
    for (int n = graph->forward_nodes; n < plan->node_count; n++)
        for (int i = 0; i < OP_MAX_INPUTS; i++) {
            int value = graph->nodes[n].inputs[i];
            if (value != GRAPH_NONE && plan->first[graph_root(graph, value)] < graph->forward_nodes)
                mark_alive(plan, graph, value, plan->node_count);
        }
}

/* A leaf may run until the next one is met: what it reads is kept until then. */
static void keep_for_leaves(Plan *plan, const Graph *graph) {
    int next = plan->node_count;
    for (int n = plan->node_count - 1; n >= graph->forward_nodes; n--) {
        if (!graph_node_is_leaf(graph, n))
            continue;
        for (int i = 0; i < OP_MAX_INPUTS; i++)
            mark_alive(plan, graph, graph->nodes[n].inputs[i], next - 1);
        next = n;
    }
}

/* The timesteps' branch may run until the first node that reads what it computes is met. */
static void keep_for_branch(Plan *plan, const Graph *graph) {
    const TimestepBranch branch = graph_timestep_branch(graph);
    for (int n = 0; n < branch.end; n++) {
        for (int i = 0; i < OP_MAX_INPUTS; i++)
            mark_alive(plan, graph, graph->nodes[n].inputs[i], branch.join - 1);
        for (int i = 0; i < OP_MAX_OUTPUTS; i++)
            mark_alive(plan, graph, graph->nodes[n].outputs[i], branch.join - 1);
    }
}

static void find_lifetimes(Plan *plan, const Graph *graph, bool side_stream) {
    for (int v = 0; v < graph->value_count; v++)
        plan->first[v] = plan->last[v] = -1;
    for (int n = 0; n < plan->node_count; n++) {
        for (int i = 0; i < OP_MAX_INPUTS; i++)
            mark_alive(plan, graph, graph->nodes[n].inputs[i], n);
        for (int i = 0; i < OP_MAX_OUTPUTS; i++)
            mark_alive(plan, graph, graph->nodes[n].outputs[i], n);
    }
    mark_alive(plan, graph, graph->input, 0);
    mark_alive(plan, graph, graph->timesteps, 0);
    mark_alive(plan, graph, graph->output,
               graph->forward_nodes); /* the loss reads it after the forward nodes */
    if (plan->node_count > graph->forward_nodes) {
        mark_alive(plan, graph, graph->output_gradient, graph->forward_nodes - 1);
        mark_alive(plan, graph, graph->input_gradient, plan->node_count);
    }
    if (graph->input_gradient != GRAPH_NONE)
        keep_for_backward(plan, graph);
    if (side_stream) {
        keep_for_branch(plan, graph);
        keep_for_leaves(plan, graph);
    }
}

static bool alive_together(const Plan *plan, int a, int b) {
    return plan->first[a] <= plan->last[b] && plan->first[b] <= plan->last[a];
}

static bool in_arena(const Graph *graph, const Plan *plan, int value) {
    return graph->values[value].kind != VALUE_PARAMETER && plan->first[value] >= 0;
}

typedef struct SizedValue {
    int64_t bytes;
    int value;
} SizedValue;

static int compare_sizes(const void *a, const void *b) {
    const SizedValue *left = a, *right = b;
    if (left->bytes != right->bytes)
        return left->bytes > right->bytes ? -1 : 1;
    return left->value - right->value;
}

/* Lowest offset at which the value overlaps none of the placed values that are alive with it. */
static int64_t lowest_free_offset(const Plan *plan, const SizedValue *placed, int placed_count,
                                  SizedValue next) {
    int64_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < placed_count; i++) {
            int other = placed[i].value;
            int64_t end = plan->offset[other] + plan->bytes[other];
            if (alive_together(plan, other, next.value) && offset < end &&
                plan->offset[other] < offset + next.bytes) {
                offset = end;
                moved = true;
            }
        }
    }
    return offset;
}

Status plan_create(Plan *plan, const Graph *graph, int node_count, bool side_stream) {
    Status status = STATUS_OK;
    SizedValue *order = NULL;
    int count = 0;
    *plan = (Plan){.node_count = node_count, .value_count = graph->value_count};
    TRY(ALLOCATE(&plan->offset, graph->value_count));
    TRY(ALLOCATE(&plan->bytes, graph->value_count));
    TRY(ALLOCATE(&plan->first, graph->value_count));
    TRY(ALLOCATE(&plan->last, graph->value_count));
    TRY(ALLOCATE(&order, graph->value_count));
    find_lifetimes(plan, graph, side_stream);
    for (int v = 0; v < graph->value_count; v++) {
        plan->offset[v] = -1;
        if (!in_arena(graph, plan, v))
            continue;
        int64_t bytes = shape_count(graph->values[v].shape) * data_type_bytes(graph->values[v].type);
        plan->bytes[v] = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        plan->unshared_bytes += plan->bytes[v];
        order[count++] = (SizedValue){plan->bytes[v], v};
    }
    qsort(order, (size_t)count, sizeof *order, compare_sizes);
    for (int i = 0; i < count; i++) {
        int64_t offset = lowest_free_offset(plan, order, i, order[i]);
        plan->offset[order[i].value] = offset;
        if (offset + order[i].bytes > plan->arena_bytes)
            plan->arena_bytes = offset + order[i].bytes;
    }
done:
    free(order);
    if (status != STATUS_OK)
        plan_release(plan);
    return status;
}

void plan_release(Plan *plan) {
    free(plan->offset);
    free(plan->bytes);
    free(plan->first);
    free(plan->last);
    *plan = (Plan){0};
}

Status plan_check(const Plan *plan) {
    for (int a = 0; a < plan->value_count; a++)
        for (int b = a + 1; b < plan->value_count; b++)
            if (plan->offset[a] >= 0 && plan->offset[b] >= 0 && alive_together(plan, a, b) &&
                plan->offset[a] < plan->offset[b] + plan->bytes[b] &&
                plan->offset[b] < plan->offset[a] + plan->bytes[a])
                return status_error(STATUS_FAILURE,
                                    "memory plan: values %d and %d are alive together and overlap", a, b);
    return STATUS_OK;
}
