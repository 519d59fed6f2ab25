/* Likelihood guidance alone:
 *   g_t = m (y - x0_hat) / (sigma_t^2 sqrt(abar_t)),  sigma_t^2 = sigma_y^2 + c (1 - abar_t)
 *   lambda_t = lambda_max (lambda_min + (1 - lambda_min) (1 - t / (T-1))^power)
 *   x_{t-1} = mu + lambda_t beta_t g_t + sqrt(beta_t) z, without z at t = 0
 * The gain lambda_t beta_t / (sigma_t^2 sqrt(abar_t)) of the residual is capped (SamplerOptions, max_gain).
 */
#include <math.h>

#include "diffusion/reverse.h"
#include "diffusion/samplers/samplers.h"

double sampler_lambda(const SamplerOptions *options, int64_t t, int64_t steps) {
    double progress = 1 - (double)t / (double)(steps - 1);
    return options->lambda_max *
           (options->lambda_min + (1 - options->lambda_min) * pow(progress, options->power));
}

static double guidance_gain(const Schedule *schedule, const SamplerOptions *options, int64_t t) {
    double alpha_bar = schedule->alpha_bar[t];
    double variance = options->sigma_y * options->sigma_y + options->c * (1 - alpha_bar);
    return sampler_lambda(options, t, schedule->steps) * schedule->beta[t] / (variance * sqrt(alpha_bar));
}

void sampler_fill_guided(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                         ReverseStep *step) {
    (void)t_next;
    reverse_ancestral(schedule, t, step);
    step->gain = (float)sampler_cap(schedule, options, t, guidance_gain(schedule, options, t));
}

Status sampler_check_guided(const char *sampler, const SamplerOptions *options) {
    Status status = STATUS_OK;
    TRY(sampler_check_option(sampler, "posterior.lambda_max", options->lambda_max, 0, HUGE_VAL));
    TRY(sampler_check_option(sampler, "posterior.lambda_min", options->lambda_min, 0, 1));
    TRY(sampler_check_option(sampler, "posterior.power", options->power, 0, HUGE_VAL));
    TRY(sampler_check_option(sampler, "posterior.sigma_y", options->sigma_y, 0, HUGE_VAL));
    TRY(sampler_check_option(sampler, "posterior.c", options->c, 0, HUGE_VAL));
    TRY(sampler_check_option(sampler, "posterior.max_gain", options->max_gain, 0, HUGE_VAL));
    if (!(options->sigma_y > 0 || options->c > 0))
        FAIL(STATUS_BAD_INPUT,
             "posterior.sigma_y and posterior.c: both are 0, expected one of them above 0: "
             "guidance divides by sigma_y^2 + c (1 - abar_t) (sampler %s)",
             sampler);
done:
    return status;
}

static Status check(const SamplerOptions *options) {
    return sampler_check_guided("guided", options);
}

const Sampler sampler_guided = {
    .name = "guided",
    .description = "likelihood guidance alone",
    .options = "sigma_y lambda_max lambda_min power c max_gain",
    .posterior = true,
    .check = check,
    .fill = sampler_fill_guided,
};
