/* The share of one rank: observations, draws, and handing them on. */
#include <math.h>
#include <stdlib.h>

#include "commands/sweep_batch.h"
#include "core/clock.h"

/* A few consecutive cells, observed once for all samplers. */
typedef struct Group {
    int64_t count;
    SweepCellData *cells; /* (run->group) */
} Group;

typedef struct Worker {
    SweepRun *run;
    Comm *alone;
    ExactDraws exact; /* for label weights */
    /* Two of each: the writer may still be at the one before. A group begins only after the batches of the
     * last but one were written, since a batch waits for the one before it. */
    Group groups[2];
    SweepBatch batches[2];
    int64_t groups_begun, batches_begun;
    SweepWriter writer;
    const Observation **observations; /* (group * draws) */
    uint64_t *seeds;                  /* (group * draws) */
    uint32_t *rng_samples;            /* (group * draws) */
} Worker;

/* ---- memory ---- */

static void clear_group(Group *group) {
    for (int64_t i = 0; i < group->count; i++) {
        observation_destroy(group->cells[i].observation);
        free(group->cells[i].label_weights);
        group->cells[i] = (SweepCellData){0};
    }
    group->count = 0;
}

static void release_worker(Worker *worker) {
    sweep_writer_release(&worker->writer);
    for (int i = 0; i < 2; i++) {
        clear_group(&worker->groups[i]);
        free(worker->groups[i].cells);
        sweep_batch_release(&worker->batches[i]);
    }
    exact_draws_release(&worker->exact);
    comm_destroy(worker->alone);
    free(worker->observations);
    free(worker->seeds);
    free(worker->rng_samples);
}

static Status create_worker(SweepRun *run, Worker *worker) {
    Status status = STATUS_OK;
    int64_t draws = run->group * run->shape.draws;
    *worker = (Worker){.run = run};
    TRY(comm_create_self(&worker->alone));
    for (int i = 0; i < 2; i++) {
        TRY(ALLOCATE(&worker->groups[i].cells, run->group));
        TRY(sweep_batch_create(run, &worker->batches[i]));
    }
    TRY(sweep_writer_create(run, &worker->writer));
    TRY(ALLOCATE(&worker->observations, draws));
    TRY(ALLOCATE(&worker->seeds, draws));
    TRY(ALLOCATE(&worker->rng_samples, draws));
done:
    return status;
}

/* ---- cells ---- */

static Status observe(const SweepRun *run, const SweepPlace *place, Observation **observation) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    float *image = NULL;
    uint64_t mask_seed = (uint64_t)config_selected(&config->sweep_mask_seeds, place->mask_seed);
    ObservationSettings settings = {
        .fraction = config->sweep_fractions.values[place->fraction],
        .mask_seed = mask_seed,
        .sigma_y = config->posterior_sigma_y,
        .observation_noise = config->posterior_observation_noise,
        .seed = unit_noise_seed(config->seed, mask_seed),
    };
    TRY(ALLOCATE(&image, run->shape.height * run->shape.width));
    TRY(truths_image(&run->truths, place->image, image));
    TRY(observation_create_from(&settings, image, run->shape.height, run->shape.width,
                                run->truths.index[place->image], observation));
done:
    free(image);
    return status;
}

static Status weigh_labels(Worker *worker, SweepCellData *cell) {
    Status status = STATUS_OK;
    const SweepRun *run = worker->run;
    TRY(ALLOCATE(&cell->label_weights, run->shape.labels));
    for (int64_t i = 0; i < run->shape.labels; i++)
        cell->label_weights[i] = NAN;
    if (!run->source.prior)
        goto done;
    TRY(exact_draws_observe(&worker->exact, run->source.prior,
                            run->session->arguments.config.posterior_sigma_y, cell->observation));
    exact_posterior_label_weights(worker->exact.posterior, cell->label_weights);
done:
    return status;
}

static Status add_cell(Worker *worker, Group *group, int64_t number) {
    Status status = STATUS_OK;
    const SweepRun *run = worker->run;
    const Config *config = &run->session->arguments.config;
    SweepPlace place = sweep_place(&run->grid, number * run->grid.samplers);
    SweepCellData *cell = &group->cells[group->count++];
    cell->number = number;
    TRY(observe(run, &place, &cell->observation));
    cell->seed =
        unit_draw_seed(config->seed, (uint64_t)config_selected(&config->sweep_mask_seeds, place.mask_seed),
                       cell->observation->observed_count, run->truths.index[place.image]);
    TRY(weigh_labels(worker, cell));
done:
    return status;
}

/* ---- draws ---- */

static void watch(void *context, int64_t done, int64_t total) {
    sweep_progress_update(context, total > 0 ? (double)done / (double)total : 0);
}

/* The draws of the batch's cells by its sampler. */
static Status draw(Worker *worker, SweepBatch *batch) {
    Status status = STATUS_OK;
    SweepRun *run = worker->run;
    int64_t draws = run->shape.draws;
    for (int64_t i = 0; i < batch->count * draws; i++) {
        const SweepCellData *cell = batch->cells[i / draws];
        worker->observations[i] = cell->observation;
        worker->seeds[i] = cell->seed;
        worker->rng_samples[i] = (uint32_t)(i % draws);
        batch->particles[i] = (ParticleStatistics){.least_effective = NAN, .last_effective = NAN};
    }
    GeneratorRequest request = {
        .sampler = run->grid.sampler[batch->sampler].name,
        .options = sampler_options(&run->session->arguments.config),
        .count = batch->count * draws,
        .observations = worker->observations,
        .seeds = worker->seeds,
        .rng_samples = worker->rng_samples,
        .comm = worker->alone,
        .progress = watch,
        .progress_context = run,
        .stop = &run->progress.stop,
        .quiet = true,
        .samples = batch->samples,
        .particles = batch->particles,
    };
    run->progress.call_cost = (double)batch->count * run->grid.sampler[batch->sampler].cost;
    TRY(generator_draw(&run->generator, &request));
    TRY(sweep_writer_start(&worker->writer, batch));
    run->progress.cost_done += run->progress.call_cost;
    run->progress.call_cost = 0;
    sweep_progress_update(run, 0);
done:
    return status;
}

/* Units mine[0..count) of the cells of one group. */
static Status run_group(Worker *worker, const int64_t *mine, int64_t count) {
    Status status = STATUS_OK;
    SweepRun *run = worker->run;
    int64_t samplers = run->grid.samplers;
    Group *group = &worker->groups[worker->groups_begun++ % 2];
    clear_group(group);
    for (int64_t i = 0; i < count; i++)
        if (i == 0 || mine[i] / samplers != mine[i - 1] / samplers)
            TRY(add_cell(worker, group, mine[i] / samplers));
    for (int64_t sampler = 0; sampler < samplers && !run->progress.stop; sampler++) {
        SweepBatch *batch = &worker->batches[worker->batches_begun % 2];
        int64_t cell = 0;
        batch->sampler = sampler;
        batch->count = 0;
        for (int64_t i = 0; i < count; i++) {
            while (group->cells[cell].number != mine[i] / samplers)
                cell++;
            if (mine[i] % samplers == sampler)
                batch->cells[batch->count++] = &group->cells[cell];
        }
        if (batch->count == 0)
            continue;
        worker->batches_begun++;
        TRY(draw(worker, batch));
    }
done:
    return status;
}

/* How many of the units from mine[0] on lie in the first run->group cells. */
static int64_t group_units(const SweepRun *run, const int64_t *mine, int64_t count) {
    int64_t cells = 0;
    for (int64_t i = 0; i < count; i++) {
        if (i == 0 || mine[i] / run->grid.samplers != mine[i - 1] / run->grid.samplers)
            cells++;
        if (cells > run->group)
            return i;
    }
    return count;
}

Status sweep_work(SweepRun *run) {
    Status status = STATUS_OK;
    Worker worker = {0};
    double start = clock_seconds();
    const int64_t *mine = run->unfinished + run->first;
    TRY(create_worker(run, &worker));
    sweep_progress_update(run, 0);
    for (int64_t i = 0, count; i < run->count && !run->progress.stop; i += count) {
        count = group_units(run, mine + i, run->count - i);
        status = run_group(&worker, mine + i, count);
        if (status == STATUS_INTERRUPTED) /* by progress.stop: what it means, the ranks find out together */
            status = STATUS_OK;
        TRY(status);
    }
    TRY(sweep_writer_wait(&worker.writer));
done:
    run->seconds = clock_seconds() - start;
    release_worker(&worker);
    return status;
}
