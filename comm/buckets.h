/* Gradient buckets: a flat array cut into consecutive pieces that are summed over the ranks independently, so
 * that the first can travel while later ones are still being computed. */
#ifndef COMM_BUCKETS_H
#define COMM_BUCKETS_H

#include "comm/comm.h"

/* An array that travels; not owned. */
typedef struct BucketData {
    void *memory; /* (total) */
    CommType type;
    bool device; /* device memory, summed by comm_device_sum_start; else host memory */
} BucketData;

typedef struct Buckets {
    Comm *comm;
    BucketData data;
    int count;
    int64_t *begin; /* (count + 1) bucket b is [begin[b], begin[b+1]) */
    CommRequest **requests;
    int started; /* buckets of this round that travel */
} Buckets;

/* Elements of a bucket of so many MiB: a multiple of 64, at least those, so that each begins aligned. */
int64_t buckets_elements(double mib, CommType type);

/* Cuts data[0, total) into buckets of at most bucket_elements; owned by the caller. Not collective. */
Status buckets_create(Buckets *buckets, Comm *comm, BucketData data, int64_t total, int64_t bucket_elements);
void buckets_release(Buckets *buckets); /* accepts a zeroed struct */

/* Starts the sum of every bucket that ends at or before `ready` elements and was not started yet. The ranks
 * must reach the same values of `ready` in the same order. Collective. */
Status buckets_start(Buckets *buckets, int64_t ready);

/* Waits for all buckets, on a device by its stream alone; the next buckets_start begins a new round.
 * Collective. */
Status buckets_finish(Buckets *buckets);

#endif
