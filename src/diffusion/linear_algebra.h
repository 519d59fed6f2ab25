/* Dense symmetric matrices in double precision, row-major: the only place that names LAPACK. */
#ifndef DIFFUSION_LINEAR_ALGEBRA_H
#define DIFFUSION_LINEAR_ALGEBRA_H

#include <stdint.h>

#include "core/status.h"

/* a (n, n), symmetric, = U diag(values) U^T: a becomes U, column j the eigenvector of values[j], ascending.
 * The last bits are the library's choice: one rank decomposes and sends the result. STATUS_FAILURE: no
 * convergence. */
Status symmetric_eigen(int64_t n, double *a, double *values);

/* a (n, n), positive definite, = L L^T: the lower triangle of a becomes L, the rest is neither read nor
 * written. Every rank factorises for itself and must get the same bits, so the loops are our own, in a fixed
 * order; at n = 784 they take 0.1 s. STATUS_FAILURE: not positive definite. */
Status cholesky_factor(int64_t n, double *a);

/* b (n) becomes L^-1 b. */
void cholesky_forward(int64_t n, const double *factor, double *b);

/* b (n) becomes (L L^T)^-1 b. */
void cholesky_solve(int64_t n, const double *factor, double *b);

/* sum_i a[i] b[i] in a fixed order, the same on every rank. */
double dot_product(int64_t n, const double *a, const double *b);

#endif
