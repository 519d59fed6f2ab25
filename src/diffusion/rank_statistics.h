/* Simulation-based calibration (Talts, Betancourt, Simpson, Vehtari, Gelman: "Validating Bayesian inference
 * algorithms with simulation-based calibration", 2018). If the truth is from the prior, y from the
 * observation model (noise added) and the n draws are from the exact posterior, truth and draws are
 * exchangeable, and the rank of any statistic of the truth among those of the draws is uniform on 0 .. n.
 * Each unit gives one rank of each of a few scalar statistics; ranks of one statistic over independent units
 * are what rank_histogram tests.
 *
 * Which pixel a statistic reads, and which stratum a pixel is in, must not tell the truth from the draws, or
 * uniformity is lost (a pixel where the draws alone vary little is one where the truth is likely to be
 * extreme). So uncertainty is the variance over all n + 1 members together, and the pixel is picked by random
 * numbers of the unit. Ties (an image's background has no variance at all) are broken at random. */
#ifndef DIFFUSION_RANK_STATISTICS_H
#define DIFFUSION_RANK_STATISTICS_H

#include <stdint.h>

#include "core/status.h"

typedef enum RankStatistic {
    RANK_UNCERTAIN_PIXEL, /* a missing pixel among the third of the most uncertain ones */
    RANK_CERTAIN_PIXEL,   /* a missing pixel among the others */
    RANK_MEAN,            /* mean of the missing pixels */
    RANK_PROJECTION,      /* sum of the missing pixels with random signs */
    RANK_SQUARES,         /* sum of the squares of the missing pixels */
    RANK_OBSERVED_PIXEL,  /* an observed pixel */
    RANK_STATISTIC_COUNT,
} RankStatistic;

/* "missing.uncertain_pixel". */
const char *rank_statistic_name(RankStatistic statistic);

/* One unit. All borrowed, host memory. */
typedef struct RankInput {
    int64_t draw_count, pixels;
    const float *draws; /* (draw_count, pixels) */
    const float *truth; /* (pixels) */
    const float *mask;  /* (pixels): 1 observed, 0 missing */
    uint64_t seed; /* stream RNG_TEST_STATISTIC, step = statistic (or pixel, for strata), sample = unit */
    uint32_t unit; /* number of the unit: its random numbers differ from every other's */
} RankInput;

/* ranks (RANK_STATISTIC_COUNT): 0 .. draw_count, how many draws have a smaller statistic than the truth; -1
 * where there is no such pixel. STATUS_FAILURE: out of memory, no draw. */
Status rank_statistics(const RankInput *input, int32_t *ranks);

/* Ranks of every missing pixel by itself. Strata: thirds of the unit's missing pixels by uncertainty. */
enum { RANK_LOW, RANK_MIDDLE, RANK_HIGH, RANK_STRATA };

/* Adds the unit's missing pixels to counts (RANK_STRATA, draw_count + 1). To look at, not to test: the pixels
 * of an image are correlated, so no count over them has a known distribution. STATUS_FAILURE as above. */
Status rank_pixels(const RankInput *input, int64_t *counts);

#endif
