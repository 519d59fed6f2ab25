#include "op_perf.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "op_cases.h"
#include "op_precision.h"
#include "op_rig.h"
#include "test_backend.h"

enum { FEWEST_ROUNDS = 3, MOST_ROUNDS = 200, DEVICE_RUNS = 50 };
#define LEAST_SECONDS 0.2

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Something to time: `run` starts it once. */
typedef struct Work {
    const Backend *backend;
    Status (*run)(void *context);
    void *context;
    const void *result; /* backend memory that it writes: copying from it waits for it */
} Work;

static Status queue_runs(void *context) {
    Status status = STATUS_OK;
    const Work *work = context;
    for (int i = 0; i < DEVICE_RUNS; i++)
        TRY(work->run(work->context));
done:
    return status;
}

/* One run, or the recorded ones. */
static Status run_and_wait(const Work *work, void *recording) {
    Status status = STATUS_OK;
    float first;
    TRY(recording ? work->backend->replay(recording) : work->run(work->context));
    if (!work->backend->host_memory)
        TRY(work->backend->copy_out(&first, work->result, sizeof first));
done:
    return status;
}

/* On a device, where a run only begins, several are recorded and then waited for: queued one by one, small
 * ones would take as long as the host takes to queue them. */
static Status median_seconds(const Work *work, double *median) {
    Status status = STATUS_OK;
    const Backend *backend = work->backend;
    const int runs = backend->record_begin ? DEVICE_RUNS : 1;
    double seconds[MOST_ROUNDS], total = 0;
    void *recording = NULL;
    int rounds = 0;
    TRY(run_and_wait(work, NULL));
    if (backend->record_begin)
        TRY(backend_record(backend, queue_runs, (void *)(uintptr_t)work, &recording));
    if (recording)
        TRY(run_and_wait(work, recording));
    while (rounds < MOST_ROUNDS && (rounds < FEWEST_ROUNDS || total < LEAST_SECONDS)) {
        double start = clock_seconds();
        TRY(run_and_wait(work, recording));
        seconds[rounds] = (clock_seconds() - start) / runs;
        total += clock_seconds() - start;
        rounds++;
    }
    qsort(seconds, (size_t)rounds, sizeof *seconds, compare_doubles);
    *median = seconds[rounds / 2];
done:
    if (recording)
        backend->recording_release(recording);
    return status;
}

typedef struct CopyContext {
    const Backend *backend;
    void *from, *to;
    size_t bytes;
} CopyContext;

static Status run_copy(void *context) {
    CopyContext *c = context;
    return c->backend->copy(c->to, c->from, c->bytes);
}

/* Bytes read and written per second by a copy far larger than the caches. */
static Status copy_bandwidth(const Backend *backend, double *bandwidth) {
    Status status = STATUS_OK;
    CopyContext c = {.backend = backend, .bytes = (size_t)256 << 20};
    double seconds = 0;
    TRY(backend->allocate(&c.from, c.bytes));
    TRY(backend->allocate(&c.to, c.bytes));
    TRY(median_seconds(&(Work){backend, run_copy, &c, c.to}, &seconds));
    *bandwidth = 2 * (double)c.bytes / seconds;
done:
    backend->release(c.from);
    backend->release(c.to);
    return status;
}

typedef struct OpContext {
    PreparedOp op;
    const void *inputs[OP_MAX_INPUTS];
    void **outputs, *scratch;
} OpContext;

static Status run_op(void *context) {
    OpContext *c = context;
    return c->op.kernel->run(&c->op, c->inputs, c->outputs, c->scratch);
}

static size_t operand_bytes(Shape shape, DataType type) {
    return shape.d[0] ? (size_t)(shape_count(shape) * data_type_bytes(type)) : 0;
}

/* Each operand read or written once. */
static double op_bytes(const OpDescription *d) {
    double bytes = 0;
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        bytes += (double)operand_bytes(d->inputs[k], d->input_types[k]);
    for (int k = 0; k < OP_MAX_OUTPUTS; k++)
        bytes += (double)operand_bytes(d->outputs[k], d->output_types[k]);
    return bytes;
}

typedef struct OpTime {
    double seconds;
    char kernel[160];
} OpTime;

/* Median seconds of one run, without copies to and from the backend's memory. */
static Status time_op(const Backend *backend, const OpDescription *d, OpTime *time) {
    Status status = STATUS_OK;
    OpTensors tensors = {0};
    void *memory[OP_MAX_INPUTS + OP_MAX_OUTPUTS + 1] = {0}, *result = NULL;
    OpContext context = {.outputs = memory + OP_MAX_INPUTS};
    void **scratch = context.outputs + OP_MAX_OUTPUTS;
    TRY(op_tensors_create(&tensors, d));
    op_case_inputs(d, 1, 1, tensors.in);
    TRY(op_rig_prepare(backend, d, &context.op));
    TRY(op_rig_pack(backend, &context.op, tensors.in));
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        if (tensors.in[k] &&
            !(context.op.kernel->pack && op_operand_is_parameter(op_input_name(d->kind, k)))) {
            /* values in a layout would take the same time in another order */
            const ParameterLayout *layout = &context.op.input_layouts[k];
            TRY(op_rig_place(backend, tensors.in[k], layout->parts ? layout->type : d->input_types[k],
                             shape_count(d->inputs[k]), &memory[k]));
            context.inputs[k] = memory[k];
        }
    for (int k = 0; k < OP_MAX_OUTPUTS; k++)
        if (tensors.out[k]) {
            const ParameterLayout *layout = &context.op.output_layouts[k];
            TRY(backend->allocate(&context.outputs[k], layout->parts
                                                           ? parameter_layout_bytes(layout)
                                                           : operand_bytes(d->outputs[k], DATA_F32)));
            result = context.outputs[k];
        }
    TRY(backend->allocate(scratch, context.op.scratch_bytes));
    context.scratch = *scratch;
    TRY(median_seconds(&(Work){backend, run_op, &context, result}, &time->seconds));
    snprintf(time->kernel, sizeof time->kernel, "%s %s", context.op.kernel->name,
             context.op.implementation ? context.op.implementation : "");
done:
    op_rig_release(&context.op);
    op_tensors_release(&tensors);
    for (int k = 0; k < OP_MAX_INPUTS + OP_MAX_OUTPUTS + 1; k++)
        backend->release(memory[k]);
    return status;
}

int op_perf(const char *backend_name, const char *precision_name, int64_t samples) {
    const OpPrecision precision = op_precision(precision_name);
    const Backend *backend = test_backend_start(backend_name, precision_name);
    OpCases cases = {0};
    Status status = STATUS_OK;
    char text[256];
    double bandwidth = 0;
    TRY(op_cases_create_unet(&cases, samples));
    TRY(copy_bandwidth(backend, &bandwidth));
    printf("backend %s, %s: %s; a copy moves %.0f GB/s\n%10s %10s %8s %6s\n", backend->name, precision.name,
           backend->description, bandwidth * 1e-9, "ms", "GFLOP/s", "GB/s", "copy");
    for (int i = 0; i < cases.count; i++) {
        OpDescription *op = &cases.list[i];
        OpTime time = {0};
        op_precision_describe(&precision, op);
        TRY(time_op(backend, op, &time));
        printf("%10.4f %10.1f %8.1f %5.0f%%  %s: %s\n", time.seconds * 1e3,
               (double)op_flops(op) / time.seconds * 1e-9, op_bytes(op) / time.seconds * 1e-9,
               100 * op_bytes(op) / time.seconds / bandwidth, time.kernel, op_case_text(op, text));
        fflush(stdout);
    }
    printf("%d ops timed\n", cases.count);
done:
    free(cases.list);
    if (status != STATUS_OK)
        fprintf(stderr, "%s\n", status_message());
    test_backend_stop(backend);
    return (int)status;
}
