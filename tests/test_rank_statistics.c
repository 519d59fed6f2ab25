/* Ranks for simulation-based calibration: uniform for exchangeable truths and draws, ties included, and not
 * for draws that are wrong. Exact draws pass at p > 1e-3 (fixed seeds; of the 30 or so p-values here one is
 * below that by chance for 3 seeds in 100), wrong ones must have p < 1e-6. */
#include "tests/test.h"

#include "core/rng.h"
#include "diffusion/rank_histogram.h"
#include "diffusion/rank_statistics.h"
#include "tests/ensemble_rig.h"

enum { UNITS = 2000, DRAWS = 19 };

static int32_t unit_ranks[RANK_STATISTIC_COUNT][UNITS];

static RankInput input_of(const RigUnit *unit, uint32_t index) {
    return (RankInput){.draw_count = DRAWS,
                       .pixels = RIG_PIXELS,
                       .draws = unit->draws,
                       .truth = unit->truth,
                       .mask = unit->mask,
                       .seed = 5,
                       .unit = index};
}

/* Fills unit_ranks and p (RANK_STATISTIC_COUNT). The first `flat` missing pixels are -1 in all members. */
static void rank_kind(RigDraws kind, double separation, int flat, double *p) {
    RigUnit unit;
    int32_t ranks[RANK_STATISTIC_COUNT];
    for (uint32_t u = 0; u < UNITS; u++) {
        rig_unit(kind, DRAWS, separation, true, u, &unit);
        for (int i = RIG_OBSERVED; i < RIG_OBSERVED + flat; i++) {
            unit.truth[i] = -1;
            for (int j = 0; j < DRAWS; j++)
                unit.draws[j * RIG_PIXELS + i] = -1;
        }
        RankInput input = input_of(&unit, u);
        CHECK_OK(rank_statistics(&input, ranks));
        for (int s = 0; s < RANK_STATISTIC_COUNT; s++) {
            CHECK(ranks[s] >= 0 && ranks[s] <= DRAWS);
            unit_ranks[s][u] = ranks[s];
        }
    }
    for (int s = 0; s < RANK_STATISTIC_COUNT; s++)
        p[s] = rank_histogram(unit_ranks[s], UNITS, DRAWS).p_value;
}

static void test_exact(void) {
    double p[RANK_STATISTIC_COUNT];
    static const int flats[] = {0, 5, 8}; /* none, most and all of the missing pixels without variance */
    for (int i = 0; i < 3; i++) {
        rank_kind(RIG_EXACT, 0.3, flats[i], p);
        for (int s = 0; s < RANK_STATISTIC_COUNT; s++)
            CHECK(p[s] > 1e-3);
    }
}

static void test_wrong(void) {
    static const RigDraws kinds[] = {RIG_WIDE, RIG_NARROW, RIG_BIASED};
    double p[RANK_STATISTIC_COUNT];
    for (int i = 0; i < 3; i++) {
        rank_kind(kinds[i], 0, 0, p); /* one mode */
        for (int s = 0; s < RANK_STATISTIC_COUNT; s++)
            CHECK(p[s] < 1e-6 || (kinds[i] == RIG_BIASED && s == RANK_SQUARES));
    }
    rank_kind(RIG_WRONG_MODE, 0.3, 0, p);
    CHECK(p[RANK_UNCERTAIN_PIXEL] < 1e-6 && p[RANK_CERTAIN_PIXEL] < 1e-6 && p[RANK_MEAN] < 1e-6);
    CHECK(p[RANK_OBSERVED_PIXEL] > 1e-3);
    rank_kind(RIG_INDEPENDENT, 0.3, 0, p); /* pixels are right one by one; their mean is not */
    CHECK(p[RANK_UNCERTAIN_PIXEL] > 1e-3 && p[RANK_CERTAIN_PIXEL] > 1e-3 && p[RANK_MEAN] < 1e-6);
}

/* Why the truth takes part in a pixel's variance: the pixel whose draws alone vary least is one where the
 * truth is extreme, for exact draws too. */
static void test_selection(void) {
    RigUnit unit;
    int32_t alone[UNITS];
    for (uint32_t u = 0; u < UNITS; u++) {
        double least = HUGE_VAL;
        rig_unit(RIG_EXACT, DRAWS, 0, true, u, &unit);
        for (int p = RIG_OBSERVED; p < RIG_PIXELS; p++) {
            double sum = 0, squares = 0;
            int32_t rank = 0;
            for (int i = 0; i < DRAWS; i++) {
                double x = unit.draws[i * RIG_PIXELS + p];
                sum += x;
                squares += x * x;
                rank += x < unit.truth[p];
            }
            if (squares - sum * sum / DRAWS < least) {
                least = squares - sum * sum / DRAWS;
                alone[u] = rank;
            }
        }
    }
    CHECK(rank_histogram(alone, UNITS, DRAWS).p_value < 1e-6);
}

/* Exchanging the truth with a draw moves ranks, but not the choice of pixels: with every value of a pixel
 * different, the ranks of all members are a permutation of 0 .. n. */
static void test_symmetry(void) {
    RigUnit unit;
    for (uint32_t u = 0; u < 50; u++) {
        int seen[RANK_STATISTIC_COUNT][DRAWS + 1] = {{0}};
        int32_t ranks[RANK_STATISTIC_COUNT];
        rig_unit(RIG_EXACT, DRAWS, 0.3, true, u, &unit);
        RankInput input = input_of(&unit, u);
        for (int i = -1; i < DRAWS; i++) {
            for (int p = 0; p < RIG_PIXELS && i >= 0; p++) { /* member i and the truth change places */
                float kept = unit.truth[p];
                unit.truth[p] = unit.draws[i * RIG_PIXELS + p];
                unit.draws[i * RIG_PIXELS + p] = kept;
            }
            CHECK_OK(rank_statistics(&input, ranks));
            for (int s = 0; s < RANK_STATISTIC_COUNT; s++)
                seen[s][ranks[s]]++;
        }
        for (int s = 0; s < RANK_STATISTIC_COUNT; s++)
            for (int r = 0; r <= DRAWS; r++)
                CHECK(seen[s][r] == 1);
    }
}

static void test_edges(void) {
    const float image[3] = {1, 2, 3}, draws[6] = {0, 0, 0, 2, 3, 4};
    const float observed[3] = {1, 1, 1}, one_missing[3] = {1, 0, 1}, missing[3] = {0, 0, 0};
    int32_t ranks[RANK_STATISTIC_COUNT];
    RankInput input = {.draw_count = 2, .pixels = 3, .draws = draws, .truth = image, .mask = observed};
    CHECK_OK(rank_statistics(&input, ranks));
    for (int s = 0; s < RANK_STATISTIC_COUNT; s++)
        CHECK(ranks[s] == (s == RANK_OBSERVED_PIXEL ? 1 : -1)); /* between 0 and one more */
    input.mask = one_missing;
    CHECK_OK(rank_statistics(&input, ranks));
    CHECK(ranks[RANK_UNCERTAIN_PIXEL] == 1 && ranks[RANK_CERTAIN_PIXEL] == -1 && ranks[RANK_MEAN] == 1);
    input.mask = missing;
    CHECK_OK(rank_statistics(&input, ranks));
    CHECK(ranks[RANK_CERTAIN_PIXEL] == 1 && ranks[RANK_SQUARES] == 1 && ranks[RANK_OBSERVED_PIXEL] == -1);
    input.draw_count = 0;
    CHECK_ERROR(rank_statistics(&input, ranks), STATUS_FAILURE, "1 draw or more");
    for (int s = 0; s < RANK_STATISTIC_COUNT; s++)
        for (int other = 0; other < s; other++)
            CHECK(strcmp(rank_statistic_name((RankStatistic)s), rank_statistic_name((RankStatistic)other)));
}

/* All missing pixels, in strata: totals; each stratum of exact draws has the mean rank n / 2 up to 4 standard
 * errors (of independent units: the 8 pixels of a unit, in whatever correlation, are at worst one), and
 * narrow draws put more than their share into the first and last rank. */
static void test_pixels(void) {
    RigUnit unit;
    int64_t counts[2][RANK_STRATA][DRAWS + 1] = {{{0}}};
    for (int kind = 0; kind < 2; kind++)
        for (uint32_t u = 0; u < UNITS; u++) {
            rig_unit(kind ? RIG_NARROW : RIG_EXACT, DRAWS, 0, true, u, &unit);
            RankInput input = input_of(&unit, u);
            CHECK_OK(rank_pixels(&input, counts[kind][0]));
        }
    static const int64_t pixels[RANK_STRATA] = {3, 3, 2}; /* of 8 */
    for (int stratum = 0; stratum < RANK_STRATA; stratum++) {
        int64_t total = 0, ends = 0, narrow_ends = 0;
        double sum = 0;
        for (int r = 0; r <= DRAWS; r++) {
            total += counts[0][stratum][r];
            sum += (double)(r * counts[0][stratum][r]);
            if (r == 0 || r == DRAWS) {
                ends += counts[0][stratum][r];
                narrow_ends += counts[1][stratum][r];
            }
        }
        double deviation = sqrt((DRAWS + 1.0) * (DRAWS + 1.0) - 1) / sqrt(12); /* of a uniform rank */
        CHECK(total == pixels[stratum] * UNITS);
        CHECK_NEAR(sum / (double)total, DRAWS / 2.0, 4 * deviation / sqrt(UNITS));
        CHECK_NEAR((double)ends / (double)total, 0.1, 4 * sqrt(0.1 * 0.9 / UNITS));
        CHECK(narrow_ends > 2 * ends);
    }
}

/* Closed forms: Q(1/2, x) = erfc(sqrt(x)), Q(1, x) = e^-x, Q(a + 1, x) = Q(a, x) + x^a e^-x / Gamma(a + 1);
 * and the 5 % and 0.1 % points of chi-square from printed tables, to their 3 decimals. */
static void test_gamma(void) {
    for (int i = 0; i <= 60; i++) {
        double x = 0.01 * pow(1.2, i), sum = exp(-x), half = erfc(sqrt(x));
        CHECK_NEAR(gamma_tail(0.5, x) / half, 1, 1e-12 / fmin(1, half * 1e3)); /* 1 - series near 0 */
        for (int a = 1; a <= 60; a++) {
            CHECK_NEAR(gamma_tail(a, x), sum, 1e-12);
            sum += exp(a * log(x) - x - lgamma(a + 1));
        }
    }
    CHECK(gamma_tail(3, 0) == 1 && gamma_tail(0.5, 1e9) == 0);
    CHECK_NEAR(gamma_tail(10, 100) / 1.12534739608427e-31, 1, 1e-12); /* e^-100 sum_{k < 10} 100^k / k! */
    static const double points[][3] = {{1, 3.841, 0.05},   {4, 9.488, 0.05},   {10, 18.307, 0.05},
                                       {19, 30.144, 0.05}, {19, 43.820, 1e-3}, {100, 124.342, 0.05}};
    for (int i = 0; i < 6; i++) /* the density at the point is below 0.6 of the tail */
        CHECK_NEAR(chi_square_tail(points[i][1], points[i][0]) / points[i][2], 1, 5e-4 * 0.6);
}

static void test_histogram(void) {
    const int32_t ranks[12] = {0, 1, 2, 3, 3, 3, 3, 0, 1, 2, -1, -1};
    RankHistogram histogram = rank_histogram(ranks, 12, 3);
    CHECK(histogram.units == 10 && histogram.bins == 2); /* 5 expected in each */
    CHECK(histogram.counts[0] == 4 && histogram.counts[1] == 6);
    CHECK_NEAR(histogram.chi_square, 0.4, 1e-14); /* (1 + 1) / 5 */
    CHECK_NEAR(histogram.p_value, erfc(sqrt(0.2)), 1e-14);
    CHECK_NEAR(histogram.low[0], 5 - 1.959964 * sqrt(2.5), 1e-12);
    histogram = rank_histogram(ranks, 9, 3);
    CHECK(histogram.bins == 1 && histogram.counts[0] == 9 && isnan(histogram.p_value));
    histogram = rank_histogram(ranks, 0, 3);
    CHECK(histogram.units == 0 && histogram.bins == 1 && isnan(histogram.p_value));
    int32_t many[700];
    for (int i = 0; i < 700; i++)
        many[i] = i % 70;
    histogram = rank_histogram(many, 700, 69); /* 70 ranks in 20 bins: 3 or 4 each, 10 units a rank */
    CHECK(histogram.bins == RANK_MOST_BINS && histogram.chi_square < 1e-20 && histogram.p_value == 1);
    for (int b = 0; b < RANK_MOST_BINS; b++)
        CHECK(histogram.counts[b] == 30 || histogram.counts[b] == 40);
}

/* p-values of uniform ranks are uniform, for many and for few expected in a bin: their mean is 1/2, and 1 in
 * 20 is below 0.05. Tolerance: 4 standard errors, and 0.005 for the chi-square limit at 5 expected. */
static void test_p_values(void) {
    enum { REPEATS = 4000, MOST = 400 };
    static const int64_t counts[] = {20, 100, 400};
    int32_t ranks[MOST];
    for (int c = 0; c < 3; c++) {
        double sum = 0, below = 0;
        for (uint32_t r = 0; r < REPEATS; r++) {
            for (uint32_t i = 0; i < counts[c]; i++)
                ranks[i] = (int32_t)rng_bounded(rng_key(6, RNG_TEST, (uint32_t)c, r), i, 17);
            double p = rank_histogram(ranks, counts[c], 16).p_value;
            sum += p;
            below += p < 0.05;
        }
        printf("%d ranks: mean p %.4f, below 0.05: %.4f\n", (int)counts[c], sum / REPEATS, below / REPEATS);
        CHECK_NEAR(sum / REPEATS, 0.5, 4 * sqrt(1.0 / 12 / REPEATS) + 0.005);
        CHECK_NEAR(below / REPEATS, 0.05, 4 * sqrt(0.05 * 0.95 / REPEATS) + 0.005);
    }
}

int main(void) {
    test_exact();
    test_wrong();
    test_selection();
    test_symmetry();
    test_edges();
    test_pixels();
    test_gamma();
    test_histogram();
    test_p_values();
    return test_result();
}
