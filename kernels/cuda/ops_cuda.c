/* Kernels of all ops but the convolutions: checks and launch geometry here, the device's side in the .cu
 * files (ops_launch.h). */
#include <math.h>
#include <stdlib.h>

#include "kernels/cuda/cuda_context.h"
#include "kernels/cuda/kernels_cuda.h"
#include "kernels/cuda/ops_launch.h"
#include "kernels/op_check.h"

static const char *type_name(DataType type) {
    return type == DATA_BF16 ? "bf16" : "float";
}

static Status expect_type(const OpDescription *d, const char *role, int index, DataType found,
                          DataType expected) {
    if (found == expected)
        return STATUS_OK;
    return status_error(STATUS_BAD_INPUT, "%s: %s %d is %s, expected %s", op_name(d->kind), role, index,
                        type_name(found), type_name(expected));
}

/* The shape rules, and: the operands named in `features` (NULL-terminated, the first one present) have one
 * type, all others are float. */
static Status check(const OpDescription *d, const char *const *features) {
    Status status = STATUS_OK;
    bool input_feature[OP_MAX_INPUTS] = {false}, output_feature[OP_MAX_OUTPUTS] = {false};
    DataType type = DATA_F32;
    TRY(op_check(d));
    for (const char *const *name = features; *name; name++) {
        int input = op_input(d->kind, *name), output = op_output(d->kind, *name);
        if (input >= 0)
            input_feature[input] = true;
        else
            output_feature[output] = true;
        if (name == features)
            type = d->input_types[input];
    }
    for (int i = 0; i < op_input_count(d->kind); i++)
        if (d->inputs[i].d[0] != 0)
            TRY(expect_type(d, "input", i, d->input_types[i], input_feature[i] ? type : DATA_F32));
    for (int i = 0; i < op_output_count(d->kind); i++)
        if (d->outputs[i].d[0] != 0)
            TRY(expect_type(d, "output", i, d->output_types[i], output_feature[i] ? type : DATA_F32));
done:
    return status;
}

static bool is_bf16(const OpDescription *d) {
    return d->input_types[0] == DATA_BF16;
}

static void release_nothing(PreparedOp *op) {
    (void)op;
}

static void release_state(PreparedOp *op) {
    free(op->state);
    op->state = NULL;
}

/* ---- group_norm: state is the plan ---- */

static Status prepare_norm(PreparedOp *op, const char *const *features, bool backward) {
    const OpDescription *d = &op->description;
    Status status = STATUS_OK;
    GroupNormPlan *plan = NULL;
    TRY(check(d, features));
    Shape x = d->inputs[op_input(d->kind, "x")];
    TRY(ALLOCATE(&plan, 1));
    op->state = plan;
    if (!group_norm_plan(plan, x.d[1] * x.d[2], x.d[3], d->attributes.groups,
                         (int)data_type_bytes(d->input_types[0]), backward ? d->outputs[0].d[3] : 0,
                         (int64_t)cuda_context()->shared_bytes))
        FAIL(STATUS_BAD_INPUT, "%s: groups of %lld channels, more than one block holds on this device",
             op_name(d->kind), (long long)(x.d[3] / d->attributes.groups));
    TRY(cuda_group_norm_allow(plan, is_bf16(d), backward));
    op->implementation = plan->staged ? "one pass" : "several passes";
    if (backward) { /* each sample leaves its part */
        const ParameterLayout parts = {x.d[0], 1, x.d[3], 1, DATA_F32};
        op->output_layouts[op_output(d->kind, "dgamma")] = parts;
        op->output_layouts[op_output(d->kind, "dbeta")] = parts;
        op->output_layouts[op_output(d->kind, "dbias")] = parts;
    }
done:
    return status;
}

static Status group_norm_prepare(PreparedOp *op) {
    static const char *const features[] = {"x", "y", NULL};
    return prepare_norm(op, features, false);
}

static Status group_norm_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                             void *scratch) {
    (void)scratch;
    const OpDescription *d = &op->description;
    const GroupNormTensors tensors = {.x = inputs[0],
                                      .shift = inputs[1],
                                      .shift_pitch = op_input_pitch(d, 1),
                                      .gamma = inputs[2],
                                      .beta = inputs[3],
                                      .y = outputs[0],
                                      .mean = outputs[1],
                                      .rstd = outputs[2]};
    return cuda_group_norm(op->state, d->inputs[0].d[0], is_bf16(d), d->attributes.silu,
                           d->attributes.epsilon, &tensors);
}

static Status group_norm_backward_prepare(PreparedOp *op) {
    static const char *const features[] = {"x", "dy", "addend", "dx", "dx_rest", NULL};
    return prepare_norm(op, features, true);
}

static Status group_norm_backward_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                                      void *scratch) {
    const OpDescription *d = &op->description;
    const GroupNormBackwardTensors tensors = {.x = inputs[0],
                                              .shift = inputs[1],
                                              .shift_pitch = op_input_pitch(d, 1),
                                              .gamma = inputs[2],
                                              .beta = inputs[3],
                                              .mean = inputs[4],
                                              .rstd = inputs[5],
                                              .dy = inputs[6],
                                              .addend = inputs[7],
                                              .dx = outputs[0],
                                              .dgamma = outputs[1],
                                              .dbeta = outputs[2],
                                              .dshift = outputs[3],
                                              .dshift_pitch = op_output_pitch(d, 3),
                                              .dx_rest = outputs[4],
                                              .dbias = outputs[5]};
    (void)scratch;
    return cuda_group_norm_backward(op->state, d->inputs[0].d[0], is_bf16(d), d->attributes.silu, &tensors);
}

/* ---- elementwise ---- */

static Status silu_prepare(PreparedOp *op) {
    static const char *const features[] = {"x", "y", NULL};
    return check(&op->description, features);
}

static Status silu_run(const PreparedOp *op, const void *const *inputs, void *const *outputs, void *scratch) {
    (void)scratch;
    const OpDescription *d = &op->description;
    return cuda_silu(inputs[0], outputs[0], shape_count(d->outputs[0]), is_bf16(d));
}

static Status silu_backward_prepare(PreparedOp *op) {
    static const char *const features[] = {"x", "dy", "dx", NULL};
    return check(&op->description, features);
}

static Status silu_backward_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                                void *scratch) {
    (void)scratch;
    const OpDescription *d = &op->description;
    return cuda_silu_backward(inputs[0], inputs[1], outputs[0], shape_count(d->outputs[0]), is_bf16(d));
}

static Status add_prepare(PreparedOp *op) {
    static const char *const features[] = {"a", "b", "y", NULL};
    return check(&op->description, features);
}

static Status add_run(const PreparedOp *op, const void *const *inputs, void *const *outputs, void *scratch) {
    (void)scratch;
    const OpDescription *d = &op->description;
    return cuda_add(inputs[0], inputs[1], outputs[0], shape_count(d->outputs[0]), is_bf16(d));
}

static int64_t shape_pixels(Shape shape) {
    return shape.d[0] * shape.d[1] * shape.d[2];
}

static Status concat_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                         void *scratch) {
    (void)scratch;
    const OpDescription *d = &op->description;
    int64_t bytes = data_type_bytes(d->input_types[0]);
    return cuda_concat(inputs[0], d->inputs[0].d[3] * bytes, inputs[1], d->inputs[1].d[3] * bytes, outputs[0],
                       shape_pixels(d->outputs[0]));
}

/* ---- linear ---- */

static Status float_prepare(PreparedOp *op) {
    static const char *const features[] = {NULL};
    return check(&op->description, features);
}

static Status linear_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                         void *scratch) {
    (void)scratch;
    const OpDescription *d = &op->description;
    const LinearSize size = {d->inputs[0].d[0], d->inputs[0].d[3], d->outputs[0].d[3]};
    return cuda_linear(size, inputs[0], inputs[1], inputs[2], outputs[0]);
}

static Status linear_backward_data_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                                       void *scratch) {
    (void)scratch;
    const OpDescription *d = &op->description;
    const LinearSize size = {d->inputs[0].d[0], d->outputs[0].d[3], d->inputs[0].d[3]};
    return cuda_linear_backward_data(size, inputs[0], inputs[1], outputs[0]);
}

static Status linear_backward_parameters_run(const PreparedOp *op, const void *const *inputs,
                                             void *const *outputs, void *scratch) {
    (void)scratch;
    const OpDescription *d = &op->description;
    const LinearSize size = {d->inputs[0].d[0], d->inputs[0].d[3], d->inputs[1].d[3]};
    return cuda_linear_backward_parameters(size, inputs[0], inputs[1], outputs[0], outputs[1]);
}

/* ---- time embedding: state is the table of frequencies over pi, in device memory ---- */

static Status time_embedding_prepare(PreparedOp *op) {
    const double longest_period = 10000.0;
    Status status = STATUS_OK;
    int64_t half = op->description.outputs[0].d[3] / 2;
    size_t bytes = (size_t)half * sizeof(double);
    double *half_turns = NULL;
    TRY(float_prepare(op));
    TRY(ALLOCATE(&half_turns, half));
    for (int64_t k = 0; k < half; k++)
        half_turns[k] = pow(longest_period, -(double)k / (double)half) / M_PI;
    TRY(CHECK_CUDA(cudaMalloc(&op->state, bytes)));
    /* on the stream that reads it: cudaMemcpy may return earlier, and the streams do not wait for its own */
    TRY(CHECK_CUDA(
        cudaMemcpyAsync(op->state, half_turns, bytes, cudaMemcpyHostToDevice, cuda_context()->stream)));
    TRY(cuda_synchronize());
done:
    free(half_turns);
    return status;
}

static Status time_embedding_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                                 void *scratch) {
    (void)scratch;
    Shape e = op->description.outputs[0];
    return cuda_time_embedding(inputs[0], op->state, outputs[0], e.d[0], e.d[3]);
}

static void release_device_state(PreparedOp *op) {
    cudaFree(op->state);
    op->state = NULL;
}

#define CUDA_KERNEL(identifier, op, prepare_function, release_function)                                      \
    const OpKernel kernel_cuda_##op = {                                                                      \
        .kind = identifier,                                                                                  \
        .name = #op "_cuda",                                                                                 \
        .prepare = prepare_function,                                                                         \
        .run = op##_run,                                                                                     \
        .release = release_function,                                                                         \
    }

CUDA_KERNEL(OP_TIME_EMBEDDING, time_embedding, time_embedding_prepare, release_device_state);
CUDA_KERNEL(OP_LINEAR, linear, float_prepare, release_nothing);
CUDA_KERNEL(OP_LINEAR_BACKWARD_DATA, linear_backward_data, float_prepare, release_nothing);
CUDA_KERNEL(OP_LINEAR_BACKWARD_PARAMETERS, linear_backward_parameters, float_prepare, release_nothing);
CUDA_KERNEL(OP_SILU, silu, silu_prepare, release_nothing);
CUDA_KERNEL(OP_SILU_BACKWARD, silu_backward, silu_backward_prepare, release_nothing);
CUDA_KERNEL(OP_GROUP_NORM, group_norm, group_norm_prepare, release_state);
CUDA_KERNEL(OP_GROUP_NORM_BACKWARD, group_norm_backward, group_norm_backward_prepare, release_state);
CUDA_KERNEL(OP_ADD, add, add_prepare, release_nothing);
CUDA_KERNEL(OP_CONCAT, concat, add_prepare, release_nothing);
