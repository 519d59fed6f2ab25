/* Denoisers of exact priors against their definitions in double precision (prior_truth.h): eps_hat and its
 * vector-Jacobian product; and that a sample's bits depend on no batch, slot or worker. */
#include "tests/test.h"

#include "core/rng.h"
#include "tests/prior_rig.h"
#include "tests/prior_truth.h"

enum { BATCH = 5 };

static const int64_t TIMES[] = {0, 30, 120, 299};

/* ---- eps_hat and its vector-Jacobian product ---- */

static double smallest_variance(const Truth *truth) {
    TruthMatrix inverse;
    double norm = 0;
    truth_invert(truth->pixels, truth->covariance, inverse);
    for (int p = 0; p < truth->pixels; p++) { /* of the inverse: at least its largest eigenvalue */
        double sum = 0;
        for (int q = 0; q < truth->pixels; q++)
            sum += fabs(inverse[p][q]);
        norm = fmax(norm, sum);
    }
    return 1 / norm;
}

/* What float arithmetic may do to eps_hat: x' and the weighted mean carry 8 roundings of a vector of
 * `length`, and the weights an error of a quarter of the logits', which are products of length^2 / variance.
 */
static double tolerance_of(const Truth *diffused, double noise, const double *x) {
    const double rounding = 6e-8;
    double variance = smallest_variance(diffused), longest = 0, squares = 0;
    for (int p = 0; p < diffused->pixels; p++)
        squares += x[p] * x[p];
    for (int k = 0; k < diffused->modes; k++) {
        double length = 0;
        for (int p = 0; p < diffused->pixels; p++)
            length += diffused->mean[k][p] * diffused->mean[k][p];
        longest = fmax(longest, sqrt(length));
    }
    double logit_error = 4 * rounding * sqrt(squares) * longest / variance;
    return noise / variance * (8 * rounding * (sqrt(squares) + longest) + logit_error / 4 * longest);
}

/* Central differences of the truth's own log density and score: the closed forms are its derivatives. */
static void check_derivatives(const Truth *diffused, const TruthMatrix inverse, const double *x,
                              const double *v) {
    const double h = 1e-5; /* error h^2 times a third derivative near 1e4, and 1e-16 of 1e4 over h */
    double weights[TRUTH_MODES], score[TRUTH_PIXELS], product[TRUTH_PIXELS], moved[TRUTH_PIXELS];
    double up[TRUTH_PIXELS], down[TRUTH_PIXELS];
    size_t bytes = (size_t)diffused->pixels * sizeof *x;
    truth_score(diffused, inverse, x, score);
    truth_hessian_product(diffused, inverse, x, v, product);
    memcpy(moved, x, bytes);
    for (int p = 0; p < diffused->pixels; p++) {
        moved[p] = x[p] + h;
        double above = truth_weigh(diffused, inverse, moved, weights);
        moved[p] = x[p] - h;
        double below = truth_weigh(diffused, inverse, moved, weights);
        moved[p] = x[p];
        CHECK_NEAR((above - below) / (2 * h), score[p], 1e-5);
    }
    for (int p = 0; p < diffused->pixels; p++)
        moved[p] = x[p] + h * v[p];
    truth_score(diffused, inverse, moved, up);
    for (int p = 0; p < diffused->pixels; p++)
        moved[p] = x[p] - h * v[p];
    truth_score(diffused, inverse, moved, down);
    for (int p = 0; p < diffused->pixels; p++)
        CHECK_NEAR((up[p] - down[p]) / (2 * h), product[p], 1e-4);
}

/* One t: eps_hat = -s grad log p_t and product = -s Hessian v, s = sqrt(1 - abar); J is symmetric. */
static void check_time(const Prior *prior, const Truth *truth, const Schedule *schedule, Denoiser *denoiser,
                       int64_t t, double *worst) {
    float x[BATCH * TRUTH_PIXELS], v[BATCH * TRUTH_PIXELS], times[BATCH], eps_hat[BATCH * TRUTH_PIXELS],
        product[BATCH * TRUTH_PIXELS];
    int64_t pixels = prior_pixels(prior);
    double a = schedule->alpha_bar[t], noise = sqrt(1 - a);
    Truth diffused = truth_diffused(truth, a);
    TruthMatrix inverse;
    truth_invert(diffused.pixels, diffused.covariance, inverse);
    for (uint32_t n = 0; n < BATCH; n++) {
        prior_case_noised(prior, schedule, t, n, x + n * pixels);
        rng_fill_normal(rng_key(3, RNG_TEST, 0, n), v + n * pixels, pixels);
        times[n] = (float)t;
    }
    CHECK_OK(denoiser->eps_hat(denoiser, 0, x, times, eps_hat));
    CHECK_OK(denoiser->vjp(denoiser, 0, v, product));
    for (int n = 0; n < BATCH; n++) {
        double at[TRUTH_PIXELS], along[TRUTH_PIXELS], score[TRUTH_PIXELS], hessian[TRUTH_PIXELS];
        for (int p = 0; p < pixels; p++) {
            at[p] = x[n * pixels + p];
            along[p] = v[n * pixels + p];
        }
        truth_score(&diffused, inverse, at, score);
        truth_hessian_product(&diffused, inverse, at, along, hessian);
        double tolerance = tolerance_of(&diffused, noise, at);
        for (int p = 0; p < pixels; p++) {
            CHECK_NEAR(eps_hat[n * pixels + p], -noise * score[p], tolerance);
            /* one more factor: (length / variance)-fold differences of means multiply the weights' error */
            CHECK_NEAR(product[n * pixels + p], -noise * hessian[p], 40 * tolerance);
            worst[0] = fmax(worst[0], fabs(eps_hat[n * pixels + p] + noise * score[p]) / tolerance);
            worst[1] = fmax(worst[1], fabs(product[n * pixels + p] + noise * hessian[p]) / tolerance);
        }
        if (n == 0)
            check_derivatives(&diffused, inverse, at, along);
    }
}

static void test_denoiser(const Backend *backend, const Schedule *schedule, int kind) {
    Prior *prior = prior_case(kind);
    Denoiser denoiser;
    Truth truth;
    char text[200];
    double worst[2] = {0, 0};
    truth_create(&PRIOR_CASES[kind], &prior_case_images, &truth);
    CHECK_OK(prior_denoiser_create(prior, schedule, backend, BATCH, 2, &denoiser));
    CHECK(prior_denoiser_bytes(&denoiser) > 2 * BATCH * 3 * prior_pixels(prior) * (int64_t)sizeof(float));
    for (int i = 0; i < 4; i++)
        check_time(prior, &truth, schedule, &denoiser, TIMES[i], worst);
    printf("%s\n  largest error, of the tolerance for eps_hat: eps_hat %.2g, its product %.2g\n",
           prior_describe(prior, text), worst[0], worst[1]);
    prior_denoiser_release(&denoiser);
    prior_destroy(prior);
}

/* Every sample's bits are those it has alone, in any slot, beside any neighbours, of any worker. */
static void test_slots(const Backend *backend, const Schedule *schedule, int kind) {
    enum { LARGE = 11 };
    Prior *prior = prior_case(kind);
    Denoiser alone, block;
    int64_t pixels = prior_pixels(prior);
    float x[LARGE * TRUTH_PIXELS], times[LARGE], eps_hat[LARGE * TRUTH_PIXELS], single[TRUTH_PIXELS];
    float v[LARGE * TRUTH_PIXELS], product[LARGE * TRUTH_PIXELS], single_product[TRUTH_PIXELS];
    CHECK_OK(prior_denoiser_create(prior, schedule, backend, 1, 1, &alone));
    CHECK_OK(prior_denoiser_create(prior, schedule, backend, LARGE, 2, &block));
    for (int turn = 0; turn < LARGE; turn++) {
        for (uint32_t n = 0; n < LARGE; n++) {
            int64_t slot = (n + turn) % LARGE, t = TIMES[n % 4];
            prior_case_noised(prior, schedule, t, n, x + slot * pixels);
            rng_fill_normal(rng_key(3, RNG_TEST, 0, n), v + slot * pixels, pixels);
            times[slot] = (float)t;
        }
        CHECK_OK(block.eps_hat(&block, turn % 2, x, times, eps_hat));
        CHECK_OK(block.vjp(&block, turn % 2, v, product));
        CHECK_OK(alone.eps_hat(&alone, 0, x, times, single));
        CHECK_OK(alone.vjp(&alone, 0, v, single_product));
        CHECK(memcmp(single, eps_hat, (size_t)pixels * sizeof *single) == 0);
        CHECK(memcmp(single_product, product, (size_t)pixels * sizeof *single) == 0);
        for (int n = 0; n < LARGE; n++) { /* slot turn + 1 holds what slot 0 alone will hold next */
            CHECK_OK(alone.eps_hat(&alone, 0, x + n * pixels, times + n, single));
            CHECK(memcmp(single, eps_hat + n * pixels, (size_t)pixels * sizeof *single) == 0);
        }
    }
    prior_denoiser_release(&alone);
    prior_denoiser_release(&block);
    prior_destroy(prior);
}

/* The size of the real thing: 784 pixels, tau 0.2, t = 0, between two modes. Its logits are differences of
 * numbers near 1e4, in float; they shall be good to 1e-2. Then so is, at a quarter, the weight w of either
 * mode, and eps_hat = s (x - sqrt(a) (w m_1 + (1 - w) m_2)) / v. */
static void test_large_empirical(const Backend *backend, const Schedule *schedule) {
    enum { SIDE = 28, LARGE = SIDE * SIDE, COUNT = 400 };
    static uint8_t pixels[COUNT * LARGE], labels[COUNT];
    static float x[BATCH * LARGE], eps_hat[BATCH * LARGE], times[BATCH];
    const PriorImages large = {COUNT, SIDE, SIDE, pixels, labels};
    const PriorSettings settings = {.name = "empirical", .images = COUNT, .tau = 0.2};
    Prior *prior = NULL;
    Denoiser denoiser;
    double a = schedule->alpha_bar[0], v = a * 0.04 + 1 - a, worst = 0;
    for (uint32_t n = 0; n < COUNT; n++) /* a fifth of the pixels inked */
        for (uint32_t p = 0; p < LARGE; p++)
            pixels[n * LARGE + p] = rng_bounded(rng_key(4, RNG_TEST, 0, n), p, 5) > 0
                                        ? 0
                                        : (uint8_t)rng_bounded(rng_key(4, RNG_TEST, 1, n), p, 256);
    CHECK_OK(prior_create(&settings, &large, &prior));
    CHECK_OK(prior_denoiser_create(prior, schedule, backend, BATCH, 1, &denoiser));
    for (uint32_t n = 0; n < BATCH; n++)
        for (uint32_t p = 0; p < LARGE; p++)
            x[n * LARGE + p] = (float)(sqrt(a) *
                                       ((pixels[2 * n * LARGE + p] / 127.5 - 1) +
                                        (pixels[(2 * n + 1) * LARGE + p] / 127.5 - 1)) /
                                       2);
    CHECK_OK(denoiser.eps_hat(&denoiser, 0, x, times, eps_hat));
    for (int n = 0; n < BATCH; n++) {
        double distance[2] = {0, 0}, w;
        for (int m = 0; m < 2; m++) /* the others are a distance of 100 tau away */
            for (int p = 0; p < LARGE; p++) {
                double d = x[n * LARGE + p] - sqrt(a) * (pixels[(2 * n + m) * LARGE + p] / 127.5 - 1);
                distance[m] += d * d;
            }
        w = 1 / (1 + exp((distance[0] - distance[1]) / (2 * v)));
        for (int p = 0; p < LARGE; p++) {
            double first = pixels[2 * n * LARGE + p] / 127.5 - 1;
            double second = pixels[(2 * n + 1) * LARGE + p] / 127.5 - 1;
            double expected = sqrt(1 - a) * (x[n * LARGE + p] - sqrt(a) * (w * first + (1 - w) * second)) / v;
            double tolerance = sqrt(1 - a) / v * (1e-2 / 4 * fabs(first - second) + 1e-6);
            CHECK_NEAR(eps_hat[n * LARGE + p], expected, tolerance);
            worst = fmax(worst, fabs(eps_hat[n * LARGE + p] - expected) / tolerance * 1e-2);
        }
    }
    printf("784 pixels, %d modes, t = 0: logits good to %.1g\n", COUNT, worst);
    prior_denoiser_release(&denoiser);
    prior_destroy(prior);
}

int main(void) {
    const Backend *backend = backend_find("cpu");
    Schedule *schedule = prior_case_schedule();
    prior_cases_fill();
    for (int kind = 0; kind < PRIOR_CASE_COUNT; kind++) {
        test_denoiser(backend, schedule, kind);
        test_denoiser(backend_find("cpu_reference"), schedule, kind);
        test_slots(backend, schedule, kind);
    }
    test_large_empirical(backend, schedule);
    schedule_destroy(schedule);
    return test_result();
}
