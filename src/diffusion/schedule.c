#include "diffusion/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double BETA_CAP = 0.999;       /* of scaled and cosine schedules: keeps alpha away from 0 */
static const double COSINE_OFFSET = 0.008;  /* s */
static const double SCALE_REFERENCE = 1000; /* T for which linear_scaled is linear */
static const double PI = 3.14159265358979323846;

typedef struct BetaRange {
    int64_t steps;
    double start, end;
} BetaRange;

static double beta_linear(const BetaRange *range, int64_t t) {
    return range->start + (range->end - range->start) * (double)t / (double)(range->steps - 1);
}

static double beta_linear_scaled(const BetaRange *range, int64_t t) {
    return fmin(BETA_CAP, beta_linear(range, t) * SCALE_REFERENCE / (double)range->steps);
}

static double cosine_alpha_bar(double u) {
    double c = cos(PI / 2 * (u + COSINE_OFFSET) / (1 + COSINE_OFFSET));
    return c * c;
}

static double beta_cosine(const BetaRange *range, int64_t t) {
    double steps = (double)range->steps;
    return fmin(BETA_CAP,
                1 - cosine_alpha_bar((double)(t + 1) / steps) / cosine_alpha_bar((double)t / steps));
}

static const struct {
    const char *name;
    double (*beta)(const BetaRange *range, int64_t t);
} kinds[] = {
    {"linear", beta_linear},
    {"linear_scaled", beta_linear_scaled},
    {"cosine", beta_cosine},
};

const char *schedule_names(void) {
    return "linear, linear_scaled, cosine";
}

static void schedule_fill(Schedule *schedule, double (*beta)(const BetaRange *, int64_t),
                          const BetaRange *range) {
    double alpha_bar = 1;
    for (int64_t t = 0; t < schedule->steps; t++) {
        schedule->beta[t] = beta(range, t);
        schedule->alpha[t] = 1 - schedule->beta[t];
        alpha_bar *= schedule->alpha[t];
        schedule->alpha_bar[t] = alpha_bar;
        schedule->sqrt_alpha_bar[t] = (float)sqrt(alpha_bar);
        schedule->sqrt_one_minus_alpha_bar[t] = (float)sqrt(1 - alpha_bar);
    }
}

Status schedule_create(const char *name, int64_t steps, double beta_start, double beta_end, Schedule **out) {
    Status status = STATUS_OK;
    Schedule *schedule = NULL;
    double (*beta)(const BetaRange *, int64_t) = NULL;
    BetaRange range = {steps, beta_start, beta_end};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(name, kinds[i].name) == 0)
            beta = kinds[i].beta;
    if (!beta)
        FAIL(STATUS_BAD_INPUT, "diffusion.schedule: unknown schedule \"%s\", expected one of %s", name,
             schedule_names());
    if (steps < SCHEDULE_MIN_STEPS || steps > SCHEDULE_MAX_STEPS)
        FAIL(STATUS_BAD_INPUT, "diffusion.steps: expected %d to %d, found %lld", SCHEDULE_MIN_STEPS,
             SCHEDULE_MAX_STEPS, (long long)steps);
    if (!(beta_start > 0 && beta_start <= beta_end && beta_end < 1))
        FAIL(STATUS_BAD_INPUT,
             "diffusion.beta_start and beta_end: expected 0 < beta_start <= beta_end < 1, found %g and %g",
             beta_start, beta_end);
    TRY(ALLOCATE(&schedule, 1));
    schedule->steps = steps;
    TRY(ALLOCATE(&schedule->beta, steps));
    TRY(ALLOCATE(&schedule->alpha, steps));
    TRY(ALLOCATE(&schedule->alpha_bar, steps));
    TRY(ALLOCATE(&schedule->sqrt_alpha_bar, steps));
    TRY(ALLOCATE(&schedule->sqrt_one_minus_alpha_bar, steps));
    schedule_fill(schedule, beta, &range);
    /* The reverse process divides by sqrt(abar): it must be a float above zero. */
    if (!(schedule->sqrt_alpha_bar[steps - 1] > 1e-30f))
        FAIL(STATUS_BAD_INPUT,
             "diffusion: %s schedule of %lld steps with beta from %g to %g leaves no signal: sqrt(abar) at "
             "the last "
             "step is %g; expected more than 1e-30: use fewer steps or smaller betas",
             name, (long long)steps, beta_start, beta_end, sqrt(schedule->alpha_bar[steps - 1]));
    *out = schedule;
    schedule = NULL;
done:
    schedule_destroy(schedule);
    return status;
}

void schedule_destroy(Schedule *schedule) {
    if (!schedule)
        return;
    free(schedule->beta);
    free(schedule->alpha);
    free(schedule->alpha_bar);
    free(schedule->sqrt_alpha_bar);
    free(schedule->sqrt_one_minus_alpha_bar);
    free(schedule);
}

double schedule_alpha_bar(const Schedule *schedule, int64_t t) {
    return t < 0 ? 1.0 : schedule->alpha_bar[t];
}
