/* Structural similarity (Wang, Bovik, Sheikh, Simoncelli: "Image quality assessment: from error visibility to
 * structural similarity", 2004): the mean over all positions of a window inside the image of
 *
 *   (2 ma mb + C1) (2 cab + C2) / ((ma^2 + mb^2 + C1) (va + vb + C2)),  C1 = (0.01 L)^2, C2 = (0.03 L)^2
 *
 * with means, variances and covariance under the window's weights: a Gaussian of standard deviation 1.5 on 11
 * x 11 pixels, summing to 1. Along a side shorter than 11 the window is as long as the side (centred: for
 * even lengths between two pixels). */
#ifndef DIFFUSION_SSIM_H
#define DIFFUSION_SSIM_H

#include <stdint.h>

/* Of a and b (height, width), values with the data range L. In [-1, 1]; 1 for equal images. */
double ssim(const float *a, const float *b, int64_t height, int64_t width, double range);

#endif
