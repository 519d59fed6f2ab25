/* ddpm_mpi sample: draws images from a trained network. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/commands.h"
#include "commands/generation.h"
#include "commands/product_report.h"
#include "core/clock.h"
#include "core/log.h"
#include "io/figures.h"
#include "io/results.h"

static Status write_products(const Session *session, const TrainedModel *model, const float *x_start,
                             const float *samples, double seconds) {
    Status status = STATUS_OK;
    const Config *config = &session->arguments.config;
    char path[FILE_PATH_BYTES], title[320], *json = NULL;
    int64_t count = config->sample_count;
    int64_t steps = config->sample_steps ? config->sample_steps : config->diffusion_steps;
    TRY(config_to_json(config, &json));
    NamedValue attributes[] = {
        value_text("sampler", config->sample_sampler), value_integer("steps", steps),
        value_unsigned("seed", config->seed),          value_text("weights", config->sample_weights),
        value_text("checkpoint", model->path),         value_text("checkpoint_checksum", model->checksum),
        value_integer("checkpoint_step", model->step), value_json("config", json),
    };
    NamedValue metrics[] = {
        attributes[0],
        attributes[1],
        value_integer("count", count),
        value_number("seconds", seconds),
        value_number("images_per_second", (double)count / seconds),
        value_text("device", session->backend->description),
        value_integer("ranks", comm_size(session->comm)),
        value_integer("threads", session->threads),
        attributes[4],
        attributes[5],
    };
    TRY(session_path(session, "samples.h5", path));
    TRY(samples_write(path, x_start, samples, count, model->height, model->width,
                      (int)(sizeof attributes / sizeof *attributes), attributes));
    TRY(session_path(session, "metrics.json", path));
    TRY(metrics_write(path, (int)(sizeof metrics / sizeof *metrics), metrics));
    TRY(session_path(session, "figures/samples.png", path));
    snprintf(title, sizeof title, "%s, %lld steps, seed %llu", config->sample_sampler, (long long)steps,
             (unsigned long long)config->seed);
    TRY(figures_samples(path, samples, count, (int)model->height, (int)model->width, title));
    log_info("wrote %s/samples.h5 and figures/samples.png", session->run.path);
done:
    free(json);
    return status;
}

static Status run_sample(Session *session) {
    Status status = STATUS_OK;
    TrainedModel model = {0};
    Generator generator = {0};
    float *x_start = NULL, *samples = NULL;
    const Config *config = &session->arguments.config;
    ProductProgress progress = product_progress_start(session, config->sample_count);
    bool opened = false;
    session_announce(session);
    TRY(trained_model_load(session, &model));
    TRY(generator_create(&generator, session, model.height, model.width, model.parameters, false));
    TRY(product_begin(session, "samples.h5",
                      2 * config->sample_count * model.height * model.width * (int64_t)sizeof *samples,
                      model.checksum));
    opened = true;
    TRY(product_report(session, RUN_RUNNING, 0, config->sample_count, NULL));
    if (session->root) {
        TRY(ALLOCATE(&x_start, config->sample_count * model.height * model.width));
        TRY(ALLOCATE(&samples, config->sample_count * model.height * model.width));
    }
    GeneratorRequest request = {
        .sampler = config->sample_sampler,
        .options.steps = config->sample_steps,
        .count = config->sample_count,
        .seed = config->seed,
        .x_start = x_start,
        .samples = samples,
        .progress = product_progress,
        .progress_context = &progress,
        .stop = &progress.stop,
    };
    double start = clock_seconds();
    TRY(generator_draw(&generator, &request));
    if (session->root)
        TRY(write_products(session, &model, x_start, samples, clock_seconds() - start));
    TRY(product_report(session, RUN_COMPLETED, config->sample_count, config->sample_count, NULL));
done:
    if (opened && status != STATUS_OK)
        status = product_report_failure(session, status, config->sample_count);
    free(x_start);
    free(samples);
    generator_release(&generator);
    trained_model_release(&model);
    return status;
}

static const ArgumentOption sample_options[] = {
    {"--count", "sample.count", "N", "images to draw"},
    {"--sampler", "sample.sampler", "ddpm|ddim", "ancestral, or deterministic"},
    {"--steps", "sample.steps", "K", "steps of ddim; 0: all"},
    {"--weights", "sample.weights", "ema|raw", "averaged or trained parameters"},
    {"--seed", "seed", "S", "seed of every random number"},
    {"--threads", "threads", "N", "threads per rank"},
    {NULL, NULL, NULL, NULL},
};

const Command command_sample = {
    .description =
        {
            .name = "sample",
            .summary = "draw images from a trained network",
            .options = sample_options,
            .flags = ARGUMENT_CHECKPOINT,
            .key_groups = "sample",
            .example = "ddpm_mpi sample --checkpoint outputs/first --count 64 --sampler ddim --steps 50",
        },
    .run = run_sample,
    .stops = true,
};
