#include "op_copies.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "op_cases.h"
#include "op_precision.h"
#include "op_rig.h"
#include "op_truth.h"
#include "test_backend.h"

enum { SEED = 20240131, MOST_DISTINCT = 8 };

/* One op: `few` distinct samples, and `many`, which are copies of them. */
typedef struct Copies {
    const OpPrecision *precision;
    OpDescription few, many;
    int64_t count;
    OpTensors distinct, copied;
    OpTruth truth; /* of the few */
    double worst;  /* largest error over its tolerance */
} Copies;

static Status create_inputs(Copies *c) {
    Status status = STATUS_OK;
    double *in[OP_MAX_INPUTS] = {0};
    TRY(op_tensors_create(&c->distinct, &c->few));
    TRY(op_tensors_create(&c->copied, &c->many));
    op_case_inputs(&c->few, SEED, 1, c->distinct.in);
    op_precision_round(c->precision, &c->few, c->distinct.in);
    for (int k = 0; k < OP_MAX_INPUTS; k++) {
        int64_t count = c->distinct.in[k] ? shape_count(c->few.inputs[k]) : 0;
        int64_t copies = count ? shape_count(c->many.inputs[k]) / count : 0;
        if (count)
            TRY(ALLOCATE(&in[k], count));
        for (int64_t i = 0; i < count; i++)
            in[k][i] = c->distinct.in[k][i];
        for (int64_t i = 0; i < copies; i++)
            memcpy(c->copied.in[k] + i * count, c->distinct.in[k], (size_t)count * sizeof(float));
    }
    TRY(op_truth_create(&c->truth, &c->few, (const double *const *)in));
done:
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        free(in[k]);
    return status;
}

/* The truth of a sum over all copies: `count` times the terms, which are added up one by one. Equal terms do
 * not cancel: partial sums, and with them the roundings, grow with the copies and not with their root. */
static void multiply_truth(Copies *c, int k) {
    for (int64_t i = 0; i < shape_count(c->few.outputs[k]); i++) {
        c->truth.out[k][i] *= (double)c->count;
        c->truth.size[k][i] *= (double)c->count;
    }
    c->truth.length[k] *= (double)c->count;
}

static void compare(Copies *c, const PreparedOp *prepared) {
    PreparedOp one = *prepared; /* one copy's results, as this kernel leaves them */
    one.description = c->few;
    for (int k = 0; k < OP_MAX_OUTPUTS; k++) {
        if (!c->copied.out[k])
            continue;
        bool sum = op_operand_is_parameter(op_output_name(c->few.kind, k));
        int64_t stride = shape_count(c->few.outputs[k]);
        if (sum)
            multiply_truth(c, k);
        for (int64_t i = 0; i < (sum ? 1 : c->count); i++) {
            OpError error = op_error(c->precision, &one, &c->truth, k, c->copied.out[k] + i * stride);
            c->worst = fmax(c->worst, fmax(error.element, error.l2));
        }
    }
}

static Status check_op(const Backend *backend, Copies *c) {
    Status status = STATUS_OK;
    PreparedOp prepared = {0};
    char text[256];
    TRY(create_inputs(c));
    TRY(op_rig_prepare(backend, &c->many, &prepared));
    TRY(op_rig_pack(backend, &prepared, c->copied.in));
    TRY(op_rig_run(backend, &prepared, &c->copied));
    compare(c, &prepared);
    printf("%-6s %8.3f of its tolerance  %s %s: %s\n", c->worst <= 1 ? "ok" : "FAILED", c->worst,
           prepared.kernel->name, prepared.implementation ? prepared.implementation : "",
           op_case_text(&c->many, text));
    fflush(stdout);
done:
    op_rig_release(&prepared);
    op_tensors_release(&c->distinct);
    op_tensors_release(&c->copied);
    op_truth_release(&c->truth);
    return status;
}

int op_copies(const char *backend_name, const char *precision_name, int64_t samples) {
    const OpPrecision precision = op_precision(precision_name);
    const Backend *backend = test_backend_start(backend_name, precision_name);
    const int64_t copies = samples / MOST_DISTINCT > 1 ? samples / MOST_DISTINCT : 2;
    OpCases few = {0}, many = {0};
    Status status = STATUS_OK;
    int failed = 0, checked = 0;
    if (samples < copies || samples % copies != 0)
        FAIL(STATUS_BAD_INPUT, "samples: expected an even number or a multiple of %d, found %lld",
             MOST_DISTINCT, (long long)samples);
    TRY(op_cases_create_unet(&few, samples / copies));
    TRY(op_cases_create_unet(&many, samples));
    for (int i = 0; i < many.count; i++) {
        Copies c = {.precision = &precision, .few = few.list[i], .many = many.list[i], .count = copies};
        if (c.few.attributes.kernel == 0) /* no convolution */
            continue;
        op_precision_describe(&precision, &c.few);
        op_precision_describe(&precision, &c.many);
        TRY(check_op(backend, &c));
        failed += !(c.worst <= 1);
        checked++;
    }
    printf("%d convolutions of %lld samples, %d failed\n", checked, (long long)samples, failed);
done:
    free(few.list);
    free(many.list);
    if (status != STATUS_OK)
        fprintf(stderr, "%s\n", status_message());
    test_backend_stop(backend);
    return status != STATUS_OK || failed > 0;
}
