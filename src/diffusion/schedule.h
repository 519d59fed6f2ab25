/* The forward process x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps, t = 0..T-1 (Ho, Jain, Abbeel,
 * arXiv:2006.11239), with alpha_t = 1 - beta_t and abar_t = alpha_0 ... alpha_t.
 *
 *   linear         beta_t from beta_start to beta_end in equal steps
 *   linear_scaled  linear's beta_t times 1000 / T, each capped at 0.999: abar_{T-1} hardly depends on T
 *   cosine         beta_t = 1 - f((t+1)/T) / f(t/T), capped at 0.999, f(u) = cos^2(pi/2 (u + s) / (1 + s)),
 *                  s = 0.008 (Nichol, Dhariwal, arXiv:2102.09672); beta_start and beta_end play no part */
#ifndef DIFFUSION_SCHEDULE_H
#define DIFFUSION_SCHEDULE_H

#include <stdint.h>

#include "core/status.h"

enum { SCHEDULE_MIN_STEPS = 2, SCHEDULE_MAX_STEPS = 100000 };

typedef struct Schedule {
    int64_t steps;                                    /* T */
    double *beta, *alpha, *alpha_bar;                 /* (T) */
    float *sqrt_alpha_bar, *sqrt_one_minus_alpha_bar; /* (T), host memory, rounded once from double */
} Schedule;

/* A schedule by name; the caller owns it (schedule_destroy). STATUS_BAD_INPUT: unknown name (the message
 * lists the known ones), steps outside [SCHEDULE_MIN_STEPS, SCHEDULE_MAX_STEPS], not 0 < beta_start <=
 * beta_end < 1. */
Status schedule_create(const char *name, int64_t steps, double beta_start, double beta_end,
                       Schedule **schedule);

/* Accepts NULL. */
void schedule_destroy(Schedule *schedule);

/* Names of all schedules, separated by ", ". */
const char *schedule_names(void);

/* abar_{t}, and 1 (the clean image) for t = -1. */
double schedule_alpha_bar(const Schedule *schedule, int64_t t);

#endif
