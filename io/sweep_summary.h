/* What a sweep found, averaged over its units: the numbers behind summary.json, summary.csv and the figures
 * (sweep_figures.h). Not collective: rank 0 only. */
#ifndef IO_SWEEP_SUMMARY_H
#define IO_SWEEP_SUMMARY_H

#include <stdint.h>

#include "core/status.h"
#include "io/named_value.h"

typedef enum SweepDirection { SWEEP_NONE, SWEEP_LOWER, SWEEP_HIGHER, SWEEP_TARGET } SweepDirection;

/* A measure of a unit's ensemble. */
typedef struct SweepMetric {
    const char *name;  /* "missing.crps", "ssim": the group and a dot in front are left out where the group is
                        * named anyway */
    const char *group; /* "missing", "observed" or "image" */
    const char *description; /* one line, or NULL */
    SweepDirection direction;
    double target; /* what exact draws have on average; NaN: not known */
} SweepMetric;

/* One measure over the units of one sampler and one fraction; NaN where there is no number. */
typedef struct SweepCell {
    double mean, standard_error;
    double low, high; /* 95 % confidence interval of the mean */
    int64_t count;    /* units with a finite value */
} SweepCell;

/* Where a statistic of the truth ranks among those of the draws: uniform over the bins for exact draws. */
typedef struct SweepRanks {
    int bins;               /* 0: none were collected */
    const int64_t *counts;  /* (bins), ranks from low to high */
    const double *expected; /* (bins), of uniform ranks; NULL: all equal */
    const double
        *low; /* (bins), with `high`: where 95 % of the counts of uniform ranks lie; NULL: binomial */
    const double *high;
    double p_value; /* of uniformity; NaN: not tested */
} SweepRanks;

/* Everything is borrowed. */
typedef struct SweepSummary {
    const char *title; /* of the figures, one line: "class-gaussian prior, 40 units of 19 draws" */
    int sampler_count, fraction_count, metric_count, statistic_count, setting_count;
    const char *const *samplers;   /* (sampler_count) */
    const double *fractions;       /* (fraction_count), increasing */
    const SweepMetric *metrics;    /* (metric_count) */
    const SweepCell *cells;        /* (sampler_count, fraction_count, metric_count) */
    const char *const *statistics; /* (statistic_count), such as "mean of the missing pixels" */
    const SweepRanks *ranks;       /* (sampler_count, statistic_count), over the fractions */
    const NamedValue *settings;
} SweepSummary;

const SweepCell *sweep_summary_cell(const SweepSummary *summary, int sampler, int fraction, int metric);

/* Index of the measure of that group and short name ("missing", "crps"); -1: there is none. */
int sweep_summary_find(const SweepSummary *summary, const char *group, const char *name);

/* The measure's name without its group: "crps". */
const char *sweep_metric_name(const SweepMetric *metric);

/* {"settings": {..}, "samplers": [..], "fractions": [..],
 *  "metrics": [{"group", "name", "description", "direction", "target"}],
 *  "results": {SAMPLER: {FRACTION: {GROUP: {NAME: {"mean", "standard_error", "low", "high", "count"}}}}},
 *  "ranks": {SAMPLER: {STATISTIC: {"p_value", "counts": [..], "expected": [..]}}}}
 * Numbers read back as the same doubles; null where there is none (not finite). A fraction as a key is the
 * shortest text of its number ("0.2"). Written atomically. */
Status sweep_summary_write_json(const char *path, const SweepSummary *summary);

/* The units themselves, one array a column; everything is borrowed, and as in sweep.h5 (sweep_file.h). */
typedef struct SweepUnits {
    int64_t count;
    int sampler_count, metric_count, statistic_count;
    const char *const *samplers, *const *metrics, *const *statistics; /* names */
    const uint64_t *mask_seed;
    const double *fraction;
    const int64_t *image, *truth_index, *label, *sampler;
    const double *values; /* (count, metric_count) */
    const int64_t *ranks; /* (count, statistic_count) */
} SweepUnits;

/* One row a unit under the header
 * unit,mask_seed,fraction,image,truth_index,label,sampler,METRIC..,rank.STATISTIC..; empty where there is no
 * number, -1 where there is no label or rank. STATUS_FAILURE: a sampler out of range. */
Status sweep_units_write_csv(const char *path, const SweepUnits *units);

/* One row a cell, in the order of `cells`, under the header
 * sampler,fraction,group,metric,mean,standard_error,low,high,count; empty where there is no number. */
Status sweep_summary_write_csv(const char *path, const SweepSummary *summary);

#endif
