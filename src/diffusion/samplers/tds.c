/* Twisted diffusion sampler (Wu, Trippe, Naesseth, Blei, Cunningham, arXiv:2306.17775): K particles with
 * weights. The twisting function of a state is p~(y | x_t) = N(y; x0_hat(x_t), sigma_y^2 + r_t^2(v)) on the
 * observed pixels, v = tds_v, and p~(y | x_0) = N(y; x_0, sigma_y^2) for the result.
 *   proposal  q(x_{t-1} | x_t, y) = N(mu + beta_t / sqrt(alpha_t) grad log p~(y | x_t), beta_t)   (pigdm's)
 *   weight    w <- w p(x_{t-1} | x_t) p~(y | x_{t-1}) / (p~(y | x_t) q(x_{t-1} | x_t, y)),
 *             from w = p~(y | x_T) for the start
 * with systematic resampling when the effective size (sum w)^2 / sum w^2 is below K/2. The step t = 0 adds no
 * noise, so there it cannot be guided either: proposal and model are the same point, and their ratio is 1.
 * Exact as K grows. What runs the particles: diffusion/particles.h. */
#include <float.h>

#include "diffusion/reverse.h"
#include "diffusion/samplers/samplers.h"

static Status check(const SamplerOptions *options) {
    Status status = STATUS_OK;
    TRY(sampler_check_option("tds", "posterior.sigma_y", options->sigma_y, FLT_MIN, FLT_MAX));
    TRY(sampler_check_variance("tds", "posterior.tds_v", options, options->tds_v));
    TRY(sampler_check_option("tds", "posterior.particles", (double)options->particles, 2, 1e6));
    TRY(sampler_check_option("tds", "posterior.draws_per_run", (double)options->draws_per_run, 0,
                             (double)options->particles));
done:
    return status;
}

static void fill(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                 ReverseStep *step) {
    (void)t_next;
    reverse_ancestral(schedule, t, step);
    step->guidance = t > 0 ? (float)sampler_variance_gain(schedule, options, options->tds_v, t) : 0;
}

const Sampler sampler_tds = {
    .name = "tds",
    .description = "particles that pigdm proposes, weighted and resampled",
    .options = "sigma_y tds_v particles draws_per_run",
    .posterior = true,
    .jacobian = true,
    .particles = true,
    .check = check,
    .fill = fill,
};
