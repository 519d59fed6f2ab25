/* The program's only OpenMP region: a team of threads works through independent tasks. */
#ifndef CORE_TEAM_H
#define CORE_TEAM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

/* Task `task` of `count`, run by worker `worker` (0 <= worker < threads; a worker runs one task at a time, so
 * per-worker memory needs no lock). */
typedef Status (*TeamTask)(void *context, int worker, int64_t task);

/* Runs tasks 0..count-1 on `threads` threads, each task once, in any order. After the first failure no new
 * task is started; its status and message become the caller's. Tasks must write disjoint memory. */
Status team_run(int threads, int64_t count, TeamTask task, void *context);

/* Processor cores of a process's affinity mask, one bit each. */
enum { TEAM_CORES_BYTES = 1024 };
typedef struct TeamCores {
    unsigned char bits[TEAM_CORES_BYTES];
} TeamCores;

/* The cores this process may run on; none where the system does not say. */
void team_cores(TeamCores *cores);
int team_cores_count(const TeamCores *cores);
bool team_cores_overlap(const TeamCores *a, const TeamCores *b);

#endif
