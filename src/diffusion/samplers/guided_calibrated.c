/* Guidance by the likelihood N(y; x0_hat, sigma_y^2 + r_t^2(v)) with x0_hat's Jacobian left out:
 *   x_{t-1} = mu + (beta_t / sqrt(alpha_t)) m (y - x0_hat) / (sigma_y^2 + r_t^2) + sqrt(beta_t) z
 * without z at t = 0; r_t^2 and v = calibrated_v: sampler.h. The gain of the residual is capped
 * (SamplerOptions, max_gain). pigdm is the same with the Jacobian. */
#include <math.h>

#include "diffusion/reverse.h"
#include "diffusion/samplers/samplers.h"

static Status check(const SamplerOptions *options) {
    Status status = STATUS_OK;
    TRY(sampler_check_variance("guided_calibrated", "posterior.calibrated_v", options,
                               options->calibrated_v));
    TRY(sampler_check_option("guided_calibrated", "posterior.max_gain", options->max_gain, 0, HUGE_VAL));
done:
    return status;
}

static void fill(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                 ReverseStep *step) {
    double gain = sampler_variance_gain(schedule, options, options->calibrated_v, t);
    (void)t_next;
    reverse_ancestral(schedule, t, step);
    step->gain = (float)sampler_cap(schedule, options, t, gain);
}

const Sampler sampler_guided_calibrated = {
    .name = "guided_calibrated",
    .description = "guidance by the variance of x0 given x_t",
    .options = "sigma_y calibrated_v max_gain",
    .posterior = true,
    .check = check,
    .fill = fill,
};
