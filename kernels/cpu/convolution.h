/* What convolution.c asks of the implementations it chooses from (oneDNN, Winograd, single-channel loops):
 * one pass of one 2-d convolution, fp32, activations NHWC, on the calling thread alone.
 *
 * A convolution joins a large tensor (N, large_h, large_w, large_c), its source, and a small one (N, small_h,
 * small_w, small_c), its destination, by weights (small_c, large_c, kernel, kernel); a transposed convolution
 * is the same with the roles of input and output exchanged. Names here follow the untransposed reading. */
#ifndef KERNELS_CPU_CONVOLUTION_H
#define KERNELS_CPU_CONVOLUTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef enum ConvolutionPass {
    CONVOLUTION_FORWARD,          /* small = large * weights (+ bias) (+ addend) */
    CONVOLUTION_BACKWARD_DATA,    /* large = adjoint of the above applied to small; never a bias */
    CONVOLUTION_BACKWARD_WEIGHTS, /* weights = gradient (bias likewise) from large and the small tensor's
                                     gradient */
} ConvolutionPass;

typedef struct ConvolutionGeometry {
    int64_t samples;
    int64_t large_h, large_w, large_c;
    int64_t small_h, small_w, small_c;
    int kernel, stride, pad;
    bool bias;
} ConvolutionGeometry;

/* One prepared pass; implementations put it first in their own struct. */
typedef struct Convolution Convolution;
struct Convolution {
    const char *implementation; /* for people: "jit:avx512_core" */
    size_t packed_bytes;  /* weights in the implementation's own layout; 0 for the backward weights pass */
    size_t scratch_bytes; /* working memory of one run, 64-byte aligned, contents undefined */

    /* Re-lays plain weights (small_c, large_c, kernel, kernel) into packed (64-byte aligned). May be called
     * by several threads at once with different `packed`. Not for the backward weights pass. */
    Status (*pack)(const Convolution *self, const float *plain, void *packed);

    /* May be called by several threads at once, each with its own tensors and scratch. Forward and backward
     * data read `weights` (packed), `bias` (small_c; NULL without) and `addend` (as small; NULL without and
     * for every pass but forward) and overwrite small or large; backward weights overwrites `weights` (plain)
     * and `bias`. */
    Status (*run)(const Convolution *self, float *large, void *weights, float *bias, const float *addend,
                  float *small, void *scratch);

    void (*destroy)(Convolution *self);
};

/* Each creates *convolution (the caller's, freed by its destroy; NULL after a failure) or, if it does not
 * handle this geometry or would be slow at it, leaves it NULL and succeeds; oneDNN handles all. Call outside
 * parallel regions. STATUS_FAILURE: out of memory, or oneDNN refused. */
Status onednn_convolution_create(Convolution **convolution, const ConvolutionGeometry *geometry,
                                 ConvolutionPass pass);
Status winograd_convolution_create(Convolution **convolution, const ConvolutionGeometry *geometry,
                                   ConvolutionPass pass);
Status single_convolution_create(Convolution **convolution, const ConvolutionGeometry *geometry,
                                 ConvolutionPass pass);

/* sums[c] = sum of values[p, c] over pixels, in a fixed order. (convolution.c) */
void convolution_sum_pixels(float *restrict sums, const float *restrict values, int64_t pixels,
                            int64_t channels);

/* values[i] += addend[i]; NULL adds nothing. (convolution.c) */
void convolution_add(float *restrict values, const float *restrict addend, int64_t count);

#endif
