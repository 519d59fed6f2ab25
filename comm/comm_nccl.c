/* Sums of device memory over ranks with NCCL, watched: a rank that died may never show as an error of the
 * library. */
#include <cuda_runtime_api.h>
#include <nccl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "comm/comm_backend.h"
#include "core/clock.h"
#include "core/log.h"

/* What a device needs to end operations that were aborted. */
static const double grace_seconds = 10;
/* Looks follow each other without a pause at first: a pause of 20 us takes up to 70, much of a step's time
 * where every step is waited for. */
static const double busy_seconds = 5e-3;
static const struct timespec pause_between = {0, 20000};

struct CommDevice {
    ncclComm_t nccl;
    double timeout_seconds;
    cudaStream_t stream; /* the backend's */
    cudaStream_t sums;   /* sums travel here while the backend's stream goes on */
    cudaEvent_t ready;   /* on the backend's stream: what a sum is about to read is computed */
    cudaEvent_t summed;  /* on the sums' stream */
    cudaEvent_t done;    /* for comm_wait_device */
};

/* NCCL's own last message says more than the code's name. */
static Status check_nccl(const Comm *comm, ncclResult_t result, const char *call) {
    if (result == ncclSuccess)
        return STATUS_OK;
    const CommDevice *device = comm->device;
    char host[64] = "unknown host";
    (void)gethostname(host, sizeof host - 1);
    return status_error(STATUS_FAILURE, "%s: %s (rank %d of %d on %s): %s", call, ncclGetErrorString(result),
                        comm->rank, comm->size, host, ncclGetLastError(device ? device->nccl : NULL));
}

static Status check_cuda(cudaError_t error, const char *call) {
    if (error == cudaSuccess)
        return STATUS_OK;
    (void)cudaGetLastError(); /* reported here: not once more by the next launch */
    return status_error(STATUS_FAILURE, "%s: %s", call, cudaGetErrorString(error));
}

#define CHECK_NCCL(comm, function, ...) check_nccl(comm, function(__VA_ARGS__), #function)
#define CHECK_RUNTIME(function, ...) check_cuda(function(__VA_ARGS__), #function)

/* The sums' few blocks go first where both streams have work: the backend's next wait is for them. */
static Status create_streams(CommDevice *device) {
    Status status = STATUS_OK;
    int lowest = 0, highest = 0;
    TRY(CHECK_RUNTIME(cudaDeviceGetStreamPriorityRange, &lowest, &highest));
    TRY(CHECK_RUNTIME(cudaStreamCreateWithPriority, &device->sums, cudaStreamNonBlocking, highest));
    TRY(CHECK_RUNTIME(cudaEventCreateWithFlags, &device->ready, cudaEventDisableTiming));
    TRY(CHECK_RUNTIME(cudaEventCreateWithFlags, &device->summed, cudaEventDisableTiming));
    TRY(CHECK_RUNTIME(cudaEventCreateWithFlags, &device->done, cudaEventDisableTiming));
done:
    return status;
}

/* Sums in recordings work on NCCL's own buffers: with the caller's registered at the network, replays of a
 * graph in which small sums and large ones take turns, as a step's do, may hang (NVIDIA/nccl issue 2389, up
 * to 2.29 at least). A copy more of 20 MB a step is nothing beside the network. A user's own choice stays. */
static void forgo_registration(void) {
    (void)setenv("NCCL_GRAPH_REGISTER", "0", 0);
}

Status comm_attach_device(Comm *comm, void *stream, const CommDeviceOptions *options) {
    Status status = STATUS_OK;
    ncclUniqueId id = {{0}};
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    if (comm->size == 1 || comm->device)
        return STATUS_OK;
    forgo_registration();
    if (comm->rank == 0)
        status = CHECK_NCCL(comm, ncclGetUniqueId, &id);
    TRY(comm_agree(comm, status));
    TRY(comm_broadcast(comm, &id, sizeof id, 0));
    TRY(ALLOCATE(&comm->device, 1));
    comm->device->stream = (cudaStream_t)stream;
    comm->device->timeout_seconds = options->timeout_seconds;
    if (options->max_ctas > 0)
        config.maxCTAs = options->max_ctas;
    status = create_streams(comm->device);
    if (status == STATUS_OK)
        status = CHECK_NCCL(comm, ncclCommInitRankConfig, &comm->device->nccl, comm->size, id, comm->rank,
                            &config);
    TRY(comm_agree(comm, status));
done:
    if (status != STATUS_OK)
        comm_detach_device(comm);
    return status;
}

void comm_detach_device(Comm *comm) {
    if (!comm->device)
        return;
    if (comm->device->nccl)
        (void)ncclCommDestroy(comm->device->nccl);
    cudaEvent_t events[] = {comm->device->ready, comm->device->summed, comm->device->done};
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        if (events[i])
            (void)cudaEventDestroy(events[i]);
    if (comm->device->sums)
        (void)cudaStreamDestroy(comm->device->sums);
    free(comm->device);
    comm->device = NULL;
}

bool comm_sums_device_memory(const Comm *comm) {
    return comm->device != NULL;
}

/* Streams joined by events, so that a recording of the backend's stream takes the sums with it. */
Status comm_device_sum_start(Comm *comm, void *data, int64_t count, CommType type) {
    Status status = STATUS_OK;
    static const ncclDataType_t types[] = {
        [COMM_INT64] = ncclInt64, [COMM_FLOAT32] = ncclFloat32, [COMM_BFLOAT16] = ncclBfloat16};
    CommDevice *device = comm->device;
    TRY(CHECK_RUNTIME(cudaEventRecord, device->ready, device->stream));
    TRY(CHECK_RUNTIME(cudaStreamWaitEvent, device->sums, device->ready, 0));
    TRY(CHECK_NCCL(comm, ncclAllReduce, data, data, (size_t)count, types[type], ncclSum, device->nccl,
                   device->sums));
done:
    return status;
}

Status comm_device_sum_finish(Comm *comm) {
    Status status = STATUS_OK;
    CommDevice *device = comm->device;
    TRY(CHECK_RUNTIME(cudaEventRecord, device->summed, device->sums));
    TRY(CHECK_RUNTIME(cudaStreamWaitEvent, device->stream, device->summed, 0));
done:
    return status;
}

/* cudaErrorNotReady until what was queued is done. That is no error, but it is kept as the last one, where
 * the next launch would find it. */
static cudaError_t query(const CommDevice *device) {
    cudaError_t state = cudaEventQuery(device->done);
    if (state == cudaErrorNotReady)
        (void)cudaGetLastError();
    return state;
}

static void *abort_sums(void *nccl) {
    (void)ncclCommAbort(nccl);
    return NULL;
}

/* Frees the stream from an operation that will never end, so that this process can report and exit. The abort
 * itself returns only after the recordings with sums in them are released, which their owner does after this:
 * it has a thread of its own. A stream that does not become free would hold up every release of memory: then
 * the job ends here. */
static Status give_up(Comm *comm, Status status) {
    CommDevice *device = comm->device;
    pthread_t thread;
    double start = clock_seconds();
    cudaError_t state;
    if (device->nccl && pthread_create(&thread, NULL, abort_sums, device->nccl) == 0)
        (void)pthread_detach(thread);
    device->nccl = NULL;
    while ((state = query(device)) == cudaErrorNotReady && clock_seconds() - start < grace_seconds)
        (void)nanosleep(&pause_between, NULL);
    if (state == cudaErrorNotReady) {
        log_error("%s", status_message());
        comm_abort(comm, status);
    }
    return status;
}

Status comm_wait_device(Comm *comm) {
    Status status = STATUS_OK;
    CommDevice *device = comm->device;
    double start = clock_seconds();
    if (!device)
        return STATUS_OK;
    TRY(CHECK_RUNTIME(cudaEventRecord, device->done, device->stream));
    for (;;) {
        ncclResult_t asynchronous = ncclSuccess, asked;
        cudaError_t state = query(device);
        if (state == cudaSuccess)
            return STATUS_OK;
        if (state != cudaErrorNotReady)
            return give_up(comm, check_cuda(state, "sum over ranks on the device"));
        asked = ncclCommGetAsyncError(device->nccl, &asynchronous);
        if (asked != ncclSuccess)
            asynchronous = asked;
        if (asynchronous != ncclSuccess && asynchronous != ncclInProgress)
            return give_up(comm, check_nccl(comm, asynchronous, "sum over ranks on the device"));
        if (clock_seconds() - start > device->timeout_seconds)
            return give_up(
                comm, status_error(STATUS_FAILURE,
                                   "rank %d: no answer of the other ranks to a sum for %.0f s: one of them "
                                   "has died or hangs",
                                   comm->rank, device->timeout_seconds));
        if (clock_seconds() - start > busy_seconds)
            (void)nanosleep(&pause_between, NULL);
    }
done:
    return status;
}
