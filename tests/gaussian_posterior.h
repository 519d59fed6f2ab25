/* The exact posterior of a multivariate normal given noisy values of some coordinates, in double. */
#ifndef TESTS_GAUSSIAN_POSTERIOR_H
#define TESTS_GAUSSIAN_POSTERIOR_H

#include "tests/gaussian.h"

typedef struct Normal {
    double mean[GAUSSIAN_PIXELS], covariance[GAUSSIAN_PIXELS][GAUSSIAN_PIXELS];
} Normal;

/* Conditions on y = x[p] + noise of this variance, one coordinate after the other (Kalman's update): noise of
 * different pixels is independent, so the order does not matter. */
static inline void normal_observe(Normal *normal, int p, double y, double variance) {
    double gain[GAUSSIAN_PIXELS], row[GAUSSIAN_PIXELS];
    const double total = normal->covariance[p][p] + variance, residual = y - normal->mean[p];
    memcpy(row, normal->covariance[p], sizeof row);
    for (int i = 0; i < GAUSSIAN_PIXELS; i++)
        gain[i] = row[i] / total;
    for (int i = 0; i < GAUSSIAN_PIXELS; i++) {
        normal->mean[i] += gain[i] * residual;
        for (int j = 0; j < GAUSSIAN_PIXELS; j++)
            normal->covariance[i][j] -= gain[i] * row[j];
    }
}

static inline void normal_condition(Normal *normal, const Observation *observation, double sigma_y) {
    for (int p = 0; p < GAUSSIAN_PIXELS; p++)
        if (observation->mask[p] > 0)
            normal_observe(normal, p, observation->y[p], sigma_y * sigma_y);
}

static inline Normal normal_of_prior(const Gaussian *gaussian) {
    Normal normal;
    for (int i = 0; i < GAUSSIAN_PIXELS; i++) {
        normal.mean[i] = gaussian->mean[i];
        for (int j = 0; j < GAUSSIAN_PIXELS; j++)
            normal.covariance[i][j] = gaussian->common * gaussian->common / GAUSSIAN_PIXELS +
                                      (i == j ? gaussian->deviation * gaussian->deviation : 0);
    }
    return normal;
}

/* What the ancestral chain with the exact denoiser really draws: N(0, I) carried through every step. It
 * differs from the prior by the finite steps and by x_T. With P = u u^T every matrix is a + b P: a step
 * multiplies by `across` in the directions across u and by `along` in u's. */
static inline Normal normal_of_chain(const Gaussian *gaussian) {
    const Schedule *schedule = gaussian->schedule;
    double across_variance = 1, along_variance = 1, mean[GAUSSIAN_PIXELS] = {0};
    Normal normal;
    for (int64_t t = schedule->steps - 1; t >= 0; t--) {
        const double abar = schedule->alpha_bar[t], beta = schedule->beta[t], alpha = 1 - beta;
        const double a = abar * gaussian->deviation * gaussian->deviation + 1 - abar;
        const double ab = a + abar * gaussian->common * gaussian->common;
        const double across = (1 - beta / a) / sqrt(alpha), along = (1 - beta / ab) / sqrt(alpha);
        const double noise = t > 0 ? beta : 0;
        double centre = 0, prior_centre = 0;
        for (int p = 0; p < GAUSSIAN_PIXELS; p++) {
            centre += mean[p] / GAUSSIAN_PIXELS;
            prior_centre += sqrt(abar) * gaussian->mean[p] / GAUSSIAN_PIXELS;
        }
        for (int p = 0; p < GAUSSIAN_PIXELS; p++) {
            /* mu = (x - beta (a + b P)^-1 (x - sqrt(abar) m)) / sqrt(alpha) */
            double forced = sqrt(abar) * gaussian->mean[p];
            double forced_across = beta / a / sqrt(alpha) * (forced - prior_centre);
            double forced_along = beta / ab / sqrt(alpha) * prior_centre;
            mean[p] = across * (mean[p] - centre) + along * centre + forced_across + forced_along;
        }
        across_variance = across * across * across_variance + noise;
        along_variance = along * along * along_variance + noise;
    }
    for (int i = 0; i < GAUSSIAN_PIXELS; i++) {
        normal.mean[i] = mean[i];
        for (int j = 0; j < GAUSSIAN_PIXELS; j++)
            normal.covariance[i][j] =
                (along_variance - across_variance) / GAUSSIAN_PIXELS + (i == j ? across_variance : 0);
    }
    return normal;
}

#endif
