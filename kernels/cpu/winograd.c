/* 3x3 convolutions with stride 1 and padding 1 by Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray,
 * arXiv:1509.09308): a quarter of the direct method's multiplications. On tiles of 4x4 output pixels
 *
 *   forward           y  = A^T [(G g G^T) . (B^T d B)] A
 *   backward data     the same with the filter turned by 180 degrees and its channels exchanged
 *   backward weights  dg = G^T [(A dy A^T) . (B^T d B)] G, summed over tiles
 *
 * where the products "." over channels are 36 matrix products. The interpolation points are 0, +-5/8, +-3/2
 * and infinity: their rounding errors are half those of the usual 0, +-1, +-2 (relative L2 error of one layer
 * 1e-6, the direct method's 0.5e-6). */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/convolution.h"
#include "kernels/cpu/simd.h"

enum { TILE = 4, KERNEL = 3, POINTS = TILE + KERNEL - 1, FREQUENCIES = POINTS * POINTS };

/* powers of the points a = 5/8 and b = 3/2, all exact, and 1 over the product of a point's distances to the
 * others */
#define A1 0.625f
#define A2 0.390625f
#define B1 1.5f
#define B2 2.25f
#define SCALE_0 (1 / (A2 * B2))
#define SCALE_A (1 / (2 * A2 * (A2 - B2)))
#define SCALE_B (1 / (2 * B2 * (B2 - A2)))

/* The inner loops for one instruction set; winograd_vector.inc says what each does. */
typedef struct WinogradLoops {
    int lanes;
    void (*input_tile)(float *v, int64_t stride, const float *const *points, int64_t channels);
    void (*output_tile)(float *const *points, const float *m, int64_t stride, const float *bias,
                        const float *const *addends, int64_t channels);
    void (*gradient_tile)(float *w, int64_t stride, const float *const *points, int64_t channels);
    void (*filter_in)(float *u, int64_t stride, const float *g, int64_t g_lane, bool flip);
    void (*filter_out)(float *g, int64_t g_lane, const float *p, int64_t stride);
    void (*multiply)(float *c, int64_t c_row, const float *a, int64_t a_row, int64_t a_step, const float *b,
                     int64_t b_step, int64_t rows, int64_t depth, int64_t columns, bool add);
} WinogradLoops;

#define LANES SIMD_LANES
#define VECTOR SimdFloat
#define SIMD(word) simd_##word
#define NAME(word) word##_8
#define ROWS 6
#include "kernels/cpu/winograd_vector.inc"
#undef LANES
#undef VECTOR
#undef SIMD
#undef NAME
#undef ROWS

#ifdef SIMD16_COMPILED
SIMD16_BEGIN
#define LANES SIMD16_LANES
#define VECTOR Simd16Float
#define SIMD(word) simd16_##word
#define NAME(word) word##_16
#define ROWS 8
#include "kernels/cpu/winograd_vector.inc"
#undef LANES
#undef VECTOR
#undef SIMD
#undef NAME
#undef ROWS
SIMD16_END
#endif

typedef struct Winograd {
    Convolution base;
    WinogradLoops loops;
    ConvolutionPass pass;
    int64_t samples, height, width;
    int64_t in_channels, out_channels; /* of the pass: backward data exchanges them */
    int64_t tile_rows, tile_columns;   /* per sample */
    int64_t tiles, block_tiles;        /* of all samples; worked on together */
    int64_t in_chunk, out_chunk;       /* channels worked on together */
    int64_t in_stride, out_stride;     /* floats between frequencies in the blocks of transformed tiles */
    int64_t product_stride;            /* likewise in the products of the backward weights pass */
} Winograd;

/* Working memory aims to stay in a second-level cache of about 2 MiB. */
enum { BLOCK_BYTES = 1200 << 10, MAX_BLOCK_TILES = 64, ROW_MULTIPLE = 8, GRADIENT_CHUNK = 64 };
enum { CACHE_LINE_FLOATS = 16 };

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t rounded_up(int64_t value, int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

/* ---- tiles ---- */

typedef struct TilePlace {
    int64_t sample, row, column; /* first output pixel */
} TilePlace;

static TilePlace tile_place(const Winograd *w, int64_t tile) {
    int64_t per_sample = w->tile_rows * w->tile_columns, within = tile % per_sample;
    TilePlace place = {tile / per_sample, within / w->tile_columns * TILE, within % w->tile_columns * TILE};
    return place;
}

/* Pointers to size x size pixels from (row, column) of a sample; `outside` where there is no pixel. */
static inline void pixel_pointers(const float **points, const Winograd *w, const float *tensor,
                                  int64_t channels, int64_t sample, int64_t row, int64_t column, int size,
                                  const float *outside) {
    const float *corner = tensor + ((sample * w->height + row) * w->width + column) * channels;
    const int64_t line = w->width * channels;
    if (row >= 0 && column >= 0 && row + size <= w->height && column + size <= w->width) {
        for (int i = 0; i < size; i++)
            for (int j = 0; j < size; j++)
                points[i * size + j] = corner + i * line + j * channels;
        return;
    }
    for (int i = 0; i < size; i++) {
        bool row_inside = row + i >= 0 && row + i < w->height;
        for (int j = 0; j < size; j++) {
            bool inside = row_inside && column + j >= 0 && column + j < w->width;
            points[i * size + j] = inside ? corner + i * line + j * channels : outside;
        }
    }
}

/* Transforms input patches of tiles [first, first + count), channels [channel, channel + in_chunk). */
static void transform_inputs(const Winograd *w, float *v, const float *x, int64_t first, int64_t count,
                             int64_t channel, int64_t channels, const float *zeros) {
    const float *points[FREQUENCIES];
    for (int64_t t = 0; t < count; t++) {
        TilePlace place = tile_place(w, first + t);
        pixel_pointers(points, w, x + channel, w->in_channels, place.sample, place.row - 1, place.column - 1,
                       POINTS, zeros);
        w->loops.input_tile(v + t * w->in_chunk, w->in_stride, points, channels);
    }
}

/* addend: as y, or NULL. */
static void transform_outputs(const Winograd *w, float *y, const float *m, const float *bias,
                              const float *addend, int64_t first, int64_t count, int64_t channel,
                              int64_t channels) {
    const float *points[TILE * TILE], *addends[TILE * TILE];
    float *targets[TILE * TILE];
    for (int64_t t = 0; t < count; t++) {
        TilePlace place = tile_place(w, first + t);
        pixel_pointers(points, w, y + channel, w->out_channels, place.sample, place.row, place.column, TILE,
                       NULL);
        for (int i = 0; i < TILE * TILE; i++)
            targets[i] = (float *)(uintptr_t)points[i];
        if (addend)
            pixel_pointers(addends, w, addend + channel, w->out_channels, place.sample, place.row,
                           place.column, TILE, NULL);
        w->loops.output_tile(targets, m + t * w->out_chunk, w->out_stride, bias ? bias + channel : NULL,
                             addend ? addends : NULL, channels);
    }
}

static void transform_gradients(const Winograd *w, float *v, const float *dy, int64_t first, int64_t count,
                                int64_t channel, int64_t channels, const float *zeros) {
    const float *points[TILE * TILE];
    for (int64_t t = 0; t < count; t++) {
        TilePlace place = tile_place(w, first + t);
        pixel_pointers(points, w, dy + channel, w->out_channels, place.sample, place.row, place.column, TILE,
                       zeros);
        w->loops.gradient_tile(v + t * w->out_chunk, w->out_stride, points, channels);
    }
}

/* ---- forward and backward data ----
 * packed: for each block of out_chunk output channels, frequency and input channel, the block's weights. */

static Status pack(const Convolution *self, const float *plain, void *packed) {
    const Winograd *w = (const Winograd *)self;
    const int64_t taps = KERNEL * KERNEL;
    bool forward = w->pass == CONVOLUTION_FORWARD;
    /* plain is (small, large, taps): forward small = out, backward data small = in */
    int64_t out_step = forward ? w->in_channels * taps : taps,
            in_step = forward ? taps : w->out_channels * taps;
    for (int64_t block = 0; block < w->out_channels; block += w->out_chunk) {
        int64_t width = smaller(w->out_chunk, w->out_channels - block);
        float *u = (float *)packed + block * w->in_channels * FREQUENCIES;
        for (int64_t lane = 0; lane < width; lane += w->loops.lanes)
            for (int64_t c = 0; c < w->in_channels; c++)
                w->loops.filter_in(u + c * width + lane, w->in_channels * width,
                                   plain + (block + lane) * out_step + c * in_step, out_step, !forward);
    }
    return STATUS_OK;
}

static void convolve(const Winograd *w, float *y, const float *x, const float *packed, const float *bias,
                     const float *addend, float *scratch) {
    float *zeros = scratch, *v = zeros + rounded_up(w->in_channels, CACHE_LINE_FLOATS);
    float *m = v + FREQUENCIES * w->in_stride;
    memset(zeros, 0, (size_t)w->in_channels * sizeof *zeros);
    for (int64_t first = 0; first < w->tiles; first += w->block_tiles) {
        int64_t count = smaller(w->block_tiles, w->tiles - first);
        transform_inputs(w, v, x, first, count, 0, w->in_channels, zeros);
        for (int64_t block = 0; block < w->out_channels; block += w->out_chunk) {
            int64_t width = smaller(w->out_chunk, w->out_channels - block);
            const float *u = packed + block * w->in_channels * FREQUENCIES;
            for (int f = 0; f < FREQUENCIES; f++)
                w->loops.multiply(m + f * w->out_stride, w->out_chunk, v + f * w->in_stride, w->in_chunk, 1,
                                  u + f * w->in_channels * width, width, count, w->in_channels, width, false);
            transform_outputs(w, y, m, bias, addend, first, count, block, width);
        }
    }
}

static Status run_data(const Convolution *self, float *large, void *weights, float *bias, const float *addend,
                       float *small, void *scratch) {
    const Winograd *w = (const Winograd *)self;
    if (w->pass == CONVOLUTION_FORWARD)
        convolve(w, small, large, weights, bias, addend, scratch);
    else
        convolve(w, large, small, weights, NULL, NULL, scratch);
    return STATUS_OK;
}

/* ---- backward weights ---- */

/* products (in_chunk, out_chunk) per frequency of one pair of channel chunks, over all tiles in order */
static void sum_products(const Winograd *w, float *products, const float *x, const float *dy,
                         int64_t in_first, int64_t out_first, float *v, float *g, const float *zeros) {
    int64_t in_width = smaller(w->in_chunk, w->in_channels - in_first);
    int64_t out_width = smaller(w->out_chunk, w->out_channels - out_first);
    for (int64_t first = 0; first < w->tiles; first += w->block_tiles) {
        int64_t count = smaller(w->block_tiles, w->tiles - first);
        if (count < w->tiles || out_first == 0) /* a single block's inputs stay from the chunk before */
            transform_inputs(w, v, x, first, count, in_first, in_width, zeros);
        transform_gradients(w, g, dy, first, count, out_first, out_width, zeros);
        for (int f = 0; f < FREQUENCIES; f++)
            w->loops.multiply(products + f * w->product_stride, w->out_chunk, v + f * w->in_stride, 1,
                              w->in_chunk, g + f * w->out_stride, w->out_chunk, in_width, count, out_width,
                              first > 0);
    }
}

static Status run_weights(const Convolution *self, float *large, void *weights, float *bias,
                          const float *addend, float *small, void *scratch) {
    const Winograd *w = (const Winograd *)self;
    (void)addend;
    const int64_t taps = KERNEL * KERNEL;
    float *zeros = scratch, *v = zeros + rounded_up(w->in_chunk + w->out_chunk, CACHE_LINE_FLOATS);
    float *g = v + FREQUENCIES * w->in_stride, *products = g + FREQUENCIES * w->out_stride;
    memset(zeros, 0, (size_t)(w->in_chunk + w->out_chunk) * sizeof *zeros);
    for (int64_t in = 0; in < w->in_channels; in += w->in_chunk)
        for (int64_t out = 0; out < w->out_channels; out += w->out_chunk) {
            int64_t in_width = smaller(w->in_chunk, w->in_channels - in);
            int64_t out_width = smaller(w->out_chunk, w->out_channels - out);
            sum_products(w, products, large, small, in, out, v, g, zeros);
            for (int64_t lane = 0; lane < out_width; lane += w->loops.lanes)
                for (int64_t c = 0; c < in_width; c++)
                    w->loops.filter_out((float *)weights + ((out + lane) * w->in_channels + in + c) * taps,
                                        w->in_channels * taps, products + c * w->out_chunk + lane,
                                        w->product_stride);
        }
    if (bias)
        convolution_sum_pixels(bias, small, w->samples * w->height * w->width, w->out_channels);
    return STATUS_OK;
}

/* ---- creation ---- */

static void destroy(Convolution *self) {
    free(self);
}

static WinogradLoops choose_loops(void) {
#ifdef SIMD16_COMPILED
    if (simd16_available())
        return loops_16;
#endif
    return loops_8;
}

static bool suits(const ConvolutionGeometry *geometry, int lanes) {
    return geometry->kernel == KERNEL && geometry->stride == 1 && geometry->pad == 1 &&
           geometry->large_c % lanes == 0 && geometry->small_c % lanes == 0;
}

/* Whole blocks of about equal size that fit the cache. */
static int64_t choose_block_tiles(int64_t tiles, int64_t channels) {
    int64_t most =
        BLOCK_BYTES / (FREQUENCIES * channels * (int64_t)sizeof(float)) / ROW_MULTIPLE * ROW_MULTIPLE;
    most = most < ROW_MULTIPLE ? ROW_MULTIPLE : smaller(most, MAX_BLOCK_TILES);
    int64_t blocks = (tiles + most - 1) / most;
    return rounded_up((tiles + blocks - 1) / blocks, ROW_MULTIPLE);
}

static void lay_out(Winograd *w) {
    bool gradient = w->pass == CONVOLUTION_BACKWARD_WEIGHTS;
    w->in_chunk = gradient ? smaller(GRADIENT_CHUNK, w->in_channels) : w->in_channels;
    w->out_chunk = smaller(gradient ? GRADIENT_CHUNK : 2 * w->loops.lanes, w->out_channels);
    w->block_tiles = choose_block_tiles(w->tiles, w->in_chunk);
    /* an extra cache line keeps the frequencies of one tile from falling into one cache set */
    w->in_stride = w->block_tiles * w->in_chunk + CACHE_LINE_FLOATS;
    w->out_stride = w->block_tiles * w->out_chunk + CACHE_LINE_FLOATS;
    int64_t zeros = rounded_up(gradient ? w->in_chunk + w->out_chunk : w->in_channels, CACHE_LINE_FLOATS);
    w->product_stride = gradient ? w->in_chunk * w->out_chunk + CACHE_LINE_FLOATS : 0;
    w->base.scratch_bytes =
        (size_t)(zeros + FREQUENCIES * (w->in_stride + w->out_stride + w->product_stride)) * sizeof(float);
    w->base.packed_bytes =
        gradient ? 0 : (size_t)(FREQUENCIES * w->in_channels * w->out_channels) * sizeof(float);
}

Status winograd_convolution_create(Convolution **convolution, const ConvolutionGeometry *geometry,
                                   ConvolutionPass pass) {
    Status status = STATUS_OK;
    Winograd *w = NULL;
    WinogradLoops loops = choose_loops();
    *convolution = NULL;
    if (!suits(geometry, loops.lanes))
        goto done;
    TRY(ALLOCATE(&w, 1));
    w->loops = loops;
    w->pass = pass;
    w->samples = geometry->samples;
    w->height = geometry->large_h;
    w->width = geometry->large_w;
    w->in_channels = pass == CONVOLUTION_BACKWARD_DATA ? geometry->small_c : geometry->large_c;
    w->out_channels = pass == CONVOLUTION_BACKWARD_DATA ? geometry->large_c : geometry->small_c;
    w->tile_rows = (w->height + TILE - 1) / TILE;
    w->tile_columns = (w->width + TILE - 1) / TILE;
    w->tiles = w->samples * w->tile_rows * w->tile_columns;
    lay_out(w);
    w->base.implementation = loops.lanes == SIMD16_LANES ? "winograd:avx512" : "winograd";
    w->base.pack = pack;
    w->base.run = pass == CONVOLUTION_BACKWARD_WEIGHTS ? run_weights : run_data;
    w->base.destroy = destroy;
    *convolution = &w->base;
done:
    return status;
}
