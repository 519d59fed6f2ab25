#include "commands/product_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "io/hdf5_file.h"

#define LOOK_SECONDS 1.0
#define REPORT_SECONDS 5.0

static Status compare_settings(const Session *session, const Config *stored) {
    const Config *asked = &session->arguments.config;
    char old_text[CONFIG_VALUE_SIZE], new_text[CONFIG_VALUE_SIZE];
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        config_value_json(stored, i, old_text);
        config_value_json(asked, i, new_text);
        if (i != CONFIG_KEY_threads && strcmp(old_text, new_text) != 0)
            return status_error(
                STATUS_BAD_INPUT,
                "%s: it has results of other settings: %s: expected %.100s as in that run, found %.100s; "
                "choose another --run",
                session->run.path, config_key(i)->path, config_value_plain(stored, i, old_text),
                config_value_plain(asked, i, new_text));
    }
    return STATUS_OK;
}

/* Settings and checkpoint of a product; *checksum is the caller's to free. */
static Status read_origin(const char *path, Config *stored, char **checksum) {
    Status status = STATUS_OK;
    Hdf5File *file = NULL;
    char *config = NULL;
    TRY(hdf5_open(path, &file));
    TRY(hdf5_read_text(file, "config", &config));
    TRY(hdf5_read_text(file, "checkpoint_checksum", checksum));
    config_defaults(stored);
    TRY(config_from_json(stored, config, path));
done:
    hdf5_close(file);
    free(config);
    return status;
}

/* Rank 0: whether the results that are there would be made again. */
static Status compare_earlier(const Session *session, const char *path, const char *checkpoint_checksum) {
    Status status = STATUS_OK;
    Config stored;
    char *checksum = NULL;
    status = read_origin(path, &stored, &checksum);
    if (status != STATUS_OK) {
        status_context(status, "%s: nobody knows what the results there are of; choose another --run",
                       session->run.path);
        goto done;
    }
    TRY(compare_settings(session, &stored));
    if (strcmp(checksum, checkpoint_checksum) != 0)
        FAIL(STATUS_BAD_INPUT,
             "%s: it has results of another checkpoint: expected parameters' checksum %s, found %s; choose "
             "another --run",
             session->run.path, checksum, checkpoint_checksum);
done:
    free(checksum);
    return status;
}

/* Rank 0. */
static Status begin(Session *session, const char *product, int64_t bytes, const char *checkpoint_checksum) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES];
    TRY(session_path(session, product, path));
    if (file_exists(path))
        TRY(compare_earlier(session, path, checkpoint_checksum));
    TRY(file_check_room(path, (uint64_t)bytes));
    TRY(session_begin_run(session));
    TRY(session_write_config(session));
done:
    return status;
}

Status product_begin(Session *session, const char *product, int64_t bytes, const char *checkpoint_checksum) {
    Status status = STATUS_OK;
    TRY(session_open_run(session, false));
    if (session->root)
        status = begin(session, product, bytes, checkpoint_checksum);
    TRY(comm_agree(session->comm, status));
done:
    return status;
}

Status product_report(const Session *session, RunState state, int64_t done, int64_t count,
                      const char *message) {
    Status status = STATUS_OK;
    double seconds = clock_seconds() - session->start_seconds;
    if (!session->root)
        return STATUS_OK;
    RunStatus run = {
        .state = state,
        .step = done,
        .total_steps = count,
        .loss = NAN,
        .images_per_s = done > 0 ? (double)done / seconds : NAN,
        .eta_s = state == RUN_COMPLETED             ? 0
                 : state == RUN_RUNNING && done > 0 ? seconds * (double)(count - done) / (double)done
                                                    : NAN,
        .ranks = comm_size(session->comm),
        .threads = session->threads,
    };
    snprintf(run.command, sizeof run.command, "%s", session->command);
    snprintf(run.device, sizeof run.device, "%s", session->backend->description);
    snprintf(run.started, sizeof run.started, "%s", session->started);
    snprintf(run.message, sizeof run.message, "%s", message ? message : "");
    TRY(status_write(session->run.path, &run));
    session_update_dashboard(session);
done:
    return status;
}

ProductProgress product_progress_start(const Session *session, int64_t count) {
    double now = clock_seconds();
    return (ProductProgress){.session = session, .count = count, .last_look = now, .last_report = now};
}

void product_progress(void *context, int64_t done, int64_t total) {
    ProductProgress *progress = context;
    const Session *session = progress->session;
    double now = clock_seconds();
    if (interrupt_received() && !progress->stop) {
        progress->stop = 1;
        if (comm_size(session->comm) > 1)
            run_directory_stop(&session->run);
    }
    if (now - progress->last_look < LOOK_SECONDS)
        return;
    progress->last_look = now;
    if (run_directory_is_stopped(&session->run))
        progress->stop = 1;
    if (now - progress->last_report < REPORT_SECONDS)
        return;
    progress->last_report = now;
    /* for people: no reason to stop */
    (void)product_report(session, RUN_RUNNING,
                         (int64_t)((double)done / (double)total * (double)progress->count), progress->count,
                         NULL);
}

Status product_report_failure(const Session *session, Status failure, int64_t count) {
    char message[1024];
    snprintf(message, sizeof message, "%s", status_message());
    if (failure == STATUS_INTERRUPTED)
        log_info("%s: nothing of it is kept; the same command begins again", message);
    /* a second failure while reporting must not hide the first */
    (void)product_report(session, failure == STATUS_INTERRUPTED ? RUN_INTERRUPTED : RUN_FAILED, 0, count,
                         message);
    return status_error(failure, "%s", message);
}
