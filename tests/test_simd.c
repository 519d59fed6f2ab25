/* The vector exponential and its relatives against formulas in double, and wide vectors against narrow ones.
 */
#include <float.h>

#include "kernels/cpu/simd.h"
#include "test.h"

/* Distance in units in the last place of the expected value. */
static double ulps(float value, double expected) {
    double unit = nextafterf((float)fabs(expected), INFINITY) - (float)fabs(expected);
    return fabs(value - expected) / unit;
}

static void test_exp(void) {
    const int count = 1 << 20;
    double worst = 0;
    for (int i = 0; i < count; i++) {
        float x = -87.3f + (float)i / (float)count * (88.3f + 87.3f);
        float error = (float)ulps(simd_exp(simd_set(x))[i % SIMD_LANES], exp((double)x));
        worst = error > worst ? error : worst;
    }
    CHECK(worst < 2); /* what simd.h promises */
    CHECK(simd_exp(simd_set(0))[3] == 1);
    CHECK(isnan(simd_exp(simd_set(NAN))[0]));
    CHECK(isnan(simd_sigmoid(simd_set(NAN))[0]) && isnan(simd_silu_slope(simd_set(NAN))[0]));
    CHECK(isnan(simd_exp((SimdFloat){0, NAN})[1]) && simd_exp((SimdFloat){0, NAN})[0] == 1);
    CHECK(simd_exp(simd_set(INFINITY))[0] > 1e38f && isfinite(simd_exp(simd_set(1e30f))[0]));
    CHECK(simd_exp(simd_set(-INFINITY))[0] < 1.3e-38f && simd_exp(simd_set(-INFINITY))[0] > 0);
    for (int i = -400; i <= 400; i++) {
        double x = i / 8.0, s = 1 / (1 + exp(-x)), slope = s + x * s * (1 - s);
        /* exp within 2 ulp, then an addition and a division of half an ulp each */
        CHECK_NEAR(simd_sigmoid(simd_set((float)x))[0], s, 3 * FLT_EPSILON * s);
        /* three more roundings of terms of at most (1 + |x|) s; the slope itself crosses zero */
        CHECK_NEAR(simd_silu_slope(simd_set((float)x))[0], slope, 8 * FLT_EPSILON * (1 + fabs(x)) * s);
    }
}

#ifdef SIMD16_COMPILED
SIMD16_BEGIN
static int count_differences(void) {
    int differences = 0;
    for (int i = -100000; i <= 100000; i++) {
        float x = (float)i * 1.1e-3f, y = simd16_exp(simd16_set(x))[3] - simd_exp(simd_set(x))[5];
        float slope = simd16_silu_slope(simd16_set(x))[15] - simd_silu_slope(simd_set(x))[0];
        differences += !(y == 0 && slope == 0);
    }
    return differences;
}
SIMD16_END
#endif

/* Sixteen lanes compute the same bits as eight. */
static void test_wide_vectors(void) {
#ifdef SIMD16_COMPILED
    if (simd16_available())
        CHECK(count_differences() == 0);
#endif
}

int main(void) {
    test_exp();
    test_wide_vectors();
    return test_result();
}
