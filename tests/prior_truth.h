/* The exact priors again, straight from their definitions: double precision, dense covariances inverted by
 * Gauss-Jordan elimination, no change of basis. For small images. */
#ifndef TESTS_PRIOR_TRUTH_H
#define TESTS_PRIOR_TRUTH_H

#include <stdint.h>

#include "diffusion/prior.h"

enum { TRUTH_PIXELS = 36, TRUTH_MODES = 64 };

typedef double TruthMatrix[TRUTH_PIXELS][TRUTH_PIXELS];

typedef struct Truth {
    int pixels, modes, labels;
    double mean[TRUTH_MODES][TRUTH_PIXELS], weight[TRUTH_MODES];
    int label[TRUTH_MODES];
    TruthMatrix covariance;
} Truth;

/* The prior that the settings describe. images: as prior_create. */
void truth_create(const PriorSettings *settings, const PriorImages *images, Truth *truth);

/* The prior diffused to abar = a: means sqrt(a) mean, covariance a S + (1 - a) I. */
Truth truth_diffused(const Truth *truth, double a);

/* The mixture of Gaussians given y_O = x_O + sigma_y n where mask is 1: weights, means and covariance. */
Truth truth_posterior(const Truth *truth, const float *mask, const float *y, double sigma_y);

void truth_invert(int n, const TruthMatrix a, TruthMatrix inverse);

/* p(k | x), and log p(x) up to a constant; inverse is that of truth's covariance. */
double truth_weigh(const Truth *truth, const TruthMatrix inverse, const double *x, double *weights);

/* grad log p(x) */
void truth_score(const Truth *truth, const TruthMatrix inverse, const double *x, double *score);

/* Hessian of log p(x) times v */
void truth_hessian_product(const Truth *truth, const TruthMatrix inverse, const double *x, const double *v,
                           double *product);

/* Mean (pixels) and covariance of the whole mixture. */
void truth_moments(const Truth *truth, double *mean, TruthMatrix covariance);

#endif
