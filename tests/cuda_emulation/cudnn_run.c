/* Runs a plan: operands become dense floats, each operation computes on those, results are rounded to the
 * type of their tensor. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/bf16.h"
#include "tests/cuda_emulation/cudnn_emulation.h"
#include "tests/cuda_emulation/emulation.h"

/* To the nearest number with the 10 bits of mantissa of TF32, ties to even; NaN stays NaN. */
static float tf32_of(float value) {
    enum { DROPPED_BITS = 13 };
    uint32_t word;
    if (!isfinite(value))
        return value;
    memcpy(&word, &value, sizeof word);
    word += (1u << (DROPPED_BITS - 1)) - 1 + (word >> DROPPED_BITS & 1);
    word = word >> DROPPED_BITS << DROPPED_BITS;
    memcpy(&value, &word, sizeof value);
    return value;
}

static int64_t element_count(const GraphTensor *tensor) {
    return tensor->dims[0] * tensor->dims[1] * tensor->dims[2] * tensor->dims[3];
}

static float *allocate(const GraphTensor *tensor) {
    float *values = malloc((size_t)element_count(tensor) * sizeof *values);
    if (!values)
        abort();
    return values;
}

static void *at(const GraphTensor *tensor, void *memory, int64_t offset) {
    return (char *)memory + (size_t)offset * graph_element_bytes(tensor->type);
}

/* The memory of pixel i, counted over samples, rows and columns. */
static void *pixel(const GraphTensor *tensor, void *memory, int64_t i) {
    int64_t x = i % tensor->dims[3], y = i / tensor->dims[3] % tensor->dims[2];
    int64_t n = i / tensor->dims[3] / tensor->dims[2];
    return at(tensor, memory, n * tensor->strides[0] + y * tensor->strides[2] + x * tensor->strides[3]);
}

static int64_t pixel_count(const GraphTensor *tensor) {
    return element_count(tensor) / tensor->dims[1];
}

/* (samples, H, W, C) without gaps. The caller frees it. */
static float *load(const GraphTensor *tensor, void *memory) {
    int64_t channels = tensor->dims[1];
    float *values = allocate(tensor);
    for (int64_t i = 0; i < pixel_count(tensor); i++) {
        const void *from = pixel(tensor, memory, i);
        emulation_reads(from, (size_t)channels * graph_element_bytes(tensor->type));
        if (tensor->type == CUDNN_DATA_FLOAT)
            memcpy(values + i * channels, from, (size_t)channels * sizeof *values);
        else
            for (int64_t c = 0; c < channels; c++)
                values[i * channels + c] = bf16_value(((const uint16_t *)from)[c]);
    }
    return values;
}

static void store(const GraphTensor *tensor, const float *values, void *memory) {
    int64_t channels = tensor->dims[1];
    for (int64_t i = 0; i < pixel_count(tensor); i++) {
        void *to = pixel(tensor, memory, i);
        emulation_writes(to, (size_t)channels * graph_element_bytes(tensor->type));
        if (tensor->type == CUDNN_DATA_FLOAT)
            memcpy(to, values + i * channels, (size_t)channels * sizeof *values);
        else
            for (int64_t c = 0; c < channels; c++)
                ((uint16_t *)to)[c] = bf16_of(values[i * channels + c]);
    }
}

/* ---- operations; values[i] belongs to graph.tensors[i] ---- */

static void round_factors(const Plan *plan, const GraphTensor *tensor, float *values) {
    if (plan->arithmetic == ARITHMETIC_TF32)
        for (int64_t i = 0; i < element_count(tensor); i++)
            values[i] = tf32_of(values[i]);
}

/* What passes on to the next operation has been rounded to the tensor's type. */
static void round_result(const GraphTensor *tensor, float *values) {
    if (tensor->type == CUDNN_DATA_BFLOAT16)
        for (int64_t i = 0; i < element_count(tensor); i++)
            values[i] = bf16_value(bf16_of(values[i]));
}

static void scale_result(const Plan *plan, void *const pointers[GRAPH_TENSORS], float *result) {
    const Graph *graph = &plan->graph;
    int index = graph_convolved(graph);
    const GraphTensor *tensor = &graph->tensors[index];
    float *before = graph->beta != 0 ? load(tensor, pointers[index]) : NULL;
    for (int64_t i = 0; i < element_count(tensor); i++) {
        result[i] = graph->alpha * result[i] + (before ? graph->beta * before[i] : 0);
        if (plan->arithmetic == ARITHMETIC_WRONG)
            result[i] = NAN;
    }
    round_result(tensor, result);
    free(before);
}

static void convolve(const Plan *plan, void *const pointers[GRAPH_TENSORS], float *values[GRAPH_TENSORS]) {
    const Graph *graph = &plan->graph;
    const int operands[] = {graph->large, graph->weights, graph->small};
    const int64_t *large = graph->tensors[graph->large].dims, *small = graph->tensors[graph->small].dims;
    const int64_t *weights = graph->tensors[graph->weights].dims;
    DenseConvolution c = {.samples = large[0],
                          .large_h = large[2],
                          .large_w = large[3],
                          .large_c = large[1],
                          .small_h = small[2],
                          .small_w = small[3],
                          .small_c = small[1],
                          .rows = weights[2],
                          .columns = weights[3],
                          .stride = {graph->stride[0], graph->stride[1]},
                          .pad = {graph->pad[0], graph->pad[1]},
                          .backwards = plan->backwards};
    for (size_t i = 0; i < sizeof operands / sizeof *operands; i++) {
        const GraphTensor *tensor = &graph->tensors[operands[i]];
        if (operands[i] == graph_convolved(graph)) {
            values[operands[i]] = allocate(tensor);
            continue;
        }
        values[operands[i]] = load(tensor, pointers[operands[i]]);
        round_factors(plan, tensor, values[operands[i]]);
    }
    if (graph->pass == GRAPH_FORWARD)
        dense_forward(&c, values[graph->large], values[graph->weights], values[graph->small]);
    else if (graph->pass == GRAPH_BACKWARD_DATA)
        dense_backward_data(&c, values[graph->large], values[graph->weights], values[graph->small]);
    else
        dense_backward_filter(&c, values[graph->large], values[graph->weights], values[graph->small]);
    scale_result(plan, pointers, values[graph_convolved(graph)]);
}

/* The index in a tensor with dimensions of 1 of what stands at pixel i and channel c of another. */
static int64_t repeated(const GraphTensor *from, const GraphTensor *to, int64_t i, int64_t c) {
    int64_t x = i % to->dims[3], y = i / to->dims[3] % to->dims[2], n = i / to->dims[3] / to->dims[2];
    n = from->dims[0] == 1 ? 0 : n;
    y = from->dims[2] == 1 ? 0 : y;
    x = from->dims[3] == 1 ? 0 : x;
    c = from->dims[1] == 1 ? 0 : c;
    return ((n * from->dims[2] + y) * from->dims[3] + x) * from->dims[1] + c;
}

static void add(const Graph *graph, const GraphAddition *addition, void *const pointers[GRAPH_TENSORS],
                float *values[GRAPH_TENSORS]) {
    const GraphTensor *y = &graph->tensors[addition->y], *b = &graph->tensors[addition->b];
    const int operands[] = {addition->x, addition->b};
    for (size_t i = 0; i < sizeof operands / sizeof *operands; i++)
        if (!values[operands[i]])
            values[operands[i]] = load(&graph->tensors[operands[i]], pointers[operands[i]]);
    values[addition->y] = allocate(y);
    for (int64_t i = 0; i < pixel_count(y); i++)
        for (int64_t c = 0; c < y->dims[1]; c++)
            values[addition->y][i * y->dims[1] + c] =
                addition->alpha1 * values[addition->x][i * y->dims[1] + c] +
                addition->alpha2 * values[addition->b][repeated(b, y, i, c)];
    round_result(y, values[addition->y]);
}

void plan_run(const Plan *plan, void *const pointers[GRAPH_TENSORS], void *workspace) {
    const Graph *graph = &plan->graph;
    float *values[GRAPH_TENSORS] = {NULL};
    int output = graph_output(graph);
    if (plan->workspace_bytes > 0) {
        emulation_writes(workspace, (size_t)plan->workspace_bytes);
        memset(workspace, 0xff, (size_t)plan->workspace_bytes); /* NaN in every type */
    }
    convolve(plan, pointers, values);
    for (int i = 0; i < graph->addition_count; i++)
        add(graph, &graph->additions[i], pointers, values);
    store(&graph->tensors[output], values[output], pointers[output]);
    for (int i = 0; i < graph->tensor_count; i++)
        free(values[i]);
}
