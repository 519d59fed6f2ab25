/* Schedules, coefficients of the unconditional samplers, and the driver of whole chains. */
#include "tests/test.h"

#include "comm/comm.h"
#include "core/rng.h"
#include "diffusion/generate.h"
#include "diffusion/reverse.h"
#include "tests/gaussian.h"

static const char *const SCHEDULES[] = {"linear", "linear_scaled", "cosine"};
enum { SCHEDULE_COUNT = 3, STEPS = 300 };
static const double BETA_START = 1e-4, BETA_END = 2e-2;

static Schedule *schedule_of(const char *name, int64_t steps) {
    Schedule *schedule = NULL;
    CHECK_OK(schedule_create(name, steps, BETA_START, BETA_END, &schedule));
    return schedule;
}

static SamplerPlan *plan_of(const char *name, const Schedule *schedule, int64_t steps) {
    SamplerPlan *plan = NULL;
    SamplerOptions options = {.steps = steps};
    CHECK_OK(sampler_plan_create(name, schedule, &options, &plan));
    return plan;
}

static double normal(uint32_t i) {
    float four[4];
    rng_normals(rng_key(1, RNG_TEST, 0, 0), i, four);
    return four[0];
}

/* ---- schedules ---- */

static void test_linear(void) {
    Schedule *schedule = schedule_of("linear", STEPS), *scaled = schedule_of("linear_scaled", 1000);
    Schedule *thousand = schedule_of("linear", 1000), *ten = schedule_of("linear_scaled", 10);
    double log_alpha_bar = 0;
    CHECK_NEAR(schedule->beta[0], 1e-4, 0);
    CHECK_NEAR(schedule->beta[STEPS - 1], 2e-2, 1e-17); /* one rounding of 2e-2 */
    CHECK_NEAR(schedule->beta[150] - schedule->beta[149], (2e-2 - 1e-4) / 299, 1e-17);
    for (int t = 0; t < STEPS; t++) {
        log_alpha_bar += log1p(-(1e-4 + (2e-2 - 1e-4) * t / 299));
        CHECK_NEAR(log(schedule->alpha_bar[t]), log_alpha_bar, 1e-13);         /* 300 roundings of 1.1e-16 */
        CHECK_NEAR(schedule->sqrt_alpha_bar[t], exp(log_alpha_bar / 2), 6e-8); /* half a float ulp of 1 */
        CHECK_NEAR(schedule->sqrt_one_minus_alpha_bar[t], sqrt(1 - exp(log_alpha_bar)), 6e-8);
    }
    CHECK_NEAR(sqrt(schedule->alpha_bar[STEPS - 1]), 0.22, 0.005); /* two printed digits */
    CHECK_NEAR(schedule_alpha_bar(schedule, -1), 1, 0);
    for (int t = 0; t < 1000; t++)
        CHECK_NEAR(scaled->beta[t], thousand->beta[t], 1e-17);
    CHECK_NEAR(ten->beta[0], 1e-2, 1e-17);
    CHECK_NEAR(ten->beta[9], 0.999, 0); /* 2e-2 * 100, capped */
    schedule_destroy(schedule);
    schedule_destroy(scaled);
    schedule_destroy(thousand);
    schedule_destroy(ten);
}

static void test_cosine(void) {
    const double s = 0.008, half_pi = 1.5707963267948966;
    Schedule *schedule = schedule_of("cosine", STEPS);
    double start = cos(half_pi * s / (1 + s));
    for (int t = 0; t < STEPS - 1; t++) {
        double root = cos(half_pi * ((t + 1.0) / STEPS + s) / (1 + s)) / start;
        CHECK_NEAR(schedule->alpha_bar[t], root * root, 1e-12); /* 300 roundings near 1.1e-16, with room */
    }
    CHECK_NEAR(schedule->beta[STEPS - 1], 0.999, 0);
    schedule_destroy(schedule);
}

static void test_schedule_errors(void) {
    Schedule *schedule = NULL;
    CHECK_ERROR(schedule_create("quadratic", 300, 1e-4, 2e-2, &schedule), STATUS_BAD_INPUT,
                "linear, linear_scaled, cosine");
    CHECK_ERROR(schedule_create("linear", 1, 1e-4, 2e-2, &schedule), STATUS_BAD_INPUT, "diffusion.steps");
    CHECK_ERROR(schedule_create("linear", 300, 0, 2e-2, &schedule), STATUS_BAD_INPUT, "beta_start");
    CHECK_ERROR(schedule_create("linear", 300, 2e-2, 1e-4, &schedule), STATUS_BAD_INPUT, "beta_start");
    CHECK_ERROR(schedule_create("linear", 300, 1e-4, 1, &schedule), STATUS_BAD_INPUT, "beta_end");
    CHECK_ERROR(schedule_create("linear", 300, NAN, 2e-2, &schedule), STATUS_BAD_INPUT, "beta_start");
    CHECK_ERROR(schedule_create("linear", 1000, 0.5, 0.9, &schedule), STATUS_BAD_INPUT, "no signal");
    CHECK(schedule == NULL);
}

/* ---- coefficients ---- */

/* The mean of a step from the plan's floats, in double; *scale: the sum of its terms' magnitudes. */
static double mean_of(const ReverseStep *step, double x, double eps, double *scale) {
    double a = (double)step->mean_x0 * step->from_x * x, b = (double)step->mean_x0 * step->from_eps * eps;
    double c = step->mean_x * x;
    *scale = fabs(a) + fabs(b) + fabs(c);
    return a + b + c;
}

/* mu = (x - (1 - alpha) / sqrt(1 - abar) eps) / sqrt(alpha) for every schedule and t. Tolerance: two rounded
 * float factors per term, 2 * 6e-8 of its magnitude. */
static void test_ancestral_mean(void) {
    for (int i = 0; i < SCHEDULE_COUNT; i++) {
        Schedule *schedule = schedule_of(SCHEDULES[i], STEPS);
        SamplerPlan *plan = plan_of("ddpm", schedule, 0);
        CHECK(plan->count == STEPS);
        for (int64_t k = 0; k < plan->count; k++) {
            int64_t t = plan->t[k];
            double x = normal((uint32_t)k), eps = normal((uint32_t)(k + 1000)), scale;
            double alpha = 1 - schedule->beta[t], alpha_bar = schedule->alpha_bar[t];
            double expected = (x - (1 - alpha) / sqrt(1 - alpha_bar) * eps) / sqrt(alpha);
            double mean = mean_of(&plan->steps[k], x, eps, &scale);
            CHECK(t == STEPS - 1 - k);
            CHECK_NEAR(mean, expected, 1.3e-7 * scale + 1e-12);
            if (strcmp(SCHEDULES[i], "linear") == 0)
                CHECK_NEAR(mean, expected, 1e-6);
            CHECK_NEAR(plan->steps[k].sigma, t > 0 ? sqrt(schedule->beta[t]) : 0, 6e-8);
            CHECK(plan->steps[k].gain == 0 && !plan->steps[k].projection && !plan->steps[k].replacement);
        }
        CHECK(plan->max_gain == 0);
        sampler_plan_destroy(plan);
        schedule_destroy(schedule);
    }
}

/* x_next = sqrt(abar_next) x0_hat + sqrt(1 - abar_next) eps at the times round(i (T-1) / (K-1)). */
static void test_ddim_coefficients(void) {
    const int64_t counts[] = {1, 2, 7, 50, STEPS};
    Schedule *schedule = schedule_of("linear", STEPS);
    for (int i = 0; i < 5; i++) {
        SamplerPlan *plan = plan_of("ddim", schedule, counts[i]);
        CHECK(plan->count == counts[i]);
        for (int64_t k = 0; k < plan->count; k++) {
            int64_t index = plan->count - 1 - k, t = plan->t[k];
            int64_t next = k + 1 < plan->count ? plan->t[k + 1] : -1;
            double x = normal((uint32_t)k), eps = normal((uint32_t)(k + 1000)), scale;
            double alpha_bar = schedule->alpha_bar[t],
                   alpha_bar_next = next < 0 ? 1 : schedule->alpha_bar[next];
            double x0_hat = (x - sqrt(1 - alpha_bar) * eps) / sqrt(alpha_bar);
            double expected = sqrt(alpha_bar_next) * x0_hat + sqrt(1 - alpha_bar_next) * eps;
            if (plan->count > 1)
                CHECK(t == (int64_t)floor((double)index * (STEPS - 1) / (double)(plan->count - 1) + 0.5));
            CHECK(next < t);
            CHECK_NEAR(mean_of(&plan->steps[k], x, eps, &scale), expected, 1.3e-7 * scale + 1e-12);
            CHECK(plan->steps[k].sigma == 0);
        }
        CHECK(plan->t[0] == STEPS - 1);
        CHECK(plan->count == 1 || plan->t[plan->count - 1] == 0);
        sampler_plan_destroy(plan);
    }
    schedule_destroy(schedule);
}

/* ---- closed forms: x0 ~ N(mu, s^2) in one dimension ---- */

/* A step with the exact eps_hat is affine, mean = slope x + offset. */
static void affine_step(const Schedule *schedule, const ReverseStep *step, int64_t t, double mu, double s,
                        double *slope, double *offset) {
    double alpha_bar = schedule->alpha_bar[t], variance = alpha_bar * s * s + 1 - alpha_bar, scale;
    double eps_slope = sqrt(1 - alpha_bar) / variance;
    double at_zero = mean_of(step, 0, -eps_slope * sqrt(alpha_bar) * mu, &scale);
    *slope = mean_of(step, 1, eps_slope * (1 - sqrt(alpha_bar) * mu), &scale) - at_zero;
    *offset = at_zero;
}

/* The mean of an ancestral step is E[x_{t-1} | x_t] = m' + sqrt(alpha) v' / v (x_t - m), where x_t has mean m
 * and variance v, x_{t-1} m' and v': checked for every step and for the moments of the whole chain from N(0,
 * 1). */
static void test_ancestral_gaussian(void) {
    const double mu = 0.7, s = 0.4;
    Schedule *schedule = schedule_of("linear", STEPS);
    SamplerPlan *plan = plan_of("ddpm", schedule, 0);
    double mean = 0, variance = 1, exact_mean = 0, exact_variance = 1;
    for (int64_t k = 0; k < plan->count; k++) {
        int64_t t = plan->t[k];
        double alpha_bar = schedule->alpha_bar[t], next = schedule_alpha_bar(schedule, t - 1), slope, offset;
        double v = alpha_bar * s * s + 1 - alpha_bar, v_next = next * s * s + 1 - next;
        double exact_slope = sqrt(schedule->alpha[t]) * v_next / v;
        double exact_offset = sqrt(next) * mu - exact_slope * sqrt(alpha_bar) * mu;
        affine_step(schedule, &plan->steps[k], t, mu, s, &slope, &offset);
        CHECK_NEAR(slope, exact_slope, 1e-6); /* float factors: 6e-8 each of terms below 5 */
        CHECK_NEAR(offset, exact_offset, 1e-6);
        CHECK_NEAR(pow(plan->steps[k].sigma, 2), t > 0 ? schedule->beta[t] : 0, 1e-6);
        mean = slope * mean + offset;
        variance = slope * slope * variance + pow(plan->steps[k].sigma, 2);
        exact_mean = exact_slope * exact_mean + exact_offset;
        exact_variance = exact_slope * exact_slope * exact_variance + (t > 0 ? schedule->beta[t] : 0);
    }
    CHECK_NEAR(mean, exact_mean, 1e-6); /* errors of early steps are contracted by the later ones */
    CHECK_NEAR(variance, exact_variance, 1e-6);
    CHECK_NEAR(mean, mu,
               0.05); /* the chain does find the prior; the rest is discretisation and x_T's mismatch */
    CHECK_NEAR(sqrt(variance), s, 0.05);
    sampler_plan_destroy(plan);
    schedule_destroy(schedule);
}

/* DDIM follows the probability flow, for which (x_t - sqrt(abar_t) mu) / sqrt(v_t) is constant, with an error
 * of first order in the number of steps. Returns the error of the slope of x_T -> x_0. */
static double ddim_slope_error(const Schedule *schedule, int64_t steps, double mu, double s,
                               double *offset_error) {
    SamplerPlan *plan = plan_of("ddim", schedule, steps);
    double alpha_bar = schedule->alpha_bar[schedule->steps - 1];
    double exact = s / sqrt(alpha_bar * s * s + 1 - alpha_bar), slope = 1, offset = 0;
    for (int64_t k = 0; k < plan->count; k++) {
        double a, b;
        affine_step(schedule, &plan->steps[k], plan->t[k], mu, s, &a, &b);
        slope *= a;
        offset = a * offset + b;
    }
    *offset_error = fabs(offset - (mu - exact * sqrt(alpha_bar) * mu));
    sampler_plan_destroy(plan);
    return fabs(slope - exact);
}

static void test_ddim_gaussian(void) {
    Schedule *schedule = schedule_of("linear", 1000);
    double offset_100, offset_200, offset_1000;
    double slope_100 = ddim_slope_error(schedule, 100, 0.7, 0.4, &offset_100);
    double slope_200 = ddim_slope_error(schedule, 200, 0.7, 0.4, &offset_200);
    double slope_1000 = ddim_slope_error(schedule, 1000, 0.7, 0.4, &offset_1000);
    CHECK_NEAR(slope_100 / slope_200, 2, 0.4); /* first order; the last jump to abar = 1 does not shrink */
    CHECK_NEAR(slope_1000, 0, 0.01);
    CHECK_NEAR(offset_1000, 0, 0.01);
    CHECK(offset_1000 < offset_100 && slope_1000 < slope_100);
    schedule_destroy(schedule);
}

/* ---- registry ---- */

static void test_registry(void) {
    Schedule *schedule = schedule_of("linear", STEPS);
    SamplerPlan *plan = NULL;
    SamplerOptions options = {0};
    const Sampler *sampler = NULL;
    char names[256];
    int count = 0;
    for (const Sampler *const *entry = sampler_table(); *entry; entry++, count++)
        CHECK(sampler_find((*entry)->name, SAMPLER_ANY, &sampler) == STATUS_OK && sampler == *entry);
    CHECK(count == 10);
    CHECK(strcmp(sampler_names(SAMPLER_ANY, names),
                 "ddpm, ddim, dps_plus, guided, guided_calibrated, replace, repaint, dps, pigdm, tds") == 0);
    CHECK(strcmp(sampler_names(SAMPLER_PRIOR, names), "ddpm, ddim") == 0);
    CHECK(strcmp(sampler_names(SAMPLER_POSTERIOR, names),
                 "dps_plus, guided, guided_calibrated, replace, repaint, dps, pigdm, tds") == 0);
    CHECK_ERROR(sampler_plan_create("euler", schedule, &options, &plan), STATUS_BAD_INPUT,
                "\"euler\", expected one of ddpm, ddim, dps_plus, guided");
    CHECK_ERROR(sampler_find("ddim", SAMPLER_POSTERIOR, &sampler), STATUS_BAD_INPUT, "dps_plus, guided");
    options.steps = 50;
    CHECK_ERROR(sampler_plan_create("ddpm", schedule, &options, &plan), STATUS_BAD_INPUT, "every step");
    options.steps = STEPS + 1;
    CHECK_ERROR(sampler_plan_create("ddim", schedule, &options, &plan), STATUS_BAD_INPUT, "1 to 300");
    options.steps = -1;
    CHECK_ERROR(sampler_plan_create("ddim", schedule, &options, &plan), STATUS_BAD_INPUT, "found -1");
    CHECK(plan == NULL);
    schedule_destroy(schedule);
}

/* ---- whole chains ---- */

typedef struct Chains {
    Comm *comm;
    const Backend *backend;
    Schedule *schedule;
    Gaussian gaussian;
    uint64_t *seeds;
    uint32_t *rng_samples;
} Chains;

enum { CHAIN_COUNT = 19, CHAIN_STEPS = 40, MANY = 4096 };

static void chains_start(Chains *chains, Comm *comm, const Backend *backend) {
    *chains =
        (Chains){.comm = comm, .backend = backend, .schedule = schedule_of("linear_scaled", CHAIN_STEPS)};
    chains->gaussian = gaussian_prior(chains->schedule, 0.5, 1.0);
    chains->seeds = malloc(MANY * sizeof *chains->seeds);
    chains->rng_samples = malloc(MANY * sizeof *chains->rng_samples);
    for (uint32_t i = 0; i < MANY; i++) {
        chains->seeds[i] = 12345678901u + i % 2;
        chains->rng_samples[i] = i;
    }
}

static void chains_end(Chains *chains) {
    schedule_destroy(chains->schedule);
    free(chains->seeds);
    free(chains->rng_samples);
}

static Status chains_run(Chains *chains, const SamplerPlan *plan, int workers, int64_t batch, int64_t first,
                         int64_t count, float *x_start, float *samples) {
    Denoiser denoiser = gaussian_denoiser(&chains->gaussian, chains->backend, workers, batch);
    GenerateArguments arguments = {.comm = chains->comm,
                                   .denoiser = &denoiser,
                                   .plan = plan,
                                   .count = count,
                                   .seeds = chains->seeds + first,
                                   .rng_samples = chains->rng_samples + first,
                                   .x_start = x_start,
                                   .samples = samples};
    return generate_samples(&arguments);
}

/* Every chain has the bits of the same chain run by hand, alone, for any workers, block size, ranks,
 * selection. */
static void test_chains_bitwise(Chains *chains) {
    const char *const samplers[] = {"ddpm", "ddim"};
    const int64_t batches[] = {1, 4, 8, 32};
    static float x_start[CHAIN_COUNT][GAUSSIAN_PIXELS], samples[CHAIN_COUNT][GAUSSIAN_PIXELS];
    float alone[GAUSSIAN_PIXELS], start[GAUSSIAN_PIXELS];
    bool root = comm_rank(chains->comm) == 0;
    for (int s = 0; s < 2; s++) {
        SamplerPlan *plan = plan_of(samplers[s], chains->schedule, s == 1 ? 13 : 0);
        for (int workers = 1; workers <= 3; workers++)
            for (int b = 0; b < 4; b++) {
                memset(samples, 0xff, sizeof samples); /* NaN */
                CHECK_OK(
                    chains_run(chains, plan, workers, batches[b], 0, CHAIN_COUNT, x_start[0], samples[0]));
                for (int i = 0; root && i < CHAIN_COUNT; i++) {
                    uint64_t seed = chains->seeds[i];
                    CHECK_OK(gaussian_chain(&chains->gaussian, chains->backend, plan, seed, (uint32_t)i, NULL,
                                            alone));
                    rng_fill_normal(rng_key(seed, RNG_SAMPLE_START, 0, (uint32_t)i), start, GAUSSIAN_PIXELS);
                    CHECK(memcmp(samples[i], alone, sizeof alone) == 0);
                    CHECK(memcmp(x_start[i], start, sizeof start) == 0);
                }
            }
        CHECK_OK(chains_run(chains, plan, 2, 4, 11, 1, NULL, alone)); /* one chain, in another slot */
        CHECK(!root || memcmp(samples[11], alone, sizeof alone) == 0);
        CHECK(!root || memcmp(samples[11], samples[12], sizeof alone) != 0);
        sampler_plan_destroy(plan);
    }
}

/* Moments of 4096 ancestral chains on an uncorrelated prior against the propagated ones, within 5 standard
 * errors. */
static void test_chains_moments(Chains *chains) {
    float *samples = malloc(sizeof(float) * MANY * GAUSSIAN_PIXELS);
    SamplerPlan *plan = plan_of("ddpm", chains->schedule, 0);
    chains->gaussian = gaussian_prior(chains->schedule, 0.5, 0);
    CHECK_OK(chains_run(chains, plan, 2, 64, 0, MANY, NULL, samples));
    for (int p = 0; comm_rank(chains->comm) == 0 && p < GAUSSIAN_PIXELS; p++) {
        double mean = 0, variance = 1, sum = 0, squares = 0;
        for (int64_t k = 0; k < plan->count; k++) {
            double slope, offset;
            affine_step(chains->schedule, &plan->steps[k], plan->t[k], chains->gaussian.mean[p], 0.5, &slope,
                        &offset);
            mean = slope * mean + offset;
            variance = slope * slope * variance + pow(plan->steps[k].sigma, 2);
        }
        for (int i = 0; i < MANY; i++)
            sum += samples[i * GAUSSIAN_PIXELS + p];
        for (int i = 0; i < MANY; i++)
            squares += pow(samples[i * GAUSSIAN_PIXELS + p] - sum / MANY, 2);
        CHECK_NEAR(sum / MANY, mean, 5 * sqrt(variance / MANY));
        CHECK_NEAR(squares / (MANY - 1), variance, 5 * variance * sqrt(2.0 / MANY));
    }
    chains->gaussian = gaussian_prior(chains->schedule, 0.5, 1.0);
    sampler_plan_destroy(plan);
    free(samples);
}

static void count_progress(void *context, int64_t done, int64_t total) {
    int64_t *last = context;
    CHECK(done <= total && done >= last[0]);
    last[0] = done;
    last[1] = total;
}

static void test_chains_control(Chains *chains) {
    SamplerPlan *plan = plan_of("ddim", chains->schedule, 5), *posterior = NULL;
    SamplerOptions options = {.lambda_max = 1, .sigma_y = 0.1};
    Denoiser denoiser = gaussian_denoiser(&chains->gaussian, chains->backend, 2, 4);
    static float samples[CHAIN_COUNT][GAUSSIAN_PIXELS];
    int64_t progress[2] = {0, 0};
    volatile sig_atomic_t stop = 0;
    GenerateArguments arguments = {.comm = chains->comm,
                                   .denoiser = &denoiser,
                                   .plan = plan,
                                   .count = CHAIN_COUNT,
                                   .seeds = chains->seeds,
                                   .rng_samples = chains->rng_samples,
                                   .samples = samples[0],
                                   .progress = count_progress,
                                   .progress_context = progress,
                                   .stop = &stop};
    CHECK_OK(generate_samples(&arguments));
    CHECK(progress[0] == progress[1]);
    CHECK(comm_size(chains->comm) > 1 || progress[1] == 5 * 5); /* 5 blocks of 4 chains, 5 steps */
    arguments.progress = NULL;                                  /* it counts one run */
    stop = 1;
    CHECK_ERROR(generate_samples(&arguments), STATUS_INTERRUPTED, "interrupted");
    stop = 0;
    chains->gaussian.break_at_t = plan->t[2];
    CHECK_ERROR(generate_samples(&arguments), STATUS_FAILURE, "sampler ddim: sample");
    CHECK(strstr(status_message(), "t = 20 (pixel 7")); /* t_2 of 0, 10, 20, 29, 39 */
    chains->gaussian.break_at_t = -1;
    CHECK_OK(sampler_plan_create("guided", chains->schedule, &options, &posterior));
    arguments.plan = posterior;
    CHECK_ERROR(generate_samples(&arguments), STATUS_BAD_INPUT, "expected an observation");
    arguments.count = 0;
    CHECK_ERROR(generate_samples(&arguments), STATUS_BAD_INPUT, "1 sample or more");
    sampler_plan_destroy(posterior);
    sampler_plan_destroy(plan);
}

int main(void) {
    Comm *comm = NULL;
    Chains chains;
    CHECK_OK(comm_create(&comm));
    test_linear();
    test_cosine();
    test_schedule_errors();
    test_ancestral_mean();
    test_ddim_coefficients();
    test_ancestral_gaussian();
    test_ddim_gaussian();
    test_registry();
    chains_start(&chains, comm, backend_find("cpu"));
    test_chains_bitwise(&chains);
    test_chains_moments(&chains);
    test_chains_control(&chains);
    chains_end(&chains);
    comm_destroy(comm);
    return test_result();
}
