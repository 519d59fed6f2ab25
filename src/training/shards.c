#include "training/shards.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/team.h"

typedef struct ShardsWorker {
    float *eps; /* (samples, pixels) backend memory */
    PhaseSeconds seconds;
} ShardsWorker;

static int64_t parameter_elements(const Shards *shards) {
    return shards->network->graph->parameter_elements;
}

GradientSums shards_sums(const Shards *shards) {
    return (GradientSums){
        .fixed = shards->gradient ? NULL : shards->sums, .bf16 = shards->halves, .tail = shards->tail};
}

/* ---- memory ---- */

/* What travels between the ranks in buckets. */
typedef struct Traveller {
    void *memory; /* backend memory */
    CommType type;
    int64_t count;
} Traveller;

static Traveller traveller(const Shards *shards) {
    int64_t elements = parameter_elements(shards);
    if (shards->halves)
        return (Traveller){shards->halves, COMM_BFLOAT16, elements};
    if (shards->gradient)
        return (Traveller){shards->gradient, COMM_FLOAT32, elements};
    return (Traveller){shards->sums, COMM_INT64, elements + TAIL_SUMMED};
}

static size_t traveller_bytes(const Shards *shards) {
    Traveller t = traveller(shards);
    return (size_t)(t.count * comm_type_bytes(t.type));
}

static Status create_sums(Shards *shards, const ShardsOptions *options) {
    Status status = STATUS_OK;
    Network *network = shards->network;
    const Backend *backend = network->backend;
    const bool device = comm_sums_device_memory(shards->comm);
    const size_t count = (size_t)parameter_elements(shards);
    int64_t elements = options->gradient ? 0 : parameter_elements(shards);
    if (options->bf16 && options->gradient && comm_size(shards->comm) > 1)
        TRY(backend->allocate((void **)&shards->halves, count * sizeof *shards->halves));
    shards->gradient = network->gradients = options->gradient;
    if (!shards->gradient && network_gathers(network)) {
        TRY(backend->allocate((void **)&shards->gathered, count * sizeof *shards->gathered));
        network->gradients = shards->gathered;
    }
    TRY(backend->allocate((void **)&shards->sums, (size_t)(elements + TAIL_COUNT) * sizeof(int64_t)));
    shards->tail = shards->sums + elements;
    Traveller t = traveller(shards);
    if (!device && !backend->host_memory && comm_size(shards->comm) > 1)
        TRY(ALLOCATE((char **)&shards->on_host, (int64_t)traveller_bytes(shards)));
    BucketData data = {shards->on_host ? shards->on_host : t.memory, t.type, device};
    TRY(buckets_create(&shards->buckets, shards->comm, data, t.count,
                       buckets_elements(options->bucket_mib, t.type)));
    network->range_ends = shards->buckets.begin + 1;
    network->range_count = shards->gradient && device ? shards->buckets.count : 0;
done:
    return status;
}

static Status create_workers(Shards *shards) {
    Status status = STATUS_OK;
    const Network *network = shards->network;
    const size_t eps_bytes = (size_t)(shards->samples * shards->pixels) * sizeof(float);
    pthread_mutex_t *locks = NULL;
    TRY(ALLOCATE(&locks, network->graph->parameter_count));
    for (int p = 0; p < network->graph->parameter_count; p++)
        (void)pthread_mutex_init(&locks[p], NULL);
    shards->locks = locks;
    TRY(ALLOCATE(&shards->worker, network->workers));
    for (int w = 0; w < network->workers; w++)
        TRY(network->backend->allocate((void **)&shards->worker[w].eps, eps_bytes));
done:
    return status;
}

static Status place_tables(Shards *shards) {
    Status status = STATUS_OK;
    const Schedule *schedule = shards->schedule;
    const float *tables[2] = {schedule->sqrt_alpha_bar, schedule->sqrt_one_minus_alpha_bar};
    for (int i = 0; i < 2; i++)
        TRY(backend_place(shards->network->backend, tables[i], (size_t)schedule->steps * sizeof(float),
                          &shards->tables[i], &shards->owned_tables[i]));
done:
    return status;
}

Status shards_create(Shards *shards, Comm *comm, Network *network, const Schedule *schedule,
                     const ShardsOptions *options) {
    Status status = STATUS_OK;
    Shape input = network->graph->values[network->graph->input].shape;
    *shards = (Shards){.comm = comm,
                       .network = network,
                       .schedule = schedule,
                       .samples = input.d[0],
                       .pixels = input.d[1] * input.d[2]};
    TRY(create_sums(shards, options));
    TRY(create_workers(shards));
    TRY(place_tables(shards));
done:
    if (status != STATUS_OK)
        shards_release(shards);
    return status;
}

static void release_batch(const Shards *shards, BatchMemory *memory) {
    const Backend *backend = shards->network->backend;
    backend->release(memory->content);
    backend->release(memory->totals);
    free(memory->host);
    *memory = (BatchMemory){0};
}

void shards_release(Shards *shards) {
    if (!shards->network)
        return;
    const Backend *backend = shards->network->backend;
    for (int w = 0; shards->worker && w < shards->network->workers; w++)
        backend->release(shards->worker[w].eps);
    free(shards->worker);
    free(shards->locks);
    for (int i = 0; i < 2; i++)
        release_batch(shards, &shards->batches[i]);
    for (int i = 0; i < 2; i++)
        backend->release(shards->owned_tables[i]);
    for (int i = 0; i < SHARDS_DATASETS; i++)
        backend->release(shards->images[i].owned);
    backend->release(shards->gathered);
    backend->release(shards->halves);
    backend->release(shards->sums);
    free(shards->on_host);
    buckets_release(&shards->buckets);
    *shards = (Shards){0};
}

/* ---- a batch in the backend's memory ---- */

static int64_t shards_in(const Shards *shards, int64_t samples) {
    return (samples + shards->samples - 1) / shards->samples;
}

/* Shards of this rank among `count`. With sums in float one, even if all of it is padding: every rank takes
 * part in every bucket. */
static int64_t own_shards(const Shards *shards, int64_t count, bool backward) {
    if (backward && shards->gradient)
        return 1;
    int rank = comm_rank(shards->comm), size = comm_size(shards->comm);
    return count > rank ? (count - rank + size - 1) / size : 0;
}

/* Bytes of the content of a batch of which this rank has `count` shards; reserve makes room for it. */
static size_t content_bytes(const Shards *shards, int64_t count) {
    return sizeof(BatchContent) + (size_t)(count * shards->samples) * sizeof(BatchSlot);
}

static Status reserve(const Shards *shards, BatchMemory *memory, int64_t count) {
    Status status = STATUS_OK;
    const Backend *backend = shards->network->backend;
    if (memory->content && count <= memory->capacity)
        return STATUS_OK;
    char *host = NULL;
    release_batch(shards, memory);
    const size_t bytes = content_bytes(shards, count);
    TRY(backend->allocate((void **)&memory->content, bytes));
    TRY(backend->allocate((void **)&memory->totals, (size_t)count * sizeof *memory->totals));
    TRY(ALLOCATE(&host, (int64_t)bytes));
    memory->host = (BatchContent *)(void *)host;
    memory->capacity = count;
done:
    return status;
}

/* On a device each data set is copied once; batches only name images. */
static Status place_images(Shards *shards, const Dataset *dataset, const uint8_t **images) {
    Status status = STATUS_OK;
    *images = dataset->pixels;
    if (shards->network->backend->host_memory)
        return STATUS_OK;
    for (int i = 0; i < SHARDS_DATASETS; i++) {
        PlacedImages *place = &shards->images[i];
        if (!place->pixels) {
            TRY(backend_place(shards->network->backend, dataset->pixels,
                              (size_t)(dataset->count * shards->pixels), &place->placed, &place->owned));
            place->pixels = dataset->pixels;
        }
        if (place->pixels == dataset->pixels) {
            *images = place->placed;
            return STATUS_OK;
        }
    }
    FAIL(STATUS_FAILURE, "more than %d data sets in one training run", SHARDS_DATASETS);
done:
    return status;
}

/* This rank's shards of a batch. */
typedef struct Share {
    Shards *shards;
    const Batch *batch;
    const BatchMemory *memory;
    const uint8_t *images; /* backend memory */
    int64_t tasks;         /* shards of this rank */
    bool backward;
} Share;

static Status create_share(Share *share, Shards *shards, const Batch *batch, bool backward) {
    Status status = STATUS_OK;
    BatchMemory *memory = &shards->batches[backward];
    int64_t places = batch->places > batch->count ? batch->places : batch->count;
    *share = (Share){.shards = shards, .batch = batch, .memory = memory, .backward = backward};
    share->tasks = own_shards(shards, shards_in(shards, places), backward);
    TRY(reserve(shards, memory, share->tasks));
    TRY(place_images(shards, batch->dataset, &share->images));
done:
    return status;
}

static Status send_batch(const Share *share, bool stop) {
    const Shards *shards = share->shards;
    const Batch *batch = share->batch;
    const BatchMemory *memory = share->memory;
    int64_t shard_count = shards_in(shards, batch->count), slots = share->tasks * shards->samples;
    memory->host->input = (BatchInput){
        .count = batch->count,
        .stop = stop,
        .rng_step = batch->rng_step,
        .limit = (float)(8192.0 / (double)shard_count), /* the sum of all stays within int64 / 2^50 */
    };
    for (int64_t i = 0; i < slots; i++) {
        int64_t shard = i / shards->samples * comm_size(shards->comm) + comm_rank(shards->comm);
        int64_t position = shard * shards->samples + i % shards->samples;
        uint32_t image = position < batch->count ? batch->index[position] : BATCH_PADDING;
        memory->host->slots[i] = (BatchSlot){image, batch->rng_by_image ? image : (uint32_t)position};
    }
    return shards->network->backend->copy_in(memory->content, memory->host,
                                             content_bytes(shards, share->tasks));
}

/* ---- shards ---- */

typedef struct SinkContext {
    Shards *shards;
    const float *limit;
    ShardTotals *totals;
} SinkContext;

/* `ready` elements of the gradient are where they belong: the buckets that are complete set out. */
static Status send_gradient(Shards *shards, int64_t ready) {
    Status status = STATUS_OK;
    Buckets *buckets = &shards->buckets;
    if (!buckets->data.device)
        return STATUS_OK;
    const int64_t *begin = buckets->begin;
    for (int b = buckets->started; shards->halves && b < buckets->count && begin[b + 1] <= ready; b++)
        TRY(shards->network->backend->narrow(shards->halves + begin[b], shards->gradient + begin[b],
                                             begin[b + 1] - begin[b]));
    TRY(buckets_start(buckets, ready));
done:
    return status;
}

static Status take_gradient(void *context, int64_t first, int64_t count, const float *gradient) {
    SinkContext *sink = context;
    Shards *shards = sink->shards;
    if (shards->gradient)
        return send_gradient(shards, first + count);
    /* all workers report the same ranges, which are locked by where they begin */
    const Network *network = shards->network;
    pthread_mutex_t *lock = (pthread_mutex_t *)shards->locks + first % network->graph->parameter_count;
    (void)pthread_mutex_lock(lock);
    Status status =
        network->backend->accumulate(shards->sums + first, gradient, count, sink->limit, &sink->totals->bad);
    (void)pthread_mutex_unlock(lock);
    return status;
}

/* x_t, eps and t of a shard's samples. */
static Status noise_shard(const Share *share, int worker, const BatchSlot *slots) {
    const Shards *shards = share->shards;
    const Batch *batch = share->batch;
    NoiseArguments noise = {
        .samples = shards->samples,
        .pixels = shards->pixels,
        .batch = &share->memory->content->input,
        .slots = slots,
        .images = share->images,
        .seed = batch->seed,
        .timestep_stream = batch->timestep_stream,
        .noise_stream = batch->noise_stream,
        .steps = shards->schedule->steps,
        .sqrt_alpha_bar = shards->tables[0],
        .sqrt_one_minus_alpha_bar = shards->tables[1],
        .x_t = network_input(shards->network, worker),
        .eps = shards->worker[worker].eps,
        .t = network_timesteps(shards->network, worker),
    };
    return shards->network->backend->noise(&noise);
}

static Status collect(Share *share) {
    const Shards *shards = share->shards;
    return shards->network->backend->collect(share->memory->totals, share->tasks,
                                             &share->memory->content->input, shards->tail);
}

/* With sums in float a rank's tail is known before the backward pass, and travels beside it. */
static Status send_tail(Share *share) {
    Status status = STATUS_OK;
    Shards *shards = share->shards;
    TRY(collect(share));
    if (comm_sums_device_memory(shards->comm))
        TRY(comm_device_sum_start(shards->comm, shards->tail, TAIL_SUMMED, COMM_INT64));
done:
    return status;
}

static Status run_shard(void *context, int worker, int64_t task) {
    Status status = STATUS_OK;
    Share *share = context;
    Shards *shards = share->shards;
    ShardsWorker *w = &shards->worker[worker];
    const BatchMemory *memory = share->memory;
    const BatchSlot *slots = memory->content->slots + task * shards->samples;
    double times[4] = {clock_seconds(), 0, 0, 0};
    SinkContext sink = {
        .shards = shards, .limit = &memory->content->input.limit, .totals = &memory->totals[task]};
    TRY(noise_shard(share, worker, slots));
    times[1] = clock_seconds();
    TRY(network_forward(shards->network, worker));
    LossArguments loss = {
        .samples = shards->samples,
        .pixels = shards->pixels,
        .batch = &share->memory->content->input,
        .slots = slots,
        .eps = w->eps,
        .eps_hat = network_output(shards->network, worker),
        .d_eps_hat = share->backward ? network_output_gradient(shards->network, worker) : NULL,
        .loss_sum = &sink.totals->loss_sum,
    };
    TRY(shards->network->backend->loss(&loss));
    if (share->backward && shards->gradient)
        TRY(send_tail(share));
    times[2] = clock_seconds();
    if (share->backward)
        TRY(network_backward(shards->network, worker, take_gradient, &sink));
    times[3] = clock_seconds();
    w->seconds.data += times[1] - times[0];
    w->seconds.forward += times[2] - times[1];
    w->seconds.backward += times[3] - times[2];
done:
    return status;
}

static void add_seconds(Shards *shards) {
    for (int w = 0; w < shards->network->workers; w++) {
        PhaseSeconds *from = &shards->worker[w].seconds, *to = &shards->seconds;
        to->data += from->data / shards->network->workers;
        to->forward += from->forward / shards->network->workers;
        to->backward += from->backward / shards->network->workers;
        *from = (PhaseSeconds){0};
    }
}

/* This rank's shards; then its sums and its tail are complete. */
static Status run_share(Share *share) {
    Status status = STATUS_OK;
    Shards *shards = share->shards;
    const Backend *backend = shards->network->backend;
    TRY(backend->clear(share->memory->totals, (size_t)share->tasks * sizeof *share->memory->totals));
    TRY(team_run(shards->network->workers, share->tasks, run_shard, share));
    if (!share->backward || !shards->gradient)
        TRY(collect(share));
done:
    add_seconds(shards);
    return status;
}

/* The tail over all ranks, through host memory. */
static Status sum_tail(Shards *shards) {
    Status status = STATUS_OK;
    const Backend *backend = shards->network->backend;
    int64_t tail[TAIL_SUMMED];
    TRY(backend->copy_out(tail, shards->tail, sizeof tail));
    TRY(comm_allreduce_i64(shards->comm, tail, TAIL_SUMMED, COMM_SUM));
    TRY(backend->copy_in(shards->tail, tail, sizeof tail));
done:
    return status;
}

/* What has not set out yet, and the end of the sums: in device memory by NCCL, else through the host's. */
static Status sum_over_ranks(Shards *shards) {
    Status status = STATUS_OK;
    const Backend *backend = shards->network->backend;
    Traveller t = traveller(shards);
    size_t bytes = traveller_bytes(shards);
    if (comm_size(shards->comm) == 1)
        return STATUS_OK;
    if (shards->on_host)
        TRY(backend->copy_out(shards->on_host, t.memory, bytes));
    TRY(buckets_start(&shards->buckets, t.count));
    TRY(buckets_finish(&shards->buckets));
    if (shards->on_host)
        TRY(backend->copy_in(t.memory, shards->on_host, bytes));
    if (shards->gradient && !comm_sums_device_memory(shards->comm))
        TRY(sum_tail(shards));
done:
    return status;
}

Status shards_send(Shards *shards, const Batch *batch, bool stop) {
    Status status = STATUS_OK;
    Share share;
    TRY(create_share(&share, shards, batch, true));
    TRY(send_batch(&share, stop));
done:
    return status;
}

bool shards_send_waits(const Shards *shards) {
    const size_t most = shards->network->backend->copy_in_at_once;
    return most > 0 && content_bytes(shards, shards->batches[1].capacity) > most;
}

Status shards_queue_gradient(Shards *shards, const Batch *batch) {
    Status status = STATUS_OK;
    Share share;
    TRY(create_share(&share, shards, batch, true));
    shards->buckets.started = 0; /* also after a step that failed */
    if (!shards->gradient)
        TRY(shards->network->backend->clear(shards->sums,
                                            (size_t)parameter_elements(shards) * sizeof(int64_t)));
    TRY(run_share(&share));
    double start = clock_seconds();
    TRY(sum_over_ranks(shards));
    shards->seconds.reduce += clock_seconds() - start;
done:
    return status;
}

Status shards_result(const Shards *shards, const int64_t tail[TAIL_COUNT], ShardsResult *result) {
    Status status = STATUS_OK;
    int64_t first_bad = tail[TAIL_FIRST_BAD];
    *result = (ShardsResult){
        .loss = (double)tail[TAIL_LOSS] / FIXED_POINT_SCALE,
        .finite = tail[TAIL_BAD] == 0,
        .bad_shard = -1,
        .stop_requests = tail[TAIL_STOP],
    };
    if (result->finite)
        return STATUS_OK;
    first_bad = first_bad < 0 ? INT64_MAX : first_bad * comm_size(shards->comm) + comm_rank(shards->comm);
    TRY(comm_allreduce_i64(shards->comm, &first_bad, 1, COMM_MIN));
    result->bad_shard = first_bad;
done:
    return status;
}

Status shards_gradient(Shards *shards, const Batch *batch, bool stop, ShardsResult *result) {
    Status status = STATUS_OK;
    int64_t tail[TAIL_COUNT];
    TRY(shards_send(shards, batch, stop));
    TRY(shards_queue_gradient(shards, batch));
    TRY(comm_wait_device(shards->comm));
    TRY(shards->network->backend->copy_out(tail, shards->tail, sizeof tail));
    TRY(shards_result(shards, tail, result));
done:
    return status;
}

Status shards_loss(Shards *shards, const Batch *batch, double *loss) {
    Status status = STATUS_OK;
    Share share;
    int64_t tail[TAIL_COUNT];
    TRY(create_share(&share, shards, batch, false));
    TRY(send_batch(&share, false));
    TRY(run_share(&share));
    TRY(shards->network->backend->copy_out(tail, shards->tail, sizeof tail));
    TRY(comm_allreduce_i64(shards->comm, tail, 2, COMM_SUM)); /* loss and bad shards */
    *loss = tail[TAIL_BAD] ? NAN : (double)tail[TAIL_LOSS] / FIXED_POINT_SCALE;
done:
    return status;
}
