/* One reverse step of every sampler against its formula in double, on a prior of independent pixels. */
#include "tests/sampler_rig.h"

/* What a formula needs at one t, for a prior N(mean, s^2) of independent pixels. */
typedef struct StepCase {
    const Schedule *schedule;
    int64_t t;
    double beta, alpha, abar, before; /* before: abar_{t-1} */
    double s2, v;                     /* s^2; variance of x_t */
    const Observation *observation;
    double mean[GAUSSIAN_PIXELS], x[GAUSSIAN_PIXELS];
    double x0_hat[GAUSSIAN_PIXELS], mu[GAUSSIAN_PIXELS], residual[GAUSSIAN_PIXELS]; /* m (y - x0_hat) */
} StepCase;

static StepCase step_case(const Gaussian *gaussian, int64_t t, const Observation *observation,
                          const float *x) {
    const Schedule *schedule = gaussian->schedule;
    StepCase c = {.schedule = schedule, .t = t, .observation = observation};
    c.beta = schedule->beta[t];
    c.alpha = 1 - c.beta;
    c.abar = schedule->alpha_bar[t];
    c.before = t > 0 ? schedule->alpha_bar[t - 1] : 1;
    c.s2 = gaussian->deviation * gaussian->deviation;
    c.v = c.abar * c.s2 + 1 - c.abar;
    for (int p = 0; p < GAUSSIAN_PIXELS; p++) {
        c.x[p] = x[p];
        /* E[x0 | x_t], and eps_hat from it */
        c.x0_hat[p] =
            gaussian->mean[p] + sqrt(c.abar) * c.s2 / c.v * (x[p] - sqrt(c.abar) * gaussian->mean[p]);
        double eps = (x[p] - sqrt(c.abar) * c.x0_hat[p]) / sqrt(1 - c.abar);
        c.mu[p] = (x[p] - c.beta / sqrt(1 - c.abar) * eps) / sqrt(c.alpha);
        c.residual[p] = observation->mask[p] * (observation->y[p] - c.x0_hat[p]);
    }
    return c;
}

/* d x0_hat / d x_t: diagonal here. */
static double jacobian(const StepCase *c) {
    return sqrt(c->abar) * c->s2 / c->v;
}

static double lambda(const StepCase *c) {
    double progress = 1 - (double)c->t / (STEPS - 1);
    return DEFAULTS.lambda_max *
           (DEFAULTS.lambda_min + (1 - DEFAULTS.lambda_min) * pow(progress, DEFAULTS.power));
}

static double x0_variance(const StepCase *c, double v) {
    return v * (1 - c->abar) / (c->abar * v + 1 - c->abar);
}

/* Where a pixel's next state is drawn from. */
typedef struct Moments {
    double mean, variance;
} Moments;

static double report_guidance(const StepCase *c, int p) {
    double sigma2 = DEFAULTS.sigma_y * DEFAULTS.sigma_y + DEFAULTS.c * (1 - c->abar);
    double gain = lambda(c) * c->beta / (sigma2 * sqrt(c->abar));
    return fmin(gain, DEFAULTS.max_gain * sqrt(c->abar)) * c->residual[p];
}

static Moments guided_step(const StepCase *c, int p) {
    return (Moments){c->mu[p] + report_guidance(c, p), c->t > 0 ? c->beta : 0};
}

static Moments replace_step(const StepCase *c, int p) {
    if (c->t > 0 && c->observation->mask[p] > 0)
        return (Moments){sqrt(c->before) * c->observation->y[p], 1 - c->before};
    return (Moments){c->mu[p], c->t > 0 ? c->beta : 0};
}

static Moments dps_plus_step(const StepCase *c, int p) {
    double y = c->observation->y[p], x0 = c->observation->mask[p] > 0 ? y : c->x0_hat[p];
    double mean = sqrt(c->before) * c->beta / (1 - c->abar) * x0 +
                  sqrt(c->alpha) * (1 - c->before) / (1 - c->abar) * c->x[p];
    if (c->t > 0 && c->observation->mask[p] > 0)
        return replace_step(c, p);
    return (Moments){mean + report_guidance(c, p), c->t > 0 ? c->beta : 0};
}

/* All jumps but the last end at the noise of t again. */
static Moments repaint_step(const StepCase *c, int p) {
    Moments m = replace_step(c, p);
    if (c->t == 0)
        return m;
    return (Moments){sqrt(c->alpha) * m.mean, c->alpha * m.variance + c->beta};
}

static Moments guided_calibrated_step(const StepCase *c, int p) {
    double variance = DEFAULTS.sigma_y * DEFAULTS.sigma_y + x0_variance(c, DEFAULTS.calibrated_v);
    double gain = fmin(c->beta / sqrt(c->alpha) / variance, DEFAULTS.max_gain * sqrt(c->abar));
    return (Moments){c->mu[p] + gain * c->residual[p], c->t > 0 ? c->beta : 0};
}

static Moments pigdm_step(const StepCase *c, int p) {
    double variance = DEFAULTS.sigma_y * DEFAULTS.sigma_y + x0_variance(c, DEFAULTS.pigdm_v);
    double shift = c->beta / sqrt(c->alpha) * jacobian(c) * c->residual[p] / variance;
    return (Moments){c->mu[p] + shift, c->t > 0 ? c->beta : 0};
}

static Moments tds_step(const StepCase *c, int p) {
    return c->t > 0 ? pigdm_step(c, p) : (Moments){c->mu[p], 0}; /* no noise, no guidance */
}

static Moments dps_step(const StepCase *c, int p) {
    double squares = 0;
    for (int i = 0; i < GAUSSIAN_PIXELS; i++)
        squares += c->residual[i] * c->residual[i];
    double shift = DEFAULTS.zeta * jacobian(c) * c->residual[p] / sqrt(squares);
    return (Moments){c->mu[p] + shift, c->t > 0 ? c->beta : 0};
}

static Moments ddpm_step(const StepCase *c, int p) {
    return (Moments){c->mu[p], c->t > 0 ? c->beta : 0};
}

static const struct {
    const char *sampler;
    Moments (*step)(const StepCase *c, int p);
} formulas[] = {
    {"ddpm", ddpm_step},       {"dps_plus", dps_plus_step},
    {"guided", guided_step},   {"guided_calibrated", guided_calibrated_step},
    {"replace", replace_step}, {"repaint", repaint_step},
    {"dps", dps_step},         {"pigdm", pigdm_step},
    {"tds", tds_step},
};

enum { FORMULAS = sizeof formulas / sizeof formulas[0] };

/* The variance a step adds to a pixel, from its coefficients. */
static double step_variance(const ReverseStep *step, bool seen) {
    double variance = (double)step->sigma * step->sigma;
    if (step->replacement && seen)
        variance = (double)step->replace_noise * step->replace_noise;
    if (step->renoise_noise != 0)
        variance = (double)step->renoise_x * step->renoise_x * variance +
                   (double)step->renoise_noise * step->renoise_noise;
    return variance;
}

/* The noise that was added, from the generator. */
static double step_noise(const ReverseStep *step, uint32_t rng_step, bool seen, int p) {
    float z[GAUSSIAN_PIXELS], xi[GAUSSIAN_PIXELS], again[GAUSSIAN_PIXELS];
    rng_fill_normal(rng_key(77, RNG_SAMPLE_NOISE, rng_step, 5), z, GAUSSIAN_PIXELS);
    rng_fill_normal(rng_key(77, RNG_REPLACEMENT_NOISE, rng_step, 5), xi, GAUSSIAN_PIXELS);
    rng_fill_normal(rng_key(77, RNG_RENOISE, rng_step, 5), again, GAUSSIAN_PIXELS);
    double noise = (double)step->sigma * z[p];
    if (step->replacement && seen)
        noise = (double)step->replace_noise * xi[p];
    if (step->renoise_noise != 0)
        noise = (double)step->renoise_x * noise + (double)step->renoise_noise * again[p];
    return noise;
}

/* Mean (the state less the noise) and variance of every step, each to 1e-6 of its formula in double. The
 * largest terms are those of x0_hat = from_x x + from_eps eps_hat at t = T-1, 4.5 |x| each, and the largest
 * weight they get is guided's gain there, 0.6. States half as wide as the forward process' keep |x|
 * below 1.5: four roundings of 6e-8 of 6.8 * 0.6, and as many of values below 2, stay below 1e-6 in any
 * combination but the worst of all, 1.4e-6. */
static void test_step(const Backend *backend, int formula) {
    const char *name = formulas[formula].sampler;
    Schedule *schedule = schedule_of("linear", STEPS);
    Gaussian gaussian = gaussian_prior(schedule, 0.5, 0);
    Observation *observation = small_observation(2, 1);
    SamplerPlan *plan = plan_of(name, schedule, &DEFAULTS);
    double worst = 0, worst_variance = 0;
    CHECK(plan->t[0] == STEPS - 1 && plan->t[plan->count - 1] == 0);
    for (int64_t k = 0; k < plan->count; k++) {
        const ReverseStep *step = &plan->steps[k];
        const int64_t t = plan->t[k];
        float x[GAUSSIAN_PIXELS];
        if (plan->sampler->repeats && t > 0 && step->renoise_noise == 0)
            continue; /* the last pass: replace's step */
        rng_fill_normal(rng_key(1, RNG_TEST, (uint32_t)t, 0), x, GAUSSIAN_PIXELS);
        for (int p = 0; p < GAUSSIAN_PIXELS; p++)
            x[p] = schedule->sqrt_alpha_bar[t] * observation->truth[p] +
                   schedule->sqrt_one_minus_alpha_bar[t] * x[p] / 2;
        StepCase c = step_case(&gaussian, t, observation, x);
        CHECK_OK(gaussian_step(&gaussian, backend, plan, k, 77, 5,
                               plan->sampler->posterior ? observation : NULL, x));
        for (int p = 0; p < GAUSSIAN_PIXELS; p++) {
            const bool seen = observation->mask[p] > 0;
            Moments expected = formulas[formula].step(&c, p);
            double mean = x[p] - step_noise(step, plan->rng_steps[k], seen, p);
            double variance = step_variance(step, seen);
            CHECK_NEAR(mean, expected.mean, 1e-6);
            CHECK_NEAR(variance, expected.variance, 1e-6);
            worst = fmax(worst, fabs(mean - expected.mean));
            worst_variance = fmax(worst_variance, fabs(variance - expected.variance));
        }
    }
    printf("%-18s largest error of the mean %.1e, of the variance %.1e\n", name, worst, worst_variance);
    sampler_plan_destroy(plan);
    observation_destroy(observation);
    schedule_destroy(schedule);
}

int main(void) {
    for (int i = 0; i < FORMULAS; i++)
        test_step(backend_find("cpu"), i);
    return test_result();
}
