/* Convolutions with a single channel on one side: see single_channel_math.h for the three passes. Each wide
 * pixel is read or written once, 16 bytes per access where the channels allow. */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ops_device.cuh"
#include "kernels/cuda/ops_launch.h"
#include "kernels/cuda/shared.cuh"

namespace {

/* The narrow value that joins a wide pixel by a tap; 0 outside. */
__device__ float narrow_at(const SinglePlan &plan, const float *narrow, SinglePixel pixel, int tap) {
    int y = single_source(pixel.y, tap / plan.kernel, plan.stride, plan.pad, plan.scatter);
    int x = single_source(pixel.x, tap % plan.kernel, plan.stride, plan.pad, plan.scatter);
    bool inside = y >= 0 && y < plan.narrow.height && x >= 0 && x < plan.narrow.width;
    int index = (pixel.sample * plan.narrow.height + y) * plan.narrow.width + x; /* fewer than 2^31 pixels */
    return inside ? __ldg(narrow + index) : 0;
}

/* Those of all nine taps of a 3x3 with stride 1, without a branch, so that all loads are under way at once.
 */
__device__ void narrow_around(const SinglePlan &plan, const float *narrow, SinglePixel pixel,
                              float (&value)[SINGLE_FAST_TAPS]) {
    const int top = pixel.y - plan.pad, left = pixel.x - plan.pad;
    const int corner = (pixel.sample * plan.narrow.height + top) * plan.narrow.width + left;
#pragma unroll
    for (int tap = 0; tap < SINGLE_FAST_TAPS; tap++) {
        const int down = tap / SINGLE_FAST_KERNEL, right = tap % SINGLE_FAST_KERNEL;
        const bool inside = (unsigned)(top + down) < (unsigned)plan.narrow.height &&
                            (unsigned)(left + right) < (unsigned)plan.narrow.width;
        const float loaded = __ldg(narrow + (inside ? corner + down * plan.narrow.width + right : 0));
        value[tap] = inside ? loaded : 0;
    }
}

/* Weights from global to shared memory, neighbours by neighbours, since a thread's own ones lie far from its
 * neighbour's. By all threads; ends with a barrier. */
__device__ void load_weights(const float *weight, int count, float *shared) {
#pragma unroll 4
    for (int i = (int)threadIdx.x; i < count; i += OPS_THREADS)
        shared[i] = __ldg(weight + i);
    __syncthreads();
}

/* This thread's vector of the wide channels; none if `vector` is not below plan.vectors. */
struct WidePlace {
    int vector, row;
    bool active;
};

__device__ WidePlace wide_place(const SinglePlan &plan) {
    WidePlace place;
    place.vector = (int)blockIdx.y * plan.map.lanes + lane_of(plan.map, (int)threadIdx.x);
    place.row = row_of(plan.map, (int)threadIdx.x);
    place.active = place.row < plan.map.rows && place.vector < plan.vectors;
    return place;
}

/* ---- EXPAND ---- */

/* FAST keeps the thread's weights in registers; otherwise they are read again for every pixel. */
template <typename T, int V, bool FAST>
__global__ void __launch_bounds__(OPS_THREADS)
    expand_kernel(SinglePlan plan, const float *narrow, const float *weight, const float *bias, T *wide) {
    constexpr int KEPT = FAST ? SINGLE_FAST_TAPS : 1;
    __shared__ float section[FAST ? SINGLE_SECTION_CHANNELS * SINGLE_FAST_TAPS : 1];
    const WidePlace place = wide_place(plan);
    const float *own = weight + (int64_t)place.vector * V * plan.taps;
    float kept[KEPT][V], start[V];
    const int first = (int)blockIdx.y * plan.map.lanes; /* vector of the section */
    if (FAST)
        load_weights(weight + (int64_t)first * V * SINGLE_FAST_TAPS,
                     min(plan.map.lanes, plan.vectors - first) * V * SINGLE_FAST_TAPS, section);
    if (!place.active)
        return;
#pragma unroll
    for (int i = 0; i < V; i++) {
        start[i] = bias ? bias[place.vector * V + i] : 0;
#pragma unroll
        for (int tap = 0; tap < KEPT; tap++)
            kept[tap][i] = FAST ? section[((place.vector - first) * V + i) * SINGLE_FAST_TAPS +
                                          single_weight_tap(&plan, tap)]
                                : 0;
    }
    const int pixels = (int)single_pixels(&plan, plan.wide), step = (int)gridDim.x * plan.map.rows;
    for (int64_t p = (int64_t)blockIdx.x * plan.map.rows + place.row; p < pixels; p += step) {
        const SinglePixel pixel = single_pixel(plan.wide, (int)p);
        float sum[V];
#pragma unroll
        for (int i = 0; i < V; i++)
            sum[i] = start[i];
        if (FAST) {
            float value[SINGLE_FAST_TAPS];
            narrow_around(plan, narrow, pixel, value);
#pragma unroll
            for (int tap = 0; tap < KEPT; tap++)
#pragma unroll
                for (int i = 0; i < V; i++)
                    sum[i] += value[tap] * kept[tap][i];
        } else {
            for (int tap = 0; tap < plan.taps; tap++) {
                float value = narrow_at(plan, narrow, pixel, tap);
#pragma unroll
                for (int i = 0; i < V; i++)
                    sum[i] += value * __ldg(own + i * plan.taps + single_weight_tap(&plan, tap));
            }
        }
        store<T, V>(wide, p * plan.vectors + place.vector, sum);
    }
}

/* ---- REDUCE ---- */

/* A block computes a band of rows of one sample. First each source pixel's product with every tap, one pixel
 * per map.lanes threads of a warp, each pixel read once; then a target adds up its nine. */
template <typename T, int V>
__global__ void __launch_bounds__(OPS_THREADS)
    reduce_kernel(SinglePlan plan, const T *wide, const float *weight, const float *bias, float *narrow) {
    float *const products = reinterpret_cast<float *>(dynamic_shared()); /* (source rows, width, taps) */
    const int sample = (int)blockIdx.x / plan.bands, band = (int)blockIdx.x - sample * plan.bands;
    const int first = band * plan.band_rows;
    const int last = min(first + plan.band_rows, plan.narrow.height);
    const int source = max(first - plan.pad, 0);
    const int source_end = min(last - 1 - plan.pad + SINGLE_FAST_KERNEL, plan.wide.height);
    const int lane = lane_of(plan.map, (int)threadIdx.x), row = row_of(plan.map, (int)threadIdx.x);
    const bool active = lane < plan.vectors;

    float kept[SINGLE_FAST_TAPS][V];
    load_weights(weight, plan.channels * SINGLE_FAST_TAPS, products);
#pragma unroll
    for (int tap = 0; tap < SINGLE_FAST_TAPS; tap++)
#pragma unroll
        for (int i = 0; i < V; i++)
            kept[tap][i] =
                active ? products[(lane * V + i) * SINGLE_FAST_TAPS + single_weight_tap(&plan, tap)] : 0;
    __syncthreads(); /* now products take the weights' place */
    const int sources = (source_end - source) * plan.wide.width;
    const int64_t base = ((int64_t)sample * plan.wide.height + source) * plan.wide.width;
    /* All threads of a warp take part in the shuffles, so the bound is the same for all. */
    for (int start = 0; start < sources; start += plan.map.rows) {
        const int p = start + row;
        float v[V], sum[SINGLE_FAST_TAPS];
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] = 0;
        if (active && p < sources)
            load<T, V>(wide, (base + p) * plan.vectors + lane, v);
#pragma unroll
        for (int tap = 0; tap < SINGLE_FAST_TAPS; tap++) {
            sum[tap] = 0;
#pragma unroll
            for (int i = 0; i < V; i++)
                sum[tap] += v[i] * kept[tap][i];
        }
        for (int distance = plan.map.lanes / 2; distance > 0; distance /= 2)
#pragma unroll
            for (int tap = 0; tap < SINGLE_FAST_TAPS; tap++)
                sum[tap] += __shfl_xor_sync(0xffffffffu, sum[tap], distance);
        if (lane == 0 && p < sources)
#pragma unroll
            for (int tap = 0; tap < SINGLE_FAST_TAPS; tap++)
                products[p * SINGLE_FAST_TAPS + tap] = sum[tap];
    }
    __syncthreads();

    const int targets = (last - first) * plan.narrow.width;
    for (int t = (int)threadIdx.x; t < targets; t += (int)blockDim.x) {
        const int row_in_band = t / plan.narrow.width, x = t - row_in_band * plan.narrow.width;
        const int y = first + row_in_band;
        float sum = bias ? bias[0] : 0;
#pragma unroll
        for (int tap = 0; tap < SINGLE_FAST_TAPS; tap++) {
            int sy = y + tap / SINGLE_FAST_KERNEL - plan.pad, sx = x + tap % SINGLE_FAST_KERNEL - plan.pad;
            if (sy >= source && sy < source_end && sx >= 0 && sx < plan.wide.width)
                sum += products[((sy - source) * plan.wide.width + sx) * SINGLE_FAST_TAPS + tap];
        }
        int64_t index = ((int64_t)sample * plan.narrow.height + y) * plan.narrow.width + x;
        narrow[index] = sum;
    }
}

/* Any kernel, stride and number of channels: a warp per target pixel. */
template <typename T>
__global__ void __launch_bounds__(OPS_THREADS)
    reduce_any_kernel(SinglePlan plan, const T *wide, const float *weight, const float *bias, float *narrow) {
    const int lane = lane_of(plan.map, (int)threadIdx.x), row = row_of(plan.map, (int)threadIdx.x);
    const int targets = (int)single_pixels(&plan, plan.narrow), step = (int)gridDim.x * plan.map.rows;
    for (int64_t t = (int64_t)blockIdx.x * plan.map.rows + row; t < targets; t += step) {
        const SinglePixel pixel = single_pixel(plan.narrow, (int)t);
        float sum = 0;
        for (int tap = 0; tap < plan.taps; tap++) {
            int y = single_source(pixel.y, tap / plan.kernel, plan.stride, plan.pad, plan.scatter);
            int x = single_source(pixel.x, tap % plan.kernel, plan.stride, plan.pad, plan.scatter);
            if (y < 0 || y >= plan.wide.height || x < 0 || x >= plan.wide.width)
                continue;
            int64_t source = ((int64_t)pixel.sample * plan.wide.height + y) * plan.wide.width + x;
            for (int c = lane; c < plan.channels; c += OPS_WARP) {
                float v[1];
                load<T, 1>(wide, source * plan.channels + c, v);
                sum += v[0] * __ldg(weight + (int64_t)c * plan.taps + single_weight_tap(&plan, tap));
            }
        }
        sum = warp_sum(sum);
        if (lane == 0)
            narrow[t] = bias ? sum + bias[0] : sum;
    }
}

/* ---- WEIGHTS ---- */

/* The block's part of the sum of the narrow tensor. */
__device__ void narrow_sum(const SinglePlan &plan, const float *narrow, float *sums, float *out) {
    const int64_t pixels = single_pixels(&plan, plan.narrow), start = (int64_t)blockIdx.x * plan.narrow_chunk;
    const int64_t end = min(start + plan.narrow_chunk, pixels);
    const int thread = (int)threadIdx.x;
    float sum = 0;
    for (int64_t p = start + thread; p < end; p += blockDim.x)
        sum += __ldg(narrow + p);
    sum = warp_sum(sum);
    if (thread % OPS_WARP == 0)
        sums[thread / OPS_WARP] = sum;
    __syncthreads();
    if (thread < OPS_WARP) {
        sum = warp_sum(thread < (int)blockDim.x / OPS_WARP ? sums[thread] : 0);
        if (thread == 0)
            *out = sum;
    }
    __syncthreads();
}

/* Block (chunk of wide pixels, section of the channels, group of taps) -> dweight[chunk]: (C, taps), and
 * dbias[chunk], if asked for.
 * FAST: all nine taps at once; otherwise one tap per block, and the wide tensor is read once per tap. */
template <typename T, int V, bool FAST>
__global__ void __launch_bounds__(OPS_THREADS, 2)
    weights_kernel(SinglePlan plan, const T *wide, const float *narrow, float *dweight, float *dbias) {
    constexpr int TAPS = FAST ? SINGLE_FAST_TAPS : 1, QUANTITIES = TAPS + 1; /* the taps', and the bias' */
    __shared__ __align__(16) float sums[OPS_THREADS * V];
    static_assert((int)SINGLE_SECTION_CHANNELS <= (int)OPS_THREADS,
                  "a quantity has at most a partial sum per thread");
    __shared__ float partial[QUANTITIES * OPS_THREADS];
    const WidePlace place = wide_place(plan);
    const int first_tap = (int)blockIdx.z * TAPS;
    float *weight_part = dweight + (int64_t)blockIdx.x * plan.channels * plan.taps;
    float sum[TAPS][V], total[V];
#pragma unroll
    for (int i = 0; i < V; i++) {
        total[i] = 0;
#pragma unroll
        for (int tap = 0; tap < TAPS; tap++)
            sum[tap][i] = 0;
    }
    if (place.active) {
        const int64_t start = (int64_t)blockIdx.x * plan.chunk_pixels;
        const int64_t end = min(start + plan.chunk_pixels, single_pixels(&plan, plan.wide));
        for (int64_t p = start + place.row; p < end; p += plan.map.rows) {
            const SinglePixel pixel = single_pixel(plan.wide, (int)p);
            float v[V];
            load<T, V>(wide, p * plan.vectors + place.vector, v);
#pragma unroll
            for (int i = 0; i < V; i++)
                total[i] += v[i];
            float value[SINGLE_FAST_TAPS];
            if (FAST)
                narrow_around(plan, narrow, pixel, value);
            else
                value[0] = narrow_at(plan, narrow, pixel, first_tap);
#pragma unroll
            for (int tap = 0; tap < TAPS; tap++)
#pragma unroll
                for (int i = 0; i < V; i++)
                    sum[tap][i] += v[i] * value[tap];
        }
    }
    const int channels = plan.map.lanes * V, slots = lane_slots(plan.map, channels), size = slots * channels;
    const bool biases = dbias && blockIdx.z == 0, wide_biases = biases && plan.bias == SINGLE_BIAS_WIDE;
    float *bias_part = biases ? dbias + (int64_t)blockIdx.x * single_biases(&plan) : NULL;
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++)
        block_channel_sums<V>(sum[tap], sums, partial + tap * size, plan.map, slots);
    if (wide_biases)
        block_channel_sums<V>(total, sums, partial + TAPS * size, plan.map, slots);
    for (int i = (int)threadIdx.x; i < (TAPS + wide_biases) * channels; i += (int)blockDim.x) {
        const int quantity = i / channels, c = i - quantity * channels, own = (int)blockIdx.y * channels + c;
        if (own >= plan.channels)
            continue;
        const float whole = slot_sum(partial + quantity * size, slots, channels, c);
        if (quantity == TAPS)
            bias_part[own] = whole;
        else
            weight_part[own * plan.taps + single_weight_tap(&plan, first_tap + quantity)] = whole;
    }
    if (biases && !wide_biases && blockIdx.y == 0)
        narrow_sum(plan, narrow, sums, bias_part);
}

/* ---- launches ---- */

template <typename T, int V>
Status launch_expand(Elements<T, V>, const SinglePlan *plan, const float *narrow, const float *weight,
                     const float *bias, void *wide) {
    const dim3 grid((unsigned)plan->blocks, (unsigned)plan->sections);
    return cuda_launch("single_expand", plan->fast ? expand_kernel<T, V, true> : expand_kernel<T, V, false>,
                       grid, OPS_THREADS, 0, *plan, narrow, weight, bias, static_cast<T *>(wide));
}

template <typename T, int V>
Status launch_reduce(Elements<T, V>, const SinglePlan *plan, const void *wide, const float *weight,
                     const float *bias, float *narrow) {
    return cuda_launch("single_reduce", plan->fast ? reduce_kernel<T, V> : reduce_any_kernel<T>,
                       (unsigned)plan->blocks, OPS_THREADS, plan->fast ? (size_t)plan->shared_bytes : 0,
                       *plan, static_cast<const T *>(wide), weight, bias, narrow);
}

template <typename T, int V>
Status launch_weights(Elements<T, V>, const SinglePlan *plan, const void *wide, const float *narrow,
                      float *dweight, float *dbias) {
    const dim3 grid((unsigned)plan->blocks, (unsigned)plan->sections, plan->fast ? 1 : (unsigned)plan->taps);
    return cuda_launch("single_weights",
                       plan->fast ? weights_kernel<T, V, true> : weights_kernel<T, V, false>, grid,
                       OPS_THREADS, 0, *plan, static_cast<const T *>(wide), narrow, dweight, dbias);
}

} // namespace

extern "C" Status cuda_single_expand(const SinglePlan *plan, const float *narrow, const float *weight,
                                     const float *bias, void *wide) {
    return for_elements(plan->wide_bf16, plan->vector > 1, [=](auto elements) {
        return launch_expand(elements, plan, narrow, weight, bias, wide);
    });
}

extern "C" Status cuda_single_reduce(const SinglePlan *plan, const void *wide, const float *weight,
                                     const float *bias, float *narrow) {
    return for_elements(plan->wide_bf16, plan->vector > 1, [=](auto elements) {
        return launch_reduce(elements, plan, wide, weight, bias, narrow);
    });
}

extern "C" Status cuda_single_weights(const SinglePlan *plan, const void *wide, const float *narrow,
                                      float *dweight, float *dbias) {
    return for_elements(plan->wide_bf16, plan->vector > 1, [=](auto elements) {
        return launch_weights(elements, plan, wide, narrow, dweight, dbias);
    });
}
