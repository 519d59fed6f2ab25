/* Runs a backend's fused routines on host arrays: the arguments are those of kernels/backend.h with every
 * pointer in host memory; they are copied to guarded memory of the backend and the results back. */
#ifndef TESTS_ROUTINES_RIG_H
#define TESTS_ROUTINES_RIG_H

#include "kernels/backend.h"

/* Each fails as the routine does, and if memory around a result was written. */
Status rig_noise(const Backend *backend, const NoiseArguments *host);
Status rig_loss(const Backend *backend, const LossArguments *host);
Status rig_accumulate(const Backend *backend, int64_t *sum, const float *value, int64_t count, float limit,
                      bool *bad);
Status rig_finish_gradient(const Backend *backend, float *gradient, const int64_t *sum, int64_t count,
                           double *squares);
Status rig_adamw(const Backend *backend, const AdamWArguments *host);
Status rig_residual(const Backend *backend, const ResidualArguments *host);
Status rig_reverse(const Backend *backend, const ReverseArguments *host);

#endif
