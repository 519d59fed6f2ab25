#include "diffusion/particles.h"

#include <math.h>

ParticleSummary particles_summarise(const ParticleStatistics *draws, int64_t count) {
    ParticleSummary summary = {0};
    for (int64_t i = 0; i < count; i++) {
        summary.least_effective += draws[i].least_effective / (double)count;
        summary.last_effective += draws[i].last_effective / (double)count;
        summary.unique_ancestors += (double)draws[i].unique_ancestors / (double)count;
    }
    return summary;
}

void particles_normalise(const double *log_weights, int64_t count, double *weights) {
    double largest = -HUGE_VAL, sum = 0;
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, log_weights[i]);
    for (int64_t i = 0; i < count; i++) {
        weights[i] = exp(log_weights[i] - largest);
        sum += weights[i];
    }
    for (int64_t i = 0; i < count; i++)
        weights[i] /= sum;
}

double particles_effective(const double *weights, int64_t count) {
    double squares = 0;
    for (int64_t i = 0; i < count; i++)
        squares += weights[i] * weights[i];
    return 1 / squares;
}

void particles_resample(const double *weights, int64_t count, double u, int64_t draws, int64_t *chosen) {
    double cumulated = weights[0];
    int64_t particle = 0;
    for (int64_t i = 0; i < draws; i++) {
        /* rounding may leave the sum of all weights just below 1: the last particle takes what is left */
        while (particle + 1 < count && ((double)i + u) / (double)draws >= cumulated)
            cumulated += weights[++particle];
        chosen[i] = particle;
    }
}

double particles_log_likelihood(const float *x0, const float *mask, const float *y, int64_t pixels,
                                double variance) {
    double squares = 0;
    for (int64_t i = 0; i < pixels; i++) {
        double residual = mask[i] != 0 ? (double)y[i] - x0[i] : 0;
        squares += residual * residual;
    }
    return -squares / (2 * variance);
}

static double x0_hat_of(const ReverseStep *step, float x, float eps_hat) {
    return (double)step->from_x * x + (double)step->from_eps * eps_hat;
}

double particles_log_twist(const ReverseStep *step, const float *x, const float *eps_hat, const float *mask,
                           const float *y, int64_t pixels, double variance) {
    double squares = 0;
    for (int64_t i = 0; i < pixels; i++) {
        double residual = mask[i] != 0 ? y[i] - x0_hat_of(step, x[i], eps_hat[i]) : 0;
        squares += residual * residual;
    }
    return -squares / (2 * variance);
}

double particles_log_ratio(const ReverseStep *step, const float *x, const float *eps_hat,
                           const float *residual, const float *product, const float *next, int64_t pixels) {
    double sum = 0;
    for (int64_t i = 0; i < pixels; i++) {
        double mean = (double)step->mean_x0 * x0_hat_of(step, x[i], eps_hat[i]) + (double)step->mean_x * x[i];
        double shift = (double)step->guidance * x0_hat_of(step, residual[i], product[i]);
        sum += shift * (shift - 2 * (next[i] - mean));
    }
    return sum / (2 * (double)step->sigma * (double)step->sigma);
}
