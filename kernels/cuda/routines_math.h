/* Arithmetic of the fused routines (kernels/backend.h) for one element: compiled by nvcc for the device and
 * by gcc for the host's tests. Every operation is rounded once, in the order of the CPU backend's loops, so
 * accumulate, finish_gradient and adamw give the CPU's bits, and noise and reverse differ from it only by
 * the device's logarithm, sine and cosine. */
#ifndef KERNELS_CUDA_ROUTINES_MATH_H
#define KERNELS_CUDA_ROUTINES_MATH_H

#include <math.h>

#include "kernels/backend.h"

#ifdef __CUDACC__
#define ROUTINES_FUNCTION static inline __host__ __device__
#else
#define ROUTINES_FUNCTION static inline
#endif

/* On the device a product and a sum would otherwise become one fused operation with one rounding. */
ROUTINES_FUNCTION float exact_multiply(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

ROUTINES_FUNCTION float exact_add(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
}

ROUTINES_FUNCTION float exact_subtract(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fsub_rn(a, b);
#else
    return a - b;
#endif
}

ROUTINES_FUNCTION float exact_divide(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fdiv_rn(a, b);
#else
    return a / b;
#endif
}

ROUTINES_FUNCTION float exact_sqrt(float a) {
#ifdef __CUDA_ARCH__
    return __fsqrt_rn(a);
#else
    return sqrtf(a);
#endif
}

/* ---- noise ---- */

/* x_t = signal (pixel / 127.5 - 1) + noise eps */
ROUTINES_FUNCTION float noised_pixel(uint8_t pixel, float signal, float noise, float eps) {
    const float white = 255.0f / 2;
    float x0 = exact_subtract(exact_divide((float)pixel, white), 1);
    return exact_add(exact_multiply(signal, x0), exact_multiply(noise, eps));
}

/* ---- fixed-point sums ---- */

/* The largest magnitude that accumulate takes: int64 holds 2^63 / 2^50 = 8192. */
ROUTINES_FUNCTION float fixed_point_largest(float limit) {
    const float representable = 8191.5f;
    return fminf(limit, representable);
}

/* round(value * 2^50), halves to even; |value| is at most fixed_point_largest. */
ROUTINES_FUNCTION int64_t fixed_point_of(float value) {
    double scaled = (double)value * FIXED_POINT_SCALE; /* a power of two: exact */
#ifdef __CUDA_ARCH__
    return __double2ll_rn(scaled);
#else
    return llrint(scaled);
#endif
}

ROUTINES_FUNCTION float fixed_point_value(int64_t sum) {
    return (float)((double)sum * (1 / FIXED_POINT_SCALE));
}

/* ---- update ---- */

/* The factor that brings a gradient of this norm to the step's clip_norm, at most 1. */
ROUTINES_FUNCTION double clipping_scale(const UpdateStep *step, double norm) {
    double scale = step->clip_norm / (norm + 1e-6);
    return step->clip_norm > 0 && scale < 1 ? scale : 1;
}

/* adamw of kernels/backend.h for one element; keep: the step's, of the element's piece. */
ROUTINES_FUNCTION void adamw_element(const UpdateStep *c, float scale, float keep, float gradient,
                                     float *parameter, float *m, float *v, float *ema) {
    float g = exact_multiply(scale, gradient);
    float m1 = exact_add(exact_multiply(c->beta1, *m), exact_multiply(c->rest1, g));
    float v1 = exact_add(exact_multiply(c->beta2, *v), exact_multiply(c->rest2, exact_multiply(g, g)));
    float denominator = exact_add(exact_divide(exact_sqrt(v1), c->correction2), c->epsilon);
    float update = exact_multiply(c->step_size, exact_divide(m1, denominator));
    float p = exact_subtract(exact_multiply(keep, *parameter), update);
    *m = m1;
    *v = v1;
    *parameter = p;
    *ema = exact_add(*ema, exact_multiply(c->follow, exact_subtract(p, *ema)));
}

/* ---- reverse step: ReverseStep's formulas for one pixel ---- */

ROUTINES_FUNCTION float reverse_x0_hat(const ReverseStep *step, float x, float eps_hat) {
    return exact_add(exact_multiply(step->from_x, x), exact_multiply(step->from_eps, eps_hat));
}

ROUTINES_FUNCTION float reverse_mean(const ReverseStep *step, float x0, float x) {
    return exact_add(exact_multiply(step->mean_x0, x0), exact_multiply(step->mean_x, x));
}

/* A sample without an observation. */
ROUTINES_FUNCTION float reverse_unobserved(const ReverseStep *step, float x, float eps_hat, float z) {
    float mean = reverse_mean(step, reverse_x0_hat(step, x, eps_hat), x);
    return exact_add(mean, exact_multiply(step->sigma, z));
}

/* A sample with an observation; y is used only where the pixel is seen, and may be NaN elsewhere. The
 * direction is reverse_x0_hat(step, u, J_eps^T u), or 0. */
ROUTINES_FUNCTION float reverse_observed(const ReverseStep *step, float x, float eps_hat, float z, float xi,
                                         float direction, bool seen, float y) {
    float x0_hat = reverse_x0_hat(step, x, eps_hat);
    float residual = seen ? exact_subtract(y, x0_hat) : 0;
    float mean = reverse_mean(step, step->projection && seen ? y : x0_hat, x);
    float guided = exact_add(mean, exact_multiply(step->gain, residual));
    guided = exact_add(guided, exact_multiply(step->guidance, direction));
    if (step->replacement && seen)
        return exact_add(exact_multiply(step->replace_y, y), exact_multiply(step->replace_noise, xi));
    return exact_add(guided, exact_multiply(step->sigma, z));
}

ROUTINES_FUNCTION float reverse_renoised(const ReverseStep *step, float next, float xi) {
    return exact_add(exact_multiply(step->renoise_x, next), exact_multiply(step->renoise_noise, xi));
}

/* m (y - x0_hat), and its share of the sample's norm; scale is 1 / norm, 0 where that is 0. */
ROUTINES_FUNCTION float reverse_residual(const ReverseStep *step, float x, float eps_hat, bool seen,
                                         float y) {
    return seen ? exact_subtract(y, reverse_x0_hat(step, x, eps_hat)) : 0;
}

ROUTINES_FUNCTION float normalised_residual(float residual, double scale) {
    return (float)(residual * scale);
}

#endif
