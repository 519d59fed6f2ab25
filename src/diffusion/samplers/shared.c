/* What several samplers share. */
#include <math.h>

#include "diffusion/samplers/samplers.h"

Status sampler_check_option(const char *sampler, const char *name, double value, double least, double most) {
    if (value >= least && value <= most && isfinite(value))
        return STATUS_OK;
    if (isfinite(most))
        return status_error(STATUS_BAD_INPUT, "%s: expected %g to %g, found %g (sampler %s)", name, least,
                            most, value, sampler);
    return status_error(STATUS_BAD_INPUT, "%s: expected %g or more, found %g (sampler %s)", name, least,
                        value, sampler);
}

Status sampler_check_variance(const char *sampler, const char *v_name, const SamplerOptions *options,
                              double v) {
    Status status = STATUS_OK;
    TRY(sampler_check_option(sampler, "posterior.sigma_y", options->sigma_y, 0, HUGE_VAL));
    TRY(sampler_check_option(sampler, v_name, v, 0, HUGE_VAL));
    if (!(options->sigma_y > 0 || v > 0))
        FAIL(STATUS_BAD_INPUT,
             "posterior.sigma_y and %s: both are 0, expected one of them above 0: guidance divides by "
             "sigma_y^2 + r_t^2 (sampler %s)",
             v_name, sampler);
done:
    return status;
}

double sampler_x0_variance(const Schedule *schedule, int64_t t, double v) {
    double alpha_bar = schedule->alpha_bar[t];
    return v * (1 - alpha_bar) / (alpha_bar * v + 1 - alpha_bar);
}

double sampler_variance_gain(const Schedule *schedule, const SamplerOptions *options, double v, int64_t t) {
    double variance = options->sigma_y * options->sigma_y + sampler_x0_variance(schedule, t, v);
    return schedule->beta[t] / (sqrt(schedule->alpha[t]) * variance);
}

double sampler_cap(const Schedule *schedule, const SamplerOptions *options, int64_t t, double gain) {
    double most = options->max_gain * sqrt(schedule->alpha_bar[t]);
    return options->max_gain > 0 && gain > most ? most : gain;
}
