/* The settings that tests of posterior samplers begin with. */
#ifndef TESTS_SAMPLER_DEFAULTS_H
#define TESTS_SAMPLER_DEFAULTS_H

#include "diffusion/sampler.h"

/* The configuration's defaults, but for fewer jumps and particles. */
static const SamplerOptions DEFAULTS = {
    .sigma_y = 0.1,
    .lambda_max = 1.5,
    .lambda_min = 0.25,
    .power = 1.5,
    .c = 0.05,
    .max_gain = 3,
    .jumps = 3,
    .zeta = 1,
    .calibrated_v = 0.05,
    .pigdm_v = 0.2,
    .tds_v = 0.2,
    .particles = 6,
    .draws_per_run = 4,
};

#endif
