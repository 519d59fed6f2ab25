/* Launch geometry and index maps of the CUDA kernels, walked on the host as their blocks and threads would:
 * every element exactly once, nothing beyond a device's limits. Formulas against finite differences. No GPU
 * is needed. */
#include <float.h>

#include "core/rng.h"
#include "kernels/cuda/ops_math.h"
#include "kernels/cuda/single_channel_math.h"
#include "test.h"

/* Shared memory per block: compute capabilities 8.0, 9.0 and 12.0. */
static const int64_t shared_limits[] = {163 << 10, 227 << 10, 99 << 10};
static const int element_sizes[] = {2, 4};
static const int64_t sample_counts[] = {1, 3, 8, 128, 1024};
enum { LARGEST_GRID_Y = 65535, DEFAULT_GROUPS = 8, DEVICES = 3 };
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static void *zeroed(int64_t count, size_t bytes) {
    void *memory = calloc((size_t)count, bytes);
    if (!memory) {
        printf("out of memory\n");
        exit(1);
    }
    return memory;
}

static bool all_are(const unsigned char *visits, int64_t count, unsigned char expected) {
    for (int64_t i = 0; i < count; i++)
        if (visits[i] != expected)
            return false;
    return true;
}

/* ---- group_norm ---- */

typedef struct NormShape {
    int64_t pixels, channels;
    int groups;
    bool one_pass; /* the default network's: the sample must stay in shared memory */
    int64_t split; /* channels of dx, the others being dx_rest's; 0: all */
} NormShape;

static const NormShape norm_shapes[] = {
    {28 * 28, 64, DEFAULT_GROUPS, true, 0},
    {28 * 28, 128, DEFAULT_GROUPS, true, 0},
    {14 * 14, 128, DEFAULT_GROUPS, true, 0},
    {14 * 14, 256, DEFAULT_GROUPS, true, 0},
    {7 * 7, 256, DEFAULT_GROUPS, true, 0},
    {28 * 28, 16, DEFAULT_GROUPS, true, 0},
    {15, 8, 4, true, 0},
    {49, 3, 3, true, 0},
    {49, 3, 1, true, 0},
    {1, 1, 1, true, 0},
    {196, 24, 8, true, 0},
    {49, 24, 2, true, 0},
    {49, 16, 16, true, 0},
    {15, 1000, 8, true, 0},
    {1 << 16, 64, DEFAULT_GROUPS, false, 0},
    {1 << 16, 3, 1, false, 0},
    {28 * 28, 128, DEFAULT_GROUPS, true, 64},
    {14 * 14, 256, DEFAULT_GROUPS, true, 128},
    {14 * 14, 64, DEFAULT_GROUPS, true, 20},
    {15, 8, 4, true, 3},
};

/* One sample's channel vectors, as the kernel's loops visit them; the samples differ by an offset only. */
static void walk_norm(const GroupNormPlan *plan) {
    int64_t count = (int64_t)plan->pixels * plan->channels;
    unsigned char *visits = zeroed(count, 1);
    for (int split = 0; split < plan->splits; split++)
        for (int thread = 0; thread < plan->map.threads; thread++) {
            int row = row_of(plan->map, thread);
            if (row >= plan->map.rows)
                continue;
            int channel = split * plan->block_channels + lane_of(plan->map, thread) * plan->vector;
            for (int64_t pixel = row; pixel < plan->pixels; pixel += plan->map.rows)
                for (int i = 0; i < plan->vector; i++)
                    visits[pixel * plan->channels + channel + i]++;
        }
    CHECK(all_are(visits, count, 1));
    free(visits);
}

/* block_channel_sums: each row is added to one slot; slots do not read each other's rows. */
static void walk_slots(LaneMap map, int channels, int slots) {
    unsigned char *visits = zeroed(map.rows, 1);
    CHECK(slots >= 1 && slots <= map.rows);
    CHECK(slots == 1 || (int64_t)slots * channels <= map.threads);
    for (int slot = 0; slot < slots; slot++)
        for (int row = slot; row < map.rows; row += slots)
            visits[row]++;
    CHECK(all_are(visits, map.rows, 1));
    free(visits);
}

static void check_norm_plan(const GroupNormPlan *plan, int64_t limit, int bytes, bool backward) {
    int64_t threads = plan->map.threads;
    CHECK(plan->shared_bytes <= limit);
    CHECK(threads % OPS_WARP == 0 && threads >= OPS_WARP);
    CHECK(threads <= (backward ? GROUP_NORM_BACKWARD_THREADS : GROUP_NORM_THREADS));
    CHECK(plan->block_groups * plan->splits == plan->groups);
    CHECK(plan->block_channels == plan->block_groups * plan->width);
    CHECK(plan->map.lanes * plan->vector == plan->block_channels);
    CHECK(plan->vector == 1 || plan->vector * bytes == OPS_VECTOR_BYTES);
    CHECK((plan->dx_channels > 0) == backward && plan->dx_channels % plan->vector == 0);
    /* regions follow one another and are aligned for 16-byte accesses */
    int64_t elements = plan->staged ? (int64_t)plan->pixels * plan->block_channels : 0;
    CHECK(plan->slope_offset >= elements * bytes);
    CHECK(plan->sums_offset - plan->slope_offset >= (backward ? elements * 4 : 0));
    CHECK(plan->partial_offset - plan->sums_offset >= threads * plan->vector * 4);
    CHECK(plan->channel_offset - plan->partial_offset >=
          (backward ? 3 * plan->slots * plan->block_channels * 4 : 0));
    CHECK(plan->group_offset - plan->channel_offset >= (backward ? 7 * plan->block_channels * 4 : 0));
    CHECK(plan->shared_bytes - plan->group_offset >= 2 * plan->block_groups * 4);
    CHECK(plan->slope_offset % 16 == 0 && plan->sums_offset % 16 == 0 && plan->channel_offset % 16 == 0);
    for (int n = 0; n < COUNT(sample_counts); n++)
        CHECK(sample_counts[n] * plan->splits <= INT32_MAX);
}

static void test_norm_plans(void) {
    for (int s = 0; s < COUNT(norm_shapes); s++)
        for (int device = 0; device < DEVICES; device++)
            for (int k = 0; k < COUNT(element_sizes) * 2; k++) {
                const NormShape *shape = &norm_shapes[s];
                bool backward = k % 2;
                int bytes = element_sizes[k / 2];
                GroupNormPlan plan = {0};
                int64_t dx_channels = !backward ? 0 : shape->split ? shape->split : shape->channels;
                CHECK(group_norm_plan(&plan, shape->pixels, shape->channels, shape->groups, bytes,
                                      dx_channels, shared_limits[device]));
                /* float gradients at 28x28x128 take 100 KB: more than a block has on 12.0 */
                if (shared_limits[device] > 99 << 10)
                    CHECK(plan.staged == shape->one_pass);
                check_norm_plan(&plan, shared_limits[device], bytes, backward);
                walk_norm(&plan);
                walk_slots(plan.map, plan.block_channels, plan.slots);
            }
    GroupNormPlan plan = {0};
    CHECK(!group_norm_plan(&plan, 4, 100003, 1, 4, 0, 227 << 10)); /* a prime: no vectors, one group */
}

/* ---- group_norm's formulas ---- */

enum { NORM_PIXELS = 7, NORM_WIDTH = 3, NORM_ELEMENTS = NORM_PIXELS * NORM_WIDTH };

/* One group: y = silu(gamma (x + shift - mean) rstd + beta); returns the sum of dy y. */
static double norm_objective(const double *x, const double *shift, const double *gamma, const double *beta,
                             const double *dy) {
    double mean = 0, variance = 0, objective = 0;
    for (int i = 0; i < NORM_ELEMENTS; i++)
        mean += (x[i] + shift[i % NORM_WIDTH]) / NORM_ELEMENTS;
    for (int i = 0; i < NORM_ELEMENTS; i++) {
        double deviation = x[i] + shift[i % NORM_WIDTH] - mean;
        variance += deviation * deviation / NORM_ELEMENTS;
    }
    for (int i = 0; i < NORM_ELEMENTS; i++) {
        int c = i % NORM_WIDTH;
        double u = gamma[c] * (x[i] + shift[c] - mean) / sqrt(variance + 1e-5) + beta[c];
        objective += dy[i] * u / (1 + exp(-u));
    }
    return objective;
}

static double norm_difference(double *varied, const double *x, const double *shift, const double *gamma,
                              const double *beta, const double *dy) {
    const double step = 1e-5;
    double kept = *varied;
    *varied = kept + step;
    double above = norm_objective(x, shift, gamma, beta, dy);
    *varied = kept - step;
    double below = norm_objective(x, shift, gamma, beta, dy);
    *varied = kept;
    return (above - below) / (2 * step);
}

/* The kernel's computation in its order, from sums per channel. */
static void test_norm_backward(void) {
    double x[NORM_ELEMENTS], dy[NORM_ELEMENTS], shift[NORM_WIDTH], gamma[NORM_WIDTH], beta[NORM_WIDTH];
    float xhat[NORM_ELEMENTS], slope[NORM_ELEMENTS];
    float sum_slope[NORM_WIDTH] = {0}, sum_slope_xhat[NORM_WIDTH] = {0}, sum_xhat[NORM_WIDTH] = {0};
    float normals[2 * NORM_ELEMENTS + 3 * NORM_WIDTH];
    rng_fill_normal(rng_key(5, RNG_TEST, 0, 0), normals, COUNT(normals));
    double mean = 0, variance = 0;
    for (int c = 0; c < NORM_WIDTH; c++) {
        shift[c] = normals[2 * NORM_ELEMENTS + c];
        gamma[c] = 1 + normals[2 * NORM_ELEMENTS + NORM_WIDTH + c] / 2;
        beta[c] = normals[2 * NORM_ELEMENTS + 2 * NORM_WIDTH + c];
    }
    for (int i = 0; i < NORM_ELEMENTS; i++) {
        x[i] = normals[i];
        dy[i] = normals[NORM_ELEMENTS + i];
        mean += (x[i] + shift[i % NORM_WIDTH]) / NORM_ELEMENTS;
    }
    for (int i = 0; i < NORM_ELEMENTS; i++)
        variance += pow(x[i] + shift[i % NORM_WIDTH] - mean, 2) / NORM_ELEMENTS;
    float rstd = (float)(1 / sqrt(variance + 1e-5)), mean_1 = 0, mean_2 = 0;
    for (int i = 0; i < NORM_ELEMENTS; i++) {
        int c = i % NORM_WIDTH;
        xhat[i] = (float)((x[i] + shift[c] - mean) * rstd);
        float u = (float)gamma[c] * xhat[i] + (float)beta[c];
        slope[i] = (float)dy[i] * silu_slope_of(u, 1 / (1 + expf(-u)));
        sum_slope[c] += slope[i];
        sum_slope_xhat[c] += slope[i] * xhat[i];
        sum_xhat[c] += xhat[i];
    }
    for (int c = 0; c < NORM_WIDTH; c++) {
        mean_1 += (float)gamma[c] * sum_slope[c] / NORM_ELEMENTS;
        mean_2 += (float)gamma[c] * sum_slope_xhat[c] / NORM_ELEMENTS;
    }
    /* float sums of 21 terms of about 1: 21 half epsilons = 1e-6; central differences: step^2 = 1e-10 */
    const double tolerance = 5e-6;
    for (int i = 0; i < NORM_ELEMENTS; i++)
        CHECK_NEAR(group_norm_dz((float)gamma[i % NORM_WIDTH], rstd, slope[i], xhat[i], mean_1, mean_2),
                   norm_difference(&x[i], x, shift, gamma, beta, dy), tolerance);
    for (int c = 0; c < NORM_WIDTH; c++) {
        CHECK_NEAR(
            group_norm_dshift((float)gamma[c], rstd, sum_slope[c], sum_xhat[c], mean_1, mean_2, NORM_PIXELS),
            norm_difference(&shift[c], x, shift, gamma, beta, dy), tolerance);
        CHECK_NEAR(sum_slope_xhat[c], norm_difference(&gamma[c], x, shift, gamma, beta, dy), tolerance);
        CHECK_NEAR(sum_slope[c], norm_difference(&beta[c], x, shift, gamma, beta, dy), tolerance);
    }
}

/* ---- time embedding ---- */

static void test_time_embedding(void) {
    for (int t = 0; t <= 4000; t += 7)
        for (int k = 0; k < 32; k++) {
            double angle = t * pow(10000, -k / 32.0), half_turns = pow(10000, -k / 32.0) / M_PI;
            float reduced = time_embedding_half_turns((float)t, half_turns);
            CHECK(reduced >= -1 && reduced <= 1);
            /* pi times half an epsilon of a value up to 1 */
            CHECK_NEAR(sin(M_PI * reduced), sin(angle), M_PI * FLT_EPSILON / 2);
            CHECK_NEAR(cos(M_PI * reduced), cos(angle), M_PI * FLT_EPSILON / 2);
        }
}

/* ---- linear, loops, vectors ---- */

static void test_linear_tiles(void) {
    static const int64_t sizes[] = {1, 3, 15, 16, 17, 64, 128, 256, 1000};
    for (int a = 0; a < COUNT(sizes); a++)
        for (int b = 0; b < COUNT(sizes); b++) {
            int64_t rows = sizes[a], columns = sizes[b], across = ops_divide_up(columns, LINEAR_TILE);
            unsigned char *visits = zeroed(rows * columns, 1);
            for (int64_t block = 0; block < linear_blocks(rows, columns); block++)
                for (int thread = 0; thread < LINEAR_TILE * LINEAR_TILE; thread++) {
                    int64_t m = block / across * LINEAR_TILE + thread / LINEAR_TILE;
                    int64_t n = block % across * LINEAR_TILE + thread % LINEAR_TILE;
                    if (m < rows && n < columns)
                        visits[m * columns + n]++;
                }
            CHECK(all_are(visits, rows * columns, 1));
            free(visits);
        }
}

static void test_vectors(void) {
    CHECK(ops_vector(64, 2) == 8 && ops_vector(64, 4) == 4 && ops_vector(12, 2) == 1 &&
          ops_vector(12, 4) == 4 && ops_vector(3, 4) == 1);
    CHECK(ops_loop_blocks(1) == 1 && ops_loop_blocks(257) == 2 &&
          ops_loop_blocks(INT32_MAX) == OPS_MAX_BLOCKS);
}

/* ---- convolutions with a single channel ---- */

typedef struct SingleCase {
    int samples, channels, kernel, stride, pad;
    SingleSize large;
    bool fast; /* for up to 16 bytes by 32 threads of channels */
} SingleCase;

static const SingleCase single_cases[] = {
    {128, 64, 3, 1, 1, {28, 28}, true}, {8, 64, 3, 1, 1, {28, 28}, true}, {3, 24, 3, 1, 1, {5, 3}, true},
    {1, 7, 3, 1, 0, {9, 6}, true},      {2, 8, 3, 1, 2, {31, 4}, true},   {2, 8, 4, 2, 1, {6, 10}, false},
    {1, 3, 1, 1, 0, {5, 3}, false},     {1, 5, 5, 3, 2, {11, 7}, false},  {2, 1, 4, 2, 1, {2, 6}, false},
};

static SinglePlan single_plan_of(const SingleCase *c, SinglePass pass, bool narrow_is_large, bool to_large,
                                 bool bf16) {
    SingleSize small = {(c->large.height + 2 * c->pad - c->kernel) / c->stride + 1,
                        (c->large.width + 2 * c->pad - c->kernel) / c->stride + 1};
    SinglePlan plan = {.pass = pass,
                       .samples = c->samples,
                       .channels = c->channels,
                       .kernel = c->kernel,
                       .stride = c->stride,
                       .pad = c->pad,
                       .wide = narrow_is_large ? small : c->large,
                       .narrow = narrow_is_large ? c->large : small,
                       .scatter = to_large,
                       .wide_bf16 = bf16};
    single_plan(&plan);
    return plan;
}

/* The pairs (target, tap, source) of a plan along one axis are those of the convolution:
 * large = small stride + tap - pad, with the weight's own tap. */
static void check_taps(const SingleCase *c, const SinglePlan *plan, int large, int small, bool to_large) {
    int targets = to_large ? large : small, sources = to_large ? small : large, found = 0, expected = 0;
    for (int target = 0; target < targets; target++)
        for (int tap = 0; tap < plan->kernel; tap++) {
            int source = single_source(target, tap, plan->stride, plan->pad, plan->scatter);
            if (source < 0 || source >= sources)
                continue;
            int own = single_weight_tap(plan, tap * plan->kernel) / plan->kernel;
            int l = to_large ? target : source, s = to_large ? source : target;
            CHECK(l == s * c->stride + own - c->pad);
            found++;
        }
    for (int s = 0; s < small; s++)
        for (int tap = 0; tap < c->kernel; tap++)
            expected += s * c->stride + tap - c->pad >= 0 && s * c->stride + tap - c->pad < large;
    CHECK(found == expected);
}

/* Wide pixels (or, for REDUCE without a fast plan, narrow ones) by rows of threads, and channels by sections.
 */
static void walk_single(const SinglePlan *plan) {
    bool any_reduce = plan->pass == SINGLE_REDUCE;
    int64_t pixels = single_pixels(plan, any_reduce ? plan->narrow : plan->wide);
    unsigned char *pixel_visits = zeroed(pixels, 1), *vector_visits = zeroed(plan->vectors, 1);
    for (int64_t block = 0; block < plan->blocks; block++)
        for (int row = 0; row < plan->map.rows; row++) {
            int64_t step =
                plan->pass == SINGLE_WEIGHTS ? plan->map.rows : (int64_t)plan->blocks * plan->map.rows;
            int64_t start =
                plan->pass == SINGLE_WEIGHTS ? block * plan->chunk_pixels : block * plan->map.rows;
            int64_t end =
                plan->pass == SINGLE_WEIGHTS ? ops_smaller(start + plan->chunk_pixels, pixels) : pixels;
            for (int64_t p = start + row; p < end; p += step)
                pixel_visits[p]++;
        }
    CHECK(all_are(pixel_visits, pixels, 1));
    for (int section = 0; section < plan->sections && !any_reduce; section++)
        for (int lane = 0; lane < plan->map.lanes; lane++)
            if (section * plan->map.lanes + lane < plan->vectors)
                vector_visits[section * plan->map.lanes + lane]++;
    CHECK(any_reduce || all_are(vector_visits, plan->vectors, 1));
    free(pixel_visits);
    free(vector_visits);
}

/* Fast REDUCE: bands cover the rows once, and hold every source row that a target of theirs reads. */
static void check_bands(const SinglePlan *plan) {
    int lanes = plan->map.lanes, covered = 0;
    CHECK(lanes >= plan->vectors && lanes <= OPS_WARP && OPS_WARP % lanes == 0);
    CHECK(plan->shared_bytes <= SINGLE_REDUCE_SHARED);
    CHECK(plan->shared_bytes >= plan->channels * SINGLE_FAST_TAPS * 4);
    CHECK(plan->blocks == plan->samples * plan->bands);
    for (int band = 0; band < plan->bands; band++) {
        int first = band * plan->band_rows;
        int last = (int)ops_smaller(first + plan->band_rows, plan->narrow.height);
        int source = (int)ops_larger(first - plan->pad, 0);
        int end = (int)ops_smaller(last - 1 - plan->pad + SINGLE_FAST_KERNEL, plan->wide.height);
        covered += last - first;
        CHECK(last > first);
        CHECK((int64_t)(end - source) * plan->wide.width * SINGLE_FAST_TAPS * 4 <= plan->shared_bytes);
        for (int y = first; y < last; y++)
            for (int tap = 0; tap < SINGLE_FAST_KERNEL; tap++) {
                int from = single_source(y, tap, 1, plan->pad, false);
                CHECK(from < 0 || from >= plan->wide.height || (from >= source && from < end));
            }
    }
    CHECK(covered == plan->narrow.height);
}

static void check_single(const SingleCase *c, SinglePass pass, bool narrow_is_large, bool bf16) {
    /* EXPAND computes the wide tensor, REDUCE the narrow one, WEIGHTS walks the wide one */
    bool to_large = pass == SINGLE_REDUCE ? narrow_is_large : !narrow_is_large;
    SinglePlan plan = single_plan_of(c, pass, narrow_is_large, to_large, bf16);
    SingleSize large = narrow_is_large ? plan.narrow : plan.wide;
    SingleSize small = narrow_is_large ? plan.wide : plan.narrow;
    check_taps(c, &plan, large.height, small.height, to_large);
    check_taps(c, &plan, large.width, small.width, to_large);
    CHECK(plan.fast == c->fast);
    CHECK(plan.blocks >= 1 && plan.sections >= 1 && plan.sections <= LARGEST_GRID_Y);
    CHECK(plan.map.rows >= 1 && plan.map.threads == OPS_THREADS);
    CHECK(pass == SINGLE_REDUCE || plan.map.lanes * plan.vector <= SINGLE_SECTION_CHANNELS);
    if (pass == SINGLE_REDUCE && plan.fast)
        check_bands(&plan);
    else
        walk_single(&plan);
    if (pass == SINGLE_WEIGHTS) {
        walk_slots(plan.map, plan.map.lanes * plan.vector,
                   lane_slots(plan.map, plan.map.lanes * plan.vector));
        CHECK(plan.blocks <= SINGLE_WEIGHTS_CHUNKS);
        CHECK((int64_t)plan.narrow_chunk * plan.blocks >= single_pixels(&plan, plan.narrow));
    }
}

static void test_single_plans(void) {
    static const SinglePass passes[] = {SINGLE_EXPAND, SINGLE_REDUCE, SINGLE_WEIGHTS};
    for (int c = 0; c < COUNT(single_cases); c++)
        for (int p = 0; p < COUNT(passes); p++)
            for (int k = 0; k < 4; k++)
                check_single(&single_cases[c], passes[p], k % 2, k / 2);
    /* more channels than threads, and more than a warp holds */
    static const SingleCase many = {1, 1031, 3, 1, 1, {4, 4}, true};
    check_single(&many, SINGLE_EXPAND, true, true);
    check_single(&many, SINGLE_WEIGHTS, true, false);
    CHECK(!single_plan_of(&many, SINGLE_REDUCE, true, true, true).fast);
}

static void test_single_pixels(void) {
    const SingleSize size = {5, 3};
    for (int i = 0; i < 60; i++) {
        SinglePixel pixel = single_pixel(size, i);
        CHECK((pixel.sample * size.height + pixel.y) * size.width + pixel.x == i);
        CHECK(pixel.y >= 0 && pixel.y < size.height && pixel.x >= 0 && pixel.x < size.width);
    }
}

int main(void) {
    test_norm_plans();
    test_norm_backward();
    test_time_embedding();
    test_linear_tiles();
    test_vectors();
    test_single_plans();
    test_single_pixels();
    return test_result();
}
