#include "model/describe.h"

#include <stdlib.h>
#include <string.h>

#include "model/plan.h"

enum { LARGEST_VALUES = 8 };

char *describe_number(int64_t number, char text[DESCRIBE_NUMBER_BYTES]) {
    char digits[DESCRIBE_NUMBER_BYTES];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)number), used = 0;
    for (int i = 0; i < length && used < DESCRIBE_NUMBER_BYTES - 2; i++) {
        if (i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-')
            text[used++] = ',';
        text[used++] = digits[i];
    }
    text[used] = '\0';
    return text;
}

char *describe_bytes(int64_t bytes, char text[DESCRIBE_NUMBER_BYTES]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < sizeof units / sizeof *units; unit++)
        value /= 1024;
    snprintf(text, DESCRIBE_NUMBER_BYTES, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

char *describe_shape(int rank, const int64_t *dims, char text[DESCRIBE_SHAPE_BYTES]) {
    int used = 0;
    text[0] = '\0';
    for (int i = 0; i < rank && used < DESCRIBE_SHAPE_BYTES - 24; i++)
        used += snprintf(text + used, DESCRIBE_SHAPE_BYTES - (size_t)used, "%s%lld", i ? "x" : "",
                         (long long)dims[i]);
    return text;
}

void describe_parameters(const Graph *graph, FILE *stream) {
    char shape[DESCRIBE_SHAPE_BYTES], count[DESCRIBE_NUMBER_BYTES], bytes[DESCRIBE_NUMBER_BYTES];
    fprintf(stream, "%-36s %16s %12s %12s\n", "parameter", "shape", "elements", "bytes");
    for (int p = 0; p < graph->parameter_count; p++) {
        const Parameter *parameter = &graph->parameters[p];
        fprintf(stream, "%-36s %16s %12s %12s\n", parameter->name,
                describe_shape(parameter->rank, parameter->dims, shape),
                describe_number(parameter->count, count),
                describe_number(parameter->count * (int64_t)sizeof(float), bytes));
    }
    fprintf(stream, "%-36s %16s %12s %12s\n", "total", "", describe_number(graph->parameter_elements, count),
            describe_number(graph->parameter_elements * (int64_t)sizeof(float), bytes));
}

/* ---- memory ---- */

/* The largest sum of values alive at one node: no plan can take less. */
static int64_t least_bytes(const Plan *plan) {
    int64_t most = 0;
    for (int n = 0; n < plan->node_count; n++) {
        int64_t alive = 0;
        for (int v = 0; v < plan->value_count; v++)
            if (plan->offset[v] >= 0 && plan->first[v] <= n && n <= plan->last[v])
                alive += plan->bytes[v];
        if (alive > most)
            most = alive;
    }
    return most;
}

static void print_plan(const char *name, const Plan *plan, FILE *stream) {
    char arena[DESCRIBE_NUMBER_BYTES], least[DESCRIBE_NUMBER_BYTES], unshared[DESCRIBE_NUMBER_BYTES];
    fprintf(stream, "%-10s %6d nodes  arena %10s  least possible %10s  without sharing %10s (%.2f times)\n",
            name, plan->node_count, describe_bytes(plan->arena_bytes, arena),
            describe_bytes(least_bytes(plan), least), describe_bytes(plan->unshared_bytes, unshared),
            (double)plan->unshared_bytes / (double)plan->arena_bytes);
}

/* Node `n` of the plan; one that lives on behind the last node is alive "at the end". */
static const char *node_name(const Graph *graph, const Plan *plan, int n) {
    return n < plan->node_count ? graph->nodes[n].name : "the end";
}

static Status print_largest(const Graph *graph, const Plan *plan, FILE *stream) {
    char shape[DESCRIBE_SHAPE_BYTES], bytes[DESCRIBE_NUMBER_BYTES];
    bool *printed = NULL;
    Status status = ALLOCATE(&printed, plan->value_count);
    if (status != STATUS_OK)
        return status;
    fprintf(stream, "largest values in training:\n");
    for (int i = 0; i < LARGEST_VALUES; i++) {
        int best = GRAPH_NONE;
        for (int v = 0; v < plan->value_count; v++)
            if (plan->offset[v] >= 0 && !printed[v] &&
                (best == GRAPH_NONE || plan->bytes[v] > plan->bytes[best]))
                best = v;
        if (best == GRAPH_NONE)
            break;
        printed[best] = true;
        fprintf(stream, "  %-32s %16s %10s  alive from node %3d (%s) to %3d (%s)\n", graph->values[best].name,
                describe_shape(4, graph->values[best].shape.d, shape),
                describe_bytes(plan->bytes[best], bytes), plan->first[best],
                node_name(graph, plan, plan->first[best]), plan->last[best],
                node_name(graph, plan, plan->last[best]));
    }
    free(printed);
    return STATUS_OK;
}

Status describe_memory(const Graph *graph, bool side_stream, FILE *stream) {
    Status status = STATUS_OK;
    Plan training = {0}, inference = {0};
    TRY(plan_create(&training, graph, graph->node_count, side_stream));
    TRY(plan_create(&inference, graph, graph->forward_nodes, false));
    fprintf(stream, "activations of one worker, shard of %lld images:\n",
            (long long)graph->values[graph->input].shape.d[0]);
    print_plan("training", &training, stream);
    print_plan("inference", &inference, stream);
    TRY(print_largest(graph, &training, stream));
done:
    plan_release(&training);
    plan_release(&inference);
    return status;
}

/* ---- cost ---- */

GraphCost graph_cost(const Graph *graph) {
    GraphCost cost = {0};
    for (int n = 0; n < graph->node_count; n++)
        *(n < graph->forward_nodes ? &cost.forward : &cost.backward) += op_flops(&graph->nodes[n].op);
    return cost;
}

/* The gradient nodes of a layer carry its name. */
static int64_t backward_flops(const Graph *graph, const char *layer) {
    int64_t flops = 0;
    for (int n = graph->forward_nodes; n < graph->node_count; n++)
        if (strcmp(graph->nodes[n].name, layer) == 0)
            flops += op_flops(&graph->nodes[n].op);
    return flops;
}

static void print_layers(const Graph *graph, double images, double total, FILE *stream) {
    char shape[DESCRIBE_SHAPE_BYTES];
    fprintf(stream, "%-26s %-18s %14s %12s %12s %7s\n", "layer", "op", "output (HxWxC)", "forward",
            "backward", "share");
    for (int n = 0; n < graph->forward_nodes; n++) {
        const Node *node = &graph->nodes[n];
        double forward = (double)op_flops(&node->op), backward = (double)backward_flops(graph, node->name);
        if (forward + backward > 0)
            fprintf(stream, "%-26s %-18s %14s %9.3f MF %9.3f MF %6.2f%%\n", node->name,
                    op_name(node->op.kind), describe_shape(3, node->op.outputs[0].d + 1, shape),
                    forward / images * 1e-6, backward / images * 1e-6, 100 * (forward + backward) / total);
    }
}

static void print_ops(const Graph *graph, double images, double total, FILE *stream) {
    fprintf(stream, "\n%-38s %6s %15s %7s\n", "op", "nodes", "per image", "share");
    for (int kind = 0; kind < OP_KIND_COUNT; kind++) {
        int nodes = 0;
        double flops = 0;
        for (int n = 0; n < graph->node_count; n++)
            if ((int)graph->nodes[n].op.kind == kind) {
                nodes++;
                flops += (double)op_flops(&graph->nodes[n].op);
            }
        if (nodes > 0)
            fprintf(stream, "%-38s %6d %12.3f MF %6.2f%%\n", op_name((OpKind)kind), nodes,
                    flops / images * 1e-6, 100 * flops / total);
    }
}

void describe_cost(const Graph *graph, int64_t images, FILE *stream) {
    GraphCost cost = graph_cost(graph);
    double batch = (double)graph->values[graph->input].shape.d[0],
           total = (double)(cost.forward + cost.backward);
    double forward = (double)cost.forward / batch * 1e-9, backward = (double)cost.backward / batch * 1e-9;
    fprintf(stream,
            "floating-point operations (MF = 10^6; a multiply-add is two, taps in the padding count):\n");
    print_layers(graph, batch, total, stream);
    print_ops(graph, batch, total, stream);
    fprintf(stream, "\none image: forward %.4f GFLOP, backward %.4f, both %.4f\n", forward, backward,
            forward + backward);
    fprintf(stream, "a step of %lld images: forward %.2f GFLOP, backward %.2f, both %.2f\n",
            (long long)images, forward * (double)images, backward * (double)images,
            (forward + backward) * (double)images);
}
