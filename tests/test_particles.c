/* Weighted particles: resampling, weights against densities in double, whole runs against the same algorithm
 * written down again, and the posterior mean against the exact one. */
#include "tests/sampler_rig.h"

enum { SMALL = 8 };

/* Of the twisting function in test_run: too small for the prior, so that weights become uneven. */
static const double TWIST_V = 0.01;

/* ---- resampling ---- */

/* Particle j is chosen floor or ceil of draws * w_j times for any u, and draws * w_j times on average: over n
 * equally spaced u the average is off by at most 1 / n. */
static void test_resampling(void) {
    enum { UNIFORMS = 4000 };
    const double weights[SMALL] = {0.02, 0.3, 0, 0.08, 0.4, 0, 0.15, 0.05};
    const int64_t sizes[] = {1, 5, SMALL, 100};
    for (int s = 0; s < 4; s++) {
        const int64_t draws = sizes[s];
        int64_t chosen[100], total[SMALL] = {0};
        for (int i = 0; i < UNIFORMS; i++) {
            int64_t counts[SMALL] = {0};
            particles_resample(weights, SMALL, (i + 0.5) / UNIFORMS, draws, chosen);
            for (int64_t d = 0; d < draws; d++) {
                CHECK(d == 0 || chosen[d] >= chosen[d - 1]);
                counts[chosen[d]]++;
            }
            for (int j = 0; j < SMALL; j++) {
                CHECK(fabs((double)counts[j] - (double)draws * weights[j]) < 1);
                total[j] += counts[j];
            }
        }
        for (int j = 0; j < SMALL; j++)
            CHECK_NEAR((double)total[j] / UNIFORMS, (double)draws * weights[j], 1.5 / UNIFORMS);
    }
}

static void test_weights(void) {
    const double logs[4] = {-1e5, -1e5 + log(2), -1e5 + log(3), -1e7};
    double weights[4];
    int64_t chosen[4];
    particles_normalise(logs, 4, weights);
    /* 1e5 has 1.5e-11 between doubles, which the exponential passes on */
    CHECK_NEAR(weights[0], 1 / 6.0, 1e-10);
    CHECK_NEAR(weights[1], 2 / 6.0, 1e-10);
    CHECK_NEAR(weights[2], 3 / 6.0, 1e-10);
    CHECK(weights[3] == 0);
    CHECK_NEAR(particles_effective(weights, 4), 36 / 14.0, 1e-8);
    particles_resample(weights, 4, 1 - 1e-16, 4, chosen); /* the last interval's end */
    CHECK(chosen[3] == 2 || chosen[3] == 3);
}

/* ---- weights of one step against densities ---- */

static double log_normal(double x, double mean, double variance) {
    return -(x - mean) * (x - mean) / (2 * variance) - log(2 * 3.14159265358979323846 * variance) / 2;
}

/* x0_hat of the correlated prior, in double. */
static void exact_x0_hat(const Gaussian *gaussian, int64_t t, const float *x, double *x0_hat) {
    double abar = schedule_alpha_bar(gaussian->schedule, t), centre = 0;
    double a = abar * pow(gaussian->deviation, 2) + 1 - abar, b = abar * pow(gaussian->common, 2);
    for (int p = 0; p < GAUSSIAN_PIXELS; p++)
        centre += (x[p] - sqrt(abar) * gaussian->mean[p]) / GAUSSIAN_PIXELS;
    for (int p = 0; p < GAUSSIAN_PIXELS; p++) {
        double score = -((x[p] - sqrt(abar) * gaussian->mean[p]) / a - b / (a * (a + b)) * centre);
        x0_hat[p] = (x[p] + (1 - abar) * score) / sqrt(abar);
    }
}

/* log p~(y | x_t), with all constants. */
static double exact_log_twist(const Gaussian *gaussian, int64_t t, const Observation *o, const float *x) {
    double abar = schedule_alpha_bar(gaussian->schedule, t), x0_hat[GAUSSIAN_PIXELS], sum = 0;
    double variance = DEFAULTS.sigma_y * DEFAULTS.sigma_y;
    if (t >= 0) {
        variance += TWIST_V * (1 - abar) / (abar * TWIST_V + 1 - abar);
        exact_x0_hat(gaussian, t, x, x0_hat);
    }
    for (int p = 0; p < GAUSSIAN_PIXELS; p++)
        if (o->mask[p] > 0)
            sum += log_normal(o->y[p], t >= 0 ? x0_hat[p] : x[p], variance);
    return sum;
}

/* log p(next | x) - log q(next | x, y), q's mean with the gradient of log p~ by central differences: for this
 * prior it is quadratic in x, so they are exact but for rounding. */
static double exact_log_ratio(const Gaussian *gaussian, int64_t t, const Observation *o, const float *x,
                              const float *next) {
    const double beta = gaussian->schedule->beta[t], alpha = 1 - beta, h = 0.25;
    const double abar = gaussian->schedule->alpha_bar[t];
    double x0_hat[GAUSSIAN_PIXELS], sum = 0;
    exact_x0_hat(gaussian, t, x, x0_hat);
    for (int p = 0; p < GAUSSIAN_PIXELS; p++) {
        float moved[GAUSSIAN_PIXELS];
        memcpy(moved, x, sizeof moved);
        moved[p] = (float)(x[p] + h);
        double above = moved[p], gradient = exact_log_twist(gaussian, t, o, moved);
        moved[p] = (float)(x[p] - h);
        gradient = (gradient - exact_log_twist(gaussian, t, o, moved)) / (above - moved[p]);
        double eps = (x[p] - sqrt(abar) * x0_hat[p]) / sqrt(1 - abar);
        double mu = (x[p] - beta / sqrt(1 - abar) * eps) / sqrt(alpha);
        sum += log_normal(next[p], mu, beta) - log_normal(next[p], mu + beta / sqrt(alpha) * gradient, beta);
    }
    return sum;
}

/* ---- a run written down again ---- */

/* The algorithm of samplers/tds.c for particles of one run, in the plainest way: states by single steps on
 * the CPU backend, weights from densities in double. */
typedef struct PlainRun {
    float x[SMALL][GAUSSIAN_PIXELS];
    double log_weights[SMALL], twists[SMALL], weights[SMALL], least, last;
    int ancestors[SMALL], resampled;
} PlainRun;

static double plain_effective(PlainRun *run) {
    double largest = -HUGE_VAL, sum = 0, squares = 0;
    for (int j = 0; j < SMALL; j++)
        largest = fmax(largest, run->log_weights[j]);
    for (int j = 0; j < SMALL; j++)
        sum += exp(run->log_weights[j] - largest);
    for (int j = 0; j < SMALL; j++) {
        run->weights[j] = exp(run->log_weights[j] - largest) / sum;
        squares += run->weights[j] * run->weights[j];
    }
    run->least = fmin(run->least, 1 / squares);
    return 1 / squares;
}

static double plain_uniform(uint64_t seed, uint32_t step, uint32_t number) {
    return (rng_integer(rng_key(seed, RNG_RESAMPLING, step, number), 0) + 0.5) / 4294967296.0;
}

/* The particle whose share of (0, 1) holds u. */
static int plain_choice(const PlainRun *run, double u) {
    for (int j = 0; j < SMALL - 1; j++)
        if ((u -= run->weights[j]) < 0)
            return j;
    return SMALL - 1;
}

static void plain_resample(PlainRun *run, double u) {
    PlainRun old = *run;
    for (int i = 0; i < SMALL; i++) {
        int j = plain_choice(&old, (i + u) / SMALL);
        memcpy(run->x[i], old.x[j], sizeof run->x[i]);
        run->twists[i] = old.twists[j];
        run->ancestors[i] = old.ancestors[j];
        run->log_weights[i] = 0;
    }
    run->resampled++;
}

static void plain_run(PlainRun *run, Setup *setup, const Backend *backend, const SamplerPlan *plan,
                      uint32_t number) {
    const Observation *o = setup->observation;
    const volatile uint64_t seed = 99; /* see gaussian_chain */
    *run = (PlainRun){.least = SMALL};
    for (int j = 0; j < SMALL; j++) {
        run->ancestors[j] = j;
        rng_fill_normal(rng_key(seed, RNG_SAMPLE_START, 0, number * SMALL + (uint32_t)j), run->x[j],
                        GAUSSIAN_PIXELS);
    }
    for (int64_t k = 0; k <= plan->count; k++) {
        const int64_t t = k < plan->count ? plan->t[k] : -1;
        for (int j = 0; j < SMALL; j++) {
            double twist = exact_log_twist(&setup->gaussian, t, o, run->x[j]);
            run->log_weights[j] += twist - (k > 0 ? run->twists[j] : 0);
            run->twists[j] = twist;
        }
        run->last = plain_effective(run);
        if (t < 0)
            break;
        if (run->last < SMALL / 2.0)
            plain_resample(run, plain_uniform(99, (uint32_t)t, number));
        for (int j = 0; j < SMALL; j++) {
            float before[GAUSSIAN_PIXELS];
            memcpy(before, run->x[j], sizeof before);
            CHECK_OK(gaussian_step(&setup->gaussian, backend, plan, k, 99, number * SMALL + (uint32_t)j, o,
                                   run->x[j]));
            if (t > 0)
                run->log_weights[j] += exact_log_ratio(&setup->gaussian, t, o, before, run->x[j]);
        }
    }
}

/* Runs of 8 particles: the same ancestors, draws that are particles of the plain run bit for bit, each about
 * as often as its weight says, and effective sizes to 1e-3: float roundings leave x0_hat wrong by up to 1e-6
 * for t = T-1 and less below, which 6 observed pixels turn into 6 * 1e-6 |y - x0_hat| / 0.02 = 3e-4 of a
 * logarithm of a weight. */
static void test_run(Comm *comm, const Backend *backend) {
    enum { RUNS = 6 };
    SamplerOptions options = DEFAULTS;
    Setup setup = setup_of("linear", 100);
    float draws[RUNS * SMALL][GAUSSIAN_PIXELS];
    ParticleStatistics statistics[RUNS * SMALL];
    int resampled = 0;
    double worst = 0;
    options.particles = SMALL;
    options.tds_v = TWIST_V;
    options.draws_per_run = 0; /* as many as particles */
    SamplerPlan *plan = plan_of("tds", setup.schedule, &options);
    CHECK(plan->options.draws_per_run == SMALL);
    CHECK_OK(draw(&setup, comm, backend, plan, 2, 3, 0, RUNS * SMALL, draws[0], statistics));
    for (uint32_t r = 0; r < RUNS; r++) {
        PlainRun run;
        int ancestors = 1, counts[SMALL] = {0};
        plain_run(&run, &setup, backend, plan, r);
        resampled += run.resampled;
        for (int j = 1; j < SMALL; j++)
            ancestors += run.ancestors[j] != run.ancestors[j - 1];
        for (int i = 0; i < SMALL; i++) {
            const ParticleStatistics *s = &statistics[r * SMALL + (uint32_t)i];
            int found = -1;
            for (int j = 0; j < SMALL; j++)
                if (memcmp(run.x[j], draws[r * SMALL + (uint32_t)i], sizeof run.x[j]) == 0)
                    found = j;
            CHECK(found >= 0);
            counts[found >= 0 ? found : 0]++;
            CHECK(found < 0 || s->ancestor == r * SMALL + (uint32_t)run.ancestors[found]);
            worst = fmax(worst, fabs(s->least_effective - run.least));
            worst = fmax(worst, fabs(s->last_effective - run.last));
            CHECK_NEAR(s->least_effective, run.least, 1e-3 * run.least);
            CHECK_NEAR(s->last_effective, run.last, 1e-3 * run.last);
            CHECK(s->unique_ancestors == ancestors);
        }
        for (int j = 0; j < SMALL; j++)
            CHECK(fabs(counts[j] - SMALL * run.weights[j]) < 1 + 1e-3 * SMALL);
    }
    printf("tds, %d runs of %d particles: resampled %d times, worst error of an effective size %.1e\n", RUNS,
           SMALL, resampled, worst);
    CHECK(resampled > RUNS / 2);
    sampler_plan_destroy(plan);
    setup_end(&setup);
}

/* ---- the posterior ---- */

/* Means over independent runs of the draws' means and of their squared deviations from the exact mean,
 * against the posterior of what the chain itself draws (normal_of_chain), within 5 standard errors of the
 * runs and what 64 weighted particles are biased by, 1/64 of a deviation. */
static void test_posterior_moments(Comm *comm, const Backend *backend) {
    enum { RUNS = 150, PARTICLES = 64 };
    static float draws[RUNS * PARTICLES][GAUSSIAN_PIXELS];
    SamplerOptions options = DEFAULTS;
    Setup setup = setup_of("linear", 100);
    double largest = 0, largest_square = 0;
    options.particles = options.draws_per_run = PARTICLES;
    SamplerPlan *plan = plan_of("tds", setup.schedule, &options);
    CHECK_OK(draw(&setup, comm, backend, plan, 2, 64, 0, RUNS * PARTICLES, draws[0], NULL));
    Normal exact = normal_of_chain(&setup.gaussian);
    normal_condition(&exact, setup.observation, DEFAULTS.sigma_y);
    for (int p = 0; p < GAUSSIAN_PIXELS; p++) {
        double sums[2] = {0}, squares[2] = {0}, deviation = sqrt(exact.covariance[p][p]);
        for (int r = 0; r < RUNS; r++) {
            double moments[2] = {0};
            for (int i = 0; i < PARTICLES; i++) {
                double distance = (draws[r * PARTICLES + i][p] - exact.mean[p]) / deviation;
                moments[0] += distance / PARTICLES;
                moments[1] += distance * distance / PARTICLES;
            }
            for (int m = 0; m < 2; m++) {
                sums[m] += moments[m] / RUNS;
                squares[m] += moments[m] * moments[m] / RUNS;
            }
        }
        for (int m = 0; m < 2; m++) {
            double error = sqrt((squares[m] - sums[m] * sums[m]) / (RUNS - 1));
            CHECK_NEAR(sums[m], m, 5 * error + 1.0 / PARTICLES);
        }
        largest = fmax(largest, fabs(sums[0]));
        largest_square = fmax(largest_square, fabs(sums[1] - 1));
    }
    printf(
        "tds, %d runs of %d particles: means within %.3f deviations, variances within %.3f of themselves\n",
        RUNS, PARTICLES, largest, largest_square);
    sampler_plan_destroy(plan);
    setup_end(&setup);
}

/* x_start is the x_T of the draw's ancestor. */
static void check_start(Setup *setup, Comm *comm, const Backend *backend, const SamplerPlan *plan) {
    Denoiser denoiser = gaussian_denoiser(&setup->gaussian, backend, 1, 2);
    const volatile uint64_t seed = 99; /* see gaussian_chain */
    const uint64_t seeds[1] = {99};
    const uint32_t rng_samples[1] = {3};
    float start[GAUSSIAN_PIXELS], expected[GAUSSIAN_PIXELS], x[GAUSSIAN_PIXELS];
    ParticleStatistics statistics;
    GenerateArguments arguments = {.comm = comm,
                                   .denoiser = &denoiser,
                                   .plan = plan,
                                   .count = 1,
                                   .seeds = seeds,
                                   .rng_samples = rng_samples,
                                   .observations = (const Observation *const *)&setup->observation,
                                   .x_start = start,
                                   .samples = x,
                                   .particles = &statistics};
    CHECK_OK(generate_samples(&arguments));
    rng_fill_normal(rng_key(seed, RNG_SAMPLE_START, 0, statistics.ancestor), expected, GAUSSIAN_PIXELS);
    CHECK(memcmp(start, expected, sizeof start) == 0);
}

/* Draw i depends on (seed, i, D, K): with D = 1 it is the one of its own run. */
static void test_draw_numbers(Comm *comm, const Backend *backend) {
    enum { COUNT = 6 };
    SamplerOptions options = DEFAULTS;
    Setup setup = setup_of("linear", 30);
    float all[COUNT][GAUSSIAN_PIXELS], one[GAUSSIAN_PIXELS];
    ParticleStatistics statistics[COUNT];
    options.draws_per_run = 1;
    SamplerPlan *plan = plan_of("tds", setup.schedule, &options);
    CHECK_OK(draw(&setup, comm, backend, plan, 1, 4, 0, COUNT, all[0], statistics));
    for (uint32_t i = 0; i < COUNT; i++) {
        CHECK_OK(draw(&setup, comm, backend, plan, 1, 2, i, 1, one, NULL));
        CHECK(memcmp(one, all[i], sizeof one) == 0);
        CHECK(statistics[i].ancestor / (uint32_t)options.particles == i); /* nothing is shared */
    }
    check_start(&setup, comm, backend, plan);
    sampler_plan_destroy(plan);
    setup_end(&setup);
}

int main(void) {
    Comm *comm = NULL;
    const Backend *backend = backend_find("cpu");
    CHECK_OK(comm_create_self(&comm));
    test_resampling();
    test_weights();
    test_run(comm, backend);
    test_posterior_moments(comm, backend);
    test_draw_numbers(comm, backend);
    comm_destroy(comm);
    return test_result();
}
