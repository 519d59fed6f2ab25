/* This build has no NCCL: device memory is summed through the host's. */
#include "comm/comm_backend.h"

Status comm_attach_device(Comm *comm, void *stream, const CommDeviceOptions *options) {
    (void)comm;
    (void)stream;
    (void)options;
    return STATUS_OK;
}

void comm_detach_device(Comm *comm) {
    (void)comm;
}

bool comm_sums_device_memory(const Comm *comm) {
    (void)comm;
    return false;
}

Status comm_device_sum_start(Comm *comm, void *data, int64_t count, CommType type) {
    (void)comm;
    (void)data;
    (void)type;
    return status_error(STATUS_FAILURE, "sum of %lld elements of device memory: this build has no NCCL",
                        (long long)count);
}

Status comm_device_sum_finish(Comm *comm) {
    (void)comm;
    return STATUS_OK;
}

Status comm_wait_device(Comm *comm) {
    (void)comm;
    return STATUS_OK;
}
