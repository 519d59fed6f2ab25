#include "diffusion/ensemble.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

static const double NOMINAL_COVERAGE = 0.9;
static const double DATA_RANGE = 2; /* [-1, 1] */

int64_t ensemble_interval_rank(int64_t n) {
    int64_t best = 0;
    double best_distance = HUGE_VAL;
    for (int64_t a = 1; a <= n / 2; a++) {
        double distance = fabs((double)(n + 1 - 2 * a) / (double)(n + 1) - NOMINAL_COVERAGE);
        if (distance < best_distance) {
            best = a;
            best_distance = distance;
        }
    }
    return best;
}

static double column_mean(const float *draws, int64_t n, int64_t stride) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += draws[i * stride];
    return sum / (double)n;
}

static double column_deviation(const float *draws, int64_t n, int64_t stride, double mean) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (draws[i * stride] - mean) * (draws[i * stride] - mean);
    return n > 1 ? sqrt(sum / (double)(n - 1)) : 0;
}

void ensemble_moments(const float *draws, int64_t n, int64_t pixels, float *mean, float *deviation) {
    for (int64_t p = 0; p < pixels; p++) {
        double centre = column_mean(draws + p, n, pixels);
        if (mean)
            mean[p] = (float)centre;
        if (deviation)
            deviation[p] = (float)column_deviation(draws + p, n, pixels, centre);
    }
}

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Fair CRPS of n >= 2 sorted draws; sum over i < j of (x_j - x_i) = sum over i of (2i - n + 1) x_i, i from 0.
 */
static double fair_crps(const float *sorted, int64_t n, double truth) {
    double error = 0, pairs = 0;
    for (int64_t i = 0; i < n; i++) {
        error += fabs(sorted[i] - truth);
        pairs += (double)(2 * i - n + 1) * (sorted[i] - truth); /* shifted: less cancellation */
    }
    return error / (double)n - pairs / ((double)n * (double)(n - 1));
}

/* Sums over a group of pixels. */
typedef struct Sums {
    int64_t pixels, covered;
    double squared_error, deviation, crps;
} Sums;

/* sorted: the pixel's (n) draws in rising order. */
static void add_pixel(Sums *sums, const float *sorted, int64_t n, double truth) {
    double mean = column_mean(sorted, n, 1);
    sums->pixels++;
    sums->squared_error += (mean - truth) * (mean - truth);
    if (n < 2)
        return;
    int64_t a = ensemble_interval_rank(n);
    sums->deviation += column_deviation(sorted, n, 1, mean);
    sums->covered += truth >= sorted[a - 1] && truth <= sorted[n - a];
    sums->crps += fair_crps(sorted, n, truth);
}

static EnsembleMetrics finish_group(const Sums *sums, int64_t n) {
    EnsembleMetrics metrics = {sums->pixels, NAN, NAN, NAN, NAN, NAN};
    double pixels = (double)sums->pixels;
    if (sums->pixels == 0)
        return metrics;
    metrics.rmse = sqrt(sums->squared_error / pixels);
    metrics.psnr = 20 * log10(DATA_RANGE / metrics.rmse);
    if (n < 2)
        return metrics;
    metrics.spread = sums->deviation / pixels;
    metrics.coverage = (double)sums->covered / pixels;
    metrics.crps = sums->crps / pixels;
    return metrics;
}

Status ensemble_measure(const float *draws, int64_t n, const float *truth, const float *mask, int64_t pixels,
                        EnsembleReport *report) {
    Status status = STATUS_OK;
    float *column = NULL;
    Sums sums[2] = {{0}, {0}}; /* missing, observed */
    if (n < 1)
        FAIL(STATUS_FAILURE, "ensemble: expected 1 draw or more, found %lld", (long long)n);
    TRY(ALLOCATE(&column, n));
    for (int64_t p = 0; p < pixels; p++) {
        for (int64_t i = 0; i < n; i++)
            column[i] = draws[i * pixels + p];
        qsort(column, (size_t)n, sizeof *column, compare_floats);
        add_pixel(&sums[mask[p] > 0], column, n, truth[p]);
    }
    report->draws = n;
    report->nominal_coverage =
        n < 2 ? NAN : (double)(n + 1 - 2 * ensemble_interval_rank(n)) / (double)(n + 1);
    report->missing = finish_group(&sums[0], n);
    report->observed = finish_group(&sums[1], n);
done:
    free(column);
    return status;
}
