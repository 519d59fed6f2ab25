#include "tests/ensemble_rig.h"

#include <math.h>

#include "core/rng.h"

/* Random numbers of a unit: sample = unit; steps: 0 the unit, 1 the observation, 2 the truth, 3 + i draw i,
 * and 1000 more for the modes of single pixels. */
static RngKey key_of(uint32_t step, uint32_t unit) {
    return rng_key(77, RNG_TEST, step, unit);
}

static double uniform(RngKey key, uint32_t element) {
    return rng_uniform_of(rng_integer(key, element));
}

/* The missing pixels of the truth or of a draw; returns the mode. */
static int fill_missing(const double centre[RIG_PIXELS], double weight, double separation, double deviation,
                        bool independent, uint32_t step, uint32_t unit, float *image) {
    float normals[RIG_PIXELS];
    RngKey modes = key_of(1000 + step, unit);
    int label = !(uniform(modes, RIG_PIXELS) < weight);
    rng_fill_normal(key_of(step, unit), normals, RIG_PIXELS);
    for (uint32_t p = RIG_OBSERVED; p < RIG_PIXELS; p++) {
        int mode = independent ? !(uniform(modes, p) < weight) : label;
        image[p] = (float)(centre[p] + (mode ? -separation : separation) + deviation * normals[p]);
    }
    return label;
}

/* The observed pixels of a draw. */
static void fill_observed(const float *y, double factor, uint32_t step, uint32_t unit, float *image) {
    float normals[RIG_PIXELS];
    double prior = RIG_PRIOR * RIG_PRIOR, noise = RIG_NOISE * RIG_NOISE;
    rng_fill_normal(key_of(step, unit), normals, RIG_PIXELS);
    for (int p = 0; p < RIG_OBSERVED; p++)
        image[p] = (float)(y[p] * prior / (prior + noise) +
                           factor * sqrt(prior * noise / (prior + noise)) * normals[p]);
}

void rig_unit(RigDraws kind, int64_t draw_count, double separation, bool observation_noise, uint32_t index,
              RigUnit *unit) {
    float centres[RIG_PIXELS], noise[RIG_PIXELS];
    double centre[RIG_PIXELS], weight = uniform(key_of(0, index), RIG_PIXELS);
    double factor = kind == RIG_WIDE ? 1.5 : kind == RIG_NARROW ? 0.6 : 1;
    rng_fill_normal(key_of(0, index), centres, RIG_PIXELS);
    rng_fill_normal(key_of(1, index), noise, RIG_PIXELS);
    unit->weights[0] = weight;
    unit->weights[1] = 1 - weight;
    for (int p = 0; p < RIG_PIXELS; p++) {
        centre[p] = 0.2 * centres[p];
        unit->mask[p] = p < RIG_OBSERVED;
        unit->truth[p] = (float)(RIG_PRIOR * centres[p]); /* kept where observed */
        unit->y[p] = unit->truth[p] + (observation_noise ? (float)(RIG_NOISE * noise[p]) : 0);
    }
    unit->true_label = fill_missing(centre, weight, separation, RIG_DEVIATION, false, 2, index, unit->truth);
    for (uint32_t i = 0; i < draw_count; i++) {
        float *draw = unit->draws + i * RIG_PIXELS;
        unit->labels[i] = fill_missing(centre, kind == RIG_WRONG_MODE ? 1 - weight : weight, separation,
                                       factor * RIG_DEVIATION, kind == RIG_INDEPENDENT, 3 + i, index, draw);
        fill_observed(unit->y, factor, 3 + i, index, draw);
        for (int p = 0; p < RIG_PIXELS && kind == RIG_BIASED; p++)
            draw[p] += 0.2f;
    }
}
