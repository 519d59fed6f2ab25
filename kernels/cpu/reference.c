/* Reference kernels of all ops but the convolutions: the formulas of ops.def in plain loops, double inside.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/kernels_cpu.h"
#include "kernels/op_check.h"

#define TIME_EMBEDDING_PERIOD 10000.0

static Status prepare(PreparedOp *op) {
    return op_check(&op->description);
}

static void release(PreparedOp *op) {
    (void)op; /* nothing is kept */
}

/* t (N) -> e (N,C) */
static Status time_embedding(const PreparedOp *op, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const float *t = in[0];
    float *e = out[0];
    int64_t samples = op->description.outputs[0].d[0], channels = op->description.outputs[0].d[3];
    int64_t half = channels / 2;
    for (int64_t n = 0; n < samples; n++)
        for (int64_t k = 0; k < half; k++) {
            double angle = t[n] * pow(TIME_EMBEDDING_PERIOD, -(double)k / (double)half);
            e[n * channels + k] = (float)sin(angle);
            e[n * channels + half + k] = (float)cos(angle);
        }
    return STATUS_OK;
}

/* x (N,I), weight (O,I), bias (O) -> y (N,O) */
static Status linear(const PreparedOp *op, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const float *x = in[0], *weight = in[1], *bias = in[2];
    float *y = out[0];
    int64_t samples = op->description.inputs[0].d[0], ins = op->description.inputs[0].d[3];
    int64_t outs = op->description.outputs[0].d[3];
    for (int64_t n = 0; n < samples; n++)
        for (int64_t o = 0; o < outs; o++) {
            double sum = bias[o];
            for (int64_t i = 0; i < ins; i++)
                sum += (double)x[n * ins + i] * weight[o * ins + i];
            y[n * outs + o] = (float)sum;
        }
    return STATUS_OK;
}

/* dy (N,O), weight (O,I) -> dx (N,I) */
static Status linear_backward_data(const PreparedOp *op, const void *const *in, void *const *out,
                                   void *scratch) {
    (void)scratch;
    const float *dy = in[0], *weight = in[1];
    float *dx = out[0];
    int64_t samples = op->description.inputs[0].d[0], outs = op->description.inputs[0].d[3];
    int64_t ins = op->description.outputs[0].d[3];
    for (int64_t n = 0; n < samples; n++)
        for (int64_t i = 0; i < ins; i++) {
            double sum = 0;
            for (int64_t o = 0; o < outs; o++)
                sum += (double)dy[n * outs + o] * weight[o * ins + i];
            dx[n * ins + i] = (float)sum;
        }
    return STATUS_OK;
}

/* x (N,I), dy (N,O) -> dweight (O,I), dbias (O) */
static Status linear_backward_parameters(const PreparedOp *op, const void *const *in, void *const *out,
                                         void *scratch) {
    (void)scratch;
    const float *x = in[0], *dy = in[1];
    float *dweight = out[0], *dbias = out[1];
    int64_t samples = op->description.inputs[0].d[0], ins = op->description.inputs[0].d[3];
    int64_t outs = op->description.inputs[1].d[3];
    for (int64_t o = 0; o < outs; o++) {
        double bias_sum = 0;
        for (int64_t n = 0; n < samples; n++)
            bias_sum += dy[n * outs + o];
        dbias[o] = (float)bias_sum;
        for (int64_t i = 0; i < ins; i++) {
            double sum = 0;
            for (int64_t n = 0; n < samples; n++)
                sum += (double)dy[n * outs + o] * x[n * ins + i];
            dweight[o * ins + i] = (float)sum;
        }
    }
    return STATUS_OK;
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double silu_value(double x) {
    return x * sigmoid(x);
}

static double silu_slope(double x) {
    double s = sigmoid(x);
    return s * (1 + x * (1 - s));
}

static Status silu(const PreparedOp *op, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const float *x = in[0];
    float *y = out[0];
    for (int64_t i = 0; i < shape_count(op->description.inputs[0]); i++)
        y[i] = (float)silu_value(x[i]);
    return STATUS_OK;
}

static Status silu_backward(const PreparedOp *op, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const float *x = in[0], *dy = in[1];
    float *dx = out[0];
    for (int64_t i = 0; i < shape_count(op->description.inputs[0]); i++)
        dx[i] = (float)(dy[i] * silu_slope(x[i]));
    return STATUS_OK;
}

/* One (sample, group): pixels p = 0..pixels-1 and channels c = first..last-1; element (p, c) of an activation
 * is at base + p * channels + c, of shift at row + c, of dshift at dshift_row + c. */
typedef struct Group {
    int64_t pixels, channels, first, last, base, row, dshift_row, moment;
} Group;

static Group group_of(const OpDescription *op, int64_t n, int64_t g) {
    Shape x = op->inputs[0];
    int64_t groups = op->attributes.groups, width = x.d[3] / groups;
    Group group = {
        .pixels = x.d[1] * x.d[2], .channels = x.d[3], .first = g * width, .last = (g + 1) * width};
    group.base = n * group.pixels * group.channels;
    group.row = n * op_input_pitch(op, 1);
    group.dshift_row = n * op_output_pitch(op, 3);
    group.moment = n * groups + g;
    return group;
}

static double shifted(const Group *g, const float *x, const float *shift, int64_t p, int64_t c) {
    return (double)x[g->base + p * g->channels + c] + (shift ? shift[g->row + c] : 0);
}

static void group_moments(const Group *g, const float *x, const float *shift, double epsilon, double *mean,
                          double *rstd) {
    double count = (double)(g->pixels * (g->last - g->first)), sum = 0, squares = 0;
    for (int64_t p = 0; p < g->pixels; p++)
        for (int64_t c = g->first; c < g->last; c++)
            sum += shifted(g, x, shift, p, c);
    *mean = sum / count;
    for (int64_t p = 0; p < g->pixels; p++)
        for (int64_t c = g->first; c < g->last; c++) {
            double deviation = shifted(g, x, shift, p, c) - *mean;
            squares += deviation * deviation;
        }
    *rstd = 1 / sqrt(squares / count + epsilon);
}

/* x, shift or NULL, gamma, beta -> y, mean, rstd */
static Status group_norm(const PreparedOp *op, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const float *x = in[0], *shift = in[1], *gamma = in[2], *beta = in[3];
    float *y = out[0], *mean_out = out[1], *rstd_out = out[2];
    const OpDescription *d = &op->description;
    for (int64_t n = 0; n < d->inputs[0].d[0]; n++)
        for (int64_t k = 0; k < d->attributes.groups; k++) {
            Group g = group_of(d, n, k);
            double mean, rstd;
            group_moments(&g, x, shift, d->attributes.epsilon, &mean, &rstd);
            mean_out[g.moment] = (float)mean;
            rstd_out[g.moment] = (float)rstd;
            for (int64_t p = 0; p < g.pixels; p++)
                for (int64_t c = g.first; c < g.last; c++) {
                    double value = gamma[c] * (shifted(&g, x, shift, p, c) - mean) * rstd + beta[c];
                    y[g.base + p * g.channels + c] = (float)(d->attributes.silu ? silu_value(value) : value);
                }
        }
    return STATUS_OK;
}

typedef struct NormBackward {
    const float *x, *shift, *gamma, *beta, *mean, *rstd, *dy, *addend;
    float *dx, *dgamma, *dbeta, *dshift, *dx_rest;
    int64_t dx_channels; /* the others are dx_rest's */
    bool silu;
} NormBackward;

/* xhat and the gradient with respect to gamma xhat + beta, at one element. */
static void norm_backward_element(const NormBackward *a, const Group *g, int64_t p, int64_t c, double *xhat,
                                  double *slope) {
    *xhat = (shifted(g, a->x, a->shift, p, c) - a->mean[g->moment]) * a->rstd[g->moment];
    *slope = a->dy[g->base + p * g->channels + c];
    if (a->silu)
        *slope *= silu_slope(a->gamma[c] * *xhat + a->beta[c]);
}

/* Where the gradient with respect to x belongs, at one element. */
static float *norm_gradient_at(const NormBackward *a, const Group *g, int64_t p, int64_t c) {
    int64_t pixel = g->base / g->channels + p, rest = g->channels - a->dx_channels;
    return c < a->dx_channels ? a->dx + pixel * a->dx_channels + c
                              : a->dx_rest + pixel * rest + c - a->dx_channels;
}

/* dz = rstd (v - mean(v) - xhat mean(v xhat)) with v = gamma * slope, means over the group. */
static void norm_backward_data(const NormBackward *a, const Group *g) {
    double count = (double)(g->pixels * (g->last - g->first)), sum = 0, product = 0, xhat, slope;
    for (int64_t p = 0; p < g->pixels; p++)
        for (int64_t c = g->first; c < g->last; c++) {
            norm_backward_element(a, g, p, c, &xhat, &slope);
            sum += a->gamma[c] * slope;
            product += a->gamma[c] * slope * xhat;
        }
    for (int64_t c = g->first; c < g->last; c++) {
        double shift_sum = 0;
        for (int64_t p = 0; p < g->pixels; p++) {
            int64_t i = g->base + p * g->channels + c;
            norm_backward_element(a, g, p, c, &xhat, &slope);
            double dz = a->rstd[g->moment] * (a->gamma[c] * slope - sum / count - xhat * product / count);
            shift_sum += dz;
            *norm_gradient_at(a, g, p, c) = (float)(dz + (a->addend ? a->addend[i] : 0));
        }
        if (a->dshift)
            a->dshift[g->dshift_row + c] = (float)shift_sum;
    }
}

/* dgamma = sum of slope * xhat, dbeta = sum of slope, over samples and pixels. */
static void norm_backward_parameters(const NormBackward *a, const OpDescription *d) {
    int64_t width = d->inputs[0].d[3] / d->attributes.groups;
    for (int64_t c = 0; c < d->inputs[0].d[3]; c++) {
        double gamma_sum = 0, beta_sum = 0, xhat, slope;
        for (int64_t n = 0; n < d->inputs[0].d[0]; n++) {
            Group g = group_of(d, n, c / width);
            for (int64_t p = 0; p < g.pixels; p++) {
                norm_backward_element(a, &g, p, c, &xhat, &slope);
                gamma_sum += slope * xhat;
                beta_sum += slope;
            }
        }
        a->dgamma[c] = (float)gamma_sum;
        a->dbeta[c] = (float)beta_sum;
    }
}

/* dbias = sum of dshift over samples. */
static void norm_backward_bias(const float *dshift, const OpDescription *d, float *dbias) {
    for (int64_t c = 0; c < d->inputs[0].d[3]; c++) {
        double sum = 0;
        for (int64_t n = 0; n < d->inputs[0].d[0]; n++)
            sum += dshift[n * op_output_pitch(d, 3) + c];
        dbias[c] = (float)sum;
    }
}

/* x, shift or NULL, gamma, beta, mean, rstd, dy, addend or NULL -> dx, dgamma and dbeta or both NULL, dshift
 * or NULL, dx_rest or NULL, dbias or NULL */
static Status group_norm_backward(const PreparedOp *op, const void *const *in, void *const *out,
                                  void *scratch) {
    (void)scratch;
    const OpDescription *d = &op->description;
    NormBackward a = {.x = in[0],
                      .shift = in[1],
                      .gamma = in[2],
                      .beta = in[3],
                      .mean = in[4],
                      .rstd = in[5],
                      .dy = in[6],
                      .addend = in[7],
                      .dx = out[0],
                      .dgamma = out[1],
                      .dbeta = out[2],
                      .dshift = out[3],
                      .dx_rest = out[4],
                      .dx_channels = d->outputs[0].d[3],
                      .silu = d->attributes.silu};
    for (int64_t n = 0; n < d->inputs[0].d[0]; n++)
        for (int64_t k = 0; k < d->attributes.groups; k++) {
            Group g = group_of(d, n, k);
            norm_backward_data(&a, &g);
        }
    if (a.dgamma)
        norm_backward_parameters(&a, d);
    if (out[5])
        norm_backward_bias(a.dshift, d, out[5]);
    return STATUS_OK;
}

static Status add(const PreparedOp *op, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const float *a = in[0], *b = in[1];
    float *y = out[0];
    for (int64_t i = 0; i < shape_count(op->description.outputs[0]); i++)
        y[i] = a[i] + b[i];
    return STATUS_OK;
}

static int64_t shape_pixels(Shape s) {
    return s.d[0] * s.d[1] * s.d[2];
}

static Status concat(const PreparedOp *op, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const float *a = in[0], *b = in[1];
    float *y = out[0];
    int64_t first = op->description.inputs[0].d[3], second = op->description.inputs[1].d[3];
    for (int64_t p = 0; p < shape_pixels(op->description.outputs[0]); p++) {
        memcpy(y + p * (first + second), a + p * first, (size_t)first * sizeof *y);
        memcpy(y + p * (first + second) + first, b + p * second, (size_t)second * sizeof *y);
    }
    return STATUS_OK;
}

#define KERNEL(KIND, op)                                                                                     \
    const OpKernel kernel_reference_##op = {                                                                 \
        .kind = KIND, .name = #op "_reference", .prepare = prepare, .run = op, .release = release}

KERNEL(OP_TIME_EMBEDDING, time_embedding);
KERNEL(OP_LINEAR, linear);
KERNEL(OP_LINEAR_BACKWARD_DATA, linear_backward_data);
KERNEL(OP_LINEAR_BACKWARD_PARAMETERS, linear_backward_parameters);
KERNEL(OP_SILU, silu);
KERNEL(OP_SILU_BACKWARD, silu_backward);
KERNEL(OP_GROUP_NORM, group_norm);
KERNEL(OP_GROUP_NORM_BACKWARD, group_norm_backward);
KERNEL(OP_ADD, add);
KERNEL(OP_CONCAT, concat);
