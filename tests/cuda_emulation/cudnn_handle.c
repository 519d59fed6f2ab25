/* cuDNN's handle, and the execution of plans: pointers are checked, then the work is queued. */
#include <stdlib.h>
#include <string.h>

#include "tests/cuda_emulation/cudnn_emulation.h"
#include "tests/cuda_emulation/emulation.h"

struct cudnnContext {
    cudaStream_t stream;
};

size_t cudnnGetVersion(void) {
    return CUDNN_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t status) {
    switch (CUDNN_STATUS_CATEGORY((int)status)) {
    case CUDNN_STATUS_SUCCESS:
        return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_BAD_PARAM:
        return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED:
        return "CUDNN_STATUS_NOT_SUPPORTED";
    default:
        return "CUDNN_STATUS_EXECUTION_FAILED";
    }
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    *handle = calloc(1, sizeof **handle);
    return *handle ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
    free(handle);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- execution ---- */

typedef struct Execution {
    Plan plan;
    void *pointers[GRAPH_TENSORS];
    void *workspace;
} Execution;

static size_t tensor_bytes(const GraphTensor *tensor) {
    return (size_t)graph_tensor_extent(tensor) * graph_element_bytes(tensor->type);
}

static void cudnn_plan(void *arguments) {
    const Execution *execution = arguments;
    const Plan *plan = &execution->plan;
    for (int i = 0; i < plan->graph.tensor_count; i++)
        if (!plan->graph.tensors[i].is_virtual)
            emulation_expect_device(execution->pointers[i], tensor_bytes(&plan->graph.tensors[i]),
                                    "a tensor of a cuDNN plan");
    if (plan->workspace_bytes > 0)
        emulation_expect_device(execution->workspace, (size_t)plan->workspace_bytes,
                                "the workspace of a cuDNN plan");
    plan_run(plan, execution->pointers, execution->workspace);
}

static bool misaligned(const void *pointer, int64_t alignment) {
    return (uintptr_t)pointer % (uintptr_t)alignment != 0;
}

/* The pointer of each tensor; every id must be one of the graph's, and all of the graph's there. */
static cudnnStatus_t find_pointers(const Content *pack, Execution *execution) {
    const Graph *graph = &execution->plan.graph;
    int64_t count;
    const int64_t *ids = content_values(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &count);
    void *const *pointers = content_values(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, NULL);
    int expected = 0;
    for (int t = 0; t < graph->tensor_count; t++) {
        const GraphTensor *tensor = &graph->tensors[t];
        for (int64_t i = 0; i < count && !tensor->is_virtual; i++)
            if (ids[i] == tensor->id)
                execution->pointers[t] = pointers[i];
        expected += !tensor->is_virtual;
        if (!tensor->is_virtual && !execution->pointers[t])
            return cudnn_fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "variant pack: no pointer for tensor %lld",
                              (long long)tensor->id);
        if (misaligned(execution->pointers[t], tensor->alignment))
            return cudnn_fail(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER,
                              "variant pack: tensor %lld is not aligned to %lld bytes", (long long)tensor->id,
                              (long long)tensor->alignment);
    }
    if (expected != count)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM, "variant pack: expected %d tensors, found %lld", expected,
                          (long long)count);
    return CUDNN_STATUS_SUCCESS;
}

static bool overlap(const Execution *execution, int a, int b) {
    const GraphTensor *tensors = execution->plan.graph.tensors;
    const char *begin_a = execution->pointers[a], *begin_b = execution->pointers[b];
    return begin_a < begin_b + tensor_bytes(&tensors[b]) && begin_b < begin_a + tensor_bytes(&tensors[a]);
}

/* What is written shares no memory with what is read, except for channels of the same pixels: parts of one
 * wider tensor. */
static cudnnStatus_t check_overlaps(const Execution *execution) {
    const Graph *graph = &execution->plan.graph;
    int output = graph_output(graph);
    const GraphTensor *written = &graph->tensors[output];
    for (int i = 0; i < graph->tensor_count; i++) {
        const GraphTensor *read = &graph->tensors[i];
        if (i == output || read->is_virtual || !overlap(execution, i, output))
            continue;
        int64_t distance =
            ((const char *)execution->pointers[i] - (const char *)execution->pointers[output]) /
            (int64_t)graph_element_bytes(written->type);
        bool interleaved = read->type == written->type && read->strides[3] == written->strides[3];
        if (!interleaved || (distance >= 0 && distance < written->dims[1]) ||
            (distance < 0 && -distance < read->dims[1]))
            return cudnn_fail(CUDNN_STATUS_BAD_PARAM, "tensor %lld is read and overlaps what is written",
                              (long long)read->id);
    }
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t variant_pack) {
    Execution execution = {0};
    const Content *content, *pack;
    void *const *workspace;
    CUDNN_TRY(content_of(plan, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &content));
    CUDNN_TRY(content_of(variant_pack, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack));
    CUDNN_TRY(plan_read(content, &execution.plan));
    if (execution.plan.fails_to_run)
        return cudnn_fail(CUDNN_STATUS_EXECUTION_FAILED, "this engine runs nothing");
    CUDNN_TRY(find_pointers(pack, &execution));
    CUDNN_TRY(check_overlaps(&execution));
    workspace = content_values(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, NULL);
    execution.workspace = workspace ? *workspace : NULL;
    if (execution.plan.workspace_bytes > 0 && (!execution.workspace || misaligned(execution.workspace, 16)))
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "no workspace, or not aligned");
    emulation_queue(handle->stream, cudnn_plan, &execution, sizeof execution);
    return CUDNN_STATUS_SUCCESS;
}
