/* Linear layers of a few rows. Every output element is one chain of fused multiply-adds in a fixed order, so
 * a row's result does not depend on the other rows or on their number.
 *
 * The columns are worked through in panels, the depth in blocks: a block of a panel stays in the first-level
 * cache while all rows use it. Between blocks the sums wait in y, which does not change them. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/kernels_cpu.h"
#include "kernels/cpu/simd.h"
#include "kernels/op_check.h"

/* 4 x 3 sums, 3 factors and one element of a: the 16 registers of AVX2. */
enum { TILE_ROWS = 4, TILE_VECTORS = 3, PANEL_COLUMNS = TILE_VECTORS * SIMD_LANES };

/* Depth of a block: of a packed panel 24 KiB; of a row-major matrix few rows, so that y's traffic is small
 * beside theirs and they are still cached when the next panel wants the rest of their lines. */
enum { PACKED_BLOCK = 256, STRIDED_BLOCK = 16 };

/* How many rows of b ahead to ask for: the hardware does not guess the next block of a row-major matrix, nor
 * across a page of a packed panel. */
enum { PACKED_AHEAD = 64, STRIDED_AHEAD = STRIDED_BLOCK };

/* y (rows, columns) = a (rows, depth) b (depth, columns) + bias (columns); element (r, k) of a lies at
 * r a_row + k a_step. */
typedef struct Product {
    float *y;
    const float *a, *b, *bias; /* bias: NULL is 0 */
    int64_t rows, depth, columns, a_row, a_step;
    bool packed; /* b is panel after panel, each (depth, its columns); else (depth, columns) */
} Product;

SIMD_INLINE SimdFloat load_lanes(const float *from, int64_t lanes) {
    return lanes == SIMD_LANES ? simd_load(from) : simd_load_part(from, lanes);
}

SIMD_INLINE void store_lanes(float *to, SimdFloat value, int64_t lanes) {
    if (lanes == SIMD_LANES)
        simd_store(to, value);
    else
        simd_store_part(to, value, lanes);
}

/* y[r, j] = (y[r, j], or bias[j] where first) + sum_k a[r, k] b[k, j] for `rows` rows and `vectors` vectors
 * of columns, the last of them `lanes` wide. Rows and vectors are constants where it is called. */
SIMD_INLINE void multiply_tile(const Product *m, float *y, const float *a, const float *b, int64_t b_row,
                               int64_t depth, bool first, const float *bias, int rows, int vectors,
                               int64_t lanes) {
    SimdFloat sums[TILE_ROWS][TILE_VECTORS];
    const int64_t ahead = m->packed ? PACKED_AHEAD : STRIDED_AHEAD;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) {
            const float *start = first ? bias : y + r * m->columns;
            sums[r][v] = start ? load_lanes(start + v * SIMD_LANES, lanes) : simd_set(0);
        }
    for (int64_t k = 0; k < depth; k++) {
        SimdFloat factors[TILE_VECTORS];
        if (vectors == TILE_VECTORS) {
            __builtin_prefetch(b + (k + ahead) * b_row);
            __builtin_prefetch(b + (k + ahead) * b_row + PANEL_COLUMNS - 1);
        }
        for (int v = 0; v < vectors; v++)
            factors[v] = simd_load(b + k * b_row + v * SIMD_LANES);
        for (int r = 0; r < rows; r++) {
            SimdFloat element = simd_set(a[r * m->a_row + k * m->a_step]);
            for (int v = 0; v < vectors; v++)
                sums[r][v] = simd_fma(element, factors[v], sums[r][v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            store_lanes(y + r * m->columns + v * SIMD_LANES, sums[r][v], lanes);
}

/* All rows of `vectors` vectors of columns. */
SIMD_INLINE void multiply_columns(const Product *m, int64_t column, const float *b, int64_t b_row,
                                  int64_t start, int64_t depth, int vectors, int64_t lanes) {
    const float *bias = m->bias ? m->bias + column : NULL;
    bool first = start == 0;
    for (int64_t r = 0; r < m->rows; r += TILE_ROWS) {
        float *y = m->y + r * m->columns + column;
        const float *a = m->a + r * m->a_row + start * m->a_step;
        switch (m->rows - r) {
        case 1:
            multiply_tile(m, y, a, b, b_row, depth, first, bias, 1, vectors, lanes);
            break;
        case 2:
            multiply_tile(m, y, a, b, b_row, depth, first, bias, 2, vectors, lanes);
            break;
        case 3:
            multiply_tile(m, y, a, b, b_row, depth, first, bias, 3, vectors, lanes);
            break;
        default:
            multiply_tile(m, y, a, b, b_row, depth, first, bias, TILE_ROWS, vectors, lanes);
        }
    }
}

/* Less than a vector of columns: from a copy of b filled up with zeros. */
static void multiply_tail(const Product *m, int64_t column, const float *b, int64_t b_row, int64_t start,
                          int64_t depth, int64_t lanes) {
    float filled[PACKED_BLOCK * SIMD_LANES];
    for (int64_t k = 0; k < depth; k++)
        simd_store(filled + k * SIMD_LANES, simd_load_part(b + k * b_row, lanes));
    multiply_columns(m, column, filled, SIMD_LANES, start, depth, 1, lanes);
}

/* One panel, from its first column on, over `depth` terms from `start` on. */
static void multiply_panel(const Product *m, int64_t column, int64_t start, int64_t depth) {
    int64_t width = m->columns - column < PANEL_COLUMNS ? m->columns - column : PANEL_COLUMNS;
    int64_t b_row = m->packed ? width : m->columns;
    const float *b = m->b + (m->packed ? column * m->depth : column) + start * b_row;
    if (width == PANEL_COLUMNS) {
        multiply_columns(m, column, b, b_row, start, depth, TILE_VECTORS, SIMD_LANES);
        return;
    }
    int64_t j = 0;
    for (; j + SIMD_LANES <= width; j += SIMD_LANES)
        multiply_columns(m, column + j, b + j, b_row, start, depth, 1, SIMD_LANES);
    if (j < width)
        multiply_tail(m, column + j, b + j, b_row, start, depth, width - j);
}

static int64_t block_depth(const Product *m, int64_t start, int64_t largest) {
    return m->depth - start < largest ? m->depth - start : largest;
}

/* b is read once, in the order in which it lies in memory. */
static void multiply(const Product *m) {
    if (m->packed) {
        for (int64_t j = 0; j < m->columns; j += PANEL_COLUMNS)
            for (int64_t k = 0; k < m->depth; k += PACKED_BLOCK)
                multiply_panel(m, j, k, block_depth(m, k, PACKED_BLOCK));
    } else {
        for (int64_t k = 0; k < m->depth; k += STRIDED_BLOCK)
            for (int64_t j = 0; j < m->columns; j += PANEL_COLUMNS)
                multiply_panel(m, j, k, block_depth(m, k, STRIDED_BLOCK));
    }
}

/* packed: W^T (I,O) in panels of columns, panel after panel, then the bias (O) */
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
    for (int64_t j = 0; j < out; j += PANEL_COLUMNS) {
        int64_t width = out - j < PANEL_COLUMNS ? out - j : PANEL_COLUMNS;
        for (int64_t i = 0; i < in; i++)
            for (int64_t o = 0; o < width; o++)
                packed[j * in + i * width + o] = weight[(j + o) * in + i];
    }
    memcpy(packed + in * out, bias, (size_t)out * sizeof *bias);
    return STATUS_OK;
}

static Status linear_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                         void *scratch) {
    (void)scratch;
    int64_t rows = op->description.inputs[0].d[0];
    int64_t in = op->description.inputs[0].d[3], out = op->description.outputs[0].d[3];
    const float *packed = op->packed;
    const Product product = {.y = outputs[0],
                             .a = inputs[0],
                             .b = packed,
                             .bias = packed + in * out,
                             .rows = rows,
                             .depth = in,
                             .columns = out,
                             .a_row = in,
                             .a_step = 1,
                             .packed = true};
    multiply(&product);
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
    const Product product = {.y = outputs[0],
                             .a = inputs[0],
                             .b = inputs[1],
                             .rows = rows,
                             .depth = out,
                             .columns = in,
                             .a_row = out,
                             .a_step = 1};
    multiply(&product);
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
    const Product product = {.y = outputs[0],
                             .a = dy,
                             .b = inputs[0],
                             .rows = out,
                             .depth = samples,
                             .columns = in,
                             .a_row = 1,
                             .a_step = out};
    multiply(&product);
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
