/* What cuDNN's convolutions need around them: biases and their gradients.
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

/* y[pixel, c] += addend[pixel, c] + bias[c], rounded once; either may be NULL. y and addend (pixels,
 * channels), 16-byte aligned, and bias (channels) are of `type`. */
Status cuda_add_to_convolution(void *y, DataType type, const void *addend, const void *bias, int64_t pixels,
                               int64_t channels);

/* sums[chunk, c] = sum of values[pixel, c] over the chunk's pixels, in an order that depends on type, pixels
 * and channels alone; values 16-byte aligned, sums (cuda_pixel_chunks, channels). */
Status cuda_sum_chunks(const void *values, DataType type, float *sums, int64_t pixels, int64_t channels);
int64_t cuda_pixel_chunks(DataType type, int64_t pixels, int64_t channels);

/* Numbers in [-1, 1) for timing; not the program's random numbers. */
Status cuda_fill_random(void *values, DataType type, int64_t count, uint32_t seed);

#ifdef __cplusplus
}
#endif

#endif
