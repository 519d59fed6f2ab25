/* Descriptions of ops: what a backend is asked to prepare, and what the graph stores. See ops.def for
 * formulas. */
#ifndef KERNELS_OP_H
#define KERNELS_OP_H

#include <stdbool.h>
#include <stdint.h>

typedef enum OpKind {
#define OP(identifier, name, inputs, outputs) OP_##identifier,
#include "kernels/ops.def"
#undef OP
    OP_KIND_COUNT
} OpKind;

/* Activations (N,H,W,C); parameters in PyTorch's order, padded with 1. d[0] == 0: absent (optional) tensor.
 */
typedef struct Shape {
    int64_t d[4];
} Shape;

enum { OP_MAX_INPUTS = 8, OP_MAX_OUTPUTS = 6 };

/* Element types. Only feature maps are ever DATA_BF16: images, timesteps, embeddings, statistics, parameters
 * and their gradients are float everywhere. */
typedef enum DataType { DATA_F32, DATA_BF16 } DataType;

typedef struct OpAttributes {
    int kernel, stride, pad; /* convolutions */
    int groups;              /* group_norm */
    bool silu;               /* group_norm */
    float epsilon;           /* group_norm */
} OpAttributes;

typedef struct OpDescription {
    OpKind kind;
    OpAttributes attributes;
    Shape inputs[OP_MAX_INPUTS];
    Shape outputs[OP_MAX_OUTPUTS];
    DataType input_types[OP_MAX_INPUTS]; /* zero: DATA_F32 */
    DataType output_types[OP_MAX_OUTPUTS];
    /* Elements from one pixel's channels to the next where a tensor is a part of a larger one; zero: its
     * channels. Most operands must be whole tensors (op_check.h). */
    int64_t input_pitches[OP_MAX_INPUTS];
    int64_t output_pitches[OP_MAX_OUTPUTS];
} OpDescription;

/* "conv2d_backward_data", ... */
const char *op_name(OpKind kind);

/* Index of a named operand in the op's list of inputs or outputs (as in ops.def); -1 if there is none. */
int op_input(OpKind kind, const char *name);
int op_output(OpKind kind, const char *name);
int op_input_count(OpKind kind);
int op_output_count(OpKind kind);

/* Elements from one pixel's channels to the next. */
int64_t op_input_pitch(const OpDescription *description, int index);
int64_t op_output_pitch(const OpDescription *description, int index);

/* Bytes of one element. */
int64_t data_type_bytes(DataType type);

int64_t shape_count(Shape shape);
bool shape_equal(Shape a, Shape b);

/* Floating-point operations of one run, a multiply-add counted as two; convolutions count every tap, also
 * those that fall into the padding. */
int64_t op_flops(const OpDescription *description);

#endif
