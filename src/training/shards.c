#include "training/shards.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/team.h"

/* Behind the gradient: what else is summed over the ranks. */
enum { TAIL_LOSS, TAIL_BAD, TAIL_STOP, SHARDS_TAIL };

typedef struct ShardsWorker {
    float *eps;             /* (samples, pixels) backend memory */
    const uint8_t **images; /* (samples) */
    uint32_t *rng_samples;  /* (samples) */
    PhaseSeconds seconds;
} ShardsWorker;

static size_t gradient_bytes(const Shards *shards) {
    return (size_t)shards->network->graph->parameter_elements * sizeof(int64_t);
}

Status shards_create(Shards *shards, Comm *comm, Network *network, const Schedule *schedule,
                     double bucket_mib) {
    Status status = STATUS_OK;
    Shape input = network->graph->values[network->graph->input].shape;
    int64_t total = network->graph->parameter_elements + SHARDS_TAIL;
    int64_t bucket_elements = (int64_t)(bucket_mib * 1048576.0 / sizeof(int64_t));
    pthread_mutex_t *locks = NULL;
    *shards = (Shards){.comm = comm,
                       .network = network,
                       .schedule = schedule,
                       .samples = input.d[0],
                       .pixels = input.d[1] * input.d[2]};
    TRY(ALLOCATE(&shards->host_sums, total));
    shards->sums = shards->host_sums;
    if (!network->backend->host_memory)
        TRY(network->backend->allocate((void **)&shards->sums, gradient_bytes(shards)));
    TRY(buckets_create(&shards->buckets, comm, shards->host_sums, total,
                       bucket_elements < 1 ? 1 : bucket_elements));
    TRY(ALLOCATE(&locks, network->graph->parameter_count));
    for (int p = 0; p < network->graph->parameter_count; p++)
        (void)pthread_mutex_init(&locks[p], NULL);
    shards->locks = locks;
    TRY(ALLOCATE(&shards->worker, network->workers));
    for (int w = 0; w < network->workers; w++) {
        ShardsWorker *worker = &shards->worker[w];
        TRY(network->backend->allocate((void **)&worker->eps,
                                       (size_t)(shards->samples * shards->pixels) * sizeof(float)));
        TRY(ALLOCATE(&worker->images, shards->samples));
        TRY(ALLOCATE(&worker->rng_samples, shards->samples));
    }
done:
    if (status != STATUS_OK)
        shards_release(shards);
    return status;
}

void shards_release(Shards *shards) {
    for (int w = 0; shards->worker && w < shards->network->workers; w++) {
        shards->network->backend->release(shards->worker[w].eps);
        free(shards->worker[w].images);
        free(shards->worker[w].rng_samples);
    }
    free(shards->worker);
    free(shards->locks);
    if (shards->sums != shards->host_sums)
        shards->network->backend->release(shards->sums);
    free(shards->host_sums);
    buckets_release(&shards->buckets);
    *shards = (Shards){0};
}

/* One pass over a batch. */
typedef struct Pass {
    Shards *shards;
    const Batch *batch;
    int64_t shard_count;
    bool backward;
    float limit;       /* largest magnitude of one shard's contribution that the fixed-point sum can take */
    int64_t first_bad; /* under tail_lock */
    int64_t loss, bad; /* fixed-point sum, number of bad shards; under tail_lock */
    pthread_mutex_t tail_lock;
} Pass;

static int64_t shards_in(const Shards *shards, int64_t samples) {
    return (samples + shards->samples - 1) / shards->samples;
}

typedef struct SinkContext {
    Shards *shards;
    float limit;
    bool bad;
} SinkContext;

static Status add_gradient(void *context, int parameter, const float *gradient) {
    SinkContext *sink = context;
    Shards *shards = sink->shards;
    const Parameter *p = &shards->network->graph->parameters[parameter];
    pthread_mutex_t *lock = (pthread_mutex_t *)shards->locks + parameter;
    (void)pthread_mutex_lock(lock);
    Status status = shards->network->backend->accumulate(shards->sums + p->offset, gradient, p->count,
                                                         sink->limit, &sink->bad);
    (void)pthread_mutex_unlock(lock);
    return status;
}

/* x_t, eps and t of the samples of a shard; slots beyond the batch's end are padding. */
static Status noise_shard(Pass *pass, int worker, int64_t shard, int64_t *real) {
    Shards *shards = pass->shards;
    const Batch *batch = pass->batch;
    ShardsWorker *w = &shards->worker[worker];
    *real = 0;
    for (int64_t i = 0; i < shards->samples; i++) {
        int64_t position = shard * shards->samples + i;
        bool exists = position < batch->count;
        int64_t image = exists ? (int64_t)batch->index[position] : 0;
        *real += exists;
        w->images[i] = exists ? batch->dataset->pixels + image * shards->pixels : NULL;
        w->rng_samples[i] = (uint32_t)(batch->rng_by_image ? image : position);
    }
    NoiseArguments noise = {
        .samples = shards->samples,
        .pixels = shards->pixels,
        .images = w->images,
        .rng_samples = w->rng_samples,
        .seed = batch->seed,
        .rng_step = batch->rng_step,
        .timestep_stream = batch->timestep_stream,
        .noise_stream = batch->noise_stream,
        .steps = shards->schedule->steps,
        .sqrt_alpha_bar = shards->schedule->sqrt_alpha_bar,
        .sqrt_one_minus_alpha_bar = shards->schedule->sqrt_one_minus_alpha_bar,
        .x_t = network_input(shards->network, worker),
        .eps = w->eps,
        .t = network_timesteps(shards->network, worker),
    };
    return shards->network->backend->noise(&noise);
}

static void add_to_tail(Pass *pass, int64_t shard, double loss_share, bool bad) {
    bad = bad || !(fabs(loss_share) <= pass->limit);
    (void)pthread_mutex_lock(&pass->tail_lock);
    if (bad) {
        pass->bad++;
        if (pass->first_bad < 0 || shard < pass->first_bad)
            pass->first_bad = shard;
    } else {
        pass->loss += llrint(loss_share * FIXED_POINT_SCALE);
    }
    (void)pthread_mutex_unlock(&pass->tail_lock);
}

static Status run_shard(void *context, int worker, int64_t task) {
    Status status = STATUS_OK;
    Pass *pass = context;
    Shards *shards = pass->shards;
    ShardsWorker *w = &shards->worker[worker];
    int64_t shard = task * comm_size(shards->comm) + comm_rank(shards->comm), real;
    double loss_sum, times[4] = {clock_seconds(), 0, 0, 0};
    SinkContext sink = {.shards = shards, .limit = pass->limit};
    TRY(noise_shard(pass, worker, shard, &real));
    times[1] = clock_seconds();
    TRY(network_forward(shards->network, worker));
    LossArguments loss = {
        .samples = shards->samples,
        .real_samples = real,
        .pixels = shards->pixels,
        .batch = pass->batch->count,
        .eps = w->eps,
        .eps_hat = network_output(shards->network, worker),
        .d_eps_hat = pass->backward ? network_output_gradient(shards->network, worker) : NULL,
        .loss_sum = &loss_sum,
    };
    TRY(shards->network->backend->loss(&loss));
    times[2] = clock_seconds();
    if (pass->backward)
        TRY(network_backward(shards->network, worker, add_gradient, &sink));
    times[3] = clock_seconds();
    add_to_tail(pass, shard, loss_sum / (double)pass->batch->count, sink.bad);
    w->seconds.data += times[1] - times[0];
    w->seconds.forward += times[2] - times[1];
    w->seconds.backward += times[3] - times[2];
done:
    return status;
}

static Status run_pass(Pass *pass) {
    Shards *shards = pass->shards;
    int rank = comm_rank(shards->comm), size = comm_size(shards->comm);
    int64_t mine;
    pass->shard_count = shards_in(shards, pass->batch->count);
    pass->limit = (float)(8192.0 / (double)pass->shard_count); /* the sum of all stays within int64 / 2^50 */
    pass->first_bad = -1;
    mine = pass->shard_count > rank ? (pass->shard_count - rank + size - 1) / size : 0;
    (void)pthread_mutex_init(&pass->tail_lock, NULL);
    Status status = team_run(shards->network->workers, mine, run_shard, pass);
    (void)pthread_mutex_destroy(&pass->tail_lock);
    for (int w = 0; w < shards->network->workers; w++) {
        PhaseSeconds *from = &shards->worker[w].seconds, *to = &shards->seconds;
        to->data += from->data / shards->network->workers;
        to->forward += from->forward / shards->network->workers;
        to->backward += from->backward / shards->network->workers;
        *from = (PhaseSeconds){0};
    }
    return status;
}

/* Gradient sums and tail over all ranks: in device memory by NCCL, else through the host's. */
static Status sum_over_ranks(Shards *shards) {
    Status status = STATUS_OK;
    const Backend *backend = shards->network->backend;
    int64_t parameters = shards->network->graph->parameter_elements;
    if (comm_sums_device_memory(shards->comm)) {
        TRY(comm_allreduce_device(shards->comm, shards->sums, parameters));
        TRY(comm_wait_device(shards->comm));
        return comm_allreduce_i64(shards->comm, shards->host_sums + parameters, SHARDS_TAIL, COMM_SUM);
    }
    if (!backend->host_memory)
        TRY(backend->copy_out(shards->host_sums, shards->sums, gradient_bytes(shards)));
    TRY(buckets_start(&shards->buckets, parameters + SHARDS_TAIL));
    TRY(buckets_finish(&shards->buckets));
    if (!backend->host_memory)
        TRY(backend->copy_in(shards->sums, shards->host_sums, gradient_bytes(shards)));
done:
    return status;
}

Status shards_gradient(Shards *shards, const Batch *batch, bool stop, ShardsResult *result) {
    Status status = STATUS_OK;
    int64_t parameters = shards->network->graph->parameter_elements, first_bad;
    int64_t *tail = shards->host_sums + parameters;
    const Backend *backend = shards->network->backend;
    Pass pass = {.shards = shards, .batch = batch, .backward = true};
    TRY(backend->clear(shards->sums, gradient_bytes(shards)));
    TRY(run_pass(&pass));
    tail[TAIL_LOSS] = pass.loss;
    tail[TAIL_BAD] = pass.bad;
    tail[TAIL_STOP] = stop;
    double start = clock_seconds();
    TRY(sum_over_ranks(shards));
    shards->seconds.reduce += clock_seconds() - start;
    *result = (ShardsResult){
        .loss = (double)tail[TAIL_LOSS] / FIXED_POINT_SCALE,
        .finite = tail[TAIL_BAD] == 0,
        .bad_shard = -1,
        .stop_requests = tail[TAIL_STOP],
    };
    if (!result->finite) {
        first_bad = pass.first_bad >= 0 ? pass.first_bad : pass.shard_count;
        TRY(comm_allreduce_i64(shards->comm, &first_bad, 1, COMM_MIN));
        result->bad_shard = first_bad;
    }
done:
    return status;
}

Status shards_loss(Shards *shards, const Batch *batch, double *loss) {
    Status status = STATUS_OK;
    Pass pass = {.shards = shards, .batch = batch};
    int64_t sums[2];
    TRY(run_pass(&pass));
    sums[0] = pass.loss;
    sums[1] = pass.bad;
    TRY(comm_allreduce_i64(shards->comm, sums, 2, COMM_SUM));
    *loss = sums[1] ? NAN : (double)sums[0] / FIXED_POINT_SCALE;
done:
    return status;
}
