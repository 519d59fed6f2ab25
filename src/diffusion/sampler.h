/* The registry of named samplers. A sampler fills one ReverseStep for every step of a chain; generate.h runs
 * it. Formulas and papers stand at the top of each sampler's file, samplers/NAME.c.
 *
 *   ddpm               ancestral, every t
 *   ddim               deterministic (eta 0), K of the T steps: t_i = round(i (T-1) / (K-1)), halves up;
 *                      T-1 for K = 1
 *   dps_plus           the report's posterior sampler: ancestral step, guidance, projection and replacement
 *   guided             ancestral step and guidance alone
 *   guided_calibrated  guidance by the variance of x0 given x_t
 *   replace            ancestral step and replacement of the observed pixels
 *   repaint            replace, every step repeated with renoising
 *   dps                guidance through the denoiser's Jacobian, by the norm of the residual
 *   pigdm              guidance through the denoiser's Jacobian, by the variance of x0 given x_t
 *   tds                particles that pigdm proposes, weighted and resampled
 *
 * Common notation: mask m, observation y, x0_hat from eps_hat, mu the ancestral mean, J = d x0_hat / d x_t,
 *   r_t^2(v) = v (1 - abar_t) / (abar_t v + 1 - abar_t),
 * the variance of x0 given x_t under a prior of variance v. */
#ifndef DIFFUSION_SAMPLER_H
#define DIFFUSION_SAMPLER_H

#include <stdbool.h>

#include "diffusion/schedule.h"
#include "kernels/backend.h"

/* Settings of all samplers; each reads and checks its own only. */
typedef struct SamplerOptions {
    int64_t steps; /* ddim: K; 0: every step of the schedule */
    /* posterior samplers */
    double sigma_y;                       /* standard deviation of y, in units of [-1, 1] pixels */
    double lambda_max, lambda_min, power; /* dps_plus, guided: strength */
    double c;                             /* dps_plus, guided: weight of 1 - abar_t in sigma_t^2 */
    /* dps_plus, guided, guided_calibrated: cap of gain / sqrt(abar_t); 0: none. That ratio multiplies the
     * distance between the image in x_t and sqrt(abar_t) y. It is 2.7 at most for the report's settings on
     * its linear schedule, and unbounded where abar_{T-1} is close to 0. */
    double max_gain;
    int64_t jumps;                       /* repaint: passes of every step */
    double zeta;                         /* dps: strength */
    double calibrated_v, pigdm_v, tds_v; /* prior variance v of guided_calibrated, pigdm and tds */
    int64_t particles;                   /* tds: K of one run */
    int64_t draws_per_run;               /* tds: D, draws taken from one run; 0: K */
} SamplerOptions;

typedef struct Sampler {
    const char *name;
    const char *description; /* one line */
    const char *options;     /* the keys posterior.* that it reads, separated by spaces; NULL: none */
    bool posterior;          /* needs an observation */
    bool skips_steps;        /* accepts fewer steps than the schedule has */
    bool repeats;            /* runs every step but the last options->jumps times, renoising in between */
    bool jacobian;           /* guides by J^T u: needs the denoiser's vjp */
    bool particles;          /* weights and resamples options->particles chains of one run */
    /* Optional: whether the options this sampler reads are in range; STATUS_BAD_INPUT names one. */
    Status (*check)(const SamplerOptions *options);
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

/* Every step of a chain, in the order they are run: t falls, or stays for a repetition. */
typedef struct SamplerPlan {
    const Sampler *sampler;
    SamplerOptions options; /* with draws_per_run resolved */
    int64_t count;
    ReverseStep *steps;  /* (count) */
    int64_t *t;          /* (count) */
    uint32_t *rng_steps; /* (count) t + T * repetition: the first pass has the numbers of plain samplers */
    double *twist_variances; /* samplers of particles (see samplers/tds.c): (count + 1) variance of y given
                              * the state before step k; last: given the result. Else NULL */
    double max_gain;      /* largest factor of the residual, or of J^T residual, over the steps: report it */
    int64_t max_gain_t;   /* where it is reached first */
    int64_t capped_steps; /* steps whose gain options.max_gain lowered */
} SamplerPlan;

/* The caller owns the plan (sampler_plan_destroy). STATUS_BAD_INPUT: unknown name, steps the sampler cannot
 * take, settings of this sampler out of range, or settings whose coefficients are not finite. */
Status sampler_plan_create(const char *name, const Schedule *schedule, const SamplerOptions *options,
                           SamplerPlan **plan);

/* Accepts NULL. */
void sampler_plan_destroy(SamplerPlan *plan);

/* lambda_t of guided (samplers/guided.c). */
double sampler_lambda(const SamplerOptions *options, int64_t t, int64_t steps);

#endif
