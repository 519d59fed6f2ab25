/* A stand-in for a device, to run on a host what training does on a GPU: the CPU's routines and kernels on
 * memory that is said not to be the host's, behind calls that are said to queue, with recordings. Between
 * record_begin and record_end calls are not run but taped, arguments by value, as a CUDA graph does; replay
 * runs the tape. Convolutions want and leave layouts of their own, as on a GPU (taping_layouts.h). What a
 * device could not do is a failure: allocating, waiting or copying to and from the host while recording, and
 * routines called with addresses that are not the backend's. So is what a recording could not repeat:
 * constants that a routine takes from the host. */
#ifndef TESTS_TAPING_BACKEND_H
#define TESTS_TAPING_BACKEND_H

#include "kernels/backend.h"

const Backend *taping_backend(void);

typedef struct TapingCounts {
    int64_t direct;  /* calls that were run at once */
    int64_t taped;   /* calls of the latest recording */
    int64_t replays; /* of recordings */
    int64_t gathers; /* calls of gather, run or taped */
    int64_t waits;   /* copies to the host, large ones from it, and synchronise */
} TapingCounts;

TapingCounts taping_counts(void);

/* Queues a call of the test's own with a copy of its arguments, at most TAPING_BYTES; address: what it works
 * on. */
enum { TAPING_BYTES = 64 };
typedef Status (*TapingFunction)(const void *arguments);
Status taping_call(TapingFunction function, const void *arguments, size_t bytes, const void *address);

/* What copy_in copies at once, from now on. */
void taping_copy_in_at_once(size_t bytes);

/* Lets call number `call` of a recording fail from now on; -1: none. */
void taping_fail(int64_t call);

/* Lets record_end fail from now on, or not. */
void taping_refuse(bool refuse);

#endif
