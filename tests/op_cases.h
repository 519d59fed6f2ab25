/* What test_ops runs: descriptions of every op in many sizes, and their printed form. */
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

#endif
