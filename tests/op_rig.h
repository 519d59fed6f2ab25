/* Runs a prepared op in guarded, poisoned memory of its backend. */
#ifndef TESTS_OP_RIG_H
#define TESTS_OP_RIG_H

#include "kernels/backend.h"

/* Host tensors of one op; all arrays owned, NULL where absent. */
typedef struct OpTensors {
    float *in[OP_MAX_INPUTS], *out[OP_MAX_OUTPUTS];
} OpTensors;

Status op_tensors_create(OpTensors *tensors, const OpDescription *op);
void op_tensors_release(OpTensors *tensors);

/* Prepares the backend's kernel for the op; release with op_rig_release, also after a failure. */
Status op_rig_prepare(const Backend *backend, const OpDescription *description, PreparedOp *op);
void op_rig_release(PreparedOp *op);

/* Hands the parameters among in[] to the kernel's pack, if it has one; the memory they were in is gone
 * afterwards. */
Status op_rig_pack(const Backend *backend, PreparedOp *op, float *const *in);

/* Runs once: copies tensors->in, in the operands' element types, into memory surrounded by NaN, fills outputs
 * and scratch with NaN, runs, and copies the results to tensors->out. Parameters are passed as NULL to
 * kernels with `pack`, and those with layouts are converted before and after. Besides the kernel's own
 * failures, fails if an input changed or if a byte before or after any operand or the scratch memory, or
 * between the rows of an operand with a pitch, was written. May be called by several threads at once. */
Status op_rig_run(const Backend *backend, const PreparedOp *op, OpTensors *tensors);

/* New memory of the backend that holds `count` values as `type`; the caller's. */
Status op_rig_place(const Backend *backend, const float *values, DataType type, int64_t count, void **memory);

/* Memory of the backend: aligned, zeroed, copied in and out in all sizes, and refused with a message where
 * there is too much asked for. */
Status op_rig_check_memory(const Backend *backend);

#endif
