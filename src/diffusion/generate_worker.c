#include "diffusion/generate_worker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

/* ---- memory ---- */

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

static Status create_observations(const Generation *g, Worker *worker) {
    Status status = STATUS_OK;
    const Backend *backend = g->backend;
    const int64_t values = g->batch * g->pixels;
    const size_t bytes = (size_t)values * sizeof(float);
    TRY(backend->allocate((void **)&worker->mask, bytes));
    TRY(backend->allocate((void **)&worker->observed, bytes));
    TRY(place_rows(backend, worker->mask, g->batch, g->pixels, &worker->mask_rows));
    TRY(place_rows(backend, worker->observed, g->batch, g->pixels, &worker->observed_rows));
    TRY(ALLOCATE(&worker->host_mask, values));
    TRY(ALLOCATE(&worker->host_observed, values));
done:
    return status;
}

static Status create_particles(const Generation *g, Worker *worker) {
    Status status = STATUS_OK;
    const int64_t values = g->slots * g->pixels;
    TRY(ALLOCATE(&worker->host_before, values));
    TRY(ALLOCATE(&worker->host_eps_hat, values));
    TRY(ALLOCATE(&worker->host_residual, values));
    TRY(ALLOCATE(&worker->host_product, values));
    TRY(ALLOCATE(&worker->log_weights, g->slots));
    TRY(ALLOCATE(&worker->log_twists, g->slots));
    TRY(ALLOCATE(&worker->weights, g->slots));
    TRY(ALLOCATE(&worker->ancestors, g->slots));
    TRY(ALLOCATE(&worker->chosen, g->slots));
done:
    return status;
}

Status worker_create(const Generation *g, Worker *worker) {
    Status status = STATUS_OK;
    const Backend *backend = g->backend;
    const Sampler *sampler = g->arguments->plan->sampler;
    const int64_t values = g->slots * g->pixels;
    const size_t bytes = (size_t)values * sizeof(float);
    TRY(backend->allocate((void **)&worker->x, bytes));
    TRY(backend->allocate((void **)&worker->eps_hat, bytes));
    TRY(backend->allocate((void **)&worker->seeds, (size_t)g->slots * sizeof *worker->seeds));
    TRY(backend->allocate((void **)&worker->rng_samples, (size_t)g->slots * sizeof *worker->rng_samples));
    TRY(ALLOCATE(&worker->host_x, values));
    TRY(ALLOCATE(&worker->host_seeds, g->slots));
    TRY(ALLOCATE(&worker->host_rng_samples, g->slots));
    if (g->arguments->observations)
        TRY(create_observations(g, worker));
    if (sampler->jacobian) {
        TRY(backend->allocate((void **)&worker->residual, bytes));
        TRY(backend->allocate((void **)&worker->product, bytes));
    }
    if (sampler->particles)
        TRY(create_particles(g, worker));
done:
    return status;
}

void worker_release(const Generation *g, Worker *worker) {
    void *memory[] = {worker->x,     worker->eps_hat,    worker->residual,  worker->product,
                      worker->mask,  worker->observed,   worker->mask_rows, worker->observed_rows,
                      worker->seeds, worker->rng_samples};
    void *host[] = {worker->host_x,       worker->host_mask,     worker->host_observed,
                    worker->host_eps_hat, worker->host_residual, worker->host_product,
                    worker->host_before,  worker->host_seeds,    worker->host_rng_samples,
                    worker->log_weights,  worker->log_twists,    worker->weights,
                    worker->ancestors,    worker->chosen};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        if (memory[i])
            g->backend->release(memory[i]);
    for (size_t i = 0; i < sizeof host / sizeof host[0]; i++)
        free(host[i]);
}

/* ---- start ---- */

void draw_start(uint64_t seed, uint32_t rng_sample, int64_t pixels, float *x) {
    rng_fill_normal(rng_key(seed, RNG_SAMPLE_START, 0, rng_sample), x, pixels);
}

void worker_observe(const Generation *g, Worker *worker, int64_t slot, const Observation *observation) {
    const size_t bytes = (size_t)g->pixels * sizeof(float);
    memcpy(worker->host_mask + slot * g->pixels, observation->mask, bytes);
    memcpy(worker->host_observed + slot * g->pixels, observation->y, bytes);
}

Status worker_place(const Generation *g, Worker *worker) {
    Status status = STATUS_OK;
    const Backend *backend = g->backend;
    const size_t row_bytes = (size_t)g->pixels * sizeof(float), slots = (size_t)g->slots;
    const size_t block_bytes = row_bytes * (size_t)g->batch;
    TRY(backend->copy_in(worker->x, worker->host_x, row_bytes * slots));
    TRY(backend->copy_in(worker->seeds, worker->host_seeds, slots * sizeof *worker->seeds));
    TRY(backend->copy_in(worker->rng_samples, worker->host_rng_samples, slots * sizeof *worker->rng_samples));
    if (g->arguments->observations) {
        TRY(backend->copy_in(worker->mask, worker->host_mask, block_bytes));
        TRY(backend->copy_in(worker->observed, worker->host_observed, block_bytes));
    }
done:
    return status;
}

/* ---- steps ---- */

bool generation_guides(const Generation *g, int64_t k) {
    return g->arguments->plan->sampler->jacobian && g->arguments->plan->steps[k].guidance != 0;
}

Status worker_evaluate(const Generation *g, int index, int64_t block, int64_t k) {
    Status status = STATUS_OK;
    const SamplerPlan *plan = g->arguments->plan;
    Denoiser *denoiser = g->arguments->denoiser;
    Worker *worker = &g->workers[index];
    const int64_t at = block * g->batch * g->pixels;
    TRY(denoiser->eps_hat(denoiser, index, worker->x + at, g->t + plan->t[k] * g->batch,
                          worker->eps_hat + at));
    if (generation_guides(g, k)) {
        ResidualArguments residual = {
            .samples = g->batch,
            .pixels = g->pixels,
            .step = &plan->steps[k],
            .x = worker->x + at,
            .eps_hat = worker->eps_hat + at,
            .mask = worker->mask_rows,
            .observed = worker->observed_rows,
            .residual = worker->residual + at,
        };
        TRY(g->backend->residual(&residual));
        TRY(denoiser->vjp(denoiser, index, worker->residual + at, worker->product + at));
    }
done:
    return status;
}

Status worker_reverse(const Generation *g, int index, int64_t block, int64_t k) {
    const SamplerPlan *plan = g->arguments->plan;
    Worker *worker = &g->workers[index];
    const int64_t at = block * g->batch * g->pixels;
    const bool guides = generation_guides(g, k);
    ReverseArguments reverse = {
        .samples = g->batch,
        .pixels = g->pixels,
        .step = &plan->steps[k],
        .seeds = worker->seeds + block * g->batch,
        .rng_samples = worker->rng_samples + block * g->batch,
        .rng_step = plan->rng_steps[k],
        .eps_hat = worker->eps_hat + at,
        .mask = worker->mask_rows,
        .observed = worker->observed_rows,
        .x = worker->x + at,
        .residual = guides ? worker->residual + at : NULL,
        .product = guides ? worker->product + at : NULL,
    };
    return g->backend->reverse(&reverse);
}

Status worker_read(const Generation *g, Worker *worker, int64_t count, int64_t first, int64_t k) {
    Status status = STATUS_OK;
    const SamplerPlan *plan = g->arguments->plan;
    const int64_t values = count * g->pixels;
    TRY(g->backend->copy_out(worker->host_x, worker->x, (size_t)values * sizeof(float)));
    for (int64_t i = 0; i < values; i++)
        if (!isfinite(worker->host_x[i]))
            FAIL(STATUS_FAILURE,
                 "sampler %s: %s %lld is not finite after the step t = %lld (pixel %lld is %g)",
                 plan->sampler->name, plan->sampler->particles ? "particle" : "sample",
                 (long long)(first + i / g->pixels), (long long)plan->t[k], (long long)(i % g->pixels),
                 worker->host_x[i]);
done:
    return status;
}

Status generation_check_stop(const Generation *g) {
    const volatile sig_atomic_t *stop = g->arguments->stop;
    return stop && *stop ? status_error(STATUS_INTERRUPTED, "interrupted while sampling") : STATUS_OK;
}

void generation_count_step(Generation *g, int worker) {
    const GenerateArguments *arguments = g->arguments;
    const int64_t done = atomic_fetch_add(&g->done, 1) + 1;
    if (worker == 0 && arguments->progress) /* worker 0 is the calling thread */
        arguments->progress(arguments->progress_context, done,
                            g->mine_units * (g->slots / g->batch) * arguments->plan->count);
}
