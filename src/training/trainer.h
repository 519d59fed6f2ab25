/* Data-parallel training of the denoiser: one call per step, on every rank. */
#ifndef TRAINING_TRAINER_H
#define TRAINING_TRAINER_H

#include "comm/comm.h"
#include "core/config.h"
#include "io/checkpoint.h"
#include "training/data.h"
#include "training/optimizer.h"
#include "training/shards.h"

typedef struct TrainerProgress {
    int64_t step;  /* steps done */
    int64_t epoch; /* epoch in progress, from 0 */
    int64_t step_in_epoch;
    double epoch_loss_sum;                   /* over step_in_epoch steps */
    double best_epoch_mean, last_epoch_mean; /* infinite, NaN before the first epoch ends */
} TrainerProgress;

typedef struct Trainer {
    Config config;
    Comm *comm;
    Schedule *schedule;
    Network *network;
    Shards shards;
    Optimizer optimizer;
    Dataset train, validation;
    uint64_t data_checksum;   /* of the training images */
    int64_t validation_count; /* images of `validation` that are used */
    uint32_t *order;          /* (train.count) of epoch order_epoch */
    int64_t order_epoch;
    int64_t steps_per_epoch, total_steps;
    TrainerProgress progress; /* of the steps whose reports were collected */
    int64_t queued;           /* steps queued behind those */
    int64_t steps_run;        /* by this process */
    void *recording;          /* of a step, or NULL */
    bool cannot_record;       /* it was tried */
} Trainer;

/* Replaces train.gradient_sum auto and train.shard 0 by what they mean on this backend; with sums in float
 * train.shard stays 0, one shard per rank. STATUS_BAD_INPUT: they contradict each other. */
Status trainer_choose_sums(Config *config, const Backend *backend);

/* Samples per shard on this number of ranks. */
int64_t trainer_shard(const Config *config, int ranks);

/* Reads and shares the data, builds the network, initialises the parameters from the seed. `config` is
 * checked. Owned by the caller; trainer_destroy accepts NULL. Collective. */
Status trainer_create(Trainer **trainer, const Config *config, Comm *comm, const Backend *backend,
                      int threads);
void trainer_destroy(Trainer *trainer);

typedef struct TrainerReport {
    int64_t step, epoch; /* steps done with this one; the epoch it belongs to, from 0 */
    double loss, gradient_norm, learning_rate;
    int64_t images;    /* in this step, over all ranks */
    bool epoch_ended;  /* with this step; then: */
    double epoch_mean; /* mean over its steps */
    bool stop;         /* some rank asked to stop */
} TrainerReport;

/* Steps that may wait for their reports. */
enum { TRAINER_QUEUE = 32 };

/* Queues one step; where the backend queues (a device) nothing is waited for. `stop`: this rank received a
 * signal. At most TRAINER_QUEUE steps may be queued without trainer_collect. Collective. */
Status trainer_queue(Trainer *trainer, bool stop);

/* Whether it is time to collect: the queue is full (one step where nothing is queued), or a step that ends an
 * epoch or the run is in it. The same on every rank. */
bool trainer_must_collect(const Trainer *trainer);

/* Waits for the steps queued and reports them, oldest first, at most TRAINER_QUEUE. A loss or gradient that
 * is not finite is STATUS_FAILURE on every rank, naming step and images; the parameters are then those before
 * that step. Collective. */
Status trainer_collect(Trainer *trainer, TrainerReport *reports, int64_t *count);

/* One step: queue and collect. Collective. */
Status trainer_step(Trainer *trainer, bool stop, TrainerReport *report);

/* Mean loss over the first validation_count test images with the same noise every time. Collective. */
Status trainer_validate(Trainer *trainer, double *loss);

/* Continues from a checkpoint: `checkpoint` and its name `where` are read on rank 0 and sent to the others,
 * which pass NULL. Collective. */
Status trainer_restore(Trainer *trainer, const Checkpoint *checkpoint, const char *where);

/* Fills a checkpoint with copies of the current state (checkpoint_release frees them). Not collective. */
Status trainer_snapshot(const Trainer *trainer, const char *provenance_json, Checkpoint *checkpoint);

bool trainer_is_finished(const Trainer *trainer);

/* Estimated bytes of this rank: data, parameters and optimizer, gradient sums, network. */
int64_t trainer_bytes(const Trainer *trainer);

#endif
