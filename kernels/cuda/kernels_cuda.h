/* Everything the CUDA backend is made of: the kernels of one op each (kernels/backend.h, OpKernel) and the
 * fused routines. A kernel becomes part of the backend only by its entry in backend_cuda.c. For C sources
 * only; what .cu files export is declared in the headers beside them. */
#ifndef KERNELS_CUDA_KERNELS_CUDA_H
#define KERNELS_CUDA_KERNELS_CUDA_H

#include "kernels/backend.h"

/* Convolutions: cuDNN, or loops of our own where one side has a single channel. (convolution_cudnn.c) */
extern const OpKernel kernel_cudnn_conv2d;
extern const OpKernel kernel_cudnn_conv2d_backward_data;
extern const OpKernel kernel_cudnn_conv2d_backward_parameters;
extern const OpKernel kernel_cudnn_conv_transpose2d;
extern const OpKernel kernel_cudnn_conv_transpose2d_backward_data;
extern const OpKernel kernel_cudnn_conv_transpose2d_backward_parameters;

/* The time path: always float. */
extern const OpKernel kernel_cuda_time_embedding;
extern const OpKernel kernel_cuda_linear;
extern const OpKernel kernel_cuda_linear_backward_data;
extern const OpKernel kernel_cuda_linear_backward_parameters;
extern const OpKernel kernel_cuda_silu;
extern const OpKernel kernel_cuda_silu_backward;

/* Feature maps: float or bf16. */
extern const OpKernel kernel_cuda_group_norm;
extern const OpKernel kernel_cuda_group_norm_backward;
extern const OpKernel kernel_cuda_add;
extern const OpKernel kernel_cuda_concat;

/* The fused routines, as described in kernels/backend.h: they only launch. */
Status cuda_lay_out(const LayoutPiece *pieces, int64_t count, const float *flat);
Status cuda_gather(const LayoutPiece *pieces, int64_t count, float *flat);
Status cuda_noise(const NoiseArguments *arguments);
Status cuda_loss(const LossArguments *arguments);
Status cuda_accumulate(int64_t *sum, const float *value, int64_t count, const float *limit, int64_t *bad);
Status cuda_collect(const ShardTotals *shards, int64_t count, const BatchInput *batch, int64_t *tail);
enum { CUDA_PIECE_ELEMENTS = 4096 };
Status cuda_narrow(uint16_t *to, const float *from, int64_t count);
Status cuda_finish_gradient(const UpdateArguments *arguments);
Status cuda_plan_update(const UpdateArguments *arguments);
Status cuda_adamw(const UpdateArguments *arguments);
Status cuda_residual(const ResidualArguments *arguments);
Status cuda_reverse(const ReverseArguments *arguments);

/* The backend, registered in kernels/backend.c where it was built. (backend_cuda.c) */
const Backend *backend_cuda(void);

#endif
