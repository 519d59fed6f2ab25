/* Private to sampler.c and samplers/: the entries of the registry and what several of them share. */
#ifndef DIFFUSION_SAMPLERS_SAMPLERS_H
#define DIFFUSION_SAMPLERS_SAMPLERS_H

#include "diffusion/sampler.h"

extern const Sampler sampler_ddpm, sampler_ddim, sampler_dps_plus, sampler_guided, sampler_guided_calibrated,
    sampler_replace, sampler_repaint, sampler_dps, sampler_pigdm, sampler_tds;

/* least <= value <= most, finite; `name` is the configuration's ("posterior.zeta"). */
Status sampler_check_option(const char *sampler, const char *name, double value, double least, double most);

/* sigma_y and v at least 0 and not both 0, for variances sigma_y^2 + r_t^2(v). */
Status sampler_check_variance(const char *sampler, const char *v_name, const SamplerOptions *options,
                              double v);

/* r_t^2(v) of sampler.h. */
double sampler_x0_variance(const Schedule *schedule, int64_t t, double v);

/* beta_t / (sqrt(alpha_t) (sigma_y^2 + r_t^2(v))): an ancestral step moves by beta_t / sqrt(alpha_t) times a
 * score. */
double sampler_variance_gain(const Schedule *schedule, const SamplerOptions *options, double v, int64_t t);

/* gain, at most options->max_gain sqrt(abar_t). */
double sampler_cap(const Schedule *schedule, const SamplerOptions *options, int64_t t, double gain);

/* What guided has and dps_plus adds to: see guided.c. */
void sampler_fill_guided(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                         ReverseStep *step);
Status sampler_check_guided(const char *sampler, const SamplerOptions *options);

/* For t > 0: x_{t-1} <- m (sqrt(abar_{t-1}) y + sqrt(1 - abar_{t-1}) xi) + (1 - m) x_{t-1}. */
void sampler_add_replacement(const Schedule *schedule, int64_t t, ReverseStep *step);

#endif
