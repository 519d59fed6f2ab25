/* Exact priors against their definitions in double precision (prior_truth.h): draws, labels, posteriors; and
 * that every rank gets the same bits. */
#include "tests/test.h"

#include "comm/comm.h"
#include "core/rng.h"
#include "diffusion/mask.h"
#include "diffusion/posterior.h"
#include "tests/prior_rig.h"
#include "tests/prior_truth.h"

/* ---- draws and labels ---- */

/* Sums over draws, for means and covariances with their standard errors. */
typedef struct Sums {
    int64_t count;
    double first[TRUTH_PIXELS];
    TruthMatrix second, squared; /* of (x_p - mean_p) (x_q - mean_q) */
} Sums;

static void add_draw(Sums *sums, int pixels, const float *x, const double *mean) {
    sums->count++;
    for (int p = 0; p < pixels; p++) {
        sums->first[p] += x[p] - mean[p];
        for (int q = 0; q < pixels; q++) {
            double product = (x[p] - mean[p]) * (x[q] - mean[q]);
            sums->second[p][q] += product;
            sums->squared[p][q] += product * product;
        }
    }
}

/* Within 5 standard errors: of some 7000 numbers checked one in 250 runs would be outside, and the seeds are
 * fixed. */
static void check_sums(const Sums *sums, int pixels, const TruthMatrix covariance) {
    double count = (double)sums->count;
    for (int p = 0; p < pixels; p++) {
        CHECK_NEAR(sums->first[p] / count, 0, 5 * sqrt(covariance[p][p] / count));
        for (int q = 0; q <= p; q++) {
            double mean = sums->second[p][q] / count;
            double error = sqrt((sums->squared[p][q] / count - mean * mean) / count);
            CHECK_NEAR(mean, covariance[p][q], 5 * error);
        }
    }
}

static void check_frequencies(const int64_t *found, int64_t count, const double *expected, int labels) {
    for (int k = 0; k < labels; k++) /* 5 standard errors, and 5 of the rare ones */
        CHECK_NEAR((double)found[k], (double)count * expected[k],
                   5 * sqrt((double)count * expected[k] * (1 - expected[k])) + 5);
}

static void sum_labels(const Truth *truth, const double *weights, double *sums) {
    memset(sums, 0, (size_t)truth->labels * sizeof *sums);
    for (int k = 0; k < truth->modes; k++)
        sums[truth->label[k]] += weights[k];
}

static void test_draws(int kind) {
    enum { DRAWS = 20000, CLASSIFIED = 1000 };
    static float together[CLASSIFIED * TRUTH_PIXELS];
    int read[CLASSIFIED], labels[CLASSIFIED];
    Prior *prior = prior_case(kind);
    Truth truth;
    static Sums sums;
    TruthMatrix covariance, inverse;
    float x[TRUTH_PIXELS];
    double mean[TRUTH_PIXELS], at[TRUTH_PIXELS], weights[TRUTH_MODES], expected[PRIOR_MAX_LABELS];
    int64_t found[PRIOR_MAX_LABELS] = {0};
    truth_create(&PRIOR_CASES[kind], &prior_case_images, &truth);
    truth_moments(&truth, mean, covariance);
    truth_invert(truth.pixels, truth.covariance, inverse);
    memset(&sums, 0, sizeof sums);
    CHECK(prior_pixels(prior) == truth.pixels && prior_labels(prior) == truth.labels);
    for (uint32_t n = 0; n < DRAWS; n++) {
        int label = -1;
        CHECK_OK(prior_draw(prior, 9, n, x, &label));
        add_draw(&sums, truth.pixels, x, mean);
        found[label]++;
        if (n >= CLASSIFIED)
            continue;
        CHECK_OK(prior_classify(prior, 1, x, &read[n]));
        memcpy(together + n * truth.pixels, x, (size_t)truth.pixels * sizeof *x);
        for (int p = 0; p < truth.pixels; p++)
            at[p] = x[p];
        truth_weigh(&truth, inverse, at, weights);
        sum_labels(&truth, weights, expected);
        for (int k = 0; k < truth.labels; k++) /* ties apart */
            CHECK(expected[k] <= expected[read[n]] + 1e-4);
    }
    CHECK_OK(prior_classify(prior, CLASSIFIED, together, labels)); /* 62 blocks of 16 and one of 8 */
    CHECK(memcmp(labels, read, sizeof read) == 0);
    check_sums(&sums, truth.pixels, covariance);
    sum_labels(&truth, truth.weight, expected);
    check_frequencies(found, DRAWS, expected, truth.labels);
    prior_destroy(prior);
}

/* ---- exact posteriors ---- */

static void check_posterior(const Prior *prior, const Truth *truth, double fraction, uint64_t mask_seed) {
    enum { DRAWS = 10000 };
    const double sigma_y = 0.1;
    static Sums sums;
    ObservationSettings settings = {fraction, mask_seed, sigma_y, true, 7};
    Observation *observation = NULL;
    ExactPosterior *posterior = NULL;
    float x[TRUTH_PIXELS];
    double mean[TRUTH_PIXELS], weights[PRIOR_MAX_LABELS], expected[PRIOR_MAX_LABELS];
    TruthMatrix covariance;
    int64_t found[PRIOR_MAX_LABELS] = {0};
    memset(&sums, 0, sizeof sums);
    CHECK_OK(prior_draw(prior, 11, (uint32_t)mask_seed, x, NULL));
    CHECK_OK(observation_create_from(&settings, x, prior_height(prior), prior_width(prior), 0, &observation));
    CHECK(memcmp(observation->truth, x, (size_t)truth->pixels * sizeof *x) == 0);
    Truth given = truth_posterior(truth, observation->mask, observation->y, sigma_y);
    truth_moments(&given, mean, covariance);
    sum_labels(&given, given.weight, expected);
    CHECK_OK(exact_posterior_create(prior, observation->mask, sigma_y, &posterior));
    CHECK_OK(exact_posterior_observe(posterior, observation->y));
    exact_posterior_label_weights(posterior, weights);
    /* means are floats, 3e-8 of 1 off; times 30 pixels' residual / variance of at most 50 */
    for (int k = 0; k < truth->labels; k++)
        CHECK_NEAR(weights[k], expected[k], 5e-5);
    for (uint32_t n = 0; n < DRAWS; n++) {
        int label = -1;
        CHECK_OK(exact_posterior_draw(posterior, 13, n, x, &label));
        add_draw(&sums, truth->pixels, x, mean);
        found[label]++;
    }
    check_sums(&sums, truth->pixels, covariance);
    check_frequencies(found, DRAWS, expected, truth->labels);
    observation->y[0] = observation->mask[0] > 0 ? NAN : 0;
    if (observation->mask[0] > 0)
        CHECK_ERROR(exact_posterior_observe(posterior, observation->y), STATUS_BAD_INPUT, "pixel 0 is");
    exact_posterior_destroy(posterior);
    observation_destroy(observation);
}

static void test_posterior(int kind) {
    Prior *prior = prior_case(kind);
    Truth truth;
    truth_create(&PRIOR_CASES[kind], &prior_case_images, &truth);
    check_posterior(prior, &truth, 0.5, 1);
    check_posterior(prior, &truth, 0.1, 2);
    prior_destroy(prior);
}

/* The mixture is a test of mode weights: of its ten modes several remain where half the pixels are observed.
 */
static void test_mixture_is_ambiguous(void) {
    enum { TRUTHS = 400 };
    Prior *prior = NULL;
    PriorSettings settings = PRIOR_CASES[CASE_MIXTURE];
    double effective = 0, largest = 0;
    for (uint32_t n = 0; n < TRUTHS; n++) {
        ObservationSettings half = {0.5, n, 0.1, true, 7};
        Observation *observation = NULL;
        ExactPosterior *posterior = NULL;
        double weights[PRIOR_MAX_LABELS], entropy = 0;
        float x[TRUTH_PIXELS];
        settings.seed = n / 20;
        CHECK_OK(prior_create(&settings, NULL, &prior));
        CHECK_OK(prior_draw(prior, 1, n, x, NULL));
        CHECK_OK(observation_create_from(&half, x, 4, 4, n, &observation));
        CHECK_OK(exact_posterior_create(prior, observation->mask, 0.1, &posterior));
        CHECK_OK(exact_posterior_observe(posterior, observation->y));
        exact_posterior_label_weights(posterior, weights);
        for (int k = 0; k < 10; k++) {
            entropy -= weights[k] > 0 ? weights[k] * log(weights[k]) : 0;
            largest += weights[k] * weights[k] / TRUTHS;
        }
        effective += exp(entropy) / TRUTHS;
        exact_posterior_destroy(posterior);
        observation_destroy(observation);
        prior_destroy(prior);
    }
    printf("mixture, half observed: %.2f effective modes of 10, a mode guessed right %.2f of the time\n",
           effective, largest);
    CHECK(effective >= 2 && effective <= 4);
}

/* ---- ranks ---- */

/* Order-dependent hash (FNV-1a) of bytes. */
static uint64_t hash(uint64_t value, const void *data, size_t bytes) {
    const unsigned char *byte = data;
    for (size_t i = 0; i < bytes; i++)
        value = (value ^ byte[i]) * 1099511628211u;
    return value;
}

/* Everything a prior computes, as one number. */
static uint64_t fingerprint(const Prior *prior, const Backend *backend, const Schedule *schedule) {
    float x[TRUTH_PIXELS], result[TRUTH_PIXELS], mask[TRUTH_PIXELS] = {0}, t = 120;
    double weights[PRIOR_MAX_LABELS];
    size_t bytes = (size_t)prior_pixels(prior) * sizeof *x;
    uint64_t value = 1469598103934665603u;
    Denoiser denoiser;
    ExactPosterior *posterior = NULL;
    prior_case_noised(prior, schedule, 120, 0, x);
    value = hash(value, x, bytes);
    CHECK_OK(prior_denoiser_create(prior, schedule, backend, 1, 1, &denoiser));
    CHECK_OK(denoiser.eps_hat(&denoiser, 0, x, &t, result));
    value = hash(value, result, bytes);
    CHECK_OK(mask_fill(1, 0.5, prior_pixels(prior), mask));
    CHECK_OK(exact_posterior_create(prior, mask, 0.1, &posterior));
    CHECK_OK(exact_posterior_observe(posterior, x));
    exact_posterior_label_weights(posterior, weights);
    value = hash(value, weights, (size_t)prior_labels(prior) * sizeof *weights);
    CHECK_OK(exact_posterior_draw(posterior, 1, 0, x, NULL));
    value = hash(value, x, bytes);
    prior_denoiser_release(&denoiser);
    exact_posterior_destroy(posterior);
    return value;
}

static void test_broadcast(Comm *comm, const Backend *backend, const Schedule *schedule, int kind) {
    Prior *prior = comm_rank(comm) == 0 ? prior_case(kind) : NULL;
    CHECK_OK(prior_broadcast(comm, &prior));
    uint64_t value = fingerprint(prior, backend, schedule);
    int64_t lowest = (int64_t)(value >> 1), highest = lowest;
    CHECK_OK(comm_allreduce_i64(comm, &lowest, 1, COMM_MIN));
    CHECK_OK(comm_allreduce_i64(comm, &highest, 1, COMM_MAX));
    CHECK(lowest == highest);
    CHECK(prior_bytes(prior) > 0);
    prior_destroy(prior);
}

/* ---- errors ---- */

static void test_errors(const Backend *backend, const Schedule *schedule) {
    Prior *prior = NULL;
    ExactPosterior *posterior = NULL;
    Denoiser denoiser;
    Backend device = *backend;
    uint8_t labels[PRIOR_CASE_IMAGES];
    PriorImages damaged = prior_case_images;
    PriorSettings settings = PRIOR_CASES[CASE_MIXTURE];
    float x[TRUTH_PIXELS] = {0}, eps_hat[TRUTH_PIXELS], t = PRIOR_CASE_STEPS;
    settings.name = "laplace";
    CHECK_ERROR(prior_create(&settings, NULL, &prior), STATUS_BAD_INPUT, "found \"laplace\"");
    settings = PRIOR_CASES[CASE_MIXTURE];
    settings.tau = -1;
    CHECK_ERROR(prior_create(&settings, NULL, &prior), STATUS_BAD_INPUT, "prior.tau");
    settings.tau = NAN;
    CHECK_ERROR(prior_create(&settings, NULL, &prior), STATUS_BAD_INPUT, "prior.tau");
    settings = PRIOR_CASES[CASE_MIXTURE];
    settings.separation = NAN;
    CHECK_ERROR(prior_create(&settings, NULL, &prior), STATUS_BAD_INPUT,
                "prior.separation: expected 0 or more");
    settings.separation = 6;
    settings.modes = PRIOR_MAX_LABELS + 1;
    CHECK_ERROR(prior_create(&settings, NULL, &prior), STATUS_BAD_INPUT, "prior.modes");
    settings.side = 0;
    CHECK_ERROR(prior_create(&settings, NULL, &prior), STATUS_BAD_INPUT, "prior.side");
    settings = PRIOR_CASES[CASE_GAUSSIAN];
    settings.correlation = 1;
    CHECK_ERROR(prior_create(&settings, NULL, &prior), STATUS_BAD_INPUT, "prior.correlation");
    settings = PRIOR_CASES[CASE_GAUSSIAN];
    settings.side = 33;
    CHECK_ERROR(prior_create(&settings, NULL, &prior), STATUS_BAD_INPUT, "at most 1024 pixels");
    settings = PRIOR_CASES[CASE_EMPIRICAL];
    settings.images = PRIOR_CASE_IMAGES + 1;
    CHECK_ERROR(prior_create(&settings, &prior_case_images, &prior), STATUS_BAD_INPUT, "1 to 200");
    CHECK_ERROR(prior_create(&settings, NULL, &prior), STATUS_BAD_INPUT, "training images");
    memset(labels, 10, sizeof labels);
    damaged.labels = labels;
    CHECK_ERROR(prior_create(&PRIOR_CASES[CASE_CLASSES], &damaged, &prior), STATUS_BAD_INPUT,
                "image 0: expected 0 to 9, found 10");
    CHECK(prior == NULL && prior_needs_images("empirical") && !prior_needs_images("mixture"));
    prior = prior_case(1);
    CHECK_ERROR(exact_posterior_create(prior, x, 0, &posterior), STATUS_BAD_INPUT, "posterior.sigma_y");
    device.host_memory = false;
    CHECK_ERROR(prior_denoiser_create(prior, schedule, &device, 1, 1, &denoiser), STATUS_BAD_INPUT,
                "run on the CPU");
    prior_denoiser_release(&denoiser);
    CHECK_OK(prior_denoiser_create(prior, schedule, backend, 1, 1, &denoiser));
    CHECK_ERROR(denoiser.eps_hat(&denoiser, 0, x, &t, eps_hat), STATUS_FAILURE, "expected 0 to 299");
    prior_denoiser_release(&denoiser);
    prior_destroy(prior);
}

int main(void) {
    Comm *comm = NULL;
    const Backend *backend = backend_find("cpu");
    Schedule *schedule = prior_case_schedule();
    CHECK_OK(comm_create(&comm));
    prior_cases_fill();
    for (int kind = 0; kind < PRIOR_CASE_COUNT; kind++)
        test_broadcast(comm, backend, schedule, kind);
    for (int kind = 0; kind < PRIOR_CASE_COUNT && comm_size(comm) == 1; kind++) {
        test_draws(kind);
        test_posterior(kind);
    }
    if (comm_size(comm) == 1) {
        test_mixture_is_ambiguous();
        test_errors(backend, schedule);
    }
    schedule_destroy(schedule);
    comm_destroy(comm);
    return test_result();
}
