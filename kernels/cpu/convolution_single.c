/* 3x3 convolutions (stride 1, padding 1) between many channels and one, the network's last and first layer:
 * too narrow for the general implementations, which waste whole vectors on the one channel. "One" is the
 * tensor with a single channel, "many" the other; e(p, tap) is the pixel of `one` that tap `tap` joins with
 * pixel p of `many`.
 *
 *   many -> one      products[q, tap] = sum over c of many[q, c] w[tap, c], then one[p] = sum of its nine
 * products weights          dw[tap, c] = sum over q of one[e(q, tap)] many[q, c] */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/convolution.h"
#include "kernels/cpu/simd.h"

enum { KERNEL = 3, TAPS = KERNEL * KERNEL, TAP_LANES = 2 * SIMD_LANES, PIXELS_AT_ONCE = 4 };

typedef struct SingleConvolution {
    Convolution base;
    int64_t samples, height, width, channels;
    /* The tap (i, j) of the plain weights joins pixel (y, x) of `many` with (y + 1 - i, x + 1 - j) of `one`,
     * if `one` is the small tensor; turned by 180 degrees if it is the large one. */
    bool one_is_small;
} SingleConvolution;

/* Index in the plain weights of the tap that joins pixel (y, x) of `many` with (y + 1 - i, x + 1 - j) of
 * `one`. */
static int plain_tap(const SingleConvolution *s, int i, int j) {
    return s->one_is_small ? i * KERNEL + j : (KERNEL - 1 - i) * KERNEL + (KERNEL - 1 - j);
}

/* ---- many -> one ---- */

/* packed (channels, 16): the taps of a channel are one row; the plain weights are (channels, 9) either way
 * round */
static Status pack(const Convolution *self, const float *plain, void *packed) {
    const SingleConvolution *s = (const SingleConvolution *)self;
    float *w = packed;
    memset(w, 0, self->packed_bytes);
    for (int64_t c = 0; c < s->channels; c++)
        for (int i = 0; i < KERNEL; i++)
            for (int j = 0; j < KERNEL; j++)
                w[c * TAP_LANES + i * KERNEL + j] = plain[c * TAPS + plain_tap(s, i, j)];
    return STATUS_OK;
}

/* products (pixels, 16) = many (pixels, channels) w (channels, 16); rows: pixels, known at compile time. */
static inline void multiply_pixels(float *products, const float *many, const float *w, int64_t channels,
                                   int rows) {
    SimdFloat sums[PIXELS_AT_ONCE][2] = {{{0}}};
    for (int64_t c = 0; c < channels; c++) {
        SimdFloat low = simd_load(w + c * TAP_LANES), high = simd_load(w + c * TAP_LANES + SIMD_LANES);
        for (int r = 0; r < rows; r++) {
            SimdFloat value = simd_set(many[r * channels + c]);
            sums[r][0] = simd_fma(value, low, sums[r][0]);
            sums[r][1] = simd_fma(value, high, sums[r][1]);
        }
    }
    for (int r = 0; r < rows; r++) {
        simd_store(products + r * TAP_LANES, sums[r][0]);
        simd_store(products + r * TAP_LANES + SIMD_LANES, sums[r][1]);
    }
}

/* one = start + the products that join it, tap by tap */
static void add_products(const SingleConvolution *s, float *one, const float *products, float start) {
    for (int64_t p = 0; p < s->height * s->width; p++)
        one[p] = start;
    for (int i = 0; i < KERNEL; i++)
        for (int j = 0; j < KERNEL; j++) {
            /* pixel (y, x) takes the product of (y - 1 + i, x - 1 + j), if there is one */
            int64_t first_y = i == 0 ? 1 : 0, end_y = s->height - (i == KERNEL - 1 ? 1 : 0);
            int64_t first_x = j == 0 ? 1 : 0, end_x = s->width - (j == KERNEL - 1 ? 1 : 0);
            int64_t shift = (i - 1) * s->width + j - 1;
            const float *tap = products + i * KERNEL + j;
            for (int64_t y = first_y; y < end_y; y++)
                for (int64_t x = first_x; x < end_x; x++)
                    one[y * s->width + x] += tap[(y * s->width + x + shift) * TAP_LANES];
        }
}

static void run_to_one(const SingleConvolution *s, const float *many, const float *w, const float *bias,
                       float *one, float *products) {
    const int64_t pixels = s->height * s->width;
    for (int64_t n = 0; n < s->samples; n++) {
        const float *image = many + n * pixels * s->channels;
        int64_t p = 0;
        for (; p + PIXELS_AT_ONCE <= pixels; p += PIXELS_AT_ONCE)
            multiply_pixels(products + p * TAP_LANES, image + p * s->channels, w, s->channels,
                            PIXELS_AT_ONCE);
        for (; p < pixels; p++)
            multiply_pixels(products + p * TAP_LANES, image + p * s->channels, w, s->channels, 1);
        add_products(s, one + n * pixels, products, bias ? bias[0] : 0);
    }
}

/* ---- weights ---- */

/* Copies an image into one with a border of zeros. */
static void pad_image(const SingleConvolution *s, float *padded, const float *one) {
    const int64_t width = s->width + 2;
    memset(padded, 0, (size_t)((s->height + 2) * width) * sizeof *padded);
    for (int64_t y = 0; y < s->height; y++)
        memcpy(padded + (y + 1) * width + 1, one + y * s->width, (size_t)s->width * sizeof *padded);
}

/* totals[tap, c] += the sum over the pixels of one image, for 8 channels */
static inline void sum_image(const SingleConvolution *s, double *totals, const float *padded,
                             const float *image) {
    const int64_t width = s->width + 2;
    SimdFloat sums[TAPS] = {{0}};
    for (int64_t y = 0; y < s->height; y++)
        for (int64_t x = 0; x < s->width; x++) {
            SimdFloat value = simd_load(image + (y * s->width + x) * s->channels);
            for (int i = 0; i < KERNEL; i++)
                for (int j = 0; j < KERNEL; j++) {
                    SimdFloat neighbour = simd_set(padded[(y + 2 - i) * width + x + 2 - j]);
                    sums[i * KERNEL + j] = simd_fma(neighbour, value, sums[i * KERNEL + j]);
                }
        }
    for (int tap = 0; tap < TAPS; tap++)
        for (int k = 0; k < SIMD_LANES; k++)
            totals[tap * s->channels + k] += (double)sums[tap][k];
}

static void sum_weights(const SingleConvolution *s, float *weights, const float *many, const float *one,
                        void *scratch) {
    const int64_t pixels = s->height * s->width;
    double *totals = scratch;
    float *padded = (float *)(totals + TAPS * s->channels);
    memset(totals, 0, (size_t)(TAPS * s->channels) * sizeof *totals);
    for (int64_t n = 0; n < s->samples; n++) {
        pad_image(s, padded, one + n * pixels);
        for (int64_t c = 0; c < s->channels; c += SIMD_LANES)
            sum_image(s, totals + c, padded, many + n * pixels * s->channels + c);
    }
    for (int64_t c = 0; c < s->channels; c++)
        for (int i = 0; i < KERNEL; i++)
            for (int j = 0; j < KERNEL; j++)
                weights[c * TAPS + plain_tap(s, i, j)] = (float)totals[(i * KERNEL + j) * s->channels + c];
}

static Status run_weights(const Convolution *self, float *large, void *weights, float *bias,
                          const float *addend, float *small, void *scratch) {
    const SingleConvolution *s = (const SingleConvolution *)self;
    (void)addend;
    sum_weights(s, weights, s->one_is_small ? large : small, s->one_is_small ? small : large, scratch);
    if (bias)
        convolution_sum_pixels(bias, small, s->samples * s->height * s->width,
                               s->one_is_small ? 1 : s->channels);
    return STATUS_OK;
}

static Status run_forward(const Convolution *self, float *large, void *weights, float *bias,
                          const float *addend, float *small, void *scratch) {
    const SingleConvolution *s = (const SingleConvolution *)self;
    run_to_one(s, large, weights, bias, small, scratch);
    convolution_add(small, addend, s->samples * s->height * s->width);
    return STATUS_OK;
}

static Status run_backward_data(const Convolution *self, float *large, void *weights, float *bias,
                                const float *addend, float *small, void *scratch) {
    (void)bias;
    (void)addend;
    run_to_one((const SingleConvolution *)self, small, weights, NULL, large, scratch);
    return STATUS_OK;
}

/* ---- creation ---- */

static void destroy(Convolution *self) {
    free(self);
}

/* One channel where the pass writes or gathers it; the way from one channel to many suits the general
 * kernels. */
static bool suits(const ConvolutionGeometry *g, ConvolutionPass pass) {
    bool small_is_one = g->small_c == 1 && g->large_c % SIMD_LANES == 0;
    bool large_is_one = g->large_c == 1 && g->small_c % SIMD_LANES == 0;
    return g->kernel == KERNEL && g->stride == 1 && g->pad == 1 &&
           ((pass == CONVOLUTION_FORWARD && small_is_one) ||
            (pass == CONVOLUTION_BACKWARD_DATA && large_is_one) ||
            (pass == CONVOLUTION_BACKWARD_WEIGHTS && (small_is_one || large_is_one)));
}

Status single_convolution_create(Convolution **convolution, const ConvolutionGeometry *geometry,
                                 ConvolutionPass pass) {
    Status status = STATUS_OK;
    SingleConvolution *s = NULL;
    *convolution = NULL;
    if (!suits(geometry, pass))
        goto done;
    TRY(ALLOCATE(&s, 1));
    s->samples = geometry->samples;
    s->height = geometry->large_h;
    s->width = geometry->large_w;
    s->one_is_small = geometry->small_c == 1;
    s->channels = s->one_is_small ? geometry->large_c : geometry->small_c;
    s->base.implementation = "single-channel loops";
    s->base.destroy = destroy;
    const size_t pixels = (size_t)(s->height * s->width), channels = (size_t)s->channels;
    const size_t padded_pixels = (size_t)((s->height + 2) * (s->width + 2));
    if (pass == CONVOLUTION_BACKWARD_WEIGHTS) {
        s->base.scratch_bytes = TAPS * channels * sizeof(double) + padded_pixels * sizeof(float);
        s->base.run = run_weights;
    } else {
        s->base.packed_bytes = channels * TAP_LANES * sizeof(float);
        s->base.scratch_bytes = pixels * TAP_LANES * sizeof(float);
        s->base.pack = pack;
        s->base.run = pass == CONVOLUTION_FORWARD ? run_forward : run_backward_data;
    }
    *convolution = &s->base;
done:
    return status;
}
