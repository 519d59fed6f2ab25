#include "kernels/cuda/convolution_loops.h"

#include <cuda_bf16.h>

#include "kernels/cuda/launch.cuh"

namespace {

constexpr int THREADS = 256;
constexpr int64_t MAX_BLOCKS = 1 << 16, CHUNK_PIXELS = 256;
constexpr int BF16_WIDTH = 8, FLOAT_WIDTH = 4; /* elements of 16 bytes */

__device__ float to_float(float value) {
    return value;
}
__device__ float to_float(__nv_bfloat16 value) {
    return __bfloat162float(value);
}
__device__ void store(float *to, float value) {
    *to = value;
}
__device__ void store(__nv_bfloat16 *to, float value) {
    *to = __float2bfloat16_rn(value);
}

/* WIDTH values moved by one instruction. */
template <typename T, int WIDTH> struct alignas(sizeof(T) * WIDTH) Vector { T v[WIDTH]; };

unsigned blocks_for(int64_t items) {
    int64_t blocks = (items + THREADS - 1) / THREADS;
    return (unsigned)(blocks < 1 ? 1 : blocks > MAX_BLOCKS ? MAX_BLOCKS : blocks);
}

__device__ int64_t first_item() {
    return (int64_t)blockIdx.x * THREADS + threadIdx.x;
}

__device__ int64_t item_step() {
    return (int64_t)gridDim.x * THREADS;
}

template <typename T, int WIDTH>
__global__ void __launch_bounds__(THREADS)
    add_to_rows(T *__restrict__ y, const T *__restrict__ addend, const T *__restrict__ bias, int64_t vectors,
                int64_t row_vectors) {
    typedef Vector<T, WIDTH> Values;
    for (int64_t at = first_item(); at < vectors; at += item_step()) {
        int64_t channel = at % row_vectors * WIDTH;
        Values value = reinterpret_cast<Values *>(y)[at], added = {};
        if (addend)
            added = reinterpret_cast<const Values *>(addend)[at];
#pragma unroll
        for (int i = 0; i < WIDTH; i++) {
            float sum = to_float(value.v[i]) + to_float(added.v[i]);
            store(&value.v[i], bias ? sum + to_float(bias[channel + i]) : sum);
        }
        reinterpret_cast<Values *>(y)[at] = value;
    }
}

/* Sums of CHUNK_PIXELS rows: blockIdx.x is the chunk, blockIdx.y a group of columns. The block is `lanes`
 * wide, a lane holding WIDTH neighbouring columns, and THREADS / lanes rows high; partial (chunks, channels).
 */
template <typename T, int WIDTH>
__global__ void __launch_bounds__(THREADS)
    sum_chunks(const T *__restrict__ values, float *__restrict__ partial, int64_t pixels, int64_t channels,
               int lanes) {
    __shared__ float sums[THREADS * WIDTH];
    int lane = threadIdx.x % lanes, row = threadIdx.x / lanes, rows = THREADS / lanes;
    int64_t column = ((int64_t)blockIdx.y * lanes + lane) * WIDTH;
    int64_t first = (int64_t)blockIdx.x * CHUNK_PIXELS;
    int64_t end = first + CHUNK_PIXELS < pixels ? first + CHUNK_PIXELS : pixels;
    float total[WIDTH] = {};
    if (column < channels && row < rows)
        for (int64_t pixel = first + row; pixel < end; pixel += rows) {
            Vector<T, WIDTH> value =
                *reinterpret_cast<const Vector<T, WIDTH> *>(values + pixel * channels + column);
#pragma unroll
            for (int i = 0; i < WIDTH; i++)
                total[i] += to_float(value.v[i]);
        }
#pragma unroll
    for (int i = 0; i < WIDTH; i++)
        sums[threadIdx.x * WIDTH + i] = total[i];
    __syncthreads();
    /* One thread per column adds the rows, in order. */
    for (int at = threadIdx.x; at < lanes * WIDTH; at += THREADS) {
        int64_t c = (int64_t)blockIdx.y * lanes * WIDTH + at;
        float sum = 0;
        for (int r = 0; r < rows; r++)
            sum += sums[r * lanes * WIDTH + at];
        if (c < channels)
            partial[blockIdx.x * channels + c] = sum;
    }
}

template <typename T>
__global__ void __launch_bounds__(THREADS) fill_random(T *values, int64_t count, uint32_t seed) {
    for (int64_t at = first_item(); at < count; at += item_step()) {
        uint32_t bits = (uint32_t)at * 2654435761u + seed * 40503u;
        bits = (bits ^ bits >> 15) * 2246822519u;
        bits = (bits ^ bits >> 13) * 3266489917u;
        store(&values[at], (float)(bits >> 8) * (1.0f / 8388608.0f) - 1.0f); /* 2^-23 of 24 bits */
    }
}

template <typename T, int WIDTH>
Status launch_add(void *y, const void *addend, const void *bias, int64_t pixels, int64_t channels) {
    int64_t vectors = pixels * channels / WIDTH;
    return cuda_launch("add_to_convolution", add_to_rows<T, WIDTH>, blocks_for(vectors), THREADS, 0, (T *)y,
                       (const T *)addend, (const T *)bias, vectors, channels / WIDTH);
}

template <typename T, int WIDTH>
Status launch_sum_chunks(const void *values, float *partial, int64_t pixels, int64_t channels) {
    int64_t vectors = channels / WIDTH, lanes = vectors < THREADS ? vectors : THREADS;
    dim3 grid((unsigned)cuda_pixel_chunks(pixels), (unsigned)((vectors + lanes - 1) / lanes));
    return cuda_launch("sum_chunks", sum_chunks<T, WIDTH>, grid, THREADS, 0, (const T *)values, partial,
                       pixels, channels, (int)lanes);
}

} // namespace

Status cuda_add_to_convolution(void *y, DataType type, const void *addend, const void *bias, int64_t pixels,
                               int64_t channels) {
    if (type == DATA_BF16)
        return channels % BF16_WIDTH == 0
                   ? launch_add<__nv_bfloat16, BF16_WIDTH>(y, addend, bias, pixels, channels)
                   : launch_add<__nv_bfloat16, 1>(y, addend, bias, pixels, channels);
    return channels % FLOAT_WIDTH == 0 ? launch_add<float, FLOAT_WIDTH>(y, addend, bias, pixels, channels)
                                       : launch_add<float, 1>(y, addend, bias, pixels, channels);
}

int64_t cuda_pixel_chunks(int64_t pixels) {
    return (pixels + CHUNK_PIXELS - 1) / CHUNK_PIXELS;
}

Status cuda_sum_chunks(const void *values, DataType type, float *sums, int64_t pixels, int64_t channels) {
    if (type == DATA_BF16)
        return channels % BF16_WIDTH == 0
                   ? launch_sum_chunks<__nv_bfloat16, BF16_WIDTH>(values, sums, pixels, channels)
                   : launch_sum_chunks<__nv_bfloat16, 1>(values, sums, pixels, channels);
    return channels % FLOAT_WIDTH == 0 ? launch_sum_chunks<float, FLOAT_WIDTH>(values, sums, pixels, channels)
                                       : launch_sum_chunks<float, 1>(values, sums, pixels, channels);
}

Status cuda_fill_random(void *values, DataType type, int64_t count, uint32_t seed) {
    return type == DATA_BF16 ? cuda_launch("fill_random", fill_random<__nv_bfloat16>, blocks_for(count),
                                           THREADS, 0, (__nv_bfloat16 *)values, count, seed)
                             : cuda_launch("fill_random", fill_random<float>, blocks_for(count), THREADS, 0,
                                           (float *)values, count, seed);
}
