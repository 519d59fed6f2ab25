/* Convolutions of many samples: libraries choose other kernels for them than for the few that test_ops takes.
 */
#ifndef TESTS_OP_COPIES_H
#define TESTS_OP_COPIES_H

#include <stdint.h>

/* Every convolution of the default network with `samples` samples, copies of a few: each copy's result must
 * be the truth of the few, and gradients of parameters as many times it as there are copies. Returns the exit
 * status. */
int op_copies(const char *backend_name, const char *precision, int64_t samples);

#endif
