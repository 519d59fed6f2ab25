/* Training as a device does it, on the stand-in of taping_backend.h: one recorded step serves every batch,
 * short ones included, and gives the bits of the CPU backend; reports come later; failures are met in the
 * right step. Run as one process and on ranks: with sums through host memory, where nothing is
 * recorded, and with taping_comm.h's sums of device memory, which are recorded too. */
#include "core/rng.h"
#include "tests/taping_backend.h"
#include "tests/taping_comm.h"
#include "tests/test.h"
#include "tests/training_rig.h"

/* The rig on the stand-in, with these sums. */
static Rig device_rig(const Rig *rig, const char *shard, const char *sum) {
    Rig device = *rig;
    device.backend = taping_backend();
    CHECK_OK(config_set_value(&device.config, "train.shard", shard, "test"));
    CHECK_OK(config_set_value(&device.config, "train.gradient_sum", sum, "test"));
    return device;
}

static bool same_report(const TrainerReport *a, const TrainerReport *b) {
    return a->step == b->step && a->epoch == b->epoch && a->loss == b->loss &&
           a->gradient_norm == b->gradient_norm && a->learning_rate == b->learning_rate &&
           a->images == b->images && a->epoch_ended == b->epoch_ended &&
           (!a->epoch_ended || a->epoch_mean == b->epoch_mean) && a->stop == b->stop;
}

static bool records(const Rig *rig) {
    return comm_size(rig->comm) == 1 || comm_sums_device_memory(rig->comm);
}

/* The rig's communicator by another address: never one with sums of device memory. */
static Comm *through_host;

/* Every step and every validation in between: the same bits as on the CPU. With one rank all steps but the
 * first are replays, and a step waits once, for its record. */
static void test_steps(const Rig *rig, const char *shard, const char *sum) {
    Rig device = device_rig(rig, shard, sum), host = device;
    host.backend = rig->backend;
    host.comm = through_host;
    Trainer *trainer = rig_trainer(&device, rig->comm, 1), *expected = rig_trainer(&host, host.comm, 1);
    TapingCounts before = taping_counts();
    while (!trainer_is_finished(expected)) {
        TrainerReport report, other;
        double loss, other_loss;
        TapingCounts start = taping_counts();
        CHECK_OK(trainer_step(trainer, false, &report));
        CHECK_OK(trainer_step(expected, false, &other));
        CHECK(same_report(&report, &other));
        CHECK(rig_same_state(trainer, expected));
        TapingCounts now = taping_counts();
        if (records(rig)) {
            CHECK(now.waits - start.waits <= 2); /* the ring of records may be read in two parts */
            CHECK(now.replays - before.replays == report.step - 1);
            CHECK(report.step == 1 || now.direct == start.direct);
            if (strcmp(sum, "fp32") == 0) { /* what can travel is gathered, in one call */
                int64_t gathers = now.gathers - start.gathers, most = trainer->network->range_count;
                CHECK(report.step > 2 ? gathers == 0 : gathers >= 1 && gathers <= (most > 1 ? most : 1));
            }
        }
        if (report.step % 4 == 2 || report.epoch_ended) { /* its batch is larger than training's */
            CHECK_OK(trainer_validate(trainer, &loss));
            CHECK_OK(trainer_validate(expected, &other_loss));
            CHECK(loss == other_loss);
        }
    }
    CHECK(trainer_is_finished(trainer));
    CHECK((trainer->recording != NULL) == records(rig));
    trainer_destroy(trainer);
    trainer_destroy(expected);
}

/* Steps queued, reported later: the same reports and bits as one by one; the request of a step's rank to stop
 * is in that step's report. */
static void test_queue(const Rig *rig) {
    Rig device = device_rig(rig, "0", "auto");
    device.config.train_epochs = 20;
    Trainer *trainer = rig_trainer(&device, rig->comm, 1), *expected = rig_trainer(&device, rig->comm, 1);
    TrainerReport reports[TRAINER_QUEUE], other;
    int64_t count, step = 0;
    CHECK(strcmp(trainer->config.train_gradient_sum, "fp32") == 0);
    while (step < 12) {
        CHECK_OK(trainer_queue(trainer, step == 4));
        step++;
        CHECK(trainer_must_collect(trainer) == (step % RIG_STEPS_PER_EPOCH == 0));
        if (!trainer_must_collect(trainer))
            continue;
        CHECK_OK(trainer_collect(trainer, reports, &count));
        CHECK(count == RIG_STEPS_PER_EPOCH && trainer->progress.step == step);
        for (int64_t i = 0; i < count; i++) {
            CHECK_OK(trainer_step(expected, reports[i].step == 5, &other));
            CHECK(same_report(&reports[i], &other) && reports[i].stop == (reports[i].step == 5));
        }
        CHECK(rig_same_state(trainer, expected));
    }
    for (int i = 0; i < TRAINER_QUEUE; i++) /* over the ring's end, across epochs */
        CHECK_OK(trainer_queue(trainer, false));
    CHECK(trainer_must_collect(trainer));
    CHECK_ERROR(trainer_queue(trainer, false), STATUS_FAILURE, "wait for their reports");
    CHECK_OK(trainer_collect(trainer, reports, &count));
    CHECK(count == TRAINER_QUEUE);
    for (int64_t i = 0; i < count; i++) {
        CHECK_OK(trainer_step(expected, false, &other));
        CHECK(same_report(&reports[i], &other));
    }
    CHECK(rig_same_state(trainer, expected));
    trainer_destroy(trainer);
    trainer_destroy(expected);
}

/* A parameter that is no number from the second of four queued steps on: the first is done, the second is
 * named, the others change nothing. */
static void test_failure(const Rig *rig, const char *shard, const char *sum) {
    Rig device = device_rig(rig, shard, sum);
    Trainer *trainer = rig_trainer(&device, rig->comm, 1), *expected = rig_trainer(&device, rig->comm, 1);
    TrainerReport reports[TRAINER_QUEUE], other;
    int64_t count;
    for (int step = 0; step < 3; step++) {
        CHECK_OK(trainer_step(trainer, false, reports));
        CHECK_OK(trainer_step(expected, false, &other));
    }
    CHECK_OK(trainer_step(expected, false, &other));
    CHECK_OK(trainer_queue(trainer, false));
    float *parameter = &trainer->optimizer.parameters[trainer->optimizer.count / 2], value = *parameter;
    *parameter = NAN;
    CHECK_OK(network_load(trainer->network, trainer->optimizer.parameters, 1));
    for (int i = 0; i < 3; i++)
        CHECK_OK(trainer_queue(trainer, false));
    CHECK_ERROR(trainer_collect(trainer, reports, &count), STATUS_FAILURE, "step 4 (epoch 1)");
    CHECK(count == 1 && same_report(&reports[0], &other));
    *parameter = value;
    CHECK_OK(network_load(trainer->network, trainer->optimizer.parameters, 1));
    CHECK(rig_same_state(trainer, expected));
    CHECK_OK(trainer_step(trainer, false, reports));
    CHECK_OK(trainer_step(expected, false, &other));
    CHECK(same_report(&reports[0], &other) && rig_same_state(trainer, expected));
    trainer_destroy(trainer);
    trainer_destroy(expected);
}

/* Sums of device memory among launches that could block: two steps wait at most. */
static void check_short_queue(Trainer *trainer) {
    TrainerReport reports[TRAINER_QUEUE];
    int64_t count;
    while (trainer->progress.step % RIG_STEPS_PER_EPOCH != 0)
        CHECK_OK(trainer_step(trainer, false, reports));
    CHECK_OK(trainer_queue(trainer, false));
    CHECK(!trainer_must_collect(trainer));
    CHECK_OK(trainer_queue(trainer, false));
    CHECK(trainer_must_collect(trainer) == comm_sums_device_memory(trainer->comm));
    CHECK_OK(trainer_collect(trainer, reports, &count));
    CHECK(count == 2);
}

/* Batches that copy_in waits for: each step is collected before the next is sent, where another rank's death
 * would not be noticed otherwise. */
static void test_large_batches(const Rig *rig) {
    Rig device = device_rig(rig, "0", "fp32");
    device.config.train_epochs = 20;
    Trainer *trainer = rig_trainer(&device, rig->comm, 1), *expected = rig_trainer(&device, rig->comm, 1);
    taping_copy_in_at_once(sizeof(BatchSlot));
    for (int step = 1; step < RIG_STEPS_PER_EPOCH; step++) {
        TrainerReport reports[TRAINER_QUEUE], other;
        int64_t count;
        TapingCounts before = taping_counts();
        CHECK_OK(trainer_queue(trainer, false));
        CHECK(taping_counts().waits > before.waits);
        CHECK(trainer_must_collect(trainer) == comm_sums_device_memory(rig->comm));
        CHECK_OK(trainer_collect(trainer, reports, &count));
        CHECK_OK(trainer_step(expected, false, &other));
        CHECK(count == 1 && same_report(&reports[0], &other) && rig_same_state(trainer, expected));
    }
    taping_copy_in_at_once(1 << 16);
    trainer_destroy(trainer);
    trainer_destroy(expected);
}

/* Where recording fails, if only on one rank, is switched off or would hide what is measured, steps are
 * queued call by call. */
static void test_not_recorded(const Rig *rig) {
    Rig device = device_rig(rig, "0", "fp32"), off = device;
    off.config.train_record_step = false;
    off.config.train_epochs = 20;
    Trainer *refused = rig_trainer(&device, rig->comm, 1), *switched_off = rig_trainer(&off, rig->comm, 1),
            *expected = rig_trainer(&device, rig->comm, 1), *profiled = rig_trainer(&device, rig->comm, 1);
    TrainerReport report, other;
    for (int step = 0; step < 4; step++) {
        CHECK_OK(trainer_step(expected, false, &other));
        TapingCounts before = taping_counts();
        taping_refuse(comm_rank(rig->comm) == comm_size(rig->comm) - 1);
        CHECK_OK(trainer_step(refused, false, &report));
        taping_refuse(false);
        CHECK(same_report(&report, &other) && rig_same_state(refused, expected) && !refused->recording);
        CHECK(refused->cannot_record == (records(rig) && step > 0));
        CHECK_OK(trainer_step(switched_off, false, &report));
        CHECK(rig_same_state(switched_off, expected) && !switched_off->recording);
        CHECK(taping_counts().replays == before.replays);
        profiled->network->profile = step >= 2;
        CHECK_OK(trainer_step(profiled, false, &report));
        CHECK(rig_same_state(profiled, expected));
        CHECK(taping_counts().replays - before.replays == (records(rig) && step == 1));
    }
    check_short_queue(switched_off);
    trainer_destroy(refused);
    trainer_destroy(switched_off);
    trainer_destroy(expected);
    trainer_destroy(profiled);
}

/* Gradients that travel in bf16 are off by 2^-9 of each element at most, and so is each of AdamW's updates,
 * which lower the loss by less than a third in all: a hundredth of it is plenty. The same bits recorded and
 * not; with one rank nothing travels. */
static void test_bf16(const Rig *rig) {
    Rig device = device_rig(rig, "0", "bf16"), off = device, fp32 = device_rig(rig, "0", "fp32");
    off.config.train_record_step = false;
    Trainer *trainer = rig_trainer(&device, rig->comm, 1), *queued = rig_trainer(&off, rig->comm, 1),
            *expected = rig_trainer(&fp32, rig->comm, 1);
    while (!trainer_is_finished(trainer)) {
        TrainerReport report, other, same;
        CHECK_OK(trainer_step(trainer, false, &report));
        CHECK_OK(trainer_step(queued, false, &same));
        CHECK_OK(trainer_step(expected, false, &other));
        CHECK(same_report(&report, &same) && rig_same_state(trainer, queued));
        CHECK_NEAR(report.loss, other.loss, 0.01 * other.loss);
        CHECK_NEAR(report.gradient_norm, other.gradient_norm, 0.02 * other.gradient_norm);
        CHECK(rig_same_state(trainer, expected) == (comm_size(rig->comm) == 1));
    }
    CHECK(trainer->recording != NULL && !queued->recording);
    trainer_destroy(trainer);
    trainer_destroy(queued);
    trainer_destroy(expected);
}

/* A recording that fails at any of its calls, on one rank: among others when some buckets of the gradient
 * have set out and others have not. The steps after it are none the worse. */
static void test_failed_call(const Rig *rig, const char *shard, const char *sum) {
    enum { PLACES = 7 };
    Rig device = device_rig(rig, shard, sum);
    Trainer *expected = rig_trainer(&device, rig->comm, 1), *failed[PLACES];
    TrainerReport report, other;
    int64_t count;
    CHECK_OK(trainer_step(expected, false, &other));
    for (int i = 0; i < PLACES; i++) {
        failed[i] = rig_trainer(&device, rig->comm, 1);
        CHECK_OK(trainer_step(failed[i], false, &report));
    }
    CHECK_OK(trainer_step(expected, false, &other));
    count = taping_counts().taped;
    for (int i = 0; i < PLACES; i++) {
        if (comm_rank(rig->comm) == 0)
            taping_fail(i * (count - 1) / (PLACES - 1));
        CHECK_OK(trainer_step(failed[i], false, &report));
        taping_fail(-1);
        CHECK(!failed[i]->recording && failed[i]->cannot_record);
        CHECK(same_report(&report, &other) && rig_same_state(failed[i], expected));
    }
    CHECK_OK(trainer_step(expected, false, &other));
    for (int i = 0; i < PLACES; i++) {
        CHECK_OK(trainer_step(failed[i], false, &report));
        CHECK(same_report(&report, &other) && rig_same_state(failed[i], expected));
        trainer_destroy(failed[i]);
    }
    trainer_destroy(expected);
}

static void test_all(const Rig *rig) {
    test_steps(rig, "4", "fixed");
    test_steps(rig, "16", "fixed"); /* one shard: ranks beyond the first have none */
    test_steps(rig, "0", "fp32");
    test_queue(rig);
    test_failure(rig, "4", "fixed");
    test_failure(rig, "0", "fp32");
    test_large_batches(rig);
    test_not_recorded(rig);
    if (records(rig)) {
        test_failed_call(rig, "0", "fp32");
        test_failed_call(rig, "4", "fixed");
        test_bf16(rig);
    }
}

int main(void) {
    Rig rig;
    rig_create(&rig);
    Comm other = *rig.comm;
    through_host = &other;
    test_all(&rig);
    if (comm_size(rig.comm) > 1) {
        Rig bf16 = device_rig(&rig, "0", "bf16");
        Trainer *refused = NULL;
        CHECK_ERROR(trainer_create(&refused, &bf16.config, rig.comm, bf16.backend, 1), STATUS_BAD_INPUT,
                    "NCCL");
        taping_comm(rig.comm, TAPING_AT_ONCE);
        test_all(&rig);
        taping_comm(rig.comm, TAPING_LATE);
        test_all(&rig);
    }
    rig_destroy(&rig);
    return test_result();
}
