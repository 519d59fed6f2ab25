/* The registry of named samplers. A sampler fills one ReverseStep for every step of a chain; generate.h runs
 * it.
 *
 *   ddpm      ancestral, every t
 *   ddim      deterministic (eta 0), K of the T steps: t_i = round(i (T-1) / (K-1)), halves up; T-1 for K = 1
 *   dps_plus  the report's posterior sampler: ancestral step, guidance, projection and replacement
 *   guided    ancestral step and guidance alone
 *
 * Posterior samplers, with mask m, observation y, x0_hat from eps_hat and mu the ancestral mean:
 *   g_t = m (y - x0_hat) / (sigma_t^2 sqrt(abar_t)),  sigma_t^2 = sigma_y^2 + c (1 - abar_t)
 *   lambda_t = lambda_max (lambda_min + (1 - lambda_min) (1 - t / (T-1))^power)
 *   guided:    x_{t-1} = mu + lambda_t beta_t g_t + sqrt(beta_t) z, without z at t = 0
 *   dps_plus:  the same with mu from the projected x0 = m y + (1 - m) x0_hat (g from the unprojected one);
 *              then for t > 0: x_{t-1} <- m (sqrt(abar_{t-1}) y + sqrt(1 - abar_{t-1}) xi) + (1 - m) x_{t-1}
 *
 * What guidance does in dps_plus: at t > 0 replacement overwrites exactly the pixels guidance moved, so
 * neither the states x_{t-1}, t > 0, nor the missing pixels of the result depend on lambda at all. Observed
 * pixels of the result do, through the step t = 0 alone, which has no replacement: they are y + gain_0 (y -
 * x0_hat_0), gain_0 = lambda_max beta_0 / (sigma_0^2 sqrt(abar_0)), 0.015 at the report's settings. */
#ifndef DIFFUSION_SAMPLER_H
#define DIFFUSION_SAMPLER_H

#include <stdbool.h>

#include "diffusion/schedule.h"
#include "kernels/backend.h"

typedef struct SamplerOptions {
    int64_t steps; /* K; 0: every step of the schedule */
    /* posterior samplers only */
    double lambda_max, lambda_min, power; /* guidance strength */
    double sigma_y;                       /* standard deviation of y, in units of [-1, 1] pixels */
    double c;                             /* weight of 1 - abar_t in sigma_t^2 */
} SamplerOptions;

typedef struct Sampler {
    const char *name;
    const char *description; /* one line */
    bool posterior;          /* needs an observation */
    bool skips_steps;        /* accepts fewer steps than the schedule has */
    /* The step t -> t_next (-1: the result). */
    void (*fill)(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                 ReverseStep *step);
} Sampler;

typedef enum SamplerKinds { SAMPLER_PRIOR = 1, SAMPLER_POSTERIOR = 2, SAMPLER_ANY = 3 } SamplerKinds;

/* All samplers, ended by NULL. */
const Sampler *const *sampler_table(void);

/* Names of the samplers of these kinds, separated by ", ", in text; returns text. */
char *sampler_names(SamplerKinds kinds, char text[256]);

/* The named sampler among these kinds. STATUS_BAD_INPUT: there is none; the message lists those there are. */
Status sampler_find(const char *name, SamplerKinds kinds, const Sampler **sampler);

/* Every step of a chain, in the order they are run (t falls). */
typedef struct SamplerPlan {
    const Sampler *sampler;
    int64_t count;
    ReverseStep *steps; /* (count) */
    int64_t *t;         /* (count) */
    double max_gain;    /* largest gain of the residual over the steps: nothing is capped, report it */
    int64_t max_gain_t; /* where it is reached */
} SamplerPlan;

/* The caller owns the plan (sampler_plan_destroy). STATUS_BAD_INPUT: unknown name, steps the sampler cannot
 * take, posterior settings out of range, or settings whose coefficients are not finite. */
Status sampler_plan_create(const char *name, const Schedule *schedule, const SamplerOptions *options,
                           SamplerPlan **plan);

/* Accepts NULL. */
void sampler_plan_destroy(SamplerPlan *plan);

/* lambda_t of the formula above. */
double sampler_lambda(const SamplerOptions *options, int64_t t, int64_t steps);

#endif
