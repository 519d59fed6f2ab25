#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/comm_backend.h"

static bool variable_set(const char *name) {
    const char *value = getenv(name);
    return value && *value;
}

/* Without a launcher MPI_Init would start helper processes for a single rank: one rank needs no MPI at all.
 */
static bool launched_by_mpi(void) {
    return variable_set("OMPI_COMM_WORLD_SIZE") || variable_set("PMIX_RANK") || variable_set("PMI_RANK") ||
           variable_set("PMI_SIZE");
}

Status comm_create(Comm **comm) {
    const char *slurm_tasks = getenv("SLURM_NTASKS"), *slurm_step = getenv("SLURM_STEP_ID");
    /* srun sets SLURM_STEP_ID in its tasks; a batch script has SLURM_NTASKS without being a task. */
    bool in_slurm_step = slurm_tasks && slurm_step && atoi(slurm_tasks) > 1 && variable_set("SLURM_PROCID");
    Status status = launched_by_mpi() ? comm_create_mpi(comm) : comm_create_self(comm);
    if (status == STATUS_OK && in_slurm_step && (*comm)->size == 1 && !variable_set("OMPI_COMM_WORLD_SIZE")) {
        const char *tasks = getenv("SLURM_STEP_NUM_TASKS") ? getenv("SLURM_STEP_NUM_TASKS") : slurm_tasks;
        if (atoi(tasks) > 1) {
            comm_destroy(*comm);
            *comm = NULL;
            return status_error(
                STATUS_BAD_INPUT,
                "srun started %s tasks but MPI sees 1 rank: every task would train on its own; "
                "start with srun --mpi=pmix (srun --mpi=list shows what this Slurm offers)",
                tasks);
        }
    }
    return status;
}

void comm_destroy(Comm *comm) {
    if (!comm)
        return;
    comm->operations->destroy(comm);
    free(comm);
}

void comm_abort(Comm *comm, int exit_status) {
    if (comm)
        comm->operations->abort(comm, exit_status);
}

int comm_rank(const Comm *comm) {
    return comm->rank;
}

int comm_size(const Comm *comm) {
    return comm->size;
}

const char *comm_description(const Comm *comm) {
    return comm->description;
}

Status comm_broadcast(Comm *comm, void *data, size_t bytes, int root) {
    return comm->operations->broadcast(comm, data, bytes, root);
}

Status comm_allreduce_i64(Comm *comm, int64_t *data, int64_t count, CommReduction reduction) {
    return comm->operations->allreduce_i64(comm, data, count, reduction);
}

Status comm_allreduce_f64(Comm *comm, double *data, int64_t count, CommReduction reduction) {
    return comm->operations->allreduce_f64(comm, data, count, reduction);
}

int64_t comm_type_bytes(CommType type) {
    static const int64_t bytes[] = {[COMM_INT64] = 8, [COMM_FLOAT32] = 4, [COMM_BFLOAT16] = 2};
    return bytes[type];
}

Status comm_allreduce_start(Comm *comm, void *data, int64_t count, CommType type, CommRequest **request) {
    return comm->operations->allreduce_start(comm, data, count, type, request);
}

Status comm_wait(Comm *comm, CommRequest **request) {
    return comm->operations->wait(comm, request);
}

Status comm_test(Comm *comm, CommRequest **request, bool *finished) {
    return comm->operations->test(comm, request, finished);
}

Status comm_gather(Comm *comm, const void *mine, size_t bytes, void *all, size_t all_bytes) {
    return comm->operations->gather(comm, mine, bytes, all, all_bytes);
}

Status comm_barrier(Comm *comm) {
    return comm->operations->barrier(comm);
}

Status comm_agree(Comm *comm, Status mine) {
    char message[1024];
    int64_t worst = mine, where;
    Status status = comm_allreduce_i64(comm, &worst, 1, COMM_MAX);
    if (status != STATUS_OK || worst == STATUS_OK)
        return status;
    /* after an interruption a run goes on to its last checkpoint, which can fail on one rank */
    comm->failure_is_agreed = comm->failure_is_agreed || worst != STATUS_INTERRUPTED;
    where = mine == worst ? comm->rank : comm->size;
    TRY(comm_allreduce_i64(comm, &where, 1, COMM_MIN));
    snprintf(message, sizeof message, "%s", status_message());
    TRY(comm_broadcast(comm, message, sizeof message, (int)where));
    if (where != comm->rank)
        return status_error((Status)worst, "rank %d: %s", (int)where, message);
    return (Status)worst;
done:
    return status;
}

bool comm_failure_is_agreed(const Comm *comm) {
    return comm->failure_is_agreed;
}
