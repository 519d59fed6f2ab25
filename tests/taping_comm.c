#include "tests/taping_comm.h"

#include <stdlib.h>

#include "kernels/bf16.h"
#include "tests/taping_backend.h"

enum { MOST_SUMS = 64 };

typedef struct Sum {
    Comm *comm;
    void *data;
    int64_t count;
    CommType type;
} Sum;

static struct {
    const Comm *comm;
    TapingMoment moment;
    Sum late[MOST_SUMS];
    int late_count;
} state;

void taping_comm(const Comm *comm, TapingMoment moment) {
    state.comm = comm;
    state.moment = moment;
}

static Status add_up(Comm *comm, void *data, int64_t count, CommType type) {
    Status status = STATUS_OK;
    CommRequest *request = NULL;
    TRY(comm_allreduce_start(comm, data, count, type, &request));
    TRY(comm_wait(comm, &request));
done:
    return status;
}

/* Rounded once more at the end: NCCL rounds each partial sum. */
static Status add_up_bf16(const Sum *sum) {
    Status status = STATUS_OK;
    uint16_t *halves = sum->data;
    float *values = NULL;
    TRY(ALLOCATE(&values, sum->count));
    for (int64_t i = 0; i < sum->count; i++)
        values[i] = bf16_value(halves[i]);
    TRY(add_up(sum->comm, values, sum->count, COMM_FLOAT32));
    for (int64_t i = 0; i < sum->count; i++)
        halves[i] = bf16_of(values[i]);
done:
    free(values);
    return status;
}

static Status carry_out(const Sum *sum) {
    return sum->type == COMM_BFLOAT16 ? add_up_bf16(sum)
                                      : add_up(sum->comm, sum->data, sum->count, sum->type);
}

static Status start_sum(const void *arguments) {
    const Sum *sum = arguments;
    if (state.moment == TAPING_AT_ONCE)
        return carry_out(sum);
    if (state.late_count == MOST_SUMS)
        return status_error(STATUS_FAILURE, "more than %d sums under way", MOST_SUMS);
    state.late[state.late_count++] = *sum;
    return STATUS_OK;
}

static Status finish_sums(const void *arguments) {
    Status status = STATUS_OK;
    (void)arguments;
    for (int i = 0; i < state.late_count; i++)
        TRY(carry_out(&state.late[i]));
done:
    state.late_count = 0;
    return status;
}

/* ---- comm.h's sums of device memory ---- */

Status comm_attach_device(Comm *comm, void *stream, const CommDeviceOptions *options) {
    (void)comm;
    (void)stream;
    (void)options;
    return STATUS_OK;
}

void comm_detach_device(Comm *comm) {
    (void)comm;
}

bool comm_sums_device_memory(const Comm *comm) {
    return comm->size > 1 && comm == state.comm;
}

Status comm_device_sum_start(Comm *comm, void *data, int64_t count, CommType type) {
    Sum sum = {comm, data, count, type};
    return taping_call(start_sum, &sum, sizeof sum, data);
}

Status comm_device_sum_finish(Comm *comm) {
    (void)comm;
    return taping_call(finish_sums, NULL, 0, NULL);
}

Status comm_wait_device(Comm *comm) {
    (void)comm;
    return state.late_count == 0
               ? STATUS_OK
               : status_error(STATUS_FAILURE, "%d sums were never finished", state.late_count);
}
