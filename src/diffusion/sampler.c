#include "diffusion/sampler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diffusion/reverse.h"
#include "diffusion/samplers/samplers.h"

static const Sampler *const table[] = {
    &sampler_ddpm,
    &sampler_ddim,
    &sampler_dps_plus,
    &sampler_guided,
    &sampler_guided_calibrated,
    &sampler_replace,
    &sampler_repaint,
    &sampler_dps,
    &sampler_pigdm,
    &sampler_tds,
    NULL,
};

/* ---- the registry ---- */

const Sampler *const *sampler_table(void) {
    return table;
}

static bool is_of_kind(const Sampler *sampler, SamplerKinds kinds) {
    return kinds & (sampler->posterior ? SAMPLER_POSTERIOR : SAMPLER_PRIOR);
}

char *sampler_names(SamplerKinds kinds, char text[256]) {
    const size_t size = 256;
    size_t used = 0;
    text[0] = '\0';
    for (const Sampler *const *sampler = table; *sampler; sampler++)
        if (is_of_kind(*sampler, kinds) && used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", (*sampler)->name);
    return text;
}

Status sampler_find(const char *name, SamplerKinds kinds, const Sampler **found) {
    char names[256];
    for (const Sampler *const *sampler = table; *sampler; sampler++)
        if (is_of_kind(*sampler, kinds) && strcmp((*sampler)->name, name) == 0) {
            *found = *sampler;
            return STATUS_OK;
        }
    return status_error(STATUS_BAD_INPUT, "unknown %ssampler \"%s\", expected one of %s",
                        kinds == SAMPLER_POSTERIOR ? "posterior " : "", name, sampler_names(kinds, names));
}

/* ---- plans ---- */

/* round(i (T-1) / (K-1)) in integers, halves up; T-1 for K = 1. */
static int64_t subset_time(int64_t i, int64_t count, int64_t steps) {
    if (count == 1)
        return steps - 1;
    return (2 * i * (steps - 1) + count - 1) / (2 * (count - 1));
}

static bool is_finite_step(const ReverseStep *step) {
    const float values[] = {step->from_x,   step->from_eps,  step->mean_x0,      step->mean_x,
                            step->gain,     step->sigma,     step->replace_y,    step->replace_noise,
                            step->guidance, step->renoise_x, step->renoise_noise};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}

/* How often the step at t is run. */
static int64_t passes_of(const Sampler *sampler, const SamplerOptions *options, int64_t t) {
    return sampler->repeats && t > 0 ? options->jumps : 1;
}

static void note_gain(SamplerPlan *plan, const Schedule *schedule, int64_t t, const ReverseStep *step) {
    const double gain = fmax(step->gain, step->guidance);
    if (gain > plan->max_gain) {
        plan->max_gain = gain;
        plan->max_gain_t = t;
    }
    const double most = plan->options.max_gain * sqrt(schedule->alpha_bar[t]);
    plan->capped_steps += most > 0 && step->gain >= (float)most;
}

/* Entries for the step t -> t_next, from `first` on; all passes but the last go back to the noise of t. */
static Status fill_passes(SamplerPlan *plan, const Schedule *schedule, int64_t first, int64_t t,
                          int64_t t_next) {
    const int64_t passes = passes_of(plan->sampler, &plan->options, t);
    for (int64_t pass = 0; pass < passes; pass++) {
        ReverseStep *step = &plan->steps[first + pass];
        plan->sampler->fill(schedule, &plan->options, t, t_next, step);
        if (pass + 1 < passes)
            reverse_renoise(schedule, t, step);
        plan->t[first + pass] = t;
        plan->rng_steps[first + pass] = (uint32_t)(t + schedule->steps * pass);
        if (!is_finite_step(step))
            return status_error(
                STATUS_BAD_INPUT,
                "sampler %s: the coefficients of step t = %lld are not finite (gain %g); expected "
                "settings of diffusion and posterior with finite ones",
                plan->sampler->name, (long long)t, step->gain + step->guidance);
    }
    note_gain(plan, schedule, t, &plan->steps[first]);
    return STATUS_OK;
}

static void fill_twists(SamplerPlan *plan, const Schedule *schedule) {
    const SamplerOptions *o = &plan->options;
    for (int64_t k = 0; k < plan->count; k++)
        plan->twist_variances[k] =
            o->sigma_y * o->sigma_y + sampler_x0_variance(schedule, plan->t[k], o->tds_v);
    plan->twist_variances[plan->count] = o->sigma_y * o->sigma_y;
}

/* `times`: different values of t. */
static Status fill_plan(SamplerPlan *plan, const Schedule *schedule, int64_t times) {
    Status status = STATUS_OK;
    int64_t first = 0;
    for (int64_t i = times - 1; i >= 0; i--) {
        int64_t t = subset_time(i, times, schedule->steps);
        TRY(fill_passes(plan, schedule, first, t, i > 0 ? subset_time(i - 1, times, schedule->steps) : -1));
        first += passes_of(plan->sampler, &plan->options, t);
    }
    if (plan->sampler->particles) {
        TRY(ALLOCATE(&plan->twist_variances, plan->count + 1));
        fill_twists(plan, schedule);
    }
done:
    return status;
}

static Status check_steps(const Sampler *sampler, const Schedule *schedule, const SamplerOptions *options) {
    int64_t count = options->steps ? options->steps : schedule->steps;
    if (count < 1 || count > schedule->steps)
        return status_error(STATUS_BAD_INPUT, "sampler %s: steps: expected 1 to %lld (0: all), found %lld",
                            sampler->name, (long long)schedule->steps, (long long)options->steps);
    if (count != schedule->steps && !sampler->skips_steps)
        return status_error(
            STATUS_BAD_INPUT,
            "sampler %s: steps: expected %lld or 0 (it takes every step; ddim can skip), found %lld",
            sampler->name, (long long)schedule->steps, (long long)options->steps);
    return STATUS_OK;
}

Status sampler_plan_create(const char *name, const Schedule *schedule, const SamplerOptions *options,
                           SamplerPlan **out) {
    Status status = STATUS_OK;
    SamplerPlan *plan = NULL;
    const Sampler *sampler = NULL;
    int64_t times = options->steps ? options->steps : schedule->steps;
    TRY(sampler_find(name, SAMPLER_ANY, &sampler));
    TRY(check_steps(sampler, schedule, options));
    if (sampler->check)
        TRY(sampler->check(options));
    TRY(ALLOCATE(&plan, 1));
    plan->sampler = sampler;
    plan->options = *options;
    if (sampler->particles && options->draws_per_run == 0)
        plan->options.draws_per_run = options->particles;
    plan->count = times + (times - 1) * (passes_of(sampler, options, 1) - 1); /* t = 0 is run once */
    TRY(ALLOCATE(&plan->steps, plan->count));
    TRY(ALLOCATE(&plan->t, plan->count));
    TRY(ALLOCATE(&plan->rng_steps, plan->count));
    TRY(fill_plan(plan, schedule, times));
    *out = plan;
    plan = NULL;
done:
    sampler_plan_destroy(plan);
    return status;
}

void sampler_plan_destroy(SamplerPlan *plan) {
    if (!plan)
        return;
    free(plan->steps);
    free(plan->t);
    free(plan->rng_steps);
    free(plan->twist_variances);
    free(plan);
}
