/* Writes checkpoints on a thread of its own, so that training goes on. Rank 0 only. */
#ifndef TRAINING_CHECKPOINTER_H
#define TRAINING_CHECKPOINTER_H

#include <pthread.h>

#include "training/trainer.h"

typedef struct Checkpointer {
    const char *run_directory; /* not owned */
    const char *provenance_json;
    int keep;
    bool running; /* a thread is writing, or has written and was not waited for */
    pthread_t thread;
    Checkpoint snapshot; /* the thread's while running */
    Status status;
    char message[1024]; /* of a failed write */
} Checkpointer;

/* Copies the state and starts writing it. Waits for the write before, whose failure is returned. */
Status checkpointer_start(Checkpointer *checkpointer, const Trainer *trainer);

/* Waits for the write in progress, if any; its failure is returned, once. Needed before any other use of
 * HDF5. */
Status checkpointer_wait(Checkpointer *checkpointer);

#endif
