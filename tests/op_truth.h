/* Every op of ops.def in double, written for the tests and independently of all kernels. */
#ifndef TESTS_OP_TRUTH_H
#define TESTS_OP_TRUTH_H

#include "core/status.h"
#include "kernels/op.h"

/* For each output: its values, the size of what was added up for each element (root of the sum of squared
 * terms, or a bound where noted in op_truth.c), and the length of the reduction. A kernel that adds n floats
 * one after another makes a random error of about 0.35 FLT_EPSILON sqrt(n) times that size (partial sums grow
 * like sqrt(k), each is rounded by up to half an epsilon): the tests' tolerances are multiples of FLT_EPSILON
 * sqrt(length) size. */
typedef struct OpTruth {
    double *out[OP_MAX_OUTPUTS], *size[OP_MAX_OUTPUTS];
    double length[OP_MAX_OUTPUTS];
    /* Of convolutions that add to their sum: the largest magnitude of each element of y before bias or addend
     * is added, which a kernel may have stored in y's type. Else NULL. */
    double *between;
} OpTruth;

/* in: the inputs in ops.def's order, NULL where absent. Free with op_truth_release. */
Status op_truth_create(OpTruth *truth, const OpDescription *op, const double *const *in);
void op_truth_release(OpTruth *truth);

#endif
