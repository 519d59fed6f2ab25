/* Vectors of floats, written with the compiler's vector types so that the same source serves every
 * instruction set, and the exponential and logistic functions on them. NaN in gives NaN out.
 *
 * simd_* work on SimdFloat, 8 lanes, everywhere. simd16_* work on Simd16Float, 16 lanes, in functions
 * compiled for AVX-512 (between SIMD16_BEGIN and SIMD16_END), to be called where simd16_available() says so.
 * Lane by lane both compute the same bits. */
#ifndef KERNELS_CPU_SIMD_H
#define KERNELS_CPU_SIMD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#if defined(__x86_64__) && !defined(__AVX__)
#pragma GCC diagnostic ignored "-Wpsabi" /* how vectors are returned: every function here is inlined */
#endif

enum { SIMD_LANES = 8, SIMD16_LANES = 16 };

#define SIMD_INLINE static inline __attribute__((always_inline))

#define LANES 8
#define VECTOR SimdFloat
#define INTEGERS SimdInt
#define SIMD(word) simd_##word
#ifdef __FMA__
#define FMA(a, b, c) ((SimdFloat)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define LESSER(a, b) ((SimdFloat)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define GREATER(a, b) ((SimdFloat)_mm256_max_ps((__m256)(a), (__m256)(b)))
#else
#define FMA(a, b, c) ((a) * (b) + (c))
#define CHOOSE(mask, a, b) ((SimdFloat)(((mask) & (SimdInt)(a)) | (~(mask) & (SimdInt)(b))))
#define LESSER(a, b) CHOOSE((a) < (b), a, b)
#define GREATER(a, b) CHOOSE((a) > (b), a, b)
#endif
#include "kernels/cpu/simd_functions.inc"
#undef LANES
#undef VECTOR
#undef INTEGERS
#undef SIMD
#undef FMA
#undef LESSER
#undef GREATER

/* Compiling single functions for another instruction set by these pragmas is gcc's. */
#if defined(__x86_64__) && defined(__FMA__) && !defined(__clang__)
#define SIMD16_COMPILED 1
#define SIMD16_BEGIN _Pragma("GCC push_options") _Pragma("GCC target(\"avx512f,avx512vl,avx512dq\")")
#define SIMD16_END _Pragma("GCC pop_options")

SIMD16_BEGIN
#define LANES 16
#define VECTOR Simd16Float
#define INTEGERS Simd16Int
#define SIMD(word) simd16_##word
#define FMA(a, b, c) ((Simd16Float)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define LESSER(a, b) ((Simd16Float)_mm512_min_ps((__m512)(a), (__m512)(b)))
#define GREATER(a, b) ((Simd16Float)_mm512_max_ps((__m512)(a), (__m512)(b)))
#include "kernels/cpu/simd_functions.inc"
#undef LANES
#undef VECTOR
#undef INTEGERS
#undef SIMD
#undef FMA
#undef LESSER
#undef GREATER
SIMD16_END

static inline bool simd16_available(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
}
#endif

#endif
