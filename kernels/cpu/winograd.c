/* Convolutions by Winograd's minimal filtering (Lavin and Gray, arXiv:1509.09308), on tiles of 4x4 output
 * pixels:
 *
 *   forward           y  = A^T [(G g G^T) . (B^T d B)] A
 *   backward data     the same with the filter turned by 180 degrees and its channels exchanged
 *   backward weights  dg = G^T [(A dy A^T) . (B^T d B)] G, summed over tiles
 *
 * where the products "." over channels are matrix products, one for each frequency.
 *
 * 3x3 with stride 1 and padding 1: F(4x4, 3x3), 36 frequencies, a quarter of the direct method's
 * multiplications. The interpolation points are 0, +-5/8, +-3/2 and infinity: their rounding errors are half
 * those of the usual 0, +-1, +-2 (relative L2 error of one layer 1e-6, the direct method's 0.5e-6).
 *
 * 4x4 with stride 2 and padding 1: four convolutions of 2x2 with stride 1, one for each phase of the large
 * tensor's rows and columns (even, odd), by F(4x4, 2x2), 25 frequencies, 0.39 of the multiplications. The
 * points are +-1/2, +-5/4 and infinity (error 1.6 times the direct method's; the best of those tried). */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/convolution.h"
#include "kernels/cpu/simd.h"

enum { TILE = 4, MOST_TAPS = 9, MOST_POINTS = TILE + 3 - 1, MOST_PHASES = 4 };

/* Powers of the points, all exact, and 1 over the product of a point's distances to the others. For 3x3 a =
 * 5/8 and b = 3/2, for 2x2 c = 1/2 and d = 5/4. */
#define A1 0.625f
#define A2 0.390625f
#define B1 1.5f
#define B2 2.25f
#define SCALE_0 (1 / (A2 * B2))
#define SCALE_A (1 / (2 * A2 * (A2 - B2)))
#define SCALE_B (1 / (2 * B2 * (B2 - A2)))
#define C1 0.5f
#define C2 0.25f
#define D1 1.25f
#define D2 1.5625f
#define SCALE_C (1 / (2 * C1 * (C2 - D2)))
#define SCALE_D (1 / (2 * D1 * (D2 - C2)))

/* The inner loops for one instruction set and filters of 3x3 or 2x2; winograd_tiles.inc says what each does.
 */
typedef struct WinogradLoops {
    int lanes;
    void (*input_tile)(float *v, int64_t stride, const float *const *points, int64_t channels);
    void (*output_tile)(float *const *points, const float *m, int64_t stride, const float *bias,
                        const float *const *addends, int64_t channels);
    void (*gradient_tile)(float *w, int64_t stride, const float *const *points, int64_t channels);
    void (*filter_in)(float *u, int64_t stride, const float *g, int64_t g_lane, const int *offsets);
    void (*filter_out)(float *g, int64_t g_lane, const int *offsets, const float *p, int64_t stride);
    void (*multiply)(float *c, int64_t c_row, const float *a, int64_t a_row, int64_t a_step, const float *b,
                     int64_t b_step, int64_t rows, int64_t depth, int64_t columns, bool add);
} WinogradLoops;

#define LANES SIMD_LANES
#define VECTOR SimdFloat
#define SIMD(word) simd_##word
#define WIDE(word) word##_8
#define ROWS 6
#include "kernels/cpu/winograd_vector.inc"
#undef LANES
#undef VECTOR
#undef SIMD
#undef WIDE
#undef ROWS

#ifdef SIMD16_COMPILED
SIMD16_BEGIN
#define LANES SIMD16_LANES
#define VECTOR Simd16Float
#define SIMD(word) simd16_##word
#define WIDE(word) word##_16
#define ROWS 8
#include "kernels/cpu/winograd_vector.inc"
#undef LANES
#undef VECTOR
#undef SIMD
#undef WIDE
#undef ROWS
SIMD16_END
#endif

/* A tensor, NHWC, of which tiles take every stride-th pixel of every stride-th row. */
typedef struct Plane {
    int64_t height, width, channels, stride;
} Plane;

/* One of the convolutions with stride 1 that the pass consists of. */
typedef struct Phase {
    int64_t in_row, in_column;   /* of tile (0, 0)'s patch in the input, */
    int64_t out_row, out_column; /* and of its first pixel in the output */
    int offsets[MOST_TAPS];      /* of its taps in the plain filter */
} Phase;

typedef struct Winograd {
    Convolution base;
    WinogradLoops loops;
    ConvolutionPass pass;
    int points, frequencies, taps; /* a side of a patch; its square; taps of the plain filter */
    int64_t samples;
    Plane in, out; /* of the pass: backward data exchanges them */
    int phases;
    int joined; /* phases whose products are summed as if their channels were one tensor's: forward all, else
                   1 */
    Phase phase[MOST_PHASES];
    int64_t tile_rows, tile_columns; /* per sample */
    int64_t tiles, block_tiles;      /* of all samples; worked on together */
    int64_t in_chunk, out_chunk;     /* channels worked on together, input channels of all joined phases */
    int64_t in_stride, out_stride;   /* floats between frequencies in the blocks of transformed tiles */
    int64_t product_stride;          /* likewise in the products of the backward weights pass */
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
    int64_t sample, row, column; /* first pixel, in tiles' own pixels */
} TilePlace;

static TilePlace tile_place(const Winograd *w, int64_t tile) {
    int64_t per_sample = w->tile_rows * w->tile_columns, within = tile % per_sample;
    TilePlace place = {tile / per_sample, within / w->tile_columns * TILE, within % w->tile_columns * TILE};
    return place;
}

/* Pointers to size x size of a plane's pixels from (row, column) of a sample on; `outside` where there is
 * none. */
static inline void pixel_pointers(const float **points, const Plane *plane, const float *tensor,
                                  int64_t sample, int64_t row, int64_t column, int size,
                                  const float *outside) {
    const float *corner = tensor + ((sample * plane->height + row) * plane->width + column) * plane->channels;
    const int64_t step = plane->stride * plane->channels, line = step * plane->width;
    const int64_t reach = (size - 1) * plane->stride;
    if (row >= 0 && column >= 0 && row + reach < plane->height && column + reach < plane->width) {
        for (int i = 0; i < size; i++)
            for (int j = 0; j < size; j++)
                points[i * size + j] = corner + i * line + j * step;
        return;
    }
    for (int i = 0; i < size; i++) {
        int64_t y = row + i * plane->stride;
        for (int j = 0; j < size; j++) {
            int64_t x = column + j * plane->stride;
            bool inside = y >= 0 && y < plane->height && x >= 0 && x < plane->width;
            points[i * size + j] = inside ? corner + i * line + j * step : outside;
        }
    }
}

/* Transforms a phase's input patches of tiles [first, first + count), channels [channel, channel + channels).
 */
static void transform_inputs(const Winograd *w, float *v, const float *x, const Phase *phase, int64_t first,
                             int64_t count, int64_t channel, int64_t channels, const float *zeros) {
    const float *points[MOST_POINTS * MOST_POINTS];
    for (int64_t t = 0; t < count; t++) {
        TilePlace place = tile_place(w, first + t);
        pixel_pointers(points, &w->in, x + channel, place.sample, place.row * w->in.stride + phase->in_row,
                       place.column * w->in.stride + phase->in_column, w->points, zeros);
        w->loops.input_tile(v + t * w->in_chunk, w->in_stride, points, channels);
    }
}

static void tile_pointers(const Winograd *w, const float **points, const float *y, const Phase *phase,
                          int64_t tile, const float *outside) {
    TilePlace place = tile_place(w, tile);
    pixel_pointers(points, &w->out, y, place.sample, place.row * w->out.stride + phase->out_row,
                   place.column * w->out.stride + phase->out_column, TILE, outside);
}

/* addend: as y, or NULL. */
static void transform_outputs(const Winograd *w, float *y, const float *m, const float *bias,
                              const float *addend, const Phase *phase, int64_t first, int64_t count,
                              int64_t channel, int64_t channels) {
    const float *points[TILE * TILE], *addends[TILE * TILE];
    float *targets[TILE * TILE];
    for (int64_t t = 0; t < count; t++) {
        tile_pointers(w, points, y + channel, phase, first + t, NULL);
        for (int i = 0; i < TILE * TILE; i++)
            targets[i] = (float *)(uintptr_t)points[i];
        if (addend)
            tile_pointers(w, addends, addend + channel, phase, first + t, NULL);
        w->loops.output_tile(targets, m + t * w->out_chunk, w->out_stride, bias ? bias + channel : NULL,
                             addend ? addends : NULL, channels);
    }
}

static void transform_gradients(const Winograd *w, float *v, const float *dy, const Phase *phase,
                                int64_t first, int64_t count, int64_t channel, int64_t channels,
                                const float *zeros) {
    const float *points[TILE * TILE];
    for (int64_t t = 0; t < count; t++) {
        tile_pointers(w, points, dy + channel, phase, first + t, zeros);
        w->loops.gradient_tile(v + t * w->out_chunk, w->out_stride, points, channels);
    }
}

/* ---- forward and backward data ----
 * packed: for each group of joined phases, block of out_chunk output channels, frequency, phase of the group
 * and input channel, the block's weights. */

static int64_t group_elements(const Winograd *w) {
    return w->joined * w->in.channels * w->out.channels * w->frequencies;
}

static Status pack(const Convolution *self, const float *plain, void *packed) {
    const Winograd *w = (const Winograd *)self;
    bool forward = w->pass == CONVOLUTION_FORWARD;
    /* plain is (small, large, taps): forward small = out, backward data small = in */
    int64_t out_step = forward ? w->in.channels * w->taps : w->taps,
            in_step = forward ? w->taps : w->out.channels * w->taps;
    for (int64_t block = 0; block < w->out.channels; block += w->out_chunk) {
        int64_t width = smaller(w->out_chunk, w->out.channels - block);
        for (int p = 0; p < w->phases; p++) {
            float *u = (float *)packed + p / w->joined * group_elements(w) +
                       block * w->in_chunk * w->frequencies + p % w->joined * w->in.channels * width;
            for (int64_t lane = 0; lane < width; lane += w->loops.lanes)
                for (int64_t c = 0; c < w->in.channels; c++)
                    w->loops.filter_in(u + c * width + lane, w->in_chunk * width,
                                       plain + (block + lane) * out_step + c * in_step, out_step,
                                       w->phase[p].offsets);
        }
    }
    return STATUS_OK;
}

/* A group of phases on one block of tiles. */
static void convolve_block(const Winograd *w, float *y, const float *x, int group, const float *packed,
                           const float *bias, const float *addend, int64_t first, float *zeros) {
    const Phase *phases = &w->phase[group * w->joined];
    float *v = zeros + rounded_up(w->in.channels, CACHE_LINE_FLOATS);
    float *m = v + w->frequencies * w->in_stride;
    const int64_t count = smaller(w->block_tiles, w->tiles - first);
    for (int j = 0; j < w->joined; j++)
        transform_inputs(w, v + j * w->in.channels, x, &phases[j], first, count, 0, w->in.channels, zeros);
    for (int64_t block = 0; block < w->out.channels; block += w->out_chunk) {
        int64_t width = smaller(w->out_chunk, w->out.channels - block);
        const float *u = packed + group * group_elements(w) + block * w->in_chunk * w->frequencies;
        for (int f = 0; f < w->frequencies; f++)
            w->loops.multiply(m + f * w->out_stride, w->out_chunk, v + f * w->in_stride, w->in_chunk, 1,
                              u + f * w->in_chunk * width, width, count, w->in_chunk, width, false);
        transform_outputs(w, y, m, bias, addend, phases, first, count, block, width);
    }
}

static void convolve(const Winograd *w, float *y, const float *x, const float *packed, const float *bias,
                     const float *addend, float *scratch) {
    memset(scratch, 0, (size_t)w->in.channels * sizeof *scratch);
    for (int group = 0; group < w->phases / w->joined; group++)
        for (int64_t first = 0; first < w->tiles; first += w->block_tiles)
            convolve_block(w, y, x, group, packed, bias, addend, first, scratch);
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

/* products (in_chunk, out_chunk) per frequency of one pair of channel chunks and a phase, over all tiles in
 * order */
static void sum_products(const Winograd *w, float *products, const float *x, const float *dy,
                         const Phase *phase, int64_t in_first, int64_t out_first, float *v, float *g,
                         const float *zeros) {
    int64_t in_width = smaller(w->in_chunk, w->in.channels - in_first);
    int64_t out_width = smaller(w->out_chunk, w->out.channels - out_first);
    for (int64_t first = 0; first < w->tiles; first += w->block_tiles) {
        int64_t count = smaller(w->block_tiles, w->tiles - first);
        if (count < w->tiles || out_first == 0) /* a single block's inputs stay from the chunk before */
            transform_inputs(w, v, x, phase, first, count, in_first, in_width, zeros);
        transform_gradients(w, g, dy, phase, first, count, out_first, out_width, zeros);
        for (int f = 0; f < w->frequencies; f++)
            w->loops.multiply(products + f * w->product_stride, w->out_chunk, v + f * w->in_stride, 1,
                              w->in_chunk, g + f * w->out_stride, w->out_chunk, in_width, count, out_width,
                              first > 0);
    }
}

static void phase_weights(const Winograd *w, float *weights, const float *x, const float *dy,
                          const Phase *phase, float *zeros) {
    float *v = zeros + rounded_up(w->in_chunk + w->out_chunk, CACHE_LINE_FLOATS);
    float *g = v + w->frequencies * w->in_stride, *products = g + w->frequencies * w->out_stride;
    for (int64_t in = 0; in < w->in.channels; in += w->in_chunk)
        for (int64_t out = 0; out < w->out.channels; out += w->out_chunk) {
            int64_t in_width = smaller(w->in_chunk, w->in.channels - in);
            int64_t out_width = smaller(w->out_chunk, w->out.channels - out);
            sum_products(w, products, x, dy, phase, in, out, v, g, zeros);
            for (int64_t lane = 0; lane < out_width; lane += w->loops.lanes)
                for (int64_t c = 0; c < in_width; c++)
                    w->loops.filter_out(weights + ((out + lane) * w->in.channels + in + c) * w->taps,
                                        w->in.channels * w->taps, phase->offsets,
                                        products + c * w->out_chunk + lane, w->product_stride);
        }
}

static Status run_weights(const Convolution *self, float *large, void *weights, float *bias,
                          const float *addend, float *small, void *scratch) {
    const Winograd *w = (const Winograd *)self;
    (void)addend;
    memset(scratch, 0, (size_t)(w->in_chunk + w->out_chunk) * sizeof(float));
    for (int p = 0; p < w->phases; p++)
        phase_weights(w, weights, large, small, &w->phase[p], scratch);
    if (bias)
        convolution_sum_pixels(bias, small, w->samples * w->out.height * w->out.width, w->out.channels);
    return STATUS_OK;
}

/* ---- creation ---- */

static void destroy(Convolution *self) {
    free(self);
}

static WinogradLoops choose_loops(int kernel) {
#ifdef SIMD16_COMPILED
    if (simd16_available())
        return kernel == 3 ? loops_3_16 : loops_2_16;
#endif
    return kernel == 3 ? loops_3_8 : loops_2_8;
}

static bool suits(const ConvolutionGeometry *geometry, int lanes) {
    bool plain = geometry->kernel == 3 && geometry->stride == 1,
         halving = geometry->kernel == 4 && geometry->stride == 2;
    return (plain || halving) && geometry->pad == 1 &&
           geometry->large_h == geometry->stride * geometry->small_h &&
           geometry->large_w == geometry->stride * geometry->small_w && geometry->large_c % lanes == 0 &&
           geometry->small_c % lanes == 0;
}

/* Along one axis, small i and large r = stride i + tap - pad are joined by a tap. The taps of one remainder
 * belong to the large pixels of one parity, and are the taps of a convolution with stride 1:
 *
 *   forward         small i reads large stride i + tap - pad, from the phase's first tap on
 *   backward data   large stride k + parity reads small k + (parity + pad - tap) / stride, from its last tap
 * on
 */
static void set_phase(Phase *phase, const ConvolutionGeometry *geometry, int kernel, bool data,
                      int row_parity, int column_parity) {
    const int stride = geometry->stride, pad = geometry->pad, span = stride * (kernel - 1);
    const int row_tap = (row_parity + pad) % stride, column_tap = (column_parity + pad) % stride;
    phase->in_row = data ? (row_parity + pad - row_tap - span) / stride : row_tap - pad;
    phase->in_column = data ? (column_parity + pad - column_tap - span) / stride : column_tap - pad;
    phase->out_row = data ? row_parity : 0;
    phase->out_column = data ? column_parity : 0;
    for (int i = 0; i < kernel; i++)
        for (int j = 0; j < kernel; j++) {
            int row = data ? kernel - 1 - i : i, column = data ? kernel - 1 - j : j;
            phase->offsets[i * kernel + j] =
                (row_tap + stride * row) * geometry->kernel + column_tap + stride * column;
        }
}

/* Whole blocks of about equal size that fit the cache. */
static int64_t choose_block_tiles(const Winograd *w) {
    int64_t most =
        BLOCK_BYTES / (w->frequencies * w->in_chunk * (int64_t)sizeof(float)) / ROW_MULTIPLE * ROW_MULTIPLE;
    most = most < ROW_MULTIPLE ? ROW_MULTIPLE : smaller(most, MAX_BLOCK_TILES);
    int64_t blocks = (w->tiles + most - 1) / most;
    return rounded_up((w->tiles + blocks - 1) / blocks, ROW_MULTIPLE);
}

static void lay_out(Winograd *w) {
    bool gradient = w->pass == CONVOLUTION_BACKWARD_WEIGHTS;
    w->in_chunk = gradient ? smaller(GRADIENT_CHUNK, w->in.channels) : w->joined * w->in.channels;
    w->out_chunk = smaller(gradient ? GRADIENT_CHUNK : 2 * w->loops.lanes, w->out.channels);
    w->block_tiles = choose_block_tiles(w);
    /* an extra cache line keeps the frequencies of one tile from falling into one cache set */
    w->in_stride = w->block_tiles * w->in_chunk + CACHE_LINE_FLOATS;
    w->out_stride = w->block_tiles * w->out_chunk + CACHE_LINE_FLOATS;
    int64_t zeros = rounded_up(gradient ? w->in_chunk + w->out_chunk : w->in.channels, CACHE_LINE_FLOATS);
    w->product_stride = gradient ? w->in_chunk * w->out_chunk + CACHE_LINE_FLOATS : 0;
    w->base.scratch_bytes =
        (size_t)(zeros + w->frequencies * (w->in_stride + w->out_stride + w->product_stride)) * sizeof(float);
    w->base.packed_bytes = gradient ? 0 : (size_t)(w->phases / w->joined * group_elements(w)) * sizeof(float);
}

Status winograd_convolution_create(Convolution **convolution, const ConvolutionGeometry *geometry,
                                   ConvolutionPass pass) {
    Status status = STATUS_OK;
    Winograd *w = NULL;
    const int stride = geometry->stride, kernel = stride == 1 ? 3 : 2;
    const bool data = pass == CONVOLUTION_BACKWARD_DATA;
    const WinogradLoops loops = choose_loops(kernel);
    *convolution = NULL;
    if (!suits(geometry, loops.lanes))
        goto done;
    TRY(ALLOCATE(&w, 1));
    const Plane large = {geometry->large_h, geometry->large_w, geometry->large_c, stride},
                small = {geometry->small_h, geometry->small_w, geometry->small_c, 1};
    w->loops = loops;
    w->pass = pass;
    w->points = TILE + kernel - 1;
    w->frequencies = w->points * w->points;
    w->taps = geometry->kernel * geometry->kernel;
    w->samples = geometry->samples;
    w->in = data ? small : large;
    w->out = data ? large : small;
    w->phases = stride * stride;
    w->joined = pass == CONVOLUTION_FORWARD ? w->phases : 1;
    for (int p = 0; p < w->phases; p++)
        set_phase(&w->phase[p], geometry, kernel, data, p / stride, p % stride);
    w->tile_rows = (small.height + TILE - 1) / TILE;
    w->tile_columns = (small.width + TILE - 1) / TILE;
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
