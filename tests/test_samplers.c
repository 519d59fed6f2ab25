/* Posterior samplers: what their strength does, the cap of their gain, their options, and that no result
 * depends on how chains are batched. */
#include "tests/sampler_rig.h"

#include "core/config.h"

/* ---- strength ---- */

/* Every guided sampler's strength changes the missing pixels too; dps_plus' lambda provably does not: at t >
 * 0 replacement overwrites what guidance moved, and at t = 0 guidance moves observed pixels only. */
static void test_strengths(Comm *comm, const Backend *backend) {
    SamplerOptions weak = DEFAULTS;
    weak.lambda_max = 0.5;
    weak.calibrated_v = 0.5;
    weak.zeta = 0.3;
    weak.pigdm_v = 1;
    weak.tds_v = 1;
    const char *const names[] = {"guided", "guided_calibrated", "dps", "pigdm", "tds", "dps_plus"};
    Setup setup = setup_of("linear", STEPS);
    for (int s = 0; s < 6; s++) {
        SamplerPlan *a = plan_of(names[s], setup.schedule, &DEFAULTS);
        SamplerPlan *b = plan_of(names[s], setup.schedule, &weak);
        float strong_draw[GAUSSIAN_PIXELS], weak_draw[GAUSSIAN_PIXELS];
        CHECK_OK(draw(&setup, comm, backend, a, 1, 4, 0, 1, strong_draw, NULL));
        CHECK_OK(draw(&setup, comm, backend, b, 1, 4, 0, 1, weak_draw, NULL));
        for (int p = 0; comm_rank(comm) == 0 && p < GAUSSIAN_PIXELS; p++) {
            bool missing = setup.observation->mask[p] == 0;
            bool same = memcmp(&strong_draw[p], &weak_draw[p], sizeof(float)) == 0;
            CHECK(same == (strcmp(names[s], "dps_plus") == 0 && missing));
        }
        sampler_plan_destroy(a);
        sampler_plan_destroy(b);
    }
    setup_end(&setup);
}

static void test_repaint(Comm *comm, const Backend *backend) {
    SamplerOptions once = DEFAULTS;
    float a[3][GAUSSIAN_PIXELS], b[3][GAUSSIAN_PIXELS];
    Setup setup = setup_of("linear", STEPS);
    once.jumps = 1;
    SamplerPlan *replace = plan_of("replace", setup.schedule, &DEFAULTS);
    SamplerPlan *repaint = plan_of("repaint", setup.schedule, &once);
    SamplerPlan *many = plan_of("repaint", setup.schedule, &DEFAULTS);
    CHECK_OK(draw(&setup, comm, backend, replace, 1, 2, 0, 3, a[0], NULL));
    CHECK_OK(draw(&setup, comm, backend, repaint, 1, 2, 0, 3, b[0], NULL));
    CHECK(comm_rank(comm) > 0 || memcmp(a, b, sizeof a) == 0);
    CHECK_OK(draw(&setup, comm, backend, many, 1, 2, 0, 3, b[0], NULL));
    CHECK(comm_rank(comm) > 0 || memcmp(a, b, sizeof a) != 0);
    CHECK(many->count == 3 * (STEPS - 1) + 1 && repaint->count == STEPS);
    for (int64_t k = 0; k < many->count; k++) {
        CHECK(many->t[k] == STEPS - 1 - k / 3);
        CHECK(many->rng_steps[k] == (uint32_t)(many->t[k] + STEPS * (k % 3)));
        CHECK((many->steps[k].renoise_noise != 0) == (k % 3 < 2 && many->t[k] > 0));
    }
    sampler_plan_destroy(replace);
    sampler_plan_destroy(repaint);
    sampler_plan_destroy(many);
    setup_end(&setup);
}

/* ---- the cap of the gain ---- */

enum { DRAWS = 1000 };

/* Means over pixels of |mean of the draws - exact mean| / exact deviation, and of the ratio of deviations:
 * missing and observed pixels. Rank 0. */
typedef struct Quality {
    double bias[2], deviation[2];
} Quality;

static Quality quality_of(Setup *setup, Comm *comm, const Backend *backend, const SamplerPlan *plan) {
    static float draws[DRAWS][GAUSSIAN_PIXELS];
    Quality quality = {0};
    int pixels[2] = {0};
    Normal exact = normal_of_prior(&setup->gaussian);
    normal_condition(&exact, setup->observation, DEFAULTS.sigma_y);
    CHECK_OK(draw(setup, comm, backend, plan, 2, 100, 0, DRAWS, draws[0], NULL));
    for (int p = 0; comm_rank(comm) == 0 && p < GAUSSIAN_PIXELS; p++) {
        double sum = 0, squares = 0, deviation = sqrt(exact.covariance[p][p]);
        int group = setup->observation->mask[p] > 0;
        for (int i = 0; i < DRAWS; i++)
            sum += draws[i][p];
        for (int i = 0; i < DRAWS; i++)
            squares += pow(draws[i][p] - sum / DRAWS, 2);
        quality.bias[group] += fabs(sum / DRAWS - exact.mean[p]) / deviation;
        quality.deviation[group] += sqrt(squares / DRAWS) / deviation;
        pixels[group]++;
    }
    for (int group = 0; comm_rank(comm) == 0 && group < 2; group++) {
        quality.bias[group] /= pixels[group];
        quality.deviation[group] /= pixels[group];
    }
    return quality;
}

/* Guided draws on schedules whose gain is unbounded are as good as on the report's schedule, with the default
 * cap: the mean of 1000 draws within 5 standard errors, 5 / sqrt(1000), of the exact one on missing pixels
 * and their deviation within 5 / sqrt(2000) of itself, observed pixels' deviation likewise of the report's.
 */
static void test_capped_quality(Comm *comm, const Backend *backend) {
    const char *const schedules[] = {"linear", "linear_scaled", "cosine"};
    const char *const names[] = {"guided", "guided_calibrated"};
    const double error = 5 / sqrt(DRAWS), ratio_error = 5 / sqrt(2.0 * DRAWS);
    for (int s = 0; s < 2; s++) {
        Quality quality[3];
        for (int i = 0; i < 3; i++) {
            Setup setup = setup_of(schedules[i], STEPS);
            SamplerPlan *plan = plan_of(names[s], setup.schedule, &DEFAULTS);
            quality[i] = quality_of(&setup, comm, backend, plan);
            CHECK((plan->capped_steps > 0) == (i > 0));
            sampler_plan_destroy(plan);
            setup_end(&setup);
        }
        for (int i = 0; comm_rank(comm) == 0 && i < 3; i++) {
            printf("%-18s %-14s bias %.3f missing, %.3f observed; deviation %.3f missing, %.3f observed\n",
                   names[s], schedules[i], quality[i].bias[0], quality[i].bias[1], quality[i].deviation[0],
                   quality[i].deviation[1]);
            CHECK_NEAR(quality[i].bias[0], 0, error);
            CHECK_NEAR(quality[i].deviation[0], 1, ratio_error);
            CHECK_NEAR(quality[i].bias[1], quality[0].bias[1], 2 * error);
            CHECK_NEAR(quality[i].deviation[1], quality[0].deviation[1], 2 * ratio_error);
        }
    }
}

/* The largest |x_t| of a chain. */
static double largest_state(Setup *setup, const Backend *backend, const char *name,
                            const SamplerOptions *options) {
    SamplerPlan *plan = plan_of(name, setup->schedule, options);
    float x[GAUSSIAN_PIXELS];
    double largest = 0;
    rng_fill_normal(rng_key(3, RNG_SAMPLE_START, 0, 0), x, GAUSSIAN_PIXELS);
    for (int64_t k = 0; k < plan->count; k++) {
        CHECK_OK(gaussian_step(&setup->gaussian, backend, plan, k, 3, 0, setup->observation, x));
        for (int p = 0; p < GAUSSIAN_PIXELS; p++)
            largest = fmax(largest, fabs((double)x[p]));
    }
    sampler_plan_destroy(plan);
    return largest;
}

/* Without the cap states leave the range of anything a network was trained on, by the gain of the first step;
 * with it they stay where noise and image are. */
static void test_cap(const Backend *backend) {
    SamplerOptions free_gain = DEFAULTS;
    free_gain.max_gain = 0;
    Setup cosine = setup_of("cosine", STEPS), scaled = setup_of("linear_scaled", STEPS);
    Setup linear = setup_of("linear", STEPS);
    CHECK(largest_state(&cosine, backend, "guided", &free_gain) > 1000);
    CHECK(largest_state(&scaled, backend, "guided", &free_gain) > 10);
    CHECK(largest_state(&cosine, backend, "guided_calibrated", &free_gain) > 30);
    CHECK(largest_state(&cosine, backend, "guided", &DEFAULTS) < 6);
    CHECK(largest_state(&scaled, backend, "guided", &DEFAULTS) < 6);
    CHECK(largest_state(&cosine, backend, "guided_calibrated", &DEFAULTS) < 6);
    SamplerPlan *report = plan_of("guided", linear.schedule, &DEFAULTS);
    SamplerPlan *capped = plan_of("guided", cosine.schedule, &DEFAULTS);
    CHECK(report->capped_steps == 0); /* the report's numbers are untouched */
    CHECK_NEAR(report->max_gain / sqrt(linear.schedule->alpha_bar[STEPS - 1]), 2.7, 0.05);
    for (int64_t k = 0; k < capped->count; k++)
        CHECK(capped->steps[k].gain <= 3 * sqrt(cosine.schedule->alpha_bar[capped->t[k]]) * (1 + 6e-8));
    sampler_plan_destroy(report);
    sampler_plan_destroy(capped);
    setup_end(&cosine);
    setup_end(&scaled);
    setup_end(&linear);
}

/* ---- options ---- */

/* `name` refuses `bad`, naming `text`; every sampler that does not read the option takes it. */
static void check_option(const char *name, SamplerOptions bad, const char *text) {
    Schedule *schedule = schedule_of("linear", STEPS);
    SamplerPlan *plan = NULL;
    CHECK_ERROR(sampler_plan_create(name, schedule, &bad, &plan), STATUS_BAD_INPUT, text);
    CHECK(strstr(status_message(), name));
    CHECK(plan == NULL);
    plan = plan_of("replace", schedule, &bad);
    sampler_plan_destroy(plan);
    schedule_destroy(schedule);
}

static void test_options(void) {
    SamplerOptions bad = DEFAULTS;
    bad.max_gain = -1;
    check_option("guided", bad, "posterior.max_gain: expected 0 or more, found -1");
    check_option("guided_calibrated", bad, "posterior.max_gain");
    check_option("dps_plus", bad, "posterior.max_gain");
    bad = DEFAULTS;
    bad.jumps = 0;
    check_option("repaint", bad, "posterior.jumps: expected 1 to 1000, found 0");
    bad = DEFAULTS;
    bad.zeta = NAN;
    check_option("dps", bad, "posterior.zeta");
    bad = DEFAULTS;
    bad.calibrated_v = -0.1;
    check_option("guided_calibrated", bad, "posterior.calibrated_v");
    bad = DEFAULTS;
    bad.pigdm_v = INFINITY;
    check_option("pigdm", bad, "posterior.pigdm_v");
    bad.pigdm_v = bad.sigma_y = 0;
    check_option("pigdm", bad, "both are 0");
    check_option("tds", bad, "posterior.sigma_y");
    bad = DEFAULTS;
    bad.particles = 1;
    check_option("tds", bad, "posterior.particles: expected 2");
    bad = DEFAULTS;
    bad.draws_per_run = 7;
    check_option("tds", bad, "posterior.draws_per_run: expected 0 to 6, found 7");
}

/* The options a sampler is said to read are keys of the configuration. */
static void test_option_keys(void) {
    for (const Sampler *const *sampler = sampler_table(); *sampler; sampler++) {
        char names[128], key[160];
        snprintf(names, sizeof names, "%s", (*sampler)->options ? (*sampler)->options : "");
        CHECK((*sampler)->options == NULL || strcmp(names, (*sampler)->options) == 0);
        CHECK((*sampler)->options == NULL || ((*sampler)->posterior && names[0] != '\0'));
        for (char *name = strtok(names, " "); name; name = strtok(NULL, " ")) {
            snprintf(key, sizeof key, "posterior.%s", name);
            CHECK(config_find(key) >= 0);
        }
    }
}

static void test_missing_product(Comm *comm, const Backend *backend) {
    const char *const names[] = {"dps", "pigdm", "tds"};
    Setup setup = setup_of("linear", 10);
    Denoiser denoiser = gaussian_denoiser(&setup.gaussian, backend, 1, 2);
    const uint64_t seed = 1;
    const uint32_t sample = UINT32_MAX;
    float x[GAUSSIAN_PIXELS];
    for (int i = 0; i < 3; i++) {
        SamplerPlan *plan = plan_of(names[i], setup.schedule, &DEFAULTS);
        GenerateArguments arguments = {.comm = comm,
                                       .denoiser = &denoiser,
                                       .plan = plan,
                                       .count = 1,
                                       .seeds = &seed,
                                       .rng_samples = &sample,
                                       .observations = (const Observation *const *)&setup.observation,
                                       .samples = x};
        denoiser.vjp = NULL;
        CHECK_ERROR(generate_samples(&arguments), STATUS_BAD_INPUT, "vector-Jacobian product");
        CHECK(strstr(status_message(), names[i]) && strstr(status_message(), "5 x 3"));
        denoiser.vjp = gaussian_vjp;
        if (i == 2)
            CHECK_ERROR(generate_samples(&arguments), STATUS_BAD_INPUT, "below 2^32");
        else
            CHECK_OK(generate_samples(&arguments));
        sampler_plan_destroy(plan);
    }
    setup_end(&setup);
}

/* ---- whole chains ---- */

/* Every chain of every posterior sampler has the bits of the same chain in another batch, on other workers
 * and ranks, and of a selection; those of independent chains also the bits of the chain run by hand. */
static void test_chains_bitwise(Comm *comm, const Backend *backend, const Sampler *sampler) {
    enum { COUNT = 11 };
    const int64_t batches[] = {1, 4, 16};
    Setup setup = setup_of("linear", 30);
    SamplerPlan *plan = plan_of(sampler->name, setup.schedule, &DEFAULTS);
    float first[COUNT][GAUSSIAN_PIXELS], again[COUNT][GAUSSIAN_PIXELS], alone[GAUSSIAN_PIXELS];
    const bool root = comm_rank(comm) == 0;
    Comm *self = NULL;
    CHECK_OK(comm_create_self(&self));
    CHECK_OK(draw(&setup, self, backend, plan, 1, 1, 0, COUNT, first[0], NULL));
    for (int workers = 1; workers <= 3; workers++)
        for (int b = 0; b < 3; b++) {
            memset(again, 0xff, sizeof again);
            CHECK_OK(draw(&setup, comm, backend, plan, workers, batches[b], 0, COUNT, again[0], NULL));
            CHECK(!root || memcmp(first, again, sizeof first) == 0);
        }
    CHECK_OK(draw(&setup, comm, backend, plan, 2, 4, 6, 5, again[0], NULL)); /* chains 6 to 10 */
    CHECK(!root || memcmp(first[6], again, 5 * sizeof again[0]) == 0);
    for (uint32_t i = 0; !sampler->particles && i < COUNT; i++) {
        CHECK_OK(gaussian_chain(&setup.gaussian, backend, plan, 99, i, setup.observation, alone));
        CHECK(memcmp(first[i], alone, sizeof alone) == 0);
    }
    comm_destroy(self);
    sampler_plan_destroy(plan);
    setup_end(&setup);
}

int main(void) {
    Comm *comm = NULL;
    const Backend *backend = backend_find("cpu");
    CHECK_OK(comm_create(&comm));
    test_strengths(comm, backend);
    test_repaint(comm, backend);
    test_cap(backend);
    test_capped_quality(comm, backend);
    test_options();
    test_option_keys();
    test_missing_product(comm, backend);
    for (const Sampler *const *sampler = sampler_table(); *sampler; sampler++)
        if ((*sampler)->posterior)
            test_chains_bitwise(comm, backend, *sampler);
    comm_destroy(comm);
    return test_result();
}
