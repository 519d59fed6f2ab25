/* A run's numbers for people and figures: steps.jsonl, metrics.json, status.json. Not collective: rank 0
 * only. */
#ifndef IO_METRICS_H
#define IO_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "io/named_value.h"

/* One line of steps.jsonl. `step` counts the steps done, from 1. Numbers keep their exact value; non-finite
 * ones are stored as the strings "nan", "inf", "-inf". */
typedef struct StepRecord {
    int64_t step, epoch;
    double loss, grad_norm, lr, images_per_s;
    double validation_loss; /* after the last step of an epoch; NaN: none, and not in the line */
} StepRecord;

typedef struct StepsLog StepsLog;

/* Opens for appending; lines of steps after `last_step` (0: all) and a torn last line are cut away first.
 * Warns of steps up to it that are missing at the end. */
Status steps_log_open(const char *path, int64_t last_step, StepsLog **out);
/* Buffered: written out after at most 2 seconds of further appending. */
Status steps_log_append(StepsLog *log, const StepRecord *record);
/* Writes everything out and fsyncs. Call before each checkpoint, so that no step up to it can be missing
 * after a crash. */
Status steps_log_flush(StepsLog *log);
/* Flushes, closes and frees; the error, if any, of the flush. NULL is fine. */
Status steps_log_close(StepsLog *log);

/* Reads all whole lines (a torn last line is left out); *records (count) is the caller's to free. A missing
 * file is STATUS_BAD_INPUT. */
Status steps_log_read(const char *path, int64_t *count, StepRecord **records);

/* A pretty-printed JSON object ending in a newline, owned by the caller. */
Status named_values_json(int count, const NamedValue *values, char **json);

/* The text under `name` in such an object, cut to `bytes`; "" if there is none, or the object cannot be read.
 */
void named_value_text(const char *json, const char *name, char *text, size_t bytes);

/* Writes that object to a file, atomically. */
Status metrics_write(const char *path, int count, const NamedValue *values);

typedef enum RunState {
    RUN_RUNNING,
    RUN_COMPLETED,
    RUN_INTERRUPTED,
    RUN_FAILED,
} RunState;

/* RUN/status.json, for the dashboard and for scripts. Zero-initialise; unknown numbers are NaN or 0. */
typedef struct RunStatus {
    RunState state;
    char command[32];
    int64_t step, total_steps; /* steps done of all; samples or draws for the other commands */
    int64_t epoch;
    double loss, images_per_s, eta_s;
    int ranks, threads;
    char device[128];
    char started[32], updated[32]; /* ISO 8601 with the zone's offset; see status_now */
    double gpu_seconds;            /* ranks on GPUs times elapsed seconds */
    char message[512];             /* why it failed or was interrupted; else "" */
} RunStatus;

/* "running", "completed", "interrupted", "failed". */
const char *run_state_name(RunState state);

/* Local time now, "2026-01-31T13:59:59+01:00". */
void status_now(char text[32]);

/* Writes RUN/status.json atomically; `updated` in the file is the time of the call. */
Status status_write(const char *run_directory, const RunStatus *run_status);
Status status_read(const char *run_directory, RunStatus *out);

#endif
