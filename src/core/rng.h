/* Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy
 * as 1, 2, 3", SC11). A number is a pure function of (seed, stream, step, sample, element): never of rank,
 * thread, batch slot or time. Compiled by gcc and nvcc: integers are identical on CPU and GPU. */
#ifndef CORE_RNG_H
#define CORE_RNG_H

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#define RNG_FUNCTION static inline __host__ __device__
#else
#define RNG_FUNCTION static inline
#endif

/* What a number is for. Values are part of the reproducibility contract: append, never renumber. */
typedef enum RngStream {
    RNG_PARAMETERS = 1,     /* initial parameters: sample = parameter index, element */
    RNG_DATA_ORDER = 2,     /* epoch permutation: step = epoch, element = position */
    RNG_TIMESTEP = 3,       /* t of a training sample: step, sample = position in the step's global batch */
    RNG_TRAINING_NOISE = 4, /* eps of a training sample: likewise, element = pixel */
    RNG_VALIDATION_TIMESTEP = 5, /* sample = index in the test split, the same every epoch */
    RNG_VALIDATION_NOISE = 6,
    RNG_SAMPLE_START = 7,       /* x_T: sample = global sample index or draw */
    RNG_SAMPLE_NOISE = 8,       /* z of reverse step t: step = t */
    RNG_REPLACEMENT_NOISE = 9,  /* xi of reverse step t */
    RNG_MASK = 10,              /* pixel permutation: sample 0, element = position */
    RNG_OBSERVATION_NOISE = 11, /* y = x0 + sigma_y n: sample = image index */
    RNG_TEST = 12,
    RNG_PRIOR_MODES = 13,    /* the mixture prior's modes: sample = mode, element = pixel */
    RNG_PRIOR_MODE = 14,     /* which mode a draw from an exact prior is of: element 0 */
    RNG_PRIOR_DRAW = 15,     /* its noise */
    RNG_EXACT_MODE = 16,     /* likewise for draws from an exact posterior */
    RNG_EXACT_DRAW = 17,     /* elements [0, pixels): the prior's noise; step 1: the observation's */
    RNG_RENOISE = 18,        /* forward jump of repaint: step as RNG_SAMPLE_NOISE's */
    RNG_RESAMPLING = 19,     /* tds: one uniform per step and run: step = t, sample = run */
    RNG_TEST_STATISTIC = 20, /* random pixels and projections of rank statistics */
} RngStream;

typedef struct RngKey {
    uint64_t seed;
    uint32_t stream, step, sample;
} RngKey;

typedef struct RngBlock {
    uint32_t v[4];
} RngBlock;

RNG_FUNCTION RngKey rng_key(uint64_t seed, RngStream stream, uint32_t step, uint32_t sample) {
    RngKey key;
    key.seed = seed;
    key.stream = (uint32_t)stream;
    key.step = step;
    key.sample = sample;
    return key;
}

/* The Philox4x32-10 bijection. */
RNG_FUNCTION RngBlock rng_philox(RngBlock counter, uint32_t key0, uint32_t key1) {
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53u * counter.v[0];
        uint64_t product1 = (uint64_t)0xCD9E8D57u * counter.v[2];
        RngBlock next;
        next.v[0] = (uint32_t)(product1 >> 32) ^ counter.v[1] ^ key0;
        next.v[1] = (uint32_t)product1;
        next.v[2] = (uint32_t)(product0 >> 32) ^ counter.v[3] ^ key1;
        next.v[3] = (uint32_t)product0;
        counter = next;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}

/* Four 32-bit integers for elements 4*block .. 4*block+3 of the key's sequence. */
RNG_FUNCTION RngBlock rng_block(RngKey key, uint32_t block) {
    RngBlock counter;
    counter.v[0] = block;
    counter.v[1] = key.sample;
    counter.v[2] = key.step;
    counter.v[3] = key.stream;
    return rng_philox(counter, (uint32_t)key.seed, (uint32_t)(key.seed >> 32));
}

/* The integer of one element. */
RNG_FUNCTION uint32_t rng_integer(RngKey key, uint32_t element) {
    return rng_block(key, element / 4).v[element % 4];
}

/* Uniform integer in [0, bound) by multiply-shift (Lemire); the bias is below bound / 2^32. */
RNG_FUNCTION uint32_t rng_bounded(RngKey key, uint32_t element, uint32_t bound) {
    return (uint32_t)(((uint64_t)rng_integer(key, element) * bound) >> 32);
}

/* Uniform in (0, 1), never 0 or 1. */
RNG_FUNCTION float rng_uniform_of(uint32_t integer) {
    return ((float)(integer >> 9) + 0.5f) * (1.0f / 8388608.0f); /* 24 bits in all: exact */
}

/* Two standard normals from two integers (Box-Muller). */
RNG_FUNCTION void rng_normal_pair(uint32_t a, uint32_t b, float *first, float *second) {
    float radius = sqrtf(-2.0f * logf(rng_uniform_of(a)));
    float angle = 6.283185307179586f * rng_uniform_of(b);
    *first = radius * cosf(angle);
    *second = radius * sinf(angle);
}

/* Four standard normals for elements 4*block .. 4*block+3. */
RNG_FUNCTION void rng_normals(RngKey key, uint32_t block, float out[4]) {
    RngBlock integers = rng_block(key, block);
    rng_normal_pair(integers.v[0], integers.v[1], &out[0], &out[1]);
    rng_normal_pair(integers.v[2], integers.v[3], &out[2], &out[3]);
}

/* Fills out[0..count) with standard normals, elements 0..count-1 of the key's sequence. */
RNG_FUNCTION void rng_fill_normal(RngKey key, float *out, int64_t count) {
    float four[4];
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
        rng_normals(key, (uint32_t)(i / 4), out + i);
    if (i < count) {
        rng_normals(key, (uint32_t)(i / 4), four);
        for (int64_t k = 0; i + k < count; k++)
            out[i + k] = four[k];
    }
}

/* A seed for a sub-problem (a posterior unit) that does not collide with the parent's streams. */
RNG_FUNCTION uint64_t rng_derive_seed(uint64_t seed, uint32_t a, uint32_t b, uint32_t c) {
    RngBlock counter;
    counter.v[0] = a;
    counter.v[1] = b;
    counter.v[2] = c;
    counter.v[3] = 0x5EEDu << 16; /* above every stream number */
    counter = rng_philox(counter, (uint32_t)seed, (uint32_t)(seed >> 32));
    return (uint64_t)counter.v[1] << 32 | counter.v[0];
}

#endif
