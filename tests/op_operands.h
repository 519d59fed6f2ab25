/* The operands of ops by name, and data for the inputs. */
#ifndef TESTS_OP_OPERANDS_H
#define TESTS_OP_OPERANDS_H

#include <stdbool.h>

#include "kernels/op.h"

/* Name of an operand: op.h has only the way from name to position. */
const char *op_input_name(OpKind kind, int index);
const char *op_output_name(OpKind kind, int index);

/* True for operands shared by all samples: weight, bias, gamma, beta and their gradients. */
bool op_operand_is_parameter(const char *name);

/* Fills in[k] (caller's, shape_count(op->inputs[k]) floats; NULL where absent) with random values of the
 * operand's usual range; activations are multiplied by `magnitude`. A pure function of its arguments. */
void op_case_inputs(const OpDescription *op, uint64_t seed, float magnitude, float *const *in);

#endif
