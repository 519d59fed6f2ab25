/* Priors whose posteriors are known exactly, to measure samplers against: mixtures of Gaussians that share
 * one covariance, p(x) = sum_k weight_k N(x; mean_k, S),  S = U diag(lambda) U^T
 *
 *   gaussian        one mode at 0, S_pq = correlation^|p - q| (AR(1) along the pixels)
 *   mixture         `modes` modes of equal weight drawn from the seed, S = tau^2 I:
 *                   mean_kp = separation tau n_kp / sqrt(2 pixels), n normal, so that two modes are about
 *                   `separation` tau apart whatever the number of pixels. At 6 they are distinct only when
 *                   seen whole: of ten, about 2.2 remain (exponential of the entropy of their weights) where
 *                   half of 16 pixels are observed with noise of tau / 2; at 16 about 1.02
 *   class-gaussian  the class means of all training images, S = their covariance within classes + tau^2 I,
 *                   weights = class frequencies
 *   empirical       one mode on each of the first `images` training images, S = tau^2 I
 *
 * With v_p = abar lambda_p + 1 - abar in the basis U, eps_hat = -sqrt(1 - abar) grad log p_t(x_t), its
 * vector-Jacobian product, draws, the posterior under any mask and the weights of its modes are closed forms
 * (formulas at the top of prior_denoiser.c and exact_posterior.c). Host memory throughout. Nothing here is
 * collective but prior_broadcast. */
#ifndef DIFFUSION_PRIOR_H
#define DIFFUSION_PRIOR_H

#include <stdint.h>

#include "comm/comm.h"
#include "diffusion/denoiser.h"
#include "diffusion/schedule.h"

typedef struct Prior Prior;

enum { PRIOR_MAX_LABELS = 64 };

typedef struct PriorSettings {
    const char *name;
    int64_t side;       /* images of gaussian and mixture are side x side, at most 32 and 64 */
    double correlation; /* gaussian */
    int64_t modes;      /* mixture, at most PRIOR_MAX_LABELS */
    double separation;  /* mixture: root mean square distance of two modes, in units of tau */
    int64_t images;     /* empirical */
    double tau;         /* standard deviation around the modes; 0: 0.1 for class-gaussian, else 0.2 */
    uint64_t seed;      /* of the mixture's modes: stream RNG_PRIOR_MODES */
} PriorSettings;

/* Training images; needed by class-gaussian and empirical. */
typedef struct PriorImages {
    int64_t count, height, width;
    const uint8_t *pixels; /* (count, height, width) */
    const uint8_t *labels; /* (count), below 10 */
} PriorImages;

/* Whether the named prior is made from training images. */
bool prior_needs_images(const char *name);

/* images may be NULL where it is not needed. The caller owns the prior (prior_destroy). STATUS_BAD_INPUT:
 * unknown name, settings out of range, fewer images than asked for. */
Status prior_create(const PriorSettings *settings, const PriorImages *images, Prior **prior);
void prior_destroy(Prior *prior); /* accepts NULL */

/* Rank 0's prior to all; *prior is created on the others, which have none yet. So every rank has the same
 * bits, whatever its linear algebra library did. Collective. */
Status prior_broadcast(Comm *comm, Prior **prior);

int64_t prior_height(const Prior *prior);
int64_t prior_width(const Prior *prior);
int64_t prior_pixels(const Prior *prior);
int64_t prior_labels(const Prior *prior); /* labels are 0 .. prior_labels - 1: digits, or modes */
int64_t prior_bytes(const Prior *prior);
char *prior_describe(const Prior *prior, char text[200]); /* one line; returns text */

/* Draw `sample` of the prior: x (pixels), and its label; streams RNG_PRIOR_MODE and RNG_PRIOR_DRAW. label may
 * be NULL. */
Status prior_draw(const Prior *prior, uint64_t seed, uint32_t sample, float *x, int *label);

/* The labels that `count` images x (count, pixels) are read as: the largest sum over the label's modes of
 * p(k | x). An image's label does not depend on the others. */
Status prior_classify(const Prior *prior, int64_t count, const float *x, int *labels);

/* A denoiser of blocks of `batch` samples, with vjp; on the CPU backend. The prior and the schedule must
 * outlive it; prior_denoiser_release frees it. */
Status prior_denoiser_create(const Prior *prior, const Schedule *schedule, const Backend *backend,
                             int64_t batch, int workers, Denoiser *denoiser);
void prior_denoiser_release(Denoiser *denoiser); /* accepts a zeroed struct */

/* Bytes of its matrices as the kernels want them and of its workers, beside the prior's own. */
int64_t prior_denoiser_bytes(const Denoiser *denoiser);

/* ---- the exact posterior p(x | y = x + sigma_y n on the mask) ---- */

typedef struct ExactPosterior ExactPosterior;

/* For one mask (pixels; 1 observed), any y: factorised once. sigma_y > 0. Owned by the caller. */
Status exact_posterior_create(const Prior *prior, const float *mask, double sigma_y,
                              ExactPosterior **posterior);
void exact_posterior_destroy(ExactPosterior *posterior); /* accepts NULL */

/* Sets the observation y (pixels; missing ones are not read). Afterwards: */
Status exact_posterior_observe(ExactPosterior *posterior, const float *y);

/* P(label | y) into weights (prior_labels), summing to 1. */
void exact_posterior_label_weights(const ExactPosterior *posterior, double *weights);

/* Draw number `sample`: x (pixels) and its label (may be NULL); streams RNG_EXACT_MODE and RNG_EXACT_DRAW. */
Status exact_posterior_draw(ExactPosterior *posterior, uint64_t seed, uint32_t sample, float *x, int *label);

#endif
