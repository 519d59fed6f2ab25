/* What every command starts with: ranks, device, threads, arguments, and its run directory. */
#ifndef COMMANDS_SESSION_H
#define COMMANDS_SESSION_H

#include "comm/comm.h"
#include "commands/arguments.h"
#include "io/checkpoint.h"
#include "io/run_directory.h"
#include "model/network.h"

enum { SESSION_BUILD_BYTES = 256 };

typedef struct Session {
    Arguments arguments; /* arguments.config is the configuration in force */
    const char *command; /* "train" */
    Comm *comm;
    bool root; /* rank 0, which alone reads and writes files */
    const Backend *backend;
    int threads;      /* per rank */
    RunDirectory run; /* path and name on every rank; the lock on rank 0 */
    char started[32]; /* ISO 8601 */
    double start_seconds;
} Session;

/* Resolves --device and the number of threads; checks what the device cannot do. Collective. */
Status session_choose_device(Session *session);

/* Chooses the run's name on rank 0 and opens its directory; every rank gets the name. A command that
 * `resumes` finds the run of its own Slurm job again. A run of another command is refused. A failure before
 * session_begin_run leaves everything as it was. Collective. */
Status session_open_run(Session *session, bool resumes);

/* After the last check of what the directory holds: the run becomes the latest, and keeps its directory. */
Status session_begin_run(Session *session);

/* Path of a file of the run: "RUN/name". */
Status session_path(const Session *session, const char *name, char path[FILE_PATH_BYTES]);

/* Writes the dashboard for this run. It is for people: a failure is a warning, once, and stops nothing. Rank
 * 0. */
void session_update_dashboard(const Session *session);

/* Writes the run's config.json, if this is rank 0. */
Status session_write_config(const Session *session);

/* "VERSION; COMMIT; compiler VERSION". */
void session_build(char text[SESSION_BUILD_BYTES]);

/* Version, commit, compiler, libraries, instruction set, the network's kernels (NULL: none), hosts and ranks
 * as a JSON object, owned by the caller; NULL on other ranks than 0. Ranks whose builds, processors or
 * kernels differ are named in a warning. Collective. */
Status session_provenance(const Session *session, const Network *network, char **json);

/* model.* and diffusion.* of the checkpoint (at `path`) become the session's. STATUS_BAD_INPUT: a setting
 * that was given contradicts them. Rank 0. */
Status session_take_configuration(Session *session, const Checkpoint *checkpoint, const char *path);

/* Warns if a run goes on from a file (at `path`) of another build, library or processor, or with other
 * kernels, as its provenance tells: then it differs in its last bits from a run left alone. Rank 0. */
void session_compare_provenance(const Session *session, const Network *network, const char *provenance_json,
                                const char *path);

/* Prints what runs where: one line. */
void session_announce(const Session *session);

#endif
