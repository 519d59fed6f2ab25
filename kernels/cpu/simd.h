/* Eight floats at a time, written with the compiler's vector types so that the same source serves every
 * instruction set, and the exponential and logistic functions on them. NaN in gives NaN out. */
#ifndef KERNELS_CPU_SIMD_H
#define KERNELS_CPU_SIMD_H

#include <stdint.h>
#include <string.h>
#ifdef __FMA__
#include <immintrin.h>
#endif

enum { SIMD_LANES = 8 };

typedef float SimdFloat __attribute__((vector_size(32)));
typedef int32_t SimdInt __attribute__((vector_size(32)));

static inline SimdFloat simd_load(const float *from) {
    SimdFloat value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline void simd_store(float *to, SimdFloat value) {
    memcpy(to, &value, sizeof value);
}

/* The first `count` lanes; the others are 0. */
static inline SimdFloat simd_load_part(const float *from, int64_t count) {
    SimdFloat value = {0};
    memcpy(&value, from, (size_t)count * sizeof *from);
    return value;
}

static inline void simd_store_part(float *to, SimdFloat value, int64_t count) {
    memcpy(to, &value, (size_t)count * sizeof *to);
}

static inline SimdFloat simd_set(float value) {
    return (SimdFloat){value, value, value, value, value, value, value, value};
}

/* a b + c, rounded once where the machine can. */
static inline SimdFloat simd_fma(SimdFloat a, SimdFloat b, SimdFloat c) {
#ifdef __FMA__
    return (SimdFloat)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* e^x with an error below 2 units in the last place for -87.3 <= x <= 88.3; clamped to that range, so the
 * result is never 0 or infinite. x = n ln 2 + r, |r| <= ln 2 / 2: a polynomial in r, times 2^n put into the
 * exponent. */
static inline SimdFloat simd_exp(SimdFloat x) {
    const float largest = 88.3f, smallest = -87.3f;
    const float log2_e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    const float round_shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer in the low bits */
    const int32_t exponent_bias = 127, mantissa_bits = 23;

    /* comparisons with NaN are false, so NaN stays */
    SimdInt high = x > largest, low = x < smallest;
    x = (SimdFloat)(((SimdInt)simd_set(largest) & high) | ((SimdInt)x & ~high));
    x = (SimdFloat)(((SimdInt)simd_set(smallest) & low) | ((SimdInt)x & ~low));

    SimdFloat shifted = simd_fma(x, simd_set(log2_e), simd_set(round_shift));
    SimdFloat n = shifted - round_shift;
    SimdFloat r = simd_fma(n, simd_set(-ln2_high), x);
    r = simd_fma(n, simd_set(-ln2_low), r);

    SimdFloat p = simd_set(1.0f / 5040);
    p = simd_fma(p, r, simd_set(1.0f / 720));
    p = simd_fma(p, r, simd_set(1.0f / 120));
    p = simd_fma(p, r, simd_set(1.0f / 24));
    p = simd_fma(p, r, simd_set(1.0f / 6));
    p = simd_fma(p, r, simd_set(0.5f));
    p = simd_fma(p, r, simd_set(1.0f));
    p = simd_fma(p, r, simd_set(1.0f));

    SimdInt power = ((SimdInt)shifted - (SimdInt)simd_set(round_shift) + exponent_bias) << mantissa_bits;
    return p * (SimdFloat)power;
}

/* 1 / (1 + e^-x) */
static inline SimdFloat simd_sigmoid(SimdFloat x) {
    return 1.0f / (1.0f + simd_exp(-x));
}

/* d/dx (x sigmoid(x)) = s + x s (1 - s) */
static inline SimdFloat simd_silu_slope(SimdFloat x) {
    SimdFloat s = simd_sigmoid(x);
    return simd_fma(x * s, 1.0f - s, s);
}

#endif
