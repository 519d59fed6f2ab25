#include "op_precision.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/bf16.h"
#include "op_cases.h"

/* Multiples of FLT_EPSILON sqrt(length) size (see op_truth.h); the mean error of a sum of floats is at 0.35,
 * and 4 allows the largest of 10^5 elements as well as short sums whose terms are themselves rounded. */
#define TOLERANCE_L2 1.0
#define TOLERANCE_ELEMENT 4.0
/* Tensor cores cut partial sums off instead of rounding them: up to one unit per step of 8 terms or more, all
 * to one side, length / 8 units at the end of half the size on average. With lengths up to 2304 that is at
 * most 0.75 * 4 times FLT_EPSILON sqrt(length). */
#define TENSOR_CORE_FACTOR 4.0
/* Storing in bf16 (8 bits): half a unit in the last place. */
#define BF16_ROUNDING 0.00390625

OpPrecision op_precision(const char *name) {
    bool bf16 = strcmp(name, "bf16") == 0;
    return (OpPrecision){.name = name,
                         .activation = bf16 ? DATA_BF16 : DATA_F32,
                         .tensor_cores = bf16 || strcmp(name, "tf32") == 0};
}

static bool is_convolution(OpKind kind) {
    return kind == OP_CONV2D || kind == OP_CONV2D_BACKWARD_DATA || kind == OP_CONV2D_BACKWARD_PARAMETERS ||
           kind == OP_CONV_TRANSPOSE2D || kind == OP_CONV_TRANSPOSE2D_BACKWARD_DATA ||
           kind == OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS;
}

static bool is_map_op(OpKind kind) {
    return is_convolution(kind) || kind == OP_GROUP_NORM || kind == OP_GROUP_NORM_BACKWARD ||
           kind == OP_ADD || kind == OP_CONCAT;
}

static DataType operand_type(const OpPrecision *precision, OpKind kind, const char *name, Shape shape) {
    static const char *const maps[] = {"x", "y", "dx", "dx_rest", "dy", "a", "b", "addend"};
    bool image = is_convolution(kind) && shape.d[3] == 1, map = false;
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        map = map || strcmp(name, maps[i]) == 0;
    return is_map_op(kind) && map && !image ? precision->activation : DATA_F32;
}

void op_precision_describe(const OpPrecision *precision, OpDescription *op) {
    for (int k = 0; k < op_input_count(op->kind); k++)
        op->input_types[k] = operand_type(precision, op->kind, op_input_name(op->kind, k), op->inputs[k]);
    for (int k = 0; k < op_output_count(op->kind); k++)
        op->output_types[k] = operand_type(precision, op->kind, op_output_name(op->kind, k), op->outputs[k]);
}

void op_precision_round(const OpPrecision *precision, const OpDescription *op, float *const *in) {
    for (int k = 0; k < op_input_count(op->kind); k++) {
        /* a convolution's bias has the feature maps' type */
        bool bias = strcmp(op_input_name(op->kind, k), "bias") == 0 && precision->activation == DATA_F32;
        bool multiplied = precision->tensor_cores && is_convolution(op->kind) && !bias;
        if (!in[k] || !(multiplied || op->input_types[k] == DATA_BF16))
            continue;
        for (int64_t i = 0; i < shape_count(op->inputs[k]); i++)
            in[k][i] = bf16_value(bf16_of(in[k][i]));
    }
}

/* Tolerated rounding of sums, per unit of size. */
static double sum_unit(const OpPrecision *precision, const OpDescription *op, const OpTruth *truth, int k) {
    double factor = precision->tensor_cores && is_convolution(op->kind) ? TENSOR_CORE_FACTOR : 1;
    return factor * FLT_EPSILON * sqrt(truth->length[k]);
}

/* A gradient of parameters that a kernel leaves in a layout of its own has that layout's type before it is
 * float. */
static double storage_unit(const PreparedOp *op, int k) {
    const ParameterLayout *layout = &op->output_layouts[k];
    DataType type = layout->parts > 0 ? layout->type : op->description.output_types[k];
    return type == DATA_BF16 ? BF16_ROUNDING : 0;
}

/* Rounded like the result itself, where it is stored before bias or addend is added. */
static double stored_between(const OpTruth *truth, int k, int64_t element) {
    return k == 0 && truth->between ? truth->between[element] : 0;
}

double op_tolerance_l2(const OpPrecision *precision, const PreparedOp *prepared, const OpTruth *truth,
                       int k) {
    const OpDescription *op = &prepared->description;
    double sizes = 0, values = 0;
    for (int64_t i = 0; i < shape_count(op->outputs[k]); i++) {
        double between = stored_between(truth, k, i);
        sizes += truth->size[k][i] * truth->size[k][i];
        values += truth->out[k][i] * truth->out[k][i] + between * between;
    }
    return TOLERANCE_L2 * sum_unit(precision, op, truth, k) * sqrt(sizes) +
           storage_unit(prepared, k) * sqrt(values);
}

OpError op_error(const OpPrecision *precision, const PreparedOp *prepared, const OpTruth *truth, int k,
                 const float *found) {
    const OpDescription *op = &prepared->description;
    const double unit = TOLERANCE_ELEMENT * sum_unit(precision, op, truth, k);
    const double storage = storage_unit(prepared, k);
    OpError result = {0};
    double squares = 0;
    for (int64_t i = 0; i < shape_count(op->outputs[k]); i++) {
        double expected = truth->out[k][i], error = fabs(found[i] - expected), size = truth->size[k][i];
        double stored = fabs(expected) + stored_between(truth, k, i) + unit * size;
        double ratio = error == 0 ? 0 : error / (unit * size + storage * stored);
        squares += error * error;
        if (!(ratio <= result.element)) { /* also NaN */
            result.element = isnan(ratio) ? INFINITY : ratio;
            result.worst = i;
        }
    }
    result.l2 = squares == 0 ? 0 : sqrt(squares) / op_tolerance_l2(precision, prepared, truth, k);
    result.l2 = isnan(result.l2) ? INFINITY : result.l2;
    return result;
}

bool op_precision_may_refuse(const OpPrecision *precision, const OpDescription *op) {
    enum { CHANNEL_UNIT = 8 };
    if (!precision->tensor_cores || !is_convolution(op->kind))
        return false;
    for (int k = 0; k < OP_MAX_INPUTS + OP_MAX_OUTPUTS; k++) {
        bool input = k < OP_MAX_INPUTS;
        int at = input ? k : k - OP_MAX_INPUTS;
        Shape shape = input ? op->inputs[at] : op->outputs[at];
        if (shape.d[0] == 0)
            continue;
        const char *name = input ? op_input_name(op->kind, at) : op_output_name(op->kind, at);
        if (!op_operand_is_parameter(name) && shape.d[3] != 1 && shape.d[3] % CHANNEL_UNIT != 0)
            return true;
    }
    return false;
}
