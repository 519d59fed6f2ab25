/* The shape rules of ops.def in one place, for every kernel's `prepare`. */
#ifndef KERNELS_OP_CHECK_H
#define KERNELS_OP_CHECK_H

#include "core/status.h"
#include "kernels/op.h"

/* Checks kind, attributes and all shapes of a description against ops.def: sizes positive, required operands
 * there, convolution arithmetic, groups dividing channels, parameters (O,...,1), whole tensors but for
 * `shift` and `dshift`. STATUS_BAD_INPUT with a line that names the op and the operand, what was expected and
 * what was found. Kernels may add limits of their own. */
Status op_check(const OpDescription *op);

#endif
