/* Launch geometry and index maps of the CUDA kernels of ops: compiled by nvcc for the device and by gcc for
 * the host's tests, which walk every block and thread. A geometry depends on one sample's shape alone where
 * the order of summation follows from it, so that results do not depend on the number of samples. */
#ifndef KERNELS_CUDA_OPS_MATH_H
#define KERNELS_CUDA_OPS_MATH_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __CUDACC__
#define OPS_FUNCTION static inline __host__ __device__
#else
#define OPS_FUNCTION static inline
#endif

enum { OPS_WARP = 32, OPS_VECTOR_BYTES = 16, OPS_THREADS = 256, OPS_MAX_BLOCKS = 1 << 16 };

OPS_FUNCTION int64_t ops_divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

OPS_FUNCTION int64_t ops_smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

OPS_FUNCTION int64_t ops_larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

OPS_FUNCTION int64_t ops_round_up(int64_t a, int64_t b) {
    return ops_divide_up(a, b) * b;
}

/* Elements per access: 16 bytes if they divide a pixel's channels, else one element. */
OPS_FUNCTION int ops_vector(int64_t channels, int element_bytes) {
    int vector = OPS_VECTOR_BYTES / element_bytes;
    return channels % vector == 0 ? vector : 1;
}

/* Blocks of a loop in which every thread goes on by gridDim * blockDim. */
OPS_FUNCTION int ops_loop_blocks(int64_t items) {
    return (int)ops_larger(1, ops_smaller(ops_divide_up(items, OPS_THREADS), OPS_MAX_BLOCKS));
}

/* ---- threads over (pixel, channel vector): thread = row * lanes + lane ----
 * A thread keeps its channels, and steps through the pixels row, row + rows, ... Threads from rows * lanes on
 * are idle. */
typedef struct LaneMap {
    int lanes, rows, threads;
} LaneMap;

OPS_FUNCTION LaneMap lane_map(int lanes, int threads) {
    LaneMap map;
    map.lanes = lanes;
    map.threads = threads;
    map.rows = threads / lanes;
    return map;
}

OPS_FUNCTION int lane_of(LaneMap map, int thread) {
    return thread % map.lanes;
}

OPS_FUNCTION int row_of(LaneMap map, int thread) {
    return thread / map.lanes;
}

/* Per-channel sums of a block: `rows` rows of `channels` partial sums are added up to this many. */
OPS_FUNCTION int lane_slots(LaneMap map, int channels) {
    return (int)ops_larger(1, ops_smaller(map.rows, map.threads / channels));
}

/* ---- group_norm ---- */

enum {
    GROUP_NORM_THREADS = 512,
    GROUP_NORM_BACKWARD_THREADS = 320, /* 2 blocks of them leave 100 registers to a thread */
    GROUP_NORM_VECTORS = 4,            /* per thread, where the sample is large enough */
    GROUP_NORM_SEGMENT = 64,           /* bytes of one pixel that a block reads */
    GROUP_NORM_BACKWARD_SEGMENT = 32,  /* smaller: it keeps two tensors */
    GROUP_NORM_CHANNEL_ARRAYS = 7,     /* of the backward kernel */
    GROUP_NORM_QUANTITIES = 3,         /* that the backward kernel sums per channel */
    GROUP_NORM_GROUP_ARRAYS = 2,
};

/* One block per (sample, range of whole groups): block = sample * splits + split. */
typedef struct GroupNormPlan {
    int pixels, channels, groups, width; /* width: channels per group */
    int dx_channels;                     /* of dx (backward): all, or the first ones where there is dx_rest */
    int block_groups, block_channels, splits;
    int vector, slots;
    LaneMap map;
    bool staged; /* the block's part of the sample stays in shared memory between passes */
    /* byte offsets in shared memory: x; gradient in float (backward); sums (threads, vector); sums of three
     * quantities (3, slots, block_channels) and per-channel arrays (both backward); per-group arrays */
    int slope_offset, sums_offset, partial_offset, channel_offset, group_offset, shared_bytes;
} GroupNormPlan;

OPS_FUNCTION void group_norm_layout(GroupNormPlan *plan, int element_bytes, bool backward, bool staged) {
    int64_t elements = staged ? (int64_t)plan->pixels * plan->block_channels : 0;
    int64_t slope = ops_round_up(elements * element_bytes, OPS_VECTOR_BYTES);
    int64_t sums = slope + ops_round_up(backward ? elements * (int64_t)sizeof(float) : 0, OPS_VECTOR_BYTES);
    int64_t partial = sums + ops_round_up((int64_t)plan->map.threads * plan->vector * (int64_t)sizeof(float),
                                          OPS_VECTOR_BYTES);
    int64_t quantities = backward ? GROUP_NORM_QUANTITIES : 0;
    int64_t channel =
        partial + ops_round_up(quantities * plan->slots * plan->block_channels * (int64_t)sizeof(float),
                               OPS_VECTOR_BYTES);
    int64_t arrays = backward ? GROUP_NORM_CHANNEL_ARRAYS : 0;
    int64_t group =
        channel + ops_round_up(arrays * plan->block_channels * (int64_t)sizeof(float), OPS_VECTOR_BYTES);
    int64_t bytes = group + (int64_t)GROUP_NORM_GROUP_ARRAYS * plan->block_groups * (int64_t)sizeof(float);
    plan->staged = staged;
    plan->slope_offset = (int)ops_smaller(slope, INT32_MAX);
    plan->sums_offset = (int)ops_smaller(sums, INT32_MAX);
    plan->partial_offset = (int)ops_smaller(partial, INT32_MAX);
    plan->channel_offset = (int)ops_smaller(channel, INT32_MAX);
    plan->group_offset = (int)ops_smaller(group, INT32_MAX);
    plan->shared_bytes = (int)ops_smaller(bytes, INT32_MAX);
}

/* The plan with this many groups per block. */
OPS_FUNCTION void group_norm_split(GroupNormPlan *plan, int block_groups, int element_bytes, bool backward,
                                   bool staged) {
    int largest = backward ? GROUP_NORM_BACKWARD_THREADS : GROUP_NORM_THREADS;
    plan->block_groups = block_groups;
    plan->block_channels = block_groups * plan->width;
    plan->splits = plan->groups / block_groups;
    int lanes = plan->block_channels / plan->vector;
    int64_t wanted = ops_divide_up((int64_t)plan->pixels * lanes, GROUP_NORM_VECTORS);
    int64_t threads = ops_larger(ops_larger(wanted, lanes), 2 * OPS_WARP);
    plan->map = lane_map(lanes, (int)ops_smaller(ops_round_up(threads, OPS_WARP), largest));
    plan->slots = lane_slots(plan->map, plan->block_channels);
    group_norm_layout(plan, element_bytes, backward, staged);
}

/* Whole vectors and at least one row of threads. */
OPS_FUNCTION bool group_norm_splits_at(const GroupNormPlan *plan, int block_groups, bool backward) {
    int largest = backward ? GROUP_NORM_BACKWARD_THREADS : GROUP_NORM_THREADS;
    int64_t block_channels = (int64_t)block_groups * plan->width;
    return plan->groups % block_groups == 0 && block_channels % plan->vector == 0 &&
           block_channels / plan->vector <= largest;
}

/* false: more channels in a group than a block can hold. dx_channels: 0 for the forward pass. shared_limit:
 * bytes of shared memory per block. */
OPS_FUNCTION bool group_norm_plan(GroupNormPlan *plan, int64_t pixels, int64_t channels, int groups,
                                  int element_bytes, int64_t dx_channels, int64_t shared_limit) {
    const bool backward = dx_channels > 0;
    int segment = backward ? GROUP_NORM_BACKWARD_SEGMENT : GROUP_NORM_SEGMENT, chosen = 0, fitting = 0;
    plan->pixels = (int)pixels;
    plan->channels = (int)channels;
    plan->groups = groups;
    plan->width = (int)(channels / groups);
    plan->dx_channels = (int)dx_channels;
    plan->vector = ops_vector(channels, element_bytes);
    plan->vector = dx_channels % plan->vector == 0 ? plan->vector : 1; /* no vector in both dx and dx_rest */
    for (int k = 1; k <= groups; k++) {
        if (!group_norm_splits_at(plan, k, backward))
            continue;
        chosen = k;
        group_norm_split(plan, k, element_bytes, backward, true);
        fitting = plan->shared_bytes <= shared_limit ? k : fitting;
        if (k * plan->width * element_bytes >= segment)
            break;
    }
    if (chosen == 0)
        return false;
    group_norm_split(plan, fitting ? fitting : chosen, element_bytes, backward, fitting != 0);
    return plan->shared_bytes <= shared_limit;
}

/* Means of the gradient over a group, from per-channel sums over the pixels:
 *   slope = dy act'(gamma xhat + beta); sum_slope, sum_slope_xhat per channel
 *   dz = rstd (gamma slope - mean_1 - xhat mean_2)
 *   mean_1 = sum over the group of gamma sum_slope / count, mean_2 = the same of gamma sum_slope_xhat */
OPS_FUNCTION float group_norm_dz(float gamma, float rstd, float slope, float xhat, float mean_1,
                                 float mean_2) {
    return rstd * (gamma * slope - mean_1 - xhat * mean_2);
}

/* Sum of dz over a channel's pixels. */
OPS_FUNCTION float group_norm_dshift(float gamma, float rstd, float sum_slope, float sum_xhat, float mean_1,
                                     float mean_2, int pixels) {
    return rstd * (gamma * sum_slope - (float)pixels * mean_1 - sum_xhat * mean_2);
}

/* d silu(u) / du, with s = sigmoid(u). */
OPS_FUNCTION float silu_slope_of(float u, float s) {
    return s * (1 + u * (1 - s));
}

/* ---- time embedding ---- */

/* The angle t f as half turns in [-1, 1]; half_turns = f / pi. Exact enough for sincospi in float at any t,
 * where the float product t f would be wrong by t times half an epsilon. */
OPS_FUNCTION float time_embedding_half_turns(float t, double half_turns) {
    double angle = (double)t * half_turns;
    return (float)(angle - 2 * rint(angle / 2));
}

/* ---- linear: C(m, n) = sum over k of A(m, k) B(k, n) by tiles ---- */

enum { LINEAR_TILE = 16, LINEAR_DEPTH = 64, LINEAR_CHAINS = 4 };

OPS_FUNCTION int64_t linear_blocks(int64_t rows, int64_t columns) {
    return ops_divide_up(rows, LINEAR_TILE) * ops_divide_up(columns, LINEAR_TILE);
}

#endif
