/* Which convolution of cuDNN's an op is. */
#ifndef KERNELS_CUDA_CONVOLUTION_CUDNN_H
#define KERNELS_CUDA_CONVOLUTION_CUDNN_H

#include "kernels/cuda/cudnn_plan.h"

/* The convolution that an op of the six convolution kinds asks of cuDNN; false if it asks for none, since the
 * op is of another kind or loops of our own compute it (single_channel.h). The shapes are op_check's.
 *
 * Gradients of bf16 convolutions' weights leave cuDNN as bf16, as in PyTorch's autocast, and are added in
 * float: those of its engines that return float are compiled at run time (cudnn_plan.h). */
bool convolution_from_op(const OpDescription *op, bool tf32, CudnnConvolution *convolution);

#endif
