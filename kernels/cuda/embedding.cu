/* Sinusoidal time embedding. */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ops_launch.h"

namespace {

/* One thread per (sample, frequency): e[n, k] = sin(t f_k), e[n, half + k] = cos(t f_k). */
__global__ void __launch_bounds__(OPS_THREADS)
    time_embedding_kernel(const float *t, const double *half_turns, float *e, int64_t count, int64_t half) {
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        int64_t sample = i / half, k = i - sample * half;
        float sine, cosine;
        sincospif(time_embedding_half_turns(t[sample], half_turns[k]), &sine, &cosine);
        e[sample * 2 * half + k] = sine;
        e[sample * 2 * half + half + k] = cosine;
    }
}

} // namespace

extern "C" Status cuda_time_embedding(const float *t, const double *half_turns, float *e, int64_t samples,
                                      int64_t channels) {
    const int64_t half = channels / 2, count = samples * half;
    return cuda_launch("time_embedding", time_embedding_kernel, ops_loop_blocks(count), OPS_THREADS, 0, t,
                       half_turns, e, count, half);
}
