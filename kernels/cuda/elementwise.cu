/* Elementwise and copying kernels, and sums over parts. */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ops_device.cuh"
#include "kernels/cuda/ops_launch.h"

namespace {

struct Silu {
    template <typename T> __device__ float operator()(float x, float) const {
        return x * sigmoid_for<T>(x);
    }
};

struct SiluBackward {
    template <typename T> __device__ float operator()(float x, float dy) const {
        return dy * silu_slope_of(x, sigmoid_for<T>(x));
    }
};

struct Add {
    template <typename T> __device__ float operator()(float a, float b) const {
        return a + b;
    }
};

/* y[i] = function(a[i], b[i]); b may be NULL. Whole vectors first, then the rest one by one. */
template <typename T, int V, typename Function>
__global__ void __launch_bounds__(OPS_THREADS)
    elementwise_kernel(const T *a, const T *b, T *y, int64_t count, Function function) {
    const int64_t vectors = count / V, step = (int64_t)gridDim.x * blockDim.x;
    const int64_t thread = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    for (int64_t i = thread; i < vectors; i += step) {
        float first[V], second[V];
#pragma unroll
        for (int k = 0; k < V; k++)
            second[k] = 0;
        load<T, V>(a, i, first);
        if (b)
            load<T, V>(b, i, second);
#pragma unroll
        for (int k = 0; k < V; k++)
            first[k] = function.template operator()<T>(first[k], second[k]);
        store<T, V>(y, i, first);
    }
    for (int64_t i = vectors * V + thread; i < count; i += step) {
        float first[1], second[1] = {0};
        load<T, 1>(a, i, first);
        if (b)
            load<T, 1>(b, i, second);
        first[0] = function.template operator()<T>(first[0], second[0]);
        store<T, 1>(y, i, first);
    }
}

template <typename T, int V, typename Function>
Status launch_elementwise(const char *name, const void *a, const void *b, void *y, int64_t count,
                          Function function) {
    return cuda_launch(name, elementwise_kernel<T, V, Function>, ops_loop_blocks(ops_divide_up(count, V)),
                       OPS_THREADS, 0, static_cast<const T *>(a), static_cast<const T *>(b),
                       static_cast<T *>(y), count, function);
}

template <typename Function>
Status elementwise(const char *name, const void *a, const void *b, void *y, int64_t count, bool bf16,
                   Function function) {
    return bf16 ? launch_elementwise<bf16_t, 8>(name, a, b, y, count, function)
                : launch_elementwise<float, 4>(name, a, b, y, count, function);
}

/* ---- copies of rows, in units of 2 to 16 bytes; sizes in units ---- */

template <typename Unit>
__global__ void __launch_bounds__(OPS_THREADS)
    concat_kernel(const Unit *a, unsigned a_units, const Unit *b, unsigned b_units, Unit *y, unsigned rows) {
    const unsigned units = a_units + b_units;
    const int64_t count = (int64_t)units * rows, step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        /* fewer than 2^31 elements: the index fits */
        unsigned row = (unsigned)i / units, column = (unsigned)i - row * units;
        const Unit *from = column < a_units ? a + ((int64_t)row * a_units + column)
                                            : b + ((int64_t)row * b_units + (column - a_units));
        y[i] = *from; /* one load for all lanes */
    }
}

template <typename Unit>
Status launch_concat(const void *a, int64_t a_bytes, const void *b, int64_t b_bytes, void *y, int64_t rows) {
    const int64_t unit = sizeof(Unit), a_units = a_bytes / unit, b_units = b_bytes / unit;
    return cuda_launch("concat", concat_kernel<Unit>, ops_loop_blocks((a_units + b_units) * rows),
                       OPS_THREADS, 0, static_cast<const Unit *>(a), (unsigned)a_units,
                       static_cast<const Unit *>(b), (unsigned)b_units, static_cast<Unit *>(y),
                       (unsigned)rows);
}

bool divides(int64_t unit, int64_t a, int64_t b) {
    return a % unit == 0 && b % unit == 0;
}

} // namespace

extern "C" Status cuda_silu(const void *x, void *y, int64_t count, bool bf16) {
    return elementwise("silu", x, nullptr, y, count, bf16, Silu());
}

extern "C" Status cuda_silu_backward(const void *x, const void *dy, void *dx, int64_t count, bool bf16) {
    return elementwise("silu_backward", x, dy, dx, count, bf16, SiluBackward());
}

extern "C" Status cuda_add(const void *a, const void *b, void *y, int64_t count, bool bf16) {
    return elementwise("add", a, b, y, count, bf16, Add());
}

extern "C" Status cuda_concat(const void *a, int64_t a_bytes, const void *b, int64_t b_bytes, void *y,
                              int64_t rows) {
    if (divides(sizeof(uint4), a_bytes, b_bytes))
        return launch_concat<uint4>(a, a_bytes, b, b_bytes, y, rows);
    if (divides(sizeof(unsigned), a_bytes, b_bytes))
        return launch_concat<unsigned>(a, a_bytes, b, b_bytes, y, rows);
    return launch_concat<unsigned short>(a, a_bytes, b, b_bytes, y, rows);
}
