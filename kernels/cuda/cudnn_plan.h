/* One pass of one 2-d convolution, and what is added to its result, by cuDNN's graph interface: what is to be
 * computed (a problem), and the ways to compute it (plans: one engine of cuDNN's with its settings,
 * compiled).
 *
 * As on the CPU, a convolution joins a large tensor (N, large_h, large_w, large_c) and a small one (N,
 * small_h, small_w, small_c), both NHWC; a transposed convolution is the same with the roles of input and
 * output exchanged. Weights are (small_c, kernel, kernel, large_c): cuDNN's KRSC.
 *
 * Only engines whose results are reproducible are used:
 *   none noted as nondeterministic, or as rounding its inputs or its sums to less than asked for;
 *   float without TF32: none that uses tensor cores;
 *   bf16 and TF32: no Winograd transform, which would lose further bits;
 *   forward and backward data: no stream-K, whose order of summation depends on a sample's place in the
 *   batch.
 * Nor those that cuDNN compiles at run time: they take seconds each, at every start.
 *
 * Descriptions of devices come from a handle or from a text, so plans can be made where no device is. */
#ifndef KERNELS_CUDA_CUDNN_PLAN_H
#define KERNELS_CUDA_CUDNN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "kernels/op.h"

struct cudnnContext;

typedef enum CudnnPass {
    CUDNN_PASS_FORWARD,          /* small = large * weights */
    CUDNN_PASS_BACKWARD_DATA,    /* large = adjoint of the above, applied to small; or is increased by it */
    CUDNN_PASS_BACKWARD_WEIGHTS, /* weights = gradient, from large and the small tensor's gradient */
} CudnnPass;

/* What is added to the result: as many tensors as the constant says. cuDNN has engines for these alone,
 * behind the forward pass alone, with a bias of the feature maps' type. Sums are float and rounded once. */
typedef enum CudnnEpilogue {
    CUDNN_ADDS_NOTHING,
    CUDNN_ADDS_BIAS,            /* (small_c) */
    CUDNN_ADDS_ADDEND_AND_BIAS, /* addend: as the small tensor */
} CudnnEpilogue;

typedef struct CudnnConvolution {
    CudnnPass pass;
    CudnnEpilogue epilogue; /* of the forward pass */
    int64_t samples;
    int64_t large_h, large_w, large_c;
    int64_t small_h, small_w, small_c;
    int kernel, stride, pad;
    DataType type;         /* of the large and the small tensor, addend and bias */
    DataType weights_type; /* of the weights, or of their gradient */
    bool tf32;             /* float products may be computed by TF32 tensor cores */
    bool accumulate;       /* backward data: the result is added to what the large tensor holds */
} CudnnConvolution;

/* A device as cuDNN's heuristics and compilers see it: a finalised backend descriptor. */
typedef void *CudnnDevice;

/* The device of a handle; or one described by JSON with the members that cuDNN itself writes
 * (CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION). The caller releases it, after all problems made with it. */
Status cudnn_device_from_handle(CudnnDevice *device, struct cudnnContext *handle);
Status cudnn_device_from_json(CudnnDevice *device, const char *json);
void cudnn_device_release(CudnnDevice device);

/* An engine and its settings: what a plan is made from, and what is worth remembering. */
enum { CUDNN_MAX_KNOBS = 48 };

typedef struct CudnnEngine {
    int64_t index; /* among the engines that could run this problem */
    int knob_count;
    int32_t knob_types[CUDNN_MAX_KNOBS];
    int64_t knob_values[CUDNN_MAX_KNOBS];
} CudnnEngine;

typedef struct CudnnProblem CudnnProblem;

/* Describes the convolution to cuDNN. STATUS_FAILURE if cuDNN refuses it. The caller releases it, after its
 * plans. */
Status cudnn_problem_create(CudnnProblem **problem, const CudnnConvolution *convolution, CudnnDevice device);
void cudnn_problem_release(CudnnProblem *problem);

/* One compiled plan. */
typedef struct CudnnPlan {
    void *descriptor; /* NULL: none */
    CudnnEngine engine;
    size_t workspace_bytes;
    bool tensor_cores;      /* as cuDNN notes it */
    CudnnEpilogue epilogue; /* of the problem it was made for */
} CudnnPlan;

/* What became of the engines cuDNN proposed. */
typedef struct CudnnCandidates {
    int proposed;
    int nondeterministic, imprecise, slot_dependent, runtime_compiled; /* refused by the rules above */
    int unsupported;                                                   /* cuDNN could not make the plan */
    int too_large;                                                     /* needs more workspace than allowed */
} CudnnCandidates;

/* Up to `capacity` plans, in cuDNN's order of expected speed, each different from the others; *count are
 * found, 0 being no error. The caller releases each. candidates (may be NULL) counts what was proposed and
 * refused. */
Status cudnn_problem_plans(CudnnProblem *problem, size_t workspace_limit, int capacity, CudnnPlan *plans,
                           int *count, CudnnCandidates *candidates);

/* The plan of a remembered engine. STATUS_FAILURE if cuDNN or the rules above refuse it now. */
Status cudnn_problem_plan(CudnnProblem *problem, size_t workspace_limit, const CudnnEngine *engine,
                          CudnnPlan *plan);

/* Frees the plan and zeroes it. */
void cudnn_plan_release(CudnnPlan *plan);

/* The tensors of a run: device memory, 16-byte aligned. cuDNN's interface takes all of them as writable. */
typedef struct CudnnTensors {
    void *large, *weights, *small;
    void *bias, *addend; /* read where the epilogue adds them */
} CudnnTensors;

/* Launches the pass on the handle's stream: the tensor that it computes is overwritten, the others are read;
 * workspace: plan->workspace_bytes. */
Status cudnn_plan_run(const CudnnPlan *plan, struct cudnnContext *handle, const CudnnTensors *tensors,
                      void *workspace);

/* "forward n128 large 28x28x64 small 28x28x64 k3 s1 p1 bf16 weights bf16 + addend + bias": names a
 * convolution in files and messages. */
enum { CUDNN_NAME_BYTES = 160 };
void cudnn_convolution_name(const CudnnConvolution *convolution, char name[CUDNN_NAME_BYTES]);

/* "17:2=1,13=0": engine index and knobs as text and back; false if the text is malformed. */
enum { CUDNN_ENGINE_BYTES = 1024 };
void cudnn_engine_format(const CudnnEngine *engine, char text[CUDNN_ENGINE_BYTES]);
bool cudnn_engine_parse(const char *text, CudnnEngine *engine);

#endif
