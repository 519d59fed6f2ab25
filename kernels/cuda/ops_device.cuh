/* Device helpers of the op kernels: 16-byte accesses, and sums within a block in a fixed order. */
#ifndef KERNELS_CUDA_OPS_DEVICE_CUH
#define KERNELS_CUDA_OPS_DEVICE_CUH

#include <cuda_bf16.h>

#include "kernels/cuda/ops_math.h"

typedef __nv_bfloat16 bf16_t;

/* V elements of T as one access, and as floats. */
template <typename T, int V> struct Access;

template <> struct Access<float, 1> {
    typedef float Raw;
    static __device__ void unpack(Raw raw, float (&v)[1]) {
        v[0] = raw;
    }
    static __device__ Raw pack(const float (&v)[1]) {
        return v[0];
    }
};

template <> struct Access<bf16_t, 1> {
    typedef unsigned short Raw;
    static __device__ void unpack(Raw raw, float (&v)[1]) {
        v[0] = __uint_as_float((unsigned)raw << 16);
    }
    static __device__ Raw pack(const float (&v)[1]) {
        return __bfloat16_as_ushort(__float2bfloat16_rn(v[0]));
    }
};

template <> struct Access<float, 4> {
    typedef float4 Raw;
    static __device__ void unpack(Raw raw, float (&v)[4]) {
        v[0] = raw.x;
        v[1] = raw.y;
        v[2] = raw.z;
        v[3] = raw.w;
    }
    static __device__ Raw pack(const float (&v)[4]) {
        return make_float4(v[0], v[1], v[2], v[3]);
    }
};

template <> struct Access<bf16_t, 8> {
    typedef uint4 Raw;
    static __device__ void unpack_pair(unsigned pair, float &low, float &high) {
        low = __uint_as_float(pair << 16);
        high = __uint_as_float(pair & 0xffff0000u);
    }
    static __device__ unsigned pack_pair(float low, float high) {
        __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
        return (unsigned)__bfloat16_as_ushort(pair.x) | (unsigned)__bfloat16_as_ushort(pair.y) << 16;
    }
    static __device__ void unpack(Raw raw, float (&v)[8]) {
        unpack_pair(raw.x, v[0], v[1]);
        unpack_pair(raw.y, v[2], v[3]);
        unpack_pair(raw.z, v[4], v[5]);
        unpack_pair(raw.w, v[6], v[7]);
    }
    static __device__ Raw pack(const float (&v)[8]) {
        return make_uint4(pack_pair(v[0], v[1]), pack_pair(v[2], v[3]), pack_pair(v[4], v[5]),
                          pack_pair(v[6], v[7]));
    }
};

/* Elements of T, V to an access, as a value that a function template deduces them from. */
template <typename T, int V> struct Elements {};

/* function(Elements<T, V>()), by element type and whether accesses are of 16 bytes or of one element. */
template <typename Function> auto for_elements(bool bf16, bool wide, Function function) {
    if (bf16)
        return wide ? function(Elements<bf16_t, 8>()) : function(Elements<bf16_t, 1>());
    return wide ? function(Elements<float, 4>()) : function(Elements<float, 1>());
}

/* Access number `index` of an array in global memory that the kernel only reads. */
template <typename T, int V> __device__ typename Access<T, V>::Raw load_raw(const T *from, int64_t index) {
    return __ldg(reinterpret_cast<const typename Access<T, V>::Raw *>(from) + index);
}

template <typename T, int V> __device__ void load(const T *from, int64_t index, float (&v)[V]) {
    Access<T, V>::unpack(load_raw<T, V>(from, index), v);
}

template <typename T, int V> __device__ void store(T *to, int64_t index, const float (&v)[V]) {
    reinterpret_cast<typename Access<T, V>::Raw *>(to)[index] = Access<T, V>::pack(v);
}

/* V floats in shared memory from `from` on, 16-byte aligned if V is a multiple of 4. */
template <int V> __device__ void load_shared(const float *from, float (&v)[V]) {
    if (V % 4 == 0) {
#pragma unroll
        for (int k = 0; k < V / 4; k++) {
            float4 part = reinterpret_cast<const float4 *>(from)[k];
            v[4 * k] = part.x;
            v[4 * k + 1] = part.y;
            v[4 * k + 2] = part.z;
            v[4 * k + 3] = part.w;
        }
    } else {
#pragma unroll
        for (int k = 0; k < V; k++)
            v[k] = from[k];
    }
}

template <int V> __device__ void store_shared(float *to, const float (&v)[V]) {
    if (V % 4 == 0) {
#pragma unroll
        for (int k = 0; k < V / 4; k++)
            reinterpret_cast<float4 *>(to)[k] =
                make_float4(v[4 * k], v[4 * k + 1], v[4 * k + 2], v[4 * k + 3]);
    } else {
#pragma unroll
        for (int k = 0; k < V; k++)
            to[k] = v[k];
    }
}

/* The sum over the warp, the same on all lanes. */
__device__ inline float warp_sum(float value) {
#pragma unroll
    for (int distance = OPS_WARP / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}

/* Each thread's V per-channel sums -> partial (slots, channels), whose columns remain to be added up;
 * channels = map.lanes * V. To be called by all threads; ends with a barrier. sums: (map.threads, V) floats,
 * free again afterwards unless they are `partial` too; then the caller puts a barrier between reading them
 * and the next call. */
template <int V>
__device__ void block_channel_sums(const float (&value)[V], float *sums, float *partial, LaneMap map,
                                   int slots) {
    int thread = (int)threadIdx.x, channels = map.lanes * V;
    if (thread < map.rows * map.lanes)
        store_shared<V>(sums + thread * V, value);
    __syncthreads();
    /* Element (slot, channel) adds up rows slot, slot + slots, ..., the first of which may be its own place:
     * no other element reads these rows. */
    for (int i = thread; i < slots * channels; i += (int)blockDim.x) {
        int slot = i / channels, channel = i - slot * channels;
        float sum = 0;
#pragma unroll 4
        for (int row = slot; row < map.rows; row += slots)
            sum += sums[row * channels + channel];
        partial[i] = sum;
    }
    __syncthreads();
}

/* The sum of one column of block_channel_sums' result. */
__device__ inline float slot_sum(const float *sums, int slots, int channels, int channel) {
    float sum = 0;
#pragma unroll 4
    for (int slot = 0; slot < slots; slot++)
        sum += sums[slot * channels + channel];
    return sum;
}

/* sigmoid(x); bf16 results do not show the last bits, so they may come from the fast units. */
template <typename T> __device__ float sigmoid_for(float x);

template <> __device__ inline float sigmoid_for<float>(float x) {
    return 1 / (1 + expf(-x));
}

template <> __device__ inline float sigmoid_for<bf16_t>(float x) {
    return __fdividef(1, 1 + __expf(-x));
}

#endif
