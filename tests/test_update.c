/* What follows the gradient: collecting the shards' losses and flags, clipping, AdamW, against formulas in
 * double.
 *
 * test_update            the CPU's
 * test_update BACKEND    another backend's; exit status 77 if there is no device for it */
#include <float.h>

#include "core/rng.h"
#include "kernels/cpu/kernels_cpu.h"
#include "routines_rig.h"
#include "test.h"
#include "test_backend.h"

static float test_normal(uint32_t sequence, int64_t element) {
    float four[4];
    rng_normals(rng_key(2024, RNG_TEST, 0, sequence), (uint32_t)(element / 4), four);
    return four[element % 4];
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
        sum[i] = llrint((double)test_normal(6, i) * 0x1p50);
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

/* The nearest of the two neighbours with 8 bits of mantissa, the even one of two equally near. */
static float nearest_bf16(float value) {
    int exponent;
    (void)frexp((double)value, &exponent);
    double unit = ldexp(1, exponent - 8);
    if (exponent < -125) /* below the normal numbers the spacing stays */
        unit = 0x1p-133;
    return (float)(nearbyint((double)value / unit) * unit);
}

static void test_bf16(const Backend *backend) {
    enum { COUNT = 3001, SPECIAL = 8 };
    static float values[COUNT], gradient[COUNT];
    static uint16_t halves[COUNT];
    const float special[SPECIAL] = {0, -0.0f, 1, 0x1.01p0f, 0x1.03p0f, -0x1.01p0f, FLT_TRUE_MIN, INFINITY};
    const UpdatePiece piece = {0, COUNT, 0};
    double squares = NAN, expected = 0;
    for (int i = 0; i < COUNT; i++)
        values[i] = i < SPECIAL ? special[i] : ldexpf(test_normal(8, i), i % 200 - 130);
    CHECK_OK(rig_narrow(backend, halves, values, COUNT));
    UpdateArguments a = {
        .piece_count = 1, .pieces = &piece, .squares = &squares, .bf16 = halves, .gradient = gradient};
    values[SPECIAL - 1] = 1;
    halves[SPECIAL - 1] = 0x3f80;
    CHECK_OK(rig_update(backend, backend->finish_gradient, &a, COUNT, 0));
    for (int i = 0; i < COUNT; i++) {
        CHECK(gradient[i] == nearest_bf16(values[i]));
        expected += (double)gradient[i] * (double)gradient[i];
    }
    CHECK_NEAR(squares, expected, COUNT * DBL_EPSILON * expected);
    const float odd[3] = {INFINITY, -INFINITY, NAN};
    CHECK_OK(rig_narrow(backend, halves, odd, 3));
    CHECK(halves[0] == 0x7f80 && halves[1] == 0xff80 && (halves[2] & 0x7f80) == 0x7f80 && halves[2] & 0x7f);
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

int main(int argc, char **argv) {
    const Backend *backend = test_backend_start(argc > 1 ? argv[1] : "cpu", NULL);
    test_collect(backend);
    test_finish_gradient(backend);
    test_bf16(backend);
    test_plan_update(backend);
    test_adamw(backend);
    test_backend_stop(backend);
    return test_result();
}
