/* Ancestral sampling, every step (Ho, Jain, Abbeel, arXiv:2006.11239): x_{t-1} = mu + sqrt(beta_t) z, without
 * z at t = 0. */
#include "diffusion/reverse.h"
#include "diffusion/samplers/samplers.h"

static void fill(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                 ReverseStep *step) {
    (void)options, (void)t_next;
    reverse_ancestral(schedule, t, step);
}

const Sampler sampler_ddpm = {
    .name = "ddpm",
    .description = "ancestral sampling, every step",
    .fill = fill,
};
