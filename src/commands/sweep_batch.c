#include "commands/sweep_batch.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diffusion/ensemble.h"
#include "diffusion/rank_statistics.h"

static int64_t pixel_count(const SweepRun *run) {
    return run->shape.height * run->shape.width;
}

/* ---- one unit ---- */

static Status read_labels(const SweepWriter *writer, const float *draws, int64_t *stored) {
    Status status = STATUS_OK;
    const SweepRun *run = writer->run;
    if (run->reader)
        TRY(prior_classify(run->reader, run->shape.draws, draws, writer->labels));
    for (int64_t i = 0; run->reader && i < run->shape.draws; i++)
        stored[i] = writer->labels[i];
done:
    return status;
}

static Status measure(const SweepWriter *writer, const SweepCellData *cell, const float *draws,
                      SweepUnit *unit) {
    Status status = STATUS_OK;
    const SweepRun *run = writer->run;
    const Config *config = &run->session->arguments.config;
    const Observation *observation = cell->observation;
    EnsembleReport report;
    int32_t ranks[RANK_STATISTIC_COUNT];
    const EnsembleInput ensemble = {
        .draw_count = run->shape.draws,
        .height = run->shape.height,
        .width = run->shape.width,
        .draws = draws,
        .truth = observation->truth,
        .mask = observation->mask,
        .y = observation->y,
        .sigma_y = config->posterior_observation_noise ? config->posterior_sigma_y : 0,
        .label_count = (int)run->shape.labels,
        .labels = run->reader ? writer->labels : NULL,
        .true_label = run->reader ? (int)unit->label : -1,
        .label_weights = run->source.prior ? cell->label_weights : NULL,
    };
    const RankInput rank = {
        .draw_count = run->shape.draws,
        .pixels = pixel_count(run),
        .draws = draws,
        .truth = observation->truth,
        .mask = observation->mask,
        .seed = cell->seed, /* of the cell: the same pixels for every sampler */
    };
    TRY(read_labels(writer, draws, unit->draw_labels));
    TRY(ensemble_measure(&ensemble, &report));
    TRY(rank_statistics(&rank, ranks));
    memcpy(unit->metrics, report.values, sizeof report.values);
    for (int i = 0; i < RANK_STATISTIC_COUNT; i++)
        unit->ranks[i] = ranks[i];
done:
    return status;
}

/* The particles of the batch's `place`-th unit. */
static void describe_particles(const SweepWriter *writer, int64_t place,
                               double values[SWEEP_PARTICLE_VALUES]) {
    int64_t draws = writer->run->shape.draws;
    ParticleSummary summary = particles_summarise(writer->batch->particles + place * draws, draws);
    bool known = isfinite(summary.last_effective);
    values[0] = known ? summary.least_effective : NAN;
    values[1] = known ? summary.last_effective : NAN;
    values[2] = known ? summary.unique_ancestors : NAN;
}

/* The batch's `place`-th unit. */
static Status finish_unit(SweepWriter *writer, int64_t place) {
    Status status = STATUS_OK;
    const SweepRun *run = writer->run;
    const Config *config = &run->session->arguments.config;
    const SweepCellData *cell = writer->batch->cells[place];
    const Observation *observation = cell->observation;
    int64_t sampler = writer->batch->sampler;
    SweepUnit *unit = writer->unit;
    int64_t pixels = pixel_count(run);
    size_t image_bytes = (size_t)pixels * sizeof(float);
    const float *draws = writer->batch->samples + place * run->shape.draws * pixels;
    unit->number = cell->number * run->grid.samplers + sampler;
    SweepPlace at = sweep_place(&run->grid, unit->number);
    unit->mask_seed = (uint64_t)config_selected(&config->sweep_mask_seeds, at.mask_seed);
    unit->fraction = config->sweep_fractions.values[at.fraction];
    unit->image = config_selected(&config->sweep_images, at.image);
    unit->truth_index = run->truths.index[at.image];
    unit->label = run->truths.label[at.image];
    unit->sampler = sampler;
    TRY(measure(writer, cell, draws, unit));
    describe_particles(writer, place, unit->particles);
    ensemble_moments(draws, run->shape.draws, pixels, unit->mean, unit->spread);
    memcpy(unit->truth, observation->truth, image_bytes);
    memcpy(unit->observed, observation->y, image_bytes);
    for (int64_t i = 0; i < pixels; i++)
        unit->mask[i] = observation->mask[i] > 0;
    if (run->shape.labels > 0)
        memcpy(unit->label_weights, cell->label_weights, (size_t)run->shape.labels * sizeof(double));
    if (run->shape.keep_draws)
        memcpy(unit->draws, draws, image_bytes * (size_t)run->shape.draws);
    TRY(sweep_part_write(run->session->run.path, run->origin.grid_hash, &run->shape, unit));
done:
    return status;
}

/* ---- the thread ---- */

static void *write_batch(void *context) {
    SweepWriter *writer = context;
    writer->status = STATUS_OK;
    for (int64_t i = 0; i < writer->batch->count && writer->status == STATUS_OK; i++)
        writer->status = finish_unit(writer, i);
    if (writer->status != STATUS_OK)
        snprintf(writer->message, sizeof writer->message, "%s", status_message());
    return NULL;
}

Status sweep_writer_wait(SweepWriter *writer) {
    if (!writer->running)
        return STATUS_OK;
    (void)pthread_join(writer->thread, NULL);
    writer->running = false;
    return writer->status == STATUS_OK ? STATUS_OK : status_error(writer->status, "%s", writer->message);
}

Status sweep_writer_start(SweepWriter *writer, const SweepBatch *batch) {
    Status status = STATUS_OK;
    sigset_t all, before;
    TRY(sweep_writer_wait(writer));
    writer->batch = batch;
    /* Signals are the main thread's: a blocked write on this one must not be where they arrive. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&writer->thread, NULL, write_batch, writer);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        FAIL(STATUS_FAILURE, "cannot start the thread that writes parts: %s", strerror(error));
    writer->running = true;
done:
    return status;
}

Status sweep_writer_create(const SweepRun *run, SweepWriter *writer) {
    Status status = STATUS_OK;
    *writer = (SweepWriter){.run = run};
    TRY(sweep_unit_create(&run->shape, &writer->unit));
    TRY(ALLOCATE(&writer->labels, run->shape.draws));
done:
    return status;
}

void sweep_writer_release(SweepWriter *writer) {
    (void)sweep_writer_wait(writer); /* on the way out of a failure, which is the one to tell */
    sweep_unit_destroy(writer->unit);
    free(writer->labels);
    *writer = (SweepWriter){0};
}

Status sweep_batch_create(const SweepRun *run, SweepBatch *batch) {
    Status status = STATUS_OK;
    int64_t draws = run->group * run->shape.draws;
    *batch = (SweepBatch){0};
    TRY(ALLOCATE(&batch->cells, run->group));
    TRY(ALLOCATE(&batch->samples, draws * pixel_count(run)));
    TRY(ALLOCATE(&batch->particles, draws));
done:
    return status;
}

void sweep_batch_release(SweepBatch *batch) {
    free(batch->cells);
    free(batch->samples);
    free(batch->particles);
    *batch = (SweepBatch){0};
}
