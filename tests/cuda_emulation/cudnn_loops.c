/* The three passes of a convolution as plain loops over dense floats; the innermost run over channels. */
#include <stdlib.h>
#include <string.h>

#include "tests/cuda_emulation/cudnn_emulation.h"

static int64_t tap_count(const DenseConvolution *c) {
    return c->rows * c->columns;
}

/* The i-th tap in the engine's order. */
static int64_t tap_at(const DenseConvolution *c, int64_t i) {
    return c->backwards ? tap_count(c) - 1 - i : i;
}

/* Channels are summed in blocks, which a compiler keeps in registers; rows of weights are padded to whole
 * blocks by zeros. */
enum { BLOCK = 8, ROWS = 4 };

static int64_t padded(int64_t channels) {
    return (channels + BLOCK - 1) / BLOCK * BLOCK;
}

static float *allocate(int64_t count) {
    float *values = calloc((size_t)count, sizeof *values);
    if (!values)
        abort();
    return values;
}

/* sum += factor * row */
static inline void add_block(float factor, const float *restrict row, float sum[BLOCK]) {
    for (int j = 0; j < BLOCK; j++)
        sum[j] += factor * row[j];
}

static int64_t block_channels(int64_t channels, int64_t block) {
    return channels - block < BLOCK ? channels - block : BLOCK;
}

/* The pixel of the large tensor under a tap, NULL in the padding. */
static const float *large_pixel(const DenseConvolution *c, const float *large, int64_t n, int64_t p,
                                int64_t q, int64_t tap) {
    int64_t y = p * c->stride[0] - c->pad[0] + tap / c->columns;
    int64_t x = q * c->stride[1] - c->pad[1] + tap % c->columns;
    if (y < 0 || y >= c->large_h || x < 0 || x >= c->large_w)
        return NULL;
    return large + ((n * c->large_h + y) * c->large_w + x) * c->large_c;
}

/* (K, taps, C) as (taps, C, padded K). */
static float *transposed(const DenseConvolution *c, const float *weights) {
    int64_t inner = tap_count(c) * c->large_c, width = padded(c->small_c);
    float *result = allocate(inner * width);
    for (int64_t k = 0; k < c->small_c; k++)
        for (int64_t i = 0; i < inner; i++)
            result[i * width + k] = weights[k * inner + i];
    return result;
}

static void forward_pixel(const DenseConvolution *c, const float *large, const float *by_tap, int64_t n,
                          int64_t p, int64_t q, float *small) {
    int64_t width = padded(c->small_c);
    for (int64_t block = 0; block < c->small_c; block += BLOCK) {
        float sum[BLOCK] = {0};
        for (int64_t i = 0; i < tap_count(c); i++) {
            int64_t tap = tap_at(c, i);
            const float *x = large_pixel(c, large, n, p, q, tap);
            for (int64_t ch = 0; x && ch < c->large_c; ch++)
                add_block(x[ch], by_tap + (tap * c->large_c + ch) * width + block, sum);
        }
        memcpy(small + block, sum, (size_t)block_channels(c->small_c, block) * sizeof *sum);
    }
}

void dense_forward(const DenseConvolution *c, const float *large, const float *weights, float *small) {
    float *by_tap = transposed(c, weights);
    for (int64_t n = 0; n < c->samples; n++)
        for (int64_t p = 0; p < c->small_h; p++)
            for (int64_t q = 0; q < c->small_w; q++, small += c->small_c)
                forward_pixel(c, large, by_tap, n, p, q, small);
    free(by_tap);
}

/* (K, taps, C) with padded C. */
static float *widened(const DenseConvolution *c, const float *weights) {
    int64_t rows = c->small_c * tap_count(c), width = padded(c->large_c);
    float *result = allocate(rows * width);
    for (int64_t i = 0; i < rows; i++)
        memcpy(result + i * width, weights + i * c->large_c, (size_t)c->large_c * sizeof *result);
    return result;
}

/* What one pixel of the small tensor adds to a pixel of the large one. */
static void spread(const DenseConvolution *c, const float *small, const float *wide, int64_t tap,
                   float *large) {
    int64_t width = padded(c->large_c);
    for (int64_t block = 0; block < c->large_c; block += BLOCK) {
        size_t bytes = (size_t)block_channels(c->large_c, block) * sizeof(float);
        float sum[BLOCK] = {0};
        memcpy(sum, large + block, bytes);
        for (int64_t i = 0; i < c->small_c; i++) {
            int64_t k = c->backwards ? c->small_c - 1 - i : i;
            add_block(small[k], wide + (k * tap_count(c) + tap) * width + block, sum);
        }
        memcpy(large + block, sum, bytes);
    }
}

void dense_backward_data(const DenseConvolution *c, float *large, const float *weights, const float *small) {
    float *wide = widened(c, weights);
    memset(large, 0, (size_t)(c->samples * c->large_h * c->large_w * c->large_c) * sizeof *large);
    for (int64_t n = 0; n < c->samples; n++)
        for (int64_t p = 0; p < c->small_h; p++)
            for (int64_t q = 0; q < c->small_w; q++, small += c->small_c)
                for (int64_t tap = 0; tap < tap_count(c); tap++) {
                    const float *at = large_pixel(c, large, n, p, q, tap);
                    if (at)
                        spread(c, small, wide, tap, large + (at - large));
                }
    free(wide);
}

/* One sample's gradient under one tap for ROWS rows of K from `k` on and a block of C: added to total. */
static void add_sample(const DenseConvolution *c, const float *large, const float *small, int64_t n,
                       int64_t tap, int64_t k, int64_t block, float total[ROWS][BLOCK]) {
    float sum[ROWS][BLOCK] = {{0}};
    int64_t rows = c->small_c - k < ROWS ? c->small_c - k : ROWS;
    size_t bytes = (size_t)block_channels(c->large_c, block) * sizeof(float);
    small += n * c->small_h * c->small_w * c->small_c + k;
    for (int64_t p = 0; p < c->small_h; p++)
        for (int64_t q = 0; q < c->small_w; q++, small += c->small_c) {
            const float *x = large_pixel(c, large, n, p, q, tap);
            float factors[ROWS] = {0}, values[BLOCK] = {0};
            if (!x)
                continue;
            memcpy(factors, small, (size_t)rows * sizeof *small);
            memcpy(values, x + block, bytes);
            for (int r = 0; r < ROWS; r++)
                add_block(factors[r], values, sum[r]);
        }
    for (int r = 0; r < ROWS; r++)
        add_block(1, sum[r], total[r]);
}

/* Sums of samples are summed: as on a GPU no running sum is longer than need be. */
void dense_backward_filter(const DenseConvolution *c, const float *large, float *weights,
                           const float *small) {
    for (int64_t tap = 0; tap < tap_count(c); tap++)
        for (int64_t k = 0; k < c->small_c; k += ROWS)
            for (int64_t block = 0; block < c->large_c; block += BLOCK) {
                float total[ROWS][BLOCK] = {{0}};
                for (int64_t i = 0; i < c->samples; i++)
                    add_sample(c, large, small, c->backwards ? c->samples - 1 - i : i, tap, k, block, total);
                for (int64_t r = 0; r < ROWS && k + r < c->small_c; r++)
                    memcpy(weights + ((k + r) * tap_count(c) + tap) * c->large_c + block, total[r],
                           (size_t)block_channels(c->large_c, block) * sizeof(float));
            }
}
