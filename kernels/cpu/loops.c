/* Elementwise and copying kernels. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/kernels_cpu.h"
#include "kernels/cpu/simd.h"
#include "kernels/op_check.h"

static Status check_only_prepare(PreparedOp *op) {
    return op_check(&op->description);
}

static void release_nothing(PreparedOp *op) {
    (void)op;
}

/* ---- silu ---- */

static Status silu_run(const PreparedOp *op, const void *const *inputs, void *const *outputs, void *scratch) {
    (void)scratch;
    const float *x = inputs[0];
    float *y = outputs[0];
    int64_t count = shape_count(op->description.outputs[0]), i = 0;
    for (; i + SIMD_LANES <= count; i += SIMD_LANES) {
        SimdFloat value = simd_load(x + i);
        simd_store(y + i, value * simd_sigmoid(value));
    }
    if (i < count) {
        SimdFloat value = simd_load_part(x + i, count - i);
        simd_store_part(y + i, value * simd_sigmoid(value), count - i);
    }
    return STATUS_OK;
}

static Status silu_backward_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                                void *scratch) {
    (void)scratch;
    const float *x = inputs[0], *dy = inputs[1];
    float *dx = outputs[0];
    int64_t count = shape_count(op->description.outputs[0]), i = 0;
    for (; i + SIMD_LANES <= count; i += SIMD_LANES)
        simd_store(dx + i, simd_load(dy + i) * simd_silu_slope(simd_load(x + i)));
    if (i < count) {
        SimdFloat slope = simd_silu_slope(simd_load_part(x + i, count - i));
        simd_store_part(dx + i, simd_load_part(dy + i, count - i) * slope, count - i);
    }
    return STATUS_OK;
}

/* ---- add ---- */

static Status add_run(const PreparedOp *op, const void *const *inputs, void *const *outputs, void *scratch) {
    (void)scratch;
    const float *restrict a = inputs[0], *restrict b = inputs[1];
    float *restrict y = outputs[0];
    int64_t count = shape_count(op->description.outputs[0]);
    for (int64_t i = 0; i < count; i++)
        y[i] = a[i] + b[i];
    return STATUS_OK;
}

/* ---- concat: rows are pixels ---- */

static void copy_rows(float *to, int64_t to_stride, const float *from, int64_t channels, int64_t rows) {
    for (int64_t row = 0; row < rows; row++)
        memcpy(to + row * to_stride, from + row * channels, (size_t)channels * sizeof *to);
}

static Status concat_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                         void *scratch) {
    (void)scratch;
    Shape a = op->description.inputs[0], b = op->description.inputs[1], y = op->description.outputs[0];
    int64_t rows = y.d[0] * y.d[1] * y.d[2];
    copy_rows(outputs[0], y.d[3], inputs[0], a.d[3], rows);
    copy_rows((float *)outputs[0] + a.d[3], y.d[3], inputs[1], b.d[3], rows);
    return STATUS_OK;
}

/* ---- time embedding: state is the table of frequencies ---- */

static Status time_embedding_prepare(PreparedOp *op) {
    const double longest_period = 10000.0;
    Status status = STATUS_OK;
    int64_t half = op->description.outputs[0].d[3] / 2;
    double *frequencies = NULL;
    TRY(op_check(&op->description));
    TRY(ALLOCATE(&frequencies, half));
    for (int64_t k = 0; k < half; k++)
        frequencies[k] = pow(longest_period, -(double)k / (double)half);
    op->state = frequencies;
done:
    return status;
}

static Status time_embedding_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                                 void *scratch) {
    (void)scratch;
    const double *frequencies = op->state;
    const float *t = inputs[0];
    float *e = outputs[0];
    int64_t samples = op->description.outputs[0].d[0], channels = op->description.outputs[0].d[3];
    int64_t half = channels / 2;
    for (int64_t n = 0; n < samples; n++)
        for (int64_t k = 0; k < half; k++) {
            e[n * channels + k] = (float)sin(t[n] * frequencies[k]);
            e[n * channels + half + k] = (float)cos(t[n] * frequencies[k]);
        }
    return STATUS_OK;
}

static void time_embedding_release(PreparedOp *op) {
    free(op->state);
    op->state = NULL;
}

#define LOOPS_KERNEL(identifier, op)                                                                         \
    const OpKernel kernel_loops_##op = {                                                                     \
        .kind = identifier,                                                                                  \
        .name = #op "_loops",                                                                                \
        .prepare = check_only_prepare,                                                                       \
        .run = op##_run,                                                                                     \
        .release = release_nothing,                                                                          \
    }

LOOPS_KERNEL(OP_SILU, silu);
LOOPS_KERNEL(OP_SILU_BACKWARD, silu_backward);
LOOPS_KERNEL(OP_ADD, add);
LOOPS_KERNEL(OP_CONCAT, concat);

const OpKernel kernel_loops_time_embedding = {
    .kind = OP_TIME_EMBEDDING,
    .name = "time_embedding_loops",
    .prepare = time_embedding_prepare,
    .run = time_embedding_run,
    .release = time_embedding_release,
};
