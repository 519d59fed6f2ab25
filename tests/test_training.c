/* Data order, whole steps, failures, resume and background checkpoints. Run as one process and on ranks. */
#include <sys/stat.h>

#include "core/rng.h"
#include "io/file.h"
#include "tests/test.h"
#include "tests/training_rig.h"
#include "training/checkpointer.h"

static bool is_root(const Rig *rig) {
    return comm_rank(rig->comm) == 0;
}

static bool is_permutation(const uint32_t *order, int64_t count) {
    bool seen[RIG_IMAGES] = {false};
    for (int64_t i = 0; i < count; i++) {
        if (order[i] >= count || seen[order[i]])
            return false;
        seen[order[i]] = true;
    }
    return true;
}

static void test_order(void) {
    uint32_t first[RIG_IMAGES], again[RIG_IMAGES], next[RIG_IMAGES], other[RIG_IMAGES];
    const size_t bytes = sizeof first;
    data_order(1, 0, RIG_IMAGES, first);
    data_order(1, 0, RIG_IMAGES, again);
    data_order(1, 1, RIG_IMAGES, next);
    data_order(UINT64_C(1) << 32 | 1, 0, RIG_IMAGES, other); /* the seed's upper half counts */
    CHECK(is_permutation(first, RIG_IMAGES) && is_permutation(next, RIG_IMAGES) &&
          is_permutation(other, RIG_IMAGES));
    CHECK(memcmp(first, again, bytes) == 0);
    CHECK(memcmp(first, next, bytes) != 0 && memcmp(first, other, bytes) != 0);
    data_order(1, 0, 1, first);
    CHECK(first[0] == 0);
    data_order(1, 0, 0, first);
    /* Each image is first in one of 37 orders; over 3,700 epochs 100 times, give or take 10. */
    int64_t firsts[RIG_IMAGES] = {0};
    for (int64_t epoch = 0; epoch < 100 * RIG_IMAGES; epoch++) {
        data_order(3, epoch, RIG_IMAGES, first);
        firsts[first[0]]++;
    }
    for (int i = 0; i < RIG_IMAGES; i++)
        CHECK(firsts[i] >= 50 && firsts[i] <= 150); /* five standard deviations */
}

static void test_data(const Rig *rig) {
    Dataset dataset = {0};
    int64_t checksums[2];
    CHECK_OK(data_share(rig->comm, rig->data, "train", 20, &dataset));
    CHECK(dataset.count == 20);
    checksums[0] = checksums[1] = (int64_t)dataset_checksum(&dataset);
    CHECK_OK(comm_allreduce_i64(rig->comm, &checksums[0], 1, COMM_MIN));
    CHECK_OK(comm_allreduce_i64(rig->comm, &checksums[1], 1, COMM_MAX));
    CHECK(checksums[0] == checksums[1]);
    dataset_release(&dataset);
    CHECK_ERROR(data_share(rig->comm, rig->scratch, "train", 0, &dataset), STATUS_BAD_INPUT, rig->scratch);
    CHECK(is_root(rig) == (strncmp(status_message(), "rank 0: ", 8) != 0));
    CHECK(!dataset.pixels);
}

static Batch step_batch(const Trainer *trainer, const uint32_t *order) {
    int64_t begin = trainer->progress.step_in_epoch * RIG_BATCH, left = RIG_IMAGES - begin;
    return (Batch){.dataset = &trainer->train,
                   .index = order + begin,
                   .count = left < RIG_BATCH ? left : RIG_BATCH,
                   .seed = trainer->config.seed,
                   .rng_step = (uint32_t)trainer->progress.step,
                   .timestep_stream = RNG_TIMESTEP,
                   .noise_stream = RNG_TRAINING_NOISE};
}

/* Step s of epoch e trains on places 16 s ... of data_order(e), the short last batch included: its loss has
 * the bits of that batch's, so an epoch uses every image once. A trainer alone on this rank gets the same
 * bits throughout. */
static void test_steps(const Rig *rig) {
    Trainer *trainer = rig_trainer(rig, rig->comm, 2), *alone = rig_trainer(rig, rig->alone, 1);
    uint32_t order[RIG_IMAGES];
    double epoch_sum = 0, best = INFINITY;
    CHECK(trainer->steps_per_epoch == RIG_STEPS_PER_EPOCH && trainer->total_steps == 3 * RIG_STEPS_PER_EPOCH);
    CHECK(rig_same_state(trainer, alone));
    for (int64_t step = 0; step < trainer->total_steps; step++) {
        int64_t epoch = step / RIG_STEPS_PER_EPOCH, place = step % RIG_STEPS_PER_EPOCH;
        TrainerReport report, other;
        double loss;
        CHECK(!trainer_is_finished(trainer));
        CHECK(trainer->progress.step == step && trainer->progress.epoch == epoch &&
              trainer->progress.step_in_epoch == place);
        data_order(trainer->config.seed, epoch, RIG_IMAGES, order);
        Batch batch = step_batch(trainer, order);
        CHECK_OK(shards_loss(&trainer->shards, &batch, &loss));
        CHECK_OK(trainer_step(trainer, false, &report));
        CHECK_OK(trainer_step(alone, false, &other));
        CHECK(memcmp(&report.loss, &loss, sizeof loss) == 0);
        CHECK(report.images == (place == 2 ? 5 : 16));
        CHECK(report.epoch_ended == (place == 2) && !report.stop);
        CHECK(report.loss > 0 && report.gradient_norm > 0 && isfinite(report.gradient_norm));
        epoch_sum = place == 0 ? report.loss : epoch_sum + report.loss;
        if (report.epoch_ended) {
            CHECK_NEAR(report.epoch_mean, epoch_sum / 3, 1e-15);
            best = fmin(best, report.epoch_mean);
            CHECK(trainer->progress.best_epoch_mean == best &&
                  trainer->progress.last_epoch_mean == report.epoch_mean);
        }
        CHECK(report.loss == other.loss && report.gradient_norm == other.gradient_norm);
        CHECK(rig_same_state(trainer, alone));
    }
    CHECK(trainer_is_finished(trainer));
    CHECK(trainer_bytes(trainer) > 0);
    trainer_destroy(trainer);
    trainer_destroy(alone);
    trainer_destroy(NULL);
}

/* Sums in float, one shard per rank: the losses of sums in fixed point up to rounding, which AdamW passes on
 * (parameters differ by 2e-5 after ten steps, test_network.c; the loss is a mean over them all); the same
 * bits in a second run; a parameter that is no number is met and changes nothing. */
static void test_float_sums(const Rig *rig) {
    Rig other = *rig;
    CHECK_OK(config_set(&other.config, "train.shard=0"));
    CHECK_OK(config_set(&other.config, "train.gradient_sum=fp32"));
    Trainer *fixed = rig_trainer(rig, rig->alone, 2), *first = rig_trainer(&other, rig->comm, 2),
            *second = rig_trainer(&other, rig->comm, 1);
    TrainerReport expected, report, again;
    CHECK(first->config.train_shard == 0 && first->optimizer.threads == 2 && first->network->workers == 1);
    CHECK(first->shards.samples == (RIG_BATCH + comm_size(rig->comm) - 1) / comm_size(rig->comm));
    while (!trainer_is_finished(fixed)) {
        CHECK_OK(trainer_step(fixed, false, &expected));
        CHECK_OK(trainer_step(first, false, &report));
        CHECK_OK(trainer_step(second, false, &again));
        CHECK_NEAR(report.loss, expected.loss, 1e-4 * expected.loss);
        CHECK_NEAR(report.gradient_norm, expected.gradient_norm, 1e-3 * expected.gradient_norm);
        CHECK(report.images == expected.images && report.epoch_ended == expected.epoch_ended);
        CHECK(rig_same_state(first, second));
    }
    float *parameter = &first->optimizer.parameters[0], value = *parameter;
    *parameter = NAN;
    CHECK_OK(network_load(first->network, first->optimizer.parameters, 1));
    CHECK_ERROR(trainer_step(first, false, &report), STATUS_FAILURE, "not finite");
    *parameter = value;
    CHECK_OK(network_load(first->network, first->optimizer.parameters, 1));
    CHECK(rig_same_state(first, second));
    CHECK_OK(trainer_step(first, false, &report));
    CHECK_OK(trainer_step(second, false, &report));
    CHECK(rig_same_state(first, second));
    trainer_destroy(fixed);
    trainer_destroy(first);
    trainer_destroy(second);
}

static void test_choose_sums(const Rig *rig) {
    Backend device = *rig->backend;
    Config config;
    device.host_memory = false; /* only looked at */
    config_defaults(&config);
    CHECK_OK(trainer_choose_sums(&config, rig->backend));
    CHECK(config.train_shard == 8 && strcmp(config.train_gradient_sum, "fixed") == 0);
    CHECK(trainer_shard(&config, 3) == 8);
    config_defaults(&config);
    CHECK_OK(trainer_choose_sums(&config, &device));
    CHECK(config.train_shard == 0 && strcmp(config.train_gradient_sum, "fp32") == 0);
    CHECK(trainer_shard(&config, 1) == 128 && trainer_shard(&config, 3) == 43);
    CHECK_OK(trainer_choose_sums(&config, rig->backend)); /* a choice stays */
    CHECK(config.train_shard == 0 && strcmp(config.train_gradient_sum, "fp32") == 0);
    config_defaults(&config);
    config.train_shard = 16;
    CHECK_OK(trainer_choose_sums(&config, &device));
    CHECK(config.train_shard == 16 && strcmp(config.train_gradient_sum, "fixed") == 0);
    CHECK_OK(config_set(&config, "train.gradient_sum=bf16"));
    CHECK_ERROR(trainer_choose_sums(&config, &device), STATUS_BAD_INPUT, "expected 0, found 16");
    config_defaults(&config);
    config.train_batch = 5;
    CHECK_OK(trainer_choose_sums(&config, rig->backend));
    CHECK(config.train_shard == 5);
}

/* One rank's wish to stop reaches all with the step, which is done. */
static void test_stop(const Rig *rig) {
    Trainer *trainer = rig_trainer(rig, rig->comm, 1);
    TrainerReport report;
    CHECK_OK(trainer_step(trainer, comm_rank(rig->comm) == comm_size(rig->comm) - 1, &report));
    CHECK(report.stop && trainer->progress.step == 1);
    CHECK_OK(trainer_step(trainer, false, &report));
    CHECK(!report.stop);
    trainer_destroy(trainer);
}

static void test_validation(const Rig *rig) {
    Trainer *trainer = rig_trainer(rig, rig->comm, 1), *alone = rig_trainer(rig, rig->alone, 3);
    TrainerReport report;
    double first, again, other, later;
    CHECK(trainer->validation_count == RIG_VALIDATION_IMAGES);
    CHECK_OK(trainer_validate(trainer, &first));
    CHECK_OK(trainer_validate(trainer, &again));
    CHECK_OK(trainer_validate(alone, &other));
    CHECK(first > 0 && first == again && first == other);
    CHECK_OK(trainer_step(trainer, false, &report));
    CHECK_OK(trainer_step(alone, false, &report));
    CHECK_OK(trainer_validate(trainer, &later));
    CHECK_OK(trainer_validate(alone, &other));
    CHECK(later != first && later == other);
    CHECK(rig_same_state(trainer, alone));
    trainer_destroy(trainer);
    trainer_destroy(alone);
}

/* Writes "shard S, training images a, b, c" as the message names them. */
static void describe_shard(const Batch *batch, int64_t shard, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "shard %lld, training images ", (long long)shard);
    for (int64_t i = shard * RIG_SHARD; i < (shard + 1) * RIG_SHARD && i < batch->count; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%u", i > shard * RIG_SHARD ? ", " : "",
                                 batch->index[i]);
}

/* The step fails on every rank with the same message, and nothing has changed. */
static void check_step_fails(const Rig *rig, Trainer *trainer, const Trainer *untouched, int64_t shard) {
    TrainerReport report;
    uint32_t order[RIG_IMAGES];
    char images[256], where[64];
    data_order(trainer->config.seed, trainer->progress.epoch, RIG_IMAGES, order);
    Batch batch = step_batch(trainer, order);
    describe_shard(&batch, shard, images, sizeof images);
    snprintf(where, sizeof where, "step %lld (epoch %lld)", (long long)trainer->progress.step,
             (long long)trainer->progress.epoch);
    CHECK_ERROR(trainer_step(trainer, false, &report), STATUS_FAILURE, images);
    CHECK(strstr(status_message(), where) && strstr(status_message(), "not finite"));
    CHECK(comm_failure_is_agreed(rig->comm));
    CHECK(rig_same_state(trainer, untouched));
}

/* A value that is not a number, on the rank of one shard alone (through the schedule's entry for the timestep
 * of one of its samples), then everywhere (a parameter). */
static void test_not_finite(const Rig *rig) {
    enum { SHARD = 3 };
    Trainer *trainer = rig_trainer(rig, rig->comm, 2), *untouched = rig_trainer(rig, rig->alone, 1);
    TrainerReport report;
    uint32_t timesteps[RIG_BATCH], poisoned = 0;
    for (int step = 0; step < 4; step++) { /* one step into the second epoch */
        CHECK_OK(trainer_step(trainer, false, &report));
        CHECK_OK(trainer_step(untouched, false, &report));
    }
    for (uint32_t i = 0; i < RIG_BATCH; i++)
        timesteps[i] = rng_bounded(rng_key(trainer->config.seed, RNG_TIMESTEP, 4, i), 0,
                                   (uint32_t)trainer->schedule->steps);
    for (uint32_t i = SHARD * RIG_SHARD; i < RIG_BATCH; i++) {
        bool elsewhere = false;
        for (uint32_t k = 0; k < SHARD * RIG_SHARD; k++)
            elsewhere = elsewhere || timesteps[k] == timesteps[i];
        if (!elsewhere)
            poisoned = timesteps[i];
    }
    CHECK(poisoned > 0);
    float *entry = &trainer->schedule->sqrt_alpha_bar[poisoned], value = *entry;
    if (comm_rank(rig->comm) == SHARD % comm_size(rig->comm))
        *entry = NAN;
    check_step_fails(rig, trainer, untouched, SHARD);
    *entry = value;

    /* the same step then succeeds, as if nothing had been */
    CHECK_OK(trainer_step(trainer, false, &report));
    CHECK_OK(trainer_step(untouched, false, &report));
    CHECK(rig_same_state(trainer, untouched));

    float *parameter = &trainer->optimizer.parameters[trainer->optimizer.count / 2];
    float *expected = &untouched->optimizer.parameters[trainer->optimizer.count / 2];
    *parameter = *expected = NAN;
    CHECK_OK(network_load(trainer->network, trainer->optimizer.parameters, 1));
    check_step_fails(rig, trainer, untouched, 0);
    double loss;
    CHECK_OK(trainer_validate(trainer, &loss));
    CHECK(isnan(loss));
    trainer_destroy(trainer);
    trainer_destroy(untouched);
}

/* Rank 0's folder for one test's checkpoints. */
static void make_run(const Rig *rig, const char *name, char run[FILE_PATH_BYTES]) {
    char checkpoints[FILE_PATH_BYTES];
    snprintf(run, FILE_PATH_BYTES, "%.512s/%.60s", rig->scratch, name);
    snprintf(checkpoints, sizeof checkpoints, "%.600s/checkpoints", run);
    if (is_root(rig))
        CHECK_OK(file_make_directories(checkpoints));
}

static void write_checkpoint(const Rig *rig, const Trainer *trainer, const char *run) {
    Checkpoint snapshot = {0};
    if (!is_root(rig))
        return;
    CHECK_OK(trainer_snapshot(trainer, "{\"host\": \"here\"}", &snapshot));
    CHECK_OK(checkpoint_write(run, &snapshot, 2));
    checkpoint_release(&snapshot);
}

static void read_checkpoint(const Rig *rig, const char *run, Checkpoint *checkpoint) {
    *checkpoint = (Checkpoint){0};
    if (is_root(rig))
        CHECK_OK(checkpoint_read(run, checkpoint, NULL));
}

static Status restore(const Rig *rig, Trainer *trainer, const Checkpoint *checkpoint) {
    return trainer_restore(trainer, is_root(rig) ? checkpoint : NULL, "the checkpoint");
}

/* Interrupted after each of the first epoch's steps (its end included), continued by a fresh trainer with
 * another number of threads to the middle of the third epoch: the same bits as without interruption. */
static void test_resume(const Rig *rig) {
    enum { LAST = 8 };
    for (int64_t interrupted = 1; interrupted <= RIG_STEPS_PER_EPOCH; interrupted++) {
        Trainer *whole = rig_trainer(rig, rig->comm, 1), *resumed = rig_trainer(rig, rig->comm, 2);
        Checkpoint checkpoint;
        TrainerReport expected, report;
        char run[FILE_PATH_BYTES], name[32];
        snprintf(name, sizeof name, "resume%d", (int)interrupted);
        make_run(rig, name, run);
        for (int64_t step = 0; step < interrupted; step++)
            CHECK_OK(trainer_step(whole, false, &expected));
        write_checkpoint(rig, whole, run);
        read_checkpoint(rig, run, &checkpoint);
        if (is_root(rig)) {
            CHECK(checkpoint.step == interrupted && checkpoint.seed == rig->config.seed &&
                  !checkpoint.finished);
            CHECK(checkpoint.height == RIG_SIDE && checkpoint.width == RIG_SIDE);
            CHECK(strcmp(checkpoint.provenance_json, "{\"host\": \"here\"}") == 0);
        }
        CHECK(!rig_same_state(resumed, whole));
        CHECK_OK(restore(rig, resumed, &checkpoint));
        CHECK(rig_same_state(resumed, whole));
        for (int64_t step = interrupted; step < LAST; step++) {
            CHECK_OK(trainer_step(whole, false, &expected));
            CHECK_OK(trainer_step(resumed, false, &report));
            CHECK(report.loss == expected.loss && report.gradient_norm == expected.gradient_norm &&
                  report.learning_rate == expected.learning_rate && report.images == expected.images &&
                  report.epoch_ended == expected.epoch_ended);
            CHECK(!report.epoch_ended || report.epoch_mean == expected.epoch_mean);
            CHECK(rig_same_state(resumed, whole));
        }
        CHECK(resumed->progress.step == LAST && resumed->progress.epoch == 2);
        checkpoint_release(&checkpoint);
        trainer_destroy(whole);
        trainer_destroy(resumed);
    }
}

static void check_restore_refused(const Rig *rig, const Rig *other, const Checkpoint *checkpoint,
                                  const char *text) {
    Trainer *trainer = rig_trainer(other, rig->comm, 1), *fresh = rig_trainer(other, rig->alone, 1);
    CHECK_ERROR(restore(rig, trainer, checkpoint), STATUS_BAD_INPUT, text);
    CHECK(strstr(status_message(), "the checkpoint"));
    CHECK(rig_same_state(trainer, fresh));
    trainer_destroy(trainer);
    trainer_destroy(fresh);
}

static void test_restore_refusals(const Rig *rig) {
    Rig other = *rig;
    Trainer *trainer = rig_trainer(rig, rig->comm, 1);
    TrainerReport report;
    Checkpoint checkpoint = {0};
    char text[64];
    CHECK_OK(trainer_step(trainer, false, &report));
    CHECK_OK(trainer_snapshot(trainer, "{}", &checkpoint));

    /* as many images, but others; then fewer of the same */
    snprintf(other.data, sizeof other.data, "%.512s/others", rig->scratch);
    if (is_root(rig))
        rig_write_data(other.data, RIG_IMAGES, 99);
    CHECK_OK(comm_barrier(rig->comm));
    CHECK_OK(config_set_value(&other.config, "data.dir", other.data, "test"));
    snprintf(text, sizeof text, "expected %016llx", (unsigned long long)trainer->data_checksum);
    check_restore_refused(rig, &other, &checkpoint, text);
    check_restore_refused(rig, &other, &checkpoint, other.data);
    other.config = rig->config;
    other.config.data_limit = RIG_IMAGES - 1;
    check_restore_refused(rig, &other, &checkpoint, "data.limit 36");

    other.config = rig->config;
    other.config.model_channels.values[2] = 32;
    check_restore_refused(rig, &other, &checkpoint, "expected shape");
    other.config = rig->config;
    other.config.model_channels.count = 2;
    check_restore_refused(rig, &other, &checkpoint, "parameter");

    /* a step that is not where its epoch says */
    checkpoint.step = 5;
    check_restore_refused(rig, rig, &checkpoint, "step 5 is not step 1 of epoch 0");
    checkpoint.step = checkpoint.step_in_epoch = RIG_STEPS_PER_EPOCH;
    check_restore_refused(rig, rig, &checkpoint, "3 steps per epoch");
    checkpoint_release(&checkpoint);
    trainer_destroy(trainer);
}

/* Writing goes on beside training and keeps the state of its start. */
static void test_background_write(const Rig *rig) {
    char run[FILE_PATH_BYTES];
    Trainer *trainer = rig_trainer(rig, rig->alone, 1), *restored = rig_trainer(rig, rig->alone, 1);
    Checkpointer checkpointer = {.run_directory = run, .provenance_json = "{}", .keep = 2};
    Checkpoint checkpoint = {0};
    TrainerReport report;
    make_run(rig, "background", run);
    CHECK_OK(checkpointer_wait(&checkpointer)); /* nothing under way */
    for (int step = 0; step < 3; step++) {
        CHECK_OK(trainer_step(trainer, false, &report));
        CHECK_OK(checkpointer_start(&checkpointer, trainer));
    }
    CHECK_OK(trainer_step(trainer, false, &report)); /* while the third is being written */
    CHECK_OK(checkpointer_wait(&checkpointer));
    CHECK_OK(checkpoint_read(run, &checkpoint, NULL));
    CHECK(checkpoint.step == 3);
    CHECK_OK(trainer_restore(restored, &checkpoint, run));
    checkpoint_release(&checkpoint);
    CHECK(!rig_same_state(restored, trainer));
    CHECK_OK(trainer_step(restored, false, &report));
    CHECK(rig_same_state(restored, trainer));
    CHECK(!checkpointer.running && !checkpointer.snapshot.parameters);
    trainer_destroy(trainer);
    trainer_destroy(restored);
}

/* A file in place of the folder: no user, root included, can write there. The failure is told once, by the
 * wait or by the next start; the checkpoint before it stays good, and writing works again afterwards. */
static void test_failed_write(const Rig *rig) {
    char run[FILE_PATH_BYTES], folder[FILE_PATH_BYTES], aside[FILE_PATH_BYTES];
    Trainer *trainer = rig_trainer(rig, rig->alone, 1);
    Checkpointer checkpointer = {.run_directory = run, .provenance_json = "{}", .keep = 2};
    Checkpoint checkpoint = {0};
    TrainerReport report;
    make_run(rig, "failing", run);
    snprintf(folder, sizeof folder, "%.600s/checkpoints", run);
    snprintf(aside, sizeof aside, "%.600s/aside", run);
    CHECK_OK(trainer_step(trainer, false, &report));
    CHECK_OK(checkpointer_start(&checkpointer, trainer));
    CHECK_OK(checkpointer_wait(&checkpointer));
    CHECK(rename(folder, aside) == 0);
    CHECK_OK(file_write(folder, "x", 1, FILE_REPLACE));

    CHECK_OK(trainer_step(trainer, false, &report));
    CHECK_OK(checkpointer_start(&checkpointer, trainer)); /* the failure comes later */
    CHECK_ERROR(checkpointer_wait(&checkpointer), STATUS_BAD_INPUT, folder);
    CHECK_OK(checkpointer_wait(&checkpointer)); /* told once */
    CHECK_OK(checkpointer_start(&checkpointer, trainer));
    CHECK_ERROR(checkpointer_start(&checkpointer, trainer), STATUS_BAD_INPUT, folder);
    CHECK(!checkpointer.running && !checkpointer.snapshot.parameters);

    CHECK(remove(folder) == 0 && rename(aside, folder) == 0);
    CHECK_OK(checkpoint_read(run, &checkpoint, NULL));
    CHECK(checkpoint.step == 1);
    checkpoint_release(&checkpoint);
    CHECK_OK(checkpointer_start(&checkpointer, trainer));
    CHECK_OK(checkpointer_wait(&checkpointer));
    CHECK_OK(checkpoint_read(run, &checkpoint, NULL));
    CHECK(checkpoint.step == 2);
    checkpoint_release(&checkpoint);
    trainer_destroy(trainer);
}

int main(void) {
    Rig rig;
    rig_create(&rig);
    test_order();
    test_data(&rig);
    test_steps(&rig);
    test_float_sums(&rig);
    test_choose_sums(&rig);
    test_stop(&rig);
    test_validation(&rig);
    test_not_finite(&rig);
    test_resume(&rig);
    test_restore_refusals(&rig);
    if (is_root(&rig)) {
        test_background_write(&rig);
        test_failed_write(&rig);
    }
    rig_destroy(&rig);
    return test_result();
}
