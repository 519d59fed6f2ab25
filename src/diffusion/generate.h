/* Runs whole reverse chains, spread over ranks and threads. */
#ifndef DIFFUSION_GENERATE_H
#define DIFFUSION_GENERATE_H

#include <signal.h>
#include <stdint.h>

#include "comm/comm.h"
#include "diffusion/denoiser.h"
#include "diffusion/particles.h"
#include "diffusion/posterior.h"
#include "diffusion/sampler.h"

/* `done` of `total` chain steps of this rank (a step of a block of denoiser->batch chains or particles counts
 * once). */
typedef void (*GenerateProgress)(void *context, int64_t done, int64_t total);

typedef struct GenerateArguments {
    Comm *comm;
    Denoiser *denoiser; /* denoiser->workers threads are used */
    const SamplerPlan *plan;

    /* Chain i draws all its random numbers from (seeds[i], rng_samples[i]): the same on every rank. For a
     * sampler of particles a chain is a draw: number rng_samples[i] mod D of the run rng_samples[i] / D of
     * its seed, D = plan->options.draws_per_run. Draws of one run that follow one another, with rising
     * rng_samples and the same Observation, are computed together; otherwise once for each. */
    int64_t count;                          /* N */
    const uint64_t *seeds;                  /* (N) */
    const uint32_t *rng_samples;            /* (N) */
    const Observation *const *observations; /* (N), for posterior samplers; else NULL */

    /* Out, (N, height, width), written on rank 0 alone. */
    float *x_start;                /* x_T, of a particle's draw that of its ancestor; may be NULL */
    float *samples;                /* in the [-1, 1] scale, not clipped */
    ParticleStatistics *particles; /* (N) on rank 0, of samplers of particles only; may be NULL */

    GenerateProgress progress; /* optional; called by one thread at a time, the caller's */
    void *progress_context;
    const volatile sig_atomic_t *stop; /* optional; once not 0, the next step ends in STATUS_INTERRUPTED */
} GenerateArguments;

/* x_T ~ N(0, I) (stream RNG_SAMPLE_START), then every step of the plan. Units of work are blocks of
 * denoiser->batch consecutive chains, or runs of particles, in as many blocks as they fill; unit u is on rank
 * u mod size, run by one worker from start to end; the last block is padded. The result is bit-identical for
 * any number of ranks and workers, any block size and any selection of chains. Memory: a few tensors of a
 * unit's chains for every worker, and the samples. Errors: STATUS_BAD_INPUT for a posterior sampler without
 * observations or with images of another size, or one that needs a vector-Jacobian product the denoiser
 * lacks; STATUS_INTERRUPTED; STATUS_FAILURE, also for a state that is not finite (named: sampler, sample, and
 * t: that of the first such step, or, where a device is looked at now and then, of the first look). An error
 * of one rank is every rank's. Collective; a rank that works alone passes a communicator of itself. */
Status generate_samples(const GenerateArguments *arguments);

#endif
