/* The reverse step of a backend and the vector that guides it, against formulas in double.
 *
 * test_reverse            the CPU's
 * test_reverse BACKEND    another backend's; exit status 77 if there is no device for it */
#include "test.h"

#include <float.h>

#include "core/rng.h"
#include "kernels/backend.h"
#include "routines_rig.h"
#include "test_backend.h"

enum { PIXELS = 301, SAMPLES = 3 };

static float test_normal(uint32_t sequence, int64_t element) {
    float four[4];
    rng_normals(rng_key(2024, RNG_TEST, 0, sequence), (uint32_t)(element / 4), four);
    return four[element % 4];
}

/* Three samples of a reverse step; the middle one has no observation. */
typedef struct ReverseCase {
    float x[SAMPLES * PIXELS], eps_hat[SAMPLES * PIXELS], u[SAMPLES * PIXELS], product[SAMPLES * PIXELS];
    float y[PIXELS], mask[PIXELS];
    const float *masks[SAMPLES], *ys[SAMPLES];
} ReverseCase;

static const uint64_t reverse_seeds[SAMPLES] = {11, 12, 0x123456789abcdefull};
static const uint32_t reverse_samples[SAMPLES] = {4, 4, 9};
enum { REVERSE_T = 42 };

static void fill_case(ReverseCase *c, bool observed) {
    for (int i = 0; i < SAMPLES * PIXELS; i++) {
        c->x[i] = test_normal(30, i);
        c->eps_hat[i] = test_normal(31, i);
        c->u[i] = test_normal(33, i);
        c->product[i] = test_normal(34, i);
    }
    for (int i = 0; i < PIXELS; i++) {
        c->mask[i] = (float)(rng_integer(rng_key(5, RNG_TEST, 0, 0), (uint32_t)i) & 1);
        c->y[i] = c->mask[i] != 0 ? test_normal(32, i) : NAN; /* never read where not observed */
    }
    for (int n = 0; n < SAMPLES; n++) {
        c->masks[n] = observed && n != 1 ? c->mask : NULL;
        c->ys[n] = observed && n != 1 ? c->y : NULL;
    }
}

static double case_x0_hat(const ReverseStep *step, const ReverseCase *c, int at) {
    return (double)step->from_x * (double)c->x[at] + (double)step->from_eps * (double)c->eps_hat[at];
}

/* ReverseStep's formulas for pixel i of sample n; three normals of this pixel. */
static double case_next(const ReverseStep *step, const ReverseCase *c, bool guided, int n, int i, double z,
                        double xi, double again) {
    const int at = n * PIXELS + i;
    const bool seen = c->masks[n] && c->mask[i] != 0;
    double x0_hat = case_x0_hat(step, c, at), before = c->x[at];
    double residual = seen ? c->y[i] - x0_hat : 0, x0 = step->projection && seen ? c->y[i] : x0_hat;
    double next = (double)step->mean_x0 * x0 + (double)step->mean_x * before + (double)step->gain * residual +
                  (double)step->sigma * z;
    if (guided && c->masks[n])
        next += (double)step->guidance *
                ((double)step->from_x * c->u[at] + (double)step->from_eps * c->product[at]);
    if (step->replacement && seen)
        next = (double)step->replace_y * (double)c->y[i] + (double)step->replace_noise * xi;
    return step->renoise_noise != 0 ? (double)step->renoise_x * next + (double)step->renoise_noise * again
                                    : next;
}

static void check_reverse(const Backend *backend, const ReverseStep *step, bool observed, bool guided) {
    static ReverseCase c;
    static float x[SAMPLES * PIXELS], z[PIXELS], xi[PIXELS], again[PIXELS];
    fill_case(&c, observed);
    memcpy(x, c.x, sizeof x);
    ReverseArguments arguments = {.samples = SAMPLES,
                                  .pixels = PIXELS,
                                  .step = step,
                                  .seeds = reverse_seeds,
                                  .rng_samples = reverse_samples,
                                  .rng_step = REVERSE_T,
                                  .eps_hat = c.eps_hat,
                                  .mask = c.masks,
                                  .observed = c.ys,
                                  .x = x,
                                  .residual = guided ? c.u : NULL,
                                  .product = guided ? c.product : NULL};
    CHECK_OK(rig_reverse(backend, &arguments));
    for (int n = 0; n < SAMPLES; n++) {
        const uint64_t seed = reverse_seeds[n];
        const uint32_t sample = reverse_samples[n];
        rng_fill_normal(rng_key(seed, RNG_SAMPLE_NOISE, REVERSE_T, sample), z, PIXELS);
        rng_fill_normal(rng_key(seed, RNG_REPLACEMENT_NOISE, REVERSE_T, sample), xi, PIXELS);
        rng_fill_normal(rng_key(seed, RNG_RENOISE, REVERSE_T, sample), again, PIXELS);
        for (int i = 0; i < PIXELS; i++) {
            double next = case_next(step, &c, guided, n, i, z[i], xi[i], again[i]);
            /* fifteen roundings of terms that stay below 20 with the coefficients used here */
            CHECK_NEAR(x[n * PIXELS + i], next, 15 * FLT_EPSILON * 20);
        }
    }
}

static void test_reverse(const Backend *backend) {
    const ReverseStep ancestral = {
        .from_x = 1.25f, .from_eps = -0.75f, .mean_x0 = 0.125f, .mean_x = 0.875f, .sigma = 0.1f};
    ReverseStep step = ancestral;
    check_reverse(backend, &step, false, false);
    check_reverse(backend, &step, true, false);
    step.gain = 0.6f; /* guided */
    check_reverse(backend, &step, true, false);
    step.projection = true;
    check_reverse(backend, &step, true, false);
    step.replacement = true; /* the report's stack */
    step.replace_y = 0.9f;
    step.replace_noise = 0.43f;
    check_reverse(backend, &step, true, false);
    step.gain = 0;
    step.projection = false; /* replacement only */
    check_reverse(backend, &step, true, false);
    step.renoise_x = 0.99f; /* repaint */
    step.renoise_noise = 0.14f;
    check_reverse(backend, &step, true, false);
    check_reverse(backend, &step, false, false);
    step.sigma = step.replace_noise = step.renoise_noise = 0; /* the last step */
    check_reverse(backend, &step, true, false);
    check_reverse(backend, &step, false, false);
    step = ancestral;
    step.guidance = 0.7f; /* through the Jacobian */
    check_reverse(backend, &step, true, true);
    check_reverse(backend, &step, false, true);
    step.gain = 0.3f;
    check_reverse(backend, &step, true, true);
}

static void check_residual(const Backend *backend, const ReverseStep *step, bool observed) {
    static ReverseCase c;
    static float u[SAMPLES * PIXELS];
    fill_case(&c, observed);
    memset(u, 0xff, sizeof u); /* NaN: everything must be overwritten */
    ResidualArguments arguments = {.samples = SAMPLES,
                                   .pixels = PIXELS,
                                   .step = step,
                                   .x = c.x,
                                   .eps_hat = c.eps_hat,
                                   .mask = c.masks,
                                   .observed = c.ys,
                                   .residual = u};
    CHECK_OK(rig_residual(backend, &arguments));
    for (int n = 0; n < SAMPLES; n++) {
        double expected[PIXELS], squares = 0;
        for (int i = 0; i < PIXELS; i++) {
            bool seen = c.masks[n] && c.mask[i] != 0;
            expected[i] = seen ? c.y[i] - case_x0_hat(step, &c, n * PIXELS + i) : 0;
            squares += expected[i] * expected[i];
        }
        double scale = step->normalise && squares > 0 ? 1 / sqrt(squares) : 1;
        for (int i = 0; i < PIXELS; i++) /* four roundings of terms below 10; the norm's are averaged out */
            CHECK_NEAR(u[n * PIXELS + i], scale * expected[i],
                       scale * 4 * FLT_EPSILON * 10 + FLT_EPSILON * fabs(scale * expected[i]));
    }
}

static void test_residual(const Backend *backend) {
    ReverseStep step = {.from_x = 1.25f, .from_eps = -0.75f};
    check_residual(backend, &step, true);
    check_residual(backend, &step, false);
    step.normalise = true;
    check_residual(backend, &step, true);
    check_residual(backend, &step, false); /* a norm of 0 */
}

int main(int argc, char **argv) {
    const Backend *backend = test_backend_start(argc > 1 ? argv[1] : "cpu", NULL);
    printf("backend %s: %s\n", backend->name, backend->description);
    test_reverse(backend);
    test_residual(backend);
    test_backend_stop(backend);
    return test_result();
}
