/* What the tests of posterior samplers share: a small observation, and draws of one prior. */
#ifndef TESTS_SAMPLER_RIG_H
#define TESTS_SAMPLER_RIG_H

#include "tests/test.h"

#include "comm/comm.h"
#include "core/rng.h"
#include "diffusion/generate.h"
#include "tests/gaussian_posterior.h"
#include "tests/sampler_defaults.h"

enum { STEPS = 300 };

static inline Schedule *schedule_of(const char *name, int64_t steps) {
    Schedule *schedule = NULL;
    CHECK_OK(schedule_create(name, steps, 1e-4, 2e-2, &schedule));
    return schedule;
}

static inline SamplerPlan *plan_of(const char *name, const Schedule *schedule,
                                   const SamplerOptions *options) {
    SamplerPlan *plan = NULL;
    CHECK_OK(sampler_plan_create(name, schedule, options, &plan));
    return plan;
}

/* Correlated pixels: what guides the observed ones reaches the missing ones. */
typedef struct Setup {
    Schedule *schedule;
    Gaussian gaussian;
    Observation *observation;
} Setup;

static inline Setup setup_of(const char *schedule, int64_t steps) {
    Setup setup = {.schedule = schedule_of(schedule, steps), .observation = small_observation(2, 1)};
    setup.gaussian = gaussian_prior(setup.schedule, 0.3, 1.0);
    return setup;
}

static inline void setup_end(Setup *setup) {
    observation_destroy(setup->observation);
    schedule_destroy(setup->schedule);
}

/* Chains (count, GAUSSIAN_PIXELS) with this seed and the RNG samples first .. first + count - 1. */
static inline Status draw(Setup *setup, Comm *comm, const Backend *backend, const SamplerPlan *plan,
                          int workers, int64_t batch, uint32_t first, int64_t count, float *samples,
                          ParticleStatistics *statistics) {
    Status status = STATUS_OK;
    Denoiser denoiser = gaussian_denoiser(&setup->gaussian, backend, workers, batch);
    uint64_t *seeds = NULL;
    uint32_t *rng_samples = NULL;
    const Observation **observations = NULL;
    TRY(ALLOCATE(&seeds, count));
    TRY(ALLOCATE(&rng_samples, count));
    TRY(ALLOCATE(&observations, count));
    for (int64_t i = 0; i < count; i++) {
        seeds[i] = 99;
        rng_samples[i] = first + (uint32_t)i;
        observations[i] = setup->observation;
    }
    GenerateArguments arguments = {.comm = comm,
                                   .denoiser = &denoiser,
                                   .plan = plan,
                                   .count = count,
                                   .seeds = seeds,
                                   .rng_samples = rng_samples,
                                   .observations = observations,
                                   .samples = samples,
                                   .particles = statistics};
    TRY(generate_samples(&arguments));
done:
    free(seeds);
    free(rng_samples);
    free(observations);
    return status;
}

#endif
