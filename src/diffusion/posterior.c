#include "diffusion/posterior.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "diffusion/mask.h"

/* Memory and mask; truth is the caller's to fill. */
static Status allocate(const ObservationSettings *settings, int64_t height, int64_t width,
                       Observation **out) {
    Status status = STATUS_OK;
    Observation *observation = NULL;
    int64_t count = height * width;
    if (!(settings->sigma_y >= 0 && isfinite(settings->sigma_y)))
        FAIL(STATUS_BAD_INPUT, "posterior.sigma_y: expected 0 or more, found %g", settings->sigma_y);
    TRY(ALLOCATE(&observation, 1));
    observation->height = height;
    observation->width = width;
    TRY(ALLOCATE(&observation->truth, count));
    TRY(ALLOCATE(&observation->mask, count));
    TRY(ALLOCATE(&observation->y, count));
    TRY(mask_observed_count(settings->fraction, count, &observation->observed_count));
    TRY(mask_fill(settings->mask_seed, settings->fraction, count, observation->mask));
    *out = observation;
    observation = NULL;
done:
    observation_destroy(observation);
    return status;
}

/* y from truth. */
static void observe(const ObservationSettings *settings, int64_t image_index, Observation *observation) {
    int64_t count = observation->height * observation->width;
    if (settings->observation_noise)
        rng_fill_normal(rng_key(settings->seed, RNG_OBSERVATION_NOISE, 0, (uint32_t)image_index),
                        observation->y, count);
    for (int64_t i = 0; i < count; i++) {
        float noisy =
            observation->truth[i] + (float)settings->sigma_y * observation->y[i]; /* y held n, or 0 */
        observation->y[i] = observation->mask[i] > 0 ? noisy : 0;
    }
}

Status observation_create(const ObservationSettings *settings, const uint8_t *pixels, int64_t height,
                          int64_t width, int64_t image_index, Observation **observation) {
    Status status = STATUS_OK;
    TRY(allocate(settings, height, width, observation));
    for (int64_t i = 0; i < height * width; i++)
        (*observation)->truth[i] = (float)pixels[i] / 127.5f - 1.0f;
    observe(settings, image_index, *observation);
done:
    return status;
}

Status observation_create_from(const ObservationSettings *settings, const float *truth, int64_t height,
                               int64_t width, int64_t image_index, Observation **observation) {
    Status status = STATUS_OK;
    TRY(allocate(settings, height, width, observation));
    memcpy((*observation)->truth, truth, (size_t)(height * width) * sizeof *truth);
    observe(settings, image_index, *observation);
done:
    return status;
}

void observation_destroy(Observation *observation) {
    if (!observation)
        return;
    free(observation->truth);
    free(observation->mask);
    free(observation->y);
    free(observation);
}
