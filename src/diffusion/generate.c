#include "diffusion/generate.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "core/team.h"

/* One worker's buffers for one block of `batch` chains. */
typedef struct Worker {
    /* backend memory */
    float *x, *eps_hat;                       /* (batch, pixels) */
    float *mask, *observed;                   /* (batch, pixels) */
    const float **mask_rows, **observed_rows; /* (batch) pointers to the rows of mask and observed */
    uint64_t *seeds;                          /* (batch) */
    uint32_t *rng_samples;                    /* (batch) */
    /* host memory, for what is copied in and out */
    float *host_x, *host_mask, *host_observed; /* (batch, pixels) */
    uint64_t *host_seeds;
    uint32_t *host_rng_samples;
} Worker;

typedef struct Generation {
    const GenerateArguments *arguments;
    const Backend *backend;
    int64_t batch, pixels;
    int64_t blocks; /* of all ranks */
    int rank, ranks;
    int64_t mine_blocks;  /* blocks rank, rank + ranks, ... */
    float *t;             /* (steps, batch), backend memory */
    Worker *workers;      /* (denoiser->workers) */
    float *mine;          /* this rank's samples in the order of its blocks, host */
    _Atomic int64_t done; /* chain steps of this rank */
} Generation;

/* ---- which rank has what ---- */

static int64_t block_count_of_rank(const Generation *g, int rank) {
    return rank < g->blocks ? (g->blocks - rank - 1) / g->ranks + 1 : 0;
}

static int64_t samples_in_block(const Generation *g, int64_t block) {
    int64_t left = g->arguments->count - block * g->batch;
    return left < g->batch ? left : g->batch;
}

static int64_t sample_count_of_rank(const Generation *g, int rank) {
    int64_t count = 0;
    for (int64_t block = rank; block < g->blocks; block += g->ranks)
        count += samples_in_block(g, block);
    return count;
}

/* ---- memory ---- */

static void release_worker(const Backend *backend, Worker *worker) {
    void *memory[] = {worker->x,         worker->eps_hat,       worker->mask,  worker->observed,
                      worker->mask_rows, worker->observed_rows, worker->seeds, worker->rng_samples};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        if (memory[i])
            backend->release(memory[i]);
    free(worker->host_x);
    free(worker->host_mask);
    free(worker->host_observed);
    free(worker->host_seeds);
    free(worker->host_rng_samples);
}

/* Puts the addresses of `rows` rows of `matrix` (rows, pixels) into backend memory. */
static Status place_rows(const Backend *backend, const float *matrix, int64_t rows, int64_t pixels,
                         const float ***placed) {
    Status status = STATUS_OK;
    const float **host = NULL;
    size_t bytes = (size_t)rows * sizeof *host;
    TRY(ALLOCATE(&host, rows));
    for (int64_t i = 0; i < rows; i++)
        host[i] = matrix + i * pixels;
    TRY(backend->allocate((void **)placed, bytes));
    TRY(backend->copy_in(*placed, host, bytes));
done:
    free(host);
    return status;
}

static Status allocate_worker(const Generation *g, Worker *worker) {
    Status status = STATUS_OK;
    const Backend *backend = g->backend;
    int64_t values = g->batch * g->pixels;
    size_t bytes = (size_t)values * sizeof(float);
    TRY(backend->allocate((void **)&worker->x, bytes));
    TRY(backend->allocate((void **)&worker->eps_hat, bytes));
    TRY(backend->allocate((void **)&worker->seeds, (size_t)g->batch * sizeof *worker->seeds));
    TRY(backend->allocate((void **)&worker->rng_samples, (size_t)g->batch * sizeof *worker->rng_samples));
    TRY(ALLOCATE(&worker->host_x, values));
    TRY(ALLOCATE(&worker->host_seeds, g->batch));
    TRY(ALLOCATE(&worker->host_rng_samples, g->batch));
    if (g->arguments->observations) {
        TRY(backend->allocate((void **)&worker->mask, bytes));
        TRY(backend->allocate((void **)&worker->observed, bytes));
        TRY(place_rows(backend, worker->mask, g->batch, g->pixels, &worker->mask_rows));
        TRY(place_rows(backend, worker->observed, g->batch, g->pixels, &worker->observed_rows));
        TRY(ALLOCATE(&worker->host_mask, values));
        TRY(ALLOCATE(&worker->host_observed, values));
    }
done:
    return status;
}

/* The timesteps of every step of the plan, repeated for every slot. */
static Status place_timesteps(Generation *g) {
    Status status = STATUS_OK;
    const SamplerPlan *plan = g->arguments->plan;
    float *host = NULL;
    size_t bytes = (size_t)(plan->count * g->batch) * sizeof *host;
    TRY(ALLOCATE(&host, plan->count * g->batch));
    for (int64_t k = 0; k < plan->count; k++)
        for (int64_t i = 0; i < g->batch; i++)
            host[k * g->batch + i] = (float)plan->t[k];
    TRY(g->backend->allocate((void **)&g->t, bytes));
    TRY(g->backend->copy_in(g->t, host, bytes));
done:
    free(host);
    return status;
}

static void release_generation(Generation *g) {
    for (int i = 0; g->workers && i < g->arguments->denoiser->workers; i++)
        release_worker(g->backend, &g->workers[i]);
    if (g->t)
        g->backend->release(g->t);
    free(g->workers);
    free(g->mine);
}

/* ---- chains ---- */

static void draw_start(const GenerateArguments *arguments, int64_t sample, int64_t pixels, float *x) {
    RngKey key = rng_key(arguments->seeds[sample], RNG_SAMPLE_START, 0, arguments->rng_samples[sample]);
    rng_fill_normal(key, x, pixels);
}

/* Slots beyond the block's samples repeat its last one, so that they hold ordinary values. */
static Status start_block(const Generation *g, Worker *worker, int64_t block) {
    Status status = STATUS_OK;
    const GenerateArguments *arguments = g->arguments;
    int64_t samples = samples_in_block(g, block);
    size_t row_bytes = (size_t)g->pixels * sizeof(float), bytes = row_bytes * (size_t)g->batch;
    for (int64_t i = 0; i < g->batch; i++) {
        int64_t sample = block * g->batch + (i < samples ? i : samples - 1);
        worker->host_seeds[i] = arguments->seeds[sample];
        worker->host_rng_samples[i] = arguments->rng_samples[sample];
        draw_start(arguments, sample, g->pixels, worker->host_x + i * g->pixels);
        if (arguments->observations) {
            memcpy(worker->host_mask + i * g->pixels, arguments->observations[sample]->mask, row_bytes);
            memcpy(worker->host_observed + i * g->pixels, arguments->observations[sample]->y, row_bytes);
        }
    }
    TRY(g->backend->copy_in(worker->x, worker->host_x, bytes));
    TRY(g->backend->copy_in(worker->seeds, worker->host_seeds, (size_t)g->batch * sizeof *worker->seeds));
    TRY(g->backend->copy_in(worker->rng_samples, worker->host_rng_samples,
                            (size_t)g->batch * sizeof *worker->rng_samples));
    if (arguments->observations) {
        TRY(g->backend->copy_in(worker->mask, worker->host_mask, bytes));
        TRY(g->backend->copy_in(worker->observed, worker->host_observed, bytes));
    }
done:
    return status;
}

/* Copies x to worker->host_x and checks it: at every step, so that the error names the first bad one. */
static Status check_finite(const Generation *g, Worker *worker, int64_t block, int64_t t) {
    Status status = STATUS_OK;
    int64_t values = samples_in_block(g, block) * g->pixels;
    TRY(g->backend->copy_out(worker->host_x, worker->x, (size_t)values * sizeof(float)));
    for (int64_t i = 0; i < values; i++)
        if (!isfinite(worker->host_x[i]))
            FAIL(STATUS_FAILURE,
                 "sampler %s: sample %lld is not finite after the step t = %lld (pixel %lld is %g)",
                 g->arguments->plan->sampler->name, (long long)(block * g->batch + i / g->pixels),
                 (long long)t, (long long)(i % g->pixels), worker->host_x[i]);
done:
    return status;
}

static Status run_step(const Generation *g, int worker_index, int64_t block, int64_t k) {
    Status status = STATUS_OK;
    const SamplerPlan *plan = g->arguments->plan;
    Denoiser *denoiser = g->arguments->denoiser;
    Worker *worker = &g->workers[worker_index];
    ReverseArguments reverse = {
        .samples = g->batch,
        .pixels = g->pixels,
        .step = &plan->steps[k],
        .seeds = worker->seeds,
        .rng_samples = worker->rng_samples,
        .rng_step = plan->rng_steps[k],
        .eps_hat = worker->eps_hat,
        .mask = worker->mask_rows,
        .observed = worker->observed_rows,
        .x = worker->x,
    };
    TRY(denoiser->eps_hat(denoiser, worker_index, worker->x, g->t + k * g->batch, worker->eps_hat));
    TRY(g->backend->reverse(&reverse));
    TRY(check_finite(g, worker, block, plan->t[k]));
done:
    return status;
}

static void count_step(Generation *g, int worker_index) {
    const GenerateArguments *arguments = g->arguments;
    int64_t done = atomic_fetch_add(&g->done, 1) + 1;
    if (worker_index == 0 && arguments->progress) /* worker 0 is the calling thread */
        arguments->progress(arguments->progress_context, done, g->mine_blocks * arguments->plan->count);
}

static Status run_block(void *context, int worker_index, int64_t mine_block) {
    Status status = STATUS_OK;
    Generation *g = context;
    const GenerateArguments *arguments = g->arguments;
    Worker *worker = &g->workers[worker_index];
    int64_t block = g->rank + mine_block * g->ranks;
    TRY(start_block(g, worker, block));
    for (int64_t k = 0; k < arguments->plan->count; k++) {
        if (arguments->stop && *arguments->stop)
            FAIL(STATUS_INTERRUPTED, "interrupted while sampling");
        TRY(run_step(g, worker_index, block, k));
        count_step(g, worker_index);
    }
    memcpy(g->mine + mine_block * g->batch * g->pixels, worker->host_x,
           (size_t)(samples_in_block(g, block) * g->pixels) * sizeof(float));
done:
    return status;
}

/* ---- the whole ---- */

static Status check_arguments(const GenerateArguments *arguments) {
    const Denoiser *denoiser = arguments->denoiser;
    const Sampler *sampler = arguments->plan->sampler;
    if (arguments->count < 1)
        return status_error(STATUS_BAD_INPUT, "sampler %s: expected 1 sample or more, found %lld",
                            sampler->name, (long long)arguments->count);
    if (sampler->posterior && !arguments->observations)
        return status_error(STATUS_BAD_INPUT,
                            "sampler %s draws from a posterior: expected an observation, found none",
                            sampler->name);
    if (!sampler->posterior && arguments->observations)
        return status_error(STATUS_BAD_INPUT, "sampler %s takes no observation, and one was given",
                            sampler->name);
    for (int64_t i = 0; arguments->observations && i < arguments->count; i++) {
        const Observation *observation = arguments->observations[i];
        if (observation->height != denoiser->height || observation->width != denoiser->width)
            return status_error(
                STATUS_BAD_INPUT,
                "sampler %s: the network's images are %lld x %lld, observation %lld is %lld x %lld",
                sampler->name, (long long)denoiser->height, (long long)denoiser->width, (long long)i,
                (long long)observation->height, (long long)observation->width);
    }
    return STATUS_OK;
}

static Status generate_mine(Generation *g) {
    Status status = STATUS_OK;
    const GenerateArguments *arguments = g->arguments;
    TRY(check_arguments(arguments));
    TRY(ALLOCATE(&g->workers, arguments->denoiser->workers));
    TRY(ALLOCATE(&g->mine, sample_count_of_rank(g, g->rank) * g->pixels));
    TRY(place_timesteps(g));
    for (int i = 0; i < arguments->denoiser->workers; i++)
        TRY(allocate_worker(g, &g->workers[i]));
    TRY(team_run(arguments->denoiser->workers, g->mine_blocks, run_block, g));
    if (arguments->progress)
        arguments->progress(arguments->progress_context, g->done, g->mine_blocks * arguments->plan->count);
done:
    return status;
}

/* From rank by rank (as gathered) to the order of the chains. */
static void order_samples(const Generation *g, const float *gathered) {
    for (int rank = 0; rank < g->ranks; rank++)
        for (int64_t block = rank; block < g->blocks; block += g->ranks) {
            int64_t values = samples_in_block(g, block) * g->pixels;
            memcpy(g->arguments->samples + block * g->batch * g->pixels, gathered,
                   (size_t)values * sizeof *gathered);
            gathered += values;
        }
}

Status generate_samples(const GenerateArguments *arguments) {
    Status status = STATUS_OK;
    float *gathered = NULL;
    const Denoiser *denoiser = arguments->denoiser;
    Generation g = {
        .arguments = arguments,
        .backend = denoiser->backend,
        .batch = denoiser->batch,
        .pixels = denoiser->height * denoiser->width,
        .blocks = (arguments->count + denoiser->batch - 1) / denoiser->batch,
        .rank = comm_rank(arguments->comm),
        .ranks = comm_size(arguments->comm),
    };
    size_t all_bytes = (size_t)(arguments->count * g.pixels) * sizeof(float);
    g.mine_blocks = block_count_of_rank(&g, g.rank);
    Status mine = generate_mine(&g);
    if (mine == STATUS_OK && g.rank == 0)
        mine = ALLOCATE(&gathered, arguments->count * g.pixels);
    TRY(comm_agree(arguments->comm, mine));
    TRY(comm_gather(arguments->comm, g.mine,
                    (size_t)(sample_count_of_rank(&g, g.rank) * g.pixels) * sizeof(float), gathered,
                    g.rank == 0 ? all_bytes : 0));
    if (g.rank == 0) {
        order_samples(&g, gathered);
        for (int64_t i = 0; arguments->x_start && i < arguments->count; i++)
            draw_start(arguments, i, g.pixels, arguments->x_start + i * g.pixels);
    }
done:
    release_generation(&g);
    free(gathered);
    return status;
}
