/* The three passes of a convolution as plain loops over dense floats; the innermost runs over channels. */
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

/* sum[j] += factor * row[j] */
static inline void add_scaled(int64_t count, float factor, const float *restrict row, float *restrict sum) {
    for (int64_t j = 0; j < count; j++)
        sum[j] += factor * row[j];
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

/* (K, taps, C) as (taps, C, K). */
static float *transposed(const DenseConvolution *c, const float *weights) {
    int64_t inner = tap_count(c) * c->large_c;
    float *result = malloc((size_t)(c->small_c * inner) * sizeof *result);
    if (!result)
        abort();
    for (int64_t k = 0; k < c->small_c; k++)
        for (int64_t i = 0; i < inner; i++)
            result[i * c->small_c + k] = weights[k * inner + i];
    return result;
}

void dense_forward(const DenseConvolution *c, const float *large, const float *weights, float *small) {
    float *by_tap = transposed(c, weights);
    memset(small, 0, (size_t)(c->samples * c->small_h * c->small_w * c->small_c) * sizeof *small);
    for (int64_t n = 0; n < c->samples; n++)
        for (int64_t p = 0; p < c->small_h; p++)
            for (int64_t q = 0; q < c->small_w; q++, small += c->small_c)
                for (int64_t i = 0; i < tap_count(c); i++) {
                    int64_t tap = tap_at(c, i);
                    const float *x = large_pixel(c, large, n, p, q, tap);
                    for (int64_t ch = 0; x && ch < c->large_c; ch++)
                        add_scaled(c->small_c, x[ch], by_tap + (tap * c->large_c + ch) * c->small_c, small);
                }
    free(by_tap);
}

void dense_backward_data(const DenseConvolution *c, float *large, const float *weights, const float *small) {
    memset(large, 0, (size_t)(c->samples * c->large_h * c->large_w * c->large_c) * sizeof *large);
    for (int64_t n = 0; n < c->samples; n++)
        for (int64_t p = 0; p < c->small_h; p++)
            for (int64_t q = 0; q < c->small_w; q++, small += c->small_c)
                for (int64_t i = 0; i < tap_count(c); i++) {
                    int64_t tap = tap_at(c, i);
                    const float *at = large_pixel(c, large, n, p, q, tap);
                    for (int64_t j = 0; at && j < c->small_c; j++) {
                        int64_t k = c->backwards ? c->small_c - 1 - j : j;
                        add_scaled(c->large_c, small[k], weights + (k * tap_count(c) + tap) * c->large_c,
                                   large + (at - large));
                    }
                }
}

/* One sample's gradient under one tap, (K, C). */
static void add_sample(const DenseConvolution *c, const float *large, const float *small, int64_t n,
                       int64_t tap, float *sum) {
    small += n * c->small_h * c->small_w * c->small_c;
    for (int64_t p = 0; p < c->small_h; p++)
        for (int64_t q = 0; q < c->small_w; q++, small += c->small_c) {
            const float *x = large_pixel(c, large, n, p, q, tap);
            for (int64_t k = 0; x && k < c->small_c; k++)
                add_scaled(c->large_c, small[k], x, sum + k * c->large_c);
        }
}

/* Sums of samples are summed: as on a GPU no running sum is longer than need be. */
void dense_backward_filter(const DenseConvolution *c, const float *large, float *weights,
                           const float *small) {
    int64_t area = c->small_c * c->large_c;
    float *sum = malloc((size_t)(2 * area) * sizeof *sum), *total = sum + area;
    if (!sum)
        abort();
    for (int64_t tap = 0; tap < tap_count(c); tap++) {
        memset(total, 0, (size_t)area * sizeof *total);
        for (int64_t i = 0; i < c->samples; i++) {
            memset(sum, 0, (size_t)area * sizeof *sum);
            add_sample(c, large, small, c->backwards ? c->samples - 1 - i : i, tap, sum);
            add_scaled(area, 1, sum, total);
        }
        for (int64_t k = 0; k < c->small_c; k++)
            memcpy(weights + (k * tap_count(c) + tap) * c->large_c, total + k * c->large_c,
                   (size_t)c->large_c * sizeof *weights);
    }
    free(sum);
}
