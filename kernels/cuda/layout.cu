/* Parameters into the layouts that kernels want, and gradients out of those they leave: one launch for a
 * whole table of pieces, a block for each. The plain array is read and written in its order, the
 * transposition happens in shared memory. */
#include <stdint.h>

#include "kernels/cuda/launch.cuh"

extern "C" {
#include "kernels/bf16.h"
#include "kernels/cuda/kernels_cuda.h"
#include "kernels/cuda/layout_math.h"
}

namespace {

enum { THREADS = LAYOUT_SUM_ROWS * LAYOUT_PIECE_SUMS };

__global__ void __launch_bounds__(THREADS) lay_out_kernel(const LayoutPiece *pieces, const float *flat) {
    __shared__ float tile[LAYOUT_TILE];
    const LayoutPiece piece = pieces[blockIdx.x];
    const int count = layout_elements(&piece);
#pragma unroll 4
    for (int i = (int)threadIdx.x; i < count; i += THREADS)
        tile[layout_slot(i)] = flat[piece.first + i];
    __syncthreads();
#pragma unroll 4
    for (int e = (int)threadIdx.x; e < count; e += THREADS) {
        const float value = tile[layout_slot(layout_plain(&piece, e))];
        const int64_t at = layout_laid(&piece, e);
        if (piece.type == DATA_BF16)
            static_cast<uint16_t *>(piece.laid)[at] = bf16_of(value);
        else
            static_cast<float *>(piece.laid)[at] = value;
    }
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
#pragma unroll 4
    for (int e = (int)threadIdx.x; e < count; e += THREADS)
        tile[layout_slot(layout_plain(&piece, e))] = laid_value(piece, layout_laid(&piece, e));
    __syncthreads();
#pragma unroll 4
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
