#include "op_perf.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "op_cases.h"
#include "op_rig.h"

enum { FEWEST_RUNS = 5, MOST_RUNS = 200 };
#define LEAST_SECONDS 0.3

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median seconds of one run, without copies to and from the backend's memory. */
static Status time_op(const Backend *backend, const OpDescription *description, const char **kernel,
                      double *median) {
    Status status = STATUS_OK;
    PreparedOp op = {0};
    OpTensors tensors = {0};
    void *memory[OP_MAX_INPUTS + OP_MAX_OUTPUTS + 1] = {0};
    const void *inputs[OP_MAX_INPUTS] = {0};
    void **outputs = memory + OP_MAX_INPUTS, **scratch = outputs + OP_MAX_OUTPUTS;
    double seconds[MOST_RUNS], total = 0;
    int runs = 0;
    TRY(op_tensors_create(&tensors, description));
    op_case_inputs(description, 1, 1, tensors.in);
    TRY(op_rig_prepare(backend, description, &op));
    TRY(op_rig_pack(backend, &op, tensors.in));
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        if (tensors.in[k] &&
            !(op.kernel->pack && op_operand_is_parameter(op_input_name(description->kind, k)))) {
            size_t bytes = (size_t)shape_count(description->inputs[k]) * sizeof(float);
            TRY(backend->allocate(&memory[k], bytes));
            TRY(backend->copy_in(memory[k], tensors.in[k], bytes));
            inputs[k] = memory[k];
        }
    for (int k = 0; k < OP_MAX_OUTPUTS; k++)
        if (tensors.out[k])
            TRY(backend->allocate(&outputs[k], (size_t)shape_count(description->outputs[k]) * sizeof(float)));
    TRY(backend->allocate(scratch, op.scratch_bytes));
    TRY(op.kernel->run(&op, inputs, outputs, *scratch));
    while (runs < MOST_RUNS && (runs < FEWEST_RUNS || total < LEAST_SECONDS)) {
        double start = clock_seconds();
        TRY(op.kernel->run(&op, inputs, outputs, *scratch));
        seconds[runs] = clock_seconds() - start;
        total += seconds[runs++];
    }
    qsort(seconds, (size_t)runs, sizeof *seconds, compare_doubles);
    *median = seconds[runs / 2];
    *kernel = op.kernel->name;
done:
    op_rig_release(&op);
    op_tensors_release(&tensors);
    for (int k = 0; k < OP_MAX_INPUTS + OP_MAX_OUTPUTS + 1; k++)
        backend->release(memory[k]);
    return status;
}

int op_perf(const char *backend_name) {
    const Backend *backend = backend_find(backend_name);
    OpCases cases = {0};
    Status status = STATUS_OK;
    char text[256];
    if (!backend)
        FAIL(STATUS_BAD_INPUT, "--perf: no backend \"%s\", expected one of: %s", backend_name,
             backend_names());
    TRY(op_cases_create_unet(&cases));
    printf("backend %s: %s, one thread\n%10s %10s\n", backend->name, backend->description, "GFLOP/s", "ms");
    for (int i = 0; i < cases.count; i++) {
        const char *kernel = NULL;
        double seconds = 0;
        TRY(time_op(backend, &cases.list[i], &kernel, &seconds));
        printf("%10.1f %10.3f  %s: %s\n", (double)op_flops(&cases.list[i]) / seconds * 1e-9, seconds * 1e3,
               kernel, op_case_text(&cases.list[i], text));
        fflush(stdout);
    }
done:
    free(cases.list);
    if (status != STATUS_OK)
        fprintf(stderr, "%s\n", status_message());
    return (int)status;
}
