/* ddpm_mpi posterior: completes one partially observed test image, many times. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/commands.h"
#include "commands/product_report.h"
#include "commands/source.h"
#include "core/clock.h"
#include "core/log.h"
#include "diffusion/ensemble.h"
#include "io/figures.h"
#include "io/results.h"

typedef struct PosteriorRun {
    Session *session;
    Source source;
    Truths truths; /* one */
    Generator generator;
    Observation *observation;
    float *draws;                  /* (draws, height, width), rank 0 */
    ParticleStatistics *particles; /* (draws), rank 0; filled by samplers of particles, else zero */
    double seconds, max_gain;
} PosteriorRun;

/* The default class is for images of the test split: a prior's draw is of a class only if that was asked for.
 */
static int64_t asked_class(const PosteriorRun *run) {
    const Config *config = &run->session->arguments.config;
    bool any = truths_are_drawn(&run->source, config) && !config_was_set(config, "posterior.class");
    return any ? -1 : config->posterior_class;
}

/* Collective. */
static Status observe(PosteriorRun *run) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    float *image = NULL;
    ConfigSelection selection = {.count = 1, .listed = true, .values = {config->posterior_image}};
    TruthChoice choice = {
        .images = &selection,
        .label = asked_class(run),
        .images_key = "posterior.image",
        .label_key = "posterior.class",
    };
    ObservationSettings settings = {
        .fraction = config->posterior_fraction,
        .mask_seed = config->posterior_mask_seed,
        .sigma_y = config->posterior_sigma_y,
        .observation_noise = config->posterior_observation_noise,
        .seed = unit_noise_seed(config->seed, config->posterior_mask_seed),
    };
    TRY(truths_find(run->session, &run->source, &choice, &run->truths));
    status = ALLOCATE(&image, run->source.height * run->source.width);
    if (status == STATUS_OK)
        status = truths_image(&run->truths, 0, image);
    if (status == STATUS_OK)
        status = observation_create_from(&settings, image, run->source.height, run->source.width,
                                         run->truths.index[0], &run->observation);
    TRY(comm_agree(run->session->comm, status));
done:
    free(image);
    return status;
}

static Status draw(PosteriorRun *run) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    ProductProgress progress = product_progress_start(run->session, config->posterior_draws);
    if (run->session->root) {
        TRY(ALLOCATE(&run->draws, config->posterior_draws * run->source.height * run->source.width));
        TRY(ALLOCATE(&run->particles, config->posterior_draws));
    }
    GeneratorRequest request = {
        .sampler = config->posterior_sampler,
        .options = sampler_options(config),
        .count = config->posterior_draws,
        .observation = run->observation,
        .seed = unit_draw_seed(config->seed, config->posterior_mask_seed, run->observation->observed_count,
                               run->truths.index[0]),
        .samples = run->draws,
        .max_gain = &run->max_gain,
        .particles = run->particles,
        .progress = product_progress,
        .progress_context = &progress,
        .stop = &progress.stop,
    };
    run->seconds = clock_seconds();
    TRY(generator_draw(&run->generator, &request));
    run->seconds = clock_seconds() - run->seconds;
done:
    return status;
}

/* "guided, 20 % of the pixels observed, class 7, test image 12, 16 draws" */
static void describe(const PosteriorRun *run, char text[400]) {
    const Config *config = &run->session->arguments.config;
    char prior[64] = "";
    if (run->source.prior)
        snprintf(prior, sizeof prior, "%s prior, ", run->source.name);
    snprintf(text, 400, "%s%s, %.3g %% of the pixels observed, class %lld, %s %lld, %lld draw%s", prior,
             config->posterior_sampler, 100 * config->posterior_fraction, (long long)run->truths.label[0],
             run->truths.drawn ? "draw" : "test image", (long long)run->truths.index[0],
             (long long)config->posterior_draws, log_plural(config->posterior_draws));
}

static Status draw_figure(const PosteriorRun *run, const uint8_t *mask) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    const Observation *observation = run->observation;
    char path[FILE_PATH_BYTES], name[128], caption[400];
    float *mean = NULL, *deviation = NULL;
    int64_t pixels = run->source.height * run->source.width;
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
        .height = (int)run->source.height,
        .width = (int)run->source.width,
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

/* What there is a number for: nothing of no pixels, no spread of one draw. values: from the group's PIXELS
 * on.
 */
static void print_group(const char *name, const double *values) {
    char spread[128] = "";
    if (!(values[ENSEMBLE_MISSING_PIXELS] > 0))
        return;
    if (isfinite(values[ENSEMBLE_MISSING_SPREAD]))
        snprintf(spread, sizeof spread, ", spread %.4f, coverage %.3f and %.3f, CRPS %.4f",
                 values[ENSEMBLE_MISSING_SPREAD], values[ENSEMBLE_MISSING_COVERAGE50],
                 values[ENSEMBLE_MISSING_COVERAGE90], values[ENSEMBLE_MISSING_CRPS]);
    log_info("%s pixels (%.0f): RMSE %.4f, PSNR %.2f dB%s", name, values[ENSEMBLE_MISSING_PIXELS],
             values[ENSEMBLE_MISSING_RMSE], values[ENSEMBLE_MISSING_PSNR], spread);
}

/* Labels of the draws and exact weights of the labels, where the prior is exact. */
static Status read_labels(PosteriorRun *run, EnsembleInput *input, int **labels, double **weights) {
    Status status = STATUS_OK;
    const Prior *prior = run->source.prior;
    if (!prior)
        return STATUS_OK;
    TRY(ALLOCATE(labels, input->draw_count));
    TRY(ALLOCATE(weights, prior_labels(prior)));
    TRY(prior_classify(prior, input->draw_count, input->draws, *labels));
    TRY(exact_draws_observe(&run->generator.exact, prior, input->sigma_y, run->observation));
    exact_posterior_label_weights(run->generator.exact.posterior, *weights);
    input->label_count = (int)prior_labels(prior);
    input->labels = *labels;
    input->label_weights = *weights;
    input->true_label = (int)run->truths.label[0];
done:
    return status;
}

static Status measure(PosteriorRun *run, EnsembleReport *report) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    int *labels = NULL;
    double *weights = NULL;
    EnsembleInput input = {
        .draw_count = config->posterior_draws,
        .height = run->source.height,
        .width = run->source.width,
        .draws = run->draws,
        .truth = run->observation->truth,
        .mask = run->observation->mask,
        .y = run->observation->y,
        .sigma_y = config->posterior_sigma_y,
        .true_label = -1,
    };
    TRY(read_labels(run, &input, &labels, &weights));
    TRY(ensemble_measure(&input, report));
    print_group("missing", report->values + ENSEMBLE_MISSING_PIXELS);
    print_group("observed", report->values + ENSEMBLE_OBSERVED_PIXELS);
    log_info("SSIM of the mean %.3f", report->values[ENSEMBLE_IMAGE_SSIM]);
    if (input.draw_count > 1)
        log_info("exact draws would have coverage %.3f and %.3f",
                 ensemble_nominal_coverage(input.draw_count, 0.5),
                 ensemble_nominal_coverage(input.draw_count, 0.9));
    if (labels && isfinite(report->values[ENSEMBLE_IMAGE_TV]))
        log_info("total variation of the labels' weights %.3f (exact draws: %.3f on average)",
                 report->values[ENSEMBLE_IMAGE_TV], report->values[ENSEMBLE_IMAGE_TV_EXACT]);
done:
    free(labels);
    free(weights);
    return status;
}

static Status write_metrics(PosteriorRun *run) {
    Status status = STATUS_OK;
    const Config *config = &run->session->arguments.config;
    NamedValue values[19 + ENSEMBLE_METRIC_COUNT];
    ParticleSummary particles = particles_summarise(run->particles, config->posterior_draws);
    EnsembleReport report;
    char path[FILE_PATH_BYTES];
    int count = 0;
    TRY(measure(run, &report));
    values[count++] = value_text("sampler", config->posterior_sampler);
    values[count++] = value_number("fraction", config->posterior_fraction);
    values[count++] = value_text("prior", run->source.name);
    values[count++] = value_text("truth", run->truths.drawn ? "prior" : "test");
    values[count++] = value_integer("truth_index", run->truths.index[0]);
    values[count++] = value_integer("label", run->truths.label[0]);
    values[count++] = value_integer("draws", config->posterior_draws);
    values[count++] =
        value_number("nominal_coverage50", ensemble_nominal_coverage(config->posterior_draws, 0.5));
    values[count++] =
        value_number("nominal_coverage90", ensemble_nominal_coverage(config->posterior_draws, 0.9));
    values[count++] = value_number("max_guidance_gain", run->max_gain);
    if (particles.last_effective > 0) {
        values[count++] = value_number("particles.least_effective", particles.least_effective);
        values[count++] = value_number("particles.last_effective", particles.last_effective);
        values[count++] = value_number("particles.unique_ancestors", particles.unique_ancestors);
    }
    for (int i = 0; i < ENSEMBLE_METRIC_COUNT; i++) {
        const EnsembleMetricRow *row = ensemble_metric((EnsembleMetric)i);
        if (row->group != ENSEMBLE_IMAGE || !isnan(report.values[i])) /* nothing reads the draws' labels */
            values[count++] = value_number(row->name, report.values[i]);
    }
    values[count++] = value_number("seconds", run->seconds);
    values[count++] = value_text("device", run->session->backend->description);
    values[count++] = value_integer("ranks", comm_size(run->session->comm));
    values[count++] = value_integer("threads", run->session->threads);
    values[count++] = value_text("checkpoint", run->source.model.path);
    values[count++] = value_text("checkpoint_checksum", run->source.model.checksum);
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
        value_integer("class", asked_class(run)),
        value_integer("image", config->posterior_image),
        value_text("prior", run->source.name),
        value_text("truth", run->truths.drawn ? "prior" : "test"),
        value_integer("truth_index", run->truths.index[0]),
        value_integer("label", run->truths.label[0]),
        value_unsigned("mask_seed", config->posterior_mask_seed),
        value_unsigned("seed", config->seed),
        value_number("lambda_max", config->posterior_lambda_max),
        value_number("lambda_min", config->posterior_lambda_min),
        value_number("power", config->posterior_power),
        value_number("sigma_y", config->posterior_sigma_y),
        value_number("c", config->posterior_c),
        value_number("max_gain", config->posterior_max_gain),
        value_number("calibrated_v", config->posterior_calibrated_v),
        value_number("zeta", config->posterior_zeta),
        value_number("pigdm_v", config->posterior_pigdm_v),
        value_number("tds_v", config->posterior_tds_v),
        value_integer("jumps", config->posterior_jumps),
        value_integer("particles", config->posterior_particles),
        value_integer("draws_per_run", config->posterior_draws_per_run),
        value_boolean("observation_noise", config->posterior_observation_noise),
        value_text("weights", config->sample_weights),
        value_text("checkpoint", run->source.model.path),
        value_text("checkpoint_checksum", run->source.model.checksum),
        value_json("config", json),
    };
    TRY(session_path(run->session, "posterior.h5", path));
    TRY(posterior_write(path, observation->truth, mask, observation->y, run->draws, config->posterior_draws,
                        run->source.height, run->source.width, (int)(sizeof attributes / sizeof *attributes),
                        attributes));
done:
    free(json);
    return status;
}

/* Rank 0. */
static Status write_products(PosteriorRun *run) {
    Status status = STATUS_OK;
    uint8_t *mask = NULL;
    int64_t pixels = run->source.height * run->source.width;
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
    const Sampler *sampler = NULL;
    int64_t count = 0;
    bool opened = false;
    session_announce(session);
    TRY(source_check(session));
    TRY(source_load(session, &run.source));
    status = exact_draws_find(run.source.prior, session->arguments.config.posterior_sampler, &sampler);
    TRY(comm_agree(session->comm, status));
    count = session->arguments.config.posterior_draws;
    TRY(observe(&run));
    TRY(source_generator(&run.source, session, sampler && sampler->jacobian, &run.generator));
    TRY(product_begin(session, "posterior.h5",
                      count * run.source.height * run.source.width * (int64_t)sizeof *run.draws,
                      run.source.model.checksum));
    opened = true;
    TRY(product_report(session, RUN_RUNNING, 0, count, NULL));
    TRY(draw(&run));
    if (session->root)
        TRY(write_products(&run));
    TRY(product_report(session, RUN_COMPLETED, count, count, NULL));
done:
    if (opened && status != STATUS_OK)
        status = product_report_failure(session, status, count);
    free(run.draws);
    free(run.particles);
    observation_destroy(run.observation);
    generator_release(&run.generator);
    truths_release(&run.truths);
    source_release(&run.source);
    return status;
}

static const ArgumentOption posterior_options[] = {
    {"--fraction", "posterior.fraction", "F", "observed fraction of the pixels"},
    {"--class", "posterior.class", "C", "digit class of the truth, or label of the prior"},
    {"--image", "posterior.image", "I", "which image of that class, from 0"},
    {"--mask-seed", "posterior.mask_seed", "M", "seed of the observed pixels"},
    {"--draws", "posterior.draws", "N", "posterior draws"},
    {"--sampler", "posterior.sampler", "NAME",
     "guided_calibrated, guided, pigdm, dps, repaint, replace, dps_plus, tds or exact"},
    {"--prior", "prior.name", "NAME", "draw from an exact prior instead of a checkpoint's network"},
    {"--weights", "sample.weights", "ema|raw", "averaged or trained parameters"},
    {"--seed", "seed", "S", "seed of every random number"},
    {"--threads", "threads", "N", "threads per rank"},
    {NULL, NULL, NULL, NULL},
};

const Command command_posterior = {
    .description =
        {
            .name = "posterior",
            .summary =
                "draw posterior samples of a partially observed image, from a network or an exact prior",
            .options = posterior_options,
            .flags = ARGUMENT_CHECKPOINT_OPTIONAL | ARGUMENT_PRIOR,
            .key_groups = "data prior diffusion posterior",
            .example = "ddpm_mpi posterior --checkpoint outputs/first --fraction 0.2 --class 7 --image 2",
        },
    .run = run_posterior,
    .stops = true,
};
