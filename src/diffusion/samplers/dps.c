/* Diffusion posterior sampling (Chung, Kim, Mccann, Klasky, Ye, arXiv:2209.14687, algorithm 1):
 *   x_{t-1} = mu + zeta J^T [m (y - x0_hat)] / ||m (y - x0_hat)|| + sqrt(beta_t) z, without z at t = 0
 * with the norm of each sample's own residual: results do not depend on what shares a batch. */
#include <math.h>

#include "diffusion/reverse.h"
#include "diffusion/samplers/samplers.h"

static Status check(const SamplerOptions *options) {
    return sampler_check_option("dps", "posterior.zeta", options->zeta, 0, HUGE_VAL);
}

static void fill(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                 ReverseStep *step) {
    (void)t_next;
    reverse_ancestral(schedule, t, step);
    step->normalise = true;
    step->guidance = (float)options->zeta;
}

const Sampler sampler_dps = {
    .name = "dps",
    .description = "guidance through the denoiser's Jacobian, of fixed length",
    .options = "zeta",
    .posterior = true,
    .jacobian = true,
    .check = check,
    .fill = fill,
};
