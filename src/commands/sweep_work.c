/* The units of one rank: observations, draws, measures, parts. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands/sweep.h"
#include "core/clock.h"
#include "core/rng.h"
#include "diffusion/ensemble.h"
#include "diffusion/rank_statistics.h"

/* What the samplers of a cell share. */
typedef struct Cell {
    int64_t number; /* unit / samplers */
    Observation *observation;
    uint64_t seed;         /* of the draws */
    double *label_weights; /* (labels) exact; NaN where they are not known */
} Cell;

typedef struct Group {
    SweepRun *run;
    Comm *alone;
    ExactDraws exact; /* for label weights */
    int64_t cell_count;
    Cell *cells;                      /* (run->group) */
    const Observation **observations; /* (group * draws) */
    uint64_t *seeds;                  /* (group * draws) */
    uint32_t *rng_samples;            /* (group * draws) */
    float *samples;                   /* (group, draws, height, width) */
    ParticleStatistics *particles;    /* (group, draws) of samplers of particles */
    int *labels;                      /* (draws) */
    SweepUnit *unit;
} Group;

static int64_t pixel_count(const SweepRun *run) {
    return run->shape.height * run->shape.width;
}

/* ---- memory ---- */

static void release_cells(Group *group) {
    for (int64_t i = 0; i < group->cell_count; i++) {
        observation_destroy(group->cells[i].observation);
        free(group->cells[i].label_weights);
        group->cells[i] = (Cell){0};
    }
    group->cell_count = 0;
}

static void release_group(Group *group) {
    release_cells(group);
    exact_draws_release(&group->exact);
    comm_destroy(group->alone);
    free(group->cells);
    free(group->observations);
    free(group->seeds);
    free(group->rng_samples);
    free(group->samples);
    free(group->particles);
    free(group->labels);
    sweep_unit_destroy(group->unit);
}

static Status create_group(SweepRun *run, Group *group) {
    Status status = STATUS_OK;
    int64_t draws = run->group * run->shape.draws;
    *group = (Group){.run = run};
    TRY(comm_create_self(&group->alone));
    TRY(ALLOCATE(&group->cells, run->group));
    TRY(ALLOCATE(&group->observations, draws));
    TRY(ALLOCATE(&group->seeds, draws));
    TRY(ALLOCATE(&group->rng_samples, draws));
    TRY(ALLOCATE(&group->samples, draws * pixel_count(run)));
    TRY(ALLOCATE(&group->particles, draws));
    TRY(ALLOCATE(&group->labels, run->shape.draws));
    TRY(sweep_unit_create(&run->shape, &group->unit));
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
    TRY(ALLOCATE(&image, pixel_count(run)));
    TRY(truths_image(&run->truths, place->image, image));
    TRY(observation_create_from(&settings, image, run->shape.height, run->shape.width,
                                run->truths.index[place->image], observation));
done:
    free(image);
    return status;
}

static Status weigh_labels(Group *group, Cell *cell) {
    Status status = STATUS_OK;
    const SweepRun *run = group->run;
    TRY(ALLOCATE(&cell->label_weights, run->shape.labels));
    for (int64_t i = 0; i < run->shape.labels; i++)
        cell->label_weights[i] = NAN;
    if (!run->source.prior)
        goto done;
    TRY(exact_draws_observe(&group->exact, run->source.prior,
                            run->session->arguments.config.posterior_sigma_y, cell->observation));
    exact_posterior_label_weights(group->exact.posterior, cell->label_weights);
done:
    return status;
}

static Status add_cell(Group *group, int64_t number) {
    Status status = STATUS_OK;
    const SweepRun *run = group->run;
    const Config *config = &run->session->arguments.config;
    SweepPlace place = sweep_place(&run->grid, number * run->grid.samplers);
    Cell *cell = &group->cells[group->cell_count++];
    cell->number = number;
    TRY(observe(run, &place, &cell->observation));
    cell->seed =
        unit_draw_seed(config->seed, (uint64_t)config_selected(&config->sweep_mask_seeds, place.mask_seed),
                       cell->observation->observed_count, run->truths.index[place.image]);
    TRY(weigh_labels(group, cell));
done:
    return status;
}

/* ---- one unit ---- */

static Status read_labels(const Group *group, const float *draws, int64_t *stored) {
    Status status = STATUS_OK;
    const SweepRun *run = group->run;
    for (int64_t i = 0; run->reader && i < run->shape.draws; i++) {
        TRY(prior_classify(run->reader, draws + i * pixel_count(run), &group->labels[i]));
        stored[i] = group->labels[i];
    }
done:
    return status;
}

static Status measure(const Group *group, const Cell *cell, const float *draws, SweepUnit *unit) {
    Status status = STATUS_OK;
    const SweepRun *run = group->run;
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
        .labels = run->reader ? group->labels : NULL,
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
    TRY(read_labels(group, draws, unit->draw_labels));
    TRY(ensemble_measure(&ensemble, &report));
    TRY(rank_statistics(&rank, ranks));
    memcpy(unit->metrics, report.values, sizeof report.values);
    for (int i = 0; i < RANK_STATISTIC_COUNT; i++)
        unit->ranks[i] = ranks[i];
done:
    return status;
}

/* The particles of the group's `place`-th unit. */
static void describe_particles(const Group *group, int64_t place, double values[SWEEP_PARTICLE_VALUES]) {
    int64_t draws = group->run->shape.draws;
    ParticleSummary summary = particles_summarise(group->particles + place * draws, draws);
    bool known = isfinite(summary.last_effective);
    values[0] = known ? summary.least_effective : NAN;
    values[1] = known ? summary.last_effective : NAN;
    values[2] = known ? summary.unique_ancestors : NAN;
}

/* The unit whose draws are the group's `place`-th. */
static Status finish_unit(Group *group, const Cell *cell, int64_t sampler, int64_t place) {
    Status status = STATUS_OK;
    const SweepRun *run = group->run;
    const Config *config = &run->session->arguments.config;
    const Observation *observation = cell->observation;
    SweepUnit *unit = group->unit;
    int64_t pixels = pixel_count(run);
    size_t image_bytes = (size_t)pixels * sizeof(float);
    const float *draws = group->samples + place * run->shape.draws * pixels;
    unit->number = cell->number * run->grid.samplers + sampler;
    SweepPlace at = sweep_place(&run->grid, unit->number);
    unit->mask_seed = (uint64_t)config_selected(&config->sweep_mask_seeds, at.mask_seed);
    unit->fraction = config->sweep_fractions.values[at.fraction];
    unit->image = config_selected(&config->sweep_images, at.image);
    unit->truth_index = run->truths.index[at.image];
    unit->label = run->truths.label[at.image];
    unit->sampler = sampler;
    TRY(measure(group, cell, draws, unit));
    describe_particles(group, place, unit->particles);
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

/* ---- groups ---- */

static void watch(void *context, int64_t done, int64_t total) {
    sweep_progress_update(context, total > 0 ? (double)done / (double)total : 0);
}

/* The draws of one sampler for the chosen cells, (count) indices into group->cells. */
static Status draw(Group *group, int64_t sampler, const int64_t *chosen, int64_t count) {
    Status status = STATUS_OK;
    SweepRun *run = group->run;
    int64_t draws = run->shape.draws;
    for (int64_t i = 0; i < count * draws; i++) {
        const Cell *cell = &group->cells[chosen[i / draws]];
        group->observations[i] = cell->observation;
        group->seeds[i] = cell->seed;
        group->rng_samples[i] = (uint32_t)(i % draws);
    }
    GeneratorRequest request = {
        .sampler = run->grid.sampler[sampler].name,
        .options = sampler_options(&run->session->arguments.config),
        .count = count * draws,
        .observations = group->observations,
        .seeds = group->seeds,
        .rng_samples = group->rng_samples,
        .comm = group->alone,
        .progress = watch,
        .progress_context = run,
        .stop = &run->progress.stop,
        .quiet = true,
        .samples = group->samples,
        .particles = group->particles,
    };
    for (int64_t i = 0; i < count * draws; i++)
        group->particles[i] = (ParticleStatistics){.least_effective = NAN, .last_effective = NAN};
    run->progress.call_cost = (double)count * run->grid.sampler[sampler].cost;
    TRY(generator_draw(&run->generator, &request));
    for (int64_t i = 0; i < count; i++)
        TRY(finish_unit(group, &group->cells[chosen[i]], sampler, i));
    run->progress.cost_done += run->progress.call_cost;
    run->progress.call_cost = 0;
    sweep_progress_update(run, 0);
done:
    return status;
}

/* Units mine[0..count) of run->unfinished: those of the group's cells. */
static Status run_group(Group *group, const int64_t *mine, int64_t count) {
    Status status = STATUS_OK;
    SweepRun *run = group->run;
    int64_t samplers = run->grid.samplers, *chosen = NULL;
    TRY(ALLOCATE(&chosen, run->group));
    for (int64_t i = 0; i < count; i++)
        if (i == 0 || mine[i] / samplers != mine[i - 1] / samplers)
            TRY(add_cell(group, mine[i] / samplers));
    for (int64_t sampler = 0; sampler < samplers && !run->progress.stop; sampler++) {
        int64_t chosen_count = 0, cell = 0;
        for (int64_t i = 0; i < count; i++) {
            while (group->cells[cell].number != mine[i] / samplers)
                cell++;
            if (mine[i] % samplers == sampler)
                chosen[chosen_count++] = cell;
        }
        if (chosen_count > 0)
            TRY(draw(group, sampler, chosen, chosen_count));
    }
done:
    release_cells(group);
    free(chosen);
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
    Group group = {0};
    double start = clock_seconds();
    const int64_t *mine = run->unfinished + run->first;
    TRY(create_group(run, &group));
    sweep_progress_update(run, 0);
    for (int64_t i = 0, count; i < run->count && !run->progress.stop; i += count) {
        count = group_units(run, mine + i, run->count - i);
        status = run_group(&group, mine + i, count);
        if (status ==
            STATUS_INTERRUPTED) /* by run->progress.stop: what it means, the ranks find out together */
            status = STATUS_OK;
        TRY(status);
    }
done:
    run->seconds = clock_seconds() - start;
    release_group(&group);
    return status;
}
