/* The gradient of one global batch, shard by shard. A shard is `train.shard` consecutive samples, one
 * single-threaded pass through the graph wherever it runs; losses and gradients of all shards are added in
 * fixed point, so the sums have the same bits on any number of ranks and threads. The faster way, where that
 * is not asked for: each rank's share of the batch is one shard, and the gradients, which need no adding up
 * within the rank, are summed over the ranks in float while the backward pass goes on. */
#ifndef TRAINING_SHARDS_H
#define TRAINING_SHARDS_H

#include "comm/buckets.h"
#include "core/config.h"
#include "diffusion/schedule.h"
#include "io/idx.h"
#include "model/network.h"
#include "training/optimizer.h"

/* A step's samples: positions 0..count-1 of the global batch are images index[0..count-1] of the data set. */
typedef struct Batch {
    const Dataset *dataset;
    const uint32_t *index;
    int64_t count;
    int64_t places; /* 0, or at least count: shards are run for so many samples, the rest being padding */
    uint64_t seed;
    uint32_t rng_step; /* RNG step number of all samples */
    RngStream timestep_stream, noise_stream;
    bool rng_by_image; /* RNG sample number: false: position in the batch; true: index of the image */
} Batch;

/* Seconds of the calling rank: the workers' average; on a device, of queueing the work, and as `optimizer` of
 * waiting for it. */
typedef struct PhaseSeconds {
    double data, forward, backward, reduce, optimizer;
} PhaseSeconds;

/* A data set's images in the backend's memory. */
typedef struct PlacedImages {
    const uint8_t *pixels; /* the data set's */
    const void *placed;
    void *owned;
} PlacedImages;

/* What a batch consists of, together, so that one copy sends it. */
typedef struct BatchContent {
    BatchInput input;
    BatchSlot slots[]; /* (capacity, samples) */
} BatchContent;

/* A batch in the backend's memory. It stays where it is while batches are no larger than the first. */
typedef struct BatchMemory {
    int64_t capacity;      /* shards of this rank */
    BatchContent *content; /* backend memory */
    BatchContent *host;    /* host memory, to be sent */
    ShardTotals *totals;   /* (capacity) backend memory */
} BatchMemory;

enum { SHARDS_DATASETS = 2 }; /* training and validation */

typedef struct Shards {
    Comm *comm;
    Network *network;
    const Schedule *schedule;
    int64_t samples, pixels; /* per shard; per sample */
    float *gradient;         /* (parameter elements) backend memory, not owned; NULL: sums in fixed point */
    float *gathered;         /* (parameter elements) a shard's gradient where the network needs room for it */
    uint16_t *halves;        /* (parameter elements) the gradient as it travels in bf16; NULL: it does not */
    int64_t *sums;           /* fixed point: (parameter elements), then the tail; else the tail alone */
    int64_t *tail;           /* (TAIL_COUNT) the end of `sums` */
    Buckets buckets;         /* of what travels: `sums` or `gradient` or `halves` */
    void *on_host;           /* the same in host memory; NULL where it travels from where it is */
    struct ShardsWorker *worker; /* (network->workers) */
    void *locks;                 /* one per parameter */
    BatchMemory batches[2];      /* of validation, of training */
    /* backend memory, owned but where it is the host's: */
    const void *tables[2]; /* sqrt(abar_t), sqrt(1 - abar_t) */
    void *owned_tables[2];
    PlacedImages images[SHARDS_DATASETS];
    PhaseSeconds seconds; /* accumulated; the caller may reset it */
} Shards;

typedef struct ShardsOptions {
    double bucket_mib; /* see train.bucket_mib */
    float *gradient;   /* (parameter elements) backend memory: sums in float, which end there; NULL: fixed */
    bool bf16;         /* the gradient is rounded to bf16 for the sum over ranks; needs NCCL */
} ShardsOptions;

/* With a gradient the network must have one worker, and the ranks' shards together hold any batch. */
Status shards_create(Shards *shards, Comm *comm, Network *network, const Schedule *schedule,
                     const ShardsOptions *options);
void shards_release(Shards *shards); /* accepts a zeroed struct */

typedef struct ShardsResult {
    double loss;           /* mean over the global batch */
    bool finite;           /* no loss or gradient was NaN, infinite or too large for the fixed-point sum */
    int64_t bad_shard;     /* first shard that was not finite; -1 */
    int64_t stop_requests; /* ranks that asked to stop */
} ShardsResult;

/* Sends what changes from batch to batch to the backend's memory. `stop` is this rank's wish. */
Status shards_send(Shards *shards, const Batch *batch, bool stop);

/* Whether shards_send waits for what is queued: its batches are more than the backend copies in at once. */
bool shards_send_waits(const Shards *shards);

/* Loss and gradient of the batch last sent, of which only what is equal in all training batches is looked at
 * (data set, seed, streams, places): shard i on rank i mod size. After it shards_sums is the gradient of the
 * mean loss and the tail, on every rank. On a device the work is queued, and may be recorded if it sums over
 * ranks in its own memory. Collective. */
Status shards_queue_gradient(Shards *shards, const Batch *batch);

/* For the optimizer. */
GradientSums shards_sums(const Shards *shards);

/* What a tail, copied to host memory, says. Collective if something was not finite. */
Status shards_result(const Shards *shards, const int64_t tail[TAIL_COUNT], ShardsResult *result);

/* All of the above. Collective. */
Status shards_gradient(Shards *shards, const Batch *batch, bool stop, ShardsResult *result);

/* The loss alone, without gradients. Collective. */
Status shards_loss(Shards *shards, const Batch *batch, double *loss);

#endif
