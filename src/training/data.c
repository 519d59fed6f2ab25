#include "training/data.h"

#include <stdlib.h>

#include "core/rng.h"

Status data_share(Comm *comm, const char *directory, const char *split, int64_t limit, Dataset *dataset) {
    Status status = STATUS_OK;
    int64_t shape[3];
    *dataset = (Dataset){0};
    if (comm_rank(comm) == 0)
        status = dataset_load(directory, split, limit, dataset);
    TRY(comm_agree(comm, status));
    shape[0] = dataset->count;
    shape[1] = dataset->height;
    shape[2] = dataset->width;
    TRY(comm_broadcast(comm, shape, sizeof shape, 0));
    if (comm_rank(comm) != 0) {
        *dataset = (Dataset){.count = shape[0], .height = shape[1], .width = shape[2]};
        TRY(ALLOCATE(&dataset->pixels, shape[0] * shape[1] * shape[2]));
        TRY(ALLOCATE(&dataset->labels, shape[0]));
    }
    TRY(comm_broadcast(comm, dataset->pixels, (size_t)(shape[0] * shape[1] * shape[2]), 0));
    TRY(comm_broadcast(comm, dataset->labels, (size_t)shape[0], 0));
done:
    if (status != STATUS_OK)
        dataset_release(dataset);
    return status;
}

void data_order(uint64_t seed, int64_t epoch, int64_t count, uint32_t *order) {
    RngKey key = rng_key(seed, RNG_DATA_ORDER, (uint32_t)epoch, 0);
    for (int64_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    for (int64_t i = count - 1; i > 0; i--) {
        uint32_t j = rng_bounded(key, (uint32_t)i, (uint32_t)i + 1), swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
}
