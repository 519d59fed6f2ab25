/* What a run has already, and whether it is of this sweep. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/sweep.h"
#include "core/log.h"
#include "io/checksum.h"

enum { READER_SAMPLES = 16 };

/* ---- the settings of an earlier session ---- */

/* Where this session's run would be, as far as the arguments say; "" where it will be a new one. */
static Status likely_directory(const Session *session, char directory[FILE_PATH_BYTES]) {
    Status status = STATUS_OK;
    char name[RUN_NAME_BYTES];
    directory[0] = '\0';
    TRY(run_directory_name(session->arguments.outputs, session->command, session->arguments.run, true, name));
    TRY(file_join(directory, session->arguments.outputs, name));
done:
    return status;
}

/* Takes the stored settings that count; those given now must agree with them. The folder of the images may be
 * another, and is the stored one by default. */
static Status take_settings(const char *directory, const Config *stored, bool network, Config *asked) {
    Status status = STATUS_OK;
    char *old_text = NULL, *new_text = NULL;
    TRY(ALLOCATE(&old_text, CONFIG_VALUE_SIZE));
    TRY(ALLOCATE(&new_text, CONFIG_VALUE_SIZE));
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const char *path = config_key(i)->path;
        bool free_to_change = i == CONFIG_KEY_data_dir; /* the images themselves are compared */
        if (!free_to_change && !sweep_setting_counts(path, network))
            continue;
        if (free_to_change && asked->explicitly_set[i])
            continue;
        config_value_json(stored, i, old_text);
        config_value_json(asked, i, new_text);
        if (asked->explicitly_set[i] && strcmp(old_text, new_text) != 0)
            FAIL(STATUS_BAD_INPUT,
                 "%s: results of another sweep: %s: expected %.100s as in that run, found %.100s; keep its "
                 "settings, or start another run with --run",
                 directory, path, config_value_plain(stored, i, old_text),
                 config_value_plain(asked, i, new_text));
        TRY(config_set_value(asked, path, old_text, directory));
    }
done:
    free(old_text);
    free(new_text);
    return status;
}

/* Rank 0. */
static Status find_on_root(SweepRun *run, const char *directory) {
    Status status = STATUS_OK;
    Session *session = run->session;
    Arguments *arguments = &session->arguments;
    Config stored;
    char path[FILE_PATH_BYTES];
    RunDirectory peek = {.lock = -1};
    snprintf(peek.path, sizeof peek.path, "%.*s", (int)sizeof peek.path - 1, directory);
    if (strcmp(arguments->resume, "never") == 0) {
        if (run_directory_is_used(&peek))
            FAIL(STATUS_BAD_INPUT, "%s: --resume never, but this run has files already; choose another --run",
                 directory);
        goto done;
    }
    TRY(sweep_origin_read(directory, &run->origin, &run->resumes));
    if (!run->resumes)
        goto done;
    TRY(file_join(path, directory, SWEEP_FILE_NAME));
    run->complete = file_exists(path);
    TRY(file_join(path, directory, "config.json"));
    config_defaults(&stored);
    TRY(config_load_file(&stored, path));
    bool network = strcmp(run->origin.source, "network") == 0;
    if (network && arguments->exact_prior)
        FAIL(STATUS_BAD_INPUT,
             "%s: results of another sweep: expected a network as in that run, found --prior %s", directory,
             arguments->config.prior_name);
    if (!network && arguments->checkpoint)
        FAIL(STATUS_BAD_INPUT,
             "%s: results of another sweep: expected --prior %s as in that run, found --checkpoint %s",
             directory, run->origin.source, arguments->checkpoint);
    TRY(take_settings(directory, &stored, network, &arguments->config));
    TRY(config_check(&arguments->config));
    if (network && !arguments->checkpoint)
        snprintf(run->checkpoint, sizeof run->checkpoint, "%s", run->origin.checkpoint);
done:
    return status;
}

Status sweep_find_earlier(SweepRun *run) {
    Status status = STATUS_OK;
    Session *session = run->session;
    char directory[FILE_PATH_BYTES];
    if (session->root) {
        status = likely_directory(session, directory);
        if (status == STATUS_OK && directory[0])
            status = find_on_root(run, directory);
    }
    TRY(comm_agree(session->comm, status));
    TRY(comm_broadcast(session->comm, &run->resumes, sizeof run->resumes, 0));
    TRY(comm_broadcast(session->comm, &run->complete, sizeof run->complete, 0));
    TRY(comm_broadcast(session->comm, &run->origin, sizeof run->origin, 0));
    TRY(comm_broadcast(session->comm, run->checkpoint, sizeof run->checkpoint, 0));
    TRY(comm_broadcast(session->comm, &session->arguments.config, sizeof session->arguments.config, 0));
    if (run->checkpoint[0])
        session->arguments.checkpoint = run->checkpoint;
done:
    return status;
}

/* ---- the origin ---- */

/* Of the images to observe and of what reads their digits. */
static Status checksum_images(const SweepRun *run, uint64_t *value) {
    Status status = STATUS_OK;
    uint64_t truths;
    float *image = NULL;
    Checksum checksum = checksum_start();
    TRY(truths_checksum(&run->truths, &truths));
    checksum_add(&checksum, &truths, sizeof truths);
    if (run->reader) {
        int64_t pixels = prior_pixels(run->reader);
        TRY(ALLOCATE(&image, pixels));
        for (uint32_t i = 0; i < READER_SAMPLES; i++) { /* two priors differ in their draws */
            TRY(prior_draw(run->reader, 0, i, image, NULL));
            checksum_add(&checksum, image, (size_t)pixels * sizeof *image);
        }
    }
    *value = checksum_value(&checksum);
done:
    free(image);
    return status;
}

static Status describe_origin(const SweepRun *run, SweepOrigin *origin) {
    Status status = STATUS_OK;
    const Session *session = run->session;
    uint64_t checksum;
    *origin = (SweepOrigin){.units = run->grid.units};
    sweep_grid_hash(&session->arguments.config, !run->source.prior, origin->grid_hash);
    snprintf(origin->source, sizeof origin->source, "%s", run->source.name);
    snprintf(origin->checkpoint, sizeof origin->checkpoint, "%s", run->source.model.path);
    snprintf(origin->checkpoint_checksum, sizeof origin->checkpoint_checksum, "%s",
             run->source.model.checksum);
    snprintf(origin->backend, sizeof origin->backend, "%.15s %.15s", session->backend->name,
             session->arguments.config.train_precision);
    snprintf(origin->libraries, sizeof origin->libraries, "%s", session->backend->description);
    session_build(origin->build);
    TRY(checksum_images(run, &checksum));
    snprintf(origin->truths_checksum, sizeof origin->truths_checksum, "%016" PRIx64, checksum);
done:
    return status;
}

/* What computes units: to add some to a run's it must be the same in all that promises the same bits. A new
 * build of the program is a person's decision, and only printed. */
static Status compare_machine(const char *directory, const SweepOrigin *found, const SweepOrigin *expected) {
    if (strcmp(found->backend, expected->backend) != 0)
        return status_error(
            STATUS_BAD_INPUT,
            "%s: results of another backend: expected %s, found %s, whose results differ in their "
            "last bits; choose it with --device and train.precision, or start another run with "
            "--run",
            directory, found->backend, expected->backend);
    if (strcmp(found->libraries, expected->libraries) != 0)
        return status_error(STATUS_BAD_INPUT,
                            "%s: results of another library, instruction set or device: expected %s, found "
                            "%s, whose results differ in their last bits; continue on a machine like that "
                            "one, or start another run with --run",
                            directory, found->libraries, expected->libraries);
    return STATUS_OK;
}

static Status compare_origin(const char *directory, const SweepOrigin *found, const SweepOrigin *expected) {
    if (strcmp(found->checkpoint_checksum, expected->checkpoint_checksum) != 0)
        return status_error(
            STATUS_BAD_INPUT,
            "%s: results of another checkpoint: expected parameters' checksum %s (%s), found %s "
            "(%s); give that checkpoint, or start another run with --run",
            directory, found->checkpoint_checksum, found->checkpoint, expected->checkpoint_checksum,
            expected->checkpoint);
    if (strcmp(found->truths_checksum, expected->truths_checksum) != 0)
        return status_error(STATUS_BAD_INPUT,
                            "%s: results of other images: expected their checksum %s, found %s; data.dir has "
                            "changed: give that folder, or start another run with --run",
                            directory, found->truths_checksum, expected->truths_checksum);
    if (found->units != expected->units || strcmp(found->grid_hash, expected->grid_hash) != 0)
        return status_error(
            STATUS_BAD_INPUT,
            "%s: results of another grid: expected grid %s of %lld units, found %s of %lld; start "
            "another run with --run",
            directory, found->grid_hash, (long long)found->units, expected->grid_hash,
            (long long)expected->units);
    return STATUS_OK;
}

/* Whether this session may go on with a run that `found` describes. */
static Status compare(const char *directory, bool complete, const SweepOrigin *found,
                      const SweepOrigin *expected) {
    Status status = compare_origin(directory, found, expected);
    return status == STATUS_OK && !complete ? compare_machine(directory, found, expected) : status;
}

/* Rank 0, under the run's lock. */
static Status open_on_root(SweepRun *run, const SweepOrigin *origin) {
    Status status = STATUS_OK;
    Session *session = run->session;
    char path[FILE_PATH_BYTES];
    SweepOrigin found;
    TRY(session_path(session, SWEEP_FILE_NAME, path));
    run->complete = file_exists(path);
    TRY(sweep_origin_read(session->run.path, &found, &run->resumes));
    if (run->resumes)
        TRY(compare(session->run.path, run->complete, &found, origin));
    if (run->complete && !run->resumes)
        FAIL(STATUS_BAD_INPUT,
             "%s: its grid.json is missing, so nobody knows what it is of; choose another --run", path);
    TRY(session_begin_run(session));
    if (run->complete)
        goto done;
    if (run->resumes && strcmp(found.build, origin->build) != 0)
        log_warning("%s was begun by another build, %s; this one is %s: where the two compute differently, "
                    "its units will not agree in their last bits",
                    session->run.path, found.build, origin->build);
    TRY(sweep_parts_prepare(session->run.path));
    if (!run->resumes) {
        TRY(session_write_config(session));
        TRY(sweep_origin_write(session->run.path, origin));
    }
done:
    return status;
}

/* This session's origin, and whether it may go on with the earlier one, before its directory is touched. */
static Status describe_and_compare(const SweepRun *run, SweepOrigin *origin) {
    Status status = STATUS_OK;
    char directory[FILE_PATH_BYTES];
    TRY(describe_origin(run, origin));
    if (run->resumes) {
        TRY(likely_directory(run->session, directory));
        TRY(compare(directory, run->complete, &run->origin, origin));
    }
done:
    return status;
}

Status sweep_open(SweepRun *run) {
    Status status = STATUS_OK;
    Session *session = run->session;
    SweepOrigin origin;
    status = describe_and_compare(run, &origin);
    TRY(comm_agree(session->comm, status));
    run->origin = origin;
    TRY(session_open_run(session, true));
    if (session->root)
        status = open_on_root(run, &origin);
    TRY(comm_agree(session->comm, status));
    TRY(comm_broadcast(session->comm, &run->complete, sizeof run->complete, 0));
    TRY(comm_broadcast(session->comm, &run->resumes, sizeof run->resumes, 0));
done:
    return status;
}

/* ---- finished units ---- */

/* Each rank reads every size-th part: good[unit] = 1 for whole ones. */
static Status verify_parts(const SweepRun *run, const uint8_t *present, int64_t *good) {
    Status status = STATUS_OK;
    const Session *session = run->session;
    SweepUnit *unit = NULL;
    int64_t looked_at = 0;
    TRY(sweep_unit_create(&run->shape, &unit));
    for (int64_t number = 0; number < run->grid.units; number++) {
        if (!present[number] || looked_at++ % comm_size(session->comm) != comm_rank(session->comm))
            continue;
        good[number] =
            sweep_part_read(session->run.path, run->origin.grid_hash, &run->shape, number, unit) == STATUS_OK;
        if (!good[number])
            log_warning("%s; this unit is done again", status_message());
    }
done:
    sweep_unit_destroy(unit);
    return status;
}

Status sweep_find_unfinished(SweepRun *run) {
    Status status = STATUS_OK;
    Comm *comm = run->session->comm;
    uint8_t *present = NULL;
    int64_t *good = NULL;
    status = ALLOCATE(&present, run->grid.units);
    if (status == STATUS_OK)
        status = ALLOCATE(&good, run->grid.units);
    if (status == STATUS_OK)
        status = ALLOCATE(&run->unfinished, run->grid.units);
    if (status == STATUS_OK && run->session->root)
        status = sweep_parts_list(run->session->run.path, run->grid.units, present);
    TRY(comm_agree(comm, status));
    TRY(comm_broadcast(comm, present, (size_t)run->grid.units, 0));
    status = verify_parts(run, present, good);
    TRY(comm_agree(comm, status));
    TRY(comm_allreduce_i64(comm, good, run->grid.units, COMM_MAX));
    run->unfinished_count = 0;
    for (int64_t number = 0; number < run->grid.units; number++)
        if (!good[number])
            run->unfinished[run->unfinished_count++] = number;
done:
    free(present);
    free(good);
    return status;
}
