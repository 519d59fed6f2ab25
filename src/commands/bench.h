/* bench: what is timed (bench_work.c) and how it is timed and reported (bench.c). Private to these files. */
#ifndef COMMANDS_BENCH_H
#define COMMANDS_BENCH_H

#include "commands/session.h"
#include "io/named_value.h"
#include "model/network.h"

enum { BENCH_IMAGE_SIZE = 28, BENCH_MAX_PHASES = 8 };

/* Seconds of this rank since the last reset. */
typedef struct BenchPhase {
    const char *name; /* "forward" */
    double seconds;
} BenchPhase;

/* Something to time. Zero-initialised; the functions get the struct itself. */
typedef struct BenchWork BenchWork;
struct BenchWork {
    Session *session;

    /* One step. *images: how many it processed, over all ranks. Collective. */
    Status (*step)(BenchWork *work, int64_t *images);
    /* Optional: work before a step that is not timed. */
    Status (*prepare)(BenchWork *work);
    /* Optional: fills phases, returns their number; reset: they start at zero again. */
    int (*phases)(BenchWork *work, bool reset, BenchPhase phases[BENCH_MAX_PHASES]);
    void (*release)(BenchWork *work); /* accepts half-prepared work */

    Network *network;        /* whose ops are profiled; NULL: none */
    double flops_per_image;  /* 0: not counted */
    int64_t reduced_bytes;   /* per step; 0: no all-reduce is measured */
    int64_t parameter_count; /* of the network */
    void *state;             /* the implementation's own */
};

/* Prepare `work`: `step` and what it needs. The caller calls work->release, if set, also after a failure.
 * Collective. */
Status bench_train_create(BenchWork *work);
Status bench_sample_create(BenchWork *work);
Status bench_allreduce_create(BenchWork *work);

/* What was measured; seconds are the maximum over the ranks of each step. */
typedef struct BenchResult {
    int64_t steps, warmup;
    double median_s, min_s, mean_s, max_s, spread; /* spread: interquartile range over median */
    double images;                                 /* per step; 0: not counted */
    double peak_rss_bytes;                         /* the largest rank's */
    int phase_count;
    BenchPhase phases[BENCH_MAX_PHASES]; /* seconds per step, the slowest rank's */
    int64_t profiled_steps;
} BenchResult;

/* One kernel at one shape, on rank 0. */
typedef struct BenchOp {
    char kernel[64], shape[128];
    int64_t calls;  /* per step */
    double seconds; /* per step, summed over the threads */
    double flops;   /* per step */
} BenchOp;

/* Sums the network's profile by kernel and shape, slowest first; *ops (count) is the caller's (free()). */
Status bench_collect_ops(const Network *network, int64_t steps, int *count, BenchOp **ops);

/* Print to standard output; rank 0. */
void bench_print_table(const BenchWork *work, const BenchResult *result, int op_count, const BenchOp *ops);
Status bench_print_json(const BenchWork *work, const BenchResult *result, int op_count, const BenchOp *ops);

#endif
