/* What the measures of ensembles say of exact draws, and of draws that are too wide, too narrow, biased, of
 * the wrong mode, or right in each pixel alone. Tolerances: 4 standard errors, estimated over the
 * (independent) units themselves; a check of exact draws fails by chance for 6 seeds in 100,000. */
#include "tests/test.h"

#include "core/rng.h"
#include "diffusion/ensemble.h"
#include "diffusion/ensemble_summary.h"
#include "tests/ensemble_rig.h"

enum { UNITS = 2000, DRAWS = 19 };
static const double SEPARATION = 0.3;

typedef double Values[ENSEMBLE_METRIC_COUNT][UNITS];
static Values measured[RIG_KINDS];

static void measure_unit(const RigUnit *unit, int64_t draw_count, EnsembleReport *report) {
    const EnsembleInput input = {
        .draw_count = draw_count,
        .height = RIG_HEIGHT,
        .width = RIG_WIDTH,
        .draws = unit->draws,
        .truth = unit->truth,
        .mask = unit->mask,
        .y = unit->y,
        .sigma_y = RIG_NOISE,
        .label_count = 2,
        .labels = unit->labels,
        .true_label = unit->true_label,
        .label_weights = unit->weights,
    };
    CHECK_OK(ensemble_measure(&input, report));
}

static void measure_kind(RigDraws kind, int64_t draw_count, bool observation_noise, Values values) {
    RigUnit unit;
    EnsembleReport report;
    for (uint32_t u = 0; u < UNITS; u++) {
        rig_unit(kind, draw_count, SEPARATION, observation_noise, u, &unit);
        measure_unit(&unit, draw_count, &report);
        for (int m = 0; m < ENSEMBLE_METRIC_COUNT; m++)
            values[m][u] = report.values[m];
    }
}

/* Mean of values - (others, or a constant), in standard errors. */
static double distance(const double *values, const double *others, double constant) {
    double differences[UNITS];
    EnsembleSummary summary;
    for (int u = 0; u < UNITS; u++)
        differences[u] = values[u] - (others ? others[u] : constant);
    CHECK_OK(summary_mean(differences, NULL, UNITS, &summary));
    return summary.mean / summary.standard_error;
}

static double from_target(RigDraws kind, EnsembleMetric metric) {
    return distance(measured[kind][metric], NULL, ensemble_target(metric, DRAWS));
}

/* How much larger than exact draws' it is. The same truths: differences of a unit are paired. */
static double from_exact(RigDraws kind, EnsembleMetric metric) {
    return distance(measured[kind][metric], measured[RIG_EXACT][metric], 0);
}

/* sqrt((n + 1) / n mean spread^2 / mean rmse^2) - 1, in standard errors. */
static double spread_skill(RigDraws kind, EnsembleMetric spread, EnsembleMetric rmse) {
    double numerators[UNITS], denominators[UNITS];
    EnsembleSummary summary;
    for (int u = 0; u < UNITS; u++) {
        numerators[u] = (DRAWS + 1.0) / DRAWS * pow(measured[kind][spread][u], 2);
        denominators[u] = pow(measured[kind][rmse][u], 2);
    }
    CHECK_OK(summary_root_ratio(numerators, denominators, NULL, UNITS, &summary));
    return (summary.mean - 1) / summary.standard_error;
}

static double missing_skill(RigDraws kind) {
    return spread_skill(kind, ENSEMBLE_MISSING_SPREAD, ENSEMBLE_MISSING_RMSE);
}

static double observed_skill(RigDraws kind) {
    return spread_skill(kind, ENSEMBLE_OBSERVED_SPREAD, ENSEMBLE_OBSERVED_RMSE);
}

static void test_exact(void) {
    static const EnsembleMetric targets[] = {ENSEMBLE_MISSING_COVERAGE50, ENSEMBLE_MISSING_COVERAGE90,
                                             ENSEMBLE_OBSERVED_COVERAGE50, ENSEMBLE_OBSERVED_COVERAGE90,
                                             ENSEMBLE_OBSERVED_CHI_SQUARE};
    for (int i = 0; i < 5; i++)
        CHECK_NEAR(from_target(RIG_EXACT, targets[i]), 0, 4);
    CHECK_NEAR(missing_skill(RIG_EXACT), 0, 4);
    CHECK_NEAR(observed_skill(RIG_EXACT), 0, 4);
    const double *tv = measured[RIG_EXACT][ENSEMBLE_IMAGE_TV];
    CHECK_NEAR(distance(tv, measured[RIG_EXACT][ENSEMBLE_IMAGE_TV_EXACT], 0), 0, 4);
    /* right: w is uniform in (0, 1): E w^2 + (1 - w)^2 = 2 / 3. */
    CHECK_NEAR(distance(measured[RIG_EXACT][ENSEMBLE_IMAGE_RIGHT], NULL, 2.0 / 3), 0, 4);
}

/* direction 1: wide, -1: narrow. */
static void test_width(RigDraws kind, int direction) {
    static const EnsembleMetric targets[] = {ENSEMBLE_MISSING_COVERAGE50, ENSEMBLE_MISSING_COVERAGE90,
                                             ENSEMBLE_OBSERVED_COVERAGE50, ENSEMBLE_OBSERVED_COVERAGE90,
                                             ENSEMBLE_OBSERVED_CHI_SQUARE};
    for (int i = 0; i < 5; i++)
        CHECK(direction * from_target(kind, targets[i]) > 4);
    CHECK(direction * missing_skill(kind) > 4 && direction * observed_skill(kind) > 4);
    CHECK(direction * from_exact(kind, ENSEMBLE_MISSING_SPREAD) > 4);
    CHECK(direction * from_exact(kind, ENSEMBLE_MISSING_DIVERSITY) > 4);
    CHECK(from_exact(kind, ENSEMBLE_MISSING_CRPS) > 4 && from_exact(kind, ENSEMBLE_OBSERVED_CRPS) > 4);
    CHECK(from_exact(kind, ENSEMBLE_MISSING_ENERGY) > 4 && from_exact(kind, ENSEMBLE_OBSERVED_ENERGY) > 4);
}

static void test_bias(void) {
    CHECK(from_target(RIG_BIASED, ENSEMBLE_OBSERVED_CHI_SQUARE) > 4);
    CHECK(from_target(RIG_BIASED, ENSEMBLE_MISSING_COVERAGE50) < -4);
    CHECK(from_target(RIG_BIASED, ENSEMBLE_OBSERVED_COVERAGE90) < -4);
    CHECK(missing_skill(RIG_BIASED) < -4 && observed_skill(RIG_BIASED) < -4);
    CHECK(from_exact(RIG_BIASED, ENSEMBLE_MISSING_CRPS) > 4);
    CHECK(from_exact(RIG_BIASED, ENSEMBLE_MISSING_ENERGY) > 4);
    CHECK(from_exact(RIG_BIASED, ENSEMBLE_MISSING_RMSE) > 4);
    CHECK(from_exact(RIG_BIASED, ENSEMBLE_MISSING_PSNR) < -4);
    CHECK(from_exact(RIG_BIASED, ENSEMBLE_IMAGE_SSIM) < -4);
}

static void test_wrong_mode(void) {
    const double *tv = measured[RIG_WRONG_MODE][ENSEMBLE_IMAGE_TV];
    CHECK(distance(tv, measured[RIG_EXACT][ENSEMBLE_IMAGE_TV_EXACT], 0) > 4);
    CHECK(distance(measured[RIG_WRONG_MODE][ENSEMBLE_IMAGE_RIGHT], NULL, 2.0 / 3) < -4);
    CHECK(from_exact(RIG_WRONG_MODE, ENSEMBLE_MISSING_CRPS) > 4);
    CHECK(from_exact(RIG_WRONG_MODE, ENSEMBLE_MISSING_ENERGY) > 4);
    CHECK(from_exact(RIG_WRONG_MODE, ENSEMBLE_MISSING_RMSE) > 4);
    CHECK(from_exact(RIG_WRONG_MODE, ENSEMBLE_IMAGE_SSIM) < -4);
    CHECK(missing_skill(RIG_WRONG_MODE) < -4);
    CHECK_NEAR(from_target(RIG_WRONG_MODE, ENSEMBLE_OBSERVED_CHI_SQUARE), 0, 4); /* blind to it */
}

/* Measures of single pixels cannot see it; the energy score does. */
static void test_independent(void) {
    CHECK_NEAR(from_target(RIG_INDEPENDENT, ENSEMBLE_MISSING_COVERAGE50), 0, 4);
    CHECK_NEAR(from_target(RIG_INDEPENDENT, ENSEMBLE_MISSING_COVERAGE90), 0, 4);
    CHECK_NEAR(from_exact(RIG_INDEPENDENT, ENSEMBLE_MISSING_CRPS), 0, 4);
    CHECK(from_exact(RIG_INDEPENDENT, ENSEMBLE_MISSING_ENERGY) > 4);
}

/* Without noise in the observation chi-square is 1 - r^2, r = v / (S + v) = 0.2: see ensemble.h. */
static void test_noiseless(void) {
    static Values values;
    double r = RIG_NOISE * RIG_NOISE / (RIG_PRIOR * RIG_PRIOR + RIG_NOISE * RIG_NOISE);
    measure_kind(RIG_EXACT, DRAWS, false, values);
    CHECK_NEAR(distance(values[ENSEMBLE_OBSERVED_CHI_SQUARE], NULL, 1 - r * r), 0, 4);
}

/* Energy score and CRPS of d independent N(0, 1) pixels by draws of N(0, w^2), for ensembles of 2, 3 and 9:
 * with c_d = E of the norm of d standard normals = sqrt(2) Gamma((d + 1) / 2) / Gamma(d / 2), energy sqrt(d)
 * = c_d (sqrt(1 + w^2) - w / sqrt(2)), and the CRPS is that for d = 1. */
static void test_unbiased(void) {
    enum { SIDE = 3 };
    static const int64_t counts[] = {2, 3, 9};
    static const double widths[] = {1, 0.6, 1.5};
    const double pi = 3.14159265358979323846, norms[] = {sqrt(2 / pi), 2 * sqrt(2 / pi)}; /* d = 1, 3 */
    float numbers[10 * SIDE], mask[SIDE] = {0};
    double energy[UNITS], crps[UNITS];
    EnsembleReport report;
    for (int c = 0; c < 9; c++) {
        int64_t n = counts[c / 3];
        double width = widths[c % 3], score = sqrt(1 + width * width) - width / sqrt(2);
        for (uint32_t u = 0; u < UNITS; u++) {
            rng_fill_normal(rng_key(78, RNG_TEST, (uint32_t)n, u), numbers, (n + 1) * SIDE);
            for (int64_t i = SIDE; i < (n + 1) * SIDE; i++)
                numbers[i] *= (float)width;
            const EnsembleInput input = {.draw_count = n,
                                         .height = 1,
                                         .width = SIDE,
                                         .draws = numbers + SIDE,
                                         .truth = numbers,
                                         .mask = mask};
            CHECK_OK(ensemble_measure(&input, &report));
            energy[u] = report.values[ENSEMBLE_MISSING_ENERGY];
            crps[u] = report.values[ENSEMBLE_MISSING_CRPS];
        }
        CHECK_NEAR(distance(energy, NULL, norms[1] * score / sqrt(SIDE)), 0, 4);
        CHECK_NEAR(distance(crps, NULL, norms[0] * score), 0, 4);
    }
}

int main(void) {
    for (int kind = 0; kind < RIG_KINDS; kind++)
        measure_kind((RigDraws)kind, DRAWS, true, measured[kind]);
    test_exact();
    test_width(RIG_WIDE, 1);
    test_width(RIG_NARROW, -1);
    test_bias();
    test_wrong_mode();
    test_independent();
    test_noiseless();
    test_unbiased();
    return test_result();
}
