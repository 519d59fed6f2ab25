/* The three passes of one 2-d convolution by oneDNN: fp32, activations NHWC, single-threaded.
 *
 * A convolution joins a large tensor (N, large_h, large_w, large_c), its source, and a small one (N, small_h,
 * small_w, small_c), its destination, by weights (small_c, large_c, kernel, kernel); a transposed convolution
 * is the same with the roles of input and output exchanged. Names here follow the untransposed reading. */
#ifndef KERNELS_CPU_ONEDNN_H
#define KERNELS_CPU_ONEDNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef struct OnednnConvolution OnednnConvolution;

typedef enum OnednnPass {
    ONEDNN_FORWARD,          /* small = large * weights (+ bias) */
    ONEDNN_BACKWARD_DATA,    /* large = adjoint of the above applied to small; never a bias */
    ONEDNN_BACKWARD_WEIGHTS, /* weights = gradient (bias likewise) from large and the small tensor's gradient
                              */
} OnednnPass;

typedef struct OnednnGeometry {
    int64_t samples;
    int64_t large_h, large_w, large_c;
    int64_t small_h, small_w, small_c;
    int kernel, stride, pad;
    bool bias;
} OnednnGeometry;

/* Builds the primitives of one pass for execution by single threads; leaves OpenMP's thread count as it was.
 * Call outside parallel regions. STATUS_FAILURE with oneDNN's own status name if it refuses. *convolution is
 * the caller's, freed by onednn_convolution_destroy (NULL allowed), also after a failure. */
Status onednn_convolution_create(OnednnConvolution **convolution, const OnednnGeometry *geometry,
                                 OnednnPass pass);
void onednn_convolution_destroy(OnednnConvolution *convolution);

/* oneDNN's name of the implementation it chose, "jit:avx512_core". */
const char *onednn_convolution_implementation(const OnednnConvolution *convolution);

/* Bytes of the weights in the primitive's own layout, as written by onednn_convolution_pack. */
size_t onednn_convolution_packed_bytes(const OnednnConvolution *convolution);

/* Bytes of working memory of one run, to be 64-byte aligned. */
size_t onednn_convolution_scratch_bytes(const OnednnConvolution *convolution);

/* Re-lays plain weights (small_c, large_c, kernel, kernel) into packed. Not for ONEDNN_BACKWARD_WEIGHTS. */
Status onednn_convolution_pack(const OnednnConvolution *convolution, const float *plain, void *packed);

/* Runs the pass; may be called by several threads at once, each with its own tensors and scratch.
 * Forward and backward data read `weights` (packed) and `bias` (small_c; NULL without), and overwrite small
 * or large. Backward weights overwrites `weights` (plain) and `bias`. */
Status onednn_convolution_run(const OnednnConvolution *convolution, float *large, void *weights, float *bias,
                              float *small, void *scratch);

#endif
