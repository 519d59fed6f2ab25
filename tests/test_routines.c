/* The fused routines of a backend against formulas in double.
 *
 * test_routines            the CPU's
 * test_routines BACKEND    another backend's; exit status 77 if there is no device for it */
#include "test.h"

#include <float.h>

#include "core/rng.h"
#include "kernels/backend.h"
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

/* Losses of good shards are added, the others counted. */
static void test_collect(const Backend *backend) {
    enum { SHARDS = 7 };
    const BatchInput batch = {.count = 96, .stop = 1, .limit = 5};
    ShardTotals shards[SHARDS] = {{3, 0}, {0.1, 0}, {7.7, 0}, {480, 0}, {1e-9, 0}, {0, 0}, {0.3, 0}};
    int64_t tail[TAIL_COUNT] = {1, 2, 3, 4}, expected = 0;
    for (int i = 0; i < SHARDS; i++)
        expected += llrint(shards[i].loss_sum / 96 * 0x1p50);
    CHECK_OK(rig_collect(backend, shards, SHARDS, &batch, tail));
    CHECK(tail[TAIL_LOSS] == expected && tail[TAIL_BAD] == 0 && tail[TAIL_STOP] == 1);
    CHECK(tail[TAIL_FIRST_BAD] == -1);
    shards[2].bad = 1; /* a gradient's */
    shards[3].loss_sum = 481;
    shards[6].loss_sum = NAN;
    for (int i = 2; i < SHARDS; i++)
        expected -= i == 2 ? llrint(7.7 / 96 * 0x1p50) : i == 3 ? llrint(5 * 0x1p50) : 0;
    expected -= llrint(0.3 / 96 * 0x1p50);
    CHECK_OK(rig_collect(backend, shards, SHARDS, &batch, tail));
    CHECK(tail[TAIL_LOSS] == expected && tail[TAIL_BAD] == 3 && tail[TAIL_FIRST_BAD] == 2);
    CHECK_OK(rig_collect(backend, shards, 0, &batch, tail)); /* a rank without shards */
    CHECK(tail[TAIL_LOSS] == 0 && tail[TAIL_BAD] == 0 && tail[TAIL_FIRST_BAD] == -1);
}

/* Cuts [0, count) into pieces of at most the backend's size, of uneven lengths. */
static int64_t cut_pieces(const Backend *backend, int64_t count, UpdatePiece *pieces) {
    int64_t made = 0;
    for (int64_t at = 0; at < count; made++) {
        int64_t size = backend->piece_elements - 1000 * (made % 3), left = count - at;
        pieces[made] = (UpdatePiece){at, size < left ? size : left, made % 2};
        at += pieces[made].count;
    }
    return made;
}

static void test_finish_gradient(const Backend *backend) {
    enum { COUNT = 60011, PIECES = 200 };
    static int64_t sum[COUNT];
    static float gradient[COUNT], again[COUNT];
    static UpdatePiece pieces[PIECES];
    static double squares[PIECES], squares_again[PIECES];
    UpdateArguments arguments = {.piece_count = cut_pieces(backend, COUNT, pieces),
                                 .pieces = pieces,
                                 .squares = squares,
                                 .sums = sum,
                                 .gradient = gradient};
    CHECK(arguments.piece_count > 2 && arguments.piece_count <= PIECES);
    for (int i = 0; i < COUNT; i++)
        sum[i] = fixed_point(test_normal(6, i));
    CHECK_OK(rig_update(backend, backend->finish_gradient, &arguments, COUNT, 0));
    for (int64_t p = 0; p < arguments.piece_count; p++) {
        double expected = 0;
        for (int64_t i = pieces[p].offset; i < pieces[p].offset + pieces[p].count; i++) {
            CHECK(gradient[i] == (float)((double)sum[i] / 0x1p50));
            expected += (double)gradient[i] * (double)gradient[i];
        }
        CHECK_NEAR(squares[p], expected, (double)pieces[p].count * DBL_EPSILON * expected);
    }
    /* a gradient that is there already: the same squares */
    memcpy(again, gradient, sizeof again);
    arguments.sums = NULL;
    arguments.gradient = again;
    arguments.squares = squares_again;
    CHECK_OK(rig_update(backend, backend->finish_gradient, &arguments, COUNT, 0));
    CHECK(memcmp(again, gradient, sizeof again) == 0);
    CHECK(memcmp(squares_again, squares, (size_t)arguments.piece_count * sizeof *squares) == 0);
}

static void check_plan(const Backend *backend, UpdateArguments *a, double norm, double scale, bool apply,
                       bool failed) {
    UpdateRecord *record = &a->records[a->step->record];
    *record = (UpdateRecord){.gradient_norm = -1};
    CHECK_OK(rig_update(backend, backend->plan_update, a, 0, 3));
    CHECK(isnan(norm) ? isnan(record->gradient_norm) : record->gradient_norm == norm);
    CHECK(!apply || a->state->scale == (float)scale);
    CHECK(a->state->apply == apply && a->state->failed == failed);
    for (int i = 0; i < TAIL_COUNT; i++)
        CHECK(record->tail[i] == (a->tail ? a->tail[i] : i == TAIL_FIRST_BAD ? -1 : 0));
}

static void test_plan_update(const Backend *backend) {
    enum { PIECES = 1003 };
    static double squares[PIECES];
    int64_t tail[TAIL_COUNT] = {123456789, 0, 2, -1};
    UpdateStep step = {.clip_norm = 1, .record = 2};
    UpdateState state = {0};
    UpdateRecord records[3];
    UpdateArguments a = {.piece_count = PIECES,
                         .squares = squares,
                         .tail = tail,
                         .step = &step,
                         .state = &state,
                         .records = records};
    memset(records, 0, sizeof records);
    for (int i = 0; i < PIECES; i++) /* whole numbers: exact in any order */
        squares[i] = i % 7;
    double sum = 0;
    for (int i = 0; i < PIECES; i++)
        sum += squares[i];
    const double norm = sqrt(sum);
    check_plan(backend, &a, norm, 1 / (norm + 1e-6), true, false);
    step.clip_norm = 0;
    check_plan(backend, &a, norm, 1, true, false);
    step.clip_norm = 1e6;
    step.record = 0;
    check_plan(backend, &a, norm, 1, true, false);
    a.tail = NULL;
    check_plan(backend, &a, norm, 1, true, false);
    a.tail = tail;
    tail[TAIL_BAD] = 1;
    check_plan(backend, &a, norm, 1, false, true);
    tail[TAIL_BAD] = 0; /* an earlier one failed: none is applied */
    check_plan(backend, &a, norm, 1, false, true);
    state = (UpdateState){0};
    squares[PIECES - 1] = NAN;
    check_plan(backend, &a, NAN, 1, false, true);
    state = (UpdateState){0};
    squares[PIECES - 1] = INFINITY;
    check_plan(backend, &a, INFINITY, 1, false, true);
    CHECK(records[1].gradient_norm == 0); /* not asked for */
}

/* Ten steps of torch.optim.AdamW's formulas in double, in two pieces of which one decays. */
static void test_adamw(const Backend *backend) {
    enum { COUNT = 703, SPLIT = 300 };
    static float p[COUNT], m[COUNT], v[COUNT], ema[COUNT], gradient[COUNT];
    static float cpu[4][COUNT]; /* parameter, m, v, ema */
    static double dp[COUNT], dm[COUNT], dv[COUNT], dema[COUNT];
    const double lr = 2e-3, b1 = 0.9, b2 = 0.999, eps = 1e-8, decay = 0.99, scale = 0.5, wd = 0.01;
    const UpdatePiece pieces[2] = {{0, SPLIT, 0}, {SPLIT, COUNT - SPLIT, 1}};
    UpdateState state = {.scale = (float)scale, .apply = 1};
    for (int i = 0; i < COUNT; i++) {
        dp[i] = dema[i] = p[i] = ema[i] = test_normal(7, i);
        dm[i] = dv[i] = m[i] = v[i] = 0;
    }
    for (int number = 1; number <= 11; number++) {
        state.apply = number <= 10; /* the last one changes nothing */
        for (int i = 0; i < COUNT; i++)
            gradient[i] = test_normal((uint32_t)(10 + number), i) * 0.01f;
        double c1 = 1 - pow(b1, number), c2 = sqrt(1 - pow(b2, number));
        UpdateStep step = update_step(&(UpdateRates){lr, b1, b2, eps, wd, c1, c2, decay, 1});
        UpdateArguments arguments = {.piece_count = 2,
                                     .pieces = pieces,
                                     .step = &step,
                                     .state = &state,
                                     .gradient = gradient,
                                     .parameter = p,
                                     .m = m,
                                     .v = v,
                                     .ema = ema};
        UpdateArguments on_cpu = arguments;
        on_cpu.parameter = memcpy(cpu[0], p, sizeof p);
        on_cpu.m = memcpy(cpu[1], m, sizeof m);
        on_cpu.v = memcpy(cpu[2], v, sizeof v);
        on_cpu.ema = memcpy(cpu[3], ema, sizeof ema);
        CHECK_OK(rig_update(backend, backend->adamw, &arguments, COUNT, 0));
        CHECK_OK(cpu_adamw(&on_cpu)); /* the same bits everywhere */
        CHECK(memcmp(cpu[0], p, sizeof p) == 0 && memcmp(cpu[1], m, sizeof m) == 0);
        CHECK(memcmp(cpu[2], v, sizeof v) == 0 && memcmp(cpu[3], ema, sizeof ema) == 0);
        for (int i = 0; state.apply && i < COUNT; i++) {
            double g = scale * (double)gradient[i];
            dp[i] *= 1 - lr * (i >= SPLIT ? wd : 0);
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

static void check_reverse(const Backend *backend, const ReverseStep *step, bool observed) {
    static float x[SAMPLES * PIXELS], eps_hat[SAMPLES * PIXELS], start[SAMPLES * PIXELS];
    static float y[PIXELS], mask[PIXELS], z[PIXELS], xi[PIXELS];
    const uint64_t seeds[SAMPLES] = {11, 12, 0x123456789abcdefull};
    const uint32_t rng_samples[SAMPLES] = {4, 4, 9};
    /* the middle sample has no observation */
    const float *masks[SAMPLES] = {mask, NULL, mask}, *ys[SAMPLES] = {y, NULL, y};
    const uint32_t t = 42;
    for (int i = 0; i < SAMPLES * PIXELS; i++) {
        start[i] = x[i] = test_normal(30, i);
        eps_hat[i] = test_normal(31, i);
    }
    for (int i = 0; i < PIXELS; i++) {
        mask[i] = (float)(rng_integer(rng_key(5, RNG_TEST, 0, 0), (uint32_t)i) & 1);
        y[i] = mask[i] != 0 ? test_normal(32, i) : NAN; /* never read where not observed */
    }
    const float *const none[SAMPLES] = {NULL, NULL, NULL};
    ReverseArguments arguments = {
        SAMPLES, PIXELS, step, seeds, rng_samples, t, eps_hat, observed ? masks : none, observed ? ys : none,
        x};
    CHECK_OK(rig_reverse(backend, &arguments));
    for (int n = 0; n < SAMPLES; n++) {
        rng_fill_normal(rng_key(seeds[n], RNG_SAMPLE_NOISE, t, rng_samples[n]), z, PIXELS);
        rng_fill_normal(rng_key(seeds[n], RNG_REPLACEMENT_NOISE, t, rng_samples[n]), xi, PIXELS);
        for (int i = 0; i < PIXELS; i++) {
            bool seen = observed && n != 1 && mask[i] != 0;
            double before = start[n * PIXELS + i];
            double x0_hat =
                (double)step->from_x * before + (double)step->from_eps * (double)eps_hat[n * PIXELS + i];
            double residual = seen ? y[i] - x0_hat : 0, x0 = step->projection && seen ? y[i] : x0_hat;
            double next = (double)step->mean_x0 * x0 + (double)step->mean_x * before +
                          (double)step->gain * residual + (double)step->sigma * (double)z[i];
            if (step->replacement && seen)
                next = (double)step->replace_y * (double)y[i] + (double)step->replace_noise * (double)xi[i];
            /* ten roundings of terms that stay below 20 with the coefficients used here */
            CHECK_NEAR(x[n * PIXELS + i], next, 10 * FLT_EPSILON * 20);
        }
    }
}

static void test_reverse(const Backend *backend) {
    const ReverseStep ancestral = {
        .from_x = 1.25f, .from_eps = -0.75f, .mean_x0 = 0.125f, .mean_x = 0.875f, .sigma = 0.1f};
    ReverseStep step = ancestral;
    check_reverse(backend, &step, false);
    check_reverse(backend, &step, true);
    step.gain = 0.6f; /* guided */
    check_reverse(backend, &step, true);
    step.projection = true;
    check_reverse(backend, &step, true);
    step.replacement = true; /* the report's stack */
    step.replace_y = 0.9f;
    step.replace_noise = 0.43f;
    check_reverse(backend, &step, true);
    step.gain = 0;
    step.projection = false; /* replacement only */
    check_reverse(backend, &step, true);
    step.sigma = 0;
    step.replace_noise = 0; /* the last step */
    check_reverse(backend, &step, true);
    check_reverse(backend, &step, false);
}

int main(int argc, char **argv) {
    const Backend *backend = test_backend_start(argc > 1 ? argv[1] : "cpu", NULL);
    printf("backend %s: %s\n", backend->name, backend->description);
    test_noise(backend);
    test_timesteps(backend);
    test_loss(backend);
    test_accumulate(backend);
    test_collect(backend);
    test_finish_gradient(backend);
    test_plan_update(backend);
    test_adamw(backend);
    test_reverse(backend);
    test_backend_stop(backend);
    return test_result();
}
