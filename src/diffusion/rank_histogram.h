/* Are ranks over independent units uniform on 0 .. n? Pearson's chi-square on binned ranks. Units that share
 * an image are not independent; units that share only a mask are. */
#ifndef DIFFUSION_RANK_HISTOGRAM_H
#define DIFFUSION_RANK_HISTOGRAM_H

#include <stdint.h>

/* More bins see finer defects and all of them worse. */
enum { RANK_MOST_BINS = 20 };

/* Bin b holds the ranks r with r * bins / (n + 1) = b (integer division): consecutive ones, in each bin the
 * same number or one more. */
typedef struct RankHistogram {
    int64_t units; /* with a rank; those of rank -1 are left out */
    int bins; /* the most, up to RANK_MOST_BINS and n + 1, with 5 units or more expected in each; at least 1
               */
    int64_t counts[RANK_MOST_BINS];
    double expected[RANK_MOST_BINS]; /* for uniform ranks */
    /* Where 95 of 100 counts of uniform ranks lie, one bin looked at by itself: expected -+ 1.96 standard
     * deviations of the binomial, at least 0. */
    double low[RANK_MOST_BINS], high[RANK_MOST_BINS];
    double chi_square, p_value; /* bins - 1 degrees of freedom; NaN for 1 bin (fewer than 10 units or so) */
} RankHistogram;

/* ranks (count): -1 .. draw_count. */
RankHistogram rank_histogram(const int32_t *ranks, int64_t count, int64_t draw_count);

/* P(X >= x) for X of the chi-square distribution: Q(degrees / 2, x / 2). */
double chi_square_tail(double x, double degrees);

/* The regularised upper incomplete gamma function Q(a, x) = Gamma(a, x) / Gamma(a), a > 0, x >= 0; relative
 * error below 1e-12 or so for a up to 1000. */
double gamma_tail(double a, double x);

#endif
