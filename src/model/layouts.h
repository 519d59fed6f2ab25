/* The operands of a network's ops that kernels want in layouts of their own (kernels/parameter_layout.h):
 * their memory, and one table of pieces for all, so that one call converts them. */
#ifndef MODEL_LAYOUTS_H
#define MODEL_LAYOUTS_H

#include "kernels/backend.h"
#include "model/graph.h"

/* Either the parameters, among the nodes' inputs, or their gradients, among the outputs. */
typedef enum LaidSide { LAID_PARAMETERS, LAID_GRADIENTS } LaidSide;

enum { LAID_OPERANDS = OP_MAX_INPUTS > OP_MAX_OUTPUTS ? OP_MAX_INPUTS : OP_MAX_OUTPUTS };

typedef struct LaidOperands {
    int64_t bytes;       /* of memory; 0: all operands are plain */
    void *memory;        /* backend memory, owned */
    void **address;      /* (nodes, LAID_OPERANDS) in memory; NULL: plain */
    LayoutPiece *pieces; /* backend memory: node after node */
    int64_t *end;        /* (nodes) pieces of the nodes up to this one, itself included */
} LaidOperands;

/* Makes room for the operands of nodes [0, nodes) of which ops (nodes) want or leave layouts. Nodes that want
 * the same layout of one parameter share it. Owned by the caller; laid_release accepts a zeroed struct. */
Status laid_create(LaidOperands *laid, LaidSide side, const Backend *backend, const Graph *graph,
                   const PreparedOp *ops, int nodes);
void laid_release(LaidOperands *laid, const Backend *backend);

/* Where a node's operand lies; NULL: it is plain. */
void *laid_operand(const LaidOperands *laid, int node, int operand);

#endif
