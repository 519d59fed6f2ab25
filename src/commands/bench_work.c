#include <stdlib.h>

#include "comm/buckets.h"
#include "commands/bench.h"
#include "commands/generation.h"
#include "core/clock.h"
#include "core/team.h"
#include "model/describe.h"
#include "training/trainer.h"

static double flops_per_image(const Graph *graph, bool training) {
    GraphCost cost = graph_cost(graph);
    double batch = (double)graph->values[graph->input].shape.d[0];
    return ((double)cost.forward + (training ? (double)cost.backward : 0)) / batch;
}

/* ---- training steps on the real data ---- */

static Status train_step(BenchWork *work, int64_t *images) {
    TrainerReport report;
    Status status = trainer_step(work->state, false, &report);
    if (status == STATUS_OK)
        *images = report.images;
    return status;
}

static int train_phases(BenchWork *work, bool reset, BenchPhase phases[BENCH_MAX_PHASES]) {
    Trainer *trainer = work->state;
    const PhaseSeconds *s = &trainer->shards.seconds;
    const BenchPhase all[] = {{"data", s->data},
                              {"forward", s->forward},
                              {"backward", s->backward},
                              {"reduce", s->reduce},
                              {"optimizer", s->optimizer}};
    int count = (int)(sizeof all / sizeof *all);
    for (int i = 0; i < count; i++)
        phases[i] = all[i];
    if (reset)
        trainer->shards.seconds = (PhaseSeconds){0};
    return count;
}

static void train_release(BenchWork *work) {
    trainer_destroy(work->state);
}

Status bench_train_create(BenchWork *work) {
    Session *session = work->session;
    Trainer *trainer = NULL;
    work->release = train_release;
    Status status = trainer_create(&trainer, &session->arguments.config, session->comm, session->backend,
                                   session->threads);
    if (status != STATUS_OK)
        return status;
    work->state = trainer;
    work->step = train_step;
    work->phases = train_phases;
    work->network = trainer->network;
    work->flops_per_image = flops_per_image(trainer->network->graph, true);
    work->parameter_count = trainer->optimizer.count;
    return STATUS_OK;
}

/* ---- reverse steps of ancestral sampling, train.batch images, untrained parameters ---- */

typedef struct SampleState {
    Generator generator;
    SamplerPlan *plan;
    int64_t next_step;     /* of the plan */
    int64_t shard, pixels; /* images per shard; pixels per shard */
    int64_t shards;        /* of this rank */
    float *x;              /* (shards, pixels) backend memory */
    float *eps_hat, *t;    /* (workers, pixels), (workers, shard) backend memory */
    float *host;           /* (pixels) */
    uint64_t *seeds;       /* (shard) backend memory */
    uint32_t *rng_samples; /* (shards * shard) backend memory */
    uint32_t *host_rng_samples;
    double *forward, *reverse; /* (workers) seconds */
} SampleState;

static Status sample_task(void *context, int worker, int64_t task) {
    Status status = STATUS_OK;
    BenchWork *work = context;
    SampleState *s = work->state;
    const Backend *backend = work->session->backend;
    float *x = s->x + task * s->pixels, *eps_hat = s->eps_hat + worker * s->pixels;
    double start = clock_seconds(), middle;
    ReverseArguments arguments = {
        .samples = s->shard,
        .pixels = s->pixels / s->shard,
        .step = &s->plan->steps[s->next_step],
        .seeds = s->seeds,
        .rng_samples = s->rng_samples + task * s->shard,
        .rng_step = (uint32_t)s->plan->t[s->next_step],
        .eps_hat = eps_hat,
        .x = x,
    };
    Denoiser *denoiser = &s->generator.denoiser;
    TRY(denoiser->eps_hat(denoiser, worker, x, s->t + worker * s->shard, eps_hat));
    middle = clock_seconds();
    TRY(backend->reverse(&arguments));
    s->forward[worker] += middle - start;
    s->reverse[worker] += clock_seconds() - middle;
done:
    return status;
}

static Status sample_step(BenchWork *work, int64_t *images) {
    SampleState *s = work->state;
    const Backend *backend = work->session->backend;
    Status status = team_run(work->session->threads, s->shards, sample_task, work);
    if (status == STATUS_OK && backend->synchronise) /* the steps are only queued */
        status = backend->synchronise();
    s->next_step++;
    *images = work->session->arguments.config.train_batch;
    return status;
}

/* x_T at the start of a chain, and the step's t for every worker. */
static Status sample_prepare(BenchWork *work) {
    Status status = STATUS_OK;
    SampleState *s = work->state;
    const Backend *backend = work->session->backend;
    int64_t pixels = s->pixels / s->shard;
    s->next_step %= s->plan->count;
    for (int64_t i = 0; s->next_step == 0 && i < s->shards; i++) {
        for (int64_t k = 0; k < s->shard; k++)
            rng_fill_normal(rng_key(work->session->arguments.config.seed, RNG_SAMPLE_START, 0,
                                    s->host_rng_samples[i * s->shard + k]),
                            s->host + k * pixels, pixels);
        TRY(backend->copy_in(s->x + i * s->pixels, s->host, (size_t)s->pixels * sizeof(float)));
    }
    for (int64_t k = 0; k < s->shard; k++)
        s->host[k] = (float)s->plan->t[s->next_step];
    for (int w = 0; w < work->session->threads; w++)
        TRY(backend->copy_in(s->t + w * s->shard, s->host, (size_t)s->shard * sizeof(float)));
done:
    return status;
}

static int sample_phases(BenchWork *work, bool reset, BenchPhase phases[BENCH_MAX_PHASES]) {
    SampleState *s = work->state;
    int threads = work->session->threads;
    phases[0] = (BenchPhase){"forward", 0};
    phases[1] = (BenchPhase){"reverse", 0};
    for (int w = 0; w < threads; w++) {
        phases[0].seconds += s->forward[w] / threads;
        phases[1].seconds += s->reverse[w] / threads;
        if (reset)
            s->forward[w] = s->reverse[w] = 0;
    }
    return 2;
}

static void sample_release(BenchWork *work) {
    SampleState *s = work->state;
    const Backend *backend = work->session->backend;
    if (!s)
        return;
    backend->release(s->x);
    backend->release(s->eps_hat);
    backend->release(s->t);
    sampler_plan_destroy(s->plan);
    generator_release(&s->generator);
    free(s->host);
    backend->release(s->seeds);
    backend->release(s->rng_samples);
    free(s->host_rng_samples);
    free(s->forward);
    free(s->reverse);
    free(s);
}

/* A network with initial parameters. */
static Status create_generator(BenchWork *work, Generator *generator) {
    Status status = STATUS_OK;
    const Config *config = &work->session->arguments.config;
    UnetOptions unet = unet_options(config, trainer_shard(config, comm_size(work->session->comm)),
                                    BENCH_IMAGE_SIZE, BENCH_IMAGE_SIZE);
    Graph *graph = NULL;
    float *parameters = NULL;
    TRY(graph_create(&graph));
    TRY(unet_build_trainable(graph, &unet));
    TRY(ALLOCATE(&parameters, graph->parameter_elements));
    network_initialise(graph, config->seed, parameters);
    TRY(generator_create(generator, work->session, BENCH_IMAGE_SIZE, BENCH_IMAGE_SIZE, parameters, false));
    work->parameter_count = graph->parameter_elements;
    work->flops_per_image = flops_per_image(graph, false);
done:
    graph_destroy(graph);
    free(parameters);
    return status;
}

/* Memory of the chains: shard i of the batch on rank i mod size. */
static Status allocate_chains(BenchWork *work) {
    Status status = STATUS_OK;
    SampleState *s = work->state;
    const Config *config = &work->session->arguments.config;
    const Backend *backend = work->session->backend;
    int rank = comm_rank(work->session->comm), size = comm_size(work->session->comm);
    int64_t threads = work->session->threads, total, chains;
    uint64_t *seeds = NULL;
    s->shard = trainer_shard(config, size);
    s->pixels = s->shard * BENCH_IMAGE_SIZE * BENCH_IMAGE_SIZE;
    total = (config->train_batch + s->shard - 1) / s->shard;
    s->shards = total > rank ? (total - rank + size - 1) / size : 0;
    TRY(backend->allocate((void **)&s->x, (size_t)((s->shards + 1) * s->pixels) * sizeof(float)));
    TRY(backend->allocate((void **)&s->eps_hat, (size_t)(threads * s->pixels) * sizeof(float)));
    TRY(backend->allocate((void **)&s->t, (size_t)(threads * s->shard) * sizeof(float)));
    TRY(ALLOCATE(&s->host, s->pixels));
    chains = s->shards * s->shard;
    TRY(backend->allocate((void **)&s->seeds, (size_t)s->shard * sizeof *s->seeds));
    TRY(backend->allocate((void **)&s->rng_samples, (size_t)chains * sizeof *s->rng_samples));
    TRY(ALLOCATE(&seeds, s->shard));
    TRY(ALLOCATE(&s->host_rng_samples, chains + 1));
    TRY(ALLOCATE(&s->forward, threads));
    TRY(ALLOCATE(&s->reverse, threads));
    for (int64_t k = 0; k < s->shard; k++)
        seeds[k] = config->seed;
    for (int64_t i = 0; i < chains; i++)
        s->host_rng_samples[i] = (uint32_t)((i / s->shard * size + rank) * s->shard + i % s->shard);
    TRY(backend->copy_in(s->seeds, seeds, (size_t)s->shard * sizeof *seeds));
    TRY(backend->copy_in(s->rng_samples, s->host_rng_samples, (size_t)chains * sizeof *s->rng_samples));
done:
    free(seeds);
    return status;
}

Status bench_sample_create(BenchWork *work) {
    Status status = STATUS_OK;
    SampleState *s = NULL;
    SamplerOptions every_step = {0};
    TRY(ALLOCATE(&s, 1));
    work->state = s;
    work->release = sample_release;
    TRY(create_generator(work, &s->generator));
    TRY(sampler_plan_create("ddpm", s->generator.schedule, &every_step, &s->plan));
    TRY(allocate_chains(work));
    work->step = sample_step;
    work->prepare = sample_prepare;
    work->phases = sample_phases;
    work->network = s->generator.network;
done:
    return status;
}

/* ---- the gradient's all-reduce, in train.bucket_mib buckets ---- */

typedef struct ReduceState {
    int64_t count, *data;
    Buckets buckets;
} ReduceState;

static Status reduce_prepare(BenchWork *work) {
    ReduceState *s = work->state;
    for (int64_t i = 0; i < s->count; i++)
        s->data[i] = comm_rank(work->session->comm) + 1;
    return STATUS_OK;
}

static Status reduce_step(BenchWork *work, int64_t *images) {
    Status status = STATUS_OK;
    ReduceState *s = work->state;
    *images = 0;
    TRY(buckets_start(&s->buckets, s->count));
    TRY(buckets_finish(&s->buckets));
done:
    return status;
}

static void reduce_release(BenchWork *work) {
    ReduceState *s = work->state;
    if (!s)
        return;
    buckets_release(&s->buckets);
    free(s->data);
    free(s);
}

/* One sum whose result is known: 1 + 2 + ... + ranks. */
static Status check_reduction(BenchWork *work) {
    Status status = STATUS_OK;
    ReduceState *s = work->state;
    int64_t ranks = comm_size(work->session->comm), expected = ranks * (ranks + 1) / 2, images;
    TRY(reduce_prepare(work));
    TRY(reduce_step(work, &images));
    for (int64_t i = 0; i < s->count; i++)
        if (s->data[i] != expected)
            FAIL(STATUS_FAILURE, "all-reduce: element %lld is %lld, expected %lld", (long long)i,
                 (long long)s->data[i], (long long)expected);
done:
    return status;
}

Status bench_allreduce_create(BenchWork *work) {
    Status status = STATUS_OK;
    const Config *config = &work->session->arguments.config;
    UnetOptions unet = unet_options(config, 1, BENCH_IMAGE_SIZE, BENCH_IMAGE_SIZE);
    Graph *graph = NULL;
    ReduceState *s = NULL;
    TRY(ALLOCATE(&s, 1));
    work->state = s;
    work->release = reduce_release;
    TRY(graph_create(&graph));
    TRY(unet_build(graph, &unet));
    s->count = work->parameter_count = graph->parameter_elements;
    TRY(ALLOCATE(&s->data, s->count));
    TRY(buckets_create(&s->buckets, work->session->comm, (BucketData){s->data, COMM_INT64, false}, s->count,
                       buckets_elements(config->train_bucket_mib, COMM_INT64)));
    work->step = reduce_step;
    work->prepare = reduce_prepare;
    work->reduced_bytes = s->count * (int64_t)sizeof(int64_t);
    TRY(check_reduction(work));
done:
    graph_destroy(graph);
    return status;
}
