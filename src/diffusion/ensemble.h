/* How good an ensemble of posterior draws x_1 .. x_n (images) is against the truth x: the measures of one
 * unit (one mask, one image, one sampler), missing and observed pixels apart. The rows are in
 * ensemble_metrics.def.
 *
 * Of a group of P pixels, with mean m and variance s^2 (n - 1 in the denominator) of a pixel's draws, and the
 * distance d(a, b) = sqrt(mean (a - b)^2) over the group:
 *
 *   rmse          d(m, x)
 *   psnr          20 log10(2 / rmse): data range [-1, 1]; infinite for rmse = 0
 *   spread        sqrt(mean s^2)
 *   spread_skill  sqrt((n + 1) / n) spread / rmse; exact draws have E (m - x)^2 = (1 + 1/n) E s^2 (Fortin
 *                 et al., "Why should ensemble spread match the RMSE of the ensemble mean?", 2014). Of one
 *                 unit it is a ratio of noisy numbers, above 1 on average; over units, summary_root_ratio is
 *                 the one to quote
 *   coverage50    share of pixels with the truth in [x_(a), x_(n+1-a)] of the n sorted draws, ends included,
 *   coverage90    with the a that brings the nominal value (n + 1 - 2a) / (n + 1) closest to 0.5 or 0.9. That
 *                 value is exact for draws and truth exchangeable and without ties; tied pixels count as
 *                 covered
 *   crps          mean over pixels of mean_i |x_i - x| - sum_{i<j} |x_i - x_j| / (n (n - 1)): unbiased in n
 *                 (Ferro, "Fair scores for ensemble forecasts", 2014)
 *   energy        mean_i d(x_i, x) - sum_{i<j} d(x_i, x_j) / (n (n - 1)): the energy score (Gneiting and
 *                 Raftery, "Strictly proper scoring rules", 2007, section 4.2) in its unbiased form, divided
 *                 by sqrt(P), so that it is in units of pixel values; for P = 1 it is the CRPS. Unlike the
 *                 CRPS it sees how pixels go together
 *   diversity     sum_{i<j} d(x_i, x_j) / (n (n - 1) / 2)
 *
 * Of more than 2,896 draws energy and diversity take about ENSEMBLE_MOST_PAIRS pairs, fixed ones of which
 * every draw is in as many, instead of all n (n - 1) / 2: unbiased for exchangeable draws, and further from
 * the mean over all pairs by at most a standard deviation of d(x_i, x_j) / sqrt(ENSEMBLE_MOST_PAIRS), a
 * 2,048th.
 *
 * Of the observation, observed.chi_square: mean over draws and observed pixels of ((y - x_i) / sigma_y)^2. If
 * y = x + sigma_y * noise and the truth x is from the prior, then given y a draw from the exact posterior is
 * distributed as the truth, so y - x_i is distributed as y - x: the expectation is exactly 1, on average over
 * truths and noise, for every n. Of one unit it varies by about sqrt(2 / P); correlated pixels make that
 * more. Without added noise (y = x) exact draws are not exchangeable with the truth and fall below 1: for one
 * Gaussian pixel of variance S, 1 - r^2 with r = sigma_y^2 / (S + sigma_y^2). Draws that repeat y have 0.
 *
 * Of the image: ssim, ssim.h's of the mean m. With labels: tv = sum_k |f_k - w_k| / 2 between the draws'
 * label frequencies f and the exact weights w; n exact draws do not have 0, but on average tv_exact = sum_k
 * E|K_k / n - w_k| / 2 with K_k binomial (n, w_k), and more where the labels are read from the images and
 * some misread. right: the share of draws with the truth's label; for exact draws sum_k w_k^2 on average, so
 * more than they have is a sign of draws too sure, not of good ones. */
#ifndef DIFFUSION_ENSEMBLE_H
#define DIFFUSION_ENSEMBLE_H

#include <stdint.h>

#include "core/status.h"

enum { ENSEMBLE_MOST_PAIRS = 1 << 22 };

typedef enum EnsembleMetric {
#define METRIC(group, identifier, ...) ENSEMBLE_##group##_##identifier,
#include "diffusion/ensemble_metrics.def"
#undef METRIC
    ENSEMBLE_METRIC_COUNT
} EnsembleMetric;

typedef enum EnsembleGroup { ENSEMBLE_MISSING, ENSEMBLE_OBSERVED, ENSEMBLE_IMAGE } EnsembleGroup;

typedef enum EnsembleDirection {
    ENSEMBLE_NONE, /* describes the unit or the draws */
    ENSEMBLE_LOWER,
    ENSEMBLE_HIGHER,
    ENSEMBLE_TARGET, /* ensemble_target is what exact draws have */
} EnsembleDirection;

/* A row of ensemble_metrics.def. */
typedef struct EnsembleMetricRow {
    const char *name; /* "missing.rmse", "ssim": unique; letters, digits, '_' and '.' */
    const char *unit; /* "" or "dB"; everything else is in pixel values of [-1, 1] or a pure number */
    const char *description;
    EnsembleGroup group;
    EnsembleDirection direction;
} EnsembleMetricRow;

/* One unit. All borrowed, host memory. */
typedef struct EnsembleInput {
    int64_t draw_count, height, width;
    const float *draws;          /* (draw_count, height, width) */
    const float *truth;          /* (height, width) */
    const float *mask;           /* (height, width): 1 observed, 0 missing */
    const float *y;              /* (height, width), read where observed; or NULL: no chi-square */
    double sigma_y;              /* 0: no chi-square */
    int label_count;             /* 0 or 1: neither tv nor right */
    const int *labels;           /* (draw_count), 0 .. label_count - 1; or NULL: neither tv nor right */
    int true_label;              /* likewise; -1: not known, no right */
    const double *label_weights; /* (label_count), summing to 1: exact P(label | y); or NULL: no tv */
} EnsembleInput;

/* NaN where not defined: everything but .pixels of a group without pixels; spread, spread_skill, coverage,
 * crps, energy and diversity of 1 draw; what the input has no numbers for. */
typedef struct EnsembleReport {
    double values[ENSEMBLE_METRIC_COUNT];
} EnsembleReport;

/* Fills every value. STATUS_FAILURE: out of memory, no draw, a pixel of a draw that is not finite, a label
 * out of range. */
Status ensemble_measure(const EnsembleInput *input, EnsembleReport *report);

/* Row 0 .. ENSEMBLE_METRIC_COUNT - 1. */
const EnsembleMetricRow *ensemble_metric(EnsembleMetric metric);

/* The value exact draws have on average: coverage, the nominal of `draw_count` draws; spread_skill and
 * chi-square, 1. NaN for rows that are not TARGET. */
double ensemble_target(EnsembleMetric metric, int64_t draw_count);

/* Mean and standard deviation (n - 1; 0 for n = 1) of the draws of every pixel; either output may be NULL. */
void ensemble_moments(const float *draws, int64_t n, int64_t pixels, float *mean, float *deviation);

/* The a of coverage near `level`, 1 <= a <= n/2; 0 for n < 2. And its nominal value; NaN for n < 2. */
int64_t ensemble_interval_rank(int64_t n, double level);
double ensemble_nominal_coverage(int64_t n, double level);

#endif
