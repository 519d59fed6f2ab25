#include "diffusion/ensemble_summary.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/* One unit; then one cluster, by the means. */
typedef struct Entry {
    int64_t cluster, index;
    double value, divisor;
} Entry;

static int compare_entries(const void *a, const void *b) {
    const Entry *x = a, *y = b;
    if (x->cluster != y->cluster)
        return x->cluster > y->cluster ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

/* Sorted entries to one entry per cluster, in place; returns the number of clusters. */
static int64_t merge_clusters(Entry *entries, int64_t count) {
    int64_t clusters = 0;
    for (int64_t first = 0, next; first < count; first = next) {
        Entry mean = {entries[first].cluster, 0, 0, 0};
        for (next = first; next < count && entries[next].cluster == mean.cluster; next++) {
            mean.value += entries[next].value;
            mean.divisor += entries[next].divisor;
        }
        mean.value /= (double)(next - first);
        mean.divisor /= (double)(next - first);
        entries[clusters++] = mean;
    }
    return clusters;
}

double student_quantile(double degrees) {
    const double z = 1.959963985, z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z;
    if (degrees <= 2)
        return degrees < 2 ? 12.70620474 : 4.30265273;
    return z + (z3 + z) / (4 * degrees) + (5 * z5 + 16 * z3 + 3 * z) / (96 * degrees * degrees) +
           (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * degrees * degrees * degrees);
}

static double mean_of(const Entry *entries, int64_t count, bool divisors) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += divisors ? entries[i].divisor : entries[i].value;
    return sum / (double)count;
}

/* Mean value over mean divisor, of merged clusters: R, with the standard deviation of (value - R divisor) /
 * mean divisor over sqrt(clusters) for its standard error. */
static void ratio(const Entry *entries, EnsembleSummary *summary) {
    int64_t clusters = summary->clusters;
    double divisor = mean_of(entries, clusters, true), squares = 0;
    summary->mean = mean_of(entries, clusters, false) / divisor; /* 0 / 0 for none: NaN */
    for (int64_t i = 0; i < clusters; i++) {
        double residual = (entries[i].value - summary->mean * entries[i].divisor) / divisor;
        squares += residual * residual;
    }
    summary->standard_error = clusters < 2 ? NAN : sqrt(squares / (double)(clusters - 1) / (double)clusters);
}

static void finish(EnsembleSummary *summary) {
    double margin = summary->clusters < 2
                        ? NAN
                        : student_quantile((double)(summary->clusters - 1)) * summary->standard_error;
    summary->low = summary->mean - margin;
    summary->high = summary->mean + margin;
}

/* divisors NULL: all 1. */
static Status summarise(const double *values, const double *divisors, const int64_t *clusters, int64_t count,
                        EnsembleSummary *summary) {
    Status status = STATUS_OK;
    Entry *entries = NULL;
    *summary = (EnsembleSummary){0};
    TRY(ALLOCATE(&entries, count > 0 ? count : 1));
    for (int64_t i = 0; i < count; i++)
        if (!isnan(values[i]) && !(divisors && isnan(divisors[i])))
            entries[summary->units++] =
                (Entry){clusters ? clusters[i] : i, i, values[i], divisors ? divisors[i] : 1};
    qsort(entries, (size_t)summary->units, sizeof *entries, compare_entries);
    summary->clusters = merge_clusters(entries, summary->units);
    ratio(entries, summary);
done:
    free(entries);
    return status;
}

Status summary_mean(const double *values, const int64_t *clusters, int64_t count, EnsembleSummary *summary) {
    Status status = STATUS_OK;
    TRY(summarise(values, NULL, clusters, count, summary));
    finish(summary);
done:
    return status;
}

Status summary_root_ratio(const double *numerators, const double *denominators, const int64_t *clusters,
                          int64_t count, EnsembleSummary *summary) {
    Status status = STATUS_OK;
    TRY(summarise(numerators, denominators, clusters, count, summary));
    summary->mean = sqrt(summary->mean);
    summary->standard_error /= 2 * summary->mean;
    finish(summary);
done:
    return status;
}
