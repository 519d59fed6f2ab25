/* Masks, observations, posterior samplers, and the measures of ensembles. */
#include "tests/test.h"

#include "comm/comm.h"
#include "core/rng.h"
#include "diffusion/ensemble.h"
#include "diffusion/generate.h"
#include "diffusion/mask.h"
#include "tests/gaussian.h"

enum { STEPS = 300, IMAGE_PIXELS = 784 };

/* The report's settings. */
static const SamplerOptions REPORT = {
    .lambda_max = 1.5, .lambda_min = 0.25, .power = 1.5, .sigma_y = 0.1, .c = 0.05};

static Schedule *schedule_of(const char *name) {
    Schedule *schedule = NULL;
    CHECK_OK(schedule_create(name, STEPS, 1e-4, 2e-2, &schedule));
    return schedule;
}

static SamplerPlan *plan_of(const char *name, const Schedule *schedule, double lambda_max) {
    SamplerPlan *plan = NULL;
    SamplerOptions options = REPORT;
    options.lambda_max = lambda_max;
    CHECK_OK(sampler_plan_create(name, schedule, &options, &plan));
    return plan;
}

/* ---- masks and observations ---- */

static void test_mask(void) {
    const double fractions[] = {0.0007, 0.05, 0.2, 0.5, 0.7, 1};
    const int expected[] = {1, 39, 157, 392, 549, 784}; /* round(fraction * 784) */
    static float mask[6][IMAGE_PIXELS], other[IMAGE_PIXELS];
    for (int i = 0; i < 6; i++) {
        int count = 0, lost = 0;
        int64_t announced = 0;
        CHECK_OK(mask_fill(42, fractions[i], IMAGE_PIXELS, mask[i]));
        CHECK_OK(mask_observed_count(fractions[i], IMAGE_PIXELS, &announced));
        for (int p = 0; p < IMAGE_PIXELS; p++) {
            CHECK(mask[i][p] == 0 || mask[i][p] == 1);
            count += mask[i][p] == 1;
            lost += i > 0 && mask[i - 1][p] > mask[i][p]; /* nested: nothing observed is lost */
        }
        CHECK(count == expected[i] && announced == expected[i] && lost == 0);
    }
    CHECK_OK(mask_fill(43, 0.5, IMAGE_PIXELS, other));
    CHECK(memcmp(other, mask[3], sizeof other) != 0);
    CHECK_OK(mask_fill(42, 0.5, IMAGE_PIXELS, other));
    CHECK(memcmp(other, mask[3], sizeof other) == 0);
    CHECK_ERROR(mask_fill(42, 0.0006, IMAGE_PIXELS, other), STATUS_BAD_INPUT, "of 784 pixels");
    CHECK_ERROR(mask_fill(42, 0, IMAGE_PIXELS, other), STATUS_BAD_INPUT, "found 0");
    CHECK_ERROR(mask_fill(42, -0.5, IMAGE_PIXELS, other), STATUS_BAD_INPUT, "above 0");
    CHECK_ERROR(mask_fill(42, 1.01, IMAGE_PIXELS, other), STATUS_BAD_INPUT, "at most 1");
    CHECK_ERROR(mask_fill(42, NAN, IMAGE_PIXELS, other), STATUS_BAD_INPUT, "found");
}

/* Every pixel is observed equally often: 15 pixels, 4 observed, 4000 seeds, 5 standard errors. */
static void test_mask_uniform(void) {
    enum { SEEDS = 4000 };
    int seen[GAUSSIAN_PIXELS] = {0};
    float mask[GAUSSIAN_PIXELS];
    double share = 4.0 / GAUSSIAN_PIXELS;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        CHECK_OK(mask_fill(seed, 0.25, GAUSSIAN_PIXELS, mask)); /* round(3.75) */
        for (int p = 0; p < GAUSSIAN_PIXELS; p++)
            seen[p] += mask[p] > 0;
    }
    for (int p = 0; p < GAUSSIAN_PIXELS; p++)
        CHECK_NEAR(seen[p] / (double)SEEDS, share, 5 * sqrt(share * (1 - share) / SEEDS));
}

static void test_observation(void) {
    uint8_t image[IMAGE_PIXELS];
    ObservationSettings settings = {.fraction = 0.2, .mask_seed = 5, .sigma_y = 0.1, .seed = 9};
    Observation *clean = NULL, *noisy = NULL, *more = NULL, *next = NULL;
    double squares = 0;
    int same = 0;
    for (int p = 0; p < IMAGE_PIXELS; p++)
        image[p] = (uint8_t)(p % 256);
    CHECK_OK(observation_create(&settings, image, 28, 28, 3, &clean));
    settings.observation_noise = true;
    CHECK_OK(observation_create(&settings, image, 28, 28, 3, &noisy));
    settings.fraction = 0.7;
    CHECK_OK(observation_create(&settings, image, 28, 28, 3, &more));
    CHECK_OK(observation_create(&settings, image, 28, 28, 4, &next));
    CHECK(clean->truth[0] == -1 && clean->truth[255] == 1 && clean->observed_count == 157);
    CHECK_NEAR(clean->truth[100], 100 / 127.5 - 1, 6e-8); /* one rounding near 1 */
    for (int p = 0; p < IMAGE_PIXELS; p++) {
        CHECK(clean->y[p] == (clean->mask[p] > 0 ? clean->truth[p] : 0));
        CHECK(noisy->mask[p] > 0 ? noisy->y[p] == more->y[p] : noisy->y[p] == 0);
        squares += more->mask[p] > 0 ? pow(more->y[p] - more->truth[p], 2) : 0;
        same += more->mask[p] > 0 && more->y[p] == next->y[p];
    }
    CHECK_NEAR(squares / 549, 0.01, 5 * 0.01 * sqrt(2.0 / 549)); /* sigma_y^2, 5 standard errors */
    CHECK(same == 0);                                            /* another image, other noise */
    settings.sigma_y = -0.1;
    CHECK_ERROR(observation_create(&settings, image, 28, 28, 3, &next), STATUS_BAD_INPUT, "sigma_y");
    observation_destroy(clean);
    observation_destroy(noisy);
    observation_destroy(more);
    observation_destroy(next);
}

/* ---- the step against the formulas ---- */

typedef struct Textbook {
    double next, scale; /* scale: magnitudes that were added up, for the tolerance */
} Textbook;

/* One step of a posterior sampler in the order of the design, in double, one pixel. */
static Textbook textbook_step(const Schedule *schedule, bool full, int64_t t, double x, double eps, double m,
                              double y, double z, double xi) {
    const SamplerOptions *o = &REPORT;
    double beta = schedule->beta[t], alpha = 1 - beta, alpha_bar = schedule->alpha_bar[t];
    double before = t > 0 ? schedule->alpha_bar[t - 1] : 1;
    double x0_hat = (x - sqrt(1 - alpha_bar) * eps) / sqrt(alpha_bar);
    double sigma2 = o->sigma_y * o->sigma_y + o->c * (1 - alpha_bar);
    double g = m * (y - x0_hat) / (sigma2 * sqrt(alpha_bar));
    double progress = 1 - (double)t / (STEPS - 1);
    double lambda = o->lambda_max * (o->lambda_min + (1 - o->lambda_min) * pow(progress, o->power));
    double x0 = full ? m * y + (1 - m) * x0_hat : x0_hat;
    double mean =
        sqrt(before) * beta / (1 - alpha_bar) * x0 + sqrt(alpha) * (1 - before) / (1 - alpha_bar) * x;
    double next = mean + lambda * beta * g + (t > 0 ? sqrt(beta) * z : 0);
    double x0_terms = (fabs(x) + fabs(eps)) / sqrt(alpha_bar);
    double scale = x0_terms * (1 + lambda * beta / (sigma2 * sqrt(alpha_bar))) + fabs(x) + fabs(y) + fabs(z);
    if (full && t > 0)
        next = m * (sqrt(before) * y + sqrt(1 - before) * xi) + (1 - m) * next;
    return (Textbook){next, scale};
}

static void test_step(const Backend *backend, bool full) {
    Schedule *schedule = schedule_of("linear");
    SamplerPlan *plan = plan_of(full ? "dps_plus" : "guided", schedule, REPORT.lambda_max);
    Observation *observation = small_observation(2, 1);
    float start[GAUSSIAN_PIXELS], x[GAUSSIAN_PIXELS], eps[GAUSSIAN_PIXELS], z[GAUSSIAN_PIXELS],
        xi[GAUSSIAN_PIXELS];
    const uint64_t seed = 77;
    const uint32_t sample = 5;
    for (int64_t k = 0; k < plan->count; k++) {
        uint32_t t = (uint32_t)plan->t[k];
        ReverseArguments reverse = {.samples = 1,
                                    .pixels = GAUSSIAN_PIXELS,
                                    .step = &plan->steps[k],
                                    .seeds = &seed,
                                    .rng_samples = &sample,
                                    .rng_step = t,
                                    .eps_hat = eps,
                                    .mask = (const float *const *)&observation->mask,
                                    .observed = (const float *const *)&observation->y,
                                    .x = x};
        rng_fill_normal(rng_key(1, RNG_TEST, t, 0), start, GAUSSIAN_PIXELS);
        rng_fill_normal(rng_key(1, RNG_TEST, t, 1), eps, GAUSSIAN_PIXELS);
        rng_fill_normal(rng_key(seed, RNG_SAMPLE_NOISE, t, sample), z, GAUSSIAN_PIXELS);
        rng_fill_normal(rng_key(seed, RNG_REPLACEMENT_NOISE, t, sample), xi, GAUSSIAN_PIXELS);
        memcpy(x, start, sizeof x);
        CHECK_OK(backend->reverse(&reverse));
        for (int p = 0; p < GAUSSIAN_PIXELS; p++) {
            Textbook expected = textbook_step(schedule, full, t, start[p], eps[p], observation->mask[p],
                                              observation->y[p], z[p], xi[p]);
            CHECK_NEAR(x[p], expected.next, 8 * 6e-8 * expected.scale); /* at most 8 roundings of each term */
        }
    }
    observation_destroy(observation);
    sampler_plan_destroy(plan);
    schedule_destroy(schedule);
}

/* The strength of guidance at t = T-1, where it is largest: nothing is capped. */
static void test_gain(void) {
    const char *const names[] = {"linear", "linear_scaled", "cosine"};
    const double expected[] = {0.6, 71, 38000}; /* two printed digits */
    SamplerOptions options = REPORT;
    for (int i = 0; i < 3; i++) {
        Schedule *schedule = schedule_of(names[i]);
        SamplerPlan *plan = plan_of("guided", schedule, REPORT.lambda_max);
        CHECK_NEAR(plan->max_gain / expected[i], 1, 0.05);
        CHECK(plan->max_gain_t == STEPS - 1 && plan->max_gain == plan->steps[0].gain);
        sampler_plan_destroy(plan);
        schedule_destroy(schedule);
    }
    CHECK_NEAR(sampler_lambda(&options, 0, STEPS), 1.5, 1e-15);
    CHECK_NEAR(sampler_lambda(&options, STEPS - 1, STEPS), 0.375, 1e-15);
}

static void test_option_errors(void) {
    Schedule *schedule = schedule_of("linear");
    SamplerPlan *plan = NULL;
    SamplerOptions options = REPORT;
    options.lambda_min = 1.5;
    CHECK_ERROR(sampler_plan_create("guided", schedule, &options, &plan), STATUS_BAD_INPUT, "lambda_min");
    options = REPORT;
    options.power = -1;
    CHECK_ERROR(sampler_plan_create("guided", schedule, &options, &plan), STATUS_BAD_INPUT,
                "posterior.power");
    options = REPORT;
    options.lambda_max = NAN;
    CHECK_ERROR(sampler_plan_create("dps_plus", schedule, &options, &plan), STATUS_BAD_INPUT, "lambda_max");
    options = REPORT;
    options.sigma_y = options.c = 0;
    CHECK_ERROR(sampler_plan_create("guided", schedule, &options, &plan), STATUS_BAD_INPUT, "both are 0");
    options.sigma_y = 1e-30;
    CHECK_ERROR(sampler_plan_create("guided", schedule, &options, &plan), STATUS_BAD_INPUT, "not finite");
    options = REPORT;
    options.steps = 50;
    CHECK_ERROR(sampler_plan_create("guided", schedule, &options, &plan), STATUS_BAD_INPUT, "every step");
    CHECK(plan == NULL);
    schedule_destroy(schedule);
}

/* ---- what lambda does ---- */

/* dps_plus. On a prior with correlated pixels, so that guidance could reach the missing ones: every state
 * after replacement is the same, bit by bit, for any lambda, hence so are the missing pixels of the result;
 * its observed pixels are y + gain_0 (y - x0_hat_0), y itself for lambda = 0. */
static void test_lambda_dps_plus(const Backend *backend) {
    const uint64_t seed = 3;
    Schedule *schedule = schedule_of("linear");
    Gaussian gaussian = gaussian_prior(schedule, 0.3, 1.0);
    Denoiser denoiser = gaussian_denoiser(&gaussian, backend, 1, 1);
    SamplerPlan *none = plan_of("dps_plus", schedule, 0), *report = plan_of("dps_plus", schedule, 1.5);
    Observation *observation = small_observation(2, 1);
    const ReverseStep *last = &report->steps[STEPS - 1];
    float a[GAUSSIAN_PIXELS], b[GAUSSIAN_PIXELS], before[GAUSSIAN_PIXELS], eps_hat[GAUSSIAN_PIXELS], zero = 0;
    double largest = 0;
    rng_fill_normal(rng_key(seed, RNG_SAMPLE_START, 0, 0), a, GAUSSIAN_PIXELS);
    memcpy(b, a, sizeof b);
    for (int64_t k = 0; k < STEPS; k++) {
        memcpy(before, a, sizeof before);
        CHECK_OK(gaussian_step(&gaussian, backend, none, k, seed, 0, observation, a));
        CHECK_OK(gaussian_step(&gaussian, backend, report, k, seed, 0, observation, b));
        CHECK(report->steps[k].gain > 0 && none->steps[k].gain == 0);
        CHECK(k == STEPS - 1 || memcmp(a, b, sizeof a) == 0);
    }
    CHECK_NEAR(last->gain, 1.5 * 1e-4 / ((0.01 + 0.05 * 1e-4) * sqrt(1 - 1e-4)),
               1e-8); /* 0.015, a float ulp */
    CHECK(last->mean_x0 == 1 && last->mean_x == 0 && last->sigma == 0);
    CHECK_OK(gaussian_eps_hat(&denoiser, 0, before, &zero, eps_hat));
    for (int p = 0; p < GAUSSIAN_PIXELS; p++) {
        double x0_hat = (before[p] - sqrt(1e-4) * eps_hat[p]) / sqrt(1 - 1e-4);
        double y = observation->y[p];
        if (observation->mask[p] > 0) {
            CHECK(a[p] == observation->y[p]);
            CHECK_NEAR(b[p], y + last->gain * (y - x0_hat), 3e-7); /* a few float ulps near 1 */
            largest = fmax(largest, fabs((double)b[p] - y));
        } else {
            CHECK(memcmp(&a[p], &b[p], sizeof a[p]) == 0);
        }
    }
    CHECK(largest > 1e-5 && largest < 1e-3); /* gain 0.015 times a residual near sqrt(1 - abar_0) = 0.01 */
    observation_destroy(observation);
    sampler_plan_destroy(none);
    sampler_plan_destroy(report);
    schedule_destroy(schedule);
}

/* guided: lambda = 0 is ddpm itself; otherwise lambda moves observed pixels towards y and, on a correlated
 * prior, the missing ones too. */
static void test_lambda_guided(const Backend *backend) {
    Schedule *schedule = schedule_of("linear");
    Gaussian gaussian = gaussian_prior(schedule, 0.3, 1.0);
    SamplerPlan *none = plan_of("guided", schedule, 0), *report = plan_of("guided", schedule, 1.5);
    SamplerPlan *ddpm = plan_of("ddpm", schedule, 0);
    Observation *observation = small_observation(2, 1);
    float a[GAUSSIAN_PIXELS], b[GAUSSIAN_PIXELS], c[GAUSSIAN_PIXELS];
    double error_none = 0, error_report = 0;
    CHECK_OK(gaussian_chain(&gaussian, backend, none, 3, 0, observation, a));
    CHECK_OK(gaussian_chain(&gaussian, backend, report, 3, 0, observation, b));
    CHECK_OK(gaussian_chain(&gaussian, backend, ddpm, 3, 0, NULL, c));
    for (int p = 0; p < GAUSSIAN_PIXELS; p++) {
        CHECK(a[p] == c[p]);
        CHECK(fabsf(a[p] - b[p]) > 1e-3f);
        error_none += observation->mask[p] * fabs((double)a[p] - observation->y[p]);
        error_report += observation->mask[p] * fabs((double)b[p] - observation->y[p]);
    }
    CHECK(error_report < error_none / 2);
    observation_destroy(observation);
    sampler_plan_destroy(none);
    sampler_plan_destroy(report);
    sampler_plan_destroy(ddpm);
    schedule_destroy(schedule);
}

/* ---- whole posterior chains ---- */

/* Chains of several observations share blocks; each has the bits of the chain alone. */
static void test_chains_bitwise(Comm *comm, const Backend *backend) {
    enum { COUNT = 10 };
    Schedule *schedule = schedule_of("linear");
    Gaussian gaussian = gaussian_prior(schedule, 0.3, 1.0);
    const char *const names[] = {"dps_plus", "guided"};
    Observation *observations[COUNT];
    uint64_t seeds[COUNT];
    uint32_t samples[COUNT];
    float results[COUNT][GAUSSIAN_PIXELS], alone[GAUSSIAN_PIXELS];
    for (uint32_t i = 0; i < COUNT; i++) {
        observations[i] = small_observation(i / 3, i / 2);
        seeds[i] = rng_derive_seed(1, i / 5, 0, 0);
        samples[i] = i % 5;
    }
    for (int s = 0; s < 2; s++) {
        SamplerPlan *plan = plan_of(names[s], schedule, 1.5);
        for (int workers = 1; workers <= 3; workers++) {
            Denoiser denoiser = gaussian_denoiser(&gaussian, backend, workers, 4);
            GenerateArguments arguments = {.comm = comm,
                                           .denoiser = &denoiser,
                                           .plan = plan,
                                           .count = COUNT,
                                           .seeds = seeds,
                                           .rng_samples = samples,
                                           .observations = (const Observation *const *)observations,
                                           .samples = results[0]};
            memset(results, 0xff, sizeof results);
            CHECK_OK(generate_samples(&arguments));
            for (int i = 0; comm_rank(comm) == 0 && i < COUNT; i++) {
                CHECK_OK(
                    gaussian_chain(&gaussian, backend, plan, seeds[i], samples[i], observations[i], alone));
                CHECK(memcmp(alone, results[i], sizeof alone) == 0);
            }
            observations[0]->height++;
            CHECK_ERROR(generate_samples(&arguments), STATUS_BAD_INPUT, "observation 0 is 6 x 3");
            observations[0]->height--;
        }
        sampler_plan_destroy(plan);
    }
    for (int i = 0; i < COUNT; i++)
        observation_destroy(observations[i]);
    schedule_destroy(schedule);
}

int main(void) {
    Comm *comm = NULL;
    const Backend *backend = backend_find("cpu");
    CHECK_OK(comm_create(&comm));
    test_mask();
    test_mask_uniform();
    test_observation();
    test_step(backend, false);
    test_step(backend, true);
    test_gain();
    test_option_errors();
    test_lambda_dps_plus(backend);
    test_lambda_guided(backend);
    test_chains_bitwise(comm, backend);
    comm_destroy(comm);
    return test_result();
}
