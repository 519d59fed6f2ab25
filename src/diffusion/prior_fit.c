/* Priors made from training images, pixels scaled as x0 = pixel / 127.5 - 1. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "diffusion/prior_internal.h"

enum { DIGITS = 10 };

static const double PIXEL_SCALE = 127.5;

/* ---- empirical ---- */

Status prior_fit_empirical(const PriorSettings *settings, const PriorImages *images, Prior **out) {
    Status status = STATUS_OK;
    Prior *prior = NULL;
    double *mean = NULL;
    int64_t modes = settings->images, pixels = images->height * images->width;
    if (modes < 1 || modes > images->count)
        FAIL(STATUS_BAD_INPUT, "prior.images: expected 1 to %lld (the training images), found %lld",
             (long long)images->count, (long long)modes);
    TRY(prior_allocate("empirical", images->height, images->width, modes, DIGITS, false, &prior));
    TRY(ALLOCATE(&mean, modes * pixels));
    for (int64_t i = 0; i < modes * pixels; i++)
        mean[i] = images->pixels[i] / PIXEL_SCALE - 1;
    for (int64_t k = 0; k < modes; k++) {
        prior->log_weight[k] = -log((double)modes);
        prior->label[k] = images->labels[k];
    }
    TRY(prior_complete(prior, mean, prior_tau(settings, 0.2)));
    *out = prior;
    prior = NULL;
done:
    free(mean);
    prior_destroy(prior);
    return status;
}

/* ---- class-gaussian ---- */

/* Sums over images, of whole numbers and hence exact in any order. */
typedef struct Moments {
    int64_t count[DIGITS];
    uint64_t *sums;     /* (DIGITS, pixels) */
    uint64_t *products; /* (pixels, pixels) of all images; where column >= row */
} Moments;

/* Skips the background, most of a digit's pixels. */
static void add_image(Moments *moments, const uint8_t *image, int label, int64_t pixels, int64_t *inked) {
    uint64_t *sums = moments->sums + label * pixels;
    int64_t count = 0;
    moments->count[label]++;
    for (int64_t p = 0; p < pixels; p++) {
        sums[p] += image[p];
        if (image[p] > 0)
            inked[count++] = p;
    }
    for (int64_t i = 0; i < count; i++) {
        uint64_t *row = moments->products + inked[i] * pixels, value = image[inked[i]];
        for (int64_t j = i; j < count; j++)
            row[inked[j]] += value * image[inked[j]];
    }
}

/* S = (sum_n x_n x_n^T - sum_c s_c s_c^T / n_c) / (N scale^2) + tau^2 I */
static void fill_covariance(Prior *prior, const Moments *moments, int64_t images, double tau) {
    int64_t pixels = prior->pixels;
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t q = p; q < pixels; q++) {
            double sum = (double)moments->products[p * pixels + q];
            for (int c = 0; c < DIGITS; c++)
                if (moments->count[c] > 0)
                    sum -= (double)moments->sums[c * pixels + p] * (double)moments->sums[c * pixels + q] /
                           (double)moments->count[c];
            sum /= (double)images * PIXEL_SCALE * PIXEL_SCALE;
            prior->covariance[p * pixels + q] = prior->covariance[q * pixels + p] =
                p == q ? sum + tau * tau : sum;
        }
}

Status prior_fit_classes(const PriorSettings *settings, const PriorImages *images, Prior **out) {
    Status status = STATUS_OK;
    Prior *prior = NULL;
    Moments moments = {0};
    int64_t *inked = NULL, pixels = images->height * images->width, modes = 0;
    double *mean = NULL;
    for (int64_t n = 0; n < images->count; n++)
        moments.count[images->labels[n]]++;
    for (int c = 0; c < DIGITS; c++)
        modes += moments.count[c] > 0;
    memset(moments.count, 0, sizeof moments.count);
    TRY(prior_allocate("class-gaussian", images->height, images->width, modes, DIGITS, true, &prior));
    TRY(ALLOCATE(&moments.sums, DIGITS * pixels));
    TRY(ALLOCATE(&moments.products, pixels * pixels));
    TRY(ALLOCATE(&inked, pixels));
    TRY(ALLOCATE(&mean, modes * pixels));
    for (int64_t n = 0; n < images->count; n++)
        add_image(&moments, images->pixels + n * pixels, images->labels[n], pixels, inked);
    for (int64_t c = 0, k = 0; c < DIGITS; c++) {
        if (moments.count[c] == 0)
            continue;
        for (int64_t p = 0; p < pixels; p++)
            mean[k * pixels + p] =
                (double)moments.sums[c * pixels + p] / (double)moments.count[c] / PIXEL_SCALE - 1;
        prior->log_weight[k] = log((double)moments.count[c] / (double)images->count);
        prior->label[k++] = (int32_t)c;
    }
    fill_covariance(prior, &moments, images->count, prior_tau(settings, 0.1));
    TRY(prior_complete(prior, mean, 0));
    *out = prior;
    prior = NULL;
done:
    free(moments.sums);
    free(moments.products);
    free(inked);
    free(mean);
    prior_destroy(prior);
    return status;
}
