/* The figures of a sweep, from its summary (sweep_summary.h). Each writes a PNG to `path` (temporary name,
 * then rename) and fails with STATUS_FAILURE naming the file when it cannot be written, with STATUS_BAD_INPUT
 * for a summary without samplers or fractions. Colours and marks follow the order of the samplers; exact
 * draws are black. Not collective: one rank draws. */
#ifndef IO_SWEEP_FIGURES_H
#define IO_SWEEP_FIGURES_H

#include "core/status.h"
#include "io/sweep_summary.h"

/* The measures worth seeing at a glance, missing pixels, observed pixels and whole image apart: against the
 * observed fraction, one line a sampler, with 95 % bands and the values of exact draws dashed; the fractions
 * on a logarithmic axis if the largest is more than ten times the smallest. With a single fraction, one row a
 * sampler with 95 % intervals instead. Measures without a finite number are left out. */
Status sweep_figures_metrics(const char *path, const SweepSummary *summary);

/* Rank histograms, a row for each sampler, a column for each statistic, with the band that holds 95 % of the
 * bins of a uniform histogram and the p-value of uniformity. Bars that would dwarf the band are cut off and
 * their height is said. */
Status sweep_figures_ranks(const char *path, const SweepSummary *summary);

#endif
