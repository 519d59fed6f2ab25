/* Graphs of operations: one pass of a convolution, and additions to what it computes. */
#include <string.h>

#include "tests/cuda_emulation/cudnn_emulation.h"

size_t graph_element_bytes(cudnnDataType_t type) {
    return type == CUDNN_DATA_BFLOAT16 ? sizeof(uint16_t) : sizeof(float);
}

int64_t graph_tensor_extent(const GraphTensor *tensor) {
    int64_t extent = 1;
    for (int i = 0; i < GRAPH_DIMS; i++)
        extent += (tensor->dims[i] - 1) * tensor->strides[i];
    return extent;
}

int graph_convolved(const Graph *graph) {
    switch (graph->pass) {
    case GRAPH_FORWARD:
        return graph->small;
    case GRAPH_BACKWARD_DATA:
        return graph->large;
    default:
        return graph->weights;
    }
}

int graph_output(const Graph *graph) {
    return graph->addition_count > 0 ? graph->additions[graph->addition_count - 1].y : graph_convolved(graph);
}

/* ---- tensors ---- */

static void read_tensor(const Content *content, GraphTensor *tensor) {
    const bool *is_virtual = content_values(content, CUDNN_ATTR_TENSOR_IS_VIRTUAL, NULL);
    memset(tensor, 0, sizeof *tensor);
    tensor->id = content_int64(content, CUDNN_ATTR_TENSOR_UNIQUE_ID);
    tensor->type = (cudnnDataType_t)content_enum(content, CUDNN_ATTR_TENSOR_DATA_TYPE);
    tensor->alignment = content_int64(content, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT);
    tensor->is_virtual = is_virtual && *is_virtual;
    memcpy(tensor->dims, content_values(content, CUDNN_ATTR_TENSOR_DIMENSIONS, NULL), sizeof tensor->dims);
    memcpy(tensor->strides, content_values(content, CUDNN_ATTR_TENSOR_STRIDES, NULL), sizeof tensor->strides);
}

/* The index of an operation's operand, which other operations may have named already. */
static cudnnStatus_t add_tensor(Graph *graph, const Content *operation, cudnnBackendAttributeName_t attribute,
                                int *index) {
    const Content *content = content_child(operation, attribute);
    GraphTensor tensor;
    if (content_type(content) != CUDNN_BACKEND_TENSOR_DESCRIPTOR)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "attribute %d is no tensor",
                          (int)attribute);
    read_tensor(content, &tensor);
    for (*index = 0; *index < graph->tensor_count; (*index)++) {
        const GraphTensor *other = &graph->tensors[*index];
        if (other->id != tensor.id)
            continue;
        if (memcmp(other, &tensor, sizeof tensor) != 0)
            return cudnn_fail(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "two tensors have the id %lld",
                              (long long)tensor.id);
        return CUDNN_STATUS_SUCCESS;
    }
    if (graph->tensor_count == GRAPH_TENSORS)
        return cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "more than %d tensors", GRAPH_TENSORS);
    graph->tensors[graph->tensor_count++] = tensor;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- the convolution ---- */

typedef struct PassNames {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t geometry, large, weights, small, alpha, beta;
} PassNames;

static const PassNames pass_names[] = {
    [GRAPH_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [GRAPH_BACKWARD_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [GRAPH_BACKWARD_FILTER] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static bool all_equal(const int64_t *values, int64_t value) {
    return values[0] == value && values[1] == value;
}

static cudnnStatus_t read_geometry(const Content *geometry, Graph *graph) {
    if (content_type(geometry) != CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "expected a convolution descriptor");
    const int64_t *after = content_values(geometry, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, NULL);
    memcpy(graph->stride, content_values(geometry, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, NULL),
           sizeof graph->stride);
    memcpy(graph->pad, content_values(geometry, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, NULL),
           sizeof graph->pad);
    if (content_enum(geometry, CUDNN_ATTR_CONVOLUTION_COMP_TYPE) != CUDNN_DATA_FLOAT ||
        content_enum(geometry, CUDNN_ATTR_CONVOLUTION_CONV_MODE) != CUDNN_CROSS_CORRELATION ||
        content_int64(geometry, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) != GRAPH_SPATIAL ||
        !all_equal(content_values(geometry, CUDNN_ATTR_CONVOLUTION_DILATIONS, NULL), 1) ||
        memcmp(after, graph->pad, sizeof graph->pad) != 0)
        return cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED,
                          "the emulation knows two-dimensional cross-correlations "
                          "in float, symmetrically padded, without dilation");
    if (graph->stride[0] < 1 || graph->stride[1] < 1 || graph->pad[0] < 0 || graph->pad[1] < 0)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM, "convolution: stride below 1 or negative padding");
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t check_shapes(const Graph *graph) {
    const int64_t *large = graph->tensors[graph->large].dims, *small = graph->tensors[graph->small].dims;
    const int64_t *weights = graph->tensors[graph->weights].dims;
    bool fits = large[0] == small[0] && large[1] == weights[1] && small[1] == weights[0];
    for (int i = 0; i < GRAPH_SPATIAL; i++)
        fits &= small[2 + i] == (large[2 + i] + 2 * graph->pad[i] - weights[2 + i]) / graph->stride[i] + 1;
    return fits ? CUDNN_STATUS_SUCCESS
                : cudnn_fail(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "convolution: shapes do not fit");
}

static cudnnStatus_t read_convolution(const Content *operation, Graph *graph) {
    const PassNames *names = NULL;
    for (int pass = GRAPH_FORWARD; pass <= GRAPH_BACKWARD_FILTER; pass++)
        if (pass_names[pass].type == content_type(operation)) {
            graph->pass = (GraphPass)pass;
            names = &pass_names[pass];
        }
    if (!names)
        return cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "the first operation is no convolution");
    CUDNN_TRY(read_geometry(content_child(operation, names->geometry), graph));
    CUDNN_TRY(add_tensor(graph, operation, names->large, &graph->large));
    CUDNN_TRY(add_tensor(graph, operation, names->weights, &graph->weights));
    CUDNN_TRY(add_tensor(graph, operation, names->small, &graph->small));
    if (graph->tensor_count != 3)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "convolution: expected three tensors");
    graph->alpha = content_float(operation, names->alpha, 1);
    graph->beta = content_float(operation, names->beta, 0);
    return check_shapes(graph);
}

/* ---- additions ---- */

static cudnnStatus_t check_broadcast(const GraphTensor *from, const GraphTensor *to, bool may_repeat) {
    for (int i = 0; i < GRAPH_DIMS; i++)
        if (from->dims[i] != to->dims[i] && !(may_repeat && from->dims[i] == 1))
            return cudnn_fail(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
                              "pointwise: tensor %lld does not fit tensor %lld in dimension %d",
                              (long long)from->id, (long long)to->id, i);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t read_addition(const Content *operation, Graph *graph) {
    GraphAddition *addition = &graph->additions[graph->addition_count];
    int before = graph_output(graph), known = graph->tensor_count;
    if (content_type(operation) != CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
        return cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "not pointwise behind a convolution");
    const Content *mode = content_child(operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    if (content_type(mode) != CUDNN_BACKEND_POINTWISE_DESCRIPTOR)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "expected a pointwise descriptor");
    if (content_enum(mode, CUDNN_ATTR_POINTWISE_MODE) != CUDNN_POINTWISE_ADD ||
        content_enum(mode, CUDNN_ATTR_POINTWISE_MATH_PREC) != CUDNN_DATA_FLOAT)
        return cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "the emulation knows pointwise addition in float");
    CUDNN_TRY(add_tensor(graph, operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &addition->x));
    CUDNN_TRY(add_tensor(graph, operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, &addition->b));
    CUDNN_TRY(add_tensor(graph, operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &addition->y));
    addition->alpha1 = content_float(operation, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, 1);
    addition->alpha2 = content_float(operation, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, 1);
    if (addition->y < known || addition->y == addition->b || addition->y == addition->x)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM, "pointwise: its result is an operand");
    if (addition->x != before && addition->b != before)
        return cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN,
                          "pointwise: does not read what the operation before it computes");
    const GraphTensor *y = &graph->tensors[addition->y];
    CUDNN_TRY(check_broadcast(&graph->tensors[addition->x], y, false));
    CUDNN_TRY(check_broadcast(&graph->tensors[addition->b], y, true));
    graph->addition_count++;
    return CUDNN_STATUS_SUCCESS;
}

/* Virtual are exactly the results that a later operation reads. */
static cudnnStatus_t check_virtual(const Graph *graph) {
    for (int i = 0; i < graph->tensor_count; i++) {
        bool between = graph->addition_count > 0 && i == graph_convolved(graph);
        for (int a = 0; a + 1 < graph->addition_count; a++)
            between |= i == graph->additions[a].y;
        if (graph->tensors[i].is_virtual != between)
            return cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN,
                              "tensor %lld: expected it to be %s: only what passes between operations is",
                              (long long)graph->tensors[i].id, between ? "virtual" : "in memory");
    }
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t graph_read(const Content *descriptor, Graph *graph) {
    int64_t count;
    Content *const *operations = content_values(descriptor, CUDNN_ATTR_OPERATIONGRAPH_OPS, &count);
    memset(graph, 0, sizeof *graph);
    CUDNN_TRY(read_convolution(operations[0], graph));
    for (int64_t i = 1; i < count; i++)
        CUDNN_TRY(read_addition(operations[i], graph));
    if (count > 1 && (graph->pass == GRAPH_BACKWARD_FILTER || graph->beta != 0))
        return cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN,
                          "additions to a filter's gradient, or to a convolution with beta");
    return check_virtual(graph);
}
