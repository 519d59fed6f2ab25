#include "comm/buckets.h"

#include <stdlib.h>

int64_t buckets_elements(double mib, CommType type) {
    enum { STEP = 64 };
    int64_t elements = (int64_t)(mib * 1048576.0 / (double)comm_type_bytes(type)) / STEP * STEP;
    return elements < STEP ? STEP : elements;
}

Status buckets_create(Buckets *buckets, Comm *comm, BucketData data, int64_t total, int64_t bucket_elements) {
    Status status = STATUS_OK;
    int64_t count = (total + bucket_elements - 1) / bucket_elements;
    *buckets = (Buckets){.comm = comm, .data = data, .count = (int)count};
    TRY(ALLOCATE(&buckets->begin, count + 1));
    TRY(ALLOCATE(&buckets->requests, count));
    for (int64_t b = 0; b <= count; b++)
        buckets->begin[b] = b * bucket_elements < total ? b * bucket_elements : total;
done:
    if (status != STATUS_OK)
        buckets_release(buckets);
    return status;
}

void buckets_release(Buckets *buckets) {
    free(buckets->begin);
    free(buckets->requests);
    *buckets = (Buckets){0};
}

static Status start_one(Buckets *buckets, int b) {
    const BucketData *data = &buckets->data;
    char *memory = (char *)data->memory + buckets->begin[b] * comm_type_bytes(data->type);
    int64_t count = buckets->begin[b + 1] - buckets->begin[b];
    if (data->device)
        return comm_device_sum_start(buckets->comm, memory, count, data->type);
    return comm_allreduce_start(buckets->comm, memory, count, data->type, &buckets->requests[b]);
}

Status buckets_start(Buckets *buckets, int64_t ready) {
    Status status = STATUS_OK;
    for (; buckets->started < buckets->count && buckets->begin[buckets->started + 1] <= ready;
         buckets->started++)
        TRY(start_one(buckets, buckets->started));
done:
    return status;
}

Status buckets_finish(Buckets *buckets) {
    Status status = STATUS_OK;
    if (buckets->data.device)
        TRY(comm_device_sum_finish(buckets->comm));
    for (int b = 0; !buckets->data.device && b < buckets->started; b++)
        TRY(comm_wait(buckets->comm, &buckets->requests[b]));
    buckets->started = 0;
done:
    return status;
}
