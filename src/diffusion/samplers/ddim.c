/* Deterministic sampling with any number of steps (Song, Meng, Ermon, arXiv:2010.02502, eta = 0):
 * x_next = sqrt(abar_next) x0_hat + sqrt(1 - abar_next) eps_hat. */
#include "diffusion/reverse.h"
#include "diffusion/samplers/samplers.h"

static void fill(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                 ReverseStep *step) {
    (void)options;
    reverse_ddim(schedule, t, t_next, step);
}

const Sampler sampler_ddim = {
    .name = "ddim",
    .description = "deterministic (eta 0), any number of steps",
    .skips_steps = true,
    .fill = fill,
};
