/* Observed pixels: one permutation of the pixels per mask seed, of which the first round(fraction * pixels)
 * are observed. Masks of one seed are nested: a larger fraction observes the same pixels and more. */
#ifndef DIFFUSION_MASK_H
#define DIFFUSION_MASK_H

#include <stdint.h>

#include "core/status.h"

/* round(fraction * pixels) into *observed. STATUS_BAD_INPUT: fraction outside (0, 1], or so small that no
 * pixel is observed. */
Status mask_observed_count(double fraction, int64_t pixels, int64_t *observed);

/* mask[pixel] = 1 where observed, 0 where missing, for (pixels) pixels. Errors as mask_observed_count. */
Status mask_fill(uint64_t mask_seed, double fraction, int64_t pixels, float *mask);

#endif
