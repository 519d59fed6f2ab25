/* How good an ensemble of posterior draws is, against the truth, observed and missing pixels apart. */
#ifndef DIFFUSION_ENSEMBLE_H
#define DIFFUSION_ENSEMBLE_H

#include <stdint.h>

#include "core/status.h"

/* Means over a group of pixels. NaN where not defined: every field for a group without pixels; spread,
 * coverage and crps for fewer than 2 draws. */
typedef struct EnsembleMetrics {
    int64_t pixels;
    double rmse;     /* of the mean of the draws: sqrt(mean (mean - truth)^2) */
    double psnr;     /* 20 log10(2 / rmse) dB, data range [-1, 1]; infinite for rmse = 0 */
    double spread;   /* mean standard deviation of the draws (n - 1 in the denominator) */
    double coverage; /* share of pixels with the truth in the central interval, ends included */
    double crps;     /* mean |x_i - truth| - sum_{i,j} |x_i - x_j| / (2 n (n-1)), lower is better: continuous
                      * ranked probability score, unbiased in n (Ferro, "Fair scores for ensemble
                      * forecasts", 2014) */
} EnsembleMetrics;

typedef struct EnsembleReport {
    int64_t draws;
    /* The central interval is [x_(a), x_(n+1-a)] of the n sorted draws, with the a that brings its coverage
     * closest to 0.9; for draws and truth exchangeable the coverage is exactly (n + 1 - 2a) / (n + 1). NaN
     * for n < 2. */
    double nominal_coverage;
    EnsembleMetrics observed, missing;
} EnsembleReport;

/* draws (n, pixels), truth (pixels), mask (pixels) of 0 or 1; host memory. STATUS_FAILURE: out of
 * memory or n < 1. */
Status ensemble_measure(const float *draws, int64_t n, const float *truth, const float *mask, int64_t pixels,
                        EnsembleReport *report);

/* Mean and standard deviation (n - 1; 0 for n = 1) of the draws of every pixel; either output may be NULL. */
void ensemble_moments(const float *draws, int64_t n, int64_t pixels, float *mean, float *deviation);

/* The a of EnsembleReport, 1 <= a <= n/2; 0 for n < 2. */
int64_t ensemble_interval_rank(int64_t n);

#endif
