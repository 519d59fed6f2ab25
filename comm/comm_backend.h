/* Private to comm/: the table an implementation fills in. */
#ifndef COMM_COMM_BACKEND_H
#define COMM_COMM_BACKEND_H

#include "comm/comm.h"

typedef struct CommOperations {
    void (*destroy)(Comm *comm);
    void (*abort)(Comm *comm, int exit_status);
    Status (*broadcast)(Comm *comm, void *data, size_t bytes, int root);
    Status (*allreduce_i64)(Comm *comm, int64_t *data, int64_t count, CommReduction reduction);
    Status (*allreduce_f64)(Comm *comm, double *data, int64_t count, CommReduction reduction);
    Status (*allreduce_start)(Comm *comm, void *data, int64_t count, CommType type, CommRequest **request);
    Status (*wait)(Comm *comm, CommRequest **request);
    Status (*test)(Comm *comm, CommRequest **request, bool *finished);
    Status (*gather)(Comm *comm, const void *mine, size_t bytes, void *all, size_t all_bytes);
    Status (*barrier)(Comm *comm);
} CommOperations;

typedef struct CommDevice CommDevice; /* NCCL's side, comm_nccl.c's own */

struct Comm {
    const CommOperations *operations;
    int rank, size;
    bool failure_is_agreed; /* see comm_agree */
    char description[128];
    void *state;
    CommDevice *device; /* NULL: sums of device memory go through the host */
};

Status comm_create_mpi(Comm **comm);

#endif
