/* Convolutions of many samples: libraries choose other kernels for them than for the few that test_ops takes.
 */
#ifndef TESTS_OP_COPIES_H
#define TESTS_OP_COPIES_H

#include <stdint.h>

/* Every convolution of the default network with `samples` samples, copies of a few: each copy's result must
 * be the truth of the few, and gradients of parameters as many times it as there are copies. Returns the exit
 * status. On the CPU take 4 samples or more: Winograd's method rounds each tap of a filter by the size of all
 * nine (G^T, B^T and A amplify roundings 6.6 times at most, 4.8 in the root mean square over the taps), and
 * with a single distinct image of 7x7 a tap may be a quarter of that. */
int op_copies(const char *backend_name, const char *precision, int64_t samples);

#endif
