/* Posterior of a mixture under y_O = x_O + sigma_y n on the observed pixels O. With C = S_OO + sigma_y^2 I:
 *   p(k | y) proportional to weight_k N(y_O; mean_kO, C)
 * and a draw by Matheron's rule: k ~ p(k | y), z ~ N(0, S), e ~ N(0, sigma_y^2 I),
 *   x = mean_k + z + S_{.O} C^-1 (y_O - mean_kO - z_O - e)
 * Where S = tau^2 I all of it is pixel by pixel. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "diffusion/linear_algebra.h"
#include "diffusion/prior_internal.h"

struct ExactPosterior {
    const Prior *prior;
    double sigma_y;
    int64_t count;            /* observed pixels */
    int64_t *observed;        /* (count) their indices, ascending */
    double *factor;           /* (count, count) Cholesky factor of C; NULL where S = tau^2 I */
    double *y;                /* (count) y_O - centre_O */
    double *weights;          /* (modes) p(k | y) */
    double *residual, *noise; /* (count), (pixels): scratch */
    float *normals;           /* (pixels): scratch */
};

static Status factorise(ExactPosterior *posterior) {
    Status status = STATUS_OK;
    int64_t count = posterior->count, pixels = posterior->prior->pixels;
    const double *covariance = posterior->prior->covariance;
    TRY(ALLOCATE(&posterior->factor, count * count));
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j <= i; j++)
            posterior->factor[i * count + j] =
                covariance[posterior->observed[i] * pixels + posterior->observed[j]];
        posterior->factor[i * count + i] += posterior->sigma_y * posterior->sigma_y;
    }
    TRY(cholesky_factor(count, posterior->factor));
done:
    return status;
}

Status exact_posterior_create(const Prior *prior, const float *mask, double sigma_y, ExactPosterior **out) {
    Status status = STATUS_OK;
    ExactPosterior *posterior = NULL;
    *out = NULL;
    if (!(sigma_y > 0 && isfinite(sigma_y)))
        FAIL(STATUS_BAD_INPUT, "posterior.sigma_y: expected above 0 for exact posteriors, found %g", sigma_y);
    TRY(ALLOCATE(&posterior, 1));
    posterior->prior = prior;
    posterior->sigma_y = sigma_y;
    TRY(ALLOCATE(&posterior->observed, prior->pixels));
    for (int64_t p = 0; p < prior->pixels; p++)
        if (mask[p] > 0)
            posterior->observed[posterior->count++] = p;
    TRY(ALLOCATE(&posterior->y, posterior->count));
    TRY(ALLOCATE(&posterior->residual, posterior->count));
    TRY(ALLOCATE(&posterior->weights, prior->modes));
    TRY(ALLOCATE(&posterior->noise, prior->pixels));
    TRY(ALLOCATE(&posterior->normals, prior->pixels));
    if (prior->covariance)
        TRY(factorise(posterior));
    for (int64_t k = 0; k < prior->modes; k++) /* the prior's, until there is a y */
        posterior->weights[k] = exp(prior->log_weight[k]);
    *out = posterior;
    posterior = NULL;
done:
    exact_posterior_destroy(posterior);
    return status;
}

void exact_posterior_destroy(ExactPosterior *posterior) {
    if (!posterior)
        return;
    free(posterior->observed);
    free(posterior->factor);
    free(posterior->y);
    free(posterior->weights);
    free(posterior->residual);
    free(posterior->noise);
    free(posterior->normals);
    free(posterior);
}

/* (y_O - mean_kO)^T C^-1 (y_O - mean_kO) */
static double squared_distance(ExactPosterior *posterior, int64_t k) {
    const Prior *prior = posterior->prior;
    const float *mean = prior->means + k * prior->pixels;
    double *r = posterior->residual;
    for (int64_t i = 0; i < posterior->count; i++)
        r[i] = posterior->y[i] - mean[posterior->observed[i]];
    if (posterior->factor)
        cholesky_forward(posterior->count, posterior->factor, r);
    double sum = dot_product(posterior->count, r, r);
    return posterior->factor ? sum : sum / (prior->variance[0] + posterior->sigma_y * posterior->sigma_y);
}

Status exact_posterior_observe(ExactPosterior *posterior, const float *y) {
    Status status = STATUS_OK;
    const Prior *prior = posterior->prior;
    for (int64_t i = 0; i < posterior->count; i++) {
        int64_t p = posterior->observed[i];
        if (!isfinite(y[p]))
            FAIL(STATUS_BAD_INPUT, "exact posterior: observed pixel %lld is %g, expected a finite number",
                 (long long)p, (double)y[p]);
        posterior->y[i] = (double)y[p] - prior->centre[p];
    }
    for (int64_t k = 0; k < prior->modes; k++)
        posterior->weights[k] = prior->log_weight[k] - 0.5 * squared_distance(posterior, k);
    prior_softmax(prior->modes, posterior->weights);
done:
    return status;
}

void exact_posterior_label_weights(const ExactPosterior *posterior, double *weights) {
    prior_sum_labels(posterior->prior, posterior->weights, weights);
}

/* noise += S_{.O} C^-1 residual */
static void add_correction(ExactPosterior *posterior) {
    const Prior *prior = posterior->prior;
    double *r = posterior->residual, *noise = posterior->noise;
    if (!posterior->factor) {
        double shrink = prior->variance[0] / (prior->variance[0] + posterior->sigma_y * posterior->sigma_y);
        for (int64_t i = 0; i < posterior->count; i++)
            noise[posterior->observed[i]] += shrink * r[i];
        return;
    }
    cholesky_solve(posterior->count, posterior->factor, r);
    for (int64_t i = 0; i < posterior->count; i++) {
        const double *column = prior->covariance + posterior->observed[i] * prior->pixels;
        for (int64_t p = 0; p < prior->pixels; p++)
            noise[p] += column[p] * r[i];
    }
}

Status exact_posterior_draw(ExactPosterior *posterior, uint64_t seed, uint32_t sample, float *x, int *label) {
    const Prior *prior = posterior->prior;
    float uniform = rng_uniform_of(rng_integer(rng_key(seed, RNG_EXACT_MODE, 0, sample), 0));
    int64_t k = prior_choose_mode(prior->modes, posterior->weights, uniform);
    const float *mean = prior->means + k * prior->pixels;
    prior_noise(prior, rng_key(seed, RNG_EXACT_DRAW, 0, sample), posterior->normals, posterior->noise);
    rng_fill_normal(rng_key(seed, RNG_EXACT_DRAW, 1, sample), posterior->normals, prior->pixels);
    for (int64_t i = 0; i < posterior->count; i++) {
        int64_t p = posterior->observed[i];
        posterior->residual[i] =
            posterior->y[i] - mean[p] - posterior->noise[p] - posterior->sigma_y * posterior->normals[p];
    }
    add_correction(posterior);
    for (int64_t p = 0; p < prior->pixels; p++)
        x[p] = (float)((double)prior->centre[p] + mean[p] + posterior->noise[p]);
    if (label)
        *label = prior->label[k];
    return STATUS_OK;
}
