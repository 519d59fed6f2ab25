/* Pseudoinverse-guided diffusion (Song, Vahdat, Mardani, Kautz, ICLR 2023) on an ancestral chain:
 *   x_{t-1} = mu + (beta_t / sqrt(alpha_t)) J^T [m (y - x0_hat) / (sigma_y^2 + r_t^2(v))] + sqrt(beta_t) z
 * without z at t = 0: the score of N(y; x0_hat, sigma_y^2 + r_t^2) on the observed pixels; v = pigdm_v. */
#include "diffusion/reverse.h"
#include "diffusion/samplers/samplers.h"

static Status check(const SamplerOptions *options) {
    return sampler_check_variance("pigdm", "posterior.pigdm_v", options, options->pigdm_v);
}

static void fill(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                 ReverseStep *step) {
    (void)t_next;
    reverse_ancestral(schedule, t, step);
    step->guidance = (float)sampler_variance_gain(schedule, options, options->pigdm_v, t);
}

const Sampler sampler_pigdm = {
    .name = "pigdm",
    .description = "guidance through the denoiser's Jacobian, by the variance of x0 given x_t",
    .options = "sigma_y pigdm_v",
    .posterior = true,
    .jacobian = true,
    .check = check,
    .fill = fill,
};
