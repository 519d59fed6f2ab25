/* The run directory, status.json and the dashboard of commands that draw images. The reports are rank 0's;
 * other ranks do nothing. */
#ifndef COMMANDS_PRODUCT_REPORT_H
#define COMMANDS_PRODUCT_REPORT_H

#include <signal.h>

#include "commands/session.h"
#include "io/metrics.h"

/* Opens the run's directory for the results in `product` ("samples.h5") of `bytes` bytes or little more, for
 * which there must be room, drawn from a checkpoint of this checksum ("" for an exact prior), and writes
 * config.json. Results that are there already are made again if they are of the same checkpoint and settings
 * (but for threads), else refused. Collective. */
Status product_begin(Session *session, const char *product, int64_t bytes, const char *checkpoint_checksum);

/* Writes status.json and the dashboard in the given state; count: images. */
Status product_report(const Session *session, RunState state, int64_t done, int64_t count,
                      const char *message);

/* The same every few seconds while drawing, and a signal to any rank for all of them: `context` of the
 * GenerateProgress product_progress, on every rank. */
typedef struct ProductProgress {
    const Session *session;
    int64_t count;
    double last_look, last_report; /* seconds */
    volatile sig_atomic_t stop;    /* to be polled by the sampler */
} ProductProgress;
ProductProgress product_progress_start(const Session *session, int64_t count);
void product_progress(void *context, int64_t done, int64_t total);

/* After a failure: writes the state (interrupted or failed) and keeps the failure's status and message. */
Status product_report_failure(const Session *session, Status failure, int64_t count);

#endif
