#include "op_rig.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/bf16.h"
#include "op_cases.h"

/* A NaN, as a float and as two bf16, so that reading it shows in the result; with a payload no arithmetic
 * makes, so that writing shows too. */
#define GUARD_BITS 0x7fc57fc5u
enum { GUARD_WORDS = 64 }; /* keeps the 64-byte alignment */

typedef struct Guarded {
    void *memory;   /* the backend's: guard, words, guard */
    uint32_t *host; /* what `memory` should hold */
    uint32_t *found;
    int64_t words; /* of the body */
    DataType type; /* of the body's elements */
    int64_t count, row,
        pitch; /* elements; of them together; from one row to the next, with guard bits between */
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

/* Element i of a body of bf16; an odd count leaves half a word, which stays guard. */
static uint16_t *bf16_body(uint32_t *memory) {
    return (uint16_t *)(memory + GUARD_WORDS);
}

/* Where element i is, counted in elements from the body's start. */
static int64_t element_place(const Guarded *g, int64_t i) {
    return i / g->row * g->pitch + i % g->row;
}

static int64_t body_elements(const Guarded *g) {
    return g->count ? element_place(g, g->count - 1) + 1 : 0;
}

/* Room for `count` elements; holds `values`, or guard bits where values is NULL. */
static Status guarded_create_rows(const Backend *backend, Guarded *g, const float *values, DataType type,
                                  int64_t count, int64_t row, int64_t pitch) {
    Status status = STATUS_OK;
    *g = (Guarded){.type = type, .count = count, .row = row, .pitch = pitch};
    g->words = (body_elements(g) * data_type_bytes(type) + 3) / 4;
    TRY(ALLOCATE(&g->host, g->words + 2 * GUARD_WORDS));
    TRY(ALLOCATE(&g->found, g->words + 2 * GUARD_WORDS));
    for (int64_t i = 0; i < g->words + 2 * GUARD_WORDS; i++)
        g->host[i] = GUARD_BITS;
    for (int64_t i = 0; values && i < count; i++)
        if (type == DATA_BF16)
            bf16_body(g->host)[element_place(g, i)] = bf16_of(values[i]);
        else
            memcpy(g->host + GUARD_WORDS + element_place(g, i), &values[i], sizeof values[i]);
    TRY(backend->allocate(&g->memory, guarded_bytes(g)));
    TRY(backend->copy_in(g->memory, g->host, guarded_bytes(g)));
done:
    return status;
}

static Status guarded_create(const Backend *backend, Guarded *g, const float *values, DataType type,
                             int64_t count) {
    return guarded_create_rows(backend, g, values, type, count, 1, 1);
}

/* The body that guarded_check found. */
static void guarded_values(const Guarded *g, float *values) {
    for (int64_t i = 0; i < g->count; i++)
        if (g->type == DATA_BF16)
            values[i] = bf16_value(bf16_body(g->found)[element_place(g, i)]);
        else
            memcpy(&values[i], g->found + GUARD_WORDS + element_place(g, i), sizeof values[i]);
}

/* Whether what lies between the rows is as it was. */
static bool gaps_kept(const Guarded *g) {
    size_t bytes = (size_t)data_type_bytes(g->type), gap = (size_t)(g->pitch - g->row) * bytes;
    const char *found = (const char *)(g->found + GUARD_WORDS), *host = (const char *)(g->host + GUARD_WORDS);
    for (int64_t end = g->row; gap && end < body_elements(g); end += g->pitch)
        if (memcmp(found + (size_t)end * bytes, host + (size_t)end * bytes, gap) != 0)
            return false;
    return true;
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
    int64_t end = body_elements(g);
    if (g->type == DATA_BF16 && end % 2 != 0 && bf16_body(g->found)[end] != (uint16_t)GUARD_BITS)
        FAIL(STATUS_FAILURE, "%s: memory right after its last element was written", name);
    if (!gaps_kept(g))
        FAIL(STATUS_FAILURE, "%s: memory between its rows was written", name);
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
            TRY(guarded_create(backend, &guarded[k], in[k], DATA_F32, shape_count(d->inputs[k])));
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

/* `laid`: a guarded array of this layout, filled from or gathered into `plain` (both of the backend). */
static Status convert(const Backend *backend, const ParameterLayout *layout, const Guarded *laid,
                      const Guarded *plain, bool gather) {
    Status status = STATUS_OK;
    LayoutPiece *pieces = NULL;
    void *placed = NULL;
    const int64_t count = parameter_layout_cut(layout, 0, NULL, NULL);
    const size_t bytes = (size_t)count * sizeof *pieces;
    TRY(ALLOCATE(&pieces, count));
    parameter_layout_cut(layout, 0, guarded_body(laid), pieces);
    TRY(backend->allocate(&placed, bytes));
    TRY(backend->copy_in(placed, pieces, bytes));
    TRY(gather ? backend->gather(placed, count, guarded_body(plain))
               : backend->lay_out(placed, count, guarded_body(plain)));
    if (backend->synchronise) /* before the table is released */
        TRY(backend->synchronise());
done:
    backend->release(placed);
    free(pieces);
    return status;
}

static int64_t layout_count(const ParameterLayout *layout) {
    return layout->parts * layout->outer * layout->inner * layout->taps;
}

/* An input as the kernel wants it: g becomes the layout's array, made of `values`. */
static Status guarded_create_laid(const Backend *backend, Guarded *g, const float *values,
                                  const ParameterLayout *layout) {
    Status status = STATUS_OK;
    Guarded plain = {0};
    TRY(guarded_create(backend, &plain, values, DATA_F32, layout_count(layout)));
    TRY(guarded_create(backend, g, NULL, layout->type, layout_count(layout)));
    TRY(convert(backend, layout, g, &plain, false));
    TRY(guarded_check(backend, &plain, "a parameter to be laid out", true));
    TRY(guarded_check(backend, g, "a laid parameter", false));
    memcpy(g->host, g->found, guarded_bytes(g)); /* what the op must leave */
done:
    guarded_release(backend, &plain);
    return status;
}

/* An output that the kernel left in a layout, as plain values. */
static Status guarded_gather(const Backend *backend, const Guarded *g, const ParameterLayout *layout,
                             float *values) {
    Status status = STATUS_OK;
    Guarded plain = {0};
    TRY(guarded_create(backend, &plain, NULL, DATA_F32, layout_count(layout) / layout->parts));
    TRY(convert(backend, layout, g, &plain, true));
    TRY(guarded_check(backend, &plain, "a gathered gradient", false));
    guarded_values(&plain, values);
done:
    guarded_release(backend, &plain);
    return status;
}

typedef struct Stand {
    Guarded in[OP_MAX_INPUTS], out[OP_MAX_OUTPUTS], scratch;
    const void *inputs[OP_MAX_INPUTS];
    void *outputs[OP_MAX_OUTPUTS];
} Stand;

/* The input that is the output itself, or -1. */
static int input_in_place(const OpDescription *d, int output) {
    int addend = d->kind == OP_CONV2D_BACKWARD_DATA && output == 0 ? op_input(d->kind, "addend") : -1;
    return addend >= 0 && d->inputs[addend].d[0] ? addend : -1;
}

static Status stand_create(Stand *s, const Backend *backend, const PreparedOp *op, const OpTensors *tensors) {
    Status status = STATUS_OK;
    const OpDescription *d = &op->description;
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        if (tensors->in[k] && !(op->kernel->pack && op_operand_is_parameter(op_input_name(d->kind, k)))) {
            const ParameterLayout *layout = &op->input_layouts[k];
            TRY(layout->parts ? guarded_create_laid(backend, &s->in[k], tensors->in[k], layout)
                              : guarded_create_rows(backend, &s->in[k], tensors->in[k], d->input_types[k],
                                                    shape_count(d->inputs[k]), d->inputs[k].d[3],
                                                    op_input_pitch(d, k)));
            s->inputs[k] = guarded_body(&s->in[k]);
        }
    for (int k = 0; k < OP_MAX_OUTPUTS; k++)
        if (tensors->out[k] && input_in_place(d, k) >= 0) {
            int input = input_in_place(d, k);
            s->out[k] = s->in[input];
            s->in[input] = (Guarded){0};
            s->outputs[k] = guarded_body(&s->out[k]);
        } else if (tensors->out[k]) {
            const ParameterLayout *layout = &op->output_layouts[k];
            TRY(layout->parts ? guarded_create(backend, &s->out[k], NULL, layout->type, layout_count(layout))
                              : guarded_create_rows(backend, &s->out[k], NULL, d->output_types[k],
                                                    shape_count(d->outputs[k]), d->outputs[k].d[3],
                                                    op_output_pitch(d, k)));
            s->outputs[k] = guarded_body(&s->out[k]);
        }
    TRY(guarded_create(backend, &s->scratch, NULL, DATA_F32, (int64_t)((op->scratch_bytes + 3) / 4)));
done:
    return status;
}

static Status stand_finish(Stand *s, const Backend *backend, const PreparedOp *op, OpTensors *tensors) {
    Status status = STATUS_OK;
    const OpDescription *d = &op->description;
    TRY(guarded_check(backend, &s->scratch, "scratch", false));
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        if (s->in[k].memory)
            TRY(guarded_check(backend, &s->in[k], op_input_name(d->kind, k), true));
    for (int k = 0; k < OP_MAX_OUTPUTS; k++)
        if (s->outputs[k]) {
            TRY(guarded_check(backend, &s->out[k], op_output_name(d->kind, k), false));
            if (op->output_layouts[k].parts)
                TRY(guarded_gather(backend, &s->out[k], &op->output_layouts[k], tensors->out[k]));
            else
                guarded_values(&s->out[k], tensors->out[k]);
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

Status op_rig_place(const Backend *backend, const float *values, DataType type, int64_t count,
                    void **memory) {
    Status status = STATUS_OK;
    const size_t bytes = (size_t)(count * data_type_bytes(type));
    uint16_t *narrow = NULL;
    TRY(ALLOCATE(&narrow, count));
    for (int64_t i = 0; type == DATA_BF16 && i < count; i++)
        narrow[i] = bf16_of(values[i]);
    TRY(backend->allocate(memory, bytes));
    TRY(backend->copy_in(*memory, type == DATA_BF16 ? (const void *)narrow : values, bytes));
done:
    free(narrow);
    return status;
}

static Status check_block(const Backend *backend, size_t bytes) {
    Status status = STATUS_OK;
    unsigned char *host = NULL;
    void *memory = NULL;
    TRY(ALLOCATE(&host, (long long)bytes + 1));
    memset(host, 0xff, bytes);
    TRY(backend->allocate(&memory, bytes));
    if (!memory || (uintptr_t)memory % 64 != 0)
        FAIL(STATUS_FAILURE, "%s: %zu bytes at %p, expected 64-byte alignment", backend->name, bytes, memory);
    TRY(backend->copy_out(host, memory, bytes));
    for (size_t i = 0; i < bytes; i++) {
        if (host[i] != 0)
            FAIL(STATUS_FAILURE, "%s: byte %zu of new memory is %d", backend->name, i, host[i]);
        host[i] = (unsigned char)(i * 7);
    }
    TRY(backend->copy_in(memory, host, bytes));
    memset(host, 0, bytes);
    TRY(backend->copy_out(host, memory, bytes));
    for (size_t i = 0; i < bytes; i++)
        if (host[i] != (unsigned char)(i * 7))
            FAIL(STATUS_FAILURE, "%s: byte %zu of %zu changed on its way in and out", backend->name, i,
                 bytes);
done:
    backend->release(memory);
    free(host);
    return status;
}

static Status check_refused(const Backend *backend, size_t bytes) {
    void *memory = NULL;
    Status status = backend->allocate(&memory, bytes);
    if (status == STATUS_FAILURE && strstr(status_message(), "memory") && !memory)
        return STATUS_OK;
    return status_error(STATUS_FAILURE, "%s: %zu bytes: expected a line about memory, found status %d: %s",
                        backend->name, bytes, (int)status, status_message());
}

Status op_rig_check_memory(const Backend *backend) {
    static const size_t sizes[] = {0, 1, 100, 65536, 9 << 20};
    Status status = STATUS_OK;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        TRY(check_block(backend, sizes[s]));
    TRY(check_refused(backend, SIZE_MAX));
#ifndef __SANITIZE_ADDRESS__ /* its allocator ends the process here */
    TRY(check_refused(backend, SIZE_MAX / 4));
#endif
    backend->release(NULL);
done:
    return status;
}
