/* Measures of ensembles: by hand, by brute force, and calibrated on draws that are exact by construction. */
#include "tests/test.h"

#include "core/rng.h"
#include "diffusion/ensemble.h"

static void fill_normal(uint32_t step, float *out, int64_t count) {
    rng_fill_normal(rng_key(2024, RNG_TEST, step, 0), out, count);
}

static Status measure(const float *draws, int64_t n, const float *truth, const float *mask, int64_t pixels,
                      EnsembleReport *report) {
    const EnsembleInput input = {
        .draw_count = n, .height = 1, .width = pixels, .draws = draws, .truth = truth, .mask = mask};
    return ensemble_measure(&input, report);
}

#define MISSING(report, metric) ((report).values[ENSEMBLE_MISSING_##metric])
#define OBSERVED(report, metric) ((report).values[ENSEMBLE_OBSERVED_##metric])

/* Two pixels observed, one missing, three draws; worked out on paper. */
static void test_by_hand(void) {
    const float draws[3][3] = {{0, 1, 2}, {1, 1, 4}, {2, 1, 9}}, truth[3] = {1, 0, 3}, mask[3] = {1, 1, 0};
    EnsembleReport report;
    float mean[3], deviation[3];
    CHECK_OK(measure(draws[0], 3, truth, mask, 3, &report));
    CHECK(OBSERVED(report, PIXELS) == 2 && MISSING(report, PIXELS) == 1);
    CHECK_NEAR(ensemble_nominal_coverage(3, 0.9), 0.5, 0);                /* [smallest, largest] of 3 draws */
    CHECK_NEAR(OBSERVED(report, RMSE), sqrt(0.5), 1e-15);                 /* means 1, 1; errors 0, 1 */
    CHECK_NEAR(OBSERVED(report, PSNR), 20 * log10(2 / sqrt(0.5)), 1e-12); /* 9.03 dB */
    CHECK_NEAR(OBSERVED(report, SPREAD), sqrt(0.5), 1e-15);               /* variances 1 and 0 */
    CHECK_NEAR(OBSERVED(report, COVERAGE90), 0.5, 0);                     /* 1 in [0, 2]; 0 not in [1, 1] */
    CHECK_NEAR(OBSERVED(report, CRPS), ((2.0 / 3 - 4.0 / 6) + 1) / 2,
               1e-15); /* pairs: 1 + 1 + 2 = 4 over n (n-1) */
    CHECK_NEAR(MISSING(report, RMSE), 2, 1e-15);
    CHECK_NEAR(MISSING(report, SPREAD), sqrt((9 + 1 + 16) / 2.0), 1e-15);
    CHECK_NEAR(MISSING(report, COVERAGE90), 1, 0);
    CHECK_NEAR(MISSING(report, CRPS), 8.0 / 3 - 14.0 / 6, 1e-15);
    CHECK_NEAR(MISSING(report, ENERGY), 8.0 / 3 - 14.0 / 6, 1e-15); /* one pixel: the CRPS */
    CHECK_NEAR(MISSING(report, DIVERSITY), 14.0 / 3, 1e-15);
    CHECK_NEAR(MISSING(report, SPREAD_SKILL), sqrt(4.0 / 3) * sqrt(13) / 2, 1e-15);
    /* To the truth (1, 0): sqrt 2, 1, sqrt 2; between draws 1, 1, 2; two pixels. */
    CHECK_NEAR(OBSERVED(report, ENERGY), ((1 + 2 * sqrt(2)) / 3 - 4.0 / 6) / sqrt(2), 1e-15);
    CHECK_NEAR(OBSERVED(report, DIVERSITY), 4.0 / 3 / sqrt(2), 1e-15);
    CHECK(isnan(OBSERVED(report, CHI_SQUARE)) && isnan(report.values[ENSEMBLE_IMAGE_TV]));
    ensemble_moments(draws[0], 3, 3, mean, deviation);
    CHECK(mean[0] == 1 && mean[1] == 1 && mean[2] == 5);
    CHECK_NEAR(deviation[2], sqrt(13), 3e-7); /* float rounding of 3.6 */
}

static double root_mean_square(const float *a, const float *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum / (double)count);
}

/* CRPS and energy score by their double sums, coverage by counting, for odd and even numbers of unsorted
 * draws. */
static void test_brute_force(void) {
    enum { PIXELS = 7, MOST = 41 };
    float draws[MOST * PIXELS], truth[PIXELS], mask[PIXELS] = {0};
    fill_normal(1, draws, MOST * PIXELS);
    fill_normal(2, truth, PIXELS);
    for (int n = 2; n <= MOST; n++) {
        EnsembleReport report;
        double crps = 0, covered50 = 0, covered90 = 0, energy = 0;
        int64_t a = ensemble_interval_rank(n, 0.9), b = ensemble_interval_rank(n, 0.5);
        CHECK_OK(measure(draws, n, truth, mask, PIXELS, &report));
        for (int p = 0; p < PIXELS; p++) {
            double error = 0, pairs = 0;
            int below = 0;
            for (int i = 0; i < n; i++) {
                error += fabs((double)draws[i * PIXELS + p] - truth[p]);
                below += draws[i * PIXELS + p] < truth[p];
                for (int j = 0; j < n; j++)
                    pairs += fabs((double)draws[i * PIXELS + p] - draws[j * PIXELS + p]);
            }
            crps += error / n - pairs / (2.0 * n * (n - 1));
            covered90 += below >= a && below <= n - a; /* at least a draws on either side */
            covered50 += below >= b && below <= n - b;
        }
        for (int i = 0; i < n; i++) {
            energy += root_mean_square(draws + i * PIXELS, truth, PIXELS) / n;
            for (int j = 0; j < n; j++)
                energy -=
                    root_mean_square(draws + i * PIXELS, draws + j * PIXELS, PIXELS) / (2.0 * n * (n - 1));
        }
        CHECK_NEAR(MISSING(report, CRPS), crps / PIXELS, 1e-13); /* sums of at most 1681 doubles near 1 */
        CHECK_NEAR(MISSING(report, ENERGY), energy, 1e-13);
        CHECK_NEAR(MISSING(report, COVERAGE90), covered90 / PIXELS, 1e-15);
        CHECK_NEAR(MISSING(report, COVERAGE50), covered50 / PIXELS, 1e-15);
    }
}

static void test_edges(void) {
    const float draws[2] = {0.5f, 0.25f}, truth[2] = {0.5f, 0.25f}, mask[2] = {1, 1};
    EnsembleReport report;
    CHECK_OK(measure(draws, 1, truth, mask, 2, &report));
    CHECK(OBSERVED(report, RMSE) == 0 && isinf(OBSERVED(report, PSNR)));
    CHECK(isnan(OBSERVED(report, SPREAD)) && isnan(OBSERVED(report, COVERAGE90)) &&
          isnan(OBSERVED(report, CRPS)));
    CHECK(isnan(ensemble_nominal_coverage(1, 0.9)) && MISSING(report, PIXELS) == 0 &&
          isnan(MISSING(report, RMSE)));
    const float same[4] = {0.5f, 0.25f, 0.5f,
                           0.25f}; /* two draws without spread, at the truth: the ends count */
    CHECK_OK(measure(same, 2, truth, mask, 2, &report));
    CHECK(OBSERVED(report, COVERAGE90) == 1 && OBSERVED(report, SPREAD) == 0 && OBSERVED(report, CRPS) == 0);
    CHECK_ERROR(measure(draws, 0, truth, mask, 2, &report), STATUS_FAILURE, "1 draw or more");
    const float diverged[4] = {0.5f, 0.25f, 0.5f, NAN};
    CHECK_ERROR(measure(diverged, 2, truth, mask, 2, &report), STATUS_FAILURE,
                "draw 1 is not finite (pixel 1");
}

static void test_interval(void) {
    const int64_t draws[] = {2, 9, 19, 20, 31, 39, 64, 99};
    const int64_t ranks[] = {1, 1, 1, 1, 2, 2, 3, 5};
    for (int i = 0; i < 8; i++)
        CHECK(ensemble_interval_rank(draws[i], 0.9) == ranks[i]);
    CHECK(ensemble_interval_rank(1, 0.9) == 0);
    CHECK(ensemble_interval_rank(19, 0.5) == 5 && ensemble_nominal_coverage(19, 0.5) == 0.5);
    CHECK(ensemble_interval_rank(2, 0.5) == 1 && ensemble_interval_rank(39, 0.5) == 10);
}

/* Truths from N(0.3, 0.5^2) and `n` draws from N(0.3, (0.5 width)^2), 20000 independent pixels. */
enum { TRIALS = 20000 };
static const double DEVIATION = 0.5;

static EnsembleReport gaussian_report(int64_t n, double width) {
    float *draws = malloc(sizeof *draws * (size_t)(n * TRIALS)), *truth = malloc(sizeof *truth * TRIALS);
    float *mask = calloc(TRIALS, sizeof *mask);
    EnsembleReport report;
    fill_normal(3, draws, n * TRIALS);
    fill_normal(4, truth, TRIALS);
    for (int64_t i = 0; i < n * TRIALS; i++)
        draws[i] = (float)(0.3 + DEVIATION * width * draws[i]);
    for (int64_t i = 0; i < TRIALS; i++)
        truth[i] = (float)(0.3 + DEVIATION * truth[i]);
    CHECK_OK(measure(draws, n, truth, mask, TRIALS, &report));
    free(draws);
    free(truth);
    free(mask);
    return report;
}

/* Expected CRPS of N(0, d^2) for truths from N(0, s^2): E|x - y| - E|x - x'| / 2 = sqrt(2/pi) sqrt(s^2 + d^2)
 * - d / sqrt(pi); for d = s it is s / sqrt(pi). */
static double gaussian_crps(double d) {
    const double pi = 3.14159265358979323846;
    return sqrt(2 / pi) * sqrt(DEVIATION * DEVIATION + d * d) - d / sqrt(pi);
}

static void test_calibration(void) {
    const int64_t counts[] = {2, 19, 40};
    for (int i = 0; i < 3; i++) {
        EnsembleReport exact = gaussian_report(counts[i], 1);
        double nominal = ensemble_nominal_coverage(counts[i], 0.9),
               error = sqrt(nominal * (1 - nominal) / TRIALS);
        CHECK(counts[i] == 2 || fabs(nominal - 0.9) < 0.01);
        CHECK_NEAR(MISSING(exact, COVERAGE90), nominal, 4 * error);
        /* A pixel's CRPS has a standard deviation below E[(x - y)^2]^(1/2) = 0.71. */
        CHECK_NEAR(MISSING(exact, CRPS), gaussian_crps(DEVIATION), 4 * 0.71 / sqrt(TRIALS));
        CHECK_NEAR(MISSING(exact, RMSE), DEVIATION * sqrt(1 + 1.0 / (double)counts[i]),
                   4 * 0.62 / sqrt(2.0 * TRIALS));
    }
    EnsembleReport exact = gaussian_report(19, 1), wide = gaussian_report(19, 1.3),
                   narrow = gaussian_report(19, 0.7);
    double error = sqrt(0.9 * 0.1 / TRIALS);
    CHECK_NEAR(ensemble_nominal_coverage(19, 0.9), 0.9, 1e-15);
    CHECK_NEAR(MISSING(exact, SPREAD), DEVIATION, 4 * 0.09 / sqrt(TRIALS)); /* sd of s below 0.09 */
    CHECK(MISSING(wide, COVERAGE90) > 0.9 + 4 * error); /* what the check above must not accept */
    CHECK(MISSING(narrow, COVERAGE90) < 0.9 - 4 * error);
    CHECK(MISSING(wide, CRPS) > MISSING(exact, CRPS) && MISSING(narrow, CRPS) > MISSING(exact, CRPS));
    CHECK_NEAR(MISSING(wide, CRPS), gaussian_crps(1.3 * DEVIATION), 4 * 0.82 / sqrt(TRIALS));
    CHECK_NEAR(MISSING(narrow, CRPS), gaussian_crps(0.7 * DEVIATION), 4 * 0.62 / sqrt(TRIALS));
}

/* Three draws with y = (1, 0), sigma_y 0.5: (1, 0, 1) and (1, 1, 1) squared over 0.25, mean of the six. */
static void test_observation(void) {
    const float draws[3][3] = {{0, 1, 2}, {1, 1, 4}, {2, 1, 9}}, truth[3] = {1, 0, 3}, mask[3] = {1, 1, 0};
    const float y[3] = {1, 0, NAN}; /* not read where missing */
    EnsembleReport report;
    EnsembleInput input = {.draw_count = 3,
                           .height = 1,
                           .width = 3,
                           .draws = draws[0],
                           .truth = truth,
                           .mask = mask,
                           .y = y,
                           .sigma_y = 0.5};
    CHECK_OK(ensemble_measure(&input, &report));
    CHECK_NEAR(OBSERVED(report, CHI_SQUARE), 5.0 / 6 / 0.25, 1e-14);
    input.sigma_y = 0;
    CHECK_OK(ensemble_measure(&input, &report));
    CHECK(isnan(OBSERVED(report, CHI_SQUARE)));
}

/* sum over k of |k / n - w| binomial(n, w)(k), for all labels, halved. */
static double expected_tv(int64_t n, const double *weights, int labels) {
    double total = 0;
    for (int label = 0; label < labels; label++) {
        double w = weights[label], probability = pow(1 - w, (double)n);
        for (int64_t k = 0; k <= n && w < 1; k++) {
            total += probability * fabs((double)k / (double)n - w) / 2;
            probability *= (double)(n - k) / (double)(k + 1) * w / (1 - w);
        }
    }
    return total;
}

static void test_labels(void) {
    static const double weights[][3] = {
        {0.5, 0.5, 0}, {1, 0, 0}, {0.25, 0.25, 0.5}, {0.01, 0.29, 0.7}, {1e-6, 1 - 2e-6, 1e-6}};
    const float draws[40] = {0}, truth[1] = {0}, mask[1] = {0};
    int labels[40] = {0, 2, 2, 1}; /* the rest 0 */
    EnsembleReport report;
    EnsembleInput input = {.draw_count = 4,
                           .height = 1,
                           .width = 1,
                           .draws = draws,
                           .truth = truth,
                           .mask = mask,
                           .label_count = 3,
                           .labels = labels,
                           .true_label = 2};
    CHECK_OK(ensemble_measure(&input, &report));
    CHECK(report.values[ENSEMBLE_IMAGE_RIGHT] == 0.5 && isnan(report.values[ENSEMBLE_IMAGE_TV]));
    input.true_label = -1;
    input.label_weights = weights[0];
    CHECK_OK(ensemble_measure(&input, &report)); /* frequencies 1/4, 1/4, 1/2 */
    CHECK_NEAR(report.values[ENSEMBLE_IMAGE_TV], 0.5, 1e-15);
    CHECK(isnan(report.values[ENSEMBLE_IMAGE_RIGHT]));
    for (int w = 0; w < 5; w++)
        for (int64_t n = 1; n <= 40; n++) {
            input.draw_count = n;
            input.label_weights = weights[w];
            CHECK_OK(ensemble_measure(&input, &report));
            /* lgamma up to 110 rounds to 1e-14, which exp keeps; 40 products in the sum */
            CHECK_NEAR(report.values[ENSEMBLE_IMAGE_TV_EXACT], expected_tv(n, weights[w], 3), 1e-12);
        }
    labels[3] = 3;
    CHECK_ERROR(ensemble_measure(&input, &report), STATUS_FAILURE, "expected 0 to 2, found 3");
    labels[3] = 0;
    input.true_label = 3;
    CHECK_ERROR(ensemble_measure(&input, &report), STATUS_FAILURE, "expected at most 2, found 3");
    input.label_count = 1; /* says nothing of the draws */
    CHECK_OK(ensemble_measure(&input, &report));
    CHECK(isnan(report.values[ENSEMBLE_IMAGE_RIGHT]) && isnan(report.values[ENSEMBLE_IMAGE_TV]));
    CHECK(isnan(report.values[ENSEMBLE_IMAGE_TV_EXACT]));
}

static void test_table(void) {
    for (int m = 0; m < ENSEMBLE_METRIC_COUNT; m++) {
        const EnsembleMetricRow *row = ensemble_metric((EnsembleMetric)m);
        for (int other = 0; other < m; other++)
            CHECK(strcmp(row->name, ensemble_metric((EnsembleMetric)other)->name));
        CHECK(strncmp(row->name, "missing.", 8) == 0 ? row->group == ENSEMBLE_MISSING
                                                     : row->group != ENSEMBLE_MISSING);
        CHECK(isnan(ensemble_target((EnsembleMetric)m, 19)) == (row->direction != ENSEMBLE_TARGET));
    }
    for (int m = 0; m < ENSEMBLE_OBSERVED_PIXELS; m++) /* the same rows in both groups */
        CHECK(!strcmp(ensemble_metric((EnsembleMetric)m)->name + strlen("missing"),
                      ensemble_metric((EnsembleMetric)(ENSEMBLE_OBSERVED_PIXELS + m))->name +
                          strlen("observed")));
    CHECK(!strcmp(ensemble_metric(ENSEMBLE_IMAGE_SSIM)->name, "ssim"));
    CHECK_NEAR(ensemble_target(ENSEMBLE_OBSERVED_COVERAGE90, 16), 15.0 / 17, 1e-15);
    CHECK(ensemble_target(ENSEMBLE_OBSERVED_CHI_SQUARE, 16) == 1);
}

/* Draws 0 .. n - 1 of one pixel: the mean distance of all pairs is (n + 1) / 3. Of n pairs of lag k it is
 * 2 k (n - k) / n, whose slope is at most 2: lags rounded by at most 1 move the mean by 2, and one lag for
 * every w of them by less than w^2 / (6 n), 0.2 here. */
static void test_many_draws(void) {
    const int64_t counts[] = {2895, 2896, 2897, 2898, 10000, 40001};
    const float truth[1] = {0}, mask[1] = {0};
    for (int c = 0; c < 6; c++) {
        int64_t n = counts[c];
        double all = (double)(n + 1) / 3;
        float *draws = NULL;
        EnsembleReport report;
        CHECK_OK(ALLOCATE(&draws, n));
        for (int64_t i = 0; i < n; i++)
            draws[i] = (float)i;
        EnsembleInput input = {
            .draw_count = n, .height = 1, .width = 1, .draws = draws, .truth = truth, .mask = mask};
        CHECK_OK(ensemble_measure(&input, &report));
        /* sums of 4e6 terms in double round by less than 1e-9 of them */
        double tolerance = n <= 2896 ? 1e-9 * all : 2.2;
        CHECK_NEAR(MISSING(report, DIVERSITY), all, tolerance);
        CHECK_NEAR(MISSING(report, ENERGY), (double)(n - 1) / 2 - all / 2, tolerance / 2);
        CHECK_NEAR(MISSING(report, CRPS), (double)(n - 1) / 2 - all / 2, 1e-9 * all);
        free(draws);
    }
}

int main(void) {
    test_many_draws();
    test_by_hand();
    test_observation();
    test_labels();
    test_table();
    test_brute_force();
    test_edges();
    test_interval();
    test_calibration();
    return test_result();
}
