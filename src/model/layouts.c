#include "model/layouts.h"

#include <stdlib.h>

enum { ALIGNMENT = 256 };

/* What laid_create goes through, twice: first to measure, then to fill. */
typedef struct Walk {
    LaidSide side;
    const Graph *graph;
    const PreparedOp *ops;
    LayoutPiece *pieces; /* NULL while measuring */
    int64_t count;
} Walk;

static const ParameterLayout *layout_of(const Walk *walk, int node, int operand) {
    const PreparedOp *op = &walk->ops[node];
    if (walk->side == LAID_PARAMETERS)
        return operand < OP_MAX_INPUTS ? &op->input_layouts[operand] : NULL;
    return operand < OP_MAX_OUTPUTS ? &op->output_layouts[operand] : NULL;
}

static int value_of(const Walk *walk, int node, int operand) {
    const Node *n = &walk->graph->nodes[node];
    return walk->side == LAID_PARAMETERS ? n->inputs[operand] : n->outputs[operand];
}

static bool is_laid(const Walk *walk, int node, int operand) {
    const ParameterLayout *layout = layout_of(walk, node, operand);
    return layout && layout->parts > 0 && value_of(walk, node, operand) != GRAPH_NONE;
}

/* The earlier operand that is the same parameter in the same layout, as an index of `address`, or -1. */
static int shared_with(const Walk *walk, int node, int operand) {
    for (int n = 0; walk->side == LAID_PARAMETERS && n < node; n++)
        for (int i = 0; i < OP_MAX_INPUTS; i++)
            if (is_laid(walk, n, i) && value_of(walk, n, i) == value_of(walk, node, operand) &&
                parameter_layout_equal(layout_of(walk, n, i), layout_of(walk, node, operand)))
                return n * LAID_OPERANDS + i;
    return -1;
}

static Status lay_operand(LaidOperands *laid, Walk *walk, int node, int operand) {
    Status status = STATUS_OK;
    const ParameterLayout *layout = layout_of(walk, node, operand);
    const Value *value = &walk->graph->values[value_of(walk, node, operand)];
    const ValueKind expected = walk->side == LAID_PARAMETERS ? VALUE_PARAMETER : VALUE_PARAMETER_GRADIENT;
    void **address = &laid->address[node * LAID_OPERANDS + operand];
    const int shared = shared_with(walk, node, operand);
    if (value->kind != expected || layout->outer * layout->inner * layout->taps != shape_count(value->shape))
        FAIL(STATUS_FAILURE, "%s: a layout of %lld elements for %s", walk->graph->nodes[node].name,
             (long long)(layout->outer * layout->inner * layout->taps), value->name);
    if (shared >= 0) {
        *address = laid->address[shared];
        goto done;
    }
    if (laid->memory)
        *address = (char *)laid->memory + laid->bytes;
    laid->bytes += ((int64_t)parameter_layout_bytes(layout) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    walk->count += parameter_layout_cut(layout, walk->graph->parameters[value->parameter].offset, *address,
                                        walk->pieces ? walk->pieces + walk->count : NULL);
done:
    return status;
}

static Status walk_nodes(LaidOperands *laid, Walk *walk, int nodes) {
    Status status = STATUS_OK;
    walk->count = 0;
    laid->bytes = 0;
    for (int n = 0; n < nodes; n++) {
        for (int i = 0; i < LAID_OPERANDS; i++)
            if (is_laid(walk, n, i))
                TRY(lay_operand(laid, walk, n, i));
        laid->end[n] = walk->count;
    }
done:
    return status;
}

Status laid_create(LaidOperands *laid, LaidSide side, const Backend *backend, const Graph *graph,
                   const PreparedOp *ops, int nodes) {
    Status status = STATUS_OK;
    Walk walk = {.side = side, .graph = graph, .ops = ops};
    *laid = (LaidOperands){0};
    TRY(ALLOCATE(&laid->address, (int64_t)nodes * LAID_OPERANDS));
    TRY(ALLOCATE(&laid->end, nodes));
    TRY(walk_nodes(laid, &walk, nodes));
    if (laid->bytes == 0)
        goto done;
    size_t table = (size_t)walk.count * sizeof *walk.pieces;
    TRY(ALLOCATE(&walk.pieces, walk.count));
    TRY(backend->allocate(&laid->memory, (size_t)laid->bytes));
    TRY(walk_nodes(laid, &walk, nodes));
    TRY(backend->allocate((void **)&laid->pieces, table));
    TRY(backend->copy_in(laid->pieces, walk.pieces, table));
done:
    free(walk.pieces);
    return status;
}

void laid_release(LaidOperands *laid, const Backend *backend) {
    backend->release(laid->memory);
    backend->release(laid->pieces);
    free(laid->address);
    free(laid->end);
    *laid = (LaidOperands){0};
}

void *laid_operand(const LaidOperands *laid, int node, int operand) {
    return laid->address[node * LAID_OPERANDS + operand];
}
