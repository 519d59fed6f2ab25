#include "diffusion/linear_algebra.h"

#include <lapacke.h>
#include <math.h>

Status symmetric_eigen(int64_t n, double *a, double *values) {
    lapack_int size = (lapack_int)n;
    lapack_int info = LAPACKE_dsyevd(LAPACK_ROW_MAJOR, 'V', 'L', size, a, size, values);
    return info == 0 ? STATUS_OK
                     : status_error(STATUS_FAILURE,
                                    "eigenvectors of a %lld x %lld matrix: LAPACK's dsyevd returned %lld",
                                    (long long)n, (long long)n, (long long)info);
}

double dot_product(int64_t n, const double *a, const double *b) {
    enum { LANES = 8 }; /* independent sums, so that the loop may be vectorised without changing its result */
    double sums[LANES] = {0}, tail = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            sums[k] += a[i + k] * b[i + k];
    for (; i < n; i++)
        tail += a[i] * b[i];
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + tail;
}

/* Row by row: L[i][j] = (a[i][j] - L[i] . L[j]) / L[j][j] over the columns before j. */
Status cholesky_factor(int64_t n, double *a) {
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < i; j++)
            a[i * n + j] = (a[i * n + j] - dot_product(j, a + i * n, a + j * n)) / a[j * n + j];
        double pivot = a[i * n + i] - dot_product(i, a + i * n, a + i * n);
        if (!(pivot > 0 && isfinite(pivot)))
            return status_error(STATUS_FAILURE,
                                "Cholesky factor of a %lld x %lld matrix: pivot %lld is %g, expected above 0",
                                (long long)n, (long long)n, (long long)i, pivot);
        a[i * n + i] = sqrt(pivot);
    }
    return STATUS_OK;
}

void cholesky_forward(int64_t n, const double *factor, double *b) {
    for (int64_t i = 0; i < n; i++)
        b[i] = (b[i] - dot_product(i, factor + i * n, b)) / factor[i * n + i];
}

void cholesky_solve(int64_t n, const double *factor, double *b) {
    cholesky_forward(n, factor, b);
    for (int64_t i = n - 1; i >= 0; i--) { /* L^T: row i of L is its column */
        b[i] /= factor[i * n + i];
        for (int64_t j = 0; j < i; j++)
            b[j] -= factor[i * n + j] * b[i];
    }
}
