/* ddpm_mpi posterior: completes one partially observed test image, many times. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/commands.h"
#include "commands/generation.h"
#include "commands/product_report.h"
#include "core/clock.h"
#include "core/log.h"
#include "diffusion/ensemble.h"
#include "io/figures.h"
#include "io/idx.h"
#include "io/results.h"

typedef struct PosteriorRun {
    Session *session;
    TrainedModel model;
    Generator generator;
    Observation *observation;
    int64_t test_index; /* of the image in the test split */
    float *draws;       /* (draws, height, width), rank 0 */
    double seconds, max_gain;
} PosteriorRun;

/* Rank 0: the posterior.image-th image of posterior.class in the test split; pixels is the caller's to free.
 */
static Status find_image(const PosteriorRun *run, int64_t *index, uint8_t **pixels) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    Dataset test = {0};
    int64_t seen = 0, count;
    TRY(dataset_load(config->data_dir, "t10k", 0, &test));
    if (test.height != run->model.height || test.width != run->model.width)
        FAIL(STATUS_BAD_INPUT,
             "%s: test images are %lldx%lld pixels, the checkpoint was trained on %lldx%lld",
             config->data_dir, (long long)test.height, (long long)test.width, (long long)run->model.height,
             (long long)run->model.width);
    *index = -1;
    for (int64_t i = 0; i < test.count; i++)
        if (test.labels[i] == config->posterior_class && seen++ == config->posterior_image)
            *index = i;
    if (*index < 0)
        FAIL(STATUS_BAD_INPUT,
             "posterior.image: expected 0 to %lld (the test split has %lld images of class %lld), found %lld",
             (long long)seen - 1, (long long)seen, (long long)config->posterior_class,
             (long long)config->posterior_image);
    count = test.height * test.width;
    TRY(ALLOCATE(pixels, count));
    memcpy(*pixels, test.pixels + *index * count, (size_t)count);
done:
    dataset_release(&test);
    return status;
}

/* Collective. */
static Status observe(PosteriorRun *run) {
    Status status = STATUS_OK;
    Comm *comm = run->session->comm;
    const Config *config = &run->session->arguments.config;
    uint8_t *pixels = NULL;
    int64_t count = run->model.height * run->model.width;
    ObservationSettings settings = {
        .fraction = config->posterior_fraction,
        .mask_seed = config->posterior_mask_seed,
        .sigma_y = config->posterior_sigma_y,
        .observation_noise = config->posterior_observation_noise,
        .seed = config->seed,
    };
    if (run->session->root)
        status = find_image(run, &run->test_index, &pixels);
    TRY(comm_agree(comm, status));
    if (!run->session->root)
        TRY(ALLOCATE(&pixels, count));
    TRY(comm_broadcast(comm, &run->test_index, sizeof run->test_index, 0));
    TRY(comm_broadcast(comm, pixels, (size_t)count, 0));
    status = observation_create(&settings, pixels, run->model.height, run->model.width, run->test_index,
                                &run->observation);
    TRY(comm_agree(comm, status));
done:
    free(pixels);
    return status;
}

static Status draw(PosteriorRun *run) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    if (run->session->root)
        TRY(ALLOCATE(&run->draws, config->posterior_draws * run->model.height * run->model.width));
    GeneratorRequest request = {
        .sampler = config->posterior_sampler,
        .options = sampler_options(config),
        .count = config->posterior_draws,
        .observation = run->observation,
        .seed =
            rng_derive_seed(config->seed, (uint32_t)run->test_index, (uint32_t)config->posterior_mask_seed,
                            (uint32_t)(config->posterior_mask_seed >> 32)),
        .samples = run->draws,
        .max_gain = &run->max_gain,
    };
    run->seconds = clock_seconds();
    TRY(generator_draw(&run->generator, &request));
    run->seconds = clock_seconds() - run->seconds;
done:
    return status;
}

/* "guided, 20 % observed, class 7, test image 0, 16 draws" */
static void describe(const PosteriorRun *run, char text[400]) {
    const Config *config = &run->session->arguments.config;
    snprintf(text, 400, "%s, %.3g %% of the pixels observed, class %lld, image %lld of it, %lld draws",
             config->posterior_sampler, 100 * config->posterior_fraction, (long long)config->posterior_class,
             (long long)config->posterior_image, (long long)config->posterior_draws);
}

static Status draw_figure(const PosteriorRun *run, const uint8_t *mask) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    const Observation *observation = run->observation;
    char path[FILE_PATH_BYTES], name[128], caption[400];
    float *mean = NULL, *deviation = NULL;
    int64_t pixels = run->model.height * run->model.width;
    TRY(ALLOCATE(&mean, pixels));
    TRY(ALLOCATE(&deviation, pixels));
    ensemble_moments(run->draws, config->posterior_draws, pixels, mean, deviation);
    describe(run, caption);
    FiguresPosterior figure = {
        .truth = observation->truth,
        .mask = mask,
        .observed = observation->y,
        .mean = mean,
        .standard_deviation = deviation,
        .draws = run->draws,
        .count = config->posterior_draws,
        .height = (int)run->model.height,
        .width = (int)run->model.width,
        .caption = caption,
    };
    snprintf(name, sizeof name, "figures/posterior_%.40s_%.3gpct.png", config->posterior_sampler,
             100 * config->posterior_fraction);
    TRY(session_path(run->session, name, path));
    TRY(figures_posterior(path, &figure));
    log_info("wrote %s/posterior.h5 and %s", run->session->run.path, name);
done:
    free(mean);
    free(deviation);
    return status;
}

/* values: from the group's PIXELS on. */
static void print_group(const char *name, const double *values) {
    log_info("%s pixels (%.0f): RMSE %.4f, PSNR %.2f dB, spread %.4f, coverage %.3f and %.3f, CRPS %.4f",
             name, values[ENSEMBLE_MISSING_PIXELS], values[ENSEMBLE_MISSING_RMSE],
             values[ENSEMBLE_MISSING_PSNR], values[ENSEMBLE_MISSING_SPREAD],
             values[ENSEMBLE_MISSING_COVERAGE50], values[ENSEMBLE_MISSING_COVERAGE90],
             values[ENSEMBLE_MISSING_CRPS]);
}

static Status measure(const PosteriorRun *run, EnsembleReport *report) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    const EnsembleInput input = {
        .draw_count = config->posterior_draws,
        .height = run->model.height,
        .width = run->model.width,
        .draws = run->draws,
        .truth = run->observation->truth,
        .mask = run->observation->mask,
        .y = run->observation->y,
        .sigma_y = config->posterior_sigma_y,
    };
    TRY(ensemble_measure(&input, report));
    print_group("missing", report->values + ENSEMBLE_MISSING_PIXELS);
    print_group("observed", report->values + ENSEMBLE_OBSERVED_PIXELS);
    log_info("exact draws would have coverage %.3f and %.3f; SSIM of the mean %.3f",
             ensemble_nominal_coverage(input.draw_count, 0.5),
             ensemble_nominal_coverage(input.draw_count, 0.9), report->values[ENSEMBLE_IMAGE_SSIM]);
done:
    return status;
}

static Status write_metrics(const PosteriorRun *run) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    NamedValue values[13 + ENSEMBLE_METRIC_COUNT];
    EnsembleReport report;
    char path[FILE_PATH_BYTES];
    int count = 0;
    TRY(measure(run, &report));
    values[count++] = value_text("sampler", config->posterior_sampler);
    values[count++] = value_number("fraction", config->posterior_fraction);
    values[count++] = value_integer("test_index", run->test_index);
    values[count++] = value_integer("draws", config->posterior_draws);
    values[count++] =
        value_number("nominal_coverage50", ensemble_nominal_coverage(config->posterior_draws, 0.5));
    values[count++] =
        value_number("nominal_coverage90", ensemble_nominal_coverage(config->posterior_draws, 0.9));
    values[count++] = value_number("max_guidance_gain", run->max_gain);
    for (int i = 0; i < ENSEMBLE_METRIC_COUNT; i++) {
        const EnsembleMetricRow *row = ensemble_metric((EnsembleMetric)i);
        if (row->group != ENSEMBLE_IMAGE || !isnan(report.values[i])) /* nothing reads the draws' labels */
            values[count++] = value_number(row->name, report.values[i]);
    }
    values[count++] = value_number("seconds", run->seconds);
    values[count++] = value_text("device", run->session->backend->description);
    values[count++] = value_integer("ranks", comm_size(run->session->comm));
    values[count++] = value_integer("threads", run->session->threads);
    values[count++] = value_text("checkpoint", run->model.path);
    values[count++] = value_text("checkpoint_checksum", run->model.checksum);
    TRY(session_path(run->session, "metrics.json", path));
    TRY(metrics_write(path, count, values));
done:
    return status;
}

static Status write_results(const PosteriorRun *run, const uint8_t *mask) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    const Observation *observation = run->observation;
    char path[FILE_PATH_BYTES], *json = NULL;
    TRY(config_to_json(config, &json));
    NamedValue attributes[] = {
        value_text("sampler", config->posterior_sampler),
        value_number("fraction", config->posterior_fraction),
        value_integer("class", config->posterior_class),
        value_integer("image", config->posterior_image),
        value_integer("test_index", run->test_index),
        value_unsigned("mask_seed", config->posterior_mask_seed),
        value_unsigned("seed", config->seed),
        value_number("lambda_max", config->posterior_lambda_max),
        value_number("lambda_min", config->posterior_lambda_min),
        value_number("power", config->posterior_power),
        value_number("sigma_y", config->posterior_sigma_y),
        value_number("c", config->posterior_c),
        value_boolean("observation_noise", config->posterior_observation_noise),
        value_text("weights", config->sample_weights),
        value_text("checkpoint", run->model.path),
        value_text("checkpoint_checksum", run->model.checksum),
        value_json("config", json),
    };
    TRY(session_path(run->session, "posterior.h5", path));
    TRY(posterior_write(path, observation->truth, mask, observation->y, run->draws, config->posterior_draws,
                        run->model.height, run->model.width, (int)(sizeof attributes / sizeof *attributes),
                        attributes));
done:
    free(json);
    return status;
}

/* Rank 0. */
static Status write_products(const PosteriorRun *run) {
    Status status = STATUS_OK;
    uint8_t *mask = NULL;
    int64_t pixels = run->model.height * run->model.width;
    TRY(ALLOCATE(&mask, pixels));
    for (int64_t i = 0; i < pixels; i++)
        mask[i] = run->observation->mask[i] != 0;
    TRY(write_results(run, mask));
    TRY(write_metrics(run));
    TRY(draw_figure(run, mask));
done:
    free(mask);
    return status;
}

static Status run_posterior(Session *session) {
    Status status = STATUS_OK;
    PosteriorRun run = {.session = session};
    int64_t count = 0;
    bool opened = false;
    session_announce(session);
    TRY(trained_model_load(session, &run.model));
    count = session->arguments.config.posterior_draws;
    TRY(observe(&run));
    TRY(session_open_run(session, false));
    opened = true;
    TRY(product_report(session, RUN_RUNNING, 0, count, NULL));
    TRY(generator_create(&run.generator, session, run.model.height, run.model.width, run.model.parameters,
                         false));
    TRY(draw(&run));
    if (session->root)
        TRY(write_products(&run));
    TRY(product_report(session, RUN_COMPLETED, count, count, NULL));
done:
    if (opened && status != STATUS_OK)
        status = product_report_failure(session, status, count);
    free(run.draws);
    observation_destroy(run.observation);
    generator_release(&run.generator);
    trained_model_release(&run.model);
    return status;
}

static const ArgumentOption posterior_options[] = {
    {"--fraction", "posterior.fraction", "F", "observed fraction of the pixels"},
    {"--class", "posterior.class", "C", "digit class of the test image"},
    {"--image", "posterior.image", "I", "which image of that class, from 0"},
    {"--mask-seed", "posterior.mask_seed", "M", "seed of the observed pixels"},
    {"--draws", "posterior.draws", "N", "posterior draws"},
    {"--sampler", "posterior.sampler", "NAME", "posterior sampler: dps_plus, guided, tds, ..."},
    {"--weights", "sample.weights", "ema|raw", "averaged or trained parameters"},
    {"--seed", "seed", "S", "seed of every random number"},
    {"--threads", "threads", "N", "threads per rank"},
    {NULL, NULL, NULL, NULL},
};

const Command command_posterior = {
    .description =
        {
            .name = "posterior",
            .summary = "draw posterior samples of a partially observed test image",
            .options = posterior_options,
            .flags = ARGUMENT_CHECKPOINT,
            .key_groups = "data posterior",
            .example =
                "ddpm_mpi posterior --checkpoint outputs/first --fraction 0.2 --class 7 --sampler guided",
        },
    .run = run_posterior,
};
