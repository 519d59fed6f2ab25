/* The CPU's kernels, but for convolutions that take their weights and leave their gradients in layouts
 * (kernels/parameter_layout.h), the bias gradient in two parts: what the CPU itself has no use for. */
#ifndef TESTS_TAPING_LAYOUTS_H
#define TESTS_TAPING_LAYOUTS_H

#include "kernels/backend.h"

/* Whether the op's weight is in a layout: its kernel is not to be packed. */
bool taping_layouts_has(OpKind kind);

/* As an OpKernel's. */
Status taping_layouts_prepare(PreparedOp *op);
Status taping_layouts_run(PreparedOp *op, const void *const *inputs, void *const *outputs, void *scratch);

#endif
