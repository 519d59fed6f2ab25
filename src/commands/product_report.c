#include "commands/product_report.h"

#include <math.h>
#include <stdio.h>

#include "core/clock.h"
#include "io/dashboard.h"

#define REPORT_SECONDS 5.0

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
