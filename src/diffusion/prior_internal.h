/* What the files of the exact priors share. */
#ifndef DIFFUSION_PRIOR_INTERNAL_H
#define DIFFUSION_PRIOR_INTERNAL_H

#include "core/rng.h"
#include "diffusion/prior.h"

/* Means are kept relative to a common centre, so that float products of them lose nothing to an offset. */
struct Prior {
    char name[24];
    int64_t height, width, pixels, modes, labels;
    float *centre;      /* (pixels) c */
    float *means;       /* (modes, pixels) mean_k - c */
    float *rotated;     /* (modes, pixels) U^T (mean_k - c); `means` itself where U = 1 */
    float *basis;       /* U (pixels, pixels), column p of variance[p]; NULL: U = 1, all variances equal */
    double *variance;   /* (pixels) lambda */
    double *covariance; /* S (pixels, pixels); NULL where U = 1 */
    double *log_weight; /* (modes) */
    int32_t *label;     /* (modes) */
};

/* Makers of priors from images (prior_fit.c). */
Status prior_fit_classes(const PriorSettings *settings, const PriorImages *images, Prior **prior);
Status prior_fit_empirical(const PriorSettings *settings, const PriorImages *images, Prior **prior);

/* Memory for everything; dense: with U and S. `means` shared with `rotated` where not dense. */
Status prior_allocate(const char *name, int64_t height, int64_t width, int64_t modes, int64_t labels,
                      bool dense, Prior **prior);

/* Fills centre, means, variance (and basis, rotated), given log_weight, label, and `mean` (modes, pixels) in
 * double. Dense priors: from covariance; others: every variance is tau^2. */
Status prior_complete(Prior *prior, const double *mean, double tau);

/* settings->tau, or fallback where that is 0. */
double prior_tau(const PriorSettings *settings, double fallback);

/* w_k = exp(logit_k) / sum, in place; the sum is in a fixed order. */
void prior_softmax(int64_t count, double *logits);

/* sum_p inverse_p (x_p - mean_p)^2 over (pixels), in a fixed order. */
double prior_distance(int64_t pixels, const double *x, const float *mean, const double *inverse);

/* The mode in whose part of the cumulative weights a uniform number falls. */
int64_t prior_choose_mode(int64_t modes, const double *weights, double uniform);

/* noise = U sqrt(lambda) n, n the (pixels) normals of the key: a draw of N(0, S). normals: scratch (pixels).
 */
void prior_noise(const Prior *prior, RngKey key, float *normals, double *noise);

/* sum[label] of the modes' weights, (labels). */
void prior_sum_labels(const Prior *prior, const double *weights, double *sums);

#endif
