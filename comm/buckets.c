#include "comm/buckets.h"

#include <stdlib.h>

Status buckets_create(Buckets *buckets, Comm *comm, int64_t *data, int64_t total, int64_t bucket_elements) {
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

Status buckets_start(Buckets *buckets, int64_t ready) {
    Status status = STATUS_OK;
    for (; buckets->started < buckets->count && buckets->begin[buckets->started + 1] <= ready;
         buckets->started++) {
        int b = buckets->started;
        TRY(comm_allreduce_start(buckets->comm, buckets->data + buckets->begin[b],
                                 buckets->begin[b + 1] - buckets->begin[b], &buckets->requests[b]));
    }
done:
    return status;
}

Status buckets_finish(Buckets *buckets) {
    Status status = STATUS_OK;
    for (int b = 0; b < buckets->started; b++)
        TRY(comm_wait(buckets->comm, &buckets->requests[b]));
    buckets->started = 0;
done:
    return status;
}
