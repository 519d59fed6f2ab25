/* Draws on their way to parts: while one batch is measured and written by a thread of its own, the next is
 * drawn. Private to sweep_work.c and sweep_batch.c. */
#ifndef COMMANDS_SWEEP_BATCH_H
#define COMMANDS_SWEEP_BATCH_H

#include <pthread.h>

#include "commands/sweep.h"

/* What the samplers of a cell share. */
typedef struct SweepCellData {
    int64_t number; /* unit / samplers */
    Observation *observation;
    uint64_t seed;         /* of the draws */
    double *label_weights; /* (labels) exact; NaN where they are not known */
} SweepCellData;

/* The draws of one sampler for a few cells. */
typedef struct SweepBatch {
    int64_t sampler, count;
    const SweepCellData **cells;   /* (run->group) of which count are drawn; not owned */
    float *samples;                /* (run->group, draws, height, width) */
    ParticleStatistics *particles; /* (run->group, draws); NaN for samplers of single chains */
} SweepBatch;

/* Zero-initialise. The thread alone uses HDF5 while it runs. */
typedef struct SweepWriter {
    const SweepRun *run;
    const SweepBatch *batch; /* being written */
    SweepUnit *unit;
    int *labels; /* (draws) */
    pthread_t thread;
    bool running;
    Status status;
    char message[1024];
} SweepWriter;

Status sweep_batch_create(const SweepRun *run, SweepBatch *batch);
void sweep_batch_release(SweepBatch *batch); /* accepts a zeroed struct */

Status sweep_writer_create(const SweepRun *run, SweepWriter *writer);
void sweep_writer_release(SweepWriter *writer); /* waits; accepts a zeroed struct */

/* Waits for the batch before, whose failure it returns, then measures the units of this one and writes their
 * parts in the background. The batch and its cells must stay until the next call of one of these returns. */
Status sweep_writer_start(SweepWriter *writer, const SweepBatch *batch);
Status sweep_writer_wait(SweepWriter *writer);

#endif
