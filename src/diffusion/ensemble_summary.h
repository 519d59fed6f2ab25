/* Means over units with their standard errors. */
#ifndef DIFFUSION_ENSEMBLE_SUMMARY_H
#define DIFFUSION_ENSEMBLE_SUMMARY_H

#include <stdint.h>

#include "core/status.h"

typedef struct EnsembleSummary {
    int64_t units;    /* whose value is a number */
    int64_t clusters; /* among them */
    double mean;      /* of the clusters' means; NaN for no units; infinite if a value is */
    /* Standard deviation of the clusters' means (clusters - 1 in the denominator) over sqrt(clusters). NaN
     * for one cluster, as are low and high. */
    double standard_error;
    double low, high; /* mean -+ t standard errors: 95 %, t of clusters - 1 degrees of freedom */
} EnsembleSummary;

/* values (count), NaN for units to leave out. clusters (count): units of the same number are not independent
 * (they share a truth, say), and count as one by their mean; NULL: every unit by itself. With clusters of
 * different sizes each cluster has the same weight. STATUS_FAILURE: out of memory. */
Status summary_mean(const double *values, const int64_t *clusters, int64_t count, EnsembleSummary *summary);

/* sqrt(mean numerators / mean denominators), both over the units where both are numbers; standard error by
 * linearisation. For spread over skill: numerators (n + 1) / n spread^2, denominators rmse^2, whose ratio is
 * 1 for exact draws, while the mean of the units' own ratios is above 1. NaN where the denominators' mean is
 * 0. */
Status summary_root_ratio(const double *numerators, const double *denominators, const int64_t *clusters,
                          int64_t count, EnsembleSummary *summary);

/* The 97.5 % point of Student's t, degrees >= 1: 2.571 for 5; 1.96 for many. Within 0.025. */
double student_quantile(double degrees);

#endif
