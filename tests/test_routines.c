/* The fused routines of a backend and the vector exponential against formulas in double.
 *
 * test_routines            the CPU's
 * test_routines BACKEND    another backend's; exit status 77 if there is no device for it */
#include "test.h"

#include <float.h>
#include <limits.h>

#include "core/rng.h"
#include "kernels/backend.h"
#include "kernels/cpu/kernels_cpu.h"
#include "kernels/cpu/simd.h"
#include "routines_rig.h"
#include "test_backend.h"

enum { PIXELS = 301, SAMPLES = 3, STEPS = 300 };

static float test_normal(uint32_t sequence, int64_t element) {
    float four[4];
    rng_normals(rng_key(2024, RNG_TEST, 0, sequence), (uint32_t)(element / 4), four);
    return four[element % 4];
}

/* Distance in units in the last place of the expected value. */
static double ulps(float value, double expected) {
    double unit = nextafterf((float)fabs(expected), INFINITY) - (float)fabs(expected);
    return fabs(value - expected) / unit;
}

static void test_exp(void) {
    const int count = 1 << 20;
    double worst = 0;
    for (int i = 0; i < count; i++) {
        float x = -87.3f + (float)i / (float)count * (88.3f + 87.3f);
        float error = (float)ulps(simd_exp(simd_set(x))[i % SIMD_LANES], exp((double)x));
        worst = error > worst ? error : worst;
    }
    CHECK(worst < 2); /* what simd.h promises */
    CHECK(simd_exp(simd_set(0))[3] == 1);
    CHECK(isnan(simd_exp(simd_set(NAN))[0]));
    CHECK(isnan(simd_sigmoid(simd_set(NAN))[0]) && isnan(simd_silu_slope(simd_set(NAN))[0]));
    CHECK(isnan(simd_exp((SimdFloat){0, NAN})[1]) && simd_exp((SimdFloat){0, NAN})[0] == 1);
    CHECK(simd_exp(simd_set(INFINITY))[0] > 1e38f && isfinite(simd_exp(simd_set(1e30f))[0]));
    CHECK(simd_exp(simd_set(-INFINITY))[0] < 1.3e-38f && simd_exp(simd_set(-INFINITY))[0] > 0);
    for (int i = -400; i <= 400; i++) {
        double x = i / 8.0, s = 1 / (1 + exp(-x)), slope = s + x * s * (1 - s);
        /* exp within 2 ulp, then an addition and a division of half an ulp each */
        CHECK_NEAR(simd_sigmoid(simd_set((float)x))[0], s, 3 * FLT_EPSILON * s);
        /* three more roundings of terms of at most (1 + |x|) s; the slope itself crosses zero */
        CHECK_NEAR(simd_silu_slope(simd_set((float)x))[0], slope, 8 * FLT_EPSILON * (1 + fabs(x)) * s);
    }
}

#ifdef SIMD16_COMPILED
SIMD16_BEGIN
static int count_differences(void) {
    int differences = 0;
    for (int i = -100000; i <= 100000; i++) {
        float x = (float)i * 1.1e-3f, y = simd16_exp(simd16_set(x))[3] - simd_exp(simd_set(x))[5];
        float slope = simd16_silu_slope(simd16_set(x))[15] - simd_silu_slope(simd_set(x))[0];
        differences += !(y == 0 && slope == 0);
    }
    return differences;
}
SIMD16_END
#endif

/* Sixteen lanes compute the same bits as eight. */
static void test_wide_vectors(void) {
#ifdef SIMD16_COMPILED
    if (simd16_available())
        CHECK(count_differences() == 0);
#endif
}

/* Relative. On the host the same functions give the same bits; a device's logarithm is off by one unit in the
 * last place, which the root halves, its sine and cosine by two, and the product is rounded. */
static double normal_tolerance(const Backend *backend) {
    return backend->host_memory ? 0 : 6 * FLT_EPSILON;
}

static void test_noise(const Backend *backend) {
    static uint8_t image[SAMPLES][PIXELS];
    static float x_t[SAMPLES * PIXELS], eps[SAMPLES * PIXELS], t[SAMPLES], expected[PIXELS];
    float signal[STEPS], noise[STEPS];
    const uint32_t rng_samples[SAMPLES] = {17, 5, 99};
    const uint8_t *images[SAMPLES] = {image[0], NULL, image[2]};
    for (int i = 0; i < STEPS; i++) {
        signal[i] = sqrtf(1 - (float)i / STEPS);
        noise[i] = sqrtf((float)i / STEPS);
    }
    for (int n = 0; n < SAMPLES; n++)
        for (int i = 0; i < PIXELS; i++)
            image[n][i] = (uint8_t)(rng_integer(rng_key(1, RNG_TEST, 1, (uint32_t)n), (uint32_t)i) >> 24);
    NoiseArguments arguments = {
        .samples = SAMPLES,
        .pixels = PIXELS,
        .images = images,
        .rng_samples = rng_samples,
        .seed = 7,
        .rng_step = 12,
        .timestep_stream = RNG_VALIDATION_TIMESTEP,
        .noise_stream = RNG_VALIDATION_NOISE,
        .steps = STEPS,
        .sqrt_alpha_bar = signal,
        .sqrt_one_minus_alpha_bar = noise,
        .x_t = x_t,
        .eps = eps,
        .t = t,
    };
    memset(x_t, 0xff, sizeof x_t); /* NaN: everything must be overwritten */
    memset(eps, 0xff, sizeof eps);
    memset(t, 0xff, sizeof t);
    CHECK_OK(rig_noise(backend, &arguments));
    for (int n = 0; n < SAMPLES; n++) {
        uint32_t step = rng_bounded(rng_key(7, RNG_VALIDATION_TIMESTEP, 12, rng_samples[n]), 0, STEPS);
        rng_fill_normal(rng_key(7, RNG_VALIDATION_NOISE, 12, rng_samples[n]), expected, PIXELS);
        CHECK(t[n] == (images[n] ? (float)step : 0));
        for (int i = 0; i < PIXELS; i++) {
            float e = images[n] ? expected[i] : 0;
            double x0 = image[n][i] / 127.5 - 1;
            double x = images[n] ? (double)signal[step] * x0 + (double)noise[step] * (double)e : 0;
            CHECK_NEAR(eps[n * PIXELS + i], e, normal_tolerance(backend) * fabs((double)e));
            e = eps[n * PIXELS + i];
            CHECK_NEAR(x_t[n * PIXELS + i], x, 4 * FLT_EPSILON * (1 + fabs((double)e))); /* five roundings */
        }
    }
}

/* Timesteps of many samples: integers made of the generator's integers, equal everywhere. */
static void test_timesteps(const Backend *backend) {
    enum { MANY = 3000, FEW = 3 };
    static float x_t[MANY * FEW], eps[MANY * FEW], t[MANY], table[STEPS];
    static uint32_t rng_samples[MANY];
    static const uint8_t *images[MANY];
    const uint8_t image[FEW] = {0, 100, 255};
    const uint64_t seed = 0x9e3779b97f4a7c15ull;
    int64_t different = 0;
    for (int n = 0; n < MANY; n++) {
        images[n] = image;
        rng_samples[n] = (uint32_t)n * 2654435761u;
    }
    NoiseArguments arguments = {.samples = MANY,
                                .pixels = FEW,
                                .images = images,
                                .rng_samples = rng_samples,
                                .seed = seed,
                                .rng_step = UINT32_MAX,
                                .timestep_stream = RNG_TIMESTEP,
                                .noise_stream = RNG_TRAINING_NOISE,
                                .steps = STEPS,
                                .sqrt_alpha_bar = table,
                                .sqrt_one_minus_alpha_bar = table,
                                .x_t = x_t,
                                .eps = eps,
                                .t = t};
    CHECK_OK(rig_noise(backend, &arguments));
    for (int n = 0; n < MANY; n++)
        different +=
            t[n] != (float)rng_bounded(rng_key(seed, RNG_TIMESTEP, UINT32_MAX, rng_samples[n]), 0, STEPS);
    CHECK(different == 0);
}

static void test_loss(const Backend *backend) {
    static float eps[SAMPLES * PIXELS], eps_hat[SAMPLES * PIXELS], gradient[SAMPLES * PIXELS];
    double sum = NAN, expected = 0, without = NAN;
    const int real = 2, batch = 96;
    for (int i = 0; i < SAMPLES * PIXELS; i++) {
        eps[i] = test_normal(1, i);
        eps_hat[i] = i < real * PIXELS ? test_normal(2, i) : NAN; /* padding is not looked at */
        gradient[i] = NAN;
        if (i < real * PIXELS)
            expected += pow((double)eps[i] - (double)eps_hat[i], 2) / PIXELS;
    }
    LossArguments arguments = {SAMPLES, real, PIXELS, batch, eps, eps_hat, gradient, &sum};
    CHECK_OK(rig_loss(backend, &arguments));
    CHECK_NEAR(sum, expected, SAMPLES * PIXELS * DBL_EPSILON * expected);
    for (int i = 0; i < SAMPLES * PIXELS; i++) {
        double slope = i < real * PIXELS ? 2 * ((double)eps_hat[i] - (double)eps[i]) / (PIXELS * batch) : 0;
        CHECK_NEAR(gradient[i], slope, FLT_EPSILON * fabs(slope)); /* one rounding to float */
    }
    arguments.d_eps_hat = NULL;
    arguments.loss_sum = &without;
    CHECK_OK(rig_loss(backend, &arguments));
    CHECK(without == sum);
    eps_hat[3] = NAN;
    CHECK_OK(rig_loss(backend, &arguments));
    CHECK(isnan(without));
}

/* round-to-nearest-even of v * 2^50, by exact integer arithmetic on the bits of v */
static int64_t fixed_point(float v) {
    int exponent;
    int64_t mantissa = (int64_t)ldexp(frexp(fabs((double)v), &exponent), FLT_MANT_DIG);
    int shift = exponent - FLT_MANT_DIG + 50;
    int64_t result;
    if (shift >= 0)
        result = mantissa << shift;
    else if (shift < -62)
        result = 0;
    else {
        int64_t unit = (int64_t)1 << -shift, rest = mantissa % unit;
        result = mantissa / unit;
        if (2 * rest > unit || (2 * rest == unit && result % 2 == 1))
            result++;
    }
    return v < 0 ? -result : result;
}

static void check_accumulate(const Backend *backend, const float *values, int count, float limit) {
    enum { LARGEST = 4096 };
    static int64_t sum[LARGEST], start[LARGEST];
    bool bad = false, expect_bad = false;
    for (int i = 0; i < count; i++)
        sum[i] = start[i] = (int64_t)(test_normal(3, i) * 1e15f);
    CHECK_OK(rig_accumulate(backend, sum, values, count, limit, &bad));
    for (int i = 0; i < count; i++) {
        bool good = fabsf(values[i]) <= limit;
        expect_bad |= !good;
        int64_t added = sum[i] - start[i], expected = good ? fixed_point(values[i]) : 0;
        if (added != expected) {
            printf("value %a, limit %g: added %lld, expected %lld\n", (double)values[i], (double)limit,
                   (long long)added, (long long)expected);
            test_failures++;
            return;
        }
    }
    CHECK(bad == expect_bad);
}

static void test_accumulate(const Backend *backend) {
    enum { COUNT = 4003 };
    static float values[COUNT];
    const float unit = 0x1p-50f;
    for (int i = 0; i < COUNT; i++) /* magnitudes from far below a unit to 2^11 */
        values[i] =
            ldexpf(test_normal(4, i), (int)(rng_integer(rng_key(3, RNG_TEST, 0, 0), (uint32_t)i) % 80) - 70);
    check_accumulate(backend, values, COUNT, 8000);
    check_accumulate(backend, values, COUNT, 0.5f);
    for (int i = 0; i < COUNT; i++)
        values[i] = test_normal(5, i) * 0.01f;
    check_accumulate(backend, values, COUNT, 8000);
    for (int i = 0; i < COUNT; i++) /* halves, ties to even, both signs */
        values[i] = (float)(i - COUNT / 2) * unit / 2;
    check_accumulate(backend, values, COUNT, 8000);

    const float special[] = {1,    -1,    0x1.fffffep-1f, 1.5f,         -0.0f, 0,
                             8000, -8000, FLT_MIN,        FLT_TRUE_MIN, -2,    4095.5f};
    check_accumulate(backend, special, 12, 8000);
    check_accumulate(backend, special, 12, 1);
    check_accumulate(backend, special, 12, 0.25f);
    /* among values of the fast path, at its start, at its end and behind it */
    const float wrong[] = {NAN, INFINITY, -INFINITY, 8192, -FLT_MAX, 8000.5f};
    const int places[] = {0, 63, 64, 100, 149};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
            float some[150] = {0.5f, 0.25f, 0.125f};
            some[places[k]] = wrong[i];
            check_accumulate(backend, some, 150, 8000);
        }
    /* a limit beyond int64: refused, not wrapped */
    int64_t sum = 0;
    bool bad = false;
    float large = 8192;
    CHECK_OK(rig_accumulate(backend, &sum, &large, 1, FLT_MAX, &bad));
    CHECK(bad && sum == 0);
    /* the flag is never cleared */
    large = 1;
    CHECK_OK(rig_accumulate(backend, &sum, &large, 1, 2, &bad));
    CHECK(bad && sum == (int64_t)1 << 50);
}

static void test_finish_gradient(const Backend *backend) {
    enum { COUNT = 20011 };
    static int64_t sum[COUNT];
    static float gradient[COUNT];
    double squares = NAN, expected = 0;
    for (int i = 0; i < COUNT; i++)
        sum[i] = fixed_point(test_normal(6, i));
    CHECK_OK(rig_finish_gradient(backend, gradient, sum, COUNT, &squares));
    for (int i = 0; i < COUNT; i++) {
        CHECK(gradient[i] == (float)((double)sum[i] / 0x1p50));
        expected += (double)gradient[i] * (double)gradient[i];
    }
    CHECK_NEAR(squares, expected, COUNT * DBL_EPSILON * expected);
}

/* Ten steps of torch.optim.AdamW's formulas in double. */
static void test_adamw(const Backend *backend, float weight_decay) {
    enum { COUNT = 203 };
    static float p[COUNT], m[COUNT], v[COUNT], ema[COUNT], gradient[COUNT];
    static float cpu[4][COUNT]; /* parameter, m, v, ema */
    static double dp[COUNT], dm[COUNT], dv[COUNT], dema[COUNT];
    const double lr = 2e-3, b1 = 0.9, b2 = 0.999, eps = 1e-8, decay = 0.99, scale = 0.5;
    for (int i = 0; i < COUNT; i++) {
        dp[i] = dema[i] = p[i] = ema[i] = test_normal(7, i);
        dm[i] = dv[i] = m[i] = v[i] = 0;
    }
    for (int step = 1; step <= 10; step++) {
        for (int i = 0; i < COUNT; i++)
            gradient[i] = test_normal((uint32_t)(10 + step), i) * 0.01f;
        double c1 = 1 - pow(b1, step), c2 = sqrt(1 - pow(b2, step));
        AdamWArguments arguments = {
            .count = COUNT,
            .gradient = gradient,
            .parameter = p,
            .m = m,
            .v = v,
            .ema = ema,
            .gradient_scale = scale,
            .learning_rate = lr,
            .beta1 = b1,
            .beta2 = b2,
            .epsilon = eps,
            .weight_decay = weight_decay,
            .bias_correction1 = c1,
            .bias_correction2_sqrt = c2,
            .ema_decay = decay,
        };
        AdamWArguments on_cpu = arguments;
        on_cpu.parameter = memcpy(cpu[0], p, sizeof p);
        on_cpu.m = memcpy(cpu[1], m, sizeof m);
        on_cpu.v = memcpy(cpu[2], v, sizeof v);
        on_cpu.ema = memcpy(cpu[3], ema, sizeof ema);
        CHECK_OK(rig_adamw(backend, &arguments));
        CHECK_OK(cpu_adamw(&on_cpu)); /* the same bits everywhere */
        CHECK(memcmp(cpu[0], p, sizeof p) == 0 && memcmp(cpu[1], m, sizeof m) == 0);
        CHECK(memcmp(cpu[2], v, sizeof v) == 0 && memcmp(cpu[3], ema, sizeof ema) == 0);
        for (int i = 0; i < COUNT; i++) {
            double g = scale * (double)gradient[i];
            dp[i] *= 1 - lr * (double)weight_decay;
            dm[i] = b1 * dm[i] + (1 - b1) * g;
            dv[i] = b2 * dv[i] + (1 - b2) * g * g;
            dp[i] -= lr / c1 * dm[i] / (sqrt(dv[i]) / c2 + eps);
            dema[i] += (1 - decay) * (dp[i] - dema[i]);
        }
    }
    for (int i = 0; i < COUNT; i++) {
        /* ten steps of a few roundings each */
        CHECK_NEAR(p[i], dp[i], 40 * FLT_EPSILON * (1 + fabs(dp[i])));
        CHECK_NEAR(ema[i], dema[i], 40 * FLT_EPSILON * (1 + fabs(dp[i])));
        CHECK_NEAR(m[i], dm[i], 40 * FLT_EPSILON * 0.01);
        CHECK_NEAR(v[i], dv[i], 40 * FLT_EPSILON * dv[i]);
    }
}

int main(int argc, char **argv) {
    const Backend *backend = test_backend_start(argc > 1 ? argv[1] : "cpu", NULL);
    if (backend->host_memory) {
        test_exp();
        test_wide_vectors();
    }
    printf("backend %s: %s\n", backend->name, backend->description);
    test_noise(backend);
    test_timesteps(backend);
    test_loss(backend);
    test_accumulate(backend);
    test_finish_gradient(backend);
    test_adamw(backend, 0);
    test_adamw(backend, 0.01f);
    test_backend_stop(backend);
    return test_result();
}
