#include "kernels/op.h"

#include <string.h>

typedef struct OpRow {
    const char *name, *inputs, *outputs;
} OpRow;

static const OpRow op_rows[OP_KIND_COUNT] = {
#define OP(identifier, name, inputs, outputs) {#name, inputs, outputs},
#include "kernels/ops.def"
#undef OP
};

const char *op_name(OpKind kind) {
    return op_rows[kind].name;
}

/* Position of `name` in the space-separated list; the list's length if name is NULL; -1 if absent. */
static int list_find(const char *list, const char *name) {
    int index = 0;
    while (*list) {
        size_t length = strcspn(list, " ");
        const char *word = list + (*list == '?');
        size_t word_length = length - (size_t)(word - list);
        if (name && strlen(name) == word_length && memcmp(name, word, word_length) == 0)
            return index;
        index++;
        list += length;
        list += *list == ' ';
    }
    return name ? -1 : index;
}

int op_input(OpKind kind, const char *name) {
    return list_find(op_rows[kind].inputs, name);
}

int op_output(OpKind kind, const char *name) {
    return list_find(op_rows[kind].outputs, name);
}

int op_input_count(OpKind kind) {
    return list_find(op_rows[kind].inputs, NULL);
}

int op_output_count(OpKind kind) {
    return list_find(op_rows[kind].outputs, NULL);
}

int64_t op_input_pitch(const OpDescription *op, int index) {
    return op->input_pitches[index] ? op->input_pitches[index] : op->inputs[index].d[3];
}

int64_t op_output_pitch(const OpDescription *op, int index) {
    return op->output_pitches[index] ? op->output_pitches[index] : op->outputs[index].d[3];
}

int64_t data_type_bytes(DataType type) {
    return type == DATA_BF16 ? 2 : 4;
}

int64_t shape_count(Shape shape) {
    return shape.d[0] * shape.d[1] * shape.d[2] * shape.d[3];
}

bool shape_equal(Shape a, Shape b) {
    return memcmp(a.d, b.d, sizeof a.d) == 0;
}

/* 2 * output pixels * kernel taps * channels in * channels out, on the side of the strided (smaller) tensor.
 */
static int64_t convolution_flops(Shape small, Shape large, int kernel) {
    return 2 * small.d[0] * small.d[1] * small.d[2] * kernel * kernel * small.d[3] * large.d[3];
}

int64_t op_flops(const OpDescription *op) {
    const Shape *in = op->inputs, *out = op->outputs;
    int kernel = op->attributes.kernel;
    switch (op->kind) {
    case OP_LINEAR:
    case OP_LINEAR_BACKWARD_DATA:
        return 2 * in[0].d[0] * in[0].d[3] * out[0].d[3];
    case OP_LINEAR_BACKWARD_PARAMETERS:
        return 2 * in[0].d[0] * in[0].d[3] * in[1].d[3];
    case OP_CONV2D:
        return convolution_flops(out[0], in[0], kernel);
    case OP_CONV2D_BACKWARD_DATA:
        return convolution_flops(in[0], out[0], kernel);
    case OP_CONV2D_BACKWARD_PARAMETERS:
        return convolution_flops(in[1], in[0], kernel);
    case OP_CONV_TRANSPOSE2D:
        return convolution_flops(in[0], out[0], kernel);
    case OP_CONV_TRANSPOSE2D_BACKWARD_DATA:
        return convolution_flops(out[0], in[0], kernel);
    case OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS:
        return convolution_flops(in[0], in[1], kernel);
    case OP_GROUP_NORM:
        return shape_count(in[0]) * (op->attributes.silu ? 10 : 6);
    case OP_GROUP_NORM_BACKWARD:
        return shape_count(in[0]) * (op->attributes.silu ? 20 : 12);
    case OP_TIME_EMBEDDING:
    case OP_SILU:
    case OP_SILU_BACKWARD:
        return shape_count(out[0]) * 4;
    case OP_ADD:
        return shape_count(out[0]);
    case OP_CONCAT:
    case OP_KIND_COUNT:
        break;
    }
    return 0;
}
