#include "tests/taping_layouts.h"

#include <stdlib.h>
#include <string.h>

enum { BIAS_PARTS = 2 };

static const OpKernel *kernel_of(OpKind kind) {
    return backend_kernel(backend_find("cpu"), kind);
}

/* -1: none. */
static int weight_input(OpKind kind) {
    return kind == OP_CONV2D || kind == OP_CONV2D_BACKWARD_DATA || kind == OP_CONV_TRANSPOSE2D ||
                   kind == OP_CONV_TRANSPOSE2D_BACKWARD_DATA
               ? op_input(kind, "weight")
               : -1;
}

static bool has_laid_gradients(OpKind kind) {
    return kind == OP_CONV2D_BACKWARD_PARAMETERS || kind == OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS;
}

bool taping_layouts_has(OpKind kind) {
    return weight_input(kind) >= 0;
}

Status taping_layouts_prepare(PreparedOp *op) {
    Status status = STATUS_OK;
    const OpDescription *d = &op->description;
    const int weight = weight_input(d->kind);
    TRY(kernel_of(d->kind)->prepare(op));
    Shape w = weight >= 0 ? d->inputs[weight] : d->outputs[0];
    const ParameterLayout layout = {1, w.d[0], w.d[1], w.d[2] * w.d[3], DATA_F32};
    if (weight >= 0)
        op->input_layouts[weight] = layout;
    if (has_laid_gradients(d->kind)) {
        op->output_layouts[0] = layout;
        op->output_layouts[1] = (ParameterLayout){BIAS_PARTS, 1, shape_count(d->outputs[1]), 1, DATA_F32};
    }
done:
    return status;
}

/* laid[o, tap, i] and plain[o, i, tap]: one becomes the other. */
static void convert(const ParameterLayout *layout, float *laid, float *plain, bool to_plain) {
    for (int64_t o = 0; o < layout->outer; o++)
        for (int64_t i = 0; i < layout->inner; i++)
            for (int64_t tap = 0; tap < layout->taps; tap++) {
                float *a = &laid[(o * layout->taps + tap) * layout->inner + i];
                float *b = &plain[(o * layout->inner + i) * layout->taps + tap];
                *(to_plain ? b : a) = *(to_plain ? a : b);
            }
}

static Status run_with_laid_weight(PreparedOp *op, const void *const *inputs, void *const *outputs,
                                   void *scratch) {
    Status status = STATUS_OK;
    const OpKernel *kernel = kernel_of(op->description.kind);
    const int weight = weight_input(kernel->kind);
    const void *plain_inputs[OP_MAX_INPUTS];
    float *plain = NULL;
    memcpy(plain_inputs, inputs, sizeof plain_inputs);
    TRY(ALLOCATE(&plain, shape_count(op->description.inputs[weight])));
    convert(&op->input_layouts[weight], (float *)(uintptr_t)inputs[weight], plain, true);
    plain_inputs[weight] = plain;
    if (kernel->pack)
        TRY(kernel->pack(op, plain_inputs));
    TRY(kernel->run(op, plain_inputs, outputs, scratch));
done:
    free(plain);
    return status;
}

static Status run_with_laid_gradients(PreparedOp *op, const void *const *inputs, void *const *outputs,
                                      void *scratch) {
    Status status = STATUS_OK;
    const Shape *shapes = op->description.outputs;
    const int64_t weights = shape_count(shapes[0]), biases = shape_count(shapes[1]);
    float *plain = NULL, *bias = NULL, *parts = outputs[1];
    TRY(ALLOCATE(&plain, weights));
    TRY(ALLOCATE(&bias, biases));
    void *plain_outputs[OP_MAX_OUTPUTS] = {plain, parts ? bias : NULL};
    TRY(kernel_of(op->description.kind)->run(op, inputs, plain_outputs, scratch));
    convert(&op->output_layouts[0], outputs[0], plain, false);
    for (int64_t i = 0; parts && i < biases; i++) { /* halves are exact, and so is their sum */
        parts[i] = bias[i] / BIAS_PARTS;
        parts[biases + i] = bias[i] - parts[i];
    }
done:
    free(plain);
    free(bias);
    return status;
}

Status taping_layouts_run(PreparedOp *op, const void *const *inputs, void *const *outputs, void *scratch) {
    const OpKind kind = op->description.kind;
    if (weight_input(kind) >= 0)
        return run_with_laid_weight(op, inputs, outputs, scratch);
    return has_laid_gradients(kind) ? run_with_laid_gradients(op, inputs, outputs, scratch)
                                    : kernel_of(kind)->run(op, inputs, outputs, scratch);
}
