/* Replacement alone: the ancestral step, then for t > 0
 *   x_{t-1} <- m (sqrt(abar_{t-1}) y + sqrt(1 - abar_{t-1}) xi) + (1 - m) x_{t-1}
 * (Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole, arXiv:2011.13456, inpainting; RePaint without
 * resampling). */
#include <math.h>

#include "diffusion/reverse.h"
#include "diffusion/samplers/samplers.h"

void sampler_add_replacement(const Schedule *schedule, int64_t t, ReverseStep *step) {
    double next = schedule_alpha_bar(schedule, t - 1);
    if (t == 0)
        return;
    step->replacement = true;
    step->replace_y = (float)sqrt(next);
    step->replace_noise = (float)sqrt(1 - next);
}

static void fill(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                 ReverseStep *step) {
    (void)options, (void)t_next;
    reverse_ancestral(schedule, t, step);
    sampler_add_replacement(schedule, t, step);
}

const Sampler sampler_replace = {
    .name = "replace",
    .description = "replacement of the observed pixels",
    .posterior = true,
    .fill = fill,
};
