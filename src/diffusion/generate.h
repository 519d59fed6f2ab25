/* Runs whole reverse chains, spread over ranks and threads. */
#ifndef DIFFUSION_GENERATE_H
#define DIFFUSION_GENERATE_H

#include <signal.h>
#include <stdint.h>

#include "comm/comm.h"
#include "diffusion/denoiser.h"
#include "diffusion/posterior.h"
#include "diffusion/sampler.h"

/* `done` of `total` chain steps of this rank (a step of a block of denoiser->batch samples counts once). */
typedef void (*GenerateProgress)(void *context, int64_t done, int64_t total);

typedef struct GenerateArguments {
    Comm *comm;
    Denoiser *denoiser; /* denoiser->workers threads are used */
    const SamplerPlan *plan;

    /* Chain i draws all its random numbers from (seeds[i], rng_samples[i]): the same on every rank. */
    int64_t count;                          /* N */
    const uint64_t *seeds;                  /* (N) */
    const uint32_t *rng_samples;            /* (N) */
    const Observation *const *observations; /* (N), for posterior samplers; else NULL */

    /* Out, (N, height, width), written on rank 0 alone. */
    float *x_start; /* x_T; may be NULL */
    float *samples; /* in the [-1, 1] scale, not clipped */

    GenerateProgress progress; /* optional; called by one thread at a time, the caller's */
    void *progress_context;
    const volatile sig_atomic_t *stop; /* optional; once not 0, the next step ends in STATUS_INTERRUPTED */
} GenerateArguments;

/* x_T ~ N(0, I) (stream RNG_SAMPLE_START), then every step of the plan. Blocks of denoiser->batch consecutive
 * chains, block b on rank b mod size, each run by one worker from start to end; the last one is padded. The
 * result is bit-identical for any number of ranks and workers, any block size and any selection of chains.
 * Errors: STATUS_BAD_INPUT for a posterior sampler without observations or with images of another size;
 * STATUS_INTERRUPTED; STATUS_FAILURE, also for a result that is not finite (named: sampler, t, sample). An
 * error of one rank is every rank's. Collective. */
Status generate_samples(const GenerateArguments *arguments);

#endif
