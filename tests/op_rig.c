#include "op_rig.h"

#include <stdlib.h>
#include <string.h>

#include "op_cases.h"

/* A NaN, so that reading it shows in the result; with a payload no arithmetic makes, so that writing shows
 * too. */
#define GUARD_BITS 0x7fc5a5a5u
enum { GUARD_WORDS = 64 }; /* keeps the 64-byte alignment */

typedef struct Guarded {
    void *memory;   /* the backend's: guard, words, guard */
    uint32_t *host; /* what `memory` should hold */
    uint32_t *found;
    int64_t words;
} Guarded;

Status op_tensors_create(OpTensors *tensors, const OpDescription *op) {
    Status status = STATUS_OK;
    *tensors = (OpTensors){0};
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        if (op->inputs[k].d[0])
            TRY(ALLOCATE(&tensors->in[k], shape_count(op->inputs[k])));
    for (int k = 0; k < OP_MAX_OUTPUTS; k++)
        if (op->outputs[k].d[0])
            TRY(ALLOCATE(&tensors->out[k], shape_count(op->outputs[k])));
done:
    return status;
}

void op_tensors_release(OpTensors *tensors) {
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        free(tensors->in[k]);
    for (int k = 0; k < OP_MAX_OUTPUTS; k++)
        free(tensors->out[k]);
    *tensors = (OpTensors){0};
}

static size_t guarded_bytes(const Guarded *g) {
    return (size_t)(g->words + 2 * GUARD_WORDS) * sizeof *g->host;
}

/* Holds `values` (words of 4 bytes), or guard bits where values is NULL. */
static Status guarded_create(const Backend *backend, Guarded *g, const float *values, int64_t words) {
    Status status = STATUS_OK;
    g->words = words;
    TRY(ALLOCATE(&g->host, words + 2 * GUARD_WORDS));
    TRY(ALLOCATE(&g->found, words + 2 * GUARD_WORDS));
    for (int64_t i = 0; i < words + 2 * GUARD_WORDS; i++)
        g->host[i] = GUARD_BITS;
    if (values)
        memcpy(g->host + GUARD_WORDS, values, (size_t)words * sizeof *values);
    TRY(backend->allocate(&g->memory, guarded_bytes(g)));
    TRY(backend->copy_in(g->memory, g->host, guarded_bytes(g)));
done:
    return status;
}

static void guarded_release(const Backend *backend, Guarded *g) {
    if (g->memory && g->found) { /* a kernel that kept the pointer reads NaN */
        memset(g->found, 0xff, guarded_bytes(g));
        (void)backend->copy_in(g->memory, g->found, guarded_bytes(g));
    }
    backend->release(g->memory);
    free(g->host);
    free(g->found);
    *g = (Guarded){0};
}

static void *guarded_body(const Guarded *g) {
    return g->memory ? (uint32_t *)g->memory + GUARD_WORDS : NULL;
}

/* Fails if a guard was written, or the body if it is `constant`. */
static Status guarded_check(const Backend *backend, Guarded *g, const char *name, bool constant) {
    Status status = STATUS_OK;
    TRY(backend->copy_out(g->found, g->memory, guarded_bytes(g)));
    const size_t guard = GUARD_WORDS * sizeof *g->host;
    if (memcmp(g->found, g->host, guard) != 0)
        FAIL(STATUS_FAILURE, "%s: memory before it was written", name);
    if (memcmp(g->found + GUARD_WORDS + g->words, g->host + GUARD_WORDS + g->words, guard) != 0)
        FAIL(STATUS_FAILURE, "%s: memory after it was written", name);
    if (constant && memcmp(g->found, g->host, guarded_bytes(g)) != 0)
        FAIL(STATUS_FAILURE, "%s: an input was changed", name);
done:
    return status;
}

Status op_rig_prepare(const Backend *backend, const OpDescription *description, PreparedOp *op) {
    *op = (PreparedOp){.kernel = backend_kernel(backend, description->kind), .description = *description};
    if (!op->kernel)
        return status_error(STATUS_FAILURE, "%s: no kernel for %s", backend->name,
                            op_name(description->kind));
    return op->kernel->prepare(op);
}

void op_rig_release(PreparedOp *op) {
    if (op->kernel)
        op->kernel->release(op);
    *op = (PreparedOp){0};
}

Status op_rig_pack(const Backend *backend, PreparedOp *op, float *const *in) {
    Status status = STATUS_OK;
    const OpDescription *d = &op->description;
    Guarded guarded[OP_MAX_INPUTS] = {0};
    const void *pointers[OP_MAX_INPUTS] = {0};
    if (!op->kernel->pack)
        return STATUS_OK;
    for (int k = 0; k < op_input_count(d->kind); k++)
        if (in[k] && op_operand_is_parameter(op_input_name(d->kind, k))) {
            TRY(guarded_create(backend, &guarded[k], in[k], shape_count(d->inputs[k])));
            pointers[k] = guarded_body(&guarded[k]);
        }
    TRY(op->kernel->pack(op, pointers));
    for (int k = 0; k < op_input_count(d->kind); k++)
        if (pointers[k])
            TRY(guarded_check(backend, &guarded[k], op_input_name(d->kind, k), true));
done:
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        guarded_release(backend, &guarded[k]);
    return status;
}

typedef struct Stand {
    Guarded in[OP_MAX_INPUTS], out[OP_MAX_OUTPUTS], scratch;
    const void *inputs[OP_MAX_INPUTS];
    void *outputs[OP_MAX_OUTPUTS];
} Stand;

static Status stand_create(Stand *s, const Backend *backend, const PreparedOp *op, const OpTensors *tensors) {
    Status status = STATUS_OK;
    const OpDescription *d = &op->description;
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        if (tensors->in[k] && !(op->kernel->pack && op_operand_is_parameter(op_input_name(d->kind, k)))) {
            TRY(guarded_create(backend, &s->in[k], tensors->in[k], shape_count(d->inputs[k])));
            s->inputs[k] = guarded_body(&s->in[k]);
        }
    for (int k = 0; k < OP_MAX_OUTPUTS; k++)
        if (tensors->out[k]) {
            TRY(guarded_create(backend, &s->out[k], NULL, shape_count(d->outputs[k])));
            s->outputs[k] = guarded_body(&s->out[k]);
        }
    TRY(guarded_create(backend, &s->scratch, NULL, (int64_t)((op->scratch_bytes + 3) / 4)));
done:
    return status;
}

static Status stand_finish(Stand *s, const Backend *backend, const PreparedOp *op, OpTensors *tensors) {
    Status status = STATUS_OK;
    const OpDescription *d = &op->description;
    TRY(guarded_check(backend, &s->scratch, "scratch", false));
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        if (s->inputs[k])
            TRY(guarded_check(backend, &s->in[k], op_input_name(d->kind, k), true));
    for (int k = 0; k < OP_MAX_OUTPUTS; k++)
        if (s->outputs[k]) {
            TRY(guarded_check(backend, &s->out[k], op_output_name(d->kind, k), false));
            memcpy(tensors->out[k], s->out[k].found + GUARD_WORDS,
                   (size_t)shape_count(d->outputs[k]) * sizeof *tensors->out[k]);
        }
done:
    return status;
}

Status op_rig_run(const Backend *backend, const PreparedOp *op, OpTensors *tensors) {
    Status status = STATUS_OK;
    Stand stand = {0};
    TRY(stand_create(&stand, backend, op, tensors));
    TRY(op->kernel->run(op, stand.inputs, stand.outputs, guarded_body(&stand.scratch)));
    TRY(stand_finish(&stand, backend, op, tensors));
done:
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        guarded_release(backend, &stand.in[k]);
    for (int k = 0; k < OP_MAX_OUTPUTS; k++)
        guarded_release(backend, &stand.out[k]);
    guarded_release(backend, &stand.scratch);
    return status;
}
