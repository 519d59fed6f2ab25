#include "training/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "model/weights.h"

static Status load_data(Trainer *trainer) {
    Status status = STATUS_OK;
    const Config *config = &trainer->config;
    TRY(data_share(trainer->comm, config->data_dir, "train", config->data_limit, &trainer->train));
    TRY(data_share(trainer->comm, config->data_dir, "t10k", config->train_validation_images,
                   &trainer->validation));
    if (trainer->validation.height != trainer->train.height ||
        trainer->validation.width != trainer->train.width)
        status =
            status_error(STATUS_BAD_INPUT, "%s: training images are %lldx%lld pixels, test images %lldx%lld",
                         config->data_dir, (long long)trainer->train.height, (long long)trainer->train.width,
                         (long long)trainer->validation.height, (long long)trainer->validation.width);
    TRY(comm_agree(trainer->comm, status));
    trainer->validation_count = trainer->validation.count;
    trainer->data_checksum = dataset_checksum(&trainer->train);
    TRY(ALLOCATE(&trainer->order, trainer->train.count));
    trainer->order_epoch = -1;
    trainer->steps_per_epoch = (trainer->train.count + config->train_batch - 1) / config->train_batch;
    trainer->total_steps = config->train_epochs * trainer->steps_per_epoch;
    if (config->train_max_steps > 0 && config->train_max_steps < trainer->total_steps)
        trainer->total_steps = config->train_max_steps;
done:
    return status;
}

Status trainer_choose_sums(Config *config, const Backend *backend) {
    enum { HOST_SHARD = 8, DEVICE_SHARD = 32 };
    char *sum = config->train_gradient_sum;
    if (strcmp(sum, "auto") == 0)
        strcpy(sum, config->train_shard == 0 && !backend->host_memory ? "fp32" : "fixed");
    bool fixed = strcmp(sum, "fixed") == 0;
    if (fixed && config->train_shard == 0) {
        int64_t shard = backend->host_memory ? HOST_SHARD : DEVICE_SHARD;
        config->train_shard = shard < config->train_batch ? shard : config->train_batch;
    }
    if (!fixed && config->train_shard != 0)
        return status_error(
            STATUS_BAD_INPUT,
            "train.shard: with train.gradient_sum %s each rank's share is one shard: expected "
            "0, found %lld",
            sum, (long long)config->train_shard);
    return STATUS_OK;
}

int64_t trainer_shard(const Config *config, int ranks) {
    return config->train_shard > 0 ? config->train_shard : (config->train_batch + ranks - 1) / ranks;
}

static Status build_network(Trainer *trainer, const Backend *backend, int threads) {
    Status status = STATUS_OK;
    const Config *config = &trainer->config;
    const bool fixed = strcmp(config->train_gradient_sum, "fixed") == 0;
    int64_t shard = trainer_shard(config, comm_size(trainer->comm));
    NetworkOptions options = {
        .unet = unet_options(config, shard, trainer->train.height, trainer->train.width),
        .backend = backend,
        .workers = fixed ? threads : 1,
        .gradients = NETWORK_TRAINING,
        .side_stream = config->train_side_stream,
    };
    OptimizerOptions optimizer = {
        .learning_rate = config->train_lr,
        .weight_decay = config->train_weight_decay,
        .clip_norm = config->train_clip_norm,
        .ema_decay = config->train_ema_decay,
        .warmup_steps = config->train_warmup_steps,
    };
    float *initial = NULL;
    TRY(network_create(&trainer->network, &options));
    TRY(optimizer_create(&trainer->optimizer, backend, trainer->network->graph, &optimizer, threads));
    ShardsOptions sums = {
        .bucket_mib = config->train_bucket_mib,
        .gradient = fixed ? NULL : trainer->optimizer.gradient,
        .bf16 = strcmp(config->train_gradient_sum, "bf16") == 0,
    };
    if (sums.bf16 && comm_size(trainer->comm) > 1 && !comm_sums_device_memory(trainer->comm))
        status = status_error(STATUS_BAD_INPUT,
                              "train.gradient_sum bf16: expected NCCL between the ranks, found %s",
                              comm_description(trainer->comm));
    TRY(comm_agree(trainer->comm, status));
    TRY(shards_create(&trainer->shards, trainer->comm, trainer->network, trainer->schedule, &sums));
    TRY(ALLOCATE(&initial, trainer->optimizer.count));
    network_initialise(trainer->network->graph, config->seed, initial);
    TRY(backend->copy_in(trainer->optimizer.parameters, initial,
                         (size_t)trainer->optimizer.count * sizeof(float)));
    TRY(backend->copy_in(trainer->optimizer.ema, initial, (size_t)trainer->optimizer.count * sizeof(float)));
    TRY(network_load(trainer->network, trainer->optimizer.parameters, threads));
done:
    free(initial);
    return status;
}

Status trainer_create(Trainer **result, const Config *config, Comm *comm, const Backend *backend,
                      int threads) {
    Status status = STATUS_OK;
    Trainer *trainer = NULL;
    TRY(ALLOCATE(&trainer, 1));
    trainer->config = *config;
    trainer->comm = comm;
    trainer->progress.best_epoch_mean = INFINITY;
    trainer->progress.last_epoch_mean = NAN;
    TRY(comm_agree(comm, schedule_create(config->diffusion_schedule, config->diffusion_steps,
                                         config->diffusion_beta_start, config->diffusion_beta_end,
                                         &trainer->schedule)));
    TRY(trainer_choose_sums(&trainer->config, backend));
    TRY(load_data(trainer));
    TRY(build_network(trainer, backend, threads));
done:
    if (status != STATUS_OK) {
        trainer_destroy(trainer);
        trainer = NULL;
    }
    *result = trainer;
    return status;
}

void trainer_destroy(Trainer *trainer) {
    if (!trainer)
        return;
    if (trainer->recording)
        trainer->network->backend->recording_release(trainer->recording);
    shards_release(&trainer->shards);
    optimizer_release(&trainer->optimizer);
    network_destroy(trainer->network);
    schedule_destroy(trainer->schedule);
    dataset_release(&trainer->train);
    dataset_release(&trainer->validation);
    free(trainer->order);
    free(trainer);
}

Status trainer_validate(Trainer *trainer, double *loss) {
    Status status = STATUS_OK;
    uint32_t *index = NULL;
    TRY(ALLOCATE(&index, trainer->validation_count));
    for (int64_t i = 0; i < trainer->validation_count; i++)
        index[i] = (uint32_t)i;
    Batch batch = {
        .dataset = &trainer->validation,
        .index = index,
        .count = trainer->validation_count,
        .seed = trainer->config.seed,
        .timestep_stream = RNG_VALIDATION_TIMESTEP,
        .noise_stream = RNG_VALIDATION_NOISE,
        .rng_by_image = true,
    };
    TRY(shards_loss(&trainer->shards, &batch, loss));
done:
    free(index);
    return status;
}

static Status check_data(const Trainer *trainer, const Checkpoint *checkpoint, const char *where) {
    int64_t expected = checkpoint->epoch * trainer->steps_per_epoch + checkpoint->step_in_epoch;
    if (checkpoint->data_checksum != trainer->data_checksum)
        return status_error(
            STATUS_BAD_INPUT,
            "%s: was trained on other images than those in data.dir %s with data.limit %lld: checksum "
            "expected %016llx, found %016llx",
            where, trainer->config.data_dir, (long long)trainer->config.data_limit,
            (unsigned long long)checkpoint->data_checksum, (unsigned long long)trainer->data_checksum);
    if (checkpoint->step != expected || checkpoint->step_in_epoch >= trainer->steps_per_epoch)
        return status_error(STATUS_BAD_INPUT,
                            "%s: step %lld is not step %lld of epoch %lld with %lld steps per epoch", where,
                            (long long)checkpoint->step, (long long)checkpoint->step_in_epoch,
                            (long long)checkpoint->epoch, (long long)trainer->steps_per_epoch);
    return STATUS_OK;
}

Status trainer_restore(Trainer *trainer, const Checkpoint *checkpoint, const char *where) {
    Status status = STATUS_OK;
    Optimizer *optimizer = &trainer->optimizer;
    const Graph *graph = trainer->network->graph;
    size_t bytes = (size_t)optimizer->count * sizeof(float);
    float *host = NULL;
    float *const targets[] = {optimizer->parameters, optimizer->ema, optimizer->m, optimizer->v};
    bool root = comm_rank(trainer->comm) == 0;
    if (root)
        status = weights_check(graph, checkpoint, where);
    if (root && status == STATUS_OK)
        status = check_data(trainer, checkpoint, where);
    TRY(comm_agree(trainer->comm, status));
    if (root)
        trainer->progress = (TrainerProgress){
            .step = checkpoint->step,
            .epoch = checkpoint->epoch,
            .step_in_epoch = checkpoint->step_in_epoch,
            .epoch_loss_sum = checkpoint->epoch_loss_sum,
            .best_epoch_mean = checkpoint->best_epoch_mean,
            .last_epoch_mean = checkpoint->last_epoch_mean,
        };
    TRY(comm_broadcast(trainer->comm, &trainer->progress, sizeof trainer->progress, 0));
    TRY(ALLOCATE(&host, optimizer->count));
    for (int a = 0; a < 4; a++) {
        if (root) {
            const float *const sources[] = {checkpoint->parameters, checkpoint->ema, checkpoint->m,
                                            checkpoint->v};
            weights_copy(graph, checkpoint, sources[a], host);
        }
        TRY(comm_broadcast(trainer->comm, host, bytes, 0));
        TRY(optimizer->backend->copy_in(targets[a], host, bytes));
    }
    TRY(network_load(trainer->network, optimizer->parameters, optimizer->threads));
done:
    free(host);
    return status;
}

static Status copy_text(const char *text, char **copy) {
    Status status = ALLOCATE(copy, (int64_t)strlen(text) + 1);
    if (status == STATUS_OK)
        strcpy(*copy, text);
    return status;
}

Status trainer_snapshot(const Trainer *trainer, const char *provenance_json, Checkpoint *checkpoint) {
    Status status = STATUS_OK;
    const Optimizer *optimizer = &trainer->optimizer;
    const TrainerProgress *progress = &trainer->progress;
    *checkpoint = (Checkpoint){
        .height = trainer->train.height,
        .width = trainer->train.width,
        .data_checksum = trainer->data_checksum,
        .step = progress->step,
        .epoch = progress->epoch,
        .step_in_epoch = progress->step_in_epoch,
        .epoch_loss_sum = progress->epoch_loss_sum,
        .epoch_loss_steps = progress->step_in_epoch,
        .best_epoch_mean = progress->best_epoch_mean,
        .last_epoch_mean = progress->last_epoch_mean,
        .seed = trainer->config.seed,
        .finished = trainer_is_finished(trainer),
        .tensor_count = trainer->network->graph->parameter_count,
        .parameter_count = optimizer->count,
    };
    const float *const sources[] = {optimizer->parameters, optimizer->ema, optimizer->m, optimizer->v};
    float **const copies[] = {&checkpoint->parameters, &checkpoint->ema, &checkpoint->m, &checkpoint->v};
    for (int a = 0; a < 4; a++) {
        TRY(ALLOCATE(copies[a], optimizer->count));
        TRY(optimizer->backend->copy_out(*copies[a], sources[a], (size_t)optimizer->count * sizeof(float)));
    }
    TRY(weights_describe(trainer->network->graph, &checkpoint->tensors));
    TRY(config_to_json(&trainer->config, &checkpoint->config_json));
    TRY(copy_text(provenance_json, &checkpoint->provenance_json));
done:
    if (status != STATUS_OK)
        checkpoint_release(checkpoint);
    return status;
}

bool trainer_is_finished(const Trainer *trainer) {
    return trainer->progress.step >= trainer->total_steps;
}

int64_t trainer_bytes(const Trainer *trainer) {
    int64_t pixels = trainer->train.height * trainer->train.width + 1;
    return network_bytes(trainer->network) + trainer->optimizer.count * (5 * (int64_t)sizeof(float) + 8) +
           (trainer->train.count + trainer->validation.count) * pixels + trainer->train.count * 4;
}
