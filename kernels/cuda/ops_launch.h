/* What the .cu files of ops export: launches on the context's stream, asynchronous, without allocation. All
 * pointers are device memory; activations are 16-byte aligned, parameters and their gradients need not be.
 * `bf16`: the element type of T; every other tensor is float. They fail only if the launch does. */
#ifndef KERNELS_CUDA_OPS_LAUNCH_H
#define KERNELS_CUDA_OPS_LAUNCH_H

#include "kernels/cuda/cuda_context.h"
#include "kernels/cuda/ops_math.h"
#include "kernels/cuda/single_channel_math.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- group_norm.cu: formulas in ops.def; NULL where absent ---- */

typedef struct GroupNormTensors {
    const void *x;                     /* T (N,H,W,C) */
    const float *shift, *gamma, *beta; /* (N,C) or NULL, (C), (C) */
    int64_t shift_pitch;               /* from one row of shift to the next, in elements */
    void *y;                           /* T */
    float *mean, *rstd;                /* (N,G) */
} GroupNormTensors;

typedef struct GroupNormBackwardTensors {
    const void *x;                                   /* T (N,H,W,C) */
    const float *shift, *gamma, *beta, *mean, *rstd; /* as in the forward pass */
    const void *dy, *addend;                         /* T; addend may be NULL */
    void *dx, *dx_rest;                              /* T: the plan's dx_channels of x, and the others */
    float *dgamma, *dbeta;                           /* (N,C): each sample's; or both NULL */
    float *dshift, *dbias;                           /* (N,C), and a copy without gaps; NULL: not wanted */
    int64_t shift_pitch, dshift_pitch; /* from one row of shift or dshift to the next, in elements */
} GroupNormBackwardTensors;

/* Allows the plan's shared memory; call once, when the op is prepared. */
Status cuda_group_norm_allow(const GroupNormPlan *plan, bool bf16, bool backward);
Status cuda_group_norm(const GroupNormPlan *plan, int64_t samples, bool bf16, bool silu, float epsilon,
                       const GroupNormTensors *tensors);
Status cuda_group_norm_backward(const GroupNormPlan *plan, int64_t samples, bool bf16, bool silu,
                                const GroupNormBackwardTensors *tensors);

/* ---- elementwise.cu ---- */

/* y = x sigmoid(x);  dx = dy silu'(x);  y = a + b;  T (count) each */
Status cuda_silu(const void *x, void *y, int64_t count, bool bf16);
Status cuda_silu_backward(const void *x, const void *dy, void *dx, int64_t count, bool bf16);
Status cuda_add(const void *a, const void *b, void *y, int64_t count, bool bf16);

/* Row r of y is a's row r, then b's; sizes in bytes per row, even. */
Status cuda_concat(const void *a, int64_t a_bytes, const void *b, int64_t b_bytes, void *y, int64_t rows);

/* ---- linear.cu: x (N,I), weight (O,I), bias (O), y (N,O) ---- */

typedef struct LinearSize {
    int64_t samples, inputs, outputs;
} LinearSize;

Status cuda_linear(LinearSize size, const float *x, const float *weight, const float *bias, float *y);
Status cuda_linear_backward_data(LinearSize size, const float *dy, const float *weight, float *dx);
Status cuda_linear_backward_parameters(LinearSize size, const float *x, const float *dy, float *dweight,
                                       float *dbias);

/* ---- embedding.cu: t (N), half_turns (C/2) in device memory, e (N,C) ---- */

Status cuda_time_embedding(const float *t, const double *half_turns, float *e, int64_t samples,
                           int64_t channels);

/* ---- single_channel.cu: tensors as in single_channel_math.h; bias may be NULL ---- */

Status cuda_single_expand(const SinglePlan *plan, const float *narrow, const float *weight, const float *bias,
                          void *wide);
Status cuda_single_reduce(const SinglePlan *plan, const void *wide, const float *weight, const float *bias,
                          float *narrow);
/* Each block's part: dweight (plan->blocks, C, taps), dbias (plan->blocks, single_biases(plan)) or NULL. */
Status cuda_single_weights(const SinglePlan *plan, const void *wide, const float *narrow, float *dweight,
                           float *dbias);

#ifdef __cplusplus
}
#endif

#endif
