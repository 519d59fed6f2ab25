/* Communication between ranks. Implementations: self (one rank, nothing launched) and MPI.
 *
 * "Collective": every rank of the communicator must make the call, in the same order. Buffers are host
 * memory. All calls are made from the main thread. A failed call returns STATUS_FAILURE with the library's
 * message. */
#ifndef COMM_COMM_H
#define COMM_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef struct Comm Comm;
typedef struct CommRequest CommRequest;

/* Starts communication: MPI where a launcher (mpirun, srun --mpi=pmix) started this process, else one rank.
 * Refuses SLURM_NTASKS > 1 with an MPI size of 1, naming --mpi=pmix. Collective. */
Status comm_create(Comm **comm);

/* A communicator of this rank alone, for work that the others have no part in; comm_destroy frees it. Not
 * collective. */
Status comm_create_self(Comm **comm);

/* Ends communication; accepts NULL. Collective. */
void comm_destroy(Comm *comm);

/* Ends the whole job at once with this exit status, after a failure that other ranks cannot know of.
 * Does not return where ranks run under MPI. Not collective. */
void comm_abort(Comm *comm, int exit_status);

int comm_rank(const Comm *comm);
int comm_size(const Comm *comm);
const char *comm_description(const Comm *comm); /* "MPI (Open MPI 4.1.4)" or "single process" */

/* bytes from rank `root` to all. Collective. */
Status comm_broadcast(Comm *comm, void *data, size_t bytes, int root);

/* Element-wise sum (or minimum, maximum) over ranks, in place. Collective. */
typedef enum CommReduction { COMM_SUM, COMM_MIN, COMM_MAX } CommReduction;
Status comm_allreduce_i64(Comm *comm, int64_t *data, int64_t count, CommReduction reduction);
Status comm_allreduce_f64(Comm *comm, double *data, int64_t count, CommReduction reduction);

/* Element types of sums. */
typedef enum CommType { COMM_INT64, COMM_FLOAT32, COMM_BFLOAT16 } CommType;
int64_t comm_type_bytes(CommType type);

/* Starts a sum over ranks, in place; data must stay until comm_wait, which frees the request. bf16 only on
 * devices.
 * Requests are started and waited for in the same order on every rank. Collective. */
Status comm_allreduce_start(Comm *comm, void *data, int64_t count, CommType type, CommRequest **request);
Status comm_wait(Comm *comm, CommRequest **request);

/* Looks whether a sum has finished, without waiting for the ranks that have not started it yet; then frees
 * the request as comm_wait does. A sum makes progress only while somebody looks. Not collective. */
Status comm_test(Comm *comm, CommRequest **request, bool *finished);

/* Concatenates every rank's bytes in rank order at rank 0; `all` (NULL elsewhere) must hold the sum of the
 * counts, otherwise every rank gets STATUS_FAILURE. Collective. */
Status comm_gather(Comm *comm, const void *mine, size_t bytes, void *all, size_t all_bytes);

Status comm_barrier(Comm *comm);

/* ---- sums of device memory (NCCL); where comm_sums_device_memory is false the caller goes through host
 * memory ---- */

typedef struct CommDeviceOptions {
    int max_ctas; /* the most blocks of threads (CTAs) of a sum: the other multiprocessors go on computing; 0:
                     NCCL's choice. The variable NCCL_MAX_CTAS outdoes it. */
    double timeout_seconds; /* of comm_wait_device */
} CommDeviceOptions;

/* After the backend took its device: one NCCL communicator over all ranks, on the backend's stream (a
 * cudaStream_t). With one rank, or without NCCL, nothing happens. Sets the variable NCCL_GRAPH_REGISTER to 0
 * unless it is set: see comm_nccl.c. Collective. */
Status comm_attach_device(Comm *comm, void *stream, const CommDeviceOptions *options);

/* Before the backend is stopped; comm_destroy does not do it. Collective. */
void comm_detach_device(Comm *comm);

bool comm_sums_device_memory(const Comm *comm);

/* Queues the sum over ranks of device memory, in place, on a stream of its own: after what was queued on the
 * backend's stream up to now, beside what is queued there next. All ranks get the same bits. A sum of
 * integers has them whatever NCCL does; one of floats has NCCL's order, which follows from its version and
 * variables and from which devices the ranks have, but for sums made by NVLink switches, whose order may
 * differ from one sum to the next: NCCL_NVLS_ENABLE=0 forgoes those, NCCL_ALGO and NCCL_PROTO fix the rest.
 * After a failure while recording the streams are as before once the recording was ended. Collective. */
Status comm_device_sum_start(Comm *comm, void *data, int64_t count, CommType type);

/* What is queued on the backend's stream from now on comes after all sums started. Does not wait. */
Status comm_device_sum_finish(Comm *comm);

/* Waits for what was queued, if sums of device memory can be among it, polling event, NCCL's asynchronous
 * error and timeout_seconds. NCCL sees a rank that died where its network's connection breaks, but not where
 * they share a node's memory. STATUS_FAILURE names this rank and host then; ends the job if the device is not
 * free soon after. Collective. */
Status comm_wait_device(Comm *comm);

/* Makes one rank's failure everybody's: returns the highest status of all ranks; a rank whose own was lower
 * gets the message "rank R: ..." of the lowest failing rank. Collective. */
Status comm_agree(Comm *comm, Status mine);

/* True after comm_agree returned a failure: every rank knows and unwinds, the job need not be aborted. An
 * interruption is none: a run that stops has work left, in which one rank alone can fail. */
bool comm_failure_is_agreed(const Comm *comm);

#endif
