/* Convolutions and transposed convolutions with a single channel on one side (the stem, out.conv and their
 * gradients): bound by memory, where a matrix product would leave most of its tile empty. Weights and bias
 * stay float, the tensors may each be float or bf16. Any kernel, stride and pad; fast at 3x3 with stride 1.
 *
 * The functions are those of an OpKernel, for any of the six convolution ops: a kernel's own prepare, pack,
 * run and release call them where single_channel_wants says so. */
#ifndef KERNELS_CUDA_SINGLE_CHANNEL_H
#define KERNELS_CUDA_SINGLE_CHANNEL_H

#include "kernels/backend.h"

/* A convolution op with one channel on either side. The shapes are op_check's. */
bool single_channel_wants(const OpDescription *description);

/* Sets op->state, scratch_bytes, implementation and, but for parameter gradients, packed. */
Status single_channel_prepare(PreparedOp *op);

/* Copies weight and bias (inputs in ops.def's order, device memory) into op->packed, asynchronously. Does
 * nothing for parameter gradients. */
Status single_channel_pack(PreparedOp *op, const void *const *inputs);

/* Launches the op; inputs that are parameters are ignored. */
Status single_channel_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                          void *scratch);

/* Frees state and packed; accepts a half-prepared op. */
void single_channel_release(PreparedOp *op);

#endif
