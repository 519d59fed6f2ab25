/* Sums of device memory over ranks for taping_backend.h's stand-in, in place of NCCL's: they are taped while
 * it records, and carried out through MPI. Linked into a test, its definitions replace the library's. */
#ifndef TESTS_TAPING_COMM_H
#define TESTS_TAPING_COMM_H

#include "comm/comm_backend.h"

/* From now on sums of this communicator's device memory are made at once, when they are started, or late,
 * when they are finished: an array may be read at any time in between. NULL: none has such sums. */
typedef enum TapingMoment { TAPING_AT_ONCE, TAPING_LATE } TapingMoment;
void taping_comm(const Comm *comm, TapingMoment moment);

#endif
