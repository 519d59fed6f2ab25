/* Training steps: queued one after another, recorded once where the backend can, reported later. */
#include <math.h>
#include <stdio.h>

#include "core/clock.h"
#include "core/log.h"
#include "training/trainer.h"

/* A device works behind the host: nothing else waits for a step. */
static bool works_behind(const Trainer *trainer) {
    return trainer->network->backend->synchronise != NULL;
}

static Batch batch_of(Trainer *trainer, int64_t step) {
    int64_t epoch = step / trainer->steps_per_epoch;
    int64_t begin = step % trainer->steps_per_epoch * trainer->config.train_batch,
            left = trainer->train.count - begin;
    if (trainer->order_epoch != epoch) {
        data_order(trainer->config.seed, epoch, trainer->train.count, trainer->order);
        trainer->order_epoch = epoch;
    }
    return (Batch){
        .dataset = &trainer->train,
        .index = trainer->order + begin,
        .count = left < trainer->config.train_batch ? left : trainer->config.train_batch,
        .places = works_behind(trainer) ? trainer->config.train_batch : 0,
        .seed = trainer->config.seed,
        .rng_step = (uint32_t)step,
        .timestep_stream = RNG_TIMESTEP,
        .noise_stream = RNG_TRAINING_NOISE,
    };
}

/* ---- queueing ---- */

/* Everything a step does after its batch and constants were sent: the same calls every time. */
static Status queue_work(Trainer *trainer, const Batch *batch) {
    Status status = STATUS_OK;
    TRY(shards_queue_gradient(&trainer->shards, batch));
    double start = clock_seconds();
    TRY(optimizer_queue(&trainer->optimizer, shards_sums(&trainer->shards)));
    TRY(network_load(trainer->network, trainer->optimizer.parameters, trainer->optimizer.threads));
    trainer->shards.seconds.optimizer += clock_seconds() - start;
done:
    return status;
}

/* Not where sums go through the host, nor while each op is timed; and after one step, which let libraries
 * allocate and load what they need. */
static bool can_record(const Trainer *trainer) {
    const Comm *comm = trainer->comm;
    return trainer->network->backend->record_begin && trainer->config.train_record_step &&
           !trainer->cannot_record && trainer->steps_run > 0 && !trainer->network->profile &&
           (comm_size(comm) == 1 || comm_sums_device_memory(comm));
}

typedef struct StepWork {
    Trainer *trainer;
    const Batch *batch;
} StepWork;

static Status queue_step_work(void *context) {
    const StepWork *work = context;
    return queue_work(work->trainer, work->batch);
}

/* A step that cannot be recorded can still be queued: on all ranks, which then collect at the same steps.
 * Collective. */
static Status record_work(Trainer *trainer, const Batch *batch) {
    Status status = STATUS_OK;
    const Backend *backend = trainer->network->backend;
    char reason[1024] = "another rank could not";
    StepWork work = {trainer, batch};
    int64_t failed = backend_record(backend, queue_step_work, &work, &trainer->recording) != STATUS_OK;
    if (failed)
        snprintf(reason, sizeof reason, "%s", status_message());
    TRY(comm_allreduce_i64(trainer->comm, &failed, 1, COMM_MAX));
    trainer->cannot_record = failed != 0;
    if (!trainer->cannot_record)
        return STATUS_OK;
    log_warning("the training step could not be recorded and is queued call by call: %s", reason);
    if (trainer->recording)
        backend->recording_release(trainer->recording);
    trainer->recording = NULL;
done:
    return status;
}

Status trainer_queue(Trainer *trainer, bool stop) {
    Status status = STATUS_OK;
    int64_t step = trainer->progress.step + trainer->queued;
    if (trainer->queued == TRAINER_QUEUE)
        FAIL(STATUS_FAILURE, "step %lld: %d steps wait for their reports already", (long long)step,
             TRAINER_QUEUE);
    Batch batch = batch_of(trainer, step);
    TRY(optimizer_prepare(&trainer->optimizer, step));
    TRY(shards_send(&trainer->shards, &batch, stop));
    if (!trainer->recording && can_record(trainer))
        TRY(record_work(trainer, &batch));
    if (trainer->recording && can_record(trainer))
        TRY(trainer->network->backend->replay(trainer->recording));
    else
        TRY(queue_work(trainer, &batch));
    trainer->queued++;
    trainer->steps_run++;
done:
    return status;
}

/* ---- reports ---- */

/* While sums over ranks are queued nothing but trainer_collect may wait, since it alone notices that another
 * rank died: neither copies of large batches, nor launches, which block the host where too many (about a
 * thousand) are queued. */
static int64_t queue_limit(const Trainer *trainer) {
    enum { QUEUED_CALL_BY_CALL = 2 };
    const bool sums = comm_sums_device_memory(trainer->comm);
    if (!works_behind(trainer) || (sums && shards_send_waits(&trainer->shards)))
        return 1;
    return sums && !trainer->recording ? QUEUED_CALL_BY_CALL : TRAINER_QUEUE;
}

bool trainer_must_collect(const Trainer *trainer) {
    int64_t next = trainer->progress.step + trainer->queued;
    return trainer->queued >= queue_limit(trainer) || next % trainer->steps_per_epoch == 0 ||
           next >= trainer->total_steps;
}

/* The same error on every rank. shard: -1 where the sum over all of them does not tell which it was. */
static Status report_not_finite(Trainer *trainer, const Batch *batch, int64_t shard) {
    char images[256] = "";
    int used = 0;
    int64_t begin = shard * trainer->shards.samples;
    if (shard >= 0)
        used = snprintf(images, sizeof images, " in shard %lld, training images ", (long long)shard);
    for (int64_t i = begin;
         shard >= 0 && i < begin + trainer->shards.samples && i < batch->count && used < 230; i++)
        used += snprintf(images + used, sizeof images - (size_t)used, "%s%u", i > begin ? ", " : "",
                         batch->index[i]);
    return comm_agree(
        trainer->comm,
        status_error(
            STATUS_FAILURE,
            "step %lld (epoch %lld): the loss or a gradient is not finite (or beyond 8192)%s; a lower "
            "train.lr or train.clip_norm may help",
            (long long)trainer->progress.step, (long long)trainer->progress.epoch, images));
}

/* The step after those in `progress`, which it joins. */
static Status report_step(Trainer *trainer, const UpdateRecord *record, TrainerReport *report) {
    Status status = STATUS_OK;
    TrainerProgress *progress = &trainer->progress;
    Batch batch = batch_of(trainer, progress->step);
    ShardsResult result;
    TRY(shards_result(&trainer->shards, record->tail, &result));
    if (!result.finite || !isfinite(record->gradient_norm))
        return report_not_finite(trainer, &batch, result.bad_shard);
    *report = (TrainerReport){
        .step = progress->step + 1,
        .epoch = progress->epoch,
        .loss = result.loss,
        .gradient_norm = record->gradient_norm,
        .learning_rate = optimizer_learning_rate(&trainer->optimizer, progress->step),
        .images = batch.count,
        .stop = result.stop_requests > 0,
    };
    progress->step++;
    progress->step_in_epoch++;
    progress->epoch_loss_sum += result.loss;
    if (progress->step_in_epoch == trainer->steps_per_epoch) {
        report->epoch_ended = true;
        report->epoch_mean = progress->epoch_loss_sum / (double)trainer->steps_per_epoch;
        progress->last_epoch_mean = report->epoch_mean;
        if (report->epoch_mean < progress->best_epoch_mean)
            progress->best_epoch_mean = report->epoch_mean;
        progress->epoch++;
        progress->step_in_epoch = 0;
        progress->epoch_loss_sum = 0;
    }
done:
    return status;
}

Status trainer_collect(Trainer *trainer, TrainerReport *reports, int64_t *count) {
    Status status = STATUS_OK;
    UpdateRecord records[TRAINER_QUEUE];
    const int64_t queued = trainer->queued;
    double start = clock_seconds();
    *count = 0;
    TRY(comm_wait_device(trainer->comm));
    TRY(optimizer_records(&trainer->optimizer, trainer->progress.step, queued, records));
    trainer->shards.seconds.optimizer += clock_seconds() - start;
    trainer->queued = 0;
    for (; *count < queued; (*count)++) {
        status = report_step(trainer, &records[*count], &reports[*count]);
        if (status != STATUS_OK) { /* what was queued behind it was not applied either */
            char message[1024];
            snprintf(message, sizeof message, "%s", status_message());
            (void)optimizer_forgive(&trainer->optimizer);
            return status_error(status, "%s", message);
        }
    }
done:
    return status;
}

Status trainer_step(Trainer *trainer, bool stop, TrainerReport *report) {
    Status status = STATUS_OK;
    int64_t count;
    TRY(trainer_queue(trainer, stop));
    TRY(trainer_collect(trainer, report, &count));
done:
    return status;
}
