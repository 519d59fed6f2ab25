/* bf16, the upper half of a float, by its bits: for host and device alike. */
#ifndef KERNELS_BF16_H
#define KERNELS_BF16_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define BF16_FUNCTION static inline __host__ __device__
#else
#define BF16_FUNCTION static inline
#endif

/* Rounded, halves to even; NaN stays NaN. */
BF16_FUNCTION uint16_t bf16_of(float value) {
    const uint32_t lower_half = 0x7fff, infinity = 0x7f800000, quiet = 0x40;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffff) > infinity)
        return (uint16_t)(bits >> 16 | quiet);
    return (uint16_t)((bits + lower_half + (bits >> 16 & 1)) >> 16);
}

BF16_FUNCTION float bf16_value(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
