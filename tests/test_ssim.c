/* SSIM against its definition by loops, and its properties. */
#include "tests/test.h"

#include "core/rng.h"
#include "diffusion/ssim.h"

enum { MOST = 28 };

static void fill(uint32_t step, float *image, int64_t count) {
    rng_fill_normal(rng_key(31, RNG_TEST, step, 0), image, count);
}

/* The paper's formulas (14) to (16) and (6), (13), with the window as one table and moments about the mean.
 */
static double definition(const float *a, const float *b, int64_t height, int64_t width, double range) {
    double total = 0, positions = 0;
    int64_t rows = height < 11 ? height : 11, columns = width < 11 ? width : 11;
    for (int64_t top = 0; top + rows <= height; top++)
        for (int64_t left = 0; left + columns <= width; left++) {
            double sum = 0, mean[2] = {0}, variance[2] = {0}, covariance = 0;
            for (int pass = 0; pass < 3; pass++)
                for (int64_t i = 0; i < rows; i++)
                    for (int64_t j = 0; j < columns; j++) {
                        double v = (double)i - 0.5 * (double)(rows - 1),
                               h = (double)j - 0.5 * (double)(columns - 1);
                        double weight = exp(-(v * v + h * h) / (2 * 1.5 * 1.5));
                        double x = a[(top + i) * width + left + j], y = b[(top + i) * width + left + j];
                        if (pass == 0) {
                            sum += weight;
                        } else if (pass == 1) {
                            mean[0] += weight / sum * x;
                            mean[1] += weight / sum * y;
                        } else {
                            variance[0] += weight / sum * (x - mean[0]) * (x - mean[0]);
                            variance[1] += weight / sum * (y - mean[1]) * (y - mean[1]);
                            covariance += weight / sum * (x - mean[0]) * (y - mean[1]);
                        }
                    }
            double c1 = pow(0.01 * range, 2), c2 = pow(0.03 * range, 2);
            double luminance = (2 * mean[0] * mean[1] + c1) / (mean[0] * mean[0] + mean[1] * mean[1] + c1);
            double structure = (2 * covariance + c2) / (variance[0] + variance[1] + c2);
            total += luminance * structure;
            positions++;
        }
    return total / positions;
}

/* Rounding: 121 terms near 1 to 9 leave about 1e-14 on variances and a constant C1 of 4e-4 under the
 * fraction. */
static void test_definition(void) {
    static const int64_t sides[][2] = {{28, 28}, {11, 11}, {12, 15}, {4, 4},
                                       {1, 1},   {1, 16},  {7, 20},  {10, 3}};
    float a[MOST * MOST], b[MOST * MOST];
    fill(1, a, MOST * MOST);
    fill(2, b, MOST * MOST);
    for (int i = 0; i < MOST * MOST; i++)
        b[i] = 0.6f * a[i] + 0.3f * b[i];
    for (int i = 0; i < 8; i++)
        CHECK_NEAR(ssim(a, b, sides[i][0], sides[i][1], 2), definition(a, b, sides[i][0], sides[i][1], 2),
                   1e-11);
    CHECK_NEAR(ssim(a, b, MOST, MOST, 255), definition(a, b, MOST, MOST, 255), 1e-11);
}

static void test_properties(void) {
    float a[MOST * MOST], b[MOST * MOST], noisy[MOST * MOST], flat[MOST * MOST];
    fill(1, a, MOST * MOST);
    fill(2, b, MOST * MOST);
    for (int i = 0; i < MOST * MOST; i++) {
        noisy[i] = a[i] + 0.1f * b[i];
        flat[i] = -1;
    }
    CHECK_NEAR(ssim(a, a, MOST, MOST, 2), 1, 1e-14);
    CHECK_NEAR(ssim(flat, flat, MOST, MOST, 2), 1, 1e-14);
    CHECK_NEAR(ssim(a, b, MOST, MOST, 2), ssim(b, a, MOST, MOST, 2), 1e-15);
    double near = ssim(a, noisy, MOST, MOST, 2), unrelated = ssim(a, b, MOST, MOST, 2);
    CHECK(near < 1 && near > 0.9 && unrelated < 0.2 && unrelated > -0.2);
    for (int i = 0; i < MOST * MOST; i++) { /* contrast inverted around the same mean */
        b[i] = 4 - a[i];
        a[i] += 4;
    }
    CHECK(ssim(a, b, MOST, MOST, 2) < -0.8);
    /* Constant images of 1 and -1: only luminance, (C1 - 2) / (C1 + 2) with C1 = 0.0004. */
    for (int i = 0; i < MOST * MOST; i++)
        noisy[i] = 1;
    CHECK_NEAR(ssim(noisy, flat, MOST, MOST, 2), (4e-4 - 2) / (4e-4 + 2), 1e-12);
}

int main(void) {
    test_definition();
    test_properties();
    return test_result();
}
