#include "diffusion/rank_histogram.h"

#include <float.h>
#include <math.h>

static const double LEAST_EXPECTED = 5; /* below, the distribution of chi-square is no longer the limit's */
static const double NORMAL_POINT = 1.959964;

/* P(a, x) = x^a e^-x / Gamma(a + 1) (1 + x / (a + 1) + x^2 / ((a + 1) (a + 2)) + ...), good for x < a + 1. */
static double lower_series(double a, double x) {
    double term = 1, sum = 1;
    for (int k = 1; k < 10000 && term > sum * DBL_EPSILON / 4; k++) {
        term *= x / (a + k);
        sum += term;
    }
    return sum * exp(a * log(x) - x - lgamma(a + 1));
}

/* Q(a, x) = x^a e^-x / Gamma(a) / (x + 1 - a - 1 (1 - a) / (x + 3 - a - 2 (2 - a) / (x + 5 - a - ...))), by
 * Lentz's method, good for x >= a + 1. */
static double upper_fraction(double a, double x) {
    double b = x + 1 - a, numerator = HUGE_VAL, denominator = 1 / b, value = denominator;
    for (int k = 1; k < 10000; k++) {
        double factor = k * (a - k);
        b += 2;
        denominator = 1 / (b + factor * denominator);
        numerator = b + factor / numerator;
        value *= numerator * denominator;
        if (fabs(numerator * denominator - 1) < DBL_EPSILON)
            break;
    }
    return value * exp(a * log(x) - x - lgamma(a));
}

double gamma_tail(double a, double x) {
    if (x <= 0)
        return 1;
    return x < a + 1 ? 1 - lower_series(a, x) : upper_fraction(a, x);
}

double chi_square_tail(double x, double degrees) {
    return gamma_tail(degrees / 2, x / 2);
}

static int choose_bins(int64_t units, int64_t places) {
    int bins = (int)(places < RANK_MOST_BINS ? places : RANK_MOST_BINS);
    while (bins > 1 && (double)units * (double)(places / bins) / (double)places < LEAST_EXPECTED)
        bins--;
    return bins;
}

RankHistogram rank_histogram(const int32_t *ranks, int64_t count, int64_t draw_count) {
    RankHistogram histogram = {0};
    int64_t places = draw_count + 1;
    for (int64_t i = 0; i < count; i++)
        histogram.units += ranks[i] >= 0;
    histogram.bins = choose_bins(histogram.units, places);
    for (int64_t i = 0; i < count; i++)
        if (ranks[i] >= 0)
            histogram.counts[ranks[i] * histogram.bins / places]++;
    for (int64_t rank = 0; rank < places; rank++)
        histogram.expected[rank * histogram.bins / places] += (double)histogram.units / (double)places;
    for (int b = 0; b < histogram.bins; b++) {
        double expected = histogram.expected[b], difference = (double)histogram.counts[b] - expected;
        double deviation = histogram.units ? sqrt(expected * (1 - expected / (double)histogram.units)) : 0;
        histogram.low[b] = fmax(0, expected - NORMAL_POINT * deviation);
        histogram.high[b] = expected + NORMAL_POINT * deviation;
        histogram.chi_square += difference * difference / expected;
    }
    if (histogram.bins < 2)
        histogram.chi_square = NAN;
    histogram.p_value = histogram.bins < 2 ? NAN : chi_square_tail(histogram.chi_square, histogram.bins - 1);
    return histogram;
}
