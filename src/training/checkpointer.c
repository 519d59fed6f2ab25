#include "training/checkpointer.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static void *write_snapshot(void *context) {
    Checkpointer *checkpointer = context;
    checkpointer->status =
        checkpoint_write(checkpointer->run_directory, &checkpointer->snapshot, checkpointer->keep);
    if (checkpointer->status != STATUS_OK)
        snprintf(checkpointer->message, sizeof checkpointer->message, "%s", status_message());
    return NULL;
}

Status checkpointer_start(Checkpointer *checkpointer, const Trainer *trainer) {
    Status status = STATUS_OK;
    sigset_t all, before;
    int error;
    TRY(checkpointer_wait(checkpointer));
    TRY(trainer_snapshot(trainer, checkpointer->provenance_json, &checkpointer->snapshot));
    /* Signals are the main thread's: a blocked write on this one must not be where they arrive. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&checkpointer->thread, NULL, write_snapshot, checkpointer);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        checkpoint_release(&checkpointer->snapshot);
        FAIL(STATUS_FAILURE, "cannot start the checkpoint thread: %s", strerror(error));
    }
    checkpointer->running = true;
done:
    return status;
}

Status checkpointer_wait(Checkpointer *checkpointer) {
    if (!checkpointer->running)
        return STATUS_OK;
    (void)pthread_join(checkpointer->thread, NULL);
    checkpointer->running = false;
    checkpoint_release(&checkpointer->snapshot);
    return checkpointer->status == STATUS_OK
               ? STATUS_OK
               : status_error(checkpointer->status, "%s", checkpointer->message);
}
