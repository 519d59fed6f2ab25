/* One rank: every collective is the identity. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/comm_backend.h"

static void self_destroy(Comm *comm) {
    (void)comm;
}

static void self_abort(Comm *comm, int exit_status) {
    (void)comm;
    (void)exit_status;
}

static Status self_broadcast(Comm *comm, void *data, size_t bytes, int root) {
    (void)comm;
    (void)data;
    (void)bytes;
    (void)root;
    return STATUS_OK;
}

static Status self_allreduce_i64(Comm *comm, int64_t *data, int64_t count, CommReduction reduction) {
    (void)comm;
    (void)data;
    (void)count;
    (void)reduction;
    return STATUS_OK;
}

static Status self_allreduce_f64(Comm *comm, double *data, int64_t count, CommReduction reduction) {
    (void)comm;
    (void)data;
    (void)count;
    (void)reduction;
    return STATUS_OK;
}

static Status self_allreduce_start(Comm *comm, void *data, int64_t count, CommType type,
                                   CommRequest **request) {
    (void)comm;
    (void)data;
    (void)count;
    (void)type;
    *request = NULL;
    return STATUS_OK;
}

static Status self_wait(Comm *comm, CommRequest **request) {
    (void)comm;
    *request = NULL;
    return STATUS_OK;
}

static Status self_test(Comm *comm, CommRequest **request, bool *finished) {
    *finished = true;
    return self_wait(comm, request);
}

static Status self_gather(Comm *comm, const void *mine, size_t bytes, void *all, size_t all_bytes) {
    (void)comm;
    if (bytes != all_bytes)
        return status_error(STATUS_FAILURE, "comm_gather: %zu bytes for a buffer of %zu", bytes, all_bytes);
    if (bytes > 0)
        memcpy(all, mine, bytes);
    return STATUS_OK;
}

static Status self_barrier(Comm *comm) {
    (void)comm;
    return STATUS_OK;
}

Status comm_create_self(Comm **comm) {
    static const CommOperations operations = {
        .destroy = self_destroy,
        .abort = self_abort,
        .broadcast = self_broadcast,
        .allreduce_i64 = self_allreduce_i64,
        .allreduce_f64 = self_allreduce_f64,
        .allreduce_start = self_allreduce_start,
        .wait = self_wait,
        .test = self_test,
        .gather = self_gather,
        .barrier = self_barrier,
    };
    Status status = ALLOCATE(comm, 1);
    if (status != STATUS_OK)
        return status;
    (*comm)->operations = &operations;
    (*comm)->size = 1;
    snprintf((*comm)->description, sizeof(*comm)->description, "single process");
    return STATUS_OK;
}
