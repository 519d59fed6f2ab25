/* The gradient of one global batch, shard by shard. A shard is `train.shard` consecutive samples, one
 * single-threaded pass through the graph wherever it runs; losses and gradients of all shards are added in
 * fixed point, so the sums have the same bits on any number of ranks and threads. */
#ifndef TRAINING_SHARDS_H
#define TRAINING_SHARDS_H

#include "comm/buckets.h"
#include "core/config.h"
#include "diffusion/schedule.h"
#include "io/idx.h"
#include "model/network.h"

/* A step's samples: positions 0..count-1 of the global batch are images index[0..count-1] of the data set. */
typedef struct Batch {
    const Dataset *dataset;
    const uint32_t *index;
    int64_t count;
    uint64_t seed;
    uint32_t rng_step; /* RNG step number of all samples */
    RngStream timestep_stream, noise_stream;
    bool rng_by_image; /* RNG sample number: false: position in the batch; true: index of the image */
} Batch;

/* Seconds of the calling rank: the workers' average. */
typedef struct PhaseSeconds {
    double data, forward, backward, reduce, optimizer;
} PhaseSeconds;

typedef struct Shards {
    Comm *comm;
    Network *network;
    const Schedule *schedule;
    int64_t samples, pixels; /* per shard; per sample */
    int64_t *sums;           /* (parameter elements) fixed point, backend memory */
    int64_t *
        host_sums; /* the same, then loss, bad shards, stop requests; `sums` itself where they share memory */
    Buckets buckets;
    struct ShardsWorker *worker; /* (network->workers) */
    void *locks;                 /* one per parameter */
    PhaseSeconds seconds;        /* accumulated; the caller may reset it */
} Shards;

Status shards_create(Shards *shards, Comm *comm, Network *network, const Schedule *schedule,
                     double bucket_mib);
void shards_release(Shards *shards); /* accepts a zeroed struct */

typedef struct ShardsResult {
    double loss;           /* mean over the global batch */
    bool finite;           /* no loss or gradient was NaN, infinite or too large for the fixed-point sum */
    int64_t bad_shard;     /* first shard that was not finite; -1 */
    int64_t stop_requests; /* ranks that asked to stop */
} ShardsResult;

/* Loss and gradient of the batch: shard i on rank i mod size. After it shards->sums holds the gradient of the
 * mean loss, on every rank. `stop` is this rank's wish, reduced with the last bucket. Collective. */
Status shards_gradient(Shards *shards, const Batch *batch, bool stop, ShardsResult *result);

/* The loss alone, without gradients. Collective. */
Status shards_loss(Shards *shards, const Batch *batch, double *loss);

#endif
