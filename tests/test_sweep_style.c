/* Which measures of a sweep have a logarithmic axis. */
#include "io/sweep_style.h"
#include "tests/test.h"

static bool is_logarithmic(SweepMetric metric, double first, double second) {
    const SweepCell cells[2] = {{.mean = first}, {.mean = second}};
    const SweepSummary summary = {
        .sampler_count = 1, .fraction_count = 2, .metric_count = 1, .metrics = &metric, .cells = cells};
    return sweep_is_logarithmic(&summary, 0);
}

int main(void) {
    const SweepMetric crps = {.name = "missing.crps", .group = "missing", .direction = SWEEP_LOWER},
                      chi = {.name = "observed.chi_square",
                             .group = "observed",
                             .direction = SWEEP_TARGET,
                             .target = 1},
                      coverage = {.name = "observed.coverage90",
                                  .group = "observed",
                                  .direction = SWEEP_TARGET,
                                  .target = 0.9},
                      ssim = {.name = "ssim", .group = "image", .direction = SWEEP_HIGHER},
                      tv = {.name = "tv", .group = "image", .direction = SWEEP_LOWER};
    CHECK(is_logarithmic(crps, 0.5, 0.01) && is_logarithmic(chi, 0.001, 14));
    CHECK(!is_logarithmic(crps, 0.5, 0.1) && !is_logarithmic(crps, 0.5, 0));
    CHECK(!is_logarithmic(crps, NAN, 0.1) && is_logarithmic(crps, 1e-3, 0.1));
    /* a posterior of one label has a tv of rounding errors, which no axis shall be spent on */
    CHECK(!is_logarithmic(tv, 0.4, 1e-20) && !is_logarithmic(coverage, 0.9, 0.003));
    CHECK(!is_logarithmic(ssim, 0.9, 0.003));
    return test_result();
}
