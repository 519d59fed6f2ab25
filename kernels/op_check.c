#include "kernels/op_check.h"

#include <inttypes.h>
#include <stddef.h>

#define SHAPE_FORMAT "(%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ")"
#define SHAPE_VALUES(s) (s).d[0], (s).d[1], (s).d[2], (s).d[3]

static Shape shape(int64_t a, int64_t b, int64_t c, int64_t d) {
    return (Shape){{a, b, c, d}};
}

/* The named operand's shape, input or output. */
static Shape operand(const OpDescription *op, const char *name) {
    int index = op_input(op->kind, name);
    return index >= 0 ? op->inputs[index] : op->outputs[op_output(op->kind, name)];
}

static bool present(const OpDescription *op, const char *name) {
    return operand(op, name).d[0] != 0;
}

static Status expect(const OpDescription *op, const char *name, Shape expected) {
    Shape found = operand(op, name);
    if (shape_equal(found, expected))
        return STATUS_OK;
    return status_error(STATUS_BAD_INPUT, "%s: %s has shape " SHAPE_FORMAT ", expected " SHAPE_FORMAT,
                        op_name(op->kind), name, SHAPE_VALUES(found), SHAPE_VALUES(expected));
}

static Status expect_optional(const OpDescription *op, const char *name, Shape expected) {
    return present(op, name) ? expect(op, name, expected) : STATUS_OK;
}

/* A tensor other shapes follow from: all sizes positive, and small enough for any product to fit int64. */
static Status expect_sizes(const OpDescription *op, const char *name) {
    const int64_t largest = INT32_MAX;
    Shape found = operand(op, name);
    int64_t count = 1;
    for (int k = 0; k < 4; k++) {
        if (found.d[k] < 1 || found.d[k] > largest / count)
            return status_error(STATUS_BAD_INPUT,
                                "%s: %s has shape " SHAPE_FORMAT
                                ", expected sizes from 1 and less than 2^31 elements",
                                op_name(op->kind), name, SHAPE_VALUES(found));
        count *= found.d[k];
    }
    return STATUS_OK;
}

/* A vector per sample, (N,1,1,C). */
static Status expect_vector(const OpDescription *op, const char *name) {
    Status status = STATUS_OK;
    TRY(expect_sizes(op, name));
    Shape found = operand(op, name);
    TRY(expect(op, name, shape(found.d[0], 1, 1, found.d[3])));
done:
    return status;
}

static Status check_time_embedding(const OpDescription *op) {
    Status status = STATUS_OK;
    TRY(expect_vector(op, "t"));
    TRY(expect_vector(op, "e"));
    Shape e = operand(op, "e");
    TRY(expect(op, "t", shape(e.d[0], 1, 1, 1)));
    if (e.d[3] % 2 != 0)
        FAIL(STATUS_BAD_INPUT, "%s: e has %" PRId64 " channels, expected an even number", op_name(op->kind),
             e.d[3]);
done:
    return status;
}

/* in, out: the two activations of the forward op; weight and bias belong to it or are its gradients. */
static Status check_linear(const OpDescription *op, const char *in, const char *out, const char *weight,
                           const char *bias) {
    Status status = STATUS_OK;
    TRY(expect_vector(op, in));
    TRY(expect_vector(op, out));
    Shape x = operand(op, in), y = operand(op, out);
    TRY(expect(op, out, shape(x.d[0], 1, 1, y.d[3])));
    TRY(expect(op, weight, shape(y.d[3], x.d[3], 1, 1)));
    if (bias)
        TRY(expect(op, bias, shape(y.d[3], 1, 1, 1)));
done:
    return status;
}

/* `large` and `small`: the tensors on either side of the stride. The weight is (C of small, C of large, K, K)
 * for both kinds of convolution, since one is the other's adjoint. Sizes: of a convolution small =
 * floor((large + 2 pad - K) / stride) + 1, of a transposed one large = (small - 1) stride - 2 pad + K. */
static Status check_convolution(const OpDescription *op, bool transposed, const char *large_name,
                                const char *small_name, const char *weight, const char *bias) {
    Status status = STATUS_OK;
    const OpAttributes *a = &op->attributes;
    if (a->kernel < 1 || a->stride < 1 || a->pad < 0 || a->pad >= a->kernel)
        FAIL(STATUS_BAD_INPUT,
             "%s: kernel %d, stride %d, pad %d; expected kernel and stride from 1, 0 <= pad < kernel",
             op_name(op->kind), a->kernel, a->stride, a->pad);
    TRY(expect_sizes(op, large_name));
    TRY(expect_sizes(op, small_name));
    Shape large = operand(op, large_name), small = operand(op, small_name);
    Shape expected = transposed ? large : small;
    expected.d[0] = transposed ? small.d[0] : large.d[0];
    for (int k = 1; k <= 2; k++) {
        if (transposed)
            expected.d[k] = (small.d[k] - 1) * a->stride - 2 * a->pad + a->kernel;
        else if (large.d[k] + 2 * a->pad < a->kernel)
            FAIL(STATUS_BAD_INPUT, "%s: %s has shape " SHAPE_FORMAT ", smaller than kernel %d with pad %d",
                 op_name(op->kind), large_name, SHAPE_VALUES(large), a->kernel, a->pad);
        else
            expected.d[k] = (large.d[k] + 2 * a->pad - a->kernel) / a->stride + 1;
    }
    TRY(expect(op, transposed ? large_name : small_name, expected));
    TRY(expect(op, weight, shape(small.d[3], large.d[3], a->kernel, a->kernel)));
    TRY(expect_sizes(op, weight));
    if (bias)
        TRY(expect(op, bias, shape(transposed ? large.d[3] : small.d[3], 1, 1, 1)));
done:
    return status;
}

/* dx is like x, or its first channels with the others in dx_rest. */
static Status check_data_gradient(const OpDescription *op, Shape x) {
    Status status = STATUS_OK;
    Shape first = x, rest = x;
    if (present(op, "dx_rest")) {
        TRY(expect_sizes(op, "dx_rest"));
        rest.d[3] = operand(op, "dx_rest").d[3];
        TRY(expect(op, "dx_rest", rest));
        first.d[3] -= rest.d[3];
        TRY(expect_sizes(op, "dx"));
    }
    TRY(expect(op, "dx", first));
done:
    return status;
}

/* What is added to a result is like it. */
static Status check_addend(const OpDescription *op, const char *result) {
    Status status = STATUS_OK;
    TRY(expect_optional(op, "addend", operand(op, result)));
    if (present(op, "addend") && op->input_types[op_input(op->kind, "addend")] != op->output_types[0])
        FAIL(STATUS_BAD_INPUT, "%s: expected addend and %s of one element type", op_name(op->kind), result);
done:
    return status;
}

static Status check_group_norm(const OpDescription *op) {
    Status status = STATUS_OK;
    bool backward = op->kind == OP_GROUP_NORM_BACKWARD;
    int groups = op->attributes.groups;
    TRY(expect_sizes(op, "x"));
    Shape x = operand(op, "x");
    if (groups < 1 || x.d[3] % groups != 0)
        FAIL(STATUS_BAD_INPUT, "%s: %d groups for %" PRId64 " channels, expected a positive divisor",
             op_name(op->kind), groups, x.d[3]);
    if (!(op->attributes.epsilon > 0))
        FAIL(STATUS_BAD_INPUT, "%s: epsilon is %g, expected a positive number", op_name(op->kind),
             (double)op->attributes.epsilon);
    Shape parameter = shape(x.d[3], 1, 1, 1), moment = shape(x.d[0], 1, 1, groups);
    Shape per_sample = shape(x.d[0], 1, 1, x.d[3]);
    TRY(expect_optional(op, "shift", per_sample));
    TRY(expect(op, "gamma", parameter));
    TRY(expect(op, "beta", parameter));
    TRY(expect(op, "mean", moment));
    TRY(expect(op, "rstd", moment));
    TRY(expect(op, backward ? "dy" : "y", x));
    if (backward) {
        TRY(check_data_gradient(op, x));
        TRY(expect_optional(op, "dgamma", parameter));
        TRY(expect_optional(op, "dbeta", parameter));
        TRY(expect_optional(op, "addend", x));
        TRY(expect_optional(op, "dshift", per_sample));
        TRY(expect_optional(op, "dbias", parameter));
        if (present(op, "dgamma") != present(op, "dbeta"))
            FAIL(STATUS_BAD_INPUT, "%s: one of dgamma and dbeta asked for, expected both or neither",
                 op_name(op->kind));
        if (present(op, "dshift") && !present(op, "shift"))
            FAIL(STATUS_BAD_INPUT, "%s: dshift asked for, expected shift among the inputs",
                 op_name(op->kind));
        if (present(op, "dbias") && !present(op, "dshift"))
            FAIL(STATUS_BAD_INPUT, "%s: dbias asked for, expected dshift too", op_name(op->kind));
    }
done:
    return status;
}

/* The other operands have the first one's shape. */
static Status check_elementwise(const OpDescription *op, const char *first, const char *second,
                                const char *third) {
    Status status = STATUS_OK;
    TRY(expect_sizes(op, first));
    TRY(expect(op, second, operand(op, first)));
    if (third)
        TRY(expect(op, third, operand(op, first)));
done:
    return status;
}

static Status check_concat(const OpDescription *op) {
    Status status = STATUS_OK;
    TRY(expect_sizes(op, "a"));
    TRY(expect_sizes(op, "b"));
    Shape a = operand(op, "a"), b = operand(op, "b");
    TRY(expect(op, "b", shape(a.d[0], a.d[1], a.d[2], b.d[3])));
    TRY(expect(op, "y", shape(a.d[0], a.d[1], a.d[2], a.d[3] + b.d[3])));
    TRY(expect_sizes(op, "y"));
done:
    return status;
}

/* What may be a part of a larger tensor: operands that are a row per sample. */
static bool may_have_pitch(const OpDescription *op, int index, bool input) {
    return input ? index == op_input(op->kind, "shift") : index == op_output(op->kind, "dshift");
}

static Status check_pitches(const OpDescription *op) {
    for (int k = 0; k < OP_MAX_INPUTS + OP_MAX_OUTPUTS; k++) {
        bool input = k < OP_MAX_INPUTS;
        int index = input ? k : k - OP_MAX_INPUTS;
        int64_t pitch = input ? op->input_pitches[index] : op->output_pitches[index];
        int64_t channels = input ? op->inputs[index].d[3] : op->outputs[index].d[3];
        if (pitch != 0 && pitch != channels && (pitch < channels || !may_have_pitch(op, index, input)))
            return status_error(STATUS_BAD_INPUT,
                                "%s: %s %d has %" PRId64 " channels every %" PRId64
                                " elements, expected a whole tensor",
                                op_name(op->kind), input ? "input" : "output", index, channels, pitch);
    }
    return STATUS_OK;
}

static Status check_kind(const OpDescription *op) {
    Status status;
    switch (op->kind) {
    case OP_TIME_EMBEDDING:
        return check_time_embedding(op);
    case OP_LINEAR:
        return check_linear(op, "x", "y", "weight", "bias");
    case OP_LINEAR_BACKWARD_DATA:
        return check_linear(op, "dx", "dy", "weight", NULL);
    case OP_LINEAR_BACKWARD_PARAMETERS:
        return check_linear(op, "x", "dy", "dweight", "dbias");
    case OP_CONV2D:
        status = check_convolution(op, false, "x", "y", "weight", "bias");
        return status == STATUS_OK ? check_addend(op, "y") : status;
    case OP_CONV2D_BACKWARD_DATA:
        status = check_convolution(op, false, "dx", "dy", "weight", NULL);
        return status == STATUS_OK ? check_addend(op, "dx") : status;
    case OP_CONV2D_BACKWARD_PARAMETERS:
        return check_convolution(op, false, "x", "dy", "dweight", present(op, "dbias") ? "dbias" : NULL);
    case OP_CONV_TRANSPOSE2D:
        return check_convolution(op, true, "y", "x", "weight", "bias");
    case OP_CONV_TRANSPOSE2D_BACKWARD_DATA:
        return check_convolution(op, true, "dy", "dx", "weight", NULL);
    case OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS:
        return check_convolution(op, true, "dy", "x", "dweight", "dbias");
    case OP_GROUP_NORM:
    case OP_GROUP_NORM_BACKWARD:
        return check_group_norm(op);
    case OP_SILU:
        return check_elementwise(op, "x", "y", NULL);
    case OP_SILU_BACKWARD:
        return check_elementwise(op, "x", "dy", "dx");
    case OP_ADD:
        return check_elementwise(op, "a", "b", "y");
    case OP_CONCAT:
        return check_concat(op);
    case OP_KIND_COUNT:
        break;
    }
    return status_error(STATUS_BAD_INPUT, "op %d: no such op, expected one below %d", (int)op->kind,
                        OP_KIND_COUNT);
}

Status op_check(const OpDescription *op) {
    Status status = check_kind(op);
    return status == STATUS_OK ? check_pitches(op) : status;
}
