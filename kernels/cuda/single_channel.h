/* Convolutions and transposed convolutions with a single channel on one side (the stem, out.conv and their
 * gradients): bound by memory, where a matrix product would leave most of its tile empty. Weights and bias
 * stay float, the tensors may each be float or bf16. Any kernel, stride and pad; fast at 3x3 with stride 1.
 *
 * The functions are those of an OpKernel, for any of the six convolution ops: a kernel's own prepare,
 * run and release call them where single_channel_wants says so. */
#ifndef KERNELS_CUDA_SINGLE_CHANNEL_H
#define KERNELS_CUDA_SINGLE_CHANNEL_H

#include "kernels/backend.h"

/* A convolution op with one channel on either side. The shapes are op_check's. */
bool single_channel_wants(const OpDescription *description);

/* Sets op->state, implementation and, for parameter gradients, their layouts. */
Status single_channel_prepare(PreparedOp *op);

/* Launches the op; it needs no scratch. */
Status single_channel_run(const PreparedOp *op, const void *const *inputs, void *const *outputs);

/* Frees state; accepts a half-prepared op. */
void single_channel_release(PreparedOp *op);

#endif
