#include "tests/prior_truth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

static double scaled(uint8_t pixel) {
    return pixel / 127.5 - 1;
}

static void create_classes(const PriorSettings *settings, const PriorImages *images, Truth *truth) {
    int count[10] = {0}, mode_of[10], pixels = truth->pixels;
    truth->labels = 10;
    for (int64_t n = 0; n < images->count; n++)
        count[images->labels[n]]++;
    for (int c = 0; c < 10; c++) {
        mode_of[c] = truth->modes;
        truth->weight[truth->modes] = (double)count[c] / (double)images->count;
        truth->label[truth->modes] = c;
        truth->modes += count[c] > 0;
    }
    for (int64_t n = 0; n < images->count; n++)
        for (int p = 0; p < pixels; p++)
            truth->mean[mode_of[images->labels[n]]][p] +=
                scaled(images->pixels[n * pixels + p]) / count[images->labels[n]];
    for (int64_t n = 0; n < images->count; n++) {
        const double *mean = truth->mean[mode_of[images->labels[n]]];
        const uint8_t *image = images->pixels + n * pixels;
        for (int p = 0; p < pixels; p++)
            for (int q = 0; q < pixels; q++)
                truth->covariance[p][q] +=
                    (scaled(image[p]) - mean[p]) * (scaled(image[q]) - mean[q]) / (double)images->count;
    }
    for (int p = 0; p < pixels; p++)
        truth->covariance[p][p] += settings->tau * settings->tau;
}

static void create_isotropic(const PriorSettings *settings, const PriorImages *images, Truth *truth) {
    float normals[TRUTH_PIXELS];
    bool mixture = strcmp(settings->name, "mixture") == 0;
    truth->modes = (int)(mixture ? settings->modes : settings->images);
    truth->labels = mixture ? truth->modes : 10;
    for (int k = 0; k < truth->modes; k++) {
        if (mixture)
            rng_fill_normal(rng_key(settings->seed, RNG_PRIOR_MODES, 0, (uint32_t)k), normals, truth->pixels);
        for (int p = 0; p < truth->pixels; p++)
            truth->mean[k][p] =
                mixture ? settings->separation * settings->tau / sqrt(2.0 * truth->pixels) * normals[p]
                        : scaled(images->pixels[k * truth->pixels + p]);
        truth->weight[k] = 1.0 / truth->modes;
        truth->label[k] = mixture ? k : images->labels[k];
    }
    for (int p = 0; p < truth->pixels; p++)
        truth->covariance[p][p] = settings->tau * settings->tau;
}

void truth_create(const PriorSettings *settings, const PriorImages *images, Truth *truth) {
    memset(truth, 0, sizeof *truth);
    truth->pixels = (int)(prior_needs_images(settings->name) ? images->height * images->width
                                                             : settings->side * settings->side);
    if (strcmp(settings->name, "gaussian") == 0) {
        truth->modes = truth->labels = 1;
        truth->weight[0] = 1;
        for (int p = 0; p < truth->pixels; p++)
            for (int q = 0; q < truth->pixels; q++)
                truth->covariance[p][q] = pow(settings->correlation, abs(p - q));
    } else if (strcmp(settings->name, "class-gaussian") == 0) {
        create_classes(settings, images, truth);
    } else {
        create_isotropic(settings, images, truth);
    }
}

Truth truth_diffused(const Truth *truth, double a) {
    Truth diffused = *truth;
    for (int k = 0; k < truth->modes; k++)
        for (int p = 0; p < truth->pixels; p++)
            diffused.mean[k][p] *= sqrt(a);
    for (int p = 0; p < truth->pixels; p++)
        for (int q = 0; q < truth->pixels; q++)
            diffused.covariance[p][q] = a * truth->covariance[p][q] + (p == q ? 1 - a : 0);
    return diffused;
}

void truth_invert(int n, const TruthMatrix a, TruthMatrix inverse) {
    TruthMatrix left;
    memcpy(left, a, sizeof left);
    memset(inverse, 0, sizeof left);
    for (int i = 0; i < n; i++)
        inverse[i][i] = 1;
    for (int i = 0; i < n; i++) { /* no pivoting: positive definite */
        double pivot = left[i][i];
        for (int j = 0; j < n; j++) {
            left[i][j] /= pivot;
            inverse[i][j] /= pivot;
        }
        for (int r = 0; r < n; r++) {
            double factor = r == i ? 0 : left[r][i];
            for (int j = 0; j < n; j++) {
                left[r][j] -= factor * left[i][j];
                inverse[r][j] -= factor * inverse[i][j];
            }
        }
    }
}

static double quadratic(int n, const TruthMatrix a, const double *x) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            sum += x[i] * a[i][j] * x[j];
    return sum;
}

double truth_weigh(const Truth *truth, const TruthMatrix inverse, const double *x, double *weights) {
    double largest = -INFINITY, sum = 0, difference[TRUTH_PIXELS];
    for (int k = 0; k < truth->modes; k++) {
        for (int p = 0; p < truth->pixels; p++)
            difference[p] = x[p] - truth->mean[k][p];
        weights[k] = log(truth->weight[k]) - 0.5 * quadratic(truth->pixels, inverse, difference);
        largest = fmax(largest, weights[k]);
    }
    for (int k = 0; k < truth->modes; k++)
        sum += exp(weights[k] - largest);
    for (int k = 0; k < truth->modes; k++)
        weights[k] = exp(weights[k] - largest) / sum;
    return largest + log(sum);
}

static void multiply(int n, const TruthMatrix a, const double *x, double *y) {
    for (int i = 0; i < n; i++) {
        y[i] = 0;
        for (int j = 0; j < n; j++)
            y[i] += a[i][j] * x[j];
    }
}

void truth_score(const Truth *truth, const TruthMatrix inverse, const double *x, double *score) {
    double weights[TRUTH_MODES], difference[TRUTH_PIXELS];
    truth_weigh(truth, inverse, x, weights);
    for (int p = 0; p < truth->pixels; p++) {
        difference[p] = -x[p];
        for (int k = 0; k < truth->modes; k++)
            difference[p] += weights[k] * truth->mean[k][p];
    }
    multiply(truth->pixels, inverse, difference, score);
}

/* A^-1 (Cov_w(mean) A^-1 v - v) */
void truth_hessian_product(const Truth *truth, const TruthMatrix inverse, const double *x, const double *v,
                           double *product) {
    double weights[TRUTH_MODES], average[TRUTH_PIXELS] = {0}, solved[TRUTH_PIXELS], sum[TRUTH_PIXELS];
    truth_weigh(truth, inverse, x, weights);
    multiply(truth->pixels, inverse, v, solved);
    for (int p = 0; p < truth->pixels; p++) {
        sum[p] = -v[p];
        for (int k = 0; k < truth->modes; k++)
            average[p] += weights[k] * truth->mean[k][p];
    }
    for (int k = 0; k < truth->modes; k++) {
        double along = 0;
        for (int p = 0; p < truth->pixels; p++)
            along += (truth->mean[k][p] - average[p]) * solved[p];
        for (int p = 0; p < truth->pixels; p++)
            sum[p] += weights[k] * along * (truth->mean[k][p] - average[p]);
    }
    multiply(truth->pixels, inverse, sum, product);
}

void truth_moments(const Truth *truth, double *mean, TruthMatrix covariance) {
    memcpy(covariance, truth->covariance, sizeof(TruthMatrix));
    memset(mean, 0, TRUTH_PIXELS * sizeof *mean);
    for (int k = 0; k < truth->modes; k++)
        for (int p = 0; p < truth->pixels; p++)
            mean[p] += truth->weight[k] * truth->mean[k][p];
    for (int k = 0; k < truth->modes; k++)
        for (int p = 0; p < truth->pixels; p++)
            for (int q = 0; q < truth->pixels; q++)
                covariance[p][q] +=
                    truth->weight[k] * (truth->mean[k][p] - mean[p]) * (truth->mean[k][q] - mean[q]);
}

/* With M the (pixels, pixels) matrix of the mask, precision form: missing pixels are observed with an
 * infinite variance, so posterior covariance = (S^-1 + M / sigma_y^2)^-1 and
 * mean_k = covariance (S^-1 mean_k + M y / sigma_y^2). Weights: N(y_O; mean_kO, S_OO + sigma_y^2 I). */
Truth truth_posterior(const Truth *truth, const float *mask, const float *y, double sigma_y) {
    Truth posterior = *truth, observed = *truth;
    TruthMatrix precision, inverse, sum;
    double values[TRUTH_PIXELS] = {0}, rotated[TRUTH_PIXELS];
    int indices[TRUTH_PIXELS], n = 0;
    for (int p = 0; p < truth->pixels; p++)
        if (mask[p] > 0)
            indices[n++] = p;
    observed.pixels = n;
    for (int i = 0; i < n; i++) {
        values[i] = y[indices[i]];
        for (int j = 0; j < n; j++)
            observed.covariance[i][j] =
                truth->covariance[indices[i]][indices[j]] + (i == j ? sigma_y * sigma_y : 0);
        for (int k = 0; k < truth->modes; k++)
            observed.mean[k][i] = truth->mean[k][indices[i]];
    }
    truth_invert(n, observed.covariance, inverse);
    truth_weigh(&observed, inverse, values, posterior.weight);
    truth_invert(truth->pixels, truth->covariance, precision);
    memcpy(sum, precision, sizeof sum);
    for (int i = 0; i < n; i++)
        sum[indices[i]][indices[i]] += 1 / (sigma_y * sigma_y);
    truth_invert(truth->pixels, sum, posterior.covariance);
    for (int k = 0; k < truth->modes; k++) {
        multiply(truth->pixels, precision, truth->mean[k], rotated);
        for (int i = 0; i < n; i++)
            rotated[indices[i]] += values[i] / (sigma_y * sigma_y);
        multiply(truth->pixels, posterior.covariance, rotated, posterior.mean[k]);
    }
    return posterior;
}
