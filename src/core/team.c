#define _GNU_SOURCE
#include "core/team.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

Status team_run(int threads, int64_t count, TeamTask task, void *context) {
    _Atomic int64_t next = 0;
    Status first = STATUS_OK;
    char message[1024] = "";
    if (threads > count)
        threads = count > 0 ? (int)count : 1;
#pragma omp parallel num_threads(threads)
    {
        for (;;) {
            int64_t mine = atomic_fetch_add(&next, 1);
            if (mine >= count)
                break;
            Status status = task(context, omp_get_thread_num(), mine);
            if (status != STATUS_OK) {
                atomic_store(&next, count);
#pragma omp critical(team_first_failure)
                if (first == STATUS_OK) {
                    first = status;
                    snprintf(message, sizeof message, "%s", status_message());
                }
            }
        }
    }
    return first == STATUS_OK ? STATUS_OK : status_error(first, "%s", message);
}

void team_cores(TeamCores *cores) {
    cpu_set_t *set = CPU_ALLOC(8 * TEAM_CORES_BYTES);
    memset(cores, 0, sizeof *cores);
    if (set && sched_getaffinity(0, sizeof *cores, set) == 0)
        for (int core = 0; core < 8 * TEAM_CORES_BYTES; core++)
            if (CPU_ISSET_S(core, sizeof *cores, set))
                cores->bits[core / 8] |= (unsigned char)(1u << core % 8);
    CPU_FREE(set);
}

int team_cores_count(const TeamCores *cores) {
    int count = 0;
    for (int i = 0; i < TEAM_CORES_BYTES; i++)
        count += __builtin_popcount(cores->bits[i]);
    return count;
}

bool team_cores_overlap(const TeamCores *a, const TeamCores *b) {
    for (int i = 0; i < TEAM_CORES_BYTES; i++)
        if (a->bits[i] & b->bits[i])
            return true;
    return false;
}
