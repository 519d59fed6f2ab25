/* Sums of device memory over ranks: values, order among other work of the backend's stream, recordings, and
 * the watchdog. Run on ranks; skipped where sums go through host memory. */
#include "comm/comm.h"
#include "core/clock.h"
#include "kernels/bf16.h"
#include "tests/test.h"
#include "tests/test_backend.h"

enum { COUNT = 100003 };
static const CommDeviceOptions options = {.max_ctas = 8, .timeout_seconds = 2};

static size_t type_bytes(CommType type) {
    return type == COMM_INT64 ? 8 : type == COMM_FLOAT32 ? 4 : 2;
}

/* Small whole numbers, which every type adds exactly: (i mod 13) + rank. */
static void fill(CommType type, void *values, int64_t count, int rank) {
    for (int64_t i = 0; i < count; i++) {
        float value = (float)(i % 13 + rank);
        if (type == COMM_INT64)
            ((int64_t *)values)[i] = i % 13 + rank;
        else if (type == COMM_FLOAT32)
            ((float *)values)[i] = value;
        else
            ((uint16_t *)values)[i] = bf16_of(value);
    }
}

/* Elements of values that are not `times` times the sum over ranks of what fill gave; each further sum of the
 * same memory multiplies by the number of ranks. */
static int64_t mismatches(CommType type, const void *values, int64_t count, int ranks, int64_t times) {
    int64_t wrong = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t expected = times * (i % 13 * ranks + ranks * (ranks - 1) / 2);
        if (type == COMM_INT64)
            wrong += ((const int64_t *)values)[i] != expected;
        else if (type == COMM_FLOAT32)
            wrong += !(((const float *)values)[i] == (float)expected);
        else
            wrong += !(bf16_value(((const uint16_t *)values)[i]) == (float)expected);
    }
    return wrong;
}

/* Two sums of one buffer with a copy of it queued in between: the copy sees the first sum alone. */
static Status queue_sums(Comm *comm, const Backend *backend, CommType type, int64_t count, void *data,
                         void *between) {
    Status status = STATUS_OK;
    TRY(comm_device_sum_start(comm, data, count, type));
    TRY(comm_device_sum_finish(comm));
    TRY(backend->copy(between, data, (size_t)count * type_bytes(type)));
    TRY(comm_device_sum_start(comm, data, count, type));
    TRY(comm_device_sum_finish(comm));
done:
    return status;
}

static void check_sums(Comm *comm, const Backend *backend, CommType type, int64_t count, const void *data,
                       const void *between, void *host) {
    int ranks = comm_size(comm);
    CHECK_OK(comm_wait_device(comm));
    CHECK_OK(backend->copy_out(host, between, (size_t)count * type_bytes(type)));
    CHECK(mismatches(type, host, count, ranks, 1) == 0);
    CHECK_OK(backend->copy_out(host, data, (size_t)count * type_bytes(type)));
    CHECK(mismatches(type, host, count, ranks, ranks) == 0);
}

static void test_sums(Comm *comm, const Backend *backend, CommType type, int64_t count) {
    size_t bytes = (size_t)count * type_bytes(type);
    void *data = NULL, *between = NULL, *host = NULL, *recording = NULL;
    CHECK_OK(backend->allocate(&data, bytes));
    CHECK_OK(backend->allocate(&between, bytes));
    CHECK_OK(ALLOCATE((char **)&host, (int64_t)bytes));
    fill(type, host, count, comm_rank(comm));
    CHECK_OK(backend->copy_in(data, host, bytes));
    CHECK_OK(queue_sums(comm, backend, type, count, data, between));
    check_sums(comm, backend, type, count, data, between, host);
    CHECK_OK(backend->record_begin());
    CHECK_OK(queue_sums(comm, backend, type, count, data, between));
    CHECK_OK(backend->record_end(&recording));
    for (int repeat = 0; repeat < 3; repeat++) {
        fill(type, host, count, comm_rank(comm));
        CHECK_OK(backend->copy_in(data, host, bytes));
        CHECK_OK(backend->replay(recording));
        check_sums(comm, backend, type, count, data, between, host);
    }
    backend->recording_release(recording);
    backend->release(data);
    backend->release(between);
    free(host);
}

/* One rank takes no part: the others' wait ends with a message, and their stream is free again. */
static void test_watchdog(Comm *comm, const Backend *backend) {
    float *data = NULL, host[8];
    double begin = clock_seconds();
    CHECK_OK(backend->allocate((void **)&data, sizeof host));
    if (comm_rank(comm) != comm_size(comm) - 1) {
        CHECK_OK(comm_device_sum_start(comm, data, 8, COMM_FLOAT32));
        CHECK_OK(comm_device_sum_finish(comm));
        CHECK_ERROR(comm_wait_device(comm), STATUS_FAILURE, "no answer of the other ranks to a sum for 2 s");
        CHECK(clock_seconds() - begin >= options.timeout_seconds);
        CHECK_OK(backend->copy_out(host, data, sizeof host));
    }
    CHECK_OK(comm_barrier(comm));
    CHECK(clock_seconds() - begin < 60);
    backend->release(data);
}

int main(void) {
    Comm *comm = NULL;
    const Backend *backend = test_backend_start("cuda", NULL);
    CHECK_OK(comm_create(&comm));
    CHECK_OK(comm_attach_device(comm, backend->stream(), &options));
    if (!comm_sums_device_memory(comm)) {
        printf("skipped: one rank, or a build without NCCL\n");
        return TEST_SKIPPED;
    }
    for (int type = COMM_INT64; type <= COMM_BFLOAT16; type++) {
        test_sums(comm, backend, type, COUNT);
        test_sums(comm, backend, type, 1);
    }
    test_watchdog(comm, backend);
    comm_detach_device(comm);
    comm_destroy(comm);
    test_backend_stop(backend);
    return test_result();
}
