/* What a finished sweep shows its user: summary.json, summary.csv, units.csv and the figures, from sweep.h5.
 */
#ifndef COMMANDS_SWEEP_REPORT_H
#define COMMANDS_SWEEP_REPORT_H

#include <stdint.h>

#include "core/status.h"
#include "io/named_value.h"
#include "io/sweep_file.h"

/* Everything is borrowed. */
typedef struct SweepReport {
    const char *run_directory; /* with sweep.h5 and figures/ */
    const SweepShape *shape;   /* metrics: ENSEMBLE_METRIC_COUNT, statistics: RANK_STATISTIC_COUNT */
    int64_t units;
    const char *const *samplers; /* (sampler_count), SweepUnit.sampler counts them */
    int sampler_count;
    const char *title; /* of the figures, one line: "class-gaussian prior, 40 images, sigma_y = 0.1" */
    int setting_count;
    const NamedValue *settings; /* into summary.json */
} SweepReport;

/* Means over the units of each sampler and fraction, with standard errors that take units which share a truth
 * (truth_index) for one; spread_skill as the root ratio of mean variances, not as the mean of ratios. Rank
 * histograms over all fractions; their p-value is of units with different truths: of those that share one,
 * the first alone is counted. The gallery shows the first image and mask of each fraction. Writes
 * RUN/summary.json, RUN/summary.csv, RUN/units.csv and RUN/figures/sweep_*.png. Rank 0 only; reads sweep.h5
 * whole but for the draws of a few units. */
Status sweep_report_write(const SweepReport *report);

#endif
