#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "commands/sweep.h"
#include "core/log.h"
#include "diffusion/ensemble.h"
#include "diffusion/mask.h"
#include "diffusion/rank_statistics.h"
#include "io/checksum.h"

enum {
    JACOBIAN_EVALUATIONS = 3,    /* a vector-Jacobian product with its forward pass, in forward passes */
    MOST_GROUP_BYTES = 64 << 20, /* of draws; a unit of more is a group by itself */
    MOST_GROUP_CELLS = 256,
    CHAIN_TENSORS = 12, /* state, noise, mask, observation, guidance and their host copies: an upper limit */
};

#define GOOD_FILLING 0.97 /* of the slots of all workers' batches */

/* Batches of each worker in a group: all workers wait for the slowest at its end. */
#define GOOD_ROUNDS 16

/* ---- samplers ---- */

static Status plan_sampler(const SweepRun *run, const Schedule *schedule, SweepSampler *sampler) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    SamplerOptions options = sampler_options(config);
    SamplerPlan *plan = NULL;
    int64_t chains = config->sweep_draws;
    TRY(sampler_plan_create(sampler->name, schedule, &options, &plan));
    if (plan->sampler->particles) {
        int64_t per_run = plan->options.draws_per_run;
        chains = (chains + per_run - 1) / per_run * plan->options.particles;
        sampler->particles = plan->options.particles;
    }
    sampler->max_gain = plan->max_gain;
    sampler->max_gain_t = plan->max_gain_t;
    sampler->cost =
        (double)chains * (double)plan->count * (sampler->entry->jacobian ? JACOBIAN_EVALUATIONS : 1);
done:
    sampler_plan_destroy(plan);
    return status;
}

static Status create_samplers(SweepRun *run) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    Schedule *schedule = NULL;
    TRY(schedule_create(config->diffusion_schedule, config->diffusion_steps, config->diffusion_beta_start,
                        config->diffusion_beta_end, &schedule));
    for (int64_t i = 0; i < run->grid.samplers; i++) {
        SweepSampler *sampler = &run->grid.sampler[i];
        sampler->name = config->sweep_samplers.words[i];
        TRY(exact_draws_find(run->source.prior, sampler->name, &sampler->entry));
        if (sampler->entry)
            TRY(plan_sampler(run, schedule, sampler));
        else
            sampler->cost = (double)config->sweep_draws;
    }
done:
    schedule_destroy(schedule);
    if (status == STATUS_BAD_INPUT)
        status_context(status, "sweep.samplers");
    return status;
}

/* ---- the grid ---- */

/* Two that observe equally many pixels would give the same units. */
static Status check_fractions(const Config *config, int64_t pixels) {
    Status status = STATUS_OK;
    const double *values = config->sweep_fractions.values;
    int64_t observed, earlier;
    for (int i = 0; i < config->sweep_fractions.count; i++) {
        TRY(mask_observed_count(values[i], pixels, &observed));
        for (int j = 0; j < i; j++) {
            TRY(mask_observed_count(values[j], pixels, &earlier));
            if (earlier == observed)
                FAIL(STATUS_BAD_INPUT,
                     "sweep.fractions: expected fractions that observe different numbers of pixels, found "
                     "%.15g and %.15g, which both observe %lld of %lld",
                     values[j], values[i], (long long)observed, (long long)pixels);
        }
    }
done:
    return status;
}

Status sweep_grid_create(SweepRun *run) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    SweepGrid *grid = &run->grid;
    grid->mask_seeds = config->sweep_mask_seeds.count;
    grid->fractions = config->sweep_fractions.count;
    grid->images = config->sweep_images.count;
    grid->samplers = config->sweep_samplers.count;
    grid->cells = grid->mask_seeds * grid->fractions * grid->images; /* below 1e6 * 64 * 1e6 */
    grid->units = grid->cells * grid->samplers;
    run->shape = (SweepShape){
        .height = run->source.height,
        .width = run->source.width,
        .draws = config->sweep_draws,
        .metrics = ENSEMBLE_METRIC_COUNT,
        .statistics = RANK_STATISTIC_COUNT,
        .labels = run->reader ? prior_labels(run->reader) : 0,
        .keep_draws = config->sweep_keep_draws,
    };
    TRY(check_fractions(config, run->source.height * run->source.width));
    TRY(create_samplers(run));
done:
    return status;
}

SweepPlace sweep_place(const SweepGrid *grid, int64_t unit) {
    SweepPlace place;
    place.sampler = unit % grid->samplers;
    unit /= grid->samplers;
    place.image = unit % grid->images;
    unit /= grid->images;
    place.fraction = unit % grid->fractions;
    place.mask_seed = unit / grid->fractions;
    return place;
}

/* Keys of posterior alone, and those that a sweep has instead. */
static const struct {
    const char *posterior, *sweep;
} counterparts[] = {
    {"posterior.sampler", "sweep.samplers"}, {"posterior.fraction", "sweep.fractions"},
    {"posterior.class", "sweep.class"},      {"posterior.image", "sweep.images"},
    {"posterior.draws", "sweep.draws"},      {"posterior.mask_seed", "sweep.mask_seeds"},
};

enum { COUNTERPARTS = sizeof counterparts / sizeof *counterparts };

void sweep_warn_of_unused(const Config *config) {
    Config defaults;
    char value[CONFIG_VALUE_SIZE], initial[CONFIG_VALUE_SIZE];
    config_defaults(&defaults);
    for (int i = 0; i < COUNTERPARTS; i++) {
        const int key = config_find(counterparts[i].posterior);
        if (strcmp(config_value_json(config, key, value), config_value_json(&defaults, key, initial)) != 0)
            log_warning("%s %s is not used: a sweep has %s instead", counterparts[i].posterior, value,
                        counterparts[i].sweep);
    }
}

bool sweep_setting_counts(const char *path, bool network) {
    static const char *const groups[] = {"prior.", "posterior.", "sweep."};
    for (int i = 0; i < COUNTERPARTS; i++)
        if (strcmp(path, counterparts[i].posterior) == 0)
            return false;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (strncmp(path, groups[i], strlen(groups[i])) == 0)
            return true;
    if (strcmp(path, "seed") == 0)
        return true;
    /* a network's come from its checkpoint, which is compared by its checksum */
    return network ? strcmp(path, "sample.weights") == 0
                   : strncmp(path, "diffusion.", 10) == 0 || strcmp(path, "data.limit") == 0;
}

void sweep_grid_hash(const Config *config, bool network, char hash[17]) {
    Checksum checksum = checksum_start();
    char value[CONFIG_VALUE_SIZE];
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const char *path = config_key(i)->path;
        if (!sweep_setting_counts(path, network))
            continue;
        config_value_json(config, i, value);
        checksum_add(&checksum, path, strlen(path));
        checksum_add(&checksum, value, strlen(value));
    }
    snprintf(hash, 17, "%016" PRIx64, checksum_value(&checksum));
}

/* ---- shares ---- */

static double unit_cost(const SweepRun *run, int64_t i) {
    return run->grid.sampler[run->unfinished[i] % run->grid.samplers].cost;
}

void sweep_share(SweepRun *run) {
    double total = 0, before = 0;
    int rank = comm_rank(run->session->comm), ranks = comm_size(run->session->comm);
    for (int64_t i = 0; i < run->unfinished_count; i++)
        total += unit_cost(run, i);
    run->first = run->count = 0;
    for (int64_t i = 0; i < run->unfinished_count; i++) { /* a unit belongs to the share its middle lies in */
        double middle = (before + unit_cost(run, i) / 2) / total * ranks;
        before += unit_cost(run, i);
        if ((int)middle != rank)
            continue;
        if (run->count == 0)
            run->first = i;
        run->count++;
    }
}

/* Share of the slots that hold a draw when `cells` units are drawn together. */
static double filling(const SweepRun *run, int64_t cells) {
    const Denoiser *denoiser = &run->generator.denoiser;
    int64_t draws = cells * run->shape.draws, slots = denoiser->batch * denoiser->workers;
    return (double)draws / (double)((draws + slots - 1) / slots * slots);
}

int64_t sweep_group_cells(const SweepRun *run) {
    int64_t unit_bytes = run->shape.draws * run->shape.height * run->shape.width * (int64_t)sizeof(float);
    int64_t most = MOST_GROUP_BYTES / unit_bytes, best = 1;
    most = most < 1 ? 1 : most > MOST_GROUP_CELLS ? MOST_GROUP_CELLS : most;
    for (int64_t cells = 1; cells <= most && filling(run, best) < GOOD_FILLING; cells++)
        if (filling(run, cells) > filling(run, best))
            best = cells;
    int64_t slots = run->generator.denoiser.batch * run->generator.denoiser.workers;
    int64_t wanted = (GOOD_ROUNDS * slots + run->shape.draws * best - 1) / (run->shape.draws * best) * best;
    if (wanted > best)
        best = wanted < most ? wanted : most / best * best;
    for (int64_t i = 0; i < run->grid.samplers; i++) { /* a run of particles is one worker's */
        int64_t workers = run->generator.denoiser.workers;
        if (run->grid.sampler[i].particles > 0 && best < workers && workers <= most)
            best = workers;
    }
    return best;
}

int64_t sweep_group_bytes(const SweepRun *run) {
    const Denoiser *denoiser = &run->generator.denoiser;
    int64_t pixels = run->shape.height * run->shape.width, chains = denoiser->batch;
    for (int64_t i = 0; i < run->grid.samplers; i++)
        if (run->grid.sampler[i].particles > chains)
            chains = run->grid.sampler[i].particles;
    /* draws as the workers leave them, gathered, and in order, these twice as the ones before are measured
     * meanwhile; truth, mask and y of every cell, likewise; the tensors of the workers' chains; a unit on its
     * way to the disk, there and in its file */
    return run->group * (4 * run->shape.draws + 2 * 3) * pixels * (int64_t)sizeof(float) +
           denoiser->workers * chains * CHAIN_TENSORS * pixels * (int64_t)sizeof(float) +
           2 * sweep_unit_bytes(&run->shape);
}
