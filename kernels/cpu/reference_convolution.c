/* Reference convolutions. A convolution and a transposed one are each other's adjoint, so the six ops are
 * three loops over a `small` tensor (N,h,w,S) on the strided side, a `large` one (N,H,W,L), and a weight
 * (S,L,K,K): gather  small[n,p,s]    = sum over taps and l of large[n, p stride + tap - pad, l]
 * weight[s,l,tap] scatter large[n,q,l]    = sum over taps and s with p stride + tap - pad = q of small[n,p,s]
 * weight[s,l,tap] weights weight[s,l,tap] = sum over n and p of small[n,p,s] large[n, p stride + tap - pad,
 * l] */
#include "kernels/cpu/kernels_cpu.h"
#include "kernels/op_check.h"

typedef struct Geometry {
    Shape small, large;
    int kernel, stride, pad;
} Geometry;

static Status prepare(PreparedOp *op) {
    return op_check(&op->description);
}

static void release(PreparedOp *op) {
    (void)op; /* nothing is kept */
}

static Geometry geometry(const PreparedOp *op, Shape small, Shape large) {
    const OpAttributes *a = &op->description.attributes;
    return (Geometry){small, large, a->kernel, a->stride, a->pad};
}

static int64_t pixel_offset(Shape s, int64_t n, int64_t y, int64_t x) {
    return ((n * s.d[1] + y) * s.d[2] + x) * s.d[3];
}

static bool inside(Shape s, int64_t y, int64_t x) {
    return y >= 0 && y < s.d[1] && x >= 0 && x < s.d[2];
}

static int64_t weight_offset(const Geometry *g, int64_t s, int64_t l, int ky, int kx) {
    return ((s * g->large.d[3] + l) * g->kernel + ky) * g->kernel + kx;
}

static double gather_element(const Geometry *g, const float *large, const float *weight, int64_t n, int64_t y,
                             int64_t x, int64_t s) {
    double sum = 0;
    for (int ky = 0; ky < g->kernel; ky++)
        for (int kx = 0; kx < g->kernel; kx++) {
            int64_t ly = y * g->stride + ky - g->pad, lx = x * g->stride + kx - g->pad;
            if (!inside(g->large, ly, lx))
                continue;
            const float *pixel = large + pixel_offset(g->large, n, ly, lx);
            for (int64_t l = 0; l < g->large.d[3]; l++)
                sum += (double)pixel[l] * weight[weight_offset(g, s, l, ky, kx)];
        }
    return sum;
}

static double scatter_element(const Geometry *g, const float *small, const float *weight, int64_t n,
                              int64_t y, int64_t x, int64_t l) {
    double sum = 0;
    for (int ky = 0; ky < g->kernel; ky++)
        for (int kx = 0; kx < g->kernel; kx++) {
            int64_t sy = y + g->pad - ky, sx = x + g->pad - kx;
            if (sy % g->stride != 0 || sx % g->stride != 0)
                continue;
            sy /= g->stride;
            sx /= g->stride;
            if (!inside(g->small, sy, sx))
                continue;
            const float *pixel = small + pixel_offset(g->small, n, sy, sx);
            for (int64_t s = 0; s < g->small.d[3]; s++)
                sum += (double)pixel[s] * weight[weight_offset(g, s, l, ky, kx)];
        }
    return sum;
}

/* Every element of `out` (of shape `shape`) by `element`, plus the bias (channels of out) and the addend
 * (like out, or out itself) if there are any. */
static void fill(const Geometry *g, Shape shape, const float *in, const float *weight, const float *bias,
                 const float *addend, float *out,
                 double (*element)(const Geometry *, const float *, const float *, int64_t, int64_t, int64_t,
                                   int64_t)) {
    for (int64_t n = 0; n < shape.d[0]; n++)
        for (int64_t y = 0; y < shape.d[1]; y++)
            for (int64_t x = 0; x < shape.d[2]; x++)
                for (int64_t c = 0; c < shape.d[3]; c++) {
                    int64_t at = pixel_offset(shape, n, y, x) + c;
                    out[at] = (float)(element(g, in, weight, n, y, x, c) + (bias ? bias[c] : 0) +
                                      (addend ? addend[at] : 0));
                }
}

static void weight_gradient(const Geometry *g, const float *small, const float *large, float *dweight) {
    for (int64_t s = 0; s < g->small.d[3]; s++)
        for (int64_t l = 0; l < g->large.d[3]; l++)
            for (int ky = 0; ky < g->kernel; ky++)
                for (int kx = 0; kx < g->kernel; kx++) {
                    double sum = 0;
                    for (int64_t n = 0; n < g->small.d[0]; n++)
                        for (int64_t y = 0; y < g->small.d[1]; y++)
                            for (int64_t x = 0; x < g->small.d[2]; x++) {
                                int64_t ly = y * g->stride + ky - g->pad, lx = x * g->stride + kx - g->pad;
                                if (inside(g->large, ly, lx))
                                    sum += (double)small[pixel_offset(g->small, n, y, x) + s] *
                                           large[pixel_offset(g->large, n, ly, lx) + l];
                            }
                    dweight[weight_offset(g, s, l, ky, kx)] = (float)sum;
                }
}

static void bias_gradient(Shape shape, const float *dy, float *dbias) {
    int64_t channels = shape.d[3];
    for (int64_t c = 0; c < channels; c++) {
        double sum = 0;
        for (int64_t i = c; i < shape_count(shape); i += channels)
            sum += dy[i];
        dbias[c] = (float)sum;
    }
}

/* x weight bias ?addend -> y */
static Status conv2d(const PreparedOp *op, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    Geometry g = geometry(op, op->description.outputs[0], op->description.inputs[0]);
    fill(&g, g.small, in[0], in[1], in[2], in[3], out[0], gather_element);
    return STATUS_OK;
}

/* dy weight ?addend -> dx */
static Status conv2d_backward_data(const PreparedOp *op, const void *const *in, void *const *out,
                                   void *scratch) {
    (void)scratch;
    Geometry g = geometry(op, op->description.inputs[0], op->description.outputs[0]);
    fill(&g, g.large, in[0], in[1], NULL, in[2], out[0], scatter_element);
    return STATUS_OK;
}

/* x dy -> dweight ?dbias */
static Status conv2d_backward_parameters(const PreparedOp *op, const void *const *in, void *const *out,
                                         void *scratch) {
    (void)scratch;
    Geometry g = geometry(op, op->description.inputs[1], op->description.inputs[0]);
    weight_gradient(&g, in[1], in[0], out[0]);
    if (out[1])
        bias_gradient(g.small, in[1], out[1]);
    return STATUS_OK;
}

/* x weight bias -> y */
static Status conv_transpose2d(const PreparedOp *op, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    Geometry g = geometry(op, op->description.inputs[0], op->description.outputs[0]);
    fill(&g, g.large, in[0], in[1], in[2], NULL, out[0], scatter_element);
    return STATUS_OK;
}

/* dy weight -> dx */
static Status conv_transpose2d_backward_data(const PreparedOp *op, const void *const *in, void *const *out,
                                             void *scratch) {
    (void)scratch;
    Geometry g = geometry(op, op->description.outputs[0], op->description.inputs[0]);
    fill(&g, g.small, in[0], in[1], NULL, NULL, out[0], gather_element);
    return STATUS_OK;
}

/* x dy -> dweight dbias */
static Status conv_transpose2d_backward_parameters(const PreparedOp *op, const void *const *in,
                                                   void *const *out, void *scratch) {
    (void)scratch;
    Geometry g = geometry(op, op->description.inputs[0], op->description.inputs[1]);
    weight_gradient(&g, in[0], in[1], out[0]);
    bias_gradient(g.large, in[1], out[1]);
    return STATUS_OK;
}

#define KERNEL(KIND, op)                                                                                     \
    const OpKernel kernel_reference_##op = {                                                                 \
        .kind = KIND, .name = #op "_reference", .prepare = prepare, .run = op, .release = release}

KERNEL(OP_CONV2D, conv2d);
KERNEL(OP_CONV2D_BACKWARD_DATA, conv2d_backward_data);
KERNEL(OP_CONV2D_BACKWARD_PARAMETERS, conv2d_backward_parameters);
KERNEL(OP_CONV_TRANSPOSE2D, conv_transpose2d);
KERNEL(OP_CONV_TRANSPOSE2D_BACKWARD_DATA, conv_transpose2d_backward_data);
KERNEL(OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS, conv_transpose2d_backward_parameters);
