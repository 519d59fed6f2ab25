/* The report's posterior sampler: guided's g_t and lambda_t, then
 *   mu~ = mean of the ancestral step from the projected x0 = m y + (1 - m) x0_hat (g_t from the unprojected)
 *   x_{t-1} = mu~ + lambda_t beta_t g_t + sqrt(beta_t) z, without z at t = 0
 *   for t > 0: x_{t-1} <- m (sqrt(abar_{t-1}) y + sqrt(1 - abar_{t-1}) xi) + (1 - m) x_{t-1}
 *
 * What guidance does here: at t > 0 replacement overwrites exactly the pixels guidance moved, so neither the
 * states x_{t-1}, t > 0, nor the missing pixels of the result depend on lambda at all. Observed pixels of the
 * result do, through the step t = 0 alone, which has no replacement: they are y + gain_0 (y - x0_hat_0),
 * gain_0 = lambda_max beta_0 / (sigma_0^2 sqrt(abar_0)), 0.015 at the report's settings. */
#include "diffusion/samplers/samplers.h"

static Status check(const SamplerOptions *options) {
    return sampler_check_guided("dps_plus", options);
}

static void fill(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                 ReverseStep *step) {
    sampler_fill_guided(schedule, options, t, t_next, step);
    step->projection = true;
    sampler_add_replacement(schedule, t, step);
}

const Sampler sampler_dps_plus = {
    .name = "dps_plus",
    .description = "guidance, projection and replacement (the report's)",
    .options = "sigma_y lambda_max lambda_min power c max_gain",
    .posterior = true,
    .check = check,
    .fill = fill,
};
