/* Coefficients of one unconditional reverse step, computed in double and rounded once. The pixel
 * arithmetic is the backend's (kernels/backend.h, ReverseStep):
 *   x0_hat = (x_t - sqrt(1 - abar_t) eps_hat) / sqrt(abar_t)
 *   x_next = mean_x0 x0_hat + mean_x x_t + sigma z
 * The last step goes to abar = 1, where both kinds give x_next = x0_hat: nothing is clipped, no noise is
 * added. */
#ifndef DIFFUSION_REVERSE_H
#define DIFFUSION_REVERSE_H

#include "diffusion/schedule.h"
#include "kernels/backend.h"

/* Ancestral step t -> t-1 (arXiv:2006.11239, equation 7 for the mean):
 *   mean = sqrt(abar_{t-1}) beta_t / (1 - abar_t) x0_hat + sqrt(alpha_t) (1 - abar_{t-1}) / (1 - abar_t) x_t
 * which equals (x_t - (1 - alpha_t) / sqrt(1 - abar_t) eps_hat) / sqrt(alpha_t).
 * Variance beta_t, 0 at t = 0. */
void reverse_ancestral(const Schedule *schedule, int64_t t, ReverseStep *step);

/* DDIM step t -> t_next with eta = 0 (Song, Meng, Ermon, arXiv:2010.02502, equation 12), t_next < t, -1 for
 * the last one: x_next = sqrt(abar_next) x0_hat + sqrt(1 - abar_next) eps_hat. */
void reverse_ddim(const Schedule *schedule, int64_t t, int64_t t_next, ReverseStep *step);

/* Sets the renoising of a step that ends at t-1: back to t by the forward process,
 * x_t = sqrt(alpha_t) x_{t-1} + sqrt(beta_t) xi'. */
void reverse_renoise(const Schedule *schedule, int64_t t, ReverseStep *step);

#endif
