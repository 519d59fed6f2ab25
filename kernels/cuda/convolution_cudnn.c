/* Convolutions and transposed convolutions: both are the three passes of one untransposed convolution between
 * a large and a small tensor (cudnn_plan.h), in the reading of kernels/cpu/convolution.c:
 *
 *   conv2d                               x large, y small: forward, with bias and addend
 *   conv2d_backward_data                 dx large, dy small: backward data, or dx is increased by it
 *   conv2d_backward_parameters           x large, dy small: backward weights; dbias (optional) = sum of dy
 *   conv_transpose2d                     y large, x small: backward data, then the bias
 *   conv_transpose2d_backward_data       dy large, dx small: forward
 *   conv_transpose2d_backward_parameters dy large, x small: backward weights; dbias = sum of dy
 *
 * Where one side has a single channel, loops of our own compute the op instead. */
#include "kernels/cuda/convolution_cudnn.h"

#include <stdio.h>
#include <stdlib.h>

#include "kernels/cuda/convolution_loops.h"
#include "kernels/cuda/cuda_context.h"
#include "kernels/cuda/cudnn_plans.h"
#include "kernels/cuda/kernels_cuda.h"
#include "kernels/cuda/single_channel.h"
#include "kernels/op_check.h"

enum { BLOCK_ALIGNMENT = 256 };

static size_t align_up(size_t bytes) {
    return (bytes + BLOCK_ALIGNMENT - 1) / BLOCK_ALIGNMENT * BLOCK_ALIGNMENT;
}

/* One operand of an op. */
typedef enum OperandSide { SIDE_INPUT, SIDE_OUTPUT } OperandSide;
typedef struct Operand {
    OperandSide side;
    int index;
} Operand;

/* The passes and operands of the six ops, in ops.def's order of operands. */
typedef struct OpPass {
    OpKind kind;
    CudnnPass pass;
    Operand large, small;
    bool bias; /* the op adds a bias, inputs[2], or computes its gradient, outputs[1] */
} OpPass;

static const OpPass op_passes[] = {
    {OP_CONV2D, CUDNN_PASS_FORWARD, {SIDE_INPUT, 0}, {SIDE_OUTPUT, 0}, true},
    {OP_CONV2D_BACKWARD_DATA, CUDNN_PASS_BACKWARD_DATA, {SIDE_OUTPUT, 0}, {SIDE_INPUT, 0}, false},
    {OP_CONV2D_BACKWARD_PARAMETERS, CUDNN_PASS_BACKWARD_WEIGHTS, {SIDE_INPUT, 0}, {SIDE_INPUT, 1}, true},
    {OP_CONV_TRANSPOSE2D, CUDNN_PASS_BACKWARD_DATA, {SIDE_OUTPUT, 0}, {SIDE_INPUT, 0}, true},
    {OP_CONV_TRANSPOSE2D_BACKWARD_DATA, CUDNN_PASS_FORWARD, {SIDE_INPUT, 0}, {SIDE_OUTPUT, 0}, false},
    {OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS,
     CUDNN_PASS_BACKWARD_WEIGHTS,
     {SIDE_INPUT, 1},
     {SIDE_INPUT, 0},
     true},
};

static const OpPass *find_pass(OpKind kind) {
    for (size_t i = 0; i < sizeof op_passes / sizeof *op_passes; i++)
        if (op_passes[i].kind == kind)
            return &op_passes[i];
    return NULL;
}

static Shape operand_shape(const OpDescription *op, Operand operand) {
    return operand.side == SIDE_INPUT ? op->inputs[operand.index] : op->outputs[operand.index];
}

static DataType operand_type(const OpDescription *op, Operand operand) {
    return operand.side == SIDE_INPUT ? op->input_types[operand.index] : op->output_types[operand.index];
}

/* Whether dx holds the addend, which backward data is added to. */
static bool accumulates(const OpDescription *op) {
    return op->kind == OP_CONV2D_BACKWARD_DATA && op->inputs[op_input(op->kind, "addend")].d[0] != 0;
}

/* cuDNN adds to the result of the forward pass alone. */
static CudnnEpilogue epilogue_of(const OpDescription *op) {
    if (op->kind != OP_CONV2D)
        return CUDNN_ADDS_NOTHING;
    return op->inputs[op_input(op->kind, "addend")].d[0] ? CUDNN_ADDS_ADDEND_AND_BIAS : CUDNN_ADDS_BIAS;
}

bool convolution_from_op(const OpDescription *op, bool tf32, CudnnConvolution *convolution) {
    const OpPass *pass = find_pass(op->kind);
    Shape large, small;
    DataType type;
    if (!pass || single_channel_wants(op))
        return false;
    large = operand_shape(op, pass->large);
    small = operand_shape(op, pass->small);
    type = operand_type(op, pass->large);
    *convolution = (CudnnConvolution){
        .pass = pass->pass,
        .epilogue = epilogue_of(op),
        .samples = large.d[0],
        .large_h = large.d[1],
        .large_w = large.d[2],
        .large_c = large.d[3],
        .small_h = small.d[1],
        .small_w = small.d[2],
        .small_c = small.d[3],
        .kernel = op->attributes.kernel,
        .stride = op->attributes.stride,
        .pad = op->attributes.pad,
        .type = type,
        .weights_type = type,
        .tf32 = tf32 && type == DATA_F32,
        .accumulate = accumulates(op),
    };
    return true;
}

/* A prepared op that cuDNN computes. */
typedef struct State {
    CudnnConvolution convolution;
    const CudnnPlan *plan; /* borrowed from the context */
    const OpPass *pass;
    char implementation[CUDNN_ENGINE_BYTES + 32]; /* "cudnn:tensor_cores 17:2=1,13=0" */
} State;

static void describe_plan(State *state) {
    const CudnnPlan *plan = state->plan;
    char engine[CUDNN_ENGINE_BYTES];
    cudnn_engine_format(&plan->engine, engine);
    snprintf(state->implementation, sizeof state->implementation, "cudnn%s%s %s",
             plan->tensor_cores ? ":tensor_cores" : "",
             plan->epilogue == state->convolution.epilogue ? "" : ":separate", engine);
}

static int64_t tap_count(const CudnnConvolution *c) {
    return (int64_t)c->kernel * c->kernel;
}

/* The tensor that the bias belongs to: y of the forward ops, dy of the gradients. */
static Shape biased_shape(const PreparedOp *op, const State *state) {
    return state->pass->pass == CUDNN_PASS_BACKWARD_WEIGHTS ? op->description.inputs[1]
                                                            : op->description.outputs[0];
}

static int64_t pixel_count(Shape shape) {
    return shape.d[0] * shape.d[1] * shape.d[2];
}

static void release(PreparedOp *op) {
    if (single_channel_wants(&op->description)) {
        single_channel_release(op);
        return;
    }
    free(op->state);
    op->state = NULL;
}

static Status check_types(const OpDescription *op, const OpPass *pass) {
    if (operand_type(op, pass->large) != operand_type(op, pass->small))
        return status_error(STATUS_BAD_INPUT, "%s: expected both feature maps of one element type",
                            op_name(op->kind));
    return STATUS_OK;
}

/* cuDNN's weights, and their gradient: taps before the large tensor's channels. Biases have the feature maps'
 * type, which is the only one that cuDNN adds to them; a bias gradient is left as sums over some pixels each.
 */
static Status set_layouts(PreparedOp *op, const State *state) {
    const CudnnConvolution *c = &state->convolution;
    const ParameterLayout weights = {1, c->small_c, c->large_c, tap_count(c), c->weights_type};
    if (weights.taps > LAYOUT_PIECE_ELEMENTS)
        return status_error(STATUS_BAD_INPUT, "%s: kernel %d, expected at most %lld taps on a GPU",
                            op_name(op->description.kind), c->kernel, (long long)LAYOUT_PIECE_ELEMENTS);
    if (c->pass != CUDNN_PASS_BACKWARD_WEIGHTS) {
        op->input_layouts[1] = weights;
        if (state->pass->bias)
            op->input_layouts[2] = (ParameterLayout){1, 1, op->description.outputs[0].d[3], 1, c->type};
        return STATUS_OK;
    }
    Shape dy = biased_shape(op, state);
    op->output_layouts[0] = weights;
    op->output_layouts[1] =
        (ParameterLayout){cuda_pixel_chunks(c->type, pixel_count(dy), dy.d[3]), 1, dy.d[3], 1, DATA_F32};
    return STATUS_OK;
}

static Status prepare(PreparedOp *op) {
    Status status = STATUS_OK;
    const CudaContext *context = cuda_context();
    State *state = NULL;
    TRY(op_check(&op->description));
    if (single_channel_wants(&op->description) && accumulates(&op->description))
        FAIL(STATUS_BAD_INPUT, "%s: addend found, expected none where one side has a single channel",
             op_name(op->description.kind));
    if (single_channel_wants(&op->description))
        return single_channel_prepare(op);
    TRY(ALLOCATE(&state, 1));
    op->state = state;
    state->pass = find_pass(op->description.kind);
    TRY(check_types(&op->description, state->pass));
    (void)convolution_from_op(&op->description, context->tf32, &state->convolution);
    const CudnnConvolution *c = &state->convolution;
    TRY(cudnn_plans_get(context->plans, c, &state->plan));
    describe_plan(state);
    op->implementation = state->implementation;
    op->scratch_bytes = state->plan->workspace_bytes + BLOCK_ALIGNMENT; /* for an aligned start */
    TRY(set_layouts(op, state));
done:
    return status;
}

static char *aligned(void *scratch) {
    return (char *)align_up((uintptr_t)scratch);
}

/* cuDNN's interface has one set of tensors for all passes, so it takes each as writable. */
static void *writable(const void *memory) {
    return (void *)(uintptr_t)memory;
}

static void *tensor(Operand operand, const void *const *inputs, void *const *outputs) {
    return operand.side == SIDE_INPUT ? writable(inputs[operand.index]) : outputs[operand.index];
}

/* What a forward op adds besides its bias; NULL if nothing. */
static const void *addend_of(const PreparedOp *op, const void *const *inputs) {
    int index = op_input(op->description.kind, "addend");
    return index < 0 ? NULL : inputs[index];
}

/* Forward and backward data, and what is added to their result. */
static Status run_data(const PreparedOp *op, const void *const *inputs, void *const *outputs, void *scratch) {
    Status status = STATUS_OK;
    const State *state = op->state;
    const OpPass *pass = state->pass;
    Shape y = op->description.outputs[0];
    const CudnnTensors tensors = {
        .large = tensor(pass->large, inputs, outputs),
        .weights = writable(inputs[1]),
        .small = tensor(pass->small, inputs, outputs),
        .bias = pass->bias ? writable(inputs[2]) : NULL,
        .addend = writable(addend_of(op, inputs)),
    };
    TRY(cudnn_plan_run(state->plan, cuda_context()->cudnn, &tensors, aligned(scratch)));
    if (pass->bias && state->plan->epilogue == CUDNN_ADDS_NOTHING)
        TRY(cuda_add_to_convolution(outputs[0], state->convolution.type, tensors.addend, tensors.bias,
                                    pixel_count(y), y.d[3]));
done:
    return status;
}

static Status run_parameters(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                             void *scratch) {
    Status status = STATUS_OK;
    const State *state = op->state;
    const OpPass *pass = state->pass;
    Shape dy = biased_shape(op, state);
    const CudnnTensors tensors = {.large = tensor(pass->large, inputs, outputs),
                                  .weights = outputs[0],
                                  .small = tensor(pass->small, inputs, outputs)};
    TRY(cudnn_plan_run(state->plan, cuda_context()->cudnn, &tensors, aligned(scratch)));
    if (outputs[1])
        TRY(cuda_sum_chunks(inputs[1], state->convolution.type, outputs[1], pixel_count(dy), dy.d[3]));
done:
    return status;
}

static Status run_single_channel(const PreparedOp *op, const void *const *inputs, void *const *outputs) {
    Status status = STATUS_OK;
    const void *addend = addend_of(op, inputs);
    Shape y = op->description.outputs[0];
    TRY(single_channel_run(op, inputs, outputs));
    if (addend)
        TRY(cuda_add_to_convolution(outputs[0], op->description.output_types[0], addend, NULL, pixel_count(y),
                                    y.d[3]));
done:
    return status;
}

static Status run(const PreparedOp *op, const void *const *inputs, void *const *outputs, void *scratch) {
    if (single_channel_wants(&op->description))
        return run_single_channel(op, inputs, outputs);
    const State *state = op->state;
    return state->convolution.pass == CUDNN_PASS_BACKWARD_WEIGHTS
               ? run_parameters(op, inputs, outputs, scratch)
               : run_data(op, inputs, outputs, scratch);
}

#define CONVOLUTION_KERNEL(identifier, op)                                                                   \
    const OpKernel kernel_cudnn_##op = {                                                                     \
        .kind = identifier,                                                                                  \
        .name = #op "_cudnn",                                                                                \
        .prepare = prepare,                                                                                  \
        .run = run,                                                                                          \
        .release = release,                                                                                  \
    }

CONVOLUTION_KERNEL(OP_CONV2D, conv2d);
CONVOLUTION_KERNEL(OP_CONV2D_BACKWARD_DATA, conv2d_backward_data);
CONVOLUTION_KERNEL(OP_CONV2D_BACKWARD_PARAMETERS, conv2d_backward_parameters);
CONVOLUTION_KERNEL(OP_CONV_TRANSPOSE2D, conv_transpose2d);
CONVOLUTION_KERNEL(OP_CONV_TRANSPOSE2D_BACKWARD_DATA, conv_transpose2d_backward_data);
CONVOLUTION_KERNEL(OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS, conv_transpose2d_backward_parameters);
