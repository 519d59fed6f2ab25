/* One run of weighted particles; the algorithm is that of samplers/tds.c. Particle j of run r has the RNG
 * sample number r K + j; draw i of a seed is draw i mod D of run i / D, so it depends on (seed, i, D, K)
 * alone. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "diffusion/generate_worker.h"

typedef struct Run {
    Generation *g;
    int index;
    Worker *worker;
    const Unit *unit;
    int64_t particles; /* K */
    uint64_t seed;
    uint32_t number; /* r */
    const float *mask, *y;
    ParticleStatistics statistics;
} Run;

/* Slots beyond the particles repeat the last one, so that they hold ordinary values. */
static Status start(Run *run) {
    const Generation *g = run->g;
    Worker *worker = run->worker;
    for (int64_t i = 0; i < g->slots; i++) {
        uint32_t particle = (uint32_t)(i < run->particles ? i : run->particles - 1);
        worker->host_seeds[i] = run->seed;
        worker->host_rng_samples[i] = run->number * (uint32_t)run->particles + particle;
        draw_start(run->seed, worker->host_rng_samples[i], g->pixels, worker->host_x + i * g->pixels);
        worker->log_weights[i] = worker->log_twists[i] = 0;
        worker->ancestors[i] = particle;
    }
    for (int64_t i = 0; i < g->batch; i++)
        worker_observe(g, worker, i, g->arguments->observations[run->unit->first]);
    return worker_place(g, worker);
}

static int64_t blocks_of(const Run *run) {
    return run->g->slots / run->g->batch;
}

/* The denoiser at x_t of every particle, and its results on the host. */
static Status evaluate(Run *run, int64_t k) {
    Status status = STATUS_OK;
    const Generation *g = run->g;
    Worker *worker = run->worker;
    const size_t bytes = (size_t)(run->particles * g->pixels) * sizeof(float);
    for (int64_t block = 0; block < blocks_of(run); block++)
        TRY(worker_evaluate(g, run->index, block, k));
    TRY(g->backend->copy_out(worker->host_eps_hat, worker->eps_hat, bytes));
    if (generation_guides(g, k)) {
        TRY(g->backend->copy_out(worker->host_residual, worker->residual, bytes));
        TRY(g->backend->copy_out(worker->host_product, worker->product, bytes));
    }
done:
    return status;
}

/* w <- w p~(new state) / p~(old state). */
static void change_twist(Worker *worker, int64_t particle, double log_twist) {
    worker->log_weights[particle] += log_twist - worker->log_twists[particle];
    worker->log_twists[particle] = log_twist;
}

/* Fills worker->weights. */
static Status measure_weights(Run *run, int64_t t, double *effective) {
    Worker *worker = run->worker;
    particles_normalise(worker->log_weights, run->particles, worker->weights);
    *effective = particles_effective(worker->weights, run->particles);
    if (!isfinite(*effective))
        return status_error(STATUS_FAILURE,
                            "sampler %s: the weights of the particles before the step t = %lld (-1: result) "
                            "are not finite",
                            run->g->arguments->plan->sampler->name, (long long)t);
    run->statistics.least_effective = fmin(run->statistics.least_effective, *effective);
    return STATUS_OK;
}

/* Uniform in (0, 1). Elements after the first shuffle the draws. */
static double uniform_of(const Run *run, int64_t step) {
    RngKey key = rng_key(run->seed, RNG_RESAMPLING, (uint32_t)step, run->number);
    return ((double)rng_integer(key, 0) + 0.5) / 4294967296.0;
}

/* Rows chosen[0 .. count) of an array of `count` rows, in place. chosen rises, so every row that is read is
 * still unchanged: rows taken from further on are filled from the start, those from further back from the
 * end.
 */
static void choose_rows(void *array, size_t row_bytes, const int64_t *chosen, int64_t count) {
    char *rows = array;
    for (int64_t i = 0; i < count; i++)
        if (chosen[i] > i)
            memcpy(rows + (size_t)i * row_bytes, rows + (size_t)chosen[i] * row_bytes, row_bytes);
    for (int64_t i = count - 1; i >= 0; i--)
        if (chosen[i] < i)
            memcpy(rows + (size_t)i * row_bytes, rows + (size_t)chosen[i] * row_bytes, row_bytes);
}

/* The same for a tensor of the backend whose rows are on the host too. */
static Status choose_tensor(const Run *run, float *host, float *tensor) {
    const size_t row_bytes = (size_t)run->g->pixels * sizeof *host;
    choose_rows(host, row_bytes, run->worker->chosen, run->particles);
    return run->g->backend->copy_in(tensor, host, (size_t)run->particles * row_bytes);
}

/* Everything that belongs to a particle but its random numbers. */
static Status resample(Run *run, int64_t k) {
    Status status = STATUS_OK;
    const Generation *g = run->g;
    Worker *worker = run->worker;
    particles_resample(worker->weights, run->particles, uniform_of(run, g->arguments->plan->t[k]),
                       run->particles, worker->chosen);
    choose_rows(worker->log_twists, sizeof *worker->log_twists, worker->chosen, run->particles);
    choose_rows(worker->ancestors, sizeof *worker->ancestors, worker->chosen, run->particles);
    memset(worker->log_weights, 0, (size_t)run->particles * sizeof *worker->log_weights);
    TRY(choose_tensor(run, worker->host_x, worker->x));
    TRY(choose_tensor(run, worker->host_eps_hat, worker->eps_hat));
    if (generation_guides(g, k)) {
        TRY(choose_tensor(run, worker->host_residual, worker->residual));
        TRY(choose_tensor(run, worker->host_product, worker->product));
    }
done:
    return status;
}

/* Weights of the states x_t, given what the denoiser says of them; resampled if they are too uneven. */
static Status weigh_states(Run *run, int64_t k) {
    Status status = STATUS_OK;
    const SamplerPlan *plan = run->g->arguments->plan;
    Worker *worker = run->worker;
    const int64_t pixels = run->g->pixels;
    double effective;
    for (int64_t j = 0; j < run->particles; j++)
        change_twist(worker, j,
                     particles_log_twist(&plan->steps[k], worker->host_x + j * pixels,
                                         worker->host_eps_hat + j * pixels, run->mask, run->y, pixels,
                                         plan->twist_variances[k]));
    TRY(measure_weights(run, plan->t[k], &effective));
    if (effective < (double)run->particles / 2)
        TRY(resample(run, k));
done:
    return status;
}

/* w <- w p(x_{t-1} | x_t) / q(x_{t-1} | x_t, y). */
static void weigh_proposals(Run *run, int64_t k) {
    Worker *worker = run->worker;
    const int64_t pixels = run->g->pixels;
    for (int64_t j = 0; j < run->particles; j++) {
        const int64_t at = j * pixels;
        worker->log_weights[j] += particles_log_ratio(
            &run->g->arguments->plan->steps[k], worker->host_before + at, worker->host_eps_hat + at,
            worker->host_residual + at, worker->host_product + at, worker->host_x + at, pixels);
    }
}

static Status run_step(Run *run, int64_t k) {
    Status status = STATUS_OK;
    Generation *g = run->g;
    Worker *worker = run->worker;
    TRY(evaluate(run, k));
    TRY(weigh_states(run, k));
    memcpy(worker->host_before, worker->host_x, (size_t)(run->particles * g->pixels) * sizeof(float));
    for (int64_t block = 0; block < blocks_of(run); block++) {
        TRY(worker_reverse(g, run->index, block, k));
        generation_count_step(g, run->index);
    }
    TRY(worker_read(g, worker, run->particles, run->number * run->particles, k));
    if (generation_guides(g, k))
        weigh_proposals(run, k);
done:
    return status;
}

/* Weights of the results. */
static Status weigh_results(Run *run) {
    Status status = STATUS_OK;
    const SamplerPlan *plan = run->g->arguments->plan;
    Worker *worker = run->worker;
    const int64_t pixels = run->g->pixels;
    for (int64_t j = 0; j < run->particles; j++)
        change_twist(worker, j,
                     particles_log_likelihood(worker->host_x + j * pixels, run->mask, run->y, pixels,
                                              plan->twist_variances[plan->count]));
    TRY(measure_weights(run, -1, &run->statistics.last_effective));
done:
    return status;
}

/* Ancestors rise with the particle: resampling keeps their order. */
static int64_t count_ancestors(const Run *run) {
    int64_t count = 1;
    for (int64_t j = 1; j < run->particles; j++)
        count += run->worker->ancestors[j] != run->worker->ancestors[j - 1];
    return count;
}

/* Systematic draws stand in the order of the particles, equal ones side by side: a permutation makes the
 * first few of them as good as any. */
static void shuffle(const Run *run, int64_t step, int64_t *chosen, int64_t count) {
    RngKey key = rng_key(run->seed, RNG_RESAMPLING, (uint32_t)step, run->number);
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t other = rng_bounded(key, (uint32_t)i, (uint32_t)i + 1), kept = chosen[i];
        chosen[i] = chosen[other];
        chosen[other] = kept;
    }
}

/* All D draws are made, whichever of them this unit asks for. */
static void take_draws(Run *run, float *samples, ParticleStatistics *statistics) {
    const Generation *g = run->g;
    const SamplerPlan *plan = g->arguments->plan;
    Worker *worker = run->worker;
    const int64_t draws = plan->options.draws_per_run, step = plan->t[0] + 1; /* T: after all the t */
    const int64_t first = g->arguments->rng_samples[run->unit->first] % draws;
    run->statistics.unique_ancestors = count_ancestors(run);
    particles_resample(worker->weights, run->particles, uniform_of(run, step), draws, worker->chosen);
    shuffle(run, step, worker->chosen, draws);
    for (int64_t i = 0; i < run->unit->count; i++) {
        const int64_t particle = worker->chosen[first + i];
        memcpy(samples + i * g->pixels, worker->host_x + particle * g->pixels,
               (size_t)g->pixels * sizeof *samples);
        statistics[i] = run->statistics;
        statistics[i].ancestor =
            run->number * (uint32_t)run->particles + (uint32_t)worker->ancestors[particle];
    }
}

Status particle_run(Generation *g, int index, const Unit *unit, float *samples,
                    ParticleStatistics *statistics) {
    Status status = STATUS_OK;
    const GenerateArguments *arguments = g->arguments;
    const SamplerOptions *options = &arguments->plan->options;
    Run run = {
        .g = g,
        .index = index,
        .worker = &g->workers[index],
        .unit = unit,
        .particles = options->particles,
        .seed = arguments->seeds[unit->first],
        .number = arguments->rng_samples[unit->first] / (uint32_t)options->draws_per_run,
        .mask = arguments->observations[unit->first]->mask,
        .y = arguments->observations[unit->first]->y,
        .statistics.least_effective = (double)options->particles,
    };
    TRY(start(&run));
    for (int64_t k = 0; k < arguments->plan->count; k++) {
        TRY(generation_check_stop(g));
        TRY(run_step(&run, k));
    }
    TRY(weigh_results(&run));
    take_draws(&run, samples, statistics);
done:
    return status;
}
