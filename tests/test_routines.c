/* The fused routines of a backend against formulas in double.
 *
 * test_routines            the CPU's
 * test_routines BACKEND    another backend's; exit status 77 if there is no device for it */
#include "test.h"

#include <float.h>

#include "core/rng.h"
#include "kernels/backend.h"
#include "kernels/bf16.h"
#include "kernels/cpu/kernels_cpu.h"
#include "routines_rig.h"
#include "test_backend.h"

enum { PIXELS = 301, SAMPLES = 3, STEPS = 300 };

static float test_normal(uint32_t sequence, int64_t element) {
    float four[4];
    rng_normals(rng_key(2024, RNG_TEST, 0, sequence), (uint32_t)(element / 4), four);
    return four[element % 4];
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
    const BatchSlot slots[SAMPLES] = {{2, 17}, {BATCH_PADDING, 5}, {0, 99}};
    const BatchInput batch = {.count = 2, .rng_step = 12};
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
        .batch = &batch,
        .slots = slots,
        .images = image[0],
        .seed = 7,
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
    CHECK_OK(rig_noise(backend, &arguments, SAMPLES));
    for (int n = 0; n < SAMPLES; n++) {
        bool real = slots[n].image != BATCH_PADDING;
        const uint8_t *pixels = real ? image[slots[n].image] : image[0];
        uint32_t step = rng_bounded(rng_key(7, RNG_VALIDATION_TIMESTEP, 12, slots[n].rng_sample), 0, STEPS);
        rng_fill_normal(rng_key(7, RNG_VALIDATION_NOISE, 12, slots[n].rng_sample), expected, PIXELS);
        CHECK(t[n] == (real ? (float)step : 0));
        for (int i = 0; i < PIXELS; i++) {
            float e = real ? expected[i] : 0;
            double x0 = pixels[i] / 127.5 - 1;
            double x = real ? (double)signal[step] * x0 + (double)noise[step] * (double)e : 0;
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
    static BatchSlot slots[MANY];
    const BatchInput batch = {.count = MANY, .rng_step = UINT32_MAX};
    const uint8_t image[FEW] = {0, 100, 255};
    const uint64_t seed = 0x9e3779b97f4a7c15ull;
    int64_t different = 0;
    for (int n = 0; n < MANY; n++)
        slots[n].rng_sample = (uint32_t)n * 2654435761u;
    NoiseArguments arguments = {.samples = MANY,
                                .pixels = FEW,
                                .batch = &batch,
                                .slots = slots,
                                .images = image,
                                .seed = seed,
                                .timestep_stream = RNG_TIMESTEP,
                                .noise_stream = RNG_TRAINING_NOISE,
                                .steps = STEPS,
                                .sqrt_alpha_bar = table,
                                .sqrt_one_minus_alpha_bar = table,
                                .x_t = x_t,
                                .eps = eps,
                                .t = t};
    CHECK_OK(rig_noise(backend, &arguments, 1));
    for (int n = 0; n < MANY; n++)
        different += t[n] != (float)rng_bounded(rng_key(seed, RNG_TIMESTEP, UINT32_MAX, slots[n].rng_sample),
                                                0, STEPS);
    CHECK(different == 0);
}

static void test_loss(const Backend *backend) {
    static float eps[SAMPLES * PIXELS], eps_hat[SAMPLES * PIXELS], gradient[SAMPLES * PIXELS];
    double sum = NAN, expected = 0, without = NAN;
    enum { REAL = 2 };
    const BatchSlot slots[SAMPLES] = {{4, 0}, {9, 1}, {BATCH_PADDING, 2}};
    const BatchInput batch = {.count = 96};
    for (int i = 0; i < SAMPLES * PIXELS; i++) {
        eps[i] = test_normal(1, i);
        eps_hat[i] = i < REAL * PIXELS ? test_normal(2, i) : NAN; /* padding is not looked at */
        gradient[i] = NAN;
        if (i < REAL * PIXELS)
            expected += pow((double)eps[i] - (double)eps_hat[i], 2) / PIXELS;
    }
    LossArguments arguments = {SAMPLES, PIXELS, &batch, slots, eps, eps_hat, gradient, &sum};
    CHECK_OK(rig_loss(backend, &arguments));
    CHECK_NEAR(sum, expected, SAMPLES * PIXELS * DBL_EPSILON * expected);
    for (int i = 0; i < SAMPLES * PIXELS; i++) {
        double slope = i < REAL * PIXELS
                           ? 2 * ((double)eps_hat[i] - (double)eps[i]) / (PIXELS * (double)batch.count)
                           : 0;
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
    int64_t bad = 0;
    bool expect_bad = false;
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
    CHECK(bad == (expect_bad ? 1 : 0));
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
    int64_t sum = 0, bad = 0;
    float large = 8192;
    CHECK_OK(rig_accumulate(backend, &sum, &large, 1, FLT_MAX, &bad));
    CHECK(bad && sum == 0);
    /* the flag is never cleared */
    large = 1;
    CHECK_OK(rig_accumulate(backend, &sum, &large, 1, 2, &bad));
    CHECK(bad && sum == (int64_t)1 << 50);
}

/* laid[k, o, tap, i] of `layout` and plain[o, i, tap], by their definition; pieces of the table are
 * converted each way, in two calls, and nothing else is touched (the rig's guards). Sums of parts: in double
 * and rounded once; the order is the CPU's, whose bits a device must give. */
static void check_layout(const Backend *backend, ParameterLayout layout) {
    const int64_t first = 7, plain_count = layout.outer * layout.inner * layout.taps;
    const int64_t laid_count = layout.parts * plain_count;
    float *plain = NULL, *found = NULL, *back = NULL, *laid = NULL;
    CHECK_OK(ALLOCATE(&plain, first + plain_count));
    CHECK_OK(ALLOCATE(&back, first + plain_count));
    CHECK_OK(ALLOCATE(&laid, laid_count));
    CHECK_OK(ALLOCATE(&found, laid_count));
    for (int64_t i = 0; i < first + plain_count; i++) {
        plain[i] = test_normal(6, i);
        back[i] = NAN;
    }
    if (layout.parts == 1)
        CHECK_OK(rig_layout(backend, &layout, first, plain, first + plain_count, found, false));
    for (int64_t k = 0; k < layout.parts; k++)
        for (int64_t o = 0; o < layout.outer; o++)
            for (int64_t tap = 0; tap < layout.taps; tap++)
                for (int64_t i = 0; i < layout.inner; i++) {
                    int64_t at = ((k * layout.outer + o) * layout.taps + tap) * layout.inner + i;
                    float value = plain[first + (o * layout.inner + i) * layout.taps + tap];
                    laid[at] = k == 0 ? value : test_normal((uint32_t)(100 + k), at);
                    laid[at] = layout.type == DATA_BF16 ? bf16_value(bf16_of(laid[at])) : laid[at];
                }
    CHECK(layout.parts > 1 || memcmp(found, laid, (size_t)laid_count * sizeof *laid) == 0);
    CHECK_OK(rig_layout(backend, &layout, first, back, first + plain_count, laid, true));
    for (int64_t o = 0; o < layout.outer; o++)
        for (int64_t i = 0; i < layout.inner; i++)
            for (int64_t tap = 0; tap < layout.taps; tap++) {
                double rows[LAYOUT_SUM_ROWS] = {0}, sum = 0;
                for (int64_t k = 0; k < layout.parts; k++)
                    rows[k % LAYOUT_SUM_ROWS] +=
                        laid[((k * layout.outer + o) * layout.taps + tap) * layout.inner + i];
                for (int row = 0; row < LAYOUT_SUM_ROWS; row++)
                    sum += rows[row];
                CHECK(back[first + (o * layout.inner + i) * layout.taps + tap] == (float)sum);
            }
    for (int64_t i = 0; i < first; i++)
        CHECK(isnan(back[i]));
    free(plain);
    free(found);
    free(back);
    free(laid);
}

static void test_layouts(const Backend *backend) {
    const ParameterLayout layouts[] = {
        {1, 5, 3, 9, DATA_F32},      {1, 3, 70, 9, DATA_BF16},
        {1, 2, 600, 9, DATA_BF16},   {1, 4, 256, 16, DATA_F32},
        {1, 2, 300, 16, DATA_BF16},  {1, 1, 9001, 1, DATA_F32},
        {1, 64, 130, 1, DATA_BF16},  {1, 1, 2, LAYOUT_PIECE_ELEMENTS, DATA_F32},
        {3, 1, 5, 1, DATA_F32},      {40, 2, 50, 1, DATA_F32},
        {129, 1, 577, 1, DATA_BF16},
    };
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        check_layout(backend, layouts[i]);
}

int main(int argc, char **argv) {
    const Backend *backend = test_backend_start(argc > 1 ? argv[1] : "cpu", NULL);
    printf("backend %s: %s\n", backend->name, backend->description);
    test_noise(backend);
    test_timesteps(backend);
    test_loss(backend);
    test_accumulate(backend);
    test_layouts(backend);
    test_backend_stop(backend);
    return test_result();
}
