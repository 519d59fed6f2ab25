/* A partially observed image: y = x0 (+ sigma_y n) on the pixels of a random mask. */
#ifndef DIFFUSION_POSTERIOR_H
#define DIFFUSION_POSTERIOR_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

typedef struct ObservationSettings {
    double fraction; /* of the pixels, in (0, 1] */
    uint64_t mask_seed;
    double sigma_y;         /* in units of [-1, 1] pixels */
    bool observation_noise; /* add N(0, sigma_y^2) to y; without it y is the truth */
    uint64_t seed;          /* of the observation noise: stream RNG_OBSERVATION_NOISE, sample = image index */
} ObservationSettings;

/* All arrays (height, width), host memory. */
typedef struct Observation {
    int64_t height, width;
    int64_t observed_count;
    float *truth; /* x0; of a data set's image pixel / 127.5 - 1 */
    float *mask;  /* 1 observed, 0 missing */
    float *y;     /* 0 where missing. The noise of a pixel does not depend on the mask. */
} Observation;

/* Observes the image `pixels` (height, width) of index `image_index` in its data set. The caller owns the
 * result (observation_destroy). STATUS_BAD_INPUT: fraction (see mask.h) or sigma_y out of range. */
Status observation_create(const ObservationSettings *settings, const uint8_t *pixels, int64_t height,
                          int64_t width, int64_t image_index, Observation **observation);

/* The same for any x0 `truth` (height, width), which is copied: a draw of an exact prior, say. */
Status observation_create_from(const ObservationSettings *settings, const float *truth, int64_t height,
                               int64_t width, int64_t image_index, Observation **observation);

/* Accepts NULL. */
void observation_destroy(Observation *observation);

#endif
