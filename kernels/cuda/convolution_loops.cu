#include "kernels/cuda/convolution_loops.h"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ops_device.cuh"

namespace {

constexpr int CHUNK_ROUNDS = 8, CHUNK_PIXELS = 64; /* vectors that a thread adds up, and pixels, at least */

__device__ int64_t first_item() {
    return (int64_t)blockIdx.x * OPS_THREADS + threadIdx.x;
}

__device__ int64_t item_step() {
    return (int64_t)gridDim.x * OPS_THREADS;
}

template <typename T, int WIDTH>
__device__ void add_vector(typename Access<T, WIDTH>::Raw raw, float (&total)[WIDTH]) {
    float value[WIDTH];
    Access<T, WIDTH>::unpack(raw, value);
#pragma unroll
    for (int i = 0; i < WIDTH; i++)
        total[i] += value[i];
}

/* bias: as the channels, in vectors. */
template <typename T, int WIDTH>
__global__ void __launch_bounds__(OPS_THREADS)
    add_to_rows(T *y, const T *addend, const T *bias, int64_t vectors, unsigned row_vectors) {
    for (int64_t at = first_item(); at < vectors; at += item_step()) {
        float sum[WIDTH];
        Access<T, WIDTH>::unpack(reinterpret_cast<typename Access<T, WIDTH>::Raw *>(y)[at], sum);
        if (addend)
            add_vector<T, WIDTH>(load_raw<T, WIDTH>(addend, at), sum);
        if (bias) /* fewer than 2^31 elements: the index fits */
            add_vector<T, WIDTH>(load_raw<T, WIDTH>(bias, (unsigned)at % row_vectors), sum);
        store<T, WIDTH>(y, at, sum);
    }
}

/* How a block adds up pixels: it is `lanes` wide, a lane holding neighbouring columns, and `rows` high. */
struct ChunkMap {
    int lanes, rows;
    int64_t groups; /* of columns */
    int64_t pixels; /* of a chunk */
};

int vector_of(DataType type, int64_t channels) {
    return ops_vector(channels, (int)data_type_bytes(type));
}

/* Chunks so small that few pixels of many channels, too, are added up by many blocks. */
ChunkMap chunk_map(DataType type, int64_t channels) {
    const int64_t vectors = channels / vector_of(type, channels);
    ChunkMap map;
    map.lanes = (int)ops_smaller(vectors, OPS_THREADS);
    map.rows = OPS_THREADS / map.lanes;
    map.groups = (vectors + map.lanes - 1) / map.lanes;
    map.pixels = map.rows * CHUNK_ROUNDS > CHUNK_PIXELS ? map.rows * CHUNK_ROUNDS : CHUNK_PIXELS;
    return map;
}

/* Sums of chunks of pixels: blockIdx.x is the chunk, blockIdx.y a group of columns; partial (chunks,
 * channels). */
template <typename T, int WIDTH>
__global__ void __launch_bounds__(OPS_THREADS)
    sum_chunks(const T *values, float *partial, int64_t pixels, int64_t channels, ChunkMap map) {
    __shared__ __align__(16) float sums[OPS_THREADS * WIDTH];
    const int lanes = map.lanes, rows = map.rows, lane = threadIdx.x % lanes, row = threadIdx.x / lanes;
    const int64_t vectors = channels / WIDTH, vector = (int64_t)blockIdx.y * lanes + lane;
    const int64_t first = (int64_t)blockIdx.x * map.pixels + row;
    const int64_t end = ops_smaller((int64_t)(blockIdx.x + 1) * map.pixels, pixels);
    const int rounds = vector < vectors && row < rows ? (int)ops_divide_up(end - first, rows) : 0;
    float total[WIDTH] = {};
    int k = 0;
    for (; k + CHUNK_ROUNDS <= rounds; k += CHUNK_ROUNDS) { /* all loads of a turn under way at once */
        typename Access<T, WIDTH>::Raw raw[CHUNK_ROUNDS];
#pragma unroll
        for (int j = 0; j < CHUNK_ROUNDS; j++)
            raw[j] = load_raw<T, WIDTH>(values, (first + (int64_t)(k + j) * rows) * vectors + vector);
#pragma unroll
        for (int j = 0; j < CHUNK_ROUNDS; j++)
            add_vector<T, WIDTH>(raw[j], total);
    }
    for (; k < rounds; k++)
        add_vector<T, WIDTH>(load_raw<T, WIDTH>(values, (first + (int64_t)k * rows) * vectors + vector),
                             total);
    store_shared<WIDTH>(sums + threadIdx.x * WIDTH, total);
    __syncthreads();
    /* One thread per column adds the rows, in order. */
    for (int at = threadIdx.x; at < lanes * WIDTH; at += OPS_THREADS) {
        int64_t c = (int64_t)blockIdx.y * lanes * WIDTH + at;
        float sum = 0;
#pragma unroll 8
        for (int r = 0; r < rows; r++)
            sum += sums[r * lanes * WIDTH + at];
        if (c < channels)
            partial[blockIdx.x * channels + c] = sum;
    }
}

template <typename T>
__global__ void __launch_bounds__(OPS_THREADS) fill_random(T *values, int64_t count, uint32_t seed) {
    for (int64_t at = first_item(); at < count; at += item_step()) {
        uint32_t bits = (uint32_t)at * 2654435761u + seed * 40503u;
        bits = (bits ^ bits >> 15) * 2246822519u;
        bits = (bits ^ bits >> 13) * 3266489917u;
        const float value[1] = {(float)(bits >> 8) * (1.0f / 8388608.0f) - 1.0f}; /* 2^-23 of 24 bits */
        store<T, 1>(values, at, value);
    }
}

template <typename T, int WIDTH>
Status launch_add(Elements<T, WIDTH>, void *y, const void *addend, const void *bias, int64_t pixels,
                  int64_t channels) {
    int64_t vectors = pixels * channels / WIDTH;
    return cuda_launch("add_to_convolution", add_to_rows<T, WIDTH>, ops_loop_blocks(vectors), OPS_THREADS, 0,
                       (T *)y, (const T *)addend, (const T *)bias, vectors, (unsigned)(channels / WIDTH));
}

template <typename T, int WIDTH>
Status launch_sum_chunks(Elements<T, WIDTH>, const void *values, float *partial, int64_t pixels,
                         int64_t channels, ChunkMap map) {
    dim3 grid((unsigned)ops_divide_up(pixels, map.pixels), (unsigned)map.groups);
    return cuda_launch("sum_chunks", sum_chunks<T, WIDTH>, grid, OPS_THREADS, 0, (const T *)values, partial,
                       pixels, channels, map);
}

} // namespace

Status cuda_add_to_convolution(void *y, DataType type, const void *addend, const void *bias, int64_t pixels,
                               int64_t channels) {
    return for_elements(type == DATA_BF16, vector_of(type, channels) > 1, [=](auto elements) {
        return launch_add(elements, y, addend, bias, pixels, channels);
    });
}

int64_t cuda_pixel_chunks(DataType type, int64_t pixels, int64_t channels) {
    return ops_divide_up(pixels, chunk_map(type, channels).pixels);
}

Status cuda_sum_chunks(const void *values, DataType type, float *sums, int64_t pixels, int64_t channels) {
    const ChunkMap map = chunk_map(type, channels);
    return for_elements(type == DATA_BF16, vector_of(type, channels) > 1, [=](auto elements) {
        return launch_sum_chunks(elements, values, sums, pixels, channels, map);
    });
}

Status cuda_fill_random(void *values, DataType type, int64_t count, uint32_t seed) {
    return type == DATA_BF16 ? cuda_launch("fill_random", fill_random<bf16_t>, ops_loop_blocks(count),
                                           OPS_THREADS, 0, (bf16_t *)values, count, seed)
                             : cuda_launch("fill_random", fill_random<float>, ops_loop_blocks(count),
                                           OPS_THREADS, 0, (float *)values, count, seed);
}
