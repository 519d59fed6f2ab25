/* In front of every .cu file that is compiled for the emulation: the words of CUDA C++ that a host compiler
 * does not know, and how its kernels are launched. */
#ifndef TESTS_CUDA_EMULATION_DEVICE_H
#define TESTS_CUDA_EMULATION_DEVICE_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>

#include <cuda_runtime.h>

#include <cuda_bf16.h>

/* ---- memory: one block runs at a time, so its shared memory is static; the only thread-local variables of
 * functions are these, by which they are found in the symbol table ---- */

#define __launch_bounds__(...)
/* The compiler does not tell accesses.cpp of what calls return into memory, or take from it: kernels make
 * none. */
#undef __global__
#define __global__ __attribute__((flatten))
#undef __shared__
#define __shared__ thread_local

extern "C" {
/* The block's dynamic shared memory; kernels/cuda/shared.cuh is replaced by what follows. */
extern char *emulated_dynamic_shared;
}
#define KERNELS_CUDA_SHARED_CUH
inline char *dynamic_shared() {
    return emulated_dynamic_shared;
}

/* ---- threads ---- */

extern "C" {
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

void emulated_barrier(void);
/* The value of lane `from` of those in `mask`, which all call this; 8 bytes. */
unsigned long long emulated_exchange(unsigned mask, unsigned from, unsigned long long value);
unsigned emulated_lane(void);
}

inline void __syncthreads() {
    emulated_barrier();
}

template <typename T> T emulated_shuffle(unsigned mask, T value, unsigned from) {
    static_assert(sizeof(T) <= sizeof(unsigned long long), "shuffles move 4 or 8 bytes");
    unsigned long long bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = emulated_exchange(mask, from, bits);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename T> T __shfl_xor_sync(unsigned mask, T value, int distance) {
    return emulated_shuffle(mask, value, emulated_lane() ^ (unsigned)distance);
}

template <typename T> T __shfl_down_sync(unsigned mask, T value, unsigned distance) {
    unsigned from = emulated_lane() + distance;
    return emulated_shuffle(mask, value, from < 32 ? from : emulated_lane());
}

/* ---- atomics: threads take turns ---- */

extern "C" void emulated_change(const void *address, size_t bytes);

template <typename T> __attribute__((no_sanitize("thread"))) T atomicAdd(T *address, T value) {
    emulated_change(address, sizeof *address);
    T old = *address;
    *address = old + value;
    return old;
}

template <typename T> __attribute__((no_sanitize("thread"))) T atomicMin(T *address, T value) {
    emulated_change(address, sizeof *address);
    T old = *address;
    *address = value < old ? value : old;
    return old;
}

template <typename T> __attribute__((no_sanitize("thread"))) T atomicExch(T *address, T value) {
    emulated_change(address, sizeof *address);
    T old = *address;
    *address = value;
    return old;
}

/* ---- functions ---- */

template <typename T> T __ldg(const T *address) {
    return *address;
}

inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline float __expf(float x) {
    return std::exp(x);
}

inline float __fdividef(float x, float y) {
    return x / y;
}

inline long long __double2ll_rn(double x) {
    return std::llrint(x);
}

/* sin and cos of pi x, where the period is exact. */
inline void sincospif(float x, float *sine, float *cosine) {
    double turned = std::remainder((double)x, 2.0) * 3.14159265358979323846;
    *sine = (float)std::sin(turned);
    *cosine = (float)std::cos(turned);
}

template <typename T, typename = std::enable_if_t<std::is_integral<T>::value>> T min(T a, T b) {
    return b < a ? b : a;
}
template <typename T, typename = std::enable_if_t<std::is_integral<T>::value>> T max(T a, T b) {
    return a < b ? b : a;
}

/* ---- launches ---- */

extern "C" {
/* `call`: what run_thread needs, copied now; parameter_bytes: what a device would have to hold. */
cudaError_t emulated_launch(const cudaLaunchConfig_t *config, const void *kernel, void (*run_thread)(void *),
                            const void *call, size_t call_bytes, size_t parameter_bytes);
}

template <typename... Parameters> struct EmulatedCall {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> parameters;

    static void run_thread(void *call) {
        EmulatedCall *self = static_cast<EmulatedCall *>(call);
        std::apply(self->kernel, self->parameters);
    }
};

#define cudaLaunchKernelEx emulated_launch_kernel /* the header's own does not tell the parameters' sizes */
template <typename... Parameters, typename... Arguments>
cudaError_t emulated_launch_kernel(const cudaLaunchConfig_t *config, void (*kernel)(Parameters...),
                                   Arguments &&...arguments) {
    static_assert((std::is_trivially_copyable<Parameters>::value && ...), "parameters are copied as bytes");
    EmulatedCall<Parameters...> call = {kernel, std::tuple<Parameters...>(arguments...)};
    return emulated_launch(config, reinterpret_cast<const void *>(kernel),
                           EmulatedCall<Parameters...>::run_thread, &call, sizeof call,
                           (sizeof(Parameters) + ... + 0));
}

#endif
