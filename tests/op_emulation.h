/* A backend of the tests alone: the plain loops, but with feature maps in bf16. It shows that the tests of
 * ops handle that type, and that their tolerances admit exact arithmetic with bf16 storage. */
#ifndef TESTS_OP_EMULATION_H
#define TESTS_OP_EMULATION_H

#include "kernels/backend.h"

const Backend *op_emulation_backend(void);

#endif
