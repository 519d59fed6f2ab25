/* Everything the two CPU backends are made of: the kernels of one op each (kernels/backend.h, OpKernel) and
 * the fused routines. A kernel becomes part of a backend only by its entry in backend_cpu.c. */
#ifndef KERNELS_CPU_KERNELS_CPU_H
#define KERNELS_CPU_KERNELS_CPU_H

#include "kernels/backend.h"

/* Plain loops, float tensors, double accumulation: one kernel_reference_<op> for every op of ops.def. The
 * oracle of all other kernels; slow. (reference.c, reference_convolution.c) */
#define OP(identifier, name, inputs, outputs) extern const OpKernel kernel_reference_##name;
#include "kernels/ops.def"
#undef OP

/* Convolutions: single-channel loops, Winograd or oneDNN, by geometry. (convolution.c) */
extern const OpKernel kernel_cpu_conv2d;
extern const OpKernel kernel_cpu_conv2d_backward_data;
extern const OpKernel kernel_cpu_conv2d_backward_parameters;
extern const OpKernel kernel_cpu_conv_transpose2d;
extern const OpKernel kernel_cpu_conv_transpose2d_backward_data;
extern const OpKernel kernel_cpu_conv_transpose2d_backward_parameters;

/* GroupNorm with shift and SiLU in one pass over memory. (group_norm.c) */
extern const OpKernel kernel_fused_group_norm;
extern const OpKernel kernel_fused_group_norm_backward;

/* Vectorised loops with a fixed order of summation. (linear.c, loops.c) */
extern const OpKernel kernel_loops_linear;
extern const OpKernel kernel_loops_linear_backward_data;
extern const OpKernel kernel_loops_linear_backward_parameters;
extern const OpKernel kernel_loops_time_embedding;
extern const OpKernel kernel_loops_silu;
extern const OpKernel kernel_loops_silu_backward;
extern const OpKernel kernel_loops_add;
extern const OpKernel kernel_loops_concat;

/* The fused routines of both CPU backends, as described in kernels/backend.h. (routines.c) */
Status cpu_lay_out(const LayoutPiece *pieces, int64_t count, const float *flat);
Status cpu_gather(const LayoutPiece *pieces, int64_t count, float *flat);
Status cpu_noise(const NoiseArguments *arguments);
Status cpu_loss(const LossArguments *arguments);
Status cpu_accumulate(int64_t *sum, const float *value, int64_t count, const float *limit, int64_t *bad);
Status cpu_collect(const ShardTotals *shards, int64_t count, const BatchInput *batch, int64_t *tail);
Status cpu_narrow(uint16_t *to, const float *from, int64_t count);
Status cpu_finish_gradient(const UpdateArguments *arguments);
Status cpu_plan_update(const UpdateArguments *arguments);
Status cpu_adamw(const UpdateArguments *arguments);
Status cpu_residual(const ResidualArguments *arguments);
Status cpu_reverse(const ReverseArguments *arguments);

/* One line for people: "CPU, oneDNN 2.6.3, AVX-512". Static storage. (onednn.c) */
const char *cpu_library_description(void);

/* The two backends, registered in kernels/backend.c. (backend_cpu.c) */
const Backend *backend_cpu(void);
const Backend *backend_cpu_reference(void);

#endif
