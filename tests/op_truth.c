#include "op_truth.h"

#include <math.h>
#include <stdlib.h>

/* ---- bilinear ops: every element is a sum of products ---- */

static void add_product(const OpTruth *t, int output, int64_t i, double a, double b) {
    t->out[output][i] += a * b;
    t->size[output][i] += a * a * b * b; /* its root is taken at the end */
}

static void take_roots(const OpTruth *t, const OpDescription *op, int output) {
    for (int64_t i = 0; i < shape_count(op->outputs[output]); i++)
        t->size[output][i] = sqrt(t->size[output][i]);
}

/* Channel-wise: a bias added to every pixel, or its gradient, the sum over pixels. */
static void add_bias(const OpTruth *t, const OpDescription *op, const double *bias) {
    int64_t channels = op->outputs[0].d[3];
    for (int64_t i = 0; i < shape_count(op->outputs[0]); i++)
        add_product(t, 0, i, 1, bias[i % channels]);
}

static void sum_bias_gradient(OpTruth *t, const OpDescription *op, const double *dy) {
    int64_t channels = op->inputs[1].d[3], count = shape_count(op->inputs[1]);
    for (int64_t i = 0; i < count; i++)
        add_product(t, 1, i % channels, 1, dy[i]);
    t->length[1] = (double)(count / channels);
    take_roots(t, op, 1);
}

/* Convolutions: all meetings of an element of the strided-side tensor, one of the other tensor and a weight;
 * each op multiplies two of the three and adds to the third. */
enum { SMALL, LARGE, WEIGHT };

static void convolve(OpTruth *t, const OpDescription *op, Shape small, Shape large, const int role[3],
                     const double *const *in) {
    const OpAttributes *a = &op->attributes;
    int64_t at[3];
    for (int64_t n = 0; n < small.d[0]; n++)
        for (int64_t y = 0; y < small.d[1]; y++)
            for (int64_t x = 0; x < small.d[2]; x++)
                for (int64_t ky = 0; ky < a->kernel; ky++)
                    for (int64_t kx = 0; kx < a->kernel; kx++) {
                        int64_t ly = a->stride * y - a->pad + ky, lx = a->stride * x - a->pad + kx;
                        if (ly < 0 || ly >= large.d[1] || lx < 0 || lx >= large.d[2])
                            continue;
                        for (int64_t s = 0; s < small.d[3]; s++)
                            for (int64_t l = 0; l < large.d[3]; l++) {
                                at[SMALL] = s + small.d[3] * (x + small.d[2] * (y + small.d[1] * n));
                                at[LARGE] = l + large.d[3] * (lx + large.d[2] * (ly + large.d[1] * n));
                                at[WEIGHT] = kx + a->kernel * (ky + a->kernel * (l + large.d[3] * s));
                                add_product(t, 0, at[role[2]], in[0][at[role[0]]], in[1][at[role[1]]]);
                            }
                    }
    int64_t taps = (int64_t)a->kernel * a->kernel;
    if (role[2] == WEIGHT)
        t->length[0] = (double)(small.d[0] * small.d[1] * small.d[2]);
    else
        t->length[0] = (double)(taps * (role[2] == SMALL ? large.d[3] : small.d[3]) + 2); /* bias, addend */
}

static void note_between(const OpTruth *t, const OpDescription *op) {
    for (int64_t i = 0; t->between && i < shape_count(op->outputs[0]); i++)
        t->between[i] = fmax(t->between[i], fabs(t->out[0][i]));
}

static void convolution(OpTruth *t, const OpDescription *op, const double *const *in) {
    static const struct {
        OpKind kind;
        int role[3]; /* of inputs[0], inputs[1], outputs[0] */
        bool bias;
    } rows[] = {
        {OP_CONV2D, {LARGE, WEIGHT, SMALL}, true},
        {OP_CONV2D_BACKWARD_DATA, {SMALL, WEIGHT, LARGE}, false},
        {OP_CONV2D_BACKWARD_PARAMETERS, {LARGE, SMALL, WEIGHT}, true},
        {OP_CONV_TRANSPOSE2D, {SMALL, WEIGHT, LARGE}, true},
        {OP_CONV_TRANSPOSE2D_BACKWARD_DATA, {LARGE, WEIGHT, SMALL}, false},
        {OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS, {SMALL, LARGE, WEIGHT}, true},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        if (rows[r].kind != op->kind)
            continue;
        Shape shapes[3] = {op->inputs[0], op->inputs[1], op->outputs[0]}, by_role[3];
        for (int k = 0; k < 3; k++)
            by_role[rows[r].role[k]] = shapes[k];
        convolve(t, op, by_role[SMALL], by_role[LARGE], rows[r].role, in);
        for (int64_t i = 0; op->kind == OP_CONV2D_BACKWARD_DATA && in[2] && i < shape_count(shapes[2]); i++)
            add_product(t, 0, i, 1, in[2][i]);
        note_between(t, op);
        if (rows[r].bias && rows[r].role[2] != WEIGHT)
            add_bias(t, op, in[2]);
        if (op->kind == OP_CONV2D && in[3]) {
            note_between(t, op);
            for (int64_t i = 0; i < shape_count(op->outputs[0]); i++)
                add_product(t, 0, i, 1, in[3][i]);
        }
        if (rows[r].role[2] == WEIGHT && t->out[1])
            sum_bias_gradient(t, op, in[1]);
    }
    take_roots(t, op, 0);
}

static void linear(OpTruth *t, const OpDescription *op, const double *const *in) {
    bool data = op->kind == OP_LINEAR_BACKWARD_DATA, parameters = op->kind == OP_LINEAR_BACKWARD_PARAMETERS;
    int64_t samples = op->inputs[0].d[0];
    int64_t ins = data ? op->outputs[0].d[3] : op->inputs[0].d[3];
    int64_t outs = data ? op->inputs[0].d[3] : parameters ? op->inputs[1].d[3] : op->outputs[0].d[3];
    for (int64_t n = 0; n < samples; n++)
        for (int64_t o = 0; o < outs; o++)
            for (int64_t i = 0; i < ins; i++) {
                int64_t x = n * ins + i, y = n * outs + o, w = o * ins + i;
                if (parameters)
                    add_product(t, 0, w, in[0][x], in[1][y]);
                else if (data)
                    add_product(t, 0, x, in[0][y], in[1][w]);
                else
                    add_product(t, 0, y, in[0][x], in[1][w]);
            }
    t->length[0] = (double)(parameters ? samples : data ? outs : ins + 1);
    if (op->kind == OP_LINEAR)
        add_bias(t, op, in[2]);
    if (parameters)
        sum_bias_gradient(t, op, in[1]);
    take_roots(t, op, 0);
}

/* ---- the rest ---- */

enum {
    FUNCTION_LENGTH = 4
}; /* for elementwise functions: a few roundings each, in place of a reduction's length */

static double silu(double x) {
    return x < 0 ? x * exp(x) / (1 + exp(x)) : x / (1 + exp(-x));
}

static double silu_derivative(double x) {
    double s = x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
    return s + x * s * (1 - s);
}

static void elementwise(OpTruth *t, const OpDescription *op, const double *const *in) {
    t->length[0] = op->kind == OP_ADD ? 1 : FUNCTION_LENGTH;
    for (int64_t i = 0; i < shape_count(op->outputs[0]); i++) {
        double a = in[0][i], *y = &t->out[0][i], *size = &t->size[0][i];
        if (op->kind == OP_ADD) {
            *y = a + in[1][i];
            *size = fabs(*y);
        } else if (op->kind == OP_SILU) {
            *y = silu(a);
            *size = fabs(a); /* the sigmoid is good to an absolute epsilon */
        } else {
            *y = in[1][i] * silu_derivative(a);
            *size = fabs(in[1][i]) * (1 + fabs(a));
        }
    }
}

static void time_embedding(OpTruth *t, const OpDescription *op, const double *const *in) {
    int64_t channels = op->outputs[0].d[3], half = channels / 2;
    t->length[0] = FUNCTION_LENGTH;
    for (int64_t i = 0; i < shape_count(op->outputs[0]); i++) {
        int64_t c = i % channels;
        double angle = in[0][i / channels] * exp(-log(10000.0) * (double)(c % half) / (double)half);
        t->out[0][i] = c < half ? sin(angle) : cos(angle);
        t->size[0][i] = 1 + angle; /* an angle is a rounded float */
    }
}

/* Copies: the size stays 0, the result must be exact. */
static void concat(OpTruth *t, const OpDescription *op, const double *const *in) {
    int64_t channels = op->outputs[0].d[3], first = op->inputs[0].d[3], second = op->inputs[1].d[3];
    for (int64_t i = 0; i < shape_count(op->outputs[0]); i++) {
        int64_t p = i / channels, c = i % channels;
        t->out[0][i] = c < first ? in[0][p * first + c] : in[1][p * second + c - first];
    }
}

/* z = x + shift with its group's mean and rstd, at element i. */
typedef struct Norm {
    const OpDescription *op;
    const double *x, *shift, *gamma, *beta;
    int64_t pixels, channels, width; /* width: channels per group */
} Norm;

static Norm norm_of(const OpDescription *op, const double *const *in) {
    Shape x = op->inputs[0];
    return (Norm){op, in[0], in[1], in[2], in[3], x.d[1] * x.d[2], x.d[3], x.d[3] / op->attributes.groups};
}

static double norm_z(const Norm *m, int64_t i) {
    int64_t n = i / (m->pixels * m->channels);
    return m->x[i] + (m->shift ? m->shift[n * m->channels + i % m->channels] : 0);
}

/* Index of element i's group in (N, G). */
static int64_t norm_group(const Norm *m, int64_t i) {
    return i / (m->pixels * m->channels) * m->op->attributes.groups + i % m->channels / m->width;
}

static void group_norm(OpTruth *t, const OpDescription *op, const double *const *in) {
    Norm m = norm_of(op, in);
    double *mean = t->out[1], *rstd = t->out[2], length = (double)(m.pixels * m.width);
    int64_t count = shape_count(op->inputs[0]), groups = shape_count(op->outputs[1]);
    for (int64_t i = 0; i < count; i++)
        mean[norm_group(&m, i)] += norm_z(&m, i) / length;
    for (int64_t i = 0; i < count; i++)
        rstd[norm_group(&m, i)] += pow(norm_z(&m, i) - mean[norm_group(&m, i)], 2) / length;
    for (int64_t g = 0; g < groups; g++) {
        rstd[g] = 1 / sqrt(rstd[g] + op->attributes.epsilon);
        t->size[1][g] = fabs(mean[g]) + 1 / rstd[g];
        t->size[2][g] = rstd[g] * (1 + fabs(mean[g]) * rstd[g]);
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t g = norm_group(&m, i), c = i % m.channels;
        double xhat = (norm_z(&m, i) - mean[g]) * rstd[g], value = m.gamma[c] * xhat + m.beta[c];
        t->out[0][i] = op->attributes.silu ? silu(value) : value;
        t->size[0][i] = fabs(m.gamma[c]) * (1 + fabs(xhat) + fabs(mean[g]) * rstd[g]) + fabs(m.beta[c]);
    }
    t->length[0] = t->length[1] = t->length[2] = length;
}

/* Where the gradient at element i of x belongs: dx, or dx_rest with the last channels. */
static void norm_gradient(OpTruth *t, const Norm *m, int64_t i, double value, double size) {
    int64_t pixel = i / m->channels, c = i % m->channels, first = m->op->outputs[0].d[3];
    int output = c < first ? 0 : op_output(m->op->kind, "dx_rest");
    int64_t at = output == 0 ? pixel * first + c : pixel * (m->channels - first) + c - first;
    t->out[output][at] = value;
    t->size[output][at] = size;
}

/* With xhat_j = (z_j - mean) rstd over a group of L: d xhat_j / d z_i = rstd ([i = j] - 1/L - xhat_i xhat_j /
 * L). */
static Status group_norm_backward(OpTruth *t, const OpDescription *op, const double *const *in) {
    Status status = STATUS_OK;
    Norm m = norm_of(op, in);
    const double *mean = in[4], *rstd = in[5], *dy = in[6], *addend = in[7];
    int64_t count = shape_count(op->inputs[0]), groups = shape_count(op->inputs[4]);
    double length = (double)(m.pixels * m.width), *xhat = NULL, *v = NULL, *sums = NULL;
    TRY(ALLOCATE(&xhat, count));
    TRY(ALLOCATE(&v, count));
    TRY(ALLOCATE(&sums, groups * 4)); /* of v, v xhat, |v|, |v xhat| */
    for (int64_t i = 0; i < count; i++) {
        int64_t g = norm_group(&m, i), c = i % m.channels;
        xhat[i] = (norm_z(&m, i) - mean[g]) * rstd[g];
        double slope = dy[i] * (op->attributes.silu ? silu_derivative(m.gamma[c] * xhat[i] + m.beta[c]) : 1);
        double offset = 1 + fabs(mean[g]) * rstd[g]; /* how much z - mean magnifies the rounding of z */
        if (t->out[1]) {
            t->out[1][c] += slope * xhat[i];
            t->out[2][c] += slope;
            t->size[1][c] += pow(dy[i] * (fabs(xhat[i]) + offset), 2);
            t->size[2][c] += pow(dy[i] * offset, 2);
        }
        v[i] = m.gamma[c] * slope;
        sums[g * 4] += v[i];
        sums[g * 4 + 1] += v[i] * xhat[i];
        sums[g * 4 + 2] += fabs(v[i]);
        sums[g * 4 + 3] += fabs(v[i] * xhat[i]);
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t g = norm_group(&m, i), c = i % m.channels;
        int64_t row = i / (m.pixels * m.channels) * m.channels + c;
        double dz = rstd[g] * (v[i] - sums[g * 4] / length - xhat[i] * sums[g * 4 + 1] / length);
        double size =
            rstd[g] * (1 + fabs(mean[g]) * rstd[g]) *
            (fabs(m.gamma[c] * dy[i]) + sums[g * 4 + 2] / length + fabs(xhat[i]) * sums[g * 4 + 3] / length);
        norm_gradient(t, &m, i, dz + (addend ? addend[i] : 0), size + (addend ? fabs(addend[i]) : 0));
        if (t->out[3]) {
            t->out[3][row] += dz;
            t->size[3][row] += size; /* not squared: the group's means make the same error at every pixel */
        }
        if (t->out[5]) {
            t->out[5][c] += dz;
            t->size[5][c] += size;
        }
    }
    take_roots(t, op, 1);
    take_roots(t, op, 2);
    t->length[0] = t->length[4] = length;
    t->length[1] = t->length[2] = (double)(op->inputs[0].d[0] * m.pixels);
    t->length[3] = t->length[5] = FUNCTION_LENGTH;
done:
    free(xhat);
    free(v);
    free(sums);
    return status;
}

Status op_truth_create(OpTruth *truth, const OpDescription *op, const double *const *in) {
    Status status = STATUS_OK;
    *truth = (OpTruth){0};
    for (int k = 0; k < OP_MAX_OUTPUTS; k++)
        if (op->outputs[k].d[0]) {
            TRY(ALLOCATE(&truth->out[k], shape_count(op->outputs[k])));
            TRY(ALLOCATE(&truth->size[k], shape_count(op->outputs[k])));
        }
    if (op->kind == OP_CONV2D || op->kind == OP_CONV_TRANSPOSE2D)
        TRY(ALLOCATE(&truth->between, shape_count(op->outputs[0])));
    switch (op->kind) {
    case OP_TIME_EMBEDDING:
        time_embedding(truth, op, in);
        break;
    case OP_LINEAR:
    case OP_LINEAR_BACKWARD_DATA:
    case OP_LINEAR_BACKWARD_PARAMETERS:
        linear(truth, op, in);
        break;
    case OP_SILU:
    case OP_SILU_BACKWARD:
    case OP_ADD:
        elementwise(truth, op, in);
        break;
    case OP_CONCAT:
        concat(truth, op, in);
        break;
    case OP_GROUP_NORM:
        group_norm(truth, op, in);
        break;
    case OP_GROUP_NORM_BACKWARD:
        TRY(group_norm_backward(truth, op, in));
        break;
    default:
        convolution(truth, op, in);
    }
done:
    return status;
}

void op_truth_release(OpTruth *truth) {
    for (int k = 0; k < OP_MAX_OUTPUTS; k++) {
        free(truth->out[k]);
        free(truth->size[k]);
    }
    free(truth->between);
    *truth = (OpTruth){0};
}
