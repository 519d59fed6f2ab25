#include "commands/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "commands/commands.h"
#include "core/clock.h"
#include "core/log.h"

enum { PROFILE_STEPS = 3 };

/* ---- one step ---- */

/* All ranks begin together; *seconds is the slowest rank's time. Collective. */
static Status time_step(BenchWork *work, double *seconds, int64_t *images) {
    Status status = STATUS_OK;
    Comm *comm = work->session->comm;
    if (work->prepare)
        TRY(work->prepare(work));
    TRY(comm_barrier(comm));
    double start = clock_seconds();
    TRY(work->step(work, images));
    *seconds = clock_seconds() - start;
    TRY(comm_allreduce_f64(comm, seconds, 1, COMM_MAX));
done:
    return status;
}

/* ---- statistics ---- */

static int compare_doubles(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Linear interpolation between order statistics; sorted (count). */
static double quantile(const double *sorted, int64_t count, double share) {
    double place = share * (double)(count - 1);
    int64_t low = (int64_t)place;
    if (low >= count - 1)
        return sorted[count - 1];
    return sorted[low] + (place - (double)low) * (sorted[low + 1] - sorted[low]);
}

static void summarise(double *seconds, int64_t count, BenchResult *result) {
    double sum = 0;
    qsort(seconds, (size_t)count, sizeof *seconds, compare_doubles);
    for (int64_t i = 0; i < count; i++)
        sum += seconds[i];
    result->median_s = quantile(seconds, count, 0.5);
    result->min_s = seconds[0];
    result->max_s = seconds[count - 1];
    result->mean_s = sum / (double)count;
    result->spread = (quantile(seconds, count, 0.75) - quantile(seconds, count, 0.25)) / result->median_s;
}

static Status measure_peak_memory(Comm *comm, double *bytes) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return status_error(STATUS_FAILURE, "cannot read the peak resident memory");
    *bytes = (double)usage.ru_maxrss * 1024; /* KiB on Linux */
    return comm_allreduce_f64(comm, bytes, 1, COMM_MAX);
}

static Status collect_phases(BenchWork *work, BenchResult *result) {
    Status status = STATUS_OK;
    if (!work->phases)
        return STATUS_OK;
    result->phase_count = work->phases(work, false, result->phases);
    for (int i = 0; i < result->phase_count; i++) {
        result->phases[i].seconds /= (double)result->steps;
        TRY(comm_allreduce_f64(work->session->comm, &result->phases[i].seconds, 1, COMM_MAX));
    }
done:
    return status;
}

/* ---- the run ---- */

static Status time_steps(BenchWork *work, BenchResult *result) {
    Status status = STATUS_OK;
    double *seconds = NULL;
    int64_t images = 0, total = 0;
    BenchPhase discarded[BENCH_MAX_PHASES];
    TRY(ALLOCATE(&seconds, result->steps));
    for (int64_t i = 0; i < result->warmup; i++) {
        TRY(time_step(work, &seconds[0], &images));
        log_progress(false, "bench %s: warm-up step %lld of %lld", work->session->arguments.word,
                     (long long)(i + 1), (long long)result->warmup);
    }
    if (work->phases)
        work->phases(work, true, discarded);
    for (int64_t i = 0; i < result->steps; i++) {
        TRY(time_step(work, &seconds[i], &images));
        total += images;
        log_progress(false, "bench %s: step %lld of %lld, %.4g s", work->session->arguments.word,
                     (long long)(i + 1), (long long)result->steps, seconds[i]);
    }
    log_progress(true, "bench %s: %lld steps timed", work->session->arguments.word, (long long)result->steps);
    result->images = (double)total / (double)result->steps;
    TRY(collect_phases(work, result));
    summarise(seconds, result->steps, result);
    TRY(measure_peak_memory(work->session->comm, &result->peak_rss_bytes));
done:
    free(seconds);
    return status;
}

/* Separate steps, since reading the clock at every op costs time. */
static Status profile_steps(BenchWork *work, BenchResult *result) {
    Status status = STATUS_OK;
    double seconds;
    int64_t images;
    if (!work->network)
        return STATUS_OK;
    result->profiled_steps = result->steps < PROFILE_STEPS ? result->steps : PROFILE_STEPS;
    network_reset_profile(work->network);
    work->network->profile = true;
    for (int64_t i = 0; i < result->profiled_steps; i++)
        TRY(time_step(work, &seconds, &images));
done:
    work->network->profile = false;
    return status;
}

static Status report(const BenchWork *work, const BenchResult *result) {
    Status status = STATUS_OK;
    BenchOp *ops = NULL;
    int op_count = 0;
    if (!work->session->root)
        return STATUS_OK;
    if (work->network)
        TRY(bench_collect_ops(work->network, result->profiled_steps, &op_count, &ops));
    if (work->session->arguments.json)
        TRY(bench_print_json(work, result, op_count, ops));
    else
        bench_print_table(work, result, op_count, ops);
    if (fflush(stdout) != 0)
        FAIL(STATUS_FAILURE, "standard output: cannot be written");
done:
    free(ops);
    return status;
}

typedef Status (*BenchCreate)(BenchWork *work);

static BenchCreate find_work(const char *word) {
    static const struct {
        const char *word;
        BenchCreate create;
    } table[] = {{"train", bench_train_create},
                 {"sample", bench_sample_create},
                 {"allreduce", bench_allreduce_create}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].word, word) == 0)
            return table[i].create;
    return NULL;
}

static Status bench_run(Session *session) {
    Status status = STATUS_OK;
    const Config *config = &session->arguments.config;
    BenchWork work = {.session = session};
    BenchResult result = {.steps = config->bench_steps, .warmup = config->bench_warmup};
    BenchCreate create = find_work(session->arguments.word);
    if (!create)
        FAIL(STATUS_FAILURE, "bench: no work called %s", session->arguments.word);
    session_announce(session);
    TRY(create(&work));
    TRY(time_steps(&work, &result));
    TRY(profile_steps(&work, &result));
    TRY(comm_agree(session->comm, report(&work, &result)));
done:
    if (work.release)
        work.release(&work);
    return status;
}

static const ArgumentOption options[] = {
    {"--steps", "bench.steps", "N", "timed steps"},
    {"--warmup", "bench.warmup", "N", "steps before them"},
    {"--threads", "threads", "N", "threads per rank"},
    {NULL, NULL, NULL, NULL},
};

const Command command_bench = {
    .description =
        {
            .name = "bench",
            .summary = "time training steps, reverse steps or the gradient's all-reduce, and every op",
            .words = "train|sample|allreduce",
            .options = options,
            .flags = ARGUMENT_JSON,
            .key_groups = "bench train model",
            .example = "ddpm_mpi bench train --steps 5 --set model.channels=16,32,64 --json",
        },
    .run = bench_run,
};
