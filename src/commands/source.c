#include "commands/source.h"

#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/rng.h"
#include "io/idx.h"

static bool is_network(const Config *config) {
    return strcmp(config->prior_name, "network") == 0;
}

static Status check_alone(const Session *session) {
    const Arguments *arguments = &session->arguments;
    const char *prior = arguments->config.prior_name;
    if (is_network(&arguments->config) && !arguments->checkpoint)
        return status_error(
            STATUS_BAD_INPUT,
            "%s: expected --checkpoint FILE (or a run directory), or --prior NAME for an exact "
            "prior: try: ddpm_mpi %s --help",
            session->command, session->command);
    if (!is_network(&arguments->config) && arguments->checkpoint)
        return status_error(
            STATUS_BAD_INPUT,
            "%s: expected one of --checkpoint and --prior, found --checkpoint %s and --prior %s",
            session->command, arguments->checkpoint, prior);
    if (is_network(&arguments->config) && strcmp(arguments->config.posterior_truth, "prior") == 0)
        return status_error(STATUS_BAD_INPUT,
                            "posterior.truth: prior needs an exact prior (--prior NAME), found the network");
    return STATUS_OK;
}

Status source_check(const Session *session) {
    return comm_agree(session->comm, check_alone(session));
}

static PriorSettings prior_settings(const Config *config, const char *name) {
    return (PriorSettings){
        .name = name,
        .side = config->prior_side,
        .correlation = config->prior_correlation,
        .modes = config->prior_modes,
        .separation = config->prior_separation,
        .images = config->prior_images,
        .tau = config->prior_tau,
        .seed = config->prior_seed,
    };
}

/* Rank 0. */
static Status make_prior(const Config *config, Prior **prior) {
    Status status = STATUS_OK;
    Dataset train = {0};
    PriorSettings settings = prior_settings(config, config->prior_name);
    if (!prior_needs_images(settings.name))
        return prior_create(&settings, NULL, prior);
    TRY(dataset_load(config->data_dir, "train", config->data_limit, &train));
    PriorImages images = {train.count, train.height, train.width, train.pixels, train.labels};
    TRY(prior_create(&settings, &images, prior));
done:
    dataset_release(&train);
    return status;
}

static Status load_prior(Session *session, Source *source) {
    Status status = STATUS_OK;
    char text[200];
    if (session->root)
        status = make_prior(&session->arguments.config, &source->prior);
    TRY(comm_agree(session->comm, status));
    TRY(prior_broadcast(session->comm, &source->prior));
    source->height = prior_height(source->prior);
    source->width = prior_width(source->prior);
    log_info("%s", prior_describe(source->prior, text));
done:
    return status;
}

Status source_load(Session *session, Source *source) {
    Status status = STATUS_OK;
    *source = (Source){0};
    snprintf(source->name, sizeof source->name, "%.31s", session->arguments.config.prior_name);
    if (!is_network(&session->arguments.config))
        return load_prior(session, source);
    TRY(trained_model_load(session, &source->model));
    source->height = source->model.height;
    source->width = source->model.width;
done:
    return status;
}

void source_release(Source *source) {
    trained_model_release(&source->model);
    prior_destroy(source->prior);
    *source = (Source){0};
}

Status source_generator(const Source *source, Session *session, bool jacobian, Generator *generator) {
    if (source->prior)
        return generator_create_prior(generator, session, source->prior);
    return generator_create(generator, session, source->height, source->width, source->model.parameters,
                            jacobian);
}

/* Rank 0: no prior, and a line that says why, where the images are not there. */
static Status make_reader(const Session *session, const Source *source, Prior **reader) {
    Status status = STATUS_OK;
    const Config *config = &session->arguments.config;
    Dataset train = {0};
    PriorSettings settings = prior_settings(config, "empirical");
    if (dataset_load(config->data_dir, "train", settings.images, &train) != STATUS_OK) {
        log_info("digits of draws are not read: %s", status_message());
        goto done;
    }
    if (train.height != source->height || train.width != source->width) {
        log_info(
            "digits of draws are not read: training images are %lldx%lld pixels, the network's %lldx%lld",
            (long long)train.height, (long long)train.width, (long long)source->height,
            (long long)source->width);
        goto done;
    }
    PriorImages images = {train.count, train.height, train.width, train.pixels, train.labels};
    settings.images = train.count;
    TRY(prior_create(&settings, &images, reader));
done:
    dataset_release(&train);
    return status;
}

Status source_reader(Session *session, const Source *source, Prior **reader, bool *owned) {
    Status status = STATUS_OK;
    int64_t found;
    *reader = source->prior;
    *owned = !source->prior;
    if (source->prior)
        return STATUS_OK;
    if (session->root)
        status = make_reader(session, source, reader);
    TRY(comm_agree(session->comm, status));
    found = *reader != NULL;
    TRY(comm_broadcast(session->comm, &found, sizeof found, 0));
    if (found)
        TRY(prior_broadcast(session->comm, reader));
done:
    return status;
}

uint64_t unit_noise_seed(uint64_t seed, uint64_t mask_seed) {
    return rng_derive_seed(seed, (uint32_t)mask_seed, (uint32_t)(mask_seed >> 32), 0);
}

uint64_t unit_draw_seed(uint64_t seed, uint64_t mask_seed, int64_t observed_count, int64_t truth_index) {
    uint64_t of_mask = rng_derive_seed(seed, (uint32_t)mask_seed, (uint32_t)(mask_seed >> 32),
                                       (uint32_t)observed_count); /* at least 1: never unit_noise_seed */
    return rng_derive_seed(of_mask, (uint32_t)truth_index, 0, 0);
}
