/* What a finished sweep shows its user: summary.json, summary.csv, units.csv and the figures. */
#ifndef COMMANDS_SWEEP_REPORT_H
#define COMMANDS_SWEEP_REPORT_H

#include <stdint.h>

#include "core/status.h"
#include "io/named_value.h"
#include "io/sweep_file.h"

/* Everything is borrowed. */
typedef struct SweepReport {
    const char *run_directory; /* with sweep.h5, parts/ and figures/ */
    const char *grid_hash;
    const SweepShape *shape; /* metrics: ENSEMBLE_METRIC_COUNT, statistics: RANK_STATISTIC_COUNT */
    int64_t units;
    const char *const *samplers; /* (sampler_count), counted by SweepUnit.sampler */
    int sampler_count;
    const char *title; /* of the figures, one line: "class-gaussian prior, 40 images, sigma_y = 0.1" */
    int setting_count;
    const NamedValue *settings; /* into summary.json */
    bool galleries;             /* are drawn, from the parts */
} SweepReport;

/* Means over the units of each sampler and fraction; units that share a truth count as one in standard
 * errors. spread_skill is the root ratio of mean variances, not the mean of the units' ratios. Ranks are of
 * one unit of each truth, since those of one truth are not independent: the masks and fractions take turns.
 *
 * Writes RUN/summary.json, RUN/summary.csv, RUN/units.csv, and under RUN/figures sweep_metrics.png,
 * sweep_ranks.png and, for each fraction, sweep_gallery_PERCENT.png of the first image and mask, which are
 * drawn from the parts: before sweep_parts_remove. Reads what sweep_parts_merge made. Rank 0 only. */
Status sweep_report_write(const SweepReport *report);

#endif
