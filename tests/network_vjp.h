/* The part of test_network about the denoiser's vector-Jacobian product. */
#ifndef TESTS_NETWORK_VJP_H
#define TESTS_NETWORK_VJP_H

#include "kernels/backend.h"

/* Compares with PyTorch's float64 (vectors: the file's path; largest relative L2 error: tolerance) and with
 * finite differences, and checks what the seam promises. Returns the number of failed checks. */
int network_vjp_test(const char *vectors, const Backend *backend, const char *precision, double tolerance);

#endif
