#include "diffusion/sampler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diffusion/reverse.h"

/* ---- the samplers ---- */

double sampler_lambda(const SamplerOptions *options, int64_t t, int64_t steps) {
    double progress = 1 - (double)t / (double)(steps - 1);
    return options->lambda_max *
           (options->lambda_min + (1 - options->lambda_min) * pow(progress, options->power));
}

/* lambda_t beta_t / (sigma_t^2 sqrt(abar_t)), what multiplies the residual m (y - x0_hat). */
static double guidance_gain(const Schedule *schedule, const SamplerOptions *options, int64_t t) {
    double alpha_bar = schedule->alpha_bar[t];
    double variance = options->sigma_y * options->sigma_y + options->c * (1 - alpha_bar);
    return sampler_lambda(options, t, schedule->steps) * schedule->beta[t] / (variance * sqrt(alpha_bar));
}

static void fill_ddpm(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                      ReverseStep *step) {
    (void)options, (void)t_next;
    reverse_ancestral(schedule, t, step);
}

static void fill_ddim(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                      ReverseStep *step) {
    (void)options;
    reverse_ddim(schedule, t, t_next, step);
}

static void fill_guided(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                        ReverseStep *step) {
    (void)t_next;
    reverse_ancestral(schedule, t, step);
    step->gain = (float)guidance_gain(schedule, options, t);
}

static void fill_dps_plus(const Schedule *schedule, const SamplerOptions *options, int64_t t, int64_t t_next,
                          ReverseStep *step) {
    double next = schedule_alpha_bar(schedule, t - 1);
    fill_guided(schedule, options, t, t_next, step);
    step->projection = true;
    if (t > 0) {
        step->replacement = true;
        step->replace_y = (float)sqrt(next);
        step->replace_noise = (float)sqrt(1 - next);
    }
}

static const Sampler ddpm = {"ddpm", "ancestral sampling, every step", false, false, fill_ddpm};
static const Sampler ddim = {"ddim", "deterministic (eta 0), any number of steps", false, true, fill_ddim};
static const Sampler dps_plus = {"dps_plus", "guidance, projection and replacement (the report's)", true,
                                 false, fill_dps_plus};
static const Sampler guided = {"guided", "likelihood guidance alone", true, false, fill_guided};

static const Sampler *const table[] = {&ddpm, &ddim, &dps_plus, &guided, NULL};

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

static Status check_guidance(const Sampler *sampler, const SamplerOptions *options) {
    const struct {
        const char *name;
        double value, most;
    } settings[] = {
        {"lambda_max", options->lambda_max, HUGE_VAL},
        {"lambda_min", options->lambda_min, 1},
        {"power", options->power, HUGE_VAL},
        {"sigma_y", options->sigma_y, HUGE_VAL},
        {"c", options->c, HUGE_VAL},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (!(settings[i].value >= 0 && settings[i].value <= settings[i].most && isfinite(settings[i].value)))
            return status_error(STATUS_BAD_INPUT, "posterior.%s: expected 0 %s, found %g (sampler %s)",
                                settings[i].name, settings[i].most == 1 ? "to 1" : "or more",
                                settings[i].value, sampler->name);
    if (!(options->sigma_y > 0 || options->c > 0))
        return status_error(STATUS_BAD_INPUT,
                            "posterior.sigma_y and posterior.c: both are 0, expected one of them above 0: "
                            "guidance divides by sigma_y^2 + c (1 - abar_t) (sampler %s)",
                            sampler->name);
    return STATUS_OK;
}

static bool is_finite_step(const ReverseStep *step) {
    const float values[] = {step->from_x, step->from_eps, step->mean_x0,   step->mean_x,
                            step->gain,   step->sigma,    step->replace_y, step->replace_noise};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}

static Status fill_plan(SamplerPlan *plan, const Schedule *schedule, const SamplerOptions *options) {
    for (int64_t k = 0; k < plan->count; k++)
        plan->t[k] = subset_time(plan->count - 1 - k, plan->count, schedule->steps);
    for (int64_t k = 0; k < plan->count; k++) {
        ReverseStep *step = &plan->steps[k];
        plan->sampler->fill(schedule, options, plan->t[k], k + 1 < plan->count ? plan->t[k + 1] : -1, step);
        if (!is_finite_step(step))
            return status_error(
                STATUS_BAD_INPUT,
                "sampler %s: the coefficients of step t = %lld are not finite (gain %g); expected "
                "settings of diffusion and posterior with finite ones",
                plan->sampler->name, (long long)plan->t[k], step->gain);
        if (step->gain > plan->max_gain) {
            plan->max_gain = step->gain;
            plan->max_gain_t = plan->t[k];
        }
    }
    return STATUS_OK;
}

Status sampler_plan_create(const char *name, const Schedule *schedule, const SamplerOptions *options,
                           SamplerPlan **out) {
    Status status = STATUS_OK;
    SamplerPlan *plan = NULL;
    const Sampler *sampler = NULL;
    int64_t count = options->steps ? options->steps : schedule->steps;
    TRY(sampler_find(name, SAMPLER_ANY, &sampler));
    if (count < 1 || count > schedule->steps)
        FAIL(STATUS_BAD_INPUT, "sampler %s: steps: expected 1 to %lld (0: all), found %lld", name,
             (long long)schedule->steps, (long long)options->steps);
    if (count != schedule->steps && !sampler->skips_steps)
        FAIL(STATUS_BAD_INPUT,
             "sampler %s: steps: expected %lld or 0 (it takes every step; ddim can skip), found %lld", name,
             (long long)schedule->steps, (long long)options->steps);
    if (sampler->posterior)
        TRY(check_guidance(sampler, options));
    TRY(ALLOCATE(&plan, 1));
    plan->sampler = sampler;
    plan->count = count;
    TRY(ALLOCATE(&plan->steps, count));
    TRY(ALLOCATE(&plan->t, count));
    TRY(fill_plan(plan, schedule, options));
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
    free(plan);
}
