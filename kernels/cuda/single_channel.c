#include "kernels/cuda/single_channel.h"

#include <stdlib.h>

#include "kernels/cuda/cuda_context.h"
#include "kernels/cuda/ops_launch.h"
#include "kernels/op_check.h"

/* The operands of the six convolution ops. A convolution joins a large tensor and a small one, on the two
 * sides of the stride; x, y and their gradients are one or the other. */
typedef struct Roles {
    bool transposed;           /* x is the small tensor */
    bool backward, parameters; /* which of the three passes */
    Shape large, small;
    DataType large_type, small_type;
} Roles;

static bool is_convolution(OpKind kind) {
    switch (kind) {
    case OP_CONV2D:
    case OP_CONV2D_BACKWARD_DATA:
    case OP_CONV2D_BACKWARD_PARAMETERS:
    case OP_CONV_TRANSPOSE2D:
    case OP_CONV_TRANSPOSE2D_BACKWARD_DATA:
    case OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS:
        return true;
    default:
        return false;
    }
}

/* x or dx, and y or dy: (x, weight, bias) -> y; (dy, weight) -> dx; (x, dy) -> dweight, dbias. */
static Roles roles_of(const OpDescription *d) {
    Roles roles = {
        .transposed = d->kind == OP_CONV_TRANSPOSE2D || d->kind == OP_CONV_TRANSPOSE2D_BACKWARD_DATA ||
                      d->kind == OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS,
        .backward = d->kind == OP_CONV2D_BACKWARD_DATA || d->kind == OP_CONV_TRANSPOSE2D_BACKWARD_DATA,
        .parameters =
            d->kind == OP_CONV2D_BACKWARD_PARAMETERS || d->kind == OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS,
    };
    Shape x = d->inputs[0], y = d->outputs[0];
    DataType x_type = d->input_types[0], y_type = d->output_types[0];
    if (roles.backward) {
        x = d->outputs[0];
        x_type = d->output_types[0];
        y = d->inputs[0];
        y_type = d->input_types[0];
    } else if (roles.parameters) {
        y = d->inputs[1];
        y_type = d->input_types[1];
    }
    roles.large = roles.transposed ? y : x;
    roles.small = roles.transposed ? x : y;
    roles.large_type = roles.transposed ? y_type : x_type;
    roles.small_type = roles.transposed ? x_type : y_type;
    return roles;
}

bool single_channel_wants(const OpDescription *description) {
    if (!is_convolution(description->kind))
        return false;
    Roles roles = roles_of(description);
    return roles.large.d[3] == 1 || roles.small.d[3] == 1;
}

static SingleSize size_of(Shape shape) {
    return (SingleSize){(int)shape.d[1], (int)shape.d[2]};
}

/* Whether the op computes the large tensor. */
static bool computes_large(const Roles *roles) {
    return roles->transposed != roles->backward;
}

static DataType narrow_type(const OpDescription *d) {
    Roles roles = roles_of(d);
    return roles.large.d[3] == 1 ? roles.large_type : roles.small_type;
}

static void make_plan(SinglePlan *plan, const OpDescription *d) {
    Roles roles = roles_of(d);
    bool narrow_is_large = roles.large.d[3] == 1;
    Shape wide = narrow_is_large ? roles.small : roles.large;
    *plan = (SinglePlan){
        .samples = (int)wide.d[0],
        .channels = (int)wide.d[3],
        .kernel = d->attributes.kernel,
        .stride = d->attributes.stride,
        .pad = d->attributes.pad,
        .wide = size_of(wide),
        .narrow = size_of(narrow_is_large ? roles.large : roles.small),
        .wide_bf16 = (narrow_is_large ? roles.small_type : roles.large_type) == DATA_BF16,
    };
    if (roles.parameters) {
        /* The bias belongs to y, the small tensor of a plain convolution. */
        bool narrow_is_y = narrow_is_large == roles.transposed;
        plan->pass = SINGLE_WEIGHTS;
        plan->bias = narrow_is_y ? SINGLE_BIAS_NARROW : SINGLE_BIAS_WIDE;
        plan->scatter = !narrow_is_large; /* the sum runs over the wide pixels: here the large ones */
    } else {
        plan->pass = computes_large(&roles) == narrow_is_large ? SINGLE_REDUCE : SINGLE_EXPAND;
        plan->scatter = computes_large(&roles);
    }
    single_plan(plan);
}

Status single_channel_prepare(PreparedOp *op) {
    enum { LARGEST_KERNEL = 255 }; /* taps are one dimension of a grid */
    const OpDescription *d = &op->description;
    Status status = STATUS_OK;
    SinglePlan *plan = NULL;
    TRY(op_check(d));
    if (d->attributes.kernel > LARGEST_KERNEL)
        FAIL(STATUS_BAD_INPUT, "%s: kernel %d, expected at most %d on a GPU", op_name(d->kind),
             d->attributes.kernel, LARGEST_KERNEL);
    if (narrow_type(d) != DATA_F32)
        FAIL(STATUS_BAD_INPUT, "%s: the feature map of one channel is bf16, expected float",
             op_name(d->kind));
    TRY(ALLOCATE(&plan, 1));
    op->state = plan;
    make_plan(plan, d);
    op->implementation = plan->fast ? "single channel 3x3" : "single channel";
    if (plan->pass == SINGLE_WEIGHTS) { /* each block leaves its part */
        op->output_layouts[0] =
            (ParameterLayout){plan->blocks, 1, (int64_t)plan->channels * plan->taps, 1, DATA_F32};
        op->output_layouts[1] = (ParameterLayout){plan->blocks, 1, single_biases(plan), 1, DATA_F32};
    }
done:
    return status;
}

Status single_channel_run(const PreparedOp *op, const void *const *inputs, void *const *outputs) {
    const SinglePlan *plan = op->state;
    const float *weight = inputs[1];
    const float *bias = op_input(op->description.kind, "bias") >= 0 ? inputs[2] : NULL;
    /* x is the narrow tensor where the bias belongs to the wide one */
    const bool wide_is_y = plan->bias == SINGLE_BIAS_WIDE;
    if (plan->pass == SINGLE_WEIGHTS)
        return cuda_single_weights(plan, inputs[wide_is_y ? 1 : 0], inputs[wide_is_y ? 0 : 1], outputs[0],
                                   outputs[1]);
    return plan->pass == SINGLE_EXPAND ? cuda_single_expand(plan, inputs[0], weight, bias, outputs[0])
                                       : cuda_single_reduce(plan, inputs[0], weight, bias, outputs[0]);
}

void single_channel_release(PreparedOp *op) {
    free(op->state);
    op->state = NULL;
}
