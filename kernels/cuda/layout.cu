/* Parameters into the layouts that kernels want, and gradients out of those they leave: one launch for a
 * whole table of pieces, a block for each. The plain array is read and written in its order, the
 * transposition happens in shared memory. */
#include <cuda_bf16.h>
#include <stdint.h>

#include "kernels/cuda/launch.cuh"

extern "C" {
#include "kernels/bf16.h"
#include "kernels/cuda/kernels_cuda.h"
#include "kernels/cuda/layout_math.h"
}

namespace {

enum {
    THREADS = LAYOUT_SUM_ROWS * LAYOUT_PIECE_SUMS,
    AHEAD = 4, /* elements that a thread loads before it uses them */
};

__device__ void store_laid(void *laid, int64_t at, DataType type, float value) {
    if (type == DATA_BF16)
        static_cast<__nv_bfloat16 *>(laid)[at] = __float2bfloat16_rn(value);
    else
        static_cast<float *>(laid)[at] = value;
}

__global__ void __launch_bounds__(THREADS) lay_out_kernel(const LayoutPiece *pieces, const float *flat) {
    __shared__ float tile[LAYOUT_TILE];
    const LayoutPiece piece = pieces[blockIdx.x];
    const int count = layout_elements(&piece);
#pragma unroll AHEAD
    for (int i = (int)threadIdx.x; i < count; i += THREADS)
        tile[layout_slot(i)] = flat[piece.first + i];
    __syncthreads();
    LayoutWalk walk = layout_walk(&piece, (int)threadIdx.x, THREADS);
#pragma unroll AHEAD
    for (int e = (int)threadIdx.x; e < count; e += THREADS, layout_step(&piece, &walk))
        store_laid(piece.laid, layout_laid(&piece, walk), piece.type,
                   tile[layout_slot(layout_plain(&piece, walk))]);
}

__device__ float laid_value(const LayoutPiece &piece, int64_t at) {
    return piece.type == DATA_BF16 ? bf16_value(static_cast<const uint16_t *>(piece.laid)[at])
                                   : static_cast<const float *>(piece.laid)[at];
}

/* A thread per sum and row (LAYOUT_SUM_ROWS). */
__device__ void sum_parts(const LayoutPiece &piece, float *flat) {
    __shared__ double rows[LAYOUT_SUM_ROWS][LAYOUT_PIECE_SUMS];
    const int row = (int)threadIdx.x / LAYOUT_PIECE_SUMS, i = (int)threadIdx.x % LAYOUT_PIECE_SUMS;
    double sum = 0;
    if (i < piece.width)
#pragma unroll 8
        for (int part = row; part < piece.parts; part += LAYOUT_SUM_ROWS)
            sum += laid_value(piece, part * piece.part_elements + i);
    rows[row][i] = sum;
    __syncthreads();
    if (row > 0 || i >= piece.width)
        return;
    for (int other = 1; other < LAYOUT_SUM_ROWS; other++)
        sum += rows[other][i];
    flat[piece.first + i] = (float)sum;
}

__global__ void __launch_bounds__(THREADS) gather_kernel(const LayoutPiece *pieces, float *flat) {
    __shared__ float tile[LAYOUT_TILE];
    const LayoutPiece piece = pieces[blockIdx.x];
    if (piece.parts > 1) { /* the same for the whole block */
        sum_parts(piece, flat);
        return;
    }
    const int count = layout_elements(&piece);
    LayoutWalk walk = layout_walk(&piece, (int)threadIdx.x, THREADS);
    int e = (int)threadIdx.x;
    for (; e + (AHEAD - 1) * THREADS < count; e += AHEAD * THREADS) {
        float value[AHEAD];
        int slot[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++, layout_step(&piece, &walk)) {
            value[k] = laid_value(piece, layout_laid(&piece, walk));
            slot[k] = layout_slot(layout_plain(&piece, walk));
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            tile[slot[k]] = value[k];
    }
    for (; e < count; e += THREADS, layout_step(&piece, &walk))
        tile[layout_slot(layout_plain(&piece, walk))] = laid_value(piece, layout_laid(&piece, walk));
    __syncthreads();
#pragma unroll AHEAD
    for (int i = (int)threadIdx.x; i < count; i += THREADS)
        flat[piece.first + i] = tile[layout_slot(i)];
}

} // namespace

extern "C" Status cuda_lay_out(const LayoutPiece *pieces, int64_t count, const float *flat) {
    return cuda_launch("lay_out", lay_out_kernel, (unsigned)count, THREADS, 0, pieces, flat);
}

extern "C" Status cuda_gather(const LayoutPiece *pieces, int64_t count, float *flat) {
    return cuda_launch("gather", gather_kernel, (unsigned)count, THREADS, 0, pieces, flat);
}
