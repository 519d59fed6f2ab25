/* What test_ops runs: descriptions of every op in many sizes, input data for them, and their printed form. */
#ifndef TESTS_OP_CASES_H
#define TESTS_OP_CASES_H

#include "core/status.h"
#include "kernels/op.h"

typedef struct OpCases {
    OpDescription *list;
    int count;
} OpCases;

/* The test's cases: small and odd sizes. The caller frees cases->list. */
Status op_cases_create(OpCases *cases);

/* Shapes of the default U-Net. The caller frees cases->list. */
Status op_cases_create_unet(OpCases *cases, int64_t samples);

/* "conv2d 3x3 stride 1 pad 1: (3,5,3,1) (8,1,3,3) (8,1,1,1) -> (3,5,3,8)" */
const char *op_case_text(const OpDescription *op, char text[256]);

/* Descriptions that contradict themselves, made from a good one; returns how many. */
enum { OP_CONTRADICTIONS = 12 };
int op_case_contradictions(const OpDescription *good, OpDescription bad[OP_CONTRADICTIONS]);

/* The op whose gradient this is; false if it is not a gradient. */
bool op_case_forward(const OpDescription *op, OpDescription *forward);

/* Name of an operand: op.h has only the way from name to position. */
const char *op_input_name(OpKind kind, int index);
const char *op_output_name(OpKind kind, int index);

/* True for operands shared by all samples: weight, bias, gamma, beta and their gradients. */
bool op_operand_is_parameter(const char *name);

/* Fills in[k] (caller's, shape_count(op->inputs[k]) floats; NULL where absent) with random values of the
 * operand's usual range; activations are multiplied by `magnitude`. A pure function of its arguments. */
void op_case_inputs(const OpDescription *op, uint64_t seed, float magnitude, float *const *in);

#endif
