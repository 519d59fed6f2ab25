/* The fused routines of the CUDA backend; what each computes stands in kernels/backend.h. Sums are formed in
 * double in a fixed order: every block leaves one partial sum, and one block adds those. The number of blocks
 * depends on the number of elements alone, never on the device. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cuda/launch.cuh"

extern "C" {
#include "kernels/bf16.h"
#include "kernels/cuda/kernels_cuda.h"
#include "kernels/cuda/routines_math.h"
}

namespace {

enum {
    THREADS = 256,
    WARP = 32,
    NORMALS = 4,     /* pixels of one block of the generator */
    ADAMW_AHEAD = 4, /* elements that a thread loads before it uses them */
};

unsigned blocks_for(int64_t count, int64_t per_block) {
    return (unsigned)((count + per_block - 1) / per_block);
}

__device__ int64_t global_index() {
    return (int64_t)blockIdx.x * THREADS + threadIdx.x;
}

/* The sum of every thread's value, in thread 0: by pairs within each warp, then warp after warp. */
__device__ double block_sum(double value) {
    __shared__ double warps[THREADS / WARP];
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        value += __shfl_down_sync(0xffffffffu, value, distance);
    if (threadIdx.x % WARP == 0)
        warps[threadIdx.x / WARP] = value;
    __syncthreads();
    double sum = 0;
    if (threadIdx.x == 0)
        for (int w = 0; w < THREADS / WARP; w++)
            sum += warps[w];
    return sum;
}

/* One block: *total = sum of the partial sums. */
__global__ void __launch_bounds__(THREADS)
    sum_partials(const double *partials, int64_t count, double *total) {
    double sum = 0;
    for (int64_t i = threadIdx.x; i < count; i += THREADS)
        sum += partials[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        *total = sum;
}

/* ---- noise ---- */

/* One thread makes four pixels of one sample. */
__global__ void __launch_bounds__(THREADS) noise_kernel(const NoiseArguments a) {
    const int64_t groups = (a.pixels + NORMALS - 1) / NORMALS, index = global_index();
    const int64_t n = index / groups, group = index % groups;
    if (n >= a.samples)
        return;
    const BatchSlot slot = a.slots[n];
    const bool present = slot.image != BATCH_PADDING;
    const uint32_t rng_step = a.batch->rng_step;
    const uint8_t *pixels = a.images + (present ? (int64_t)slot.image * a.pixels : 0);
    float eps[NORMALS] = {0, 0, 0, 0}, signal = 0, noise = 0;
    uint32_t t = 0;
    if (present) {
        t = rng_bounded(rng_key(a.seed, a.timestep_stream, rng_step, slot.rng_sample), 0, (uint32_t)a.steps);
        signal = a.sqrt_alpha_bar[t];
        noise = a.sqrt_one_minus_alpha_bar[t];
        rng_normals(rng_key(a.seed, a.noise_stream, rng_step, slot.rng_sample), (uint32_t)group, eps);
    }
    if (group == 0)
        a.t[n] = (float)t;
#pragma unroll
    for (int k = 0; k < NORMALS; k++) {
        int64_t i = group * NORMALS + k, at = n * a.pixels + i;
        if (i >= a.pixels)
            break;
        a.eps[at] = eps[k];
        a.x_t[at] = present ? noised_pixel(pixels[i], signal, noise, eps[k]) : 0;
    }
}

/* ---- loss ---- */

/* Block n: sample n. partials[n] = mean over its pixels of (eps - eps_hat)^2, 0 for padding. */
__global__ void __launch_bounds__(THREADS) loss_kernel(const LossArguments a, double *partials) {
    const int64_t n = blockIdx.x, first = n * a.pixels;
    const bool real = a.slots[n].image != BATCH_PADDING;
    const double slope = 2 / ((double)a.pixels * (double)a.batch->count);
    double squares = 0;
    for (int64_t i = threadIdx.x; i < a.pixels; i += THREADS) {
        double difference = real ? (double)a.eps_hat[first + i] - (double)a.eps[first + i] : 0;
        squares += difference * difference;
        if (a.d_eps_hat)
            a.d_eps_hat[first + i] = (float)(slope * difference);
    }
    squares = block_sum(squares);
    if (threadIdx.x == 0)
        partials[n] = squares / (double)a.pixels;
}

/* ---- gradient and parameters ---- */

__global__ void __launch_bounds__(THREADS)
    accumulate_kernel(int64_t *sum, const float *value, int64_t count, const float *limit, int64_t *bad) {
    const int64_t i = global_index();
    if (i >= count)
        return;
    const float v = value[i];
    if (fabsf(v) <= fixed_point_largest(*limit)) /* false for NaN */
        sum[i] += fixed_point_of(v);
    else
        atomicExch(reinterpret_cast<unsigned long long *>(bad),
                   1ull); /* by several: plain stores would race */
}

__global__ void __launch_bounds__(THREADS) narrow_kernel(uint16_t *to, const float *from, int64_t count) {
    const int64_t i = global_index();
    if (i < count)
        to[i] = bf16_of(from[i]);
}

/* One block: integers, so that the order of the additions does not matter. */
__global__ void __launch_bounds__(THREADS)
    collect_kernel(const ShardTotals *shards, int64_t count, const BatchInput *batch, int64_t *tail) {
    __shared__ unsigned long long loss, bad, first_bad;
    if (threadIdx.x == 0) {
        loss = bad = 0;
        first_bad = (unsigned long long)count;
    }
    __syncthreads();
    const int shard_count = (int)count;
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < shard_count; i += THREADS) {
        const double share = shards[i].loss_sum / (double)batch->count;
        if (!shards[i].bad && fabs(share) <= (double)batch->limit) {
            atomicAdd(&loss, (unsigned long long)__double2ll_rn(share * FIXED_POINT_SCALE));
        } else {
            atomicAdd(&bad, 1ull);
            atomicMin(&first_bad, (unsigned long long)i);
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        tail[TAIL_LOSS] = (int64_t)loss;
        tail[TAIL_BAD] = (int64_t)bad;
        tail[TAIL_STOP] = batch->stop;
        tail[TAIL_FIRST_BAD] = bad ? (int64_t)first_bad : -1;
    }
}

/* Block p: piece p. */
__global__ void __launch_bounds__(THREADS) finish_gradient_kernel(const UpdateArguments a) {
    const UpdatePiece piece = a.pieces[blockIdx.x];
    float *gradient = a.gradient + piece.offset;
    const int64_t *sum = a.sums ? a.sums + piece.offset : NULL;
    const uint16_t *bf16 = a.bf16 ? a.bf16 + piece.offset : NULL;
    double squares = 0;
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < piece.count; i += THREADS) {
        float g = sum ? fixed_point_value(sum[i]) : bf16 ? bf16_value(bf16[i]) : gradient[i];
        if (sum || bf16)
            gradient[i] = g;
        squares += (double)g * (double)g;
    }
    squares = block_sum(squares);
    if (threadIdx.x == 0)
        a.squares[blockIdx.x] = squares;
}

/* One block. */
__global__ void __launch_bounds__(THREADS) plan_update_kernel(const UpdateArguments a) {
    double squares = 0;
    for (int64_t p = threadIdx.x; p < a.piece_count; p += THREADS)
        squares += a.squares[p];
    squares = block_sum(squares);
    if (threadIdx.x != 0)
        return;
    const double norm = sqrt(squares);
    UpdateRecord *record = &a.records[a.step->record];
    for (int i = 0; i < TAIL_COUNT; i++)
        record->tail[i] = a.tail ? a.tail[i] : i == TAIL_FIRST_BAD ? -1 : 0;
    record->gradient_norm = norm;
    const bool apply = isfinite(norm) && record->tail[TAIL_BAD] == 0 && !a.state->failed;
    a.state->scale = (float)clipping_scale(a.step, norm);
    a.state->apply = apply;
    a.state->failed = !apply;
}

/* Block p: piece p. */
__global__ void __launch_bounds__(THREADS) adamw_kernel(const UpdateArguments a) {
    if (!a.state->apply)
        return;
    const UpdatePiece piece = a.pieces[blockIdx.x];
    const UpdateStep step = *a.step;
    const float scale = a.state->scale, keep = piece.decay ? step.keep[1] : step.keep[0];
    const float *__restrict__ gradient = a.gradient + piece.offset;
    float *__restrict__ parameter = a.parameter + piece.offset, *__restrict__ m = a.m + piece.offset;
    float *__restrict__ v = a.v + piece.offset, *__restrict__ ema = a.ema + piece.offset;
    const int count = (int)piece.count;
    int i = (int)threadIdx.x;
    for (; i + (ADAMW_AHEAD - 1) * THREADS < count; i += ADAMW_AHEAD * THREADS) {
        float g[ADAMW_AHEAD], p[ADAMW_AHEAD], m_now[ADAMW_AHEAD], v_now[ADAMW_AHEAD], ema_now[ADAMW_AHEAD];
#pragma unroll
        for (int k = 0; k < ADAMW_AHEAD; k++) {
            g[k] = gradient[i + k * THREADS];
            p[k] = parameter[i + k * THREADS];
            m_now[k] = m[i + k * THREADS];
            v_now[k] = v[i + k * THREADS];
            ema_now[k] = ema[i + k * THREADS];
        }
#pragma unroll
        for (int k = 0; k < ADAMW_AHEAD; k++) {
            adamw_element(&step, scale, keep, g[k], &p[k], &m_now[k], &v_now[k], &ema_now[k]);
            parameter[i + k * THREADS] = p[k];
            m[i + k * THREADS] = m_now[k];
            v[i + k * THREADS] = v_now[k];
            ema[i + k * THREADS] = ema_now[k];
        }
    }
    for (; i < count; i += THREADS)
        adamw_element(&step, scale, keep, gradient[i], &parameter[i], &m[i], &v[i], &ema[i]);
}

/* ---- reverse step ---- */

/* One thread: four pixels of one sample. a.step is host memory, its contents are in `step`. */
__global__ void __launch_bounds__(THREADS) reverse_kernel(const ReverseArguments a, const ReverseStep step) {
    const int64_t groups = (a.pixels + NORMALS - 1) / NORMALS, index = global_index();
    const int64_t n = index / groups, group = index % groups;
    if (n >= a.samples)
        return;
    const float *mask = a.mask ? a.mask[n] : NULL;
    const float *observed = mask ? a.observed[n] : NULL;
    const bool guided = mask && a.product, renoised = step.renoise_noise != 0;
    float z[NORMALS] = {0, 0, 0, 0}, xi[NORMALS] = {0, 0, 0, 0}, again[NORMALS] = {0, 0, 0, 0};
    if (step.sigma != 0)
        rng_normals(rng_key(a.seeds[n], RNG_SAMPLE_NOISE, a.rng_step, a.rng_samples[n]), (uint32_t)group, z);
    if (mask && step.replacement && step.replace_noise != 0)
        rng_normals(rng_key(a.seeds[n], RNG_REPLACEMENT_NOISE, a.rng_step, a.rng_samples[n]), (uint32_t)group,
                    xi);
    if (renoised)
        rng_normals(rng_key(a.seeds[n], RNG_RENOISE, a.rng_step, a.rng_samples[n]), (uint32_t)group, again);
#pragma unroll
    for (int k = 0; k < NORMALS; k++) {
        int64_t i = group * NORMALS + k, at = n * a.pixels + i;
        if (i >= a.pixels)
            break;
        float x = a.x[at], eps_hat = a.eps_hat[at];
        float direction = guided ? reverse_x0_hat(&step, a.residual[at], a.product[at]) : 0;
        bool seen = mask && mask[i] != 0;
        float next =
            mask ? reverse_observed(&step, x, eps_hat, z[k], xi[k], direction, seen, seen ? observed[i] : 0)
                 : reverse_unobserved(&step, x, eps_hat, z[k]);
        a.x[at] = renoised ? reverse_renoised(&step, next, again[k]) : next;
    }
}

/* Block n: sample n. */
__global__ void __launch_bounds__(THREADS)
    residual_kernel(const ResidualArguments a, const ReverseStep step) {
    __shared__ double shared_scale;
    const int64_t n = blockIdx.x, first = n * a.pixels;
    const float *mask = a.mask ? a.mask[n] : NULL;
    const float *observed = mask ? a.observed[n] : NULL;
    double squares = 0;
    for (int64_t i = threadIdx.x; i < a.pixels; i += THREADS) {
        bool seen = mask && mask[i] != 0;
        float u = reverse_residual(&step, a.x[first + i], a.eps_hat[first + i], seen, seen ? observed[i] : 0);
        a.residual[first + i] = u;
        squares += (double)u * (double)u;
    }
    if (!step.normalise)
        return;
    squares = block_sum(squares);
    if (threadIdx.x == 0)
        shared_scale = squares > 0 ? 1 / sqrt(squares) : 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < a.pixels; i += THREADS) /* its own values: no other thread's */
        a.residual[first + i] = normalised_residual(a.residual[first + i], shared_scale);
}

} // namespace

extern "C" Status cuda_noise(const NoiseArguments *a) {
    const int64_t threads = a->samples * ((a->pixels + NORMALS - 1) / NORMALS);
    if (threads == 0)
        return STATUS_OK;
    return cuda_launch("noise", noise_kernel, blocks_for(threads, THREADS), THREADS, 0, *a);
}

extern "C" Status cuda_loss(const LossArguments *a) {
    Status status = STATUS_OK;
    void *memory = NULL;
    TRY(cuda_workspace((size_t)a->samples * sizeof(double), &memory));
    if (a->samples > 0)
        TRY(cuda_launch("loss", loss_kernel, (unsigned)a->samples, THREADS, 0, *a, (double *)memory));
    TRY(cuda_launch("sum_partials", sum_partials, 1, THREADS, 0, (const double *)memory, a->samples,
                    a->loss_sum));
done:
    return status;
}

extern "C" Status cuda_accumulate(int64_t *sum, const float *value, int64_t count, const float *limit,
                                  int64_t *bad) {
    if (count == 0)
        return STATUS_OK;
    return cuda_launch("accumulate", accumulate_kernel, blocks_for(count, THREADS), THREADS, 0, sum, value,
                       count, limit, bad);
}

extern "C" Status cuda_collect(const ShardTotals *shards, int64_t count, const BatchInput *batch,
                               int64_t *tail) {
    return cuda_launch("collect", collect_kernel, 1, THREADS, 0, shards, count, batch, tail);
}

extern "C" Status cuda_narrow(uint16_t *to, const float *from, int64_t count) {
    if (count == 0)
        return STATUS_OK;
    return cuda_launch("narrow", narrow_kernel, blocks_for(count, THREADS), THREADS, 0, to, from, count);
}

extern "C" Status cuda_finish_gradient(const UpdateArguments *a) {
    if (a->piece_count == 0)
        return STATUS_OK;
    return cuda_launch("finish_gradient", finish_gradient_kernel, (unsigned)a->piece_count, THREADS, 0, *a);
}

extern "C" Status cuda_plan_update(const UpdateArguments *a) {
    return cuda_launch("plan_update", plan_update_kernel, 1, THREADS, 0, *a);
}

extern "C" Status cuda_adamw(const UpdateArguments *a) {
    if (a->piece_count == 0)
        return STATUS_OK;
    return cuda_launch("adamw", adamw_kernel, (unsigned)a->piece_count, THREADS, 0, *a);
}

extern "C" Status cuda_residual(const ResidualArguments *a) {
    if (a->samples == 0)
        return STATUS_OK;
    return cuda_launch("residual", residual_kernel, (unsigned)a->samples, THREADS, 0, *a, *a->step);
}

extern "C" Status cuda_reverse(const ReverseArguments *a) {
    const int64_t threads = a->samples * ((a->pixels + NORMALS - 1) / NORMALS);
    if (threads == 0)
        return STATUS_OK;
    return cuda_launch("reverse", reverse_kernel, blocks_for(threads, THREADS), THREADS, 0, *a, *a->step);
}
