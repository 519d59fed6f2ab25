/* Convolutions and transposed convolutions. Both are the three passes of one untransposed convolution between
 * a large and a small tensor (convolution.h):
 *
 *   conv2d                               x large, y and addend small: forward
 *   conv2d_backward_data                 dx large, dy small: backward data
 *   conv2d_backward_parameters           x large, dy small: backward weights
 *   conv_transpose2d                     y large, x small: backward data, then the bias
 *   conv_transpose2d_backward_data       dy large, dx small: forward
 *   conv_transpose2d_backward_parameters dy large, x small: backward weights; dbias = sum of dy
 *
 * and PyTorch's weight layouts, (O,I,KH,KW) and transposed (I,O,KH,KW), are the same thing in that reading.
 */
#include "kernels/cpu/convolution.h"

#include <string.h>

#include "kernels/cpu/kernels_cpu.h"
#include "kernels/op_check.h"

enum { ALIGNMENT = 64 };

static size_t aligned(size_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void convolution_release(PreparedOp *op) {
    Convolution *convolution = op->state;
    if (convolution)
        convolution->destroy(convolution);
    backend_cpu()->release(op->packed);
    op->state = NULL;
    op->packed = NULL;
}

/* packed: the weights in the convolution's layout, then the bias. */
static size_t bias_offset(const Convolution *convolution) {
    return aligned(convolution->packed_bytes);
}

static Status allocate_packed(PreparedOp *op, int64_t bias_count) {
    size_t bytes = bias_offset(op->state) + (size_t)bias_count * sizeof(float);
    op->packed_bytes = aligned(bytes);
    return backend_cpu()->allocate(&op->packed, op->packed_bytes);
}

typedef Status (*ConvolutionCreate)(Convolution **, const ConvolutionGeometry *, ConvolutionPass);

/* The first implementation that wants this geometry. */
static Status create_convolution(PreparedOp *op, const ConvolutionGeometry *geometry, ConvolutionPass pass) {
    static const ConvolutionCreate implementations[] = {
        single_convolution_create, winograd_convolution_create, onednn_convolution_create};
    Status status = STATUS_OK;
    Convolution *convolution = NULL;
    for (size_t i = 0; i < sizeof implementations / sizeof *implementations && !convolution; i++) {
        status = implementations[i](&convolution, geometry, pass);
        if (status != STATUS_OK)
            return status_context(status, "%s", op_name(op->description.kind));
    }
    op->state = convolution;
    op->implementation = convolution->implementation;
    return status;
}

/* bias: the pass adds a bias or computes its gradient; kept_bias: elements of bias to keep in packed. */
static Status prepare_pass(PreparedOp *op, ConvolutionPass pass, Shape large, Shape small, bool bias,
                           int64_t kept_bias) {
    const OpAttributes *attributes = &op->description.attributes;
    Status status = STATUS_OK;
    const ConvolutionGeometry geometry = {
        .samples = large.d[0],
        .large_h = large.d[1],
        .large_w = large.d[2],
        .large_c = large.d[3],
        .small_h = small.d[1],
        .small_w = small.d[2],
        .small_c = small.d[3],
        .kernel = attributes->kernel,
        .stride = attributes->stride,
        .pad = attributes->pad,
        .bias = bias,
    };
    TRY(op_check(&op->description));
    TRY(create_convolution(op, &geometry, pass));
    op->scratch_bytes = ((const Convolution *)op->state)->scratch_bytes;
    if (pass != CONVOLUTION_BACKWARD_WEIGHTS)
        TRY(allocate_packed(op, kept_bias));
done:
    return status;
}

static float *packed_bias(const PreparedOp *op) {
    return (float *)((char *)op->packed + bias_offset(op->state));
}

static Status pack_weights(PreparedOp *op, const void *const *inputs) {
    const Convolution *convolution = op->state;
    return convolution->pack(convolution, inputs[1], op->packed);
}

static Status pack_weights_and_bias(PreparedOp *op, const void *const *inputs) {
    Shape bias = op->description.inputs[2];
    memcpy(packed_bias(op), inputs[2], (size_t)shape_count(bias) * sizeof(float));
    return pack_weights(op, inputs);
}

/* The convolution's interface has one set of tensors for all passes, so it takes each as writable. */
static float *tensor(const void *pointer) {
    return (float *)(uintptr_t)pointer;
}

/* ---- conv2d ---- */

static Status conv2d_prepare(PreparedOp *op) {
    Shape y = op->description.outputs[0];
    return prepare_pass(op, CONVOLUTION_FORWARD, op->description.inputs[0], y, true, y.d[3]);
}

static Status conv2d_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                         void *scratch) {
    const Convolution *convolution = op->state;
    return convolution->run(convolution, tensor(inputs[0]), op->packed, packed_bias(op), tensor(inputs[3]),
                            outputs[0], scratch);
}

/* With an addend the result is made in scratch memory, behind the convolution's own. */
static Status conv2d_backward_data_prepare(PreparedOp *op) {
    Status status = STATUS_OK;
    Shape dx = op->description.outputs[0];
    TRY(prepare_pass(op, CONVOLUTION_BACKWARD_DATA, dx, op->description.inputs[0], false, 0));
    if (op->description.inputs[2].d[0])
        op->scratch_bytes = aligned(op->scratch_bytes) + (size_t)shape_count(dx) * sizeof(float);
done:
    return status;
}

static Status conv2d_backward_data_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                                       void *scratch) {
    const Convolution *convolution = op->state;
    Status status = STATUS_OK;
    float *dx = outputs[0];
    float *added = inputs[2] ? (float *)((char *)scratch + aligned(convolution->scratch_bytes)) : NULL;
    TRY(convolution->run(convolution, added ? added : dx, op->packed, NULL, NULL, tensor(inputs[0]),
                         scratch));
    convolution_add(dx, added, shape_count(op->description.outputs[0]));
done:
    return status;
}

static Status conv2d_backward_parameters_prepare(PreparedOp *op) {
    return prepare_pass(op, CONVOLUTION_BACKWARD_WEIGHTS, op->description.inputs[0],
                        op->description.inputs[1], op->description.outputs[1].d[0] != 0, 0);
}

static Status conv2d_backward_parameters_run(const PreparedOp *op, const void *const *inputs,
                                             void *const *outputs, void *scratch) {
    const Convolution *convolution = op->state;
    return convolution->run(convolution, tensor(inputs[0]), outputs[0], outputs[1], NULL, tensor(inputs[1]),
                            scratch);
}

/* ---- conv_transpose2d ---- */

static Status conv_transpose2d_prepare(PreparedOp *op) {
    Shape y = op->description.outputs[0];
    return prepare_pass(op, CONVOLUTION_BACKWARD_DATA, y, op->description.inputs[0], false, y.d[3]);
}

static Status conv_transpose2d_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                                   void *scratch) {
    const Convolution *convolution = op->state;
    Status status = STATUS_OK;
    Shape shape = op->description.outputs[0];
    int64_t pixels = shape.d[0] * shape.d[1] * shape.d[2], channels = shape.d[3];
    const float *restrict bias = packed_bias(op);
    float *restrict y = outputs[0];
    TRY(convolution->run(convolution, y, op->packed, NULL, NULL, tensor(inputs[0]), scratch));
    for (int64_t pixel = 0; pixel < pixels; pixel++)
        for (int64_t c = 0; c < channels; c++)
            y[pixel * channels + c] += bias[c];
done:
    return status;
}

static Status conv_transpose2d_backward_data_prepare(PreparedOp *op) {
    return prepare_pass(op, CONVOLUTION_FORWARD, op->description.inputs[0], op->description.outputs[0], false,
                        0);
}

static Status conv_transpose2d_backward_data_run(const PreparedOp *op, const void *const *inputs,
                                                 void *const *outputs, void *scratch) {
    const Convolution *convolution = op->state;
    return convolution->run(convolution, tensor(inputs[0]), op->packed, NULL, NULL, outputs[0], scratch);
}

static Status conv_transpose2d_backward_parameters_prepare(PreparedOp *op) {
    return prepare_pass(op, CONVOLUTION_BACKWARD_WEIGHTS, op->description.inputs[1],
                        op->description.inputs[0], false, 0);
}

void convolution_add(float *restrict values, const float *restrict addend, int64_t count) {
    for (int64_t i = 0; addend && i < count; i++)
        values[i] += addend[i];
}

/* One block of pixels at a time: the blocks keep the float sums short, and so accurate. */
void convolution_sum_pixels(float *restrict sums, const float *restrict values, int64_t pixels,
                            int64_t channels) {
    enum { BLOCK_PIXELS = 64, BLOCK_CHANNELS = 64 };
    for (int64_t first = 0; first < channels; first += BLOCK_CHANNELS) {
        int64_t width = channels - first < BLOCK_CHANNELS ? channels - first : BLOCK_CHANNELS;
        double totals[BLOCK_CHANNELS] = {0};
        for (int64_t start = 0; start < pixels; start += BLOCK_PIXELS) {
            int64_t end = start + BLOCK_PIXELS < pixels ? start + BLOCK_PIXELS : pixels;
            float partial[BLOCK_CHANNELS] = {0};
            for (int64_t pixel = start; pixel < end; pixel++)
                for (int64_t c = 0; c < width; c++)
                    partial[c] += values[pixel * channels + first + c];
            for (int64_t c = 0; c < width; c++)
                totals[c] += partial[c];
        }
        for (int64_t c = 0; c < width; c++)
            sums[first + c] = (float)totals[c];
    }
}

static Status conv_transpose2d_backward_parameters_run(const PreparedOp *op, const void *const *inputs,
                                                       void *const *outputs, void *scratch) {
    const Convolution *convolution = op->state;
    Shape dy = op->description.inputs[1];
    convolution_sum_pixels(outputs[1], inputs[1], dy.d[0] * dy.d[1] * dy.d[2], dy.d[3]);
    return convolution->run(convolution, tensor(inputs[1]), outputs[0], NULL, NULL, tensor(inputs[0]),
                            scratch);
}

#define CONVOLUTION_KERNEL(identifier, op, pack_function)                                                    \
    const OpKernel kernel_cpu_##op = {                                                                       \
        .kind = identifier,                                                                                  \
        .name = #op "_cpu",                                                                                  \
        .prepare = op##_prepare,                                                                             \
        .pack = pack_function,                                                                               \
        .run = op##_run,                                                                                     \
        .release = convolution_release,                                                                      \
    }

CONVOLUTION_KERNEL(OP_CONV2D, conv2d, pack_weights_and_bias);
CONVOLUTION_KERNEL(OP_CONV2D_BACKWARD_DATA, conv2d_backward_data, pack_weights);
CONVOLUTION_KERNEL(OP_CONV2D_BACKWARD_PARAMETERS, conv2d_backward_parameters, NULL);
CONVOLUTION_KERNEL(OP_CONV_TRANSPOSE2D, conv_transpose2d, pack_weights_and_bias);
CONVOLUTION_KERNEL(OP_CONV_TRANSPOSE2D_BACKWARD_DATA, conv_transpose2d_backward_data, pack_weights);
CONVOLUTION_KERNEL(OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS, conv_transpose2d_backward_parameters, NULL);
