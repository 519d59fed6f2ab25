/* Training data shared by all ranks, and which images a step uses. */
#ifndef TRAINING_DATA_H
#define TRAINING_DATA_H

#include "comm/comm.h"
#include "io/idx.h"

/* Rank 0 reads the split, the others receive it: a parallel file system sees one reader. Every rank gets the
 * same status. Collective. Released with dataset_release. */
Status data_share(Comm *comm, const char *directory, const char *split, int64_t limit, Dataset *dataset);

/* The order of an epoch: a permutation of 0..count-1 (Fisher-Yates) from (seed, epoch) alone. order: (count).
 */
void data_order(uint64_t seed, int64_t epoch, int64_t count, uint32_t *order);

#endif
