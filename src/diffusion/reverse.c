#include "diffusion/reverse.h"

#include <math.h>
#include <string.h>

static void fill_x0_hat(double alpha_bar, ReverseStep *step) {
    memset(step, 0, sizeof *step);
    step->from_x = (float)(1 / sqrt(alpha_bar));
    step->from_eps = (float)(-sqrt(1 - alpha_bar) / sqrt(alpha_bar));
}

void reverse_ancestral(const Schedule *schedule, int64_t t, ReverseStep *step) {
    double alpha_bar = schedule_alpha_bar(schedule, t), next = schedule_alpha_bar(schedule, t - 1);
    double beta = schedule->beta[t];
    fill_x0_hat(alpha_bar, step);
    step->mean_x0 = (float)(sqrt(next) * beta / (1 - alpha_bar));
    step->mean_x = (float)(sqrt(schedule->alpha[t]) * (1 - next) / (1 - alpha_bar));
    step->sigma = t > 0 ? (float)sqrt(beta) : 0;
}

void reverse_ddim(const Schedule *schedule, int64_t t, int64_t t_next, ReverseStep *step) {
    double alpha_bar = schedule_alpha_bar(schedule, t), next = schedule_alpha_bar(schedule, t_next);
    double ratio =
        sqrt((1 - next) / (1 - alpha_bar)); /* eps_hat = (x_t - sqrt(abar) x0_hat) / sqrt(1 - abar) */
    fill_x0_hat(alpha_bar, step);
    step->mean_x0 = (float)(sqrt(next) - ratio * sqrt(alpha_bar));
    step->mean_x = (float)ratio;
}

void reverse_renoise(const Schedule *schedule, int64_t t, ReverseStep *step) {
    step->renoise_x = (float)sqrt(schedule->alpha[t]);
    step->renoise_noise = (float)sqrt(schedule->beta[t]);
}
