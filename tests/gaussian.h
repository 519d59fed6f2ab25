/* A denoiser that is exact: the prior N(mean, deviation^2 I + common^2 u u^T), u = (1, ..., 1) /
 * sqrt(pixels). x_t is Gaussian with covariance a I + b u u^T, a = abar deviation^2 + 1 - abar, b = abar
 * common^2, and E[eps | x_t] = sqrt(1 - abar) (a I + b u u^T)^-1 (x_t - sqrt(abar) mean)  (Sherman-Morrison
 * for the inverse). */
#ifndef TESTS_GAUSSIAN_H
#define TESTS_GAUSSIAN_H

#include "diffusion/denoiser.h"
#include "diffusion/generate.h"
#include "diffusion/posterior.h"
#include "diffusion/sampler.h"
#include "diffusion/schedule.h"
#include "tests/test.h"

enum {
    GAUSSIAN_HEIGHT = 5,
    GAUSSIAN_WIDTH = 3,
    GAUSSIAN_PIXELS = 15,
    GAUSSIAN_MAX_WORKERS = 8
}; /* odd: also the ends of vector loops */

typedef struct Gaussian {
    const Schedule *schedule;
    double mean[GAUSSIAN_PIXELS];
    double deviation, common;
    int64_t break_at_t; /* eps_hat is infinite at this t for every sample with x_t[0] > 0; -1: never */
    int64_t latest_t[GAUSSIAN_MAX_WORKERS]; /* t of each worker's last eps_hat, the same in all its slots */
} Gaussian;

static inline Status gaussian_eps_hat(Denoiser *self, int worker, const float *x_t, const float *t,
                                      float *eps_hat) {
    Gaussian *gaussian = self->context;
    gaussian->latest_t[worker] = (int64_t)t[0];
    for (int64_t n = 0; n < self->batch; n++) {
        const float *x = x_t + n * GAUSSIAN_PIXELS;
        float *out = eps_hat + n * GAUSSIAN_PIXELS;
        double alpha_bar = schedule_alpha_bar(gaussian->schedule, (int64_t)t[n]);
        double a = alpha_bar * gaussian->deviation * gaussian->deviation + 1 - alpha_bar;
        double b = alpha_bar * gaussian->common * gaussian->common, along = 0;
        for (int p = 0; p < GAUSSIAN_PIXELS; p++)
            along += (x[p] - sqrt(alpha_bar) * gaussian->mean[p]) / GAUSSIAN_PIXELS; /* u (u . residual) */
        for (int p = 0; p < GAUSSIAN_PIXELS; p++) {
            double residual = x[p] - sqrt(alpha_bar) * gaussian->mean[p];
            out[p] = (float)(sqrt(1 - alpha_bar) * (residual / a - b / (a * (a + b)) * along));
        }
        if ((int64_t)t[n] == gaussian->break_at_t && x[0] > 0)
            out[7] = INFINITY;
    }
    return STATUS_OK;
}

/* The Jacobian of eps_hat depends on t alone, not on x_t, and is symmetric. Its t is that of the worker's
 * last call of eps_hat. */
static inline Status gaussian_vjp(Denoiser *self, int worker, const float *v, float *product) {
    const Gaussian *gaussian = self->context;
    for (int64_t n = 0; n < self->batch; n++) {
        double alpha_bar = schedule_alpha_bar(gaussian->schedule, gaussian->latest_t[worker]), along = 0;
        double a = alpha_bar * gaussian->deviation * gaussian->deviation + 1 - alpha_bar;
        double b = alpha_bar * gaussian->common * gaussian->common;
        for (int p = 0; p < GAUSSIAN_PIXELS; p++)
            along += v[n * GAUSSIAN_PIXELS + p] / (double)GAUSSIAN_PIXELS;
        for (int p = 0; p < GAUSSIAN_PIXELS; p++)
            product[n * GAUSSIAN_PIXELS + p] =
                (float)(sqrt(1 - alpha_bar) * (v[n * GAUSSIAN_PIXELS + p] / a - b / (a * (a + b)) * along));
    }
    return STATUS_OK;
}

static inline Gaussian gaussian_prior(const Schedule *schedule, double deviation, double common) {
    Gaussian gaussian = {.schedule = schedule, .deviation = deviation, .common = common, .break_at_t = -1};
    for (int p = 0; p < GAUSSIAN_PIXELS; p++)
        gaussian.mean[p] = 0.1 * (p - 7);
    return gaussian;
}

static inline Denoiser gaussian_denoiser(Gaussian *gaussian, const Backend *backend, int workers,
                                         int64_t batch) {
    return (Denoiser){.backend = backend,
                      .workers = workers,
                      .batch = batch,
                      .height = GAUSSIAN_HEIGHT,
                      .width = GAUSSIAN_WIDTH,
                      .eps_hat = gaussian_eps_hat,
                      .vjp = gaussian_vjp,
                      .context = gaussian};
}

/* One step of one chain in the plainest way; x (pixels) in host memory, which is the CPU backends' own. */
static inline Status gaussian_step(Gaussian *gaussian, const Backend *backend, const SamplerPlan *plan,
                                   int64_t k, uint64_t seed, uint32_t rng_sample,
                                   const Observation *observation, float *x) {
    Denoiser denoiser = gaussian_denoiser(gaussian, backend, 1, 1);
    float t = (float)plan->t[k], eps_hat[GAUSSIAN_PIXELS], u[GAUSSIAN_PIXELS], product[GAUSSIAN_PIXELS];
    const bool guides = plan->sampler->jacobian && plan->steps[k].guidance != 0;
    const float *const *mask = observation ? (const float *const *)&observation->mask : NULL;
    const float *const *observed = observation ? (const float *const *)&observation->y : NULL;
    ResidualArguments residual = {
        .samples = 1,
        .pixels = GAUSSIAN_PIXELS,
        .step = &plan->steps[k],
        .x = x,
        .eps_hat = eps_hat,
        .mask = mask,
        .observed = observed,
        .residual = u,
    };
    ReverseArguments reverse = {
        .samples = 1,
        .pixels = GAUSSIAN_PIXELS,
        .step = &plan->steps[k],
        .seeds = &seed,
        .rng_samples = &rng_sample,
        .rng_step = plan->rng_steps[k],
        .eps_hat = eps_hat,
        .mask = mask,
        .observed = observed,
        .x = x,
        .residual = guides ? u : NULL,
        .product = guides ? product : NULL,
    };
    Status status = gaussian_eps_hat(&denoiser, 0, x, &t, eps_hat);
    if (status == STATUS_OK && guides)
        status = backend->residual(&residual);
    if (status == STATUS_OK && guides)
        status = gaussian_vjp(&denoiser, 0, u, product);
    return status == STATUS_OK ? backend->reverse(&reverse) : status;
}

/* A whole chain, x_T included. The seed is hidden from the compiler: it would otherwise compute constant
 * normals itself, with logarithms that differ from the library's by a rounding. */
static inline Status gaussian_chain(Gaussian *gaussian, const Backend *backend, const SamplerPlan *plan,
                                    uint64_t seed, uint32_t rng_sample, const Observation *observation,
                                    float *x) {
    Status status = STATUS_OK;
    const volatile uint64_t hidden = seed;
    rng_fill_normal(rng_key(hidden, RNG_SAMPLE_START, 0, rng_sample), x, GAUSSIAN_PIXELS);
    for (int64_t k = 0; k < plan->count && status == STATUS_OK; k++)
        status = gaussian_step(gaussian, backend, plan, k, seed, rng_sample, observation, x);
    return status;
}

/* An observation of the 5 x 3 image; 6 of 15 pixels observed. */
static inline Observation *small_observation(uint64_t mask_seed, int64_t image_index) {
    uint8_t image[GAUSSIAN_PIXELS];
    ObservationSettings settings = {
        .fraction = 0.4, .mask_seed = mask_seed, .sigma_y = 0.1, .observation_noise = true, .seed = 11};
    Observation *observation = NULL;
    for (int p = 0; p < GAUSSIAN_PIXELS; p++)
        image[p] = (uint8_t)(60 + 9 * p + 5 * image_index);
    CHECK_OK(
        observation_create(&settings, image, GAUSSIAN_HEIGHT, GAUSSIAN_WIDTH, image_index, &observation));
    return observation;
}

#endif
