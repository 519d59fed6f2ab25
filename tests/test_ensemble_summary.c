/* Means over units: by hand, and standard errors that are right for clustered units. */
#include "tests/test.h"

#include "core/rng.h"
#include "diffusion/ensemble_summary.h"

static void test_by_hand(void) {
    const double values[6] = {1, NAN, 3, 5, 7, NAN};
    const int64_t clusters[6] = {9, 4, 2, 9, 2, 4};
    EnsembleSummary summary;
    CHECK_OK(summary_mean(values, NULL, 6, &summary)); /* 1, 3, 5, 7: deviations 3, 1, 1, 3 */
    CHECK(summary.units == 4 && summary.clusters == 4 && summary.mean == 4);
    CHECK_NEAR(summary.standard_error, sqrt(20.0 / 3 / 4), 1e-15);
    CHECK_NEAR(summary.high - summary.mean, 3.182446 * summary.standard_error, 0.03 * summary.standard_error);
    CHECK_OK(summary_mean(values, clusters, 6, &summary)); /* 3 and 5; cluster 4 has no number */
    CHECK(summary.units == 4 && summary.clusters == 2 && summary.mean == 4);
    CHECK_NEAR(summary.standard_error, sqrt(2.0 / 2), 1e-15);
    CHECK_NEAR(summary.low, 4 - 12.70620474, 1e-12);
    CHECK_OK(summary_mean(values, NULL, 1, &summary));
    CHECK(summary.mean == 1 && isnan(summary.standard_error) && isnan(summary.low) && isnan(summary.high));
    CHECK_OK(summary_mean(values, NULL, 0, &summary));
    CHECK(summary.units == 0 && summary.clusters == 0 && isnan(summary.mean));
    const double infinite[2] = {1, INFINITY};
    CHECK_OK(summary_mean(infinite, NULL, 2, &summary));
    CHECK(isinf(summary.mean));
}

static void test_root_ratio_by_hand(void) {
    const double numerators[3] = {1, 8, NAN}, denominators[3] = {2, 2, 1};
    EnsembleSummary summary;
    CHECK_OK(summary_root_ratio(numerators, denominators, NULL, 3, &summary)); /* 4.5 / 2 = 2.25 */
    CHECK(summary.units == 2);
    CHECK_NEAR(summary.mean, 1.5, 1e-15);
    /* residuals (1 - 4.5) / 2 and (8 - 4.5) / 2; their deviation over sqrt(2) is 1.75; over 2 * 1.5 */
    CHECK_NEAR(summary.standard_error, 1.75 / 3, 1e-15);
}

/* Printed tables. The expansion is off by 0.023 for 3 degrees, by less than 0.01 from 4 on. */
static void test_student(void) {
    static const double points[][2] = {{1, 12.706}, {2, 4.303},  {3, 3.182},  {4, 2.776},   {5, 2.571},
                                       {9, 2.262},  {19, 2.093}, {39, 2.023}, {120, 1.980}, {1e9, 1.960}};
    for (int i = 0; i < 10; i++)
        CHECK_NEAR(student_quantile(points[i][0]), points[i][1], points[i][0] == 3 ? 0.025 : 0.01);
}

/* Intervals cover the true mean in 95 of 100 experiments: 8 clusters of 5 units that share most of their
 * error. Units taken for independent cover far less. Tolerance: 4 standard errors of a share of EXPERIMENTS,
 * and for the ratio's linearisation, biased in 8 clusters, 0.02 more. */
static void test_coverage(void) {
    enum { EXPERIMENTS = 4000, CLUSTERS = 8, UNITS = 40 };
    double values[UNITS], divisors[UNITS], hits = 0, naive_hits = 0, ratio_hits = 0;
    int64_t clusters[UNITS];
    float numbers[2 * (CLUSTERS + UNITS)];
    EnsembleSummary summary;
    for (uint32_t e = 0; e < EXPERIMENTS; e++) {
        rng_fill_normal(rng_key(9, RNG_TEST, 0, e), numbers, 2 * (CLUSTERS + UNITS));
        for (int u = 0; u < UNITS; u++) {
            clusters[u] = u % CLUSTERS;
            values[u] = 7 + numbers[u % CLUSTERS] + 0.5 * numbers[2 * CLUSTERS + u];
            divisors[u] = 28 + numbers[CLUSTERS + u % CLUSTERS] + 0.5 * numbers[2 * CLUSTERS + UNITS + u];
        }
        CHECK_OK(summary_mean(values, clusters, UNITS, &summary));
        CHECK(summary.clusters == CLUSTERS);
        hits += summary.low <= 7 && 7 <= summary.high;
        CHECK_OK(summary_mean(values, NULL, UNITS, &summary));
        naive_hits += summary.low <= 7 && 7 <= summary.high;
        CHECK_OK(summary_root_ratio(values, divisors, clusters, UNITS, &summary));
        ratio_hits += summary.low <= 0.5 && 0.5 <= summary.high;
    }
    printf("95 %% intervals cover %.4f, of a ratio %.4f; without clusters %.4f\n", hits / EXPERIMENTS,
           ratio_hits / EXPERIMENTS, naive_hits / EXPERIMENTS);
    CHECK_NEAR(hits / EXPERIMENTS, 0.95, 4 * sqrt(0.05 * 0.95 / EXPERIMENTS));
    CHECK_NEAR(ratio_hits / EXPERIMENTS, 0.95, 4 * sqrt(0.05 * 0.95 / EXPERIMENTS) + 0.02);
    CHECK(naive_hits / EXPERIMENTS < 0.8);
}

int main(void) {
    test_by_hand();
    test_root_ratio_by_hand();
    test_student();
    test_coverage();
    return test_result();
}
