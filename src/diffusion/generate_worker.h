/* Private to generate.c and what it runs: one generation's data and one worker's buffers. */
#ifndef DIFFUSION_GENERATE_WORKER_H
#define DIFFUSION_GENERATE_WORKER_H

#include <stdatomic.h>

#include "diffusion/generate.h"

/* Consecutive chains that one worker runs together. */
typedef struct Unit {
    int64_t first, count;
} Unit;

/* Buffers for `slots` chains, a whole number of blocks of denoiser->batch. */
typedef struct Worker {
    /* backend memory */
    float *x, *eps_hat;                       /* (slots, pixels) */
    float *residual, *product;                /* (slots, pixels), where the sampler needs the Jacobian */
    float *mask, *observed;                   /* (batch, pixels); the same for every block */
    const float **mask_rows, **observed_rows; /* (batch) pointers to the rows of mask and observed */
    uint64_t *seeds;                          /* (slots) */
    uint32_t *rng_samples;                    /* (slots) */
    /* host memory: what is copied in and out */
    float *host_x;                                      /* (slots, pixels) */
    float *host_mask, *host_observed;                   /* (batch, pixels) */
    float *host_eps_hat, *host_residual, *host_product; /* (slots, pixels), samplers of particles only */
    float *host_before;                                 /* likewise: x before the step */
    uint64_t *host_seeds;
    uint32_t *host_rng_samples;
    double *log_weights, *log_twists, *weights; /* (slots), samplers of particles only */
    int64_t *ancestors, *chosen;                /* likewise */
} Worker;

typedef struct Generation {
    const GenerateArguments *arguments;
    const Backend *backend;
    int64_t batch, pixels, slots;
    Unit *units; /* (unit_count) of all ranks: unit u is on rank u mod ranks */
    int64_t unit_count;
    int rank, ranks;
    float *t;        /* (t of the first step + 1, batch), backend memory: row t is t everywhere */
    Worker *workers; /* (denoiser->workers) */
    /* this rank's results in the order of its units, host */
    int64_t mine_units, mine_count;
    int64_t *mine_first;                /* (mine_units) where a unit's chains begin */
    float *mine;                        /* (mine_count, pixels) */
    ParticleStatistics *mine_particles; /* (mine_count), samplers of particles only */
    _Atomic int64_t done;               /* steps of blocks */
} Generation;

Status worker_create(const Generation *g, Worker *worker);
void worker_release(const Generation *g, Worker *worker); /* accepts a half-made one */

/* x_T of one chain (pixels): stream RNG_SAMPLE_START. */
void draw_start(uint64_t seed, uint32_t rng_sample, int64_t pixels, float *x);

/* Copies host_x, host_seeds, host_rng_samples and, with observations, host_mask and host_observed to the
 * backend's memory. */
Status worker_place(const Generation *g, Worker *worker);

/* Sets the mask and y of row `slot` (below batch) in host memory. */
void worker_observe(const Generation *g, Worker *worker, int64_t slot, const Observation *observation);

/* eps_hat of step k for block `block` of the worker's slots, and residual and J_eps^T residual if that step
 * is guided by them. */
Status worker_evaluate(const Generation *g, int worker, int64_t block, int64_t k);

/* x <- the next state, for that block. */
Status worker_reverse(const Generation *g, int worker, int64_t block, int64_t k);

/* Copies the first `count` rows of x to host_x and checks them; step k was the latest. `first`: number of row
 * 0's chain, for the message. */
Status worker_read(const Generation *g, Worker *worker, int64_t count, int64_t first, int64_t k);

/* STATUS_INTERRUPTED once the caller's flag is set. */
Status generation_check_stop(const Generation *g);

/* Counts a step of one block; worker 0 tells the caller. */
void generation_count_step(Generation *g, int worker);

/* Whether step k needs residual and product. */
bool generation_guides(const Generation *g, int64_t k);

/* Runs the unit from start to end: samples (unit->count, pixels), host. (chains.c) */
Status chains_run(Generation *g, int worker, const Unit *unit, float *samples);

/* The same for a sampler of particles: the chains are draws of one run. (particle_run.c) */
Status particle_run(Generation *g, int worker, const Unit *unit, float *samples,
                    ParticleStatistics *statistics);

#endif
