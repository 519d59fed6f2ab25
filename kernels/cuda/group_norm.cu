/* GroupNorm (Wu and He, arXiv:1803.08494) with the shift before it and the SiLU after it, and its gradient.
 *
 * A block owns whole groups of one sample. Where they fit into shared memory, each tensor is read once and
 * written once; else the passes read global memory again. The variance is summed around the mean. A thread
 * reads back only what it staged itself, so barriers are needed for sums alone. */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ops_device.cuh"
#include "kernels/cuda/ops_launch.h"
#include "kernels/cuda/shared.cuh"

namespace {

enum { AHEAD = 4, BACKWARD_AHEAD = 2 }; /* pixels that a thread loads before it uses them */

/* What a block and a thread work on. */
struct Place {
    int sample, first_channel, lane, row;
    bool active;
    int64_t base; /* access number of this thread's channels at pixel 0 */
    int stride;   /* accesses per pixel of the whole tensor */
};

template <int V> __device__ Place place_of(const GroupNormPlan &plan) {
    Place place;
    int thread = (int)threadIdx.x, block = (int)blockIdx.x;
    place.sample = block / plan.splits;
    place.first_channel = (block - place.sample * plan.splits) * plan.block_channels;
    place.lane = lane_of(plan.map, thread);
    place.row = row_of(plan.map, thread);
    place.active = place.row < plan.map.rows;
    place.stride = plan.channels / V;
    place.base = (int64_t)place.sample * plan.pixels * place.stride + place.first_channel / V + place.lane;
    return place;
}

/* x of one pixel: from global memory, or as staged. */
template <typename T, int V, bool STAGED>
__device__ void load_x(const GroupNormPlan &plan, const Place &place, const T *x, const char *shared,
                       int pixel, float (&v)[V]) {
    typedef typename Access<T, V>::Raw Raw;
    if (STAGED)
        Access<T, V>::unpack(reinterpret_cast<const Raw *>(shared)[pixel * plan.map.lanes + place.lane], v);
    else
        load<T, V>(x, place.base + (int64_t)pixel * place.stride, v);
}

/* The thread's next COUNT pixels from `first` on, loaded before any is used: without exits between the loads,
 * which would wait for one another, behind the last pixel that one again. */
template <typename T, int V, int COUNT>
__device__ void load_ahead(const GroupNormPlan &plan, const Place &place, const T *x, int first,
                           typename Access<T, V>::Raw (&raw)[COUNT]) {
#pragma unroll
    for (int k = 0; k < COUNT; k++) {
        const int pixel = min(first + k * plan.map.rows, plan.pixels - 1);
        raw[k] = load_raw<T, V>(x, place.base + (int64_t)pixel * place.stride);
    }
}

/* The block's groups into mean or rstd (N,G); there may be more of them than threads. */
__device__ void write_moments(float *moments, const float *block, const GroupNormPlan &plan) {
    for (int group = (int)threadIdx.x; group < plan.block_groups; group += (int)blockDim.x)
        moments[(int64_t)blockIdx.x * plan.block_groups + group] = block[group];
}

/* use(i, group) for each of a thread's V channels, of which the first is number `channel` of the block; one
 * division for all. */
template <int V, typename Use> __device__ void for_channels(const GroupNormPlan &plan, int channel, Use use) {
    int group = channel / plan.width, end = (group + 1) * plan.width - channel;
#pragma unroll
    for (int i = 0; i < V; i++) {
        if (i == end) {
            group++;
            end += plan.width;
        }
        use(i, group);
    }
}

/* Per-thread channel sums -> statistic[group] = finish(the sum over the group), for each of the block's
 * groups. */
template <int V, typename Finish>
__device__ void block_group_sums(const float (&value)[V], const GroupNormPlan &plan, float *sums,
                                 float *statistic, Finish finish) {
    block_channel_sums<V>(value, sums, sums, plan.map, plan.slots);
    int thread = (int)threadIdx.x, warps = (int)blockDim.x / OPS_WARP, elements = plan.width * plan.slots;
    for (int group = thread / OPS_WARP; group < plan.block_groups; group += warps) {
        float sum = 0;
        for (int i = thread % OPS_WARP; i < elements; i += OPS_WARP) {
            int slot = i / plan.width, channel = i - slot * plan.width;
            sum += sums[slot * plan.block_channels + group * plan.width + channel];
        }
        sum = warp_sum(sum);
        if (thread % OPS_WARP == 0)
            statistic[group] = finish(sum);
    }
    __syncthreads();
}

template <typename T, int V, bool STAGED>
__global__ void __launch_bounds__(GROUP_NORM_THREADS, 2)
    group_norm_kernel(GroupNormPlan plan, bool silu, float epsilon, GroupNormTensors tensors) {
    char *const shared = dynamic_shared();
    typedef typename Access<T, V>::Raw Raw;
    float *sums = reinterpret_cast<float *>(shared + plan.sums_offset);
    const T *x = static_cast<const T *>(tensors.x);
    T *y = static_cast<T *>(tensors.y);
    const Place place = place_of<V>(plan);
    const int channel = place.lane * V; /* within the block */
    const float count = (float)plan.pixels * (float)plan.width;

    float centre[V], sum[V];
#pragma unroll
    for (int i = 0; i < V; i++) {
        centre[i] = 0;
        sum[i] = 0;
    }
    if (place.active) {
        if (tensors.shift) {
#pragma unroll
            for (int i = 0; i < V; i++)
                centre[i] =
                    tensors.shift[place.sample * tensors.shift_pitch + place.first_channel + channel + i];
        }
        for (int first = place.row; first < plan.pixels; first += AHEAD * plan.map.rows) {
            Raw raw[AHEAD];
            load_ahead<T, V>(plan, place, x, first, raw);
#pragma unroll
            for (int k = 0; k < AHEAD; k++) { /* without exits, behind which loads would be put off */
                const int pixel = first + k * plan.map.rows;
                const bool inside = pixel < plan.pixels;
                if (STAGED && inside)
                    reinterpret_cast<Raw *>(shared)[pixel * plan.map.lanes + place.lane] = raw[k];
                float v[V];
                Access<T, V>::unpack(raw[k], v);
#pragma unroll
                for (int i = 0; i < V; i++)
                    sum[i] += inside ? v[i] + centre[i] : 0;
            }
        }
    }
    float *mean = reinterpret_cast<float *>(shared + plan.group_offset), *rstd = mean + plan.block_groups;
    block_group_sums<V>(sum, plan, sums, mean, [=](float total) { return total / count; });
    write_moments(tensors.mean, mean, plan);

    if (place.active) {
        for_channels<V>(plan, channel, [&](int i, int group) {
            centre[i] -= mean[group];
            sum[i] = 0;
        });
        for (int pixel = place.row; pixel < plan.pixels; pixel += plan.map.rows) {
            float v[V];
            load_x<T, V, STAGED>(plan, place, x, shared, pixel, v);
#pragma unroll
            for (int i = 0; i < V; i++)
                sum[i] += (v[i] + centre[i]) * (v[i] + centre[i]);
        }
    }
    block_group_sums<V>(sum, plan, sums, rstd,
                        [=](float total) { return 1 / sqrtf(total / count + epsilon); });
    write_moments(tensors.rstd, rstd, plan);
    if (!place.active)
        return;

    float scale[V], offset[V];
    for_channels<V>(plan, channel, [&](int i, int group) {
        scale[i] = tensors.gamma[place.first_channel + channel + i] * rstd[group];
        offset[i] = tensors.beta[place.first_channel + channel + i];
    });
#pragma unroll 2
    for (int pixel = place.row; pixel < plan.pixels; pixel += plan.map.rows) {
        float v[V];
        load_x<T, V, STAGED>(plan, place, x, shared, pixel, v);
#pragma unroll
        for (int i = 0; i < V; i++) {
            v[i] = (v[i] + centre[i]) * scale[i] + offset[i];
            if (silu)
                v[i] *= sigmoid_for<T>(v[i]);
        }
        store<T, V>(y, place.base + (int64_t)pixel * place.stride, v);
    }
}

/* The backward kernel's arrays per channel of the block, in shared memory. */
struct ChannelArrays {
    float *gamma, *beta, *centre, *rstd;          /* centre: shift - mean */
    float *sum_slope, *sum_slope_xhat, *sum_xhat; /* one behind the other */
};

__device__ ChannelArrays channel_arrays(float *memory, int channels) {
    ChannelArrays a;
    a.gamma = memory;
    a.beta = memory + channels;
    a.centre = memory + 2 * channels;
    a.rstd = memory + 3 * channels;
    a.sum_slope = memory + 4 * channels;
    a.sum_slope_xhat = memory + 5 * channels;
    a.sum_xhat = memory + 6 * channels;
    return a;
}

__device__ void fill_channel_arrays(const ChannelArrays &a, const GroupNormPlan &plan, const Place &place,
                                    const GroupNormBackwardTensors &tensors) {
#pragma unroll 1 /* rarely more than one turn, while registers hold what was loaded before */
    for (int c = (int)threadIdx.x; c < plan.block_channels; c += (int)blockDim.x) {
        int channel = place.first_channel + c;
        int64_t moment = (int64_t)place.sample * plan.groups + channel / plan.width;
        float shift = tensors.shift ? tensors.shift[place.sample * tensors.shift_pitch + channel] : 0;
        a.gamma[c] = tensors.gamma[channel];
        a.beta[c] = tensors.beta[channel];
        a.centre[c] = shift - tensors.mean[moment];
        a.rstd[c] = tensors.rstd[moment];
    }
    __syncthreads();
}

/* xhat from x in place. */
template <int V> __device__ void normalise(const ChannelArrays &a, int channel, float (&v)[V]) {
    float centre[V], rstd[V];
    load_shared<V>(a.centre + channel, centre);
    load_shared<V>(a.rstd + channel, rstd);
#pragma unroll
    for (int i = 0; i < V; i++)
        v[i] = (v[i] + centre[i]) * rstd[i];
}

/* dy -> dy act'(gamma xhat + beta), in place. */
template <typename T, int V>
__device__ void slope_through(const ChannelArrays &a, int channel, const float (&xhat)[V], float (&v)[V]) {
    float gamma[V], beta[V];
    load_shared<V>(a.gamma + channel, gamma);
    load_shared<V>(a.beta + channel, beta);
#pragma unroll
    for (int i = 0; i < V; i++) {
        float u = gamma[i] * xhat[i] + beta[i];
        v[i] *= silu_slope_of(u, sigmoid_for<T>(u));
    }
}

/* The quantities' partial sums (quantities, slots, block_channels) -> totals (quantities, block_channels). */
__device__ void channel_totals(const float *partial, int quantities, const GroupNormPlan &plan,
                               float *totals) {
    for (int i = (int)threadIdx.x; i < quantities * plan.block_channels; i += (int)blockDim.x) {
        const int quantity = i / plan.block_channels, channel = i - quantity * plan.block_channels;
        totals[i] = slot_sum(partial + quantity * plan.slots * plan.block_channels, plan.slots,
                             plan.block_channels, channel);
    }
    __syncthreads();
}

/* mean_1 and mean_2 of group_norm_dz for the block's groups. */
__device__ void group_means(const ChannelArrays &a, const GroupNormPlan &plan, float *mean_1, float *mean_2) {
    int thread = (int)threadIdx.x, warps = (int)blockDim.x / OPS_WARP;
    float count = (float)plan.pixels * (float)plan.width;
    for (int group = thread / OPS_WARP; group < plan.block_groups; group += warps) {
        float slope = 0, product = 0;
        for (int i = thread % OPS_WARP; i < plan.width; i += OPS_WARP) {
            int c = group * plan.width + i;
            slope += a.gamma[c] * a.sum_slope[c];
            product += a.gamma[c] * a.sum_slope_xhat[c];
        }
        slope = warp_sum(slope);
        product = warp_sum(product);
        if (thread % OPS_WARP == 0) {
            mean_1[group] = slope / count;
            mean_2[group] = product / count;
        }
    }
    __syncthreads();
}

/* The block's part of dgamma and dbeta, dshift and dbias; then the sums make room for the means per channel,
 * which the last pass reads. */
__device__ void finish_channels(const ChannelArrays &a, const GroupNormPlan &plan, const Place &place,
                                const GroupNormBackwardTensors &tensors, const float *mean_1,
                                const float *mean_2) {
    const int64_t first = (int64_t)place.sample * plan.channels; /* of the sample's sums */
    for (int c = (int)threadIdx.x; c < plan.block_channels; c += (int)blockDim.x) {
        int channel = place.first_channel + c, group = c / plan.width;
        if (tensors.dgamma) {
            tensors.dgamma[first + channel] = a.sum_slope_xhat[c];
            tensors.dbeta[first + channel] = a.sum_slope[c];
        }
        if (tensors.dshift) {
            const float sum = group_norm_dshift(a.gamma[c], a.rstd[c], a.sum_slope[c], a.sum_xhat[c],
                                                mean_1[group], mean_2[group], plan.pixels);
            tensors.dshift[place.sample * tensors.dshift_pitch + channel] = sum;
            if (tensors.dbias)
                tensors.dbias[first + channel] = sum;
        }
        a.sum_slope[c] = mean_1[group];
        a.sum_slope_xhat[c] = mean_2[group];
    }
    __syncthreads();
}

/* The staged gradient lies in planes of 4 floats, so that a warp's accesses do not meet in a bank. */
template <int V> __device__ void store_slope(float *slope, int index, int plane, const float (&v)[V]) {
    if (V % 4 == 0) {
#pragma unroll
        for (int k = 0; k < V / 4; k++)
            reinterpret_cast<float4 *>(slope)[k * plane + index] =
                make_float4(v[4 * k], v[4 * k + 1], v[4 * k + 2], v[4 * k + 3]);
    } else {
        slope[index] = v[0];
    }
}

template <int V> __device__ void load_slope(const float *slope, int index, int plane, float (&v)[V]) {
    if (V % 4 == 0) {
#pragma unroll
        for (int k = 0; k < V / 4; k++) {
            float4 part = reinterpret_cast<const float4 *>(slope)[k * plane + index];
            v[4 * k] = part.x;
            v[4 * k + 1] = part.y;
            v[4 * k + 2] = part.z;
            v[4 * k + 3] = part.w;
        }
    } else {
        v[0] = slope[index];
    }
}

/* Where the gradient at a thread's channels goes: pixel p's is access number p * stride. */
template <typename T> struct Destination {
    T *start;
    int stride;
};

template <typename T, int V>
__device__ Destination<T> destination_of(const GroupNormPlan &plan, const Place &place,
                                         const GroupNormBackwardTensors &tensors) {
    const int channel = place.first_channel + place.lane * V;
    const bool rest = channel >= plan.dx_channels;
    const int channels = rest ? plan.channels - plan.dx_channels : plan.dx_channels;
    Destination<T> to;
    to.start = static_cast<T *>(rest ? tensors.dx_rest : tensors.dx) +
               (int64_t)place.sample * plan.pixels * channels + channel - (rest ? plan.dx_channels : 0);
    to.stride = channels / V;
    return to;
}

template <typename T, int V, bool STAGED>
__global__ void __launch_bounds__(GROUP_NORM_BACKWARD_THREADS, 2)
    group_norm_backward_kernel(GroupNormPlan plan, bool silu, GroupNormBackwardTensors tensors) {
    char *const shared = dynamic_shared();
    typedef typename Access<T, V>::Raw Raw;
    float *staged_slope = reinterpret_cast<float *>(shared + plan.slope_offset);
    float *sums = reinterpret_cast<float *>(shared + plan.sums_offset);
    float *partial = reinterpret_cast<float *>(shared + plan.partial_offset);
    float *mean_1 = reinterpret_cast<float *>(shared + plan.group_offset);
    float *mean_2 = mean_1 + plan.block_groups;
    const ChannelArrays arrays =
        channel_arrays(reinterpret_cast<float *>(shared + plan.channel_offset), plan.block_channels);
    const T *x = static_cast<const T *>(tensors.x), *dy = static_cast<const T *>(tensors.dy);
    const T *addend = static_cast<const T *>(tensors.addend);
    const Place place = place_of<V>(plan);
    const int channel = place.lane * V, plane = plan.pixels * plan.map.lanes;
    Raw x_raw[BACKWARD_AHEAD], dy_raw[BACKWARD_AHEAD];
    if (place.active) { /* under way while the arrays are filled */
        load_ahead<T, V>(plan, place, x, place.row, x_raw);
        load_ahead<T, V>(plan, place, dy, place.row, dy_raw);
    }
    fill_channel_arrays(arrays, plan, place, tensors);

    float sum_slope[V], sum_slope_xhat[V], sum_xhat[V];
#pragma unroll
    for (int i = 0; i < V; i++) {
        sum_slope[i] = 0;
        sum_slope_xhat[i] = 0;
        sum_xhat[i] = 0;
    }
    if (place.active) {
        for (int first = place.row; first < plan.pixels; first += BACKWARD_AHEAD * plan.map.rows) {
            if (first > place.row) {
                load_ahead<T, V>(plan, place, x, first, x_raw);
                load_ahead<T, V>(plan, place, dy, first, dy_raw);
            }
#pragma unroll
            for (int k = 0; k < BACKWARD_AHEAD; k++) {
                float xhat[V], slope[V];
                const int pixel = first + k * plan.map.rows, index = pixel * plan.map.lanes + place.lane;
                if (pixel >= plan.pixels)
                    break;
                Access<T, V>::unpack(x_raw[k], xhat);
                Access<T, V>::unpack(dy_raw[k], slope);
                normalise<V>(arrays, channel, xhat);
                if (silu)
                    slope_through<T, V>(arrays, channel, xhat, slope);
                if (STAGED) {
                    reinterpret_cast<Raw *>(shared)[index] = x_raw[k];
                    store_slope<V>(staged_slope, index, plane, slope);
                }
#pragma unroll
                for (int i = 0; i < V; i++) {
                    sum_slope[i] += slope[i];
                    sum_slope_xhat[i] += slope[i] * xhat[i];
                    sum_xhat[i] += xhat[i];
                }
            }
        }
    }
    const int partials = plan.slots * plan.block_channels;
    block_channel_sums<V>(sum_slope, sums, partial, plan.map, plan.slots);
    block_channel_sums<V>(sum_slope_xhat, sums, partial + partials, plan.map, plan.slots);
    if (tensors.dshift)
        block_channel_sums<V>(sum_xhat, sums, partial + 2 * partials, plan.map, plan.slots);
    channel_totals(partial, tensors.dshift ? GROUP_NORM_QUANTITIES : GROUP_NORM_QUANTITIES - 1, plan,
                   arrays.sum_slope);
    group_means(arrays, plan, mean_1, mean_2);
    finish_channels(arrays, plan, place, tensors, mean_1, mean_2);
    if (!place.active)
        return;

    const Destination<T> dx = destination_of<T, V>(plan, place, tensors);
    for (int start = place.row; start < plan.pixels; start += BACKWARD_AHEAD * plan.map.rows) {
        Raw addend_raw[BACKWARD_AHEAD];
        if (addend)
            load_ahead<T, V>(plan, place, addend, start, addend_raw);
#pragma unroll
        for (int k = 0; k < BACKWARD_AHEAD; k++) {
            float xhat[V], slope[V], extra[V] = {}, gamma[V], rstd[V], first[V], second[V];
            const int pixel = start + k * plan.map.rows;
            if (pixel >= plan.pixels)
                break;
            if (addend)
                Access<T, V>::unpack(addend_raw[k], extra);
            load_x<T, V, STAGED>(plan, place, x, shared, pixel, xhat);
            normalise<V>(arrays, channel, xhat);
            if (STAGED) {
                load_slope<V>(staged_slope, pixel * plan.map.lanes + place.lane, plane, slope);
            } else {
                load<T, V>(dy, place.base + (int64_t)pixel * place.stride, slope);
                if (silu)
                    slope_through<T, V>(arrays, channel, xhat, slope);
            }
            load_shared<V>(arrays.gamma + channel, gamma);
            load_shared<V>(arrays.rstd + channel, rstd);
            load_shared<V>(arrays.sum_slope + channel, first);
            load_shared<V>(arrays.sum_slope_xhat + channel, second);
#pragma unroll
            for (int i = 0; i < V; i++)
                xhat[i] = group_norm_dz(gamma[i], rstd[i], slope[i], xhat[i], first[i], second[i]) + extra[i];
            store<T, V>(dx.start, (int64_t)pixel * dx.stride, xhat);
        }
    }
}

typedef void (*ForwardKernel)(GroupNormPlan, bool, float, GroupNormTensors);
typedef void (*BackwardKernel)(GroupNormPlan, bool, GroupNormBackwardTensors);

template <typename T, int V> ForwardKernel forward_of(Elements<T, V>, bool staged) {
    return staged ? group_norm_kernel<T, V, true> : group_norm_kernel<T, V, false>;
}

template <typename T, int V> BackwardKernel backward_of(Elements<T, V>, bool staged) {
    return staged ? group_norm_backward_kernel<T, V, true> : group_norm_backward_kernel<T, V, false>;
}

ForwardKernel forward_kernel(const GroupNormPlan *plan, bool bf16) {
    return for_elements(bf16, plan->vector > 1,
                        [=](auto elements) { return forward_of(elements, plan->staged); });
}

BackwardKernel backward_kernel(const GroupNormPlan *plan, bool bf16) {
    return for_elements(bf16, plan->vector > 1,
                        [=](auto elements) { return backward_of(elements, plan->staged); });
}

unsigned norm_blocks(const GroupNormPlan *plan, int64_t samples) {
    return (unsigned)(samples * plan->splits);
}

} // namespace

extern "C" Status cuda_group_norm_allow(const GroupNormPlan *plan, bool bf16, bool backward) {
    const void *kernel = backward ? reinterpret_cast<const void *>(backward_kernel(plan, bf16))
                                  : reinterpret_cast<const void *>(forward_kernel(plan, bf16));
    /* The device's limit, not the plan's need: ops of other sizes share the kernel. */
    int bytes = (int)cuda_context()->shared_bytes;
    return CHECK_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
}

extern "C" Status cuda_group_norm(const GroupNormPlan *plan, int64_t samples, bool bf16, bool silu,
                                  float epsilon, const GroupNormTensors *tensors) {
    return cuda_launch("group_norm", forward_kernel(plan, bf16), norm_blocks(plan, samples),
                       plan->map.threads, plan->shared_bytes, *plan, silu, epsilon, *tensors);
}

extern "C" Status cuda_group_norm_backward(const GroupNormPlan *plan, int64_t samples, bool bf16, bool silu,
                                           const GroupNormBackwardTensors *tensors) {
    return cuda_launch("group_norm_backward", backward_kernel(plan, bf16), norm_blocks(plan, samples),
                       plan->map.threads, plan->shared_bytes, *plan, silu, *tensors);
}
