#define _GNU_SOURCE
#include "core/team.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

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

int team_available_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    return 1;
}
