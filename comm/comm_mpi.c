#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/comm_backend.h"

enum { CHUNK_BYTES = 1 << 30 }; /* MPI-3 counts are ints */

struct CommRequest {
    MPI_Request mpi;
};

static Status check(int code, const char *call) {
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length;
    if (code == MPI_SUCCESS)
        return STATUS_OK;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS)
        snprintf(text, sizeof text, "error code %d", code);
    return status_error(STATUS_FAILURE, "%s: %s", call, text);
}

#define CHECK_MPI(function, ...) check(function(__VA_ARGS__), #function)

static void mpi_destroy(Comm *comm) {
    (void)comm;
    (void)MPI_Finalize();
}

static void mpi_abort(Comm *comm, int exit_status) {
    (void)comm;
    (void)MPI_Abort(MPI_COMM_WORLD, exit_status);
}

static Status mpi_broadcast(Comm *comm, void *data, size_t bytes, int root) {
    Status status = STATUS_OK;
    (void)comm;
    for (size_t at = 0; at < bytes; at += CHUNK_BYTES) {
        size_t part = bytes - at < CHUNK_BYTES ? bytes - at : CHUNK_BYTES;
        TRY(CHECK_MPI(MPI_Bcast, (char *)data + at, (int)part, MPI_BYTE, root, MPI_COMM_WORLD));
    }
done:
    return status;
}

static MPI_Op reduction_operation(CommReduction reduction) {
    return reduction == COMM_SUM ? MPI_SUM : reduction == COMM_MIN ? MPI_MIN : MPI_MAX;
}

static Status allreduce(void *data, int64_t count, MPI_Datatype type, CommReduction reduction) {
    Status status = STATUS_OK;
    const int64_t chunk = CHUNK_BYTES / 8; /* both types have 8 bytes */
    for (int64_t at = 0; at < count; at += chunk) {
        int64_t part = count - at < chunk ? count - at : chunk;
        TRY(CHECK_MPI(MPI_Allreduce, MPI_IN_PLACE, (char *)data + 8 * at, (int)part, type,
                      reduction_operation(reduction), MPI_COMM_WORLD));
    }
done:
    return status;
}

static Status mpi_allreduce_i64(Comm *comm, int64_t *data, int64_t count, CommReduction reduction) {
    (void)comm;
    return allreduce(data, count, MPI_INT64_T, reduction);
}

static Status mpi_allreduce_f64(Comm *comm, double *data, int64_t count, CommReduction reduction) {
    (void)comm;
    return allreduce(data, count, MPI_DOUBLE, reduction);
}

static Status mpi_allreduce_start(Comm *comm, void *data, int64_t count, CommType type,
                                  CommRequest **request) {
    Status status = STATUS_OK;
    (void)comm;
    *request = NULL;
    if (count > INT_MAX)
        FAIL(STATUS_FAILURE, "comm_allreduce_start: %lld elements in one bucket, at most %d",
             (long long)count, INT_MAX);
    if (type == COMM_BFLOAT16)
        FAIL(STATUS_FAILURE, "comm_allreduce_start: MPI has no sum of bf16");
    TRY(ALLOCATE(request, 1));
    TRY(CHECK_MPI(MPI_Iallreduce, MPI_IN_PLACE, data, (int)count,
                  type == COMM_FLOAT32 ? MPI_FLOAT : MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD, &(*request)->mpi));
done:
    if (status != STATUS_OK) {
        free(*request);
        *request = NULL;
    }
    return status;
}

static Status mpi_wait(Comm *comm, CommRequest **request) {
    Status status = STATUS_OK;
    (void)comm;
    if (!*request)
        return STATUS_OK;
    TRY(CHECK_MPI(MPI_Wait, &(*request)->mpi, MPI_STATUS_IGNORE));
done:
    free(*request);
    *request = NULL;
    return status;
}

static Status mpi_test(Comm *comm, CommRequest **request, bool *finished) {
    Status status = STATUS_OK;
    int flag = 1;
    (void)comm;
    if (*request)
        TRY(CHECK_MPI(MPI_Test, &(*request)->mpi, &flag, MPI_STATUS_IGNORE));
done:
    *finished = flag;
    if (flag) {
        free(*request);
        *request = NULL;
    }
    return status;
}

/* Point to point in chunks: MPI_Gatherv's displacements are ints, too small for large ensembles. */
static Status mpi_gather(Comm *comm, const void *mine, size_t bytes, void *all, size_t all_bytes) {
    Status status = STATUS_OK;
    int64_t *counts = NULL, own = (int64_t)bytes, sizes[2] = {0, (int64_t)all_bytes}; /* sent, expected */
    size_t offset = bytes;
    TRY(ALLOCATE(&counts, comm->size));
    TRY(CHECK_MPI(MPI_Gather, &own, 1, MPI_INT64_T, counts, 1, MPI_INT64_T, 0, MPI_COMM_WORLD));
    for (int rank = 0; comm->rank == 0 && rank < comm->size; rank++)
        sizes[0] += counts[rank];
    /* Every rank must know before it sends: one left in MPI_Send would wait for ever. */
    TRY(CHECK_MPI(MPI_Bcast, sizes, 2, MPI_INT64_T, 0, MPI_COMM_WORLD));
    if (sizes[0] != sizes[1])
        FAIL(STATUS_FAILURE, "comm_gather: %lld bytes for a buffer of %lld", (long long)sizes[0],
             (long long)sizes[1]);
    if (comm->rank == 0 && bytes > 0)
        memcpy(all, mine, bytes);
    for (int rank = 1; rank < comm->size; rank++) {
        size_t count = comm->rank == 0 ? (size_t)counts[rank] : comm->rank == rank ? bytes : 0;
        for (size_t at = 0; at < count; at += CHUNK_BYTES) {
            int part = (int)(count - at < CHUNK_BYTES ? count - at : CHUNK_BYTES);
            if (comm->rank == 0)
                TRY(CHECK_MPI(MPI_Recv, (char *)all + offset + at, part, MPI_BYTE, rank, 0, MPI_COMM_WORLD,
                              MPI_STATUS_IGNORE));
            else
                TRY(CHECK_MPI(MPI_Send, (const char *)mine + at, part, MPI_BYTE, 0, 0, MPI_COMM_WORLD));
        }
        offset += count;
    }
done:
    free(counts);
    return status;
}

static Status mpi_barrier(Comm *comm) {
    (void)comm;
    return CHECK_MPI(MPI_Barrier, MPI_COMM_WORLD);
}

static Status describe(Comm *comm) {
    Status status = STATUS_OK;
    char version[MPI_MAX_LIBRARY_VERSION_STRING];
    int length;
    TRY(CHECK_MPI(MPI_Comm_rank, MPI_COMM_WORLD, &comm->rank));
    TRY(CHECK_MPI(MPI_Comm_size, MPI_COMM_WORLD, &comm->size));
    TRY(CHECK_MPI(MPI_Get_library_version, version, &length));
    version[strcspn(version, ",\n")] = '\0'; /* the first words name library and version */
    snprintf(comm->description, sizeof comm->description, "MPI (%.100s)", version);
done:
    return status;
}

Status comm_create_mpi(Comm **comm) {
    static const CommOperations operations = {
        .destroy = mpi_destroy,
        .abort = mpi_abort,
        .broadcast = mpi_broadcast,
        .allreduce_i64 = mpi_allreduce_i64,
        .allreduce_f64 = mpi_allreduce_f64,
        .allreduce_start = mpi_allreduce_start,
        .wait = mpi_wait,
        .test = mpi_test,
        .gather = mpi_gather,
        .barrier = mpi_barrier,
    };
    Status status = STATUS_OK;
    int provided = MPI_THREAD_SINGLE;
    TRY(ALLOCATE(comm, 1));
    (*comm)->operations = &operations;
    TRY(CHECK_MPI(MPI_Init_thread, NULL, NULL, MPI_THREAD_FUNNELED, &provided));
    /* The default handler ends the job before a check can see the error. */
    TRY(CHECK_MPI(MPI_Comm_set_errhandler, MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    if (provided < MPI_THREAD_FUNNELED)
        FAIL(STATUS_FAILURE, "MPI offers thread level %d, expected MPI_THREAD_FUNNELED (%d) or more",
             provided, MPI_THREAD_FUNNELED);
    TRY(describe(*comm));
done:
    if (status != STATUS_OK) {
        free(*comm);
        *comm = NULL;
    }
    return status;
}
