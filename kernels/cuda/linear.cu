/* Linear layers of the time path: matrix products of a few hundred rows and columns in float, with an order
 * of summation that depends on neither the number of samples nor a sample's place. Too small for a library's
 * matrix product to gain anything; time is latency, hence small tiles and loads ahead of use. */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ops_device.cuh"
#include "kernels/cuda/ops_launch.h"

namespace {

/* Element (i, k) of a matrix is at data[i * row + k * column]; k is the dimension summed over. */
struct Matrix {
    const float *data;
    int64_t row, column;
};

enum {
    TILE_ELEMENTS = LINEAR_TILE * LINEAR_DEPTH,
    TILE_THREADS = LINEAR_TILE * LINEAR_TILE,
    TILE_LOADS = TILE_ELEMENTS / TILE_THREADS,
    TILE_PITCH = LINEAR_DEPTH + LINEAR_CHAINS, /* 16-byte accesses, in which 8 rows meet in no bank */
};

/* Element number `load` of this thread in a tile. Consecutive threads take consecutive addresses: along k if
 * the matrix is contiguous there, else across it. */
template <bool ALONG_K> __device__ void tile_element(int load, int *i, int *k) {
    int element = load * TILE_THREADS + (int)threadIdx.x;
    *i = ALONG_K ? element / LINEAR_DEPTH : element % LINEAR_TILE;
    *k = ALONG_K ? element % LINEAR_DEPTH : element / LINEAR_TILE;
}

template <bool ALONG_K>
__device__ void fetch_tile(const Matrix &matrix, int64_t first, int64_t limit, int64_t start, int64_t depth,
                           float (&values)[TILE_LOADS]) {
#pragma unroll
    for (int load = 0; load < TILE_LOADS; load++) {
        int i, k;
        tile_element<ALONG_K>(load, &i, &k);
        bool inside = first + i < limit && start + k < depth;
        values[load] =
            inside ? __ldg(matrix.data + (first + i) * matrix.row + (start + k) * matrix.column) : 0;
    }
}

template <bool ALONG_K>
__device__ void keep_tile(const float (&values)[TILE_LOADS], float (*tile)[TILE_PITCH]) {
#pragma unroll
    for (int load = 0; load < TILE_LOADS; load++) {
        int i, k;
        tile_element<ALONG_K>(load, &i, &k);
        tile[i][k] = values[load];
    }
}

/* c[m, n] = bias[n] + sum over k of a(m, k) b(n, k); a block computes one tile of c, a thread one element, in
 * LINEAR_CHAINS independent sums. row_sums[m] = sum over k of a(m, k), from the blocks of the first columns:
 * a row of a tile is added up by the LINEAR_TILE threads that use it. NULL: no bias, no sums. */
template <bool A_ALONG_K, bool B_ALONG_K>
__global__ void __launch_bounds__(TILE_THREADS, 3)
    product_kernel(Matrix a, Matrix b, int64_t rows, int64_t columns, int64_t depth, const float *bias,
                   float *c, float *row_sums) {
    __shared__ __align__(16) float a_tile[LINEAR_TILE][TILE_PITCH], b_tile[LINEAR_TILE][TILE_PITCH];
    const int64_t across = ops_divide_up(columns, LINEAR_TILE);
    const int64_t first_row = blockIdx.x / across * LINEAR_TILE;
    const int64_t first_column = blockIdx.x % across * LINEAR_TILE;
    const int m = (int)threadIdx.x / LINEAR_TILE, n = (int)threadIdx.x % LINEAR_TILE;
    const bool sums_rows = row_sums && first_column == 0; /* the same for the whole block */
    float a_next[TILE_LOADS], b_next[TILE_LOADS], sum[LINEAR_CHAINS] = {0, 0, 0, 0}, row_sum = 0;
    fetch_tile<A_ALONG_K>(a, first_row, rows, 0, depth, a_next);
    fetch_tile<B_ALONG_K>(b, first_column, columns, 0, depth, b_next);
    for (int64_t start = 0; start < depth; start += LINEAR_DEPTH) {
        keep_tile<A_ALONG_K>(a_next, a_tile);
        keep_tile<B_ALONG_K>(b_next, b_tile);
        __syncthreads();
        if (start + LINEAR_DEPTH < depth) {
            fetch_tile<A_ALONG_K>(a, first_row, rows, start + LINEAR_DEPTH, depth, a_next);
            fetch_tile<B_ALONG_K>(b, first_column, columns, start + LINEAR_DEPTH, depth, b_next);
        }
#pragma unroll
        for (int k = 0; k < LINEAR_DEPTH; k += LINEAR_CHAINS) {
            float a_part[LINEAR_CHAINS], b_part[LINEAR_CHAINS];
            load_shared<LINEAR_CHAINS>(&a_tile[m][k], a_part);
            load_shared<LINEAR_CHAINS>(&b_tile[n][k], b_part);
#pragma unroll
            for (int chain = 0; chain < LINEAR_CHAINS; chain++)
                sum[chain] += a_part[chain] * b_part[chain];
        }
        if (sums_rows)
#pragma unroll
            for (int k = 0; k < LINEAR_DEPTH; k += LINEAR_TILE)
                row_sum += a_tile[m][k + n];
        __syncthreads();
    }
    if (sums_rows) {
#pragma unroll
        for (int distance = LINEAR_TILE / 2; distance > 0; distance /= 2)
            row_sum += __shfl_xor_sync(0xffffffffu, row_sum, distance);
        if (n == 0 && first_row + m < rows)
            row_sums[first_row + m] = row_sum;
    }
    if (first_row + m < rows && first_column + n < columns) {
        float total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        c[(first_row + m) * columns + first_column + n] = bias ? total + bias[first_column + n] : total;
    }
}

static_assert(LINEAR_CHAINS == 4, "the chains are added up by hand");
static_assert(OPS_WARP % LINEAR_TILE == 0, "the threads of a row are in one warp");

} // namespace

extern "C" Status cuda_linear(LinearSize size, const float *x, const float *weight, const float *bias,
                              float *y) {
    const Matrix a = {x, size.inputs, 1}, b = {weight, size.inputs, 1};
    return cuda_launch("linear", product_kernel<true, true>,
                       (unsigned)linear_blocks(size.samples, size.outputs), TILE_THREADS, 0, a, b,
                       size.samples, size.outputs, size.inputs, bias, y, nullptr);
}

extern "C" Status cuda_linear_backward_data(LinearSize size, const float *dy, const float *weight,
                                            float *dx) {
    const Matrix a = {dy, size.outputs, 1}, b = {weight, 1, size.inputs};
    return cuda_launch("linear_backward_data", product_kernel<true, false>,
                       (unsigned)linear_blocks(size.samples, size.inputs), TILE_THREADS, 0, a, b,
                       size.samples, size.inputs, size.outputs, nullptr, dx, nullptr);
}

extern "C" Status cuda_linear_backward_parameters(LinearSize size, const float *x, const float *dy,
                                                  float *dweight, float *dbias) {
    const Matrix a = {dy, 1, size.outputs}, b = {x, 1, size.inputs};
    return cuda_launch("linear_backward_parameters", product_kernel<false, false>,
                       (unsigned)linear_blocks(size.outputs, size.inputs), TILE_THREADS, 0, a, b,
                       size.outputs, size.inputs, size.samples, nullptr, dweight, dbias);
}
