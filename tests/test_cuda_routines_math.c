/* The arithmetic of the CUDA backend's fused routines, compiled for the host: against the CPU backend's
 * routines bit for bit, since both promise the same order of roundings, and against plain formulas. No GPU is
 * needed. */
#include <float.h>

#include "core/rng.h"
#include "kernels/cpu/kernels_cpu.h"
#include "kernels/cuda/layout_math.h"
#include "kernels/cuda/routines_math.h"
#include "test.h"

enum { COUNT = 1009, PIXELS = 97, SHADES = 256, STEPS = 50 };

static float test_normal(uint32_t sequence, int64_t element) {
    float four[4];
    rng_normals(rng_key(77, RNG_TEST, 0, sequence), (uint32_t)(element / 4), four);
    return four[element % 4];
}

static bool same_bits(const float *a, const float *b, int64_t count) {
    return memcmp(a, b, (size_t)count * sizeof *a) == 0;
}

/* ---- AdamW ---- */

typedef struct Moments {
    float p[COUNT], m[COUNT], v[COUNT], ema[COUNT];
} Moments;

static void test_adamw(double weight_decay, double gradient_scale) {
    static Moments here, cpu;
    static double dp[COUNT], dm[COUNT], dv[COUNT], dema[COUNT];
    static float gradient[COUNT];
    const double lr = 2e-3, b1 = 0.9, b2 = 0.999, epsilon = 1e-8, decay = 0.99;
    const UpdatePiece piece = {0, COUNT, weight_decay > 0};
    UpdateState state = {.scale = (float)gradient_scale, .apply = 1};
    memset(&here, 0, sizeof here);
    for (int i = 0; i < COUNT; i++) {
        here.p[i] = here.ema[i] = test_normal(1, i);
        dp[i] = dema[i] = here.p[i];
        dm[i] = dv[i] = 0;
    }
    cpu = here;
    for (int number = 1; number <= 10; number++) {
        const double c1 = 1 - pow(b1, number), c2 = sqrt(1 - pow(b2, number));
        const UpdateStep step =
            update_step(&(UpdateRates){lr, b1, b2, epsilon, weight_decay, c1, c2, decay, 0});
        UpdateArguments arguments = {
            .piece_count = 1,
            .pieces = &piece,
            .step = &step,
            .state = &state,
            .gradient = gradient,
            .parameter = cpu.p,
            .m = cpu.m,
            .v = cpu.v,
            .ema = cpu.ema,
        };
        for (int i = 0; i < COUNT; i++) { /* also gradients of zero and ones whose square underflows */
            gradient[i] = i % 7 == 0 ? 0 : ldexpf(test_normal((uint32_t)(10 + number), i), -(i % 80));
            double g = gradient_scale * (double)gradient[i];
            dm[i] = b1 * dm[i] + (1 - b1) * g;
            dv[i] = b2 * dv[i] + (1 - b2) * g * g;
            dp[i] = dp[i] * (1 - lr * weight_decay) - lr / c1 * dm[i] / (sqrt(dv[i]) / c2 + epsilon);
            dema[i] += (1 - decay) * (dp[i] - dema[i]);
        }
        CHECK_OK(cpu_adamw(&arguments));
        for (int i = 0; i < COUNT; i++)
            adamw_element(&step, state.scale, step.keep[piece.decay], gradient[i], &here.p[i], &here.m[i],
                          &here.v[i], &here.ema[i]);
        CHECK(memcmp(&here, &cpu, sizeof here) == 0);
    }
    for (int i = 0; i < COUNT; i++) {
        if (i % 80 > 50)
            continue; /* v is no normal float: only the comparison of bits above counts */
        /* ten steps of a few roundings each */
        CHECK_NEAR(here.p[i], dp[i], 40 * FLT_EPSILON * (1 + fabs(dp[i])));
        CHECK_NEAR(here.ema[i], dema[i], 40 * FLT_EPSILON * (1 + fabs(dp[i])));
        CHECK_NEAR(here.v[i], dv[i], 40 * FLT_EPSILON * dv[i]);
    }
}

/* The factor of the CPU backend's plan_update. */
static void test_clipping(void) {
    const double norms[] = {0, 1e-9, 0.5, 1 - 1e-6, 1, 1.0000001, 3.7, 1e30};
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
        for (int clipped = 0; clipped < 2; clipped++) {
            double squares = norms[i] * norms[i];
            const UpdateStep step = {.clip_norm = clipped};
            UpdateState state = {0};
            UpdateRecord record;
            CHECK_OK(cpu_plan_update(&(UpdateArguments){
                .piece_count = 1, .squares = &squares, .step = &step, .state = &state, .records = &record}));
            CHECK(state.scale == (float)clipping_scale(&step, sqrt(squares)) && state.apply);
        }
}

/* ---- fixed point ---- */

/* round(v * 2^50), halves to even, by integers: v is a whole number of 2^-149. */
static int64_t exact_fixed_point(float v) {
    int exponent;
    int64_t mantissa = (int64_t)ldexp(frexp(fabs((double)v), &exponent), FLT_MANT_DIG), rounded;
    int shift = exponent - FLT_MANT_DIG + 50;
    if (shift >= 0) {
        rounded = mantissa << shift;
    } else if (shift < -FLT_MANT_DIG - 1) {
        rounded = 0;
    } else {
        int64_t unit = (int64_t)1 << -shift, rest = mantissa % unit;
        rounded = mantissa / unit;
        rounded += 2 * rest > unit || (2 * rest == unit && rounded % 2 != 0);
    }
    return v < 0 ? -rounded : rounded;
}

static void check_fixed_point(float v) {
    const float limit = FLT_MAX;
    int64_t sum = 0, bad = 0, expected = exact_fixed_point(v);
    CHECK_OK(cpu_accumulate(&sum, &v, 1, &limit, &bad));
    if (fixed_point_of(v) != expected || sum != expected || bad) {
        printf("%a: fixed point %lld, the CPU's %lld, expected %lld\n", (double)v,
               (long long)fixed_point_of(v), (long long)sum, (long long)expected);
        test_failures++;
    }
}

static void test_fixed_point(void) {
    const float special[] = {0,       -0.0f,        1,        -1,        8191.5f,  -8191.5f, 0x1p-50f,
                             FLT_MIN, FLT_TRUE_MIN, 0x1p-51f, -0x1p-51f, 0x3p-51f, 0x5p-51f, 0x1.000002p-51f};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        check_fixed_point(special[i]);
    for (int i = 0; i < 4000; i++) {
        check_fixed_point(ldexpf(test_normal(2, i), i % 80 - 70));
        check_fixed_point((float)(i - 2000) * 0x1p-51f); /* every second one a tie */
    }
    /* what is refused: more than the limit, more than int64 holds, NaN */
    CHECK(fixed_point_largest(0.5f) == 0.5f && fixed_point_largest(FLT_MAX) == 8191.5f);
    CHECK(fixed_point_largest(INFINITY) < 8192);
    CHECK(!(fabsf(NAN) <= fixed_point_largest(FLT_MAX)));
}

static void test_fixed_point_value(void) {
    static int64_t sums[COUNT];
    static float here[COUNT], cpu[COUNT];
    double squares;
    for (int i = 0; i < COUNT; i++) { /* up to the largest sums, with more bits than a double has */
        uint64_t low = rng_integer(rng_key(3, RNG_TEST, 0, 0), (uint32_t)i);
        uint64_t high = rng_integer(rng_key(3, RNG_TEST, 0, 1), (uint32_t)i);
        sums[i] = (int64_t)(high << 32 | low) >> (i % 64);
    }
    sums[0] = INT64_MAX;
    sums[1] = INT64_MIN;
    const UpdatePiece piece = {0, COUNT, 0};
    CHECK_OK(cpu_finish_gradient(&(UpdateArguments){
        .piece_count = 1, .pieces = &piece, .squares = &squares, .sums = sums, .gradient = cpu}));
    for (int i = 0; i < COUNT; i++) {
        here[i] = fixed_point_value(sums[i]);
        CHECK_NEAR(here[i], (double)((long double)sums[i] * 0x1p-50L),
                   0.51 * FLT_EPSILON * fabs((double)sums[i] * 0x1p-50)); /* to double, then to float */
    }
    CHECK(same_bits(here, cpu, COUNT));
}

/* ---- noise ---- */

static void test_noise(void) {
    static uint8_t image[SHADES];
    static float x_t[SHADES], eps[SHADES], t[1], signal[STEPS], noise[STEPS];
    const BatchSlot slot = {0, 31};
    for (int i = 0; i < SHADES; i++)
        image[i] = (uint8_t)i;
    for (int i = 0; i < STEPS; i++) {
        signal[i] = sqrtf(1 - (float)i / STEPS);
        noise[i] = sqrtf((float)i / STEPS);
    }
    for (uint32_t step = 0; step < 20; step++) {
        const BatchInput batch = {.count = 1, .rng_step = step};
        NoiseArguments arguments = {
            .samples = 1,
            .pixels = SHADES,
            .batch = &batch,
            .slots = &slot,
            .images = image,
            .seed = 5,
            .timestep_stream = RNG_TIMESTEP,
            .noise_stream = RNG_TRAINING_NOISE,
            .steps = STEPS,
            .sqrt_alpha_bar = signal,
            .sqrt_one_minus_alpha_bar = noise,
            .x_t = x_t,
            .eps = eps,
            .t = t,
        };
        CHECK_OK(cpu_noise(&arguments));
        int at = (int)t[0];
        for (int i = 0; i < SHADES; i++) {
            float x = noised_pixel(image[i], signal[at], noise[at], eps[i]);
            double expected = (double)signal[at] * (i / 127.5 - 1) + (double)noise[at] * (double)eps[i];
            CHECK(same_bits(&x, &x_t[i], 1));
            CHECK_NEAR(x, expected, 4 * FLT_EPSILON * (1 + fabs((double)eps[i]))); /* five roundings */
        }
    }
    CHECK(noised_pixel(0, 1, 0, 0) == -1 && noised_pixel(255, 1, 0, 0) == 1);
}

/* ---- reverse step ---- */

static void check_reverse(const ReverseStep *step, bool with_observation, bool guided) {
    static float x[PIXELS], before[PIXELS], eps_hat[PIXELS], y[PIXELS], mask[PIXELS], here[PIXELS];
    static float u[PIXELS], product[PIXELS];
    float z[PIXELS] = {0}, xi[PIXELS] = {0}, again[PIXELS] = {0};
    const uint64_t seed = 0xfeedfacecafef00dull;
    const uint32_t sample = 12, t = 33;
    const float *masks[1] = {mask}, *ys[1] = {y};
    for (int i = 0; i < PIXELS; i++) {
        before[i] = x[i] = test_normal(4, i);
        eps_hat[i] = test_normal(5, i);
        u[i] = test_normal(7, i);
        product[i] = test_normal(8, i);
        mask[i] = (float)(i % 3 == 0);
        y[i] = mask[i] != 0 ? test_normal(6, i) : NAN;
    }
    ReverseArguments arguments = {.samples = 1,
                                  .pixels = PIXELS,
                                  .step = step,
                                  .seeds = &seed,
                                  .rng_samples = &sample,
                                  .rng_step = t,
                                  .eps_hat = eps_hat,
                                  .mask = with_observation ? masks : NULL,
                                  .observed = with_observation ? ys : NULL,
                                  .x = x,
                                  .residual = guided ? u : NULL,
                                  .product = guided ? product : NULL};
    CHECK_OK(cpu_reverse(&arguments));
    if (step->sigma != 0)
        rng_fill_normal(rng_key(seed, RNG_SAMPLE_NOISE, t, sample), z, PIXELS);
    if (step->replacement && step->replace_noise != 0)
        rng_fill_normal(rng_key(seed, RNG_REPLACEMENT_NOISE, t, sample), xi, PIXELS);
    if (step->renoise_noise != 0)
        rng_fill_normal(rng_key(seed, RNG_RENOISE, t, sample), again, PIXELS);
    for (int i = 0; i < PIXELS; i++) {
        bool seen = with_observation && mask[i] != 0;
        float direction = guided ? reverse_x0_hat(step, u[i], product[i]) : 0;
        here[i] = with_observation ? reverse_observed(step, before[i], eps_hat[i], z[i], xi[i], direction,
                                                      seen, seen ? y[i] : 0)
                                   : reverse_unobserved(step, before[i], eps_hat[i], z[i]);
        if (step->renoise_noise != 0)
            here[i] = reverse_renoised(step, here[i], again[i]);
        double x0_hat =
            (double)step->from_x * (double)before[i] + (double)step->from_eps * (double)eps_hat[i];
        double x0 = step->projection && seen ? (double)y[i] : x0_hat;
        double residual = seen ? (double)y[i] - x0_hat : 0;
        double next = (double)step->mean_x0 * x0 + (double)step->mean_x * (double)before[i] +
                      (double)step->gain * residual + (double)step->sigma * (double)z[i];
        if (guided && with_observation)
            next += (double)step->guidance *
                    ((double)step->from_x * (double)u[i] + (double)step->from_eps * (double)product[i]);
        if (step->replacement && seen)
            next = (double)step->replace_y * (double)y[i] + (double)step->replace_noise * (double)xi[i];
        if (step->renoise_noise != 0)
            next = (double)step->renoise_x * next + (double)step->renoise_noise * (double)again[i];
        /* fifteen roundings of terms that stay below 20 with the coefficients used here */
        CHECK_NEAR(here[i], next, 15 * FLT_EPSILON * 20);
    }
    CHECK(same_bits(here, x, PIXELS));
}

static void test_reverse(void) {
    ReverseStep step = {.from_x = 1.3f, .from_eps = -0.7f, .mean_x0 = 0.11f, .mean_x = 0.86f, .sigma = 0.12f};
    for (int options = 0; options < 64; options++) {
        step.gain = options & 1 ? 0.61f : 0;
        step.projection = (options & 2) != 0;
        step.replacement = (options & 4) != 0;
        step.sigma = options & 8 ? 0.12f : 0;
        step.replace_y = 0.9f;
        step.replace_noise = options & 8 ? 0.43f : 0;
        step.renoise_x = 0.98f;
        step.renoise_noise = options & 16 ? 0.2f : 0;
        step.guidance = 0.8f;
        check_reverse(&step, true, (options & 32) != 0);
        check_reverse(&step, false, (options & 32) != 0);
    }
}

static void test_residual(bool normalise) {
    static float x[PIXELS], eps_hat[PIXELS], y[PIXELS], mask[PIXELS], here[PIXELS], cpu[PIXELS];
    const ReverseStep step = {.from_x = 1.3f, .from_eps = -0.7f, .normalise = normalise};
    const float *masks[1] = {mask}, *ys[1] = {y};
    double squares = 0;
    for (int i = 0; i < PIXELS; i++) {
        x[i] = test_normal(4, i);
        eps_hat[i] = test_normal(5, i);
        mask[i] = (float)(i % 3 == 0);
        y[i] = mask[i] != 0 ? test_normal(6, i) : NAN;
        here[i] = reverse_residual(&step, x[i], eps_hat[i], mask[i] != 0, mask[i] != 0 ? y[i] : 0);
        squares += (double)here[i] * (double)here[i];
    }
    for (int i = 0; normalise && i < PIXELS; i++)
        here[i] = normalised_residual(here[i], 1 / sqrt(squares));
    ResidualArguments arguments = {.samples = 1,
                                   .pixels = PIXELS,
                                   .step = &step,
                                   .x = x,
                                   .eps_hat = eps_hat,
                                   .mask = masks,
                                   .observed = ys,
                                   .residual = cpu};
    CHECK_OK(cpu_residual(&arguments));
    CHECK(same_bits(here, cpu, PIXELS));
}

/* ---- layouts ---- */

/* One block's work on a piece, thread after thread: every slot of the tile once. */
static void convert_piece(const LayoutPiece *piece, float *plain, float *laid, bool gather) {
    enum { STEP = 256 };
    static float tile[LAYOUT_TILE];
    static bool taken[LAYOUT_TILE];
    const int count = layout_elements(piece);
    memset(taken, 0, sizeof taken);
    for (int thread = 0; thread < STEP; thread++) {
        LayoutWalk walk = layout_walk(piece, thread, STEP);
        for (int e = thread; e < count; e += STEP, layout_step(piece, &walk)) {
            const int slot = layout_slot(gather ? layout_plain(piece, walk) : e);
            CHECK(slot >= 0 && slot < LAYOUT_TILE && !taken[slot]);
            taken[slot] = true;
            tile[slot] = gather ? laid[layout_laid(piece, walk)] : plain[piece->first + e];
        }
    }
    for (int thread = 0; thread < STEP; thread++) {
        LayoutWalk walk = layout_walk(piece, thread, STEP);
        for (int e = thread; e < count; e += STEP, layout_step(piece, &walk))
            if (gather)
                plain[piece->first + e] = tile[layout_slot(e)];
            else
                laid[layout_laid(piece, walk)] = tile[layout_slot(layout_plain(piece, walk))];
    }
}

/* All pieces of an array: the CPU backend's bits both ways, each element once. */
static void test_layout(ParameterLayout layout) {
    enum { MOST = 1 << 16, FIRST = 3 };
    static float plain[MOST], back[MOST], here[MOST], cpu[MOST];
    static LayoutPiece pieces[MOST];
    const int64_t elements = layout.outer * layout.inner * layout.taps;
    CHECK(FIRST + elements <= MOST);
    for (int64_t i = 0; i < FIRST + elements; i++) {
        plain[i] = test_normal(7, i);
        back[i] = here[i] = cpu[i] = i < FIRST ? plain[i] : NAN;
    }
    const int64_t count = parameter_layout_cut(&layout, FIRST, cpu, pieces);
    CHECK(count == parameter_layout_cut(&layout, FIRST, NULL, NULL) && count <= MOST);
    CHECK_OK(cpu_lay_out(pieces, count, plain));
    parameter_layout_cut(&layout, FIRST, here, pieces);
    for (int64_t p = 0; p < count; p++) {
        CHECK(pieces[p].width > 0 && layout_elements(&pieces[p]) <= LAYOUT_PIECE_ELEMENTS);
        convert_piece(&pieces[p], plain, pieces[p].laid, false);
    }
    CHECK(same_bits(here, cpu, elements));
    for (int64_t p = 0; p < count; p++)
        convert_piece(&pieces[p], back, pieces[p].laid, true);
    CHECK(same_bits(back, plain, FIRST + elements));
}

static void test_layouts(void) {
    test_layout((ParameterLayout){1, 64, 64, 9, DATA_F32});
    test_layout((ParameterLayout){1, 3, 512, 9, DATA_F32}); /* two pieces for each outer */
    test_layout((ParameterLayout){1, 2, 256, 16, DATA_F32});
    test_layout((ParameterLayout){1, 5, 257, 16, DATA_F32});
    test_layout((ParameterLayout){1, 130, 64, 1, DATA_F32});
    test_layout((ParameterLayout){1, 1, 1, 1, DATA_F32});
    test_layout((ParameterLayout){1, 2, 3, LAYOUT_PIECE_ELEMENTS, DATA_F32});
}

int main(void) {
    test_adamw(0.01, 1);
    test_adamw(0, 0.37);
    test_clipping();
    test_fixed_point();
    test_fixed_point_value();
    test_noise();
    test_reverse();
    test_residual(false);
    test_residual(true);
    test_layouts();
    return test_result();
}
