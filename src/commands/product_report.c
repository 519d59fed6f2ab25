#include "commands/product_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "io/dashboard.h"
#include "io/hdf5_file.h"

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
static Status compare_earlier(const Session *session, const char *product, const char *checkpoint_checksum) {
    Status status = STATUS_OK;
    Config stored;
    char path[FILE_PATH_BYTES], *checksum = NULL;
    TRY(session_path(session, product, path));
    if (!file_exists(path))
        goto done;
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

Status product_begin(Session *session, const char *product, const char *checkpoint_checksum) {
    Status status = STATUS_OK;
    TRY(session_open_run(session, false));
    if (session->root)
        status = compare_earlier(session, product, checkpoint_checksum);
    if (status == STATUS_OK)
        status = session_begin_run(session);
    if (status == STATUS_OK)
        status = session_write_config(session);
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
    TRY(dashboard_write(session->run.outputs, session->run.name));
done:
    return status;
}

void product_progress(void *context, int64_t done, int64_t total) {
    ProductProgress *progress = context;
    double now = clock_seconds();
    if (now - progress->last_seconds < REPORT_SECONDS)
        return;
    progress->last_seconds = now;
    /* for people: no reason to stop */
    (void)product_report(progress->session, RUN_RUNNING,
                         (int64_t)((double)done / (double)total * (double)progress->count), progress->count,
                         NULL);
}

Status product_report_failure(const Session *session, Status failure, int64_t count) {
    char message[1024];
    snprintf(message, sizeof message, "%s", status_message());
    /* a second failure while reporting must not hide the first */
    (void)product_report(session, failure == STATUS_INTERRUPTED ? RUN_INTERRUPTED : RUN_FAILED, 0, count,
                         message);
    return status_error(failure, "%s", message);
}
