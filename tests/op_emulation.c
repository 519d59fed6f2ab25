#include "op_emulation.h"

#include <pthread.h>
#include <stdlib.h>

#include "kernels/bf16.h"

static Status emulation_prepare(PreparedOp *op) {
    Status status = STATUS_OK;
    const OpDescription *d = &op->description;
    PreparedOp *inner = NULL;
    TRY(ALLOCATE(&inner, 1));
    op->state = inner;
    inner->kernel = backend_kernel(backend_find("cpu_reference"), d->kind);
    inner->description = *d;
    TRY(inner->kernel->prepare(inner));
    op->scratch_bytes = inner->scratch_bytes;
done:
    return status;
}

static Status emulation_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                            void *scratch) {
    Status status = STATUS_OK;
    const OpDescription *d = &op->description;
    const PreparedOp *inner = op->state;
    float *wide_in[OP_MAX_INPUTS] = {0}, *wide_out[OP_MAX_OUTPUTS] = {0};
    const void *in[OP_MAX_INPUTS] = {0};
    void *out[OP_MAX_OUTPUTS] = {0};
    for (int k = 0; k < op_input_count(d->kind); k++) {
        const uint16_t *narrow = inputs[k];
        in[k] = inputs[k];
        if (!inputs[k] || d->input_types[k] != DATA_BF16)
            continue;
        TRY(ALLOCATE(&wide_in[k], shape_count(d->inputs[k])));
        for (int64_t i = 0; i < shape_count(d->inputs[k]); i++)
            wide_in[k][i] = bf16_value(narrow[i]);
        in[k] = wide_in[k];
    }
    for (int k = 0; k < op_output_count(d->kind); k++) {
        out[k] = outputs[k];
        if (outputs[k] && d->output_types[k] == DATA_BF16) {
            TRY(ALLOCATE(&wide_out[k], shape_count(d->outputs[k])));
            out[k] = wide_out[k];
        }
    }
    TRY(inner->kernel->run(inner, in, out, scratch));
    for (int k = 0; k < op_output_count(d->kind); k++)
        for (int64_t i = 0; wide_out[k] && i < shape_count(d->outputs[k]); i++)
            ((uint16_t *)outputs[k])[i] = bf16_of(wide_out[k][i]);
done:
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        free(wide_in[k]);
    for (int k = 0; k < OP_MAX_OUTPUTS; k++)
        free(wide_out[k]);
    return status;
}

static void emulation_release(PreparedOp *op) {
    PreparedOp *inner = op->state;
    if (inner && inner->kernel)
        inner->kernel->release(inner);
    free(inner);
    op->state = NULL;
}

#define OP(identifier, op_name, inputs, outputs)                                                             \
    static const OpKernel kernel_##op_name = {.kind = OP_##identifier,                                       \
                                              .name = #op_name "_emulation",                                 \
                                              .prepare = emulation_prepare,                                  \
                                              .run = emulation_run,                                          \
                                              .release = emulation_release};
#include "kernels/ops.def"
#undef OP

static const OpKernel *const kernels[] = {
#define OP(identifier, op_name, inputs, outputs) &kernel_##op_name,
#include "kernels/ops.def"
#undef OP
    NULL,
};

static Backend emulation;

static void create_emulation(void) {
    emulation = *backend_find("cpu_reference");
    emulation.name = "bf16 emulation";
    emulation.description = "the plain loops with feature maps in bf16";
    emulation.kernels = kernels;
}

const Backend *op_emulation_backend(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, create_emulation);
    return &emulation;
}
