/* Weighted particles: what the sampler tds (samplers/tds.c) computes on the host, in double. */
#ifndef DIFFUSION_PARTICLES_H
#define DIFFUSION_PARTICLES_H

#include <stdint.h>

#include "kernels/backend.h"

/* How one run of K particles went; the same for every draw of it, but for `ancestor`. */
typedef struct ParticleStatistics {
    double least_effective;   /* smallest effective size over the states x_T .. x_0, 1 to K */
    double last_effective;    /* of the result's weights */
    int64_t unique_ancestors; /* different x_T that the K particles of the result descend from */
    uint32_t ancestor;        /* RNG sample number of the x_T that this draw descends from */
} ParticleStatistics;

/* Means over draws: a run counts as often as it was drawn from. count >= 1. */
typedef struct ParticleSummary {
    double least_effective, last_effective, unique_ancestors;
} ParticleSummary;
ParticleSummary particles_summarise(const ParticleStatistics *draws, int64_t count);

/* weights = exp(log_weights) / their sum, whatever constant the logarithms share; not finite: NaN. */
void particles_normalise(const double *log_weights, int64_t count, double *weights);

/* 1 / sum of squares of normalised weights. */
double particles_effective(const double *weights, int64_t count);

/* Systematic resampling with one uniform u in (0, 1): chosen[i] is the particle whose interval of the
 * cumulated weights holds (i + u) / draws, in rising order. Particle j is chosen floor or ceil of draws *
 * weights[j] times, draws * weights[j] on average over u. */
void particles_resample(const double *weights, int64_t count, double u, int64_t draws, int64_t *chosen);

/* log N(y; x0, variance) on the observed pixels, without the constant -log(2 pi variance) / 2 per pixel that
 * all particles of a state share. Arrays (pixels). */
double particles_log_likelihood(const float *x0, const float *mask, const float *y, int64_t pixels,
                                double variance);

/* The same for x0 = x0_hat of the step. */
double particles_log_twist(const ReverseStep *step, const float *x, const float *eps_hat, const float *mask,
                           const float *y, int64_t pixels, double variance);

/* log p(next | x) - log q(next | x, y) for a step with noise: p has the mean mu of the unguided step, q the
 * guided one mu + d with d = guidance direction (ReverseStep), both the variance sigma^2:
 *   sum over pixels of d (d - 2 (next - mu)) / (2 sigma^2) */
double particles_log_ratio(const ReverseStep *step, const float *x, const float *eps_hat,
                           const float *residual, const float *product, const float *next, int64_t pixels);

#endif
