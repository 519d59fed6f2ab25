#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "commands/product_report.h"
#include "commands/sweep.h"
#include "core/clock.h"
#include "core/interrupt.h"
#include "core/log.h"

#define LOOK_SECONDS 1.0
#define REPORT_SECONDS 5.0

enum { WAIT_NANOSECONDS = 10000000 }; /* between two looks at whether the other ranks have ended */

Status sweep_progress_start(SweepRun *run) {
    Status status = STATUS_OK;
    SweepProgress *progress = &run->progress;
    *progress = (SweepProgress){.start = clock_seconds()};
    progress->last_look = progress->last_report = progress->start;
    progress->units_before = run->grid.units - run->unfinished_count;
    progress->units_done = progress->units_before;
    for (int64_t i = 0; i < run->unfinished_count; i++)
        progress->cost += run->grid.sampler[run->unfinished[i] % run->grid.samplers].cost;
    if (run->session->root)
        TRY(ALLOCATE(&progress->present, run->grid.units));
done:
    return status;
}

void sweep_progress_release(SweepProgress *progress) {
    free(progress->present);
    progress->present = NULL;
}

void sweep_stop_others(SweepRun *run) {
    if (comm_size(run->session->comm) > 1)
        run_directory_stop(&run->session->run);
}

/* Rank 0: what is on the disk by now, of this rank's own units and the others'. */
static void count_parts(SweepRun *run) {
    SweepProgress *progress = &run->progress;
    if (sweep_parts_list(run->session->run.path, run->grid.units, progress->present) != STATUS_OK)
        return;
    progress->others_done = 0;
    progress->units_done = progress->units_before;
    for (int64_t i = 0; i < run->unfinished_count; i++) {
        bool mine = i >= run->first && i < run->first + run->count;
        if (!progress->present[run->unfinished[i]])
            continue;
        progress->units_done++;
        if (!mine)
            progress->others_done += run->grid.sampler[run->unfinished[i] % run->grid.samplers].cost;
    }
}

static double share_done(const SweepRun *run) {
    const SweepProgress *progress = &run->progress;
    double done = (progress->cost_done + progress->others_done) / progress->cost;
    return progress->cost > 0 ? fmin(done, 1) : 1;
}

static void print_line(const SweepRun *run, double call_share) {
    const SweepProgress *progress = &run->progress;
    char text[32];
    double elapsed = clock_seconds() - progress->start;
    double share = fmin(share_done(run) + call_share * progress->call_cost / fmax(progress->cost, 1), 1);
    log_progress(false, "sweep: %lld of %lld units (%.0f %%), %s left", (long long)progress->units_done,
                 (long long)run->grid.units, 100.0 * (double)progress->units_done / (double)run->grid.units,
                 log_duration(share > 0 ? elapsed * (1 - share) / share : -1, text));
}

void sweep_progress_update(SweepRun *run, double share) {
    SweepProgress *progress = &run->progress;
    double now = clock_seconds();
    if (interrupt_received() && !progress->stop) {
        progress->stop = 1;
        sweep_stop_others(run);
    }
    if (now - progress->last_look < LOOK_SECONDS)
        return;
    progress->last_look = now;
    if (run_directory_is_stopped(&run->session->run))
        progress->stop = 1;
    if (!run->session->root)
        return;
    if (now - progress->last_report >= REPORT_SECONDS) {
        progress->last_report = now;
        (void)sweep_progress_report(run, RUN_RUNNING, ""); /* for people: no reason to stop */
    }
    print_line(run, share);
}

Status sweep_wait_for_others(SweepRun *run, Status mine) {
    Status status = STATUS_OK;
    Comm *comm = run->session->comm;
    int64_t ended = 1;
    bool all = false;
    char message[1024];
    CommRequest *request = NULL;
    snprintf(message, sizeof message, "%s", status_message()); /* progress may fail, and say so */
    TRY(comm_allreduce_start(comm, &ended, 1, COMM_INT64, &request));
    for (;;) {
        TRY(comm_test(comm, &request, &all));
        if (all)
            break;
        sweep_progress_update(run, 0);
        (void)nanosleep(&(struct timespec){.tv_nsec = WAIT_NANOSECONDS}, NULL);
    }
    if (mine != STATUS_OK)
        status = status_error(mine, "%s", message);
done:
    return status;
}

Status sweep_progress_report(SweepRun *run, RunState state, const char *message) {
    Status status = STATUS_OK;
    const Session *session = run->session;
    const SweepProgress *progress = &run->progress;
    bool completed = state == RUN_COMPLETED;
    if (!session->root)
        return STATUS_OK;
    if (progress->present && !completed)
        count_parts(run);
    double elapsed = clock_seconds() - progress->start, share = share_done(run);
    int64_t done = completed ? run->grid.units : progress->units_done;
    RunStatus report = {
        .state = state,
        .step = done * run->shape.draws,
        .total_steps = run->grid.units * run->shape.draws,
        .loss = NAN,
        .images_per_s = (double)((done - progress->units_before) * run->shape.draws) / fmax(elapsed, 1e-3),
        .eta_s = completed   ? 0
                 : share > 0 ? elapsed * (1 - share) / share
                             : NAN,
        .ranks = comm_size(session->comm),
        .threads = session->threads,
    };
    snprintf(report.command, sizeof report.command, "%s", session->command);
    snprintf(report.device, sizeof report.device, "%s", session->backend->description);
    snprintf(report.started, sizeof report.started, "%s", session->started);
    snprintf(report.message, sizeof report.message, "%s", message);
    TRY(status_write(session->run.path, &report));
    session_update_dashboard(session);
done:
    return status;
}
