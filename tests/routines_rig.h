/* Runs a backend's fused routines on host arrays: the arguments are those of kernels/backend.h with every
 * pointer in host memory; they are copied to guarded memory of the backend and the results back. */
#ifndef TESTS_ROUTINES_RIG_H
#define TESTS_ROUTINES_RIG_H

#include "kernels/backend.h"

/* Each fails as the routine does, and if memory around a result was written. */
Status rig_noise(const Backend *backend, const NoiseArguments *host, int64_t images);
Status rig_loss(const Backend *backend, const LossArguments *host);
Status rig_accumulate(const Backend *backend, int64_t *sum, const float *value, int64_t count, float limit,
                      int64_t *bad);
Status rig_collect(const Backend *backend, const ShardTotals *shards, int64_t count, const BatchInput *batch,
                   int64_t *tail);

/* One conversion of an array at `first` of the flat one, of `elements`: lay_out, or gather. laid: in float,
 * bf16 by its value. */
Status rig_layout(const Backend *backend, const ParameterLayout *layout, int64_t first, float *flat,
                  int64_t elements, float *laid, bool gather);

Status rig_narrow(const Backend *backend, uint16_t *to, const float *from, int64_t count);

/* One of finish_gradient, plan_update, adamw, on flat arrays of `elements` and `records` records. */
typedef Status (*UpdateRoutine)(const UpdateArguments *arguments);
Status rig_update(const Backend *backend, UpdateRoutine routine, const UpdateArguments *host,
                  int64_t elements, int64_t records);
Status rig_residual(const Backend *backend, const ResidualArguments *host);
Status rig_reverse(const Backend *backend, const ReverseArguments *host);

#endif
