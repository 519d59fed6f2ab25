#include "diffusion/ensemble.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "diffusion/ssim.h"

static const double DATA_RANGE = 2; /* [-1, 1] */

/* A group's values start at its PIXELS; within them ENSEMBLE_MISSING_x is the place of x in either group. */
_Static_assert(ENSEMBLE_MISSING_PIXELS == 0, "the rows of the missing pixels come first");

const EnsembleMetricRow *ensemble_metric(EnsembleMetric metric) {
    static const EnsembleMetricRow rows[ENSEMBLE_METRIC_COUNT] = {
#define METRIC(group, identifier, name, unit, direction, description)                                        \
    {name, unit, description, ENSEMBLE_##group, ENSEMBLE_##direction},
#include "diffusion/ensemble_metrics.def"
#undef METRIC
    };
    return &rows[metric];
}

int64_t ensemble_interval_rank(int64_t n, double level) {
    int64_t best = 0;
    double best_distance = HUGE_VAL;
    for (int64_t a = 1; a <= n / 2; a++) {
        double distance = fabs((double)(n + 1 - 2 * a) / (double)(n + 1) - level);
        if (distance < best_distance) {
            best = a;
            best_distance = distance;
        }
    }
    return best;
}

double ensemble_nominal_coverage(int64_t n, double level) {
    return n < 2 ? NAN : (double)(n + 1 - 2 * ensemble_interval_rank(n, level)) / (double)(n + 1);
}

double ensemble_target(EnsembleMetric metric, int64_t draw_count) {
    switch (metric) {
    case ENSEMBLE_MISSING_COVERAGE50:
    case ENSEMBLE_OBSERVED_COVERAGE50:
        return ensemble_nominal_coverage(draw_count, 0.5);
    case ENSEMBLE_MISSING_COVERAGE90:
    case ENSEMBLE_OBSERVED_COVERAGE90:
        return ensemble_nominal_coverage(draw_count, 0.9);
    default:
        return ensemble_metric(metric)->direction == ENSEMBLE_TARGET ? 1 : NAN;
    }
}

static double column_mean(const float *draws, int64_t n, int64_t stride) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += draws[i * stride];
    return sum / (double)n;
}

static double column_variance(const float *draws, int64_t n, int64_t stride, double mean) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (draws[i * stride] - mean) * (draws[i * stride] - mean);
    return n > 1 ? sum / (double)(n - 1) : 0;
}

void ensemble_moments(const float *draws, int64_t n, int64_t pixels, float *mean, float *deviation) {
    for (int64_t p = 0; p < pixels; p++) {
        double centre = column_mean(draws + p, n, pixels);
        if (mean)
            mean[p] = (float)centre;
        if (deviation)
            deviation[p] = (float)sqrt(column_variance(draws + p, n, pixels, centre));
    }
}

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* n >= 2 sorted draws; sum over i < j of (x_j - x_i) = sum over i of (2i - n + 1) x_i, i from 0. */
static double fair_crps(const float *sorted, int64_t n, double truth) {
    double error = 0, pairs = 0;
    for (int64_t i = 0; i < n; i++) {
        error += fabs(sorted[i] - truth);
        pairs += (double)(2 * i - n + 1) * (sorted[i] - truth); /* shifted: less cancellation */
    }
    return error / (double)n - pairs / ((double)n * (double)(n - 1));
}

static bool covered(const float *sorted, int64_t n, double truth, double level) {
    int64_t a = ensemble_interval_rank(n, level);
    return truth >= sorted[a - 1] && truth <= sorted[n - a];
}

/* Sums over a group of pixels. */
typedef struct Sums {
    int64_t pixels, pairs, covered50, covered90;
    double squared_error, variance, crps;
    double error_distance, pair_distance; /* of the draws to the truth, and of pairs, summed */
    double misfit;                        /* (y - x_i)^2 */
} Sums;

/* sorted: the pixel's (n) draws in rising order. */
static void add_pixel(Sums *sums, const float *sorted, int64_t n, double truth) {
    double mean = column_mean(sorted, n, 1);
    sums->pixels++;
    sums->squared_error += (mean - truth) * (mean - truth);
    if (n < 2)
        return;
    sums->variance += column_variance(sorted, n, 1, mean);
    sums->covered50 += covered(sorted, n, truth, 0.5);
    sums->covered90 += covered(sorted, n, truth, 0.9);
    sums->crps += fair_crps(sorted, n, truth);
}

static Status measure_pixels(const EnsembleInput *input, Sums sums[2]) {
    Status status = STATUS_OK;
    float *column = NULL;
    int64_t n = input->draw_count, pixels = input->height * input->width;
    TRY(ALLOCATE(&column, n));
    for (int64_t p = 0; p < pixels; p++) {
        bool observed = input->mask[p] > 0;
        for (int64_t i = 0; i < n; i++) {
            column[i] = input->draws[i * pixels + p];
            if (!isfinite(column[i]))
                FAIL(STATUS_FAILURE, "ensemble: draw %lld is not finite (pixel %lld is %g)", (long long)i,
                     (long long)p, column[i]);
            if (observed && input->y)
                sums[1].misfit += ((double)input->y[p] - column[i]) * ((double)input->y[p] - column[i]);
        }
        qsort(column, (size_t)n, sizeof *column, compare_floats);
        add_pixel(&sums[observed], column, n, input->truth[p]);
    }
done:
    free(column);
    return status;
}

/* Sums of (a - b)^2 over the missing and the observed pixels. */
static void squared_distances(const EnsembleInput *input, const float *a, const float *b, double squares[2]) {
    double missing = 0, observed = 0;
    for (int64_t p = 0; p < input->height * input->width; p++) { /* without a branch: masks are random */
        double square = ((double)a[p] - b[p]) * ((double)a[p] - b[p]);
        missing += input->mask[p] > 0 ? 0 : square;
        observed += input->mask[p] > 0 ? square : 0;
    }
    squares[0] = missing;
    squares[1] = observed;
}

static void add_pair(const EnsembleInput *input, int64_t i, int64_t j, Sums sums[2]) {
    int64_t pixels = input->height * input->width;
    double squares[2];
    squared_distances(input, input->draws + i * pixels, input->draws + j * pixels, squares);
    for (int group = 0; group < 2; group++) {
        sums[group].pair_distance += sqrt(squares[group]);
        sums[group].pairs++;
    }
}

/* All pairs, or of many draws those whose numbers differ by some lags, modulo n: evenly spread from 1 to n /
 * 2, so that neighbours, which may share ancestors, are there as often as among all pairs. */
static void measure_pairs(const EnsembleInput *input, Sums sums[2]) {
    int64_t n = input->draw_count, longest = (n - 1) / 2, lags = ENSEMBLE_MOST_PAIRS / n;
    if (n * (n - 1) / 2 <= ENSEMBLE_MOST_PAIRS) {
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j++)
                add_pair(input, i, j, sums);
        return;
    }
    lags = lags < 1 ? 1 : lags;
    for (int64_t k = 0; k < lags; k++)
        for (int64_t i = 0; i < n; i++)
            add_pair(input, i, (i + 1 + (2 * k + 1) * longest / (2 * lags)) % n, sums);
}

static void measure_distances(const EnsembleInput *input, Sums sums[2]) {
    int64_t pixels = input->height * input->width;
    double squares[2];
    for (int64_t i = 0; i < input->draw_count; i++) {
        squared_distances(input, input->draws + i * pixels, input->truth, squares);
        for (int group = 0; group < 2; group++)
            sums[group].error_distance += sqrt(squares[group]);
    }
    measure_pairs(input, sums);
}

/* values: from the group's PIXELS on. */
static void finish_group(const Sums *sums, int64_t n, double *values) {
    double pixels = (double)sums->pixels, draws = (double)n;
    values[ENSEMBLE_MISSING_PIXELS] = pixels;
    if (sums->pixels == 0)
        return;
    double rmse = sqrt(sums->squared_error / pixels);
    values[ENSEMBLE_MISSING_RMSE] = rmse;
    values[ENSEMBLE_MISSING_PSNR] = 20 * log10(DATA_RANGE / rmse);
    if (n < 2)
        return;
    double spread = sqrt(sums->variance / pixels), pairs = (double)sums->pairs;
    values[ENSEMBLE_MISSING_SPREAD] = spread;
    values[ENSEMBLE_MISSING_SPREAD_SKILL] = sqrt((draws + 1) / draws) * spread / rmse; /* 0 / 0 is NaN */
    values[ENSEMBLE_MISSING_COVERAGE50] = (double)sums->covered50 / pixels;
    values[ENSEMBLE_MISSING_COVERAGE90] = (double)sums->covered90 / pixels;
    values[ENSEMBLE_MISSING_CRPS] = sums->crps / pixels;
    values[ENSEMBLE_MISSING_DIVERSITY] = sums->pair_distance / pairs / sqrt(pixels);
    values[ENSEMBLE_MISSING_ENERGY] =
        (sums->error_distance / draws - sums->pair_distance / (2 * pairs)) / sqrt(pixels);
}

static Status measure_ssim(const EnsembleInput *input, double *value) {
    Status status = STATUS_OK;
    float *mean = NULL;
    int64_t pixels = input->height * input->width;
    TRY(ALLOCATE(&mean, pixels));
    ensemble_moments(input->draws, input->draw_count, pixels, mean, NULL);
    *value = ssim(mean, input->truth, input->height, input->width, DATA_RANGE);
done:
    free(mean);
    return status;
}

/* E|K - n w| of a binomial K, by De Moivre's 2 m C(n, m) w^m (1 - w)^(n - m + 1), m = floor(n w) + 1. */
static double binomial_deviation(int64_t n, double w) {
    double m = floor((double)n * w) + 1, draws = (double)n;
    if (!(w > 0 && w < 1) || m > draws)
        return 0; /* m = n + 1 only if n w has rounded up to n */
    double log_choose = lgamma(draws + 1) - lgamma(m + 1) - lgamma(draws - m + 1);
    return 2 * m * exp(log_choose + m * log(w) + (draws - m + 1) * log1p(-w));
}

static Status measure_labels(const EnsembleInput *input, double *values) {
    Status status = STATUS_OK;
    double *counts = NULL, tv = 0, tv_exact = 0, n = (double)input->draw_count;
    if (input->label_count < 2) /* no draw could have another one */
        return STATUS_OK;
    TRY(ALLOCATE(&counts, input->label_count));
    for (int64_t i = 0; i < input->draw_count; i++) {
        if (input->labels[i] < 0 || input->labels[i] >= input->label_count)
            FAIL(STATUS_FAILURE, "ensemble: label of draw %lld: expected 0 to %d, found %d", (long long)i,
                 input->label_count - 1, input->labels[i]);
        counts[input->labels[i]]++;
    }
    if (input->true_label >= input->label_count)
        FAIL(STATUS_FAILURE, "ensemble: label of the truth: expected at most %d, found %d",
             input->label_count - 1, input->true_label);
    if (input->true_label >= 0)
        values[ENSEMBLE_IMAGE_RIGHT] = counts[input->true_label] / n;
    if (!input->label_weights)
        goto done;
    for (int k = 0; k < input->label_count; k++) {
        tv += fabs(counts[k] / n - input->label_weights[k]) / 2;
        tv_exact += binomial_deviation(input->draw_count, input->label_weights[k]) / n / 2;
    }
    values[ENSEMBLE_IMAGE_TV] = tv;
    values[ENSEMBLE_IMAGE_TV_EXACT] = tv_exact;
done:
    free(counts);
    return status;
}

Status ensemble_measure(const EnsembleInput *input, EnsembleReport *report) {
    Status status = STATUS_OK;
    Sums sums[2] = {{0}, {0}}; /* missing, observed */
    double *values = report->values;
    for (int i = 0; i < ENSEMBLE_METRIC_COUNT; i++)
        values[i] = NAN;
    if (input->draw_count < 1)
        FAIL(STATUS_FAILURE, "ensemble: expected 1 draw or more, found %lld", (long long)input->draw_count);
    TRY(measure_pixels(input, sums));
    measure_distances(input, sums);
    finish_group(&sums[0], input->draw_count, values + ENSEMBLE_MISSING_PIXELS);
    finish_group(&sums[1], input->draw_count, values + ENSEMBLE_OBSERVED_PIXELS);
    if (input->y && input->sigma_y > 0 && sums[1].pixels > 0)
        values[ENSEMBLE_OBSERVED_CHI_SQUARE] = sums[1].misfit /
                                               ((double)sums[1].pixels * (double)input->draw_count) /
                                               (input->sigma_y * input->sigma_y);
    TRY(measure_ssim(input, &values[ENSEMBLE_IMAGE_SSIM]));
    if (input->labels && input->label_count > 0)
        TRY(measure_labels(input, values));
done:
    return status;
}
