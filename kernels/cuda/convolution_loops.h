/* What cuDNN's convolutions need around them: weights in cuDNN's layout and back, biases and their gradients.
 * Device memory, NHWC; launches only (kernels/cuda/cuda_context.h). For C and CUDA C++ alike. */
#ifndef KERNELS_CUDA_CONVOLUTION_LOOPS_H
#define KERNELS_CUDA_CONVOLUTION_LOOPS_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "core/status.h"
#include "kernels/op.h"

/* packed[o, tap, i] = plain[o, i, tap], rounded to `type`: (outer, inner, taps) float to (outer, taps,
 * inner). */
Status cuda_pack_weights(const float *plain, void *packed, DataType type, int64_t outer, int64_t inner,
                         int64_t taps);

/* plain[o, i, tap] = packed[o, tap, i]: the way back, for gradients. */
Status cuda_unpack_weights(const void *packed, DataType type, float *plain, int64_t outer, int64_t inner,
                           int64_t taps);

/* y[pixel, c] += bias[c]; y (pixels, channels) of `type`, 16-byte aligned. */
Status cuda_add_bias(void *y, DataType type, const float *bias, int64_t pixels, int64_t channels);

/* sums[c] = sum of values[pixel, c] over pixels, in an order that depends on pixels and channels alone;
 * values 16-byte aligned, scratch: cuda_sum_pixels_bytes. */
Status cuda_sum_pixels(const void *values, DataType type, float *sums, int64_t pixels, int64_t channels,
                       void *scratch);
size_t cuda_sum_pixels_bytes(int64_t pixels, int64_t channels);

/* Numbers in [-1, 1) for timing; not the program's random numbers. */
Status cuda_fill_random(void *values, DataType type, int64_t count, uint32_t seed);

#ifdef __cplusplus
}
#endif

#endif
