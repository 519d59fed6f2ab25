/* Drawing images from a network or an exact prior: shared by train (its figure), sample, posterior and sweep.
 */
#ifndef COMMANDS_GENERATION_H
#define COMMANDS_GENERATION_H

#include "commands/exact_draws.h"
#include "commands/session.h"
#include "diffusion/generate.h"
#include "diffusion/prior.h"
#include "model/network.h"

/* A trained network as a checkpoint holds it; on every rank. */
typedef struct TrainedModel {
    char path[FILE_PATH_BYTES]; /* of the checkpoint */
    char checksum[17];          /* of its parameters, hexadecimal */
    int64_t step, height, width, parameter_count;
    float *parameters; /* (parameter_count) host memory, in the graph's order; owned */
} TrainedModel;

/* Reads --checkpoint (a file or a run directory) on rank 0 and sends it to all; model.* and diffusion.* of
 * the session's configuration are taken from it, a setting that contradicts it is refused. Takes the
 * parameters that sample.weights names. Collective. */
Status trained_model_load(Session *session, TrainedModel *model);
void trained_model_release(TrainedModel *model); /* accepts a zeroed struct */

/* A network with parameters loaded, or an exact prior, for drawing. */
typedef struct Generator {
    Session *session;
    Schedule *schedule;
    Network *network;   /* NULL: the denoiser is an exact prior's */
    const Prior *prior; /* not owned; NULL: a network's */
    ExactDraws exact;   /* of the sampler exact */
    Denoiser denoiser;
    float *parameters; /* backend memory */
    int64_t height, width;
} Generator;

/* parameters: (count) host memory in the graph's order, copied. vjp: the denoiser also has vector-Jacobian
 * products, which takes more memory. Collective in that all ranks need one. */
Status generator_create(Generator *generator, Session *session, int64_t height, int64_t width,
                        const float *parameters, bool vjp);
/* The same for an exact prior, which must outlive it. */
Status generator_create_prior(Generator *generator, Session *session, const Prior *prior);

void generator_release(Generator *generator); /* accepts a zeroed struct */

/* The settings of all posterior samplers, posterior.*. */
SamplerOptions sampler_options(const Config *config);

/* Prints those that this sampler reads. */
void sampler_print_options(const Config *config, const Sampler *sampler);

/* What to draw; see GenerateArguments. */
typedef struct GeneratorRequest {
    const char *sampler; /* of the registry, or "exact" */
    SamplerOptions options;
    int64_t count;
    const Observation *observation; /* of all draws; NULL for prior samplers */
    uint64_t seed;

    /* Draws of several observations: (count) each, instead of observation and seed; draw i uses random
     * numbers (seeds[i], rng_samples[i]). */
    const Observation *const *observations;
    const uint64_t *seeds;
    const uint32_t *rng_samples;

    Comm *comm;                /* the ranks that draw together; NULL: all */
    GenerateProgress progress; /* beside the progress line; may be NULL */
    void *progress_context;
    const volatile sig_atomic_t *stop; /* NULL: signals stop it */
    bool quiet;                        /* no progress line */
    double *max_gain;                  /* out: largest guidance gain; may be NULL */
    float *x_start;                    /* out, rank 0; may be NULL */
    float *samples;                    /* out, rank 0 */
    ParticleStatistics *particles;     /* (count) out, rank 0, of samplers of particles; may be NULL */
} GeneratorRequest;

/* Draw i uses random numbers (seed, i). Prints progress and the largest guidance gain. Collective. */
Status generator_draw(Generator *generator, const GeneratorRequest *request);

#endif
