/* What a precision (train.precision) means for the test of an op: element types, inputs that are exact in it,
 * and how far a result may be from the truth. */
#ifndef TESTS_OP_PRECISION_H
#define TESTS_OP_PRECISION_H

#include "kernels/backend.h"
#include "op_truth.h"

typedef struct OpPrecision {
    const char *name;    /* "fp32", "tf32", "bf16" */
    DataType activation; /* of feature maps */
    bool tensor_cores;   /* convolutions read fewer bits than a float has */
} OpPrecision;

OpPrecision op_precision(const char *name);

/* Sets the element types of a case as the network's graph does: feature maps in the activation type; images
 * (one channel), statistics, embeddings, parameters and gradients of parameters in float. */
void op_precision_describe(const OpPrecision *precision, OpDescription *op);

/* Rounds, to bf16, what the kernel will round: operands stored in bf16, and everything convolutions multiply
 * where tensor cores do (bf16 is exact in TF32 too). What is left is the kernel's own arithmetic, on exact
 * inputs. */
void op_precision_round(const OpPrecision *precision, const OpDescription *op, float *const *in);

/* Error of output k: largest of its elements and L2, each as a multiple of its tolerance, and the worst
 * element. NaN counts as infinite. */
typedef struct OpError {
    double element, l2;
    int64_t worst;
} OpError;
OpError op_error(const OpPrecision *precision, const PreparedOp *op, const OpTruth *truth, int k,
                 const float *found);

/* The L2 tolerance of output k. */
double op_tolerance_l2(const OpPrecision *precision, const PreparedOp *op, const OpTruth *truth, int k);

/* Whether a device's library may say that it has no kernel for this case: tensor cores take channels by
 * eights. */
bool op_precision_may_refuse(const OpPrecision *precision, const OpDescription *op);

#endif
