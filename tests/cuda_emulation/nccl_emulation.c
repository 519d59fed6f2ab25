/* An emulation of NCCL between processes of one machine: sums pass through a segment of shared memory that
 * the unique id names. As with the real library a rank that died leaves the others waiting in the sum:
 * nothing returns, and the asynchronous error stays silent unless CUDA_EMULATION_NCCL_ERRORS=1, which is how
 * NCCL behaves where ranks are joined by sockets. */
#include <errno.h>
#include <fcntl.h>
#include <nccl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kernels/bf16.h"
#include "tests/cuda_emulation/emulation.h"

enum { MAX_RANKS = 16, CHUNK_BYTES = 1 << 18, CONFIG_MAGIC = (int)0xcafebeef, MOST_CTAS = 64 };
/* A ring starts summing different parts at different ranks. */
enum { RING_PART = 1024 };
static const time_t start_seconds = 60;

/* Of one rank in the segment; written and read count chunks since the start. */
typedef struct Slot {
    atomic_ullong written, read;
    atomic_int process, left;
    size_t count; /* of the sum that the chunk belongs to: all ranks' must agree */
    int type;
    _Alignas(16) unsigned char chunk[CHUNK_BYTES];
} Slot;

typedef struct Segment {
    atomic_int attached;
    Slot slots[MAX_RANKS];
} Segment;

/* Kept after it is destroyed, so that work that comes too late can say so. */
struct ncclComm {
    int rank, size;
    Segment *segment;
    unsigned long long chunk; /* the next one */
    atomic_bool aborted, destroyed;
    struct ncclComm *next;
};

static struct ncclComm *communicators;
static char last_error[256] = "no error";

static ncclResult_t fail(ncclResult_t result, const char *format, ...) __attribute__((format(printf, 2, 3)));
static ncclResult_t fail(ncclResult_t result, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
    return result;
}

/* Ends the program: what the real library would answer with wrong sums or a crash. */
static void misuse(const char *message) {
    fprintf(stderr, "NCCL emulation: %s\n", message);
    abort();
}

const char *ncclGetLastError(ncclComm_t comm) {
    (void)comm;
    return last_error;
}

const char *ncclGetErrorString(ncclResult_t result) {
    static const char *const texts[] = {[ncclSuccess] = "no error",
                                        [ncclUnhandledCudaError] = "unhandled cuda error",
                                        [ncclSystemError] = "unhandled system error",
                                        [ncclInternalError] = "internal error",
                                        [ncclInvalidArgument] = "invalid argument",
                                        [ncclInvalidUsage] = "invalid usage",
                                        [ncclRemoteError] =
                                            "remote process exited or there was a network error",
                                        [ncclInProgress] = "operation in progress"};
    return texts[result];
}

/* ---- communicators ---- */

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    struct timespec now;
    memset(id, 0, sizeof *id);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    snprintf(id->internal, sizeof id->internal, "/nccl_emulation_%d_%lld_%ld", (int)getpid(),
             (long long)now.tv_sec, now.tv_nsec);
    return ncclSuccess;
}

/* The segment of all ranks; whoever comes first makes it. */
static Segment *open_segment(const ncclUniqueId *id) {
    void *memory;
    int file = shm_open(id->internal, O_RDWR | O_CREAT, 0600);
    if (file < 0)
        return NULL;
    memory = ftruncate(file, sizeof(Segment)) == 0
                 ? mmap(NULL, sizeof(Segment), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
                 : MAP_FAILED;
    (void)close(file);
    return memory == MAP_FAILED ? NULL : memory;
}

static ncclResult_t wait_for_all(Segment *segment, int size) {
    static const struct timespec pause_between = {0, 1000000};
    time_t start = time(NULL);
    while (atomic_load(&segment->attached) < size) {
        if (time(NULL) - start > start_seconds)
            return fail(ncclSystemError, "%d of %d ranks came within %lld s", atomic_load(&segment->attached),
                        size, (long long)start_seconds);
        (void)nanosleep(&pause_between, NULL);
    }
    return ncclSuccess;
}

static ncclResult_t check_config(const ncclConfig_t *config) {
    if (config->size != sizeof *config || (int)config->magic != CONFIG_MAGIC)
        return fail(ncclInvalidArgument, "the configuration was not initialised");
    if (config->maxCTAs != NCCL_CONFIG_UNDEF_INT && (config->maxCTAs < 1 || config->maxCTAs > MOST_CTAS))
        return fail(ncclInvalidArgument, "configuration: maxCTAs %d", config->maxCTAs);
    if (config->minCTAs != NCCL_CONFIG_UNDEF_INT && config->maxCTAs != NCCL_CONFIG_UNDEF_INT &&
        config->minCTAs > config->maxCTAs)
        return fail(ncclInvalidArgument, "configuration: minCTAs %d is above maxCTAs", config->minCTAs);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t *config) {
    ncclResult_t result = check_config(config);
    Segment *segment;
    *comm = NULL;
    if (result != ncclSuccess)
        return result;
    if (size < 1 || size > MAX_RANKS || rank < 0 || rank >= size || id.internal[0] != '/')
        return fail(ncclInvalidArgument, "rank %d of %d, at most %d, or no unique id", rank, size, MAX_RANKS);
    segment = open_segment(&id);
    if (!segment)
        return fail(ncclSystemError, "shared memory %s: %s", id.internal, strerror(errno));
    atomic_store(&segment->slots[rank].process, (int)getpid());
    atomic_fetch_add(&segment->attached, 1);
    result = wait_for_all(segment, size);
    if (rank == 0)
        (void)shm_unlink(id.internal);
    if (result != ncclSuccess)
        return result;
    *comm = calloc(1, sizeof **comm);
    if (!*comm)
        return fail(ncclSystemError, "out of memory");
    **comm = (struct ncclComm){.rank = rank, .size = size, .segment = segment, .next = communicators};
    communicators = *comm;
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    if (!comm || atomic_load(&comm->destroyed))
        return fail(ncclInvalidArgument, "no communicator, or a destroyed one");
    atomic_store(&comm->segment->slots[comm->rank].left, 1);
    atomic_store(&comm->destroyed, true);
    return ncclSuccess;
}

/* Work that waits for others ends at its next turn. */
ncclResult_t ncclCommAbort(ncclComm_t comm) {
    atomic_store(&comm->aborted, true);
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error) {
    const char *reported = getenv("CUDA_EMULATION_NCCL_ERRORS");
    if (!comm || atomic_load(&comm->destroyed))
        return fail(ncclInvalidArgument, "no communicator, or a destroyed one");
    *error = ncclSuccess;
    for (int i = 0; reported && atoi(reported) == 1 && i < comm->size; i++) {
        Slot *slot = &comm->segment->slots[i];
        if (!atomic_load(&slot->left) && kill(atomic_load(&slot->process), 0) != 0 && errno == ESRCH)
            *error = fail(ncclRemoteError, "rank %d has closed its connection", i);
    }
    return ncclSuccess;
}

/* ---- sums ---- */

typedef struct Sum {
    ncclComm_t comm;
    const void *from;
    void *to;
    size_t count, done; /* elements */
    ncclDataType_t type;
    bool published; /* this rank's part of the chunk that begins at `done` */
} Sum;

static size_t element_bytes(ncclDataType_t type) {
    return type == ncclInt64 ? sizeof(int64_t) : type == ncclFloat32 ? sizeof(float) : sizeof(uint16_t);
}

/* to[i] += from[i]: each rank of a ring rounds what it passes on. */
static void add(ncclDataType_t type, void *to, const void *from, size_t i) {
    if (type == ncclInt64)
        ((uint64_t *)to)[i] += ((const uint64_t *)from)[i];
    else if (type == ncclFloat32)
        ((float *)to)[i] += ((const float *)from)[i];
    else
        ((uint16_t *)to)[i] =
            bf16_of(bf16_value(((uint16_t *)to)[i]) + bf16_value(((const uint16_t *)from)[i]));
}

static size_t chunk_elements(const Sum *sum) {
    size_t most = CHUNK_BYTES / element_bytes(sum->type), left = sum->count - sum->done;
    return left < most ? left : most;
}

/* Whether all ranks have read the chunk before this one, or have written this one. */
static bool all_have(const struct ncclComm *comm, bool written, unsigned long long chunks) {
    for (int i = 0; i < comm->size; i++) {
        Slot *slot = &comm->segment->slots[i];
        if (atomic_load(written ? &slot->written : &slot->read) < chunks)
            return false;
    }
    return true;
}

static void publish(Sum *sum) {
    struct ncclComm *comm = sum->comm;
    Slot *slot = &comm->segment->slots[comm->rank];
    size_t bytes = element_bytes(sum->type);
    memcpy(slot->chunk, (const char *)sum->from + sum->done * bytes, chunk_elements(sum) * bytes);
    slot->count = sum->count;
    slot->type = (int)sum->type;
    atomic_store(&slot->written, comm->chunk + 1);
    sum->published = true;
}

static void collect(Sum *sum) {
    struct ncclComm *comm = sum->comm;
    size_t bytes = element_bytes(sum->type), elements = chunk_elements(sum);
    unsigned char *to = (unsigned char *)sum->to + sum->done * bytes;
    for (int i = 0; i < comm->size; i++)
        if (comm->segment->slots[i].count != sum->count || comm->segment->slots[i].type != (int)sum->type)
            misuse("ranks sum different counts or types");
    for (size_t begin = 0; begin < elements; begin += RING_PART) {
        size_t part = elements - begin < RING_PART ? elements - begin : RING_PART;
        int first = (int)((sum->done + begin) / RING_PART % (size_t)comm->size);
        memcpy(to + begin * bytes, comm->segment->slots[first].chunk + begin * bytes, part * bytes);
        for (int r = 1; r < comm->size; r++)
            for (size_t i = begin; i < begin + part; i++)
                add(sum->type, to, comm->segment->slots[(first + r) % comm->size].chunk, i);
    }
    atomic_store(&comm->segment->slots[comm->rank].read, comm->chunk + 1);
    comm->chunk++;
    sum->done += elements;
    sum->published = false;
}

/* As far as the others have come. */
static void nccl_all_reduce(void *arguments) {
    Sum *sum = arguments;
    struct ncclComm *comm = sum->comm;
    size_t bytes = sum->count * element_bytes(sum->type);
    if (atomic_load(&comm->destroyed))
        misuse("a sum runs after its communicator was destroyed");
    emulation_expect_device(sum->from, bytes, "what NCCL sums");
    emulation_expect_device(sum->to, bytes, "the result of an NCCL sum");
    emulation_reads(sum->from, bytes);
    emulation_writes(sum->to, bytes);
    while (sum->done < sum->count && !atomic_load(&comm->aborted)) {
        if (!sum->published && !all_have(comm, false, comm->chunk)) {
            emulation_try_again();
            return;
        }
        if (!sum->published)
            publish(sum);
        if (!all_have(comm, true, comm->chunk + 1)) {
            emulation_try_again();
            return;
        }
        collect(sum);
    }
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t operation, ncclComm_t comm, cudaStream_t stream) {
    Sum sum = {.comm = comm, .from = from, .to = to, .count = count, .type = type};
    if (!comm || atomic_load(&comm->destroyed) || atomic_load(&comm->aborted))
        return fail(ncclInvalidArgument, "no communicator, or one that has ended");
    if ((type != ncclInt64 && type != ncclFloat32 && type != ncclBfloat16) || operation != ncclSum)
        return fail(ncclInvalidArgument, "type %d, operation %d: unknown to the emulation", (int)type,
                    (int)operation);
    emulation_queue(stream, nccl_all_reduce, &sum, sizeof sum);
    return ncclSuccess;
}
