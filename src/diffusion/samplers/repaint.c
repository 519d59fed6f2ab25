/* RePaint (Lugmayr, Danelljan, Romero, Yu, Timofte, Van Gool, arXiv:2201.09865) with jump length 1: replace's
 * step t -> t-1 for t > 0, and jumps - 1 times more
 *   x_t = sqrt(alpha_t) x_{t-1} + sqrt(beta_t) xi',  then the step again
 * so that missing pixels can agree with the observed ones before the noise falls. The plan repeats the entry;
 * repetition p draws with the random step t + T p. jumps = 1 is replace. */
#include "diffusion/samplers/samplers.h"

static Status check(const SamplerOptions *options) {
    return sampler_check_option("repaint", "posterior.jumps", (double)options->jumps, 1, 1000);
}

static void fill(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                 ReverseStep *step) {
    sampler_replace.fill(schedule, options, t, t_next, step);
}

const Sampler sampler_repaint = {
    .name = "repaint",
    .description = "replacement, with every step repeated",
    .options = "jumps",
    .posterior = true,
    .repeats = true,
    .check = check,
    .fill = fill,
};
