/* The fused routines of the CUDA backend; what each computes stands in kernels/backend.h. Sums are formed in
 * double in a fixed order: every block leaves one partial sum, and one block adds those. The number of blocks
 * depends on the number of elements alone, never on the device. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cuda/cuda_context.h"

extern "C" {
#include "kernels/cuda/kernels_cuda.h"
#include "kernels/cuda/routines_math.h"
}

namespace {

enum {
    THREADS = 256,
    WARP = 32,
    NORMALS = 4,            /* pixels of one block of the generator */
    FINISH_PER_THREAD = 16, /* elements; the optimizer hands over 16384 at a time */
    ALIGNMENT = 256,        /* of the parts of a workspace */
};

unsigned blocks_for(int64_t count, int64_t per_block) {
    return (unsigned)((count + per_block - 1) / per_block);
}

size_t aligned(size_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
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

/* Adds `count` partial sums that lie behind one free double: *result = total. Waits for the stream. */
Status finish_sum(double *device, double *host, int64_t count, double *result) {
    Status status = STATUS_OK;
    cudaStream_t stream = cuda_context()->stream;
    sum_partials<<<1, THREADS, 0, stream>>>(device + 1, count, device);
    TRY(cuda_check_launch("sum_partials"));
    TRY(CHECK_CUDA(cudaMemcpyAsync(host, device, sizeof *host, cudaMemcpyDeviceToHost, stream)));
    TRY(cuda_synchronize());
    *result = *host;
done:
    return status;
}

/* ---- noise ---- */

/* Where the inputs of a shard lie in a workspace: they come from host memory in one copy. */
struct NoiseLayout {
    size_t signal, noise, rng_samples, present, pixels, bytes;
};

NoiseLayout noise_layout(const NoiseArguments *a) {
    NoiseLayout layout;
    layout.signal = 0;
    layout.noise = layout.signal + aligned((size_t)a->steps * sizeof(float));
    layout.rng_samples = layout.noise + aligned((size_t)a->steps * sizeof(float));
    layout.present = layout.rng_samples + aligned((size_t)a->samples * sizeof(uint32_t));
    layout.pixels = layout.present + aligned((size_t)a->samples);
    layout.bytes = layout.pixels + aligned((size_t)(a->samples * a->pixels));
    return layout;
}

void stage_noise(const NoiseArguments *a, const NoiseLayout *layout, unsigned char *host) {
    memcpy(host + layout->signal, a->sqrt_alpha_bar, (size_t)a->steps * sizeof(float));
    memcpy(host + layout->noise, a->sqrt_one_minus_alpha_bar, (size_t)a->steps * sizeof(float));
    memcpy(host + layout->rng_samples, a->rng_samples, (size_t)a->samples * sizeof(uint32_t));
    for (int64_t n = 0; n < a->samples; n++) {
        unsigned char *pixels = host + layout->pixels + n * a->pixels;
        host[layout->present + (size_t)n] = a->images[n] != NULL;
        if (a->images[n])
            memcpy(pixels, a->images[n], (size_t)a->pixels);
        else
            memset(pixels, 0, (size_t)a->pixels);
    }
}

/* One thread makes four pixels of one sample. The arrays of `a` that hold inputs are in `staged` instead. */
__global__ void __launch_bounds__(THREADS)
    noise_kernel(const NoiseArguments a, const NoiseLayout layout, const unsigned char *staged) {
    const int64_t groups = (a.pixels + NORMALS - 1) / NORMALS, index = global_index();
    const int64_t n = index / groups, group = index % groups;
    if (n >= a.samples)
        return;
    const bool present = staged[layout.present + n] != 0;
    const uint32_t rng_sample = ((const uint32_t *)(staged + layout.rng_samples))[n];
    const uint8_t *pixels = staged + layout.pixels + n * a.pixels;
    float eps[NORMALS] = {0, 0, 0, 0}, signal = 0, noise = 0;
    uint32_t t = 0;
    if (present) {
        t = rng_bounded(rng_key(a.seed, a.timestep_stream, a.rng_step, rng_sample), 0, (uint32_t)a.steps);
        signal = ((const float *)(staged + layout.signal))[t];
        noise = ((const float *)(staged + layout.noise))[t];
        rng_normals(rng_key(a.seed, a.noise_stream, a.rng_step, rng_sample), (uint32_t)group, eps);
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
__global__ void __launch_bounds__(THREADS)
    loss_kernel(const LossArguments a, double slope, double *partials) {
    const int64_t n = blockIdx.x, first = n * a.pixels;
    const bool real = n < a.real_samples;
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
    accumulate_kernel(int64_t *sum, const float *value, int64_t count, float largest, int *bad) {
    const int64_t i = global_index();
    if (i >= count)
        return;
    const float v = value[i];
    if (fabsf(v) <= largest) /* false for NaN */
        sum[i] += fixed_point_of(v);
    else
        *bad = 1; /* whoever writes writes the same */
}

__global__ void __launch_bounds__(THREADS)
    finish_gradient_kernel(float *gradient, const int64_t *sum, int64_t count, double *partials) {
    const int64_t first = (int64_t)blockIdx.x * THREADS * FINISH_PER_THREAD + threadIdx.x;
    double squares = 0;
#pragma unroll 4
    for (int k = 0; k < FINISH_PER_THREAD; k++) {
        int64_t i = first + k * THREADS;
        if (i >= count)
            break;
        float g = fixed_point_value(sum[i]);
        gradient[i] = g;
        squares += (double)g * (double)g;
    }
    squares = block_sum(squares);
    if (threadIdx.x == 0)
        partials[blockIdx.x] = squares;
}

__global__ void __launch_bounds__(THREADS)
    adamw_kernel(const AdamWConstants constants, int64_t count, const float *gradient, float *parameter,
                 float *m, float *v, float *ema) {
    const int64_t i = global_index();
    if (i < count)
        adamw_element(&constants, gradient[i], &parameter[i], &m[i], &v[i], &ema[i]);
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
    Status status = STATUS_OK;
    cudaStream_t stream = cuda_context()->stream;
    const NoiseLayout layout = noise_layout(a);
    const int64_t threads = a->samples * ((a->pixels + NORMALS - 1) / NORMALS);
    void *device = NULL, *host = NULL;
    if (threads == 0)
        return STATUS_OK;
    TRY(cuda_workspace(layout.bytes, &device, &host));
    TRY(cuda_synchronize()); /* an earlier copy may still read the host's block */
    stage_noise(a, &layout, (unsigned char *)host);
    TRY(CHECK_CUDA(cudaMemcpyAsync(device, host, layout.bytes, cudaMemcpyHostToDevice, stream)));
    noise_kernel<<<blocks_for(threads, THREADS), THREADS, 0, stream>>>(*a, layout,
                                                                       (const unsigned char *)device);
    TRY(cuda_check_launch("noise"));
done:
    return status;
}

extern "C" Status cuda_loss(const LossArguments *a) {
    Status status = STATUS_OK;
    const double slope = 2 / ((double)a->pixels * (double)a->batch);
    void *device = NULL, *host = NULL;
    *a->loss_sum = 0;
    if (a->samples == 0)
        return STATUS_OK;
    TRY(cuda_workspace((size_t)(a->samples + 1) * sizeof(double), &device, &host));
    loss_kernel<<<(unsigned)a->samples, THREADS, 0, cuda_context()->stream>>>(*a, slope,
                                                                              (double *)device + 1);
    TRY(cuda_check_launch("loss"));
    TRY(finish_sum((double *)device, (double *)host, a->samples, a->loss_sum));
done:
    return status;
}

extern "C" Status cuda_accumulate(int64_t *sum, const float *value, int64_t count, float limit, bool *bad) {
    Status status = STATUS_OK;
    cudaStream_t stream = cuda_context()->stream;
    void *device = NULL, *host = NULL;
    if (count == 0)
        return STATUS_OK;
    TRY(cuda_workspace(sizeof(int), &device, &host));
    TRY(CHECK_CUDA(cudaMemsetAsync(device, 0, sizeof(int), stream)));
    accumulate_kernel<<<blocks_for(count, THREADS), THREADS, 0, stream>>>(
        sum, value, count, fixed_point_largest(limit), (int *)device);
    TRY(cuda_check_launch("accumulate"));
    TRY(CHECK_CUDA(cudaMemcpyAsync(host, device, sizeof(int), cudaMemcpyDeviceToHost, stream)));
    TRY(cuda_synchronize());
    if (*(const int *)host != 0)
        *bad = true;
done:
    return status;
}

extern "C" Status cuda_finish_gradient(float *gradient, const int64_t *sum, int64_t count, double *squares) {
    Status status = STATUS_OK;
    const unsigned blocks = blocks_for(count, (int64_t)THREADS * FINISH_PER_THREAD);
    void *device = NULL, *host = NULL;
    *squares = 0;
    if (count == 0)
        return STATUS_OK;
    TRY(cuda_workspace(((size_t)blocks + 1) * sizeof(double), &device, &host));
    finish_gradient_kernel<<<blocks, THREADS, 0, cuda_context()->stream>>>(gradient, sum, count,
                                                                           (double *)device + 1);
    TRY(cuda_check_launch("finish_gradient"));
    TRY(finish_sum((double *)device, (double *)host, blocks, squares));
done:
    return status;
}

extern "C" Status cuda_adamw(const AdamWArguments *a) {
    if (a->count == 0)
        return STATUS_OK;
    adamw_kernel<<<blocks_for(a->count, THREADS), THREADS, 0, cuda_context()->stream>>>(
        adamw_constants(a), a->count, a->gradient, a->parameter, a->m, a->v, a->ema);
    return cuda_check_launch("adamw");
}

extern "C" Status cuda_residual(const ResidualArguments *a) {
    if (a->samples == 0)
        return STATUS_OK;
    residual_kernel<<<(unsigned)a->samples, THREADS, 0, cuda_context()->stream>>>(*a, *a->step);
    return cuda_check_launch("residual");
}

extern "C" Status cuda_reverse(const ReverseArguments *a) {
    const int64_t threads = a->samples * ((a->pixels + NORMALS - 1) / NORMALS);
    if (threads == 0)
        return STATUS_OK;
    reverse_kernel<<<blocks_for(threads, THREADS), THREADS, 0, cuda_context()->stream>>>(*a, *a->step);
    return cuda_check_launch("reverse");
}
