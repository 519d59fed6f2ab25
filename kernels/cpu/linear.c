/* Linear layers of a few rows. Every output element is one chain of fused multiply-adds in a fixed order, so
 * a row's result does not depend on the other rows or on their number. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/kernels_cpu.h"
#include "kernels/cpu/simd.h"
#include "kernels/op_check.h"

enum { ROWS_AT_ONCE = 4 };

static inline SimdFloat load_lanes(const float *from, int64_t lanes) {
    return lanes == SIMD_LANES ? simd_load(from) : simd_load_part(from, lanes);
}

static inline void store_lanes(float *to, SimdFloat value, int64_t lanes) {
    if (lanes == SIMD_LANES)
        simd_store(to, value);
    else
        simd_store_part(to, value, lanes);
}

/* `rows` x `lanes` elements of a_rows x b: y[r, j] = start[j] + sum_k a[r a_row + k a_step] b[k, j]. */
static inline void multiply_tile(float *y, int64_t y_row, const float *a, int64_t a_row, int64_t a_step,
                                 const float *b, int64_t b_row, int64_t depth, SimdFloat start, int rows,
                                 int64_t lanes) {
    SimdFloat sums[ROWS_AT_ONCE];
    for (int r = 0; r < rows; r++)
        sums[r] = start;
    for (int64_t k = 0; k < depth; k++) {
        SimdFloat factor = load_lanes(b + k * b_row, lanes);
        for (int r = 0; r < rows; r++)
            sums[r] = simd_fma(simd_set(a[r * a_row + k * a_step]), factor, sums[r]);
    }
    for (int r = 0; r < rows; r++)
        store_lanes(y + r * y_row, sums[r], lanes);
}

/* y (rows, columns) = a (rows, depth) b (depth, columns) + bias (columns) or 0; a's element (r, k) lies at
 * r a_row + k a_step. */
static void multiply(float *y, const float *a, int64_t a_row, int64_t a_step, const float *b,
                     const float *bias, int64_t rows, int64_t depth, int64_t columns) {
    for (int64_t j = 0; j < columns; j += SIMD_LANES) {
        int64_t lanes = columns - j < SIMD_LANES ? columns - j : SIMD_LANES;
        SimdFloat start = bias ? load_lanes(bias + j, lanes) : simd_set(0);
        int64_t r = 0;
        for (; r + ROWS_AT_ONCE <= rows; r += ROWS_AT_ONCE) {
            if (lanes == SIMD_LANES)
                multiply_tile(y + r * columns + j, columns, a + r * a_row, a_row, a_step, b + j, columns,
                              depth, start, ROWS_AT_ONCE, SIMD_LANES);
            else
                multiply_tile(y + r * columns + j, columns, a + r * a_row, a_row, a_step, b + j, columns,
                              depth, start, ROWS_AT_ONCE, lanes);
        }
        for (; r < rows; r++)
            multiply_tile(y + r * columns + j, columns, a + r * a_row, a_row, a_step, b + j, columns, depth,
                          start, 1, lanes);
    }
}

/* packed: W^T (I,O), then the bias (O) */
static Status linear_prepare(PreparedOp *op) {
    Status status = STATUS_OK;
    float *packed = NULL;
    TRY(op_check(&op->description));
    int64_t count = (op->description.inputs[0].d[3] + 1) * op->description.outputs[0].d[3];
    TRY(ALLOCATE(&packed, count));
    op->packed = packed;
    op->packed_bytes = (size_t)count * sizeof *packed;
done:
    return status;
}

static Status linear_pack(PreparedOp *op, const void *const *inputs) {
    const float *weight = inputs[1], *bias = inputs[2];
    float *packed = op->packed;
    int64_t in = op->description.inputs[0].d[3], out = op->description.outputs[0].d[3];
    for (int64_t i = 0; i < in; i++)
        for (int64_t o = 0; o < out; o++)
            packed[i * out + o] = weight[o * in + i];
    memcpy(packed + in * out, bias, (size_t)out * sizeof *bias);
    return STATUS_OK;
}

static Status linear_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                         void *scratch) {
    (void)scratch;
    int64_t rows = op->description.inputs[0].d[0];
    int64_t in = op->description.inputs[0].d[3], out = op->description.outputs[0].d[3];
    const float *packed = op->packed;
    multiply(outputs[0], inputs[0], in, 1, packed, packed + in * out, rows, in, out);
    return STATUS_OK;
}

static void linear_release(PreparedOp *op) {
    free(op->packed);
    op->packed = NULL;
}

static Status check_only_prepare(PreparedOp *op) {
    return op_check(&op->description);
}

static void release_nothing(PreparedOp *op) {
    (void)op;
}

/* dx = dy W */
static Status backward_data_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                                void *scratch) {
    (void)scratch;
    int64_t rows = op->description.inputs[0].d[0];
    int64_t out = op->description.inputs[0].d[3], in = op->description.outputs[0].d[3];
    multiply(outputs[0], inputs[0], out, 1, inputs[1], NULL, rows, out, in);
    return STATUS_OK;
}

/* dW = dy^T x, db = column sums of dy, samples in order */
static Status backward_parameters_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                                      void *scratch) {
    (void)scratch;
    int64_t samples = op->description.inputs[0].d[0];
    int64_t in = op->description.inputs[0].d[3], out = op->description.inputs[1].d[3];
    const float *dy = inputs[1];
    float *dbias = outputs[1];
    multiply(outputs[0], dy, 1, out, inputs[0], NULL, out, samples, in);
    memset(dbias, 0, (size_t)out * sizeof *dbias);
    for (int64_t n = 0; n < samples; n++)
        for (int64_t o = 0; o < out; o++)
            dbias[o] += dy[n * out + o];
    return STATUS_OK;
}

const OpKernel kernel_loops_linear = {
    .kind = OP_LINEAR,
    .name = "linear_loops",
    .prepare = linear_prepare,
    .pack = linear_pack,
    .run = linear_run,
    .release = linear_release,
};

const OpKernel kernel_loops_linear_backward_data = {
    .kind = OP_LINEAR_BACKWARD_DATA,
    .name = "linear_backward_data_loops",
    .prepare = check_only_prepare,
    .run = backward_data_run,
    .release = release_nothing,
};

const OpKernel kernel_loops_linear_backward_parameters = {
    .kind = OP_LINEAR_BACKWARD_PARAMETERS,
    .name = "linear_backward_parameters_loops",
    .prepare = check_only_prepare,
    .run = backward_parameters_run,
    .release = release_nothing,
};
