#include "kernels/cuda/cudnn_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cudnn_engine.h"

enum { TENSOR_ALIGNMENT = 16, SPATIAL_DIMS = 2, TENSOR_DIMS = 4, MAX_PROPOSALS = 128 };
enum { ID_LARGE = 1, ID_WEIGHTS = 2, ID_SMALL = 3, ID_BIAS = 4, ID_ADDEND = 5, ID_PARTIAL = 6 };
enum { MAX_ADDITIONS = CUDNN_ADDS_ADDEND_AND_BIAS };

struct CudnnProblem {
    CudnnConvolution convolution;
    CudnnDevice device; /* borrowed */
    cudnnBackendDescriptor_t large, weights, small, geometry, graph;
    /* additions, in order: what the operation before computes, which is never stored, and what is added */
    cudnnBackendDescriptor_t partial[MAX_ADDITIONS], added[MAX_ADDITIONS], addition;
    cudnnBackendDescriptor_t operations[1 + MAX_ADDITIONS];
};

Status cudnn_device_from_handle(CudnnDevice *device, struct cudnnContext *handle) {
    Status status = STATUS_OK;
    TRY(cudnn_descriptor_create(device, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR));
    CUDNN_SET(*device, CUDNN_ATTR_DEVICEPROP_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    CUDNN_FINALIZE(*device);
done:
    if (status != STATUS_OK)
        cudnn_descriptor_release(device);
    return status;
}

Status cudnn_device_from_json(CudnnDevice *device, const char *json) {
    Status status = STATUS_OK;
    TRY(cudnn_descriptor_create(device, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR));
    CUDNN_SET(*device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)strlen(json),
              json);
    CUDNN_FINALIZE(*device);
done:
    if (status != STATUS_OK)
        cudnn_descriptor_release(device);
    return status;
}

void cudnn_device_release(CudnnDevice device) {
    cudnn_descriptor_release(&device);
}

/* ---- the problem ---- */

static cudnnDataType_t data_type(DataType type) {
    return type == DATA_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

/* Those with ids from ID_PARTIAL are not stored. Dimensions in cuDNN's order (outer, channels, height,
 * width), memory in ours (outer, height, width, channels). */
static Status tensor_create(cudnnBackendDescriptor_t *tensor, int64_t id, DataType type, int64_t outer,
                            int64_t height, int64_t width, int64_t channels) {
    Status status = STATUS_OK;
    cudnnDataType_t element = data_type(type);
    bool is_virtual = id >= ID_PARTIAL;
    int64_t alignment = TENSOR_ALIGNMENT;
    int64_t dims[TENSOR_DIMS] = {outer, channels, height, width};
    int64_t strides[TENSOR_DIMS] = {height * width * channels, 1, width * channels, channels};
    TRY(cudnn_descriptor_create(tensor, CUDNN_BACKEND_TENSOR_DESCRIPTOR));
    CUDNN_SET(*tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    CUDNN_SET(*tensor, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &element);
    CUDNN_SET(*tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, TENSOR_DIMS, dims);
    CUDNN_SET(*tensor, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, TENSOR_DIMS, strides);
    CUDNN_SET(*tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    CUDNN_SET(*tensor, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    CUDNN_FINALIZE(*tensor);
done:
    return status;
}

static Status geometry_create(CudnnProblem *problem) {
    Status status = STATUS_OK;
    const CudnnConvolution *c = &problem->convolution;
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t dims = SPATIAL_DIMS, strides[SPATIAL_DIMS] = {c->stride, c->stride};
    int64_t pads[SPATIAL_DIMS] = {c->pad, c->pad}, dilations[SPATIAL_DIMS] = {1, 1};
    TRY(cudnn_descriptor_create(&problem->geometry, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR));
    CUDNN_SET(problem->geometry, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    CUDNN_SET(problem->geometry, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    CUDNN_SET(problem->geometry, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dims);
    CUDNN_SET(problem->geometry, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, dims, dilations);
    CUDNN_SET(problem->geometry, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, dims, strides);
    CUDNN_SET(problem->geometry, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, dims, pads);
    CUDNN_SET(problem->geometry, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, dims, pads);
    CUDNN_FINALIZE(problem->geometry);
done:
    return status;
}

/* Where cuDNN keeps the operands of a pass. */
typedef struct PassAttributes {
    cudnnBackendDescriptorType_t operation;
    cudnnBackendAttributeName_t geometry, large, weights, small, alpha, beta;
} PassAttributes;

static const PassAttributes pass_attributes[] = {
    [CUDNN_PASS_FORWARD] =
        {
            .operation = CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            .geometry = CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
            .large = CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
            .weights = CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
            .small = CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
            .alpha = CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
            .beta = CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
        },
    [CUDNN_PASS_BACKWARD_DATA] =
        {
            .operation = CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
            .geometry = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
            .large = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
            .weights = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
            .small = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
            .alpha = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
            .beta = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
        },
    [CUDNN_PASS_BACKWARD_WEIGHTS] =
        {
            .operation = CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
            .geometry = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
            .large = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
            .weights = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
            .small = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
            .alpha = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
            .beta = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
        },
};

static Status convolution_create(CudnnProblem *problem) {
    Status status = STATUS_OK;
    const PassAttributes *pass = &pass_attributes[problem->convolution.pass];
    float one = 1, beta = problem->convolution.accumulate ? 1 : 0;
    bool added_to = problem->convolution.epilogue != CUDNN_ADDS_NOTHING;
    cudnnBackendDescriptor_t *operation = &problem->operations[0];
    cudnnBackendDescriptor_t small = added_to ? problem->partial[0] : problem->small;
    TRY(cudnn_descriptor_create(operation, pass->operation));
    CUDNN_SET(*operation, pass->geometry, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &problem->geometry);
    CUDNN_SET(*operation, pass->large, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &problem->large);
    CUDNN_SET(*operation, pass->weights, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &problem->weights);
    CUDNN_SET(*operation, pass->small, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &small);
    CUDNN_SET(*operation, pass->alpha, CUDNN_TYPE_FLOAT, 1, &one);
    CUDNN_SET(*operation, pass->beta, CUDNN_TYPE_FLOAT, 1, &beta);
    CUDNN_FINALIZE(*operation);
done:
    return status;
}

/* The tensors and the operation of addition k; the bias comes last. */
static Status addition_create(CudnnProblem *problem, int k) {
    Status status = STATUS_OK;
    const CudnnConvolution *c = &problem->convolution;
    cudnnBackendDescriptor_t *operation = &problem->operations[1 + k], addition = problem->addition;
    bool last = k + 1 == (int)c->epilogue;
    cudnnBackendDescriptor_t result = last ? problem->small : problem->partial[k + 1];
    float one = 1;
    if (last)
        TRY(tensor_create(&problem->added[k], ID_BIAS, c->type, 1, 1, 1, c->small_c));
    else
        TRY(tensor_create(&problem->added[k], ID_ADDEND, c->type, c->samples, c->small_h, c->small_w,
                          c->small_c));
    TRY(cudnn_descriptor_create(operation, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR));
    CUDNN_SET(*operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
              &addition);
    CUDNN_SET(*operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
              &problem->partial[k]);
    CUDNN_SET(*operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
              &problem->added[k]);
    CUDNN_SET(*operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &result);
    CUDNN_SET(*operation, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, CUDNN_TYPE_FLOAT, 1, &one);
    CUDNN_SET(*operation, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, CUDNN_TYPE_FLOAT, 1, &one);
    CUDNN_FINALIZE(*operation);
done:
    return status;
}

static Status operations_create(CudnnProblem *problem) {
    Status status = STATUS_OK;
    const CudnnConvolution *c = &problem->convolution;
    const int additions = (int)c->epilogue;
    cudnnPointwiseMode_t mode = CUDNN_POINTWISE_ADD;
    cudnnDataType_t precision = CUDNN_DATA_FLOAT;
    if (additions > 0 && c->pass != CUDNN_PASS_FORWARD)
        FAIL(STATUS_FAILURE, "additions to another pass than forward");
    for (int k = 0; k < additions; k++)
        TRY(tensor_create(&problem->partial[k], ID_PARTIAL + k, DATA_F32, c->samples, c->small_h, c->small_w,
                          c->small_c));
    TRY(convolution_create(problem));
    if (additions > 0) {
        TRY(cudnn_descriptor_create(&problem->addition, CUDNN_BACKEND_POINTWISE_DESCRIPTOR));
        CUDNN_SET(problem->addition, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
        CUDNN_SET(problem->addition, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &precision);
        CUDNN_FINALIZE(problem->addition);
    }
    for (int k = 0; k < additions; k++)
        TRY(addition_create(problem, k));
    TRY(cudnn_descriptor_create(&problem->graph, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR));
    CUDNN_SET(problem->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1 + additions,
              problem->operations);
    CUDNN_FINALIZE(problem->graph);
done:
    return status;
}

Status cudnn_problem_create(CudnnProblem **out, const CudnnConvolution *convolution, CudnnDevice device) {
    Status status = STATUS_OK;
    const CudnnConvolution *c = convolution;
    CudnnProblem *problem = NULL;
    char name[CUDNN_NAME_BYTES];
    *out = NULL;
    TRY(ALLOCATE(&problem, 1));
    problem->convolution = *convolution;
    problem->device = device;
    TRY(tensor_create(&problem->large, ID_LARGE, c->type, c->samples, c->large_h, c->large_w, c->large_c));
    TRY(tensor_create(&problem->small, ID_SMALL, c->type, c->samples, c->small_h, c->small_w, c->small_c));
    TRY(tensor_create(&problem->weights, ID_WEIGHTS, c->weights_type, c->small_c, c->kernel, c->kernel,
                      c->large_c));
    TRY(geometry_create(problem));
    TRY(operations_create(problem));
    *out = problem;
    problem = NULL;
done:
    if (status != STATUS_OK) {
        cudnn_convolution_name(convolution, name);
        status = status_context(status, "convolution %s", name);
    }
    cudnn_problem_release(problem);
    return status;
}

void cudnn_problem_release(CudnnProblem *problem) {
    if (!problem)
        return;
    cudnn_descriptor_release(&problem->graph);
    for (int i = 0; i <= MAX_ADDITIONS; i++)
        cudnn_descriptor_release(&problem->operations[i]);
    for (int k = 0; k < MAX_ADDITIONS; k++) {
        cudnn_descriptor_release(&problem->partial[k]);
        cudnn_descriptor_release(&problem->added[k]);
    }
    cudnn_descriptor_release(&problem->addition);
    cudnn_descriptor_release(&problem->geometry);
    cudnn_descriptor_release(&problem->small);
    cudnn_descriptor_release(&problem->weights);
    cudnn_descriptor_release(&problem->large);
    free(problem);
}

/* ---- plans ---- */

/* Compiles a configuration. *plan stays empty, without an error, if the rules or cuDNN refuse it. */
static Status plan_from_config(const CudnnProblem *problem, cudnnBackendDescriptor_t config,
                               size_t workspace_limit, CudnnPlan *plan, CudnnCandidates *candidates) {
    Status status = STATUS_OK;
    CudnnNotes notes;
    int64_t count = 0, workspace = 0;
    cudnnBackendDescriptor_t device = problem->device;
    memset(plan, 0, sizeof *plan);
    TRY(cudnn_engine_read(config, &plan->engine, &notes));
    if (!cudnn_engine_allowed(&problem->convolution, &plan->engine, &notes, candidates))
        goto done;
    plan->tensor_cores = notes.numerical[CUDNN_NUMERICAL_NOTE_TENSOR_CORE];
    plan->epilogue = problem->convolution.epilogue;
    TRY(cudnn_descriptor_create(&plan->descriptor, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR));
    CUDNN_SET(plan->descriptor, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
              &config);
    CUDNN_SET(plan->descriptor, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
              &device);
    /* Not every proposal can be compiled: that is cuDNN's way, not a failure. */
    if (cudnnBackendFinalize(plan->descriptor) != CUDNN_STATUS_SUCCESS) {
        candidates->unsupported++;
        cudnn_descriptor_release(&plan->descriptor);
        goto done;
    }
    TRY(CHECK_CUDNN(cudnnBackendGetAttribute(plan->descriptor, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                             CUDNN_TYPE_INT64, 1, &count, &workspace)));
    plan->workspace_bytes = (size_t)workspace;
    if (plan->workspace_bytes > workspace_limit) {
        candidates->too_large++;
        cudnn_descriptor_release(&plan->descriptor);
    }
done:
    if (status != STATUS_OK)
        cudnn_descriptor_release(&plan->descriptor);
    return status;
}

static bool already_found(const CudnnPlan *plans, int count, const CudnnEngine *engine) {
    for (int i = 0; i < count; i++)
        if (cudnn_engine_equal(&plans[i].engine, engine))
            return true;
    return false;
}

/* Adds the plans that one heuristic proposes. */
static Status add_plans(const CudnnProblem *problem, cudnnBackendHeurMode_t mode, size_t workspace_limit,
                        int capacity, CudnnPlan *plans, int *count, CudnnCandidates *candidates) {
    Status status = STATUS_OK;
    cudnnBackendDescriptor_t heuristics = NULL, configs[MAX_PROPOSALS] = {NULL};
    cudnnBackendDescriptor_t graph = problem->graph, device = problem->device;
    int64_t proposed = 0;
    TRY(cudnn_descriptor_create(&heuristics, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR));
    CUDNN_SET(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    CUDNN_SET(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    CUDNN_SET(heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device);
    if (cudnnBackendFinalize(heuristics) != CUDNN_STATUS_SUCCESS)
        goto done; /* this heuristic knows nothing of such a problem; the other may */
    for (int i = 0; i < MAX_PROPOSALS; i++)
        TRY(cudnn_descriptor_create(&configs[i], CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
    TRY(CHECK_CUDNN(cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                             CUDNN_TYPE_BACKEND_DESCRIPTOR, MAX_PROPOSALS, &proposed,
                                             configs)));
    if (proposed > MAX_PROPOSALS)
        proposed = MAX_PROPOSALS;
    candidates->proposed += (int)proposed;
    for (int64_t i = 0; i < proposed && *count < capacity; i++) {
        CudnnPlan plan;
        TRY(plan_from_config(problem, configs[i], workspace_limit, &plan, candidates));
        if (plan.descriptor && already_found(plans, *count, &plan.engine))
            cudnn_plan_release(&plan);
        if (plan.descriptor)
            plans[(*count)++] = plan;
    }
done:
    for (int i = 0; i < MAX_PROPOSALS; i++)
        cudnn_descriptor_release(&configs[i]);
    cudnn_descriptor_release(&heuristics);
    return status;
}

Status cudnn_problem_plans(CudnnProblem *problem, size_t workspace_limit, int capacity, CudnnPlan *plans,
                           int *count, CudnnCandidates *candidates) {
    Status status = STATUS_OK;
    CudnnCandidates ignored;
    CudnnCandidates *counts = candidates ? candidates : &ignored;
    memset(counts, 0, sizeof *counts);
    *count = 0;
    TRY(add_plans(problem, CUDNN_HEUR_MODE_A, workspace_limit, capacity, plans, count, counts));
    TRY(add_plans(problem, CUDNN_HEUR_MODE_FALLBACK, workspace_limit, capacity, plans, count, counts));
done:
    for (int i = 0; status != STATUS_OK && i < *count; i++)
        cudnn_plan_release(&plans[i]);
    return status;
}

void cudnn_plan_release(CudnnPlan *plan) {
    cudnn_descriptor_release(&plan->descriptor);
    memset(plan, 0, sizeof *plan);
}

Status cudnn_problem_plan(CudnnProblem *problem, size_t workspace_limit, const CudnnEngine *engine,
                          CudnnPlan *plan) {
    Status status = STATUS_OK;
    cudnnBackendDescriptor_t config = NULL;
    CudnnCandidates refused = {0};
    char name[CUDNN_NAME_BYTES];
    memset(plan, 0, sizeof *plan);
    TRY(cudnn_engine_config(&config, engine, problem->graph, problem->device));
    TRY(plan_from_config(problem, config, workspace_limit, plan, &refused));
    if (!plan->descriptor) {
        cudnn_convolution_name(&problem->convolution, name);
        FAIL(STATUS_FAILURE, "convolution %s: engine %" PRId64 " is not usable here", name, engine->index);
    }
done:
    cudnn_descriptor_release(&config);
    return status;
}

Status cudnn_plan_run(const CudnnPlan *plan, struct cudnnContext *handle, const CudnnTensors *tensors,
                      void *workspace) {
    Status status = STATUS_OK;
    cudnnBackendDescriptor_t pack = NULL;
    enum { OPERANDS = 3 };
    int64_t ids[] = {ID_LARGE, ID_WEIGHTS, ID_SMALL, ID_BIAS, ID_ADDEND};
    void *pointers[] = {tensors->large, tensors->weights, tensors->small, tensors->bias, tensors->addend};
    int64_t count = OPERANDS + (int64_t)plan->epilogue;
    TRY(cudnn_descriptor_create(&pack, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR));
    CUDNN_SET(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, ids);
    CUDNN_SET(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers);
    CUDNN_SET(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    CUDNN_FINALIZE(pack);
    TRY(CHECK_CUDNN(cudnnBackendExecute(handle, plan->descriptor, pack)));
done:
    cudnn_descriptor_release(&pack);
    return status;
}

void cudnn_convolution_name(const CudnnConvolution *c, char name[CUDNN_NAME_BYTES]) {
    static const char *const passes[] = {[CUDNN_PASS_FORWARD] = "forward",
                                         [CUDNN_PASS_BACKWARD_DATA] = "backward_data",
                                         [CUDNN_PASS_BACKWARD_WEIGHTS] = "backward_weights"};
    static const char *const types[] = {[DATA_F32] = "f32", [DATA_BF16] = "bf16"};
    static const char *const epilogues[] = {[CUDNN_ADDS_NOTHING] = "",
                                            [CUDNN_ADDS_BIAS] = " + bias",
                                            [CUDNN_ADDS_ADDEND_AND_BIAS] = " + addend + bias"};
    snprintf(name, CUDNN_NAME_BYTES,
             "%s n%" PRId64 " large %" PRId64 "x%" PRId64 "x%" PRId64 " small %" PRId64 "x%" PRId64
             "x%" PRId64 " k%d s%d p%d %s weights %s%s%s%s",
             passes[c->pass], c->samples, c->large_h, c->large_w, c->large_c, c->small_h, c->small_w,
             c->small_c, c->kernel, c->stride, c->pad, types[c->type], types[c->weights_type],
             c->tf32 ? " tf32" : "", c->accumulate ? " accumulate" : "", epilogues[c->epilogue]);
}
