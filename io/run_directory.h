/* The directory of one run, outputs/RUN, with its lock. Not collective: rank 0 only, which broadcasts the
 * name. */
#ifndef IO_RUN_DIRECTORY_H
#define IO_RUN_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

enum { RUN_PATH_BYTES = 1024, RUN_NAME_BYTES = 256, RUN_OUTPUTS_BYTES = 768 };

#define RUN_LOCK_WAIT_SECONDS 10.0

typedef struct RunDirectory {
    char path[RUN_PATH_BYTES]; /* outputs/RUN */
    char name[RUN_NAME_BYTES];
    char outputs[RUN_OUTPUTS_BYTES];
    int lock; /* descriptor that holds outputs/RUN/.lock while this process lives; -1 if none */
    size_t existing_characters; /* of path: what stays if the run is closed before it has begun */
} RunDirectory;

/* Refuses a name that cannot be a run's: letters, digits and ._+=,- only, beginning with none of . and -, at
 * most RUN_NAME_BYTES - 1 long, not that of another file of the outputs. Touches no file. */
Status run_directory_check_name(const char *name);

/* Chooses a run's name: `given` (checked), or COMMAND-YYYYmmdd-HHMMSS[-JOB] in
 * local time with JOB from SLURM_JOB_ID. For a command that `resumes`, a COMMAND-*-JOB that `outputs` has
 * already is taken (the latest of them), so that a requeued job goes on with its own. Touches no file. */
Status run_directory_name(const char *outputs, const char *command, const char *given, bool resumes,
                          char name[RUN_NAME_BYTES]);

/* Makes outputs/RUN if it is not there and takes its lock. A lock that is held is waited for `wait_seconds`
 * (RUN_LOCK_WAIT_SECONDS), then refused naming its holder. Errors: STATUS_BAD_INPUT if outputs is not
 * writable or the run is in use. */
Status run_directory_open(const char *outputs, const char *name, double wait_seconds, RunDirectory *out);

/* After all checks: makes checkpoints/ and figures/, and the run the latest one (LATEST_RUN.txt and the link
 * `current`). */
Status run_directory_begin(RunDirectory *run);

/* For ranks that exchange no messages while they work: one that must stop says so, the others look about once
 * a second. Forgotten when the run begins and when it is closed. Any rank. */
void run_directory_stop(const RunDirectory *run);
bool run_directory_is_stopped(const RunDirectory *run);

/* True if the run has products already: anything besides its lock and empty folders. For --resume never. */
bool run_directory_is_used(const RunDirectory *run);

/* Gives the lock back; of a run that has not begun, folders that were made for it are removed.
 * Zero-initialised or closed already: nothing happens. */
void run_directory_close(RunDirectory *run);

#endif
