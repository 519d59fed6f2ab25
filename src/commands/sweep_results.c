/* What a sweep leaves behind. Rank 0. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/sweep.h"
#include "commands/sweep_report.h"
#include "core/log.h"
#include "diffusion/ensemble.h"
#include "diffusion/rank_statistics.h"

/* ---- sweep.h5 ---- */

/* ["a", "b"] of count names; owned by the caller. */
static Status name_list(int64_t count, const char *(*name_of)(const SweepRun *, int64_t), const SweepRun *run,
                        char **json) {
    Status status = STATUS_OK;
    size_t bytes = 3;
    for (int64_t i = 0; i < count; i++)
        bytes += strlen(name_of(run, i)) + 4;
    TRY(ALLOCATE(json, (long long)bytes));
    char *next = *json + sprintf(*json, "[");
    for (int64_t i = 0; i < count; i++)
        next += sprintf(next, "%s\"%s\"", i > 0 ? ", " : "", name_of(run, i));
    sprintf(next, "]");
done:
    return status;
}

static const char *metric_name(const SweepRun *run, int64_t i) {
    (void)run;
    return ensemble_metric((EnsembleMetric)i)->name;
}

static const char *statistic_name(const SweepRun *run, int64_t i) {
    (void)run;
    return rank_statistic_name((RankStatistic)i);
}

static const char *sampler_name(const SweepRun *run, int64_t i) {
    return run->grid.sampler[i].name;
}

Status sweep_merge(const SweepRun *run) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    char *metrics = NULL, *statistics = NULL, *samplers = NULL, *json = NULL;
    TRY(name_list(ENSEMBLE_METRIC_COUNT, metric_name, run, &metrics));
    TRY(name_list(RANK_STATISTIC_COUNT, statistic_name, run, &statistics));
    TRY(name_list(run->grid.samplers, sampler_name, run, &samplers));
    TRY(config_to_json(config, &json));
    const NamedValue values[] = {
        value_json("samplers", samplers),
        value_json("metrics", metrics),
        value_json("statistics", statistics),
        value_integer("draws_per_unit", run->shape.draws),
        value_text("prior", run->source.name),
        value_text("truth", run->truths.drawn ? "prior" : "test"),
        value_unsigned("seed", config->seed),
        value_number("sigma_y", config->posterior_sigma_y),
        value_boolean("observation_noise", config->posterior_observation_noise),
        value_text("weights", config->sample_weights),
        value_text("checkpoint", run->source.model.path),
        value_text("checkpoint_checksum", run->source.model.checksum),
        value_text("truths_checksum", run->origin.truths_checksum),
        value_json("config", json),
    };
    TRY(sweep_parts_merge(run->session->run.path, run->origin.grid_hash, &run->shape, run->grid.units,
                          (int)(sizeof values / sizeof *values), values));
done:
    free(metrics);
    free(statistics);
    free(samplers);
    free(json);
    return status;
}

/* ---- what people read ---- */

Status sweep_summarise(const SweepRun *run, bool galleries) {
    const Config *config = &run->session->arguments.config;
    const char *samplers[CONFIG_MAX_WORDS];
    char title[200];
    for (int64_t i = 0; i < run->grid.samplers; i++)
        samplers[i] = run->grid.sampler[i].name;
    snprintf(title, sizeof title, "%s%s, %lld image%s, %lld mask seed%s, %lld draw%s each", run->source.name,
             run->source.prior ? " prior" : "", (long long)run->grid.images, log_plural(run->grid.images),
             (long long)run->grid.mask_seeds, log_plural(run->grid.mask_seeds), (long long)run->shape.draws,
             log_plural(run->shape.draws));
    const NamedValue settings[] = {
        value_text("prior", run->source.name),
        value_text("truth", run->truths.drawn ? "prior" : "test"),
        value_text("checkpoint", run->source.model.path),
        value_text("checkpoint_checksum", run->source.model.checksum),
        value_integer("units", run->grid.units),
        value_integer("images", run->grid.images),
        value_integer("mask_seeds", run->grid.mask_seeds),
        value_integer("draws", run->shape.draws),
        value_unsigned("seed", config->seed),
        value_number("sigma_y", config->posterior_sigma_y),
        value_boolean("observation_noise", config->posterior_observation_noise),
    };
    const SweepReport report = {
        .run_directory = run->session->run.path,
        .grid_hash = run->origin.grid_hash,
        .shape = &run->shape,
        .units = run->grid.units,
        .samplers = samplers,
        .sampler_count = (int)run->grid.samplers,
        .title = title,
        .setting_count = (int)(sizeof settings / sizeof *settings),
        .settings = settings,
        .galleries = galleries,
    };
    return sweep_report_write(&report);
}
