#include "diffusion/ssim.h"

#include <math.h>

enum { WINDOW = 11 };
static const double DEVIATION = 1.5;

/* The window along one side; returns its length. */
static int64_t side_weights(int64_t side, double weights[WINDOW]) {
    int64_t length = side < WINDOW ? side : WINDOW;
    double sum = 0;
    for (int64_t i = 0; i < length; i++) {
        double distance = ((double)i - (double)(length - 1) / 2) / DEVIATION;
        weights[i] = exp(-distance * distance / 2);
        sum += weights[i];
    }
    for (int64_t i = 0; i < length; i++)
        weights[i] /= sum;
    return length;
}

typedef struct Window {
    double vertical[WINDOW], horizontal[WINDOW];
    int64_t height, width;
} Window;

/* The index at the position whose upper left pixel is a[0], b[0]. */
static double local_ssim(const Window *window, const float *a, const float *b, int64_t stride, double range) {
    const double c1 = (0.01 * range) * (0.01 * range), c2 = (0.03 * range) * (0.03 * range);
    double mean_a = 0, mean_b = 0, aa = 0, bb = 0, ab = 0;
    for (int64_t i = 0; i < window->height; i++)
        for (int64_t j = 0; j < window->width; j++) {
            double weight = window->vertical[i] * window->horizontal[j];
            double x = a[i * stride + j], z = b[i * stride + j];
            mean_a += weight * x;
            mean_b += weight * z;
            aa += weight * x * x;
            bb += weight * z * z;
            ab += weight * x * z;
        }
    aa -= mean_a * mean_a;
    bb -= mean_b * mean_b;
    ab -= mean_a * mean_b;
    return (2 * mean_a * mean_b + c1) * (2 * ab + c2) /
           ((mean_a * mean_a + mean_b * mean_b + c1) * (aa + bb + c2));
}

double ssim(const float *a, const float *b, int64_t height, int64_t width, double range) {
    Window window;
    double sum = 0;
    window.height = side_weights(height, window.vertical);
    window.width = side_weights(width, window.horizontal);
    int64_t rows = height - window.height + 1, columns = width - window.width + 1;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            sum += local_ssim(&window, a + i * width + j, b + i * width + j, width, range);
    return sum / (double)(rows * columns);
}
