/* Launch geometry and index maps of the convolutions with a single channel on one side. See ops_math.h. */
#ifndef KERNELS_CUDA_SINGLE_CHANNEL_MATH_H
#define KERNELS_CUDA_SINGLE_CHANNEL_MATH_H

#include "kernels/cuda/ops_math.h"

/* The side with one channel is the narrow tensor, the other the wide one; the weight is (C, taps) in either
 * role, since one of its channel dimensions is 1.
 *   EXPAND   wide[p, c]   = bias[c] + sum over taps of narrow[source(p, tap)] weight[c, tap]
 *   REDUCE   narrow[p]    = bias + sum over taps and c of wide[source(p, tap), c] weight[c, tap]
 *   WEIGHTS  dw[c, tap]   = sum over wide pixels p of wide[p, c] narrow[source(p, tap)] */
typedef enum SinglePass { SINGLE_EXPAND, SINGLE_REDUCE, SINGLE_WEIGHTS } SinglePass;

/* Whose sum over the pixels the bias gradient is. */
typedef enum SingleBias { SINGLE_BIAS_WIDE, SINGLE_BIAS_NARROW } SingleBias;

typedef struct SingleSize {
    int height, width;
} SingleSize;

enum {
    SINGLE_FAST_KERNEL = 3,
    SINGLE_FAST_TAPS = 9,
    SINGLE_EXPAND_PIXELS = 12, /* per thread, before the grid is full: what it keeps of the weights is dear */
    SINGLE_WEIGHTS_PIXELS = 8, /* likewise */
    SINGLE_WEIGHTS_CHUNKS = 256,   /* at most: parts of the sum over pixels */
    SINGLE_SECTION_CHANNELS = 256, /* at most: the weights or sums of a section are in shared memory */
    SINGLE_REDUCE_ROWS = 14,       /* of target pixels per block */
    SINGLE_REDUCE_SHARED = 48 << 10,
};

typedef struct SinglePlan {
    SinglePass pass;
    SingleBias bias;
    int samples, channels, kernel, taps;
    SingleSize wide, narrow;
    int stride, pad;
    bool scatter;   /* source = (target + pad - tap) / stride where that is whole; else target stride + tap -
                       pad */
    bool flip;      /* weights are indexed from their last tap */
    bool fast;      /* 3x3 with stride 1 */
    bool wide_bf16; /* the narrow tensor is float */
    int vector, vectors; /* elements per access; accesses per wide pixel */
    LaneMap map;
    int sections;                       /* of the wide channels, each map.lanes vectors */
    int blocks;                         /* along the pixels */
    int chunk_pixels;                   /* WEIGHTS: wide pixels per block */
    int narrow_chunk;                   /* WEIGHTS: narrow pixels per block, for the bias */
    int band_rows, bands, shared_bytes; /* fast REDUCE: target rows per block, blocks per sample */
} SinglePlan;

/* Source coordinate of a target coordinate and a tap along one axis; negative: none. The caller compares it
 * with the source's size. */
OPS_FUNCTION int single_source(int target, int tap, int stride, int pad, bool scatter) {
    if (!scatter)
        return target * stride + tap - pad;
    int reach = target + pad - tap;
    return reach < 0 || reach % stride != 0 ? -1 : reach / stride;
}

OPS_FUNCTION int single_weight_tap(const SinglePlan *plan, int tap) {
    return plan->flip ? plan->taps - 1 - tap : tap;
}

/* Pixel of a batch of images -> sample, row, column. */
typedef struct SinglePixel {
    int sample, y, x;
} SinglePixel;

OPS_FUNCTION SinglePixel single_pixel(SingleSize size, int index) {
    unsigned i = (unsigned)index, width = (unsigned)size.width, plane = width * (unsigned)size.height;
    unsigned sample = i / plane, rest = i - sample * plane, y = rest / width;
    SinglePixel pixel;
    pixel.sample = (int)sample;
    pixel.y = (int)y;
    pixel.x = (int)(rest - y * width);
    return pixel;
}

OPS_FUNCTION int64_t single_pixels(const SinglePlan *plan, SingleSize size) {
    return (int64_t)plan->samples * size.height * size.width;
}

/* A transposed reading with stride 1 is a plain one with mirrored taps. */
OPS_FUNCTION void single_normalise(SinglePlan *plan) {
    plan->taps = plan->kernel * plan->kernel;
    if (plan->scatter && plan->stride == 1) {
        plan->scatter = false;
        plan->flip = true;
        plan->pad = plan->kernel - 1 - plan->pad;
    }
    plan->fast = plan->kernel == SINGLE_FAST_KERNEL && plan->stride == 1;
}

OPS_FUNCTION int single_next_power(int value) {
    int power = 1;
    while (power < value)
        power *= 2;
    return power;
}

/* Fast REDUCE: `lanes` threads of a warp hold one wide pixel. */
OPS_FUNCTION void single_plan_reduce(SinglePlan *plan) {
    int64_t row_bytes = (int64_t)plan->wide.width * SINGLE_FAST_TAPS * (int64_t)sizeof(float);
    int64_t rows = SINGLE_REDUCE_SHARED / row_bytes - (SINGLE_FAST_KERNEL - 1);
    plan->fast = plan->fast && plan->vectors <= OPS_WARP && rows >= 1;
    if (!plan->fast) { /* a warp per target pixel */
        plan->map = lane_map(OPS_WARP, OPS_THREADS);
        plan->blocks = (int)ops_smaller(ops_divide_up(single_pixels(plan, plan->narrow), plan->map.rows),
                                        OPS_MAX_BLOCKS);
        return;
    }
    rows = ops_smaller(ops_smaller(rows, SINGLE_REDUCE_ROWS), plan->narrow.height);
    plan->map = lane_map(single_next_power(plan->vectors), OPS_THREADS);
    plan->bands = (int)ops_divide_up(plan->narrow.height, rows);
    plan->band_rows = (int)ops_divide_up(plan->narrow.height, plan->bands);
    plan->blocks = plan->samples * plan->bands;
    int64_t weight_bytes = (int64_t)plan->channels * SINGLE_FAST_TAPS * (int64_t)sizeof(float);
    plan->shared_bytes =
        (int)ops_larger((plan->band_rows + SINGLE_FAST_KERNEL - 1) * row_bytes, weight_bytes);
}

/* Fills everything that follows from pass, sizes, kernel, stride, pad, scatter and the types. */
OPS_FUNCTION void single_plan(SinglePlan *plan) {
    single_normalise(plan);
    plan->vector = ops_vector(plan->channels, plan->wide_bf16 ? 2 : 4);
    plan->vectors = plan->channels / plan->vector;
    plan->sections = (int)ops_divide_up(plan->vectors, SINGLE_SECTION_CHANNELS / plan->vector);
    plan->map = lane_map((int)ops_divide_up(plan->vectors, plan->sections), OPS_THREADS);
    int64_t pixels = single_pixels(plan, plan->wide), rows = plan->map.rows;
    if (plan->pass == SINGLE_EXPAND)
        plan->blocks = (int)ops_smaller(ops_divide_up(pixels, rows * SINGLE_EXPAND_PIXELS), OPS_MAX_BLOCKS);
    if (plan->pass == SINGLE_REDUCE)
        single_plan_reduce(plan);
    if (plan->pass == SINGLE_WEIGHTS) {
        int64_t chunks =
            ops_smaller(ops_divide_up(pixels, rows * SINGLE_WEIGHTS_PIXELS), SINGLE_WEIGHTS_CHUNKS);
        plan->chunk_pixels = (int)ops_divide_up(pixels, chunks);
        plan->blocks = (int)ops_divide_up(pixels, plan->chunk_pixels);
        plan->narrow_chunk = (int)ops_divide_up(single_pixels(plan, plan->narrow), plan->blocks);
    }
}

/* WEIGHTS: elements of the bias gradient. */
OPS_FUNCTION int64_t single_biases(const SinglePlan *plan) {
    return plan->bias == SINGLE_BIAS_WIDE ? plan->channels : 1;
}

#endif
