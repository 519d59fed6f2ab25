/* Inside the emulation of cuDNN's backend interface (cudnn_*.c): descriptors, what a graph of operations
 * means, the engines proposed for it, and how they compute it.
 *
 * Known are the calls, descriptors and attributes that kernels/cuda uses; all else is CUDNN_STATUS_BAD_PARAM
 * with a message, as is everything that the real library would refuse. */
#ifndef TESTS_CUDA_EMULATION_CUDNN_EMULATION_H
#define TESTS_CUDA_EMULATION_CUDNN_EMULATION_H

#include <cudnn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- errors ---- */

/* Returns `status`; the message is what cudnnGetLastErrorString gives next. */
cudnnStatus_t cudnn_fail(cudnnStatus_t status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Leaves the function with the status of a call that did not succeed. */
#define CUDNN_TRY(call)                                                                                      \
    do {                                                                                                     \
        cudnnStatus_t status_ = (call);                                                                      \
        if (status_ != CUDNN_STATUS_SUCCESS)                                                                 \
            return status_;                                                                                  \
    } while (0)

/* ---- descriptors ---- */

/* What a descriptor says. Descriptors set as attributes of others are shared, as in cuDNN: the caller's
 * handle may be destroyed before those that were given it. */
typedef struct Content Content;

cudnnBackendDescriptorType_t content_type(const Content *content);

/* A new content, not finalised, with one reference; and one reference less or more. */
Content *content_create(cudnnBackendDescriptorType_t type);
void content_release(Content *content);
Content *content_share(Content *content);

/* Sets an attribute without checks: type descriptor, values are Content pointers, shared. */
void content_set(Content *content, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                 int64_t count, const void *values);

/* The values of an attribute, NULL if it is not set; *count (may be NULL) of them. */
const void *content_values(const Content *content, cudnnBackendAttributeName_t name, int64_t *count);

/* The first value of an attribute that is one; or of one that may be absent. */
int64_t content_int64(const Content *content, cudnnBackendAttributeName_t name);
int content_enum(const Content *content, cudnnBackendAttributeName_t name);
float content_float(const Content *content, cudnnBackendAttributeName_t name, float absent);
const Content *content_child(const Content *content, cudnnBackendAttributeName_t name);

/* The content of a caller's descriptor, which must be of this type and finalised. */
cudnnStatus_t content_of(cudnnBackendDescriptor_t descriptor, cudnnBackendDescriptorType_t type,
                         const Content **content);

/* ---- graphs: one convolution pass, then any additions ---- */

enum { GRAPH_DIMS = 4, GRAPH_SPATIAL = 2, GRAPH_TENSORS = 12, GRAPH_ADDITIONS = 4 };

/* cuDNN's order of dimensions: samples, channels, height, width; of weights: outer, channels, rows, columns.
 */
typedef struct GraphTensor {
    int64_t id, dims[GRAPH_DIMS], strides[GRAPH_DIMS], alignment;
    cudnnDataType_t type;
    bool is_virtual;
} GraphTensor;

typedef enum GraphPass { GRAPH_FORWARD, GRAPH_BACKWARD_DATA, GRAPH_BACKWARD_FILTER } GraphPass;

/* y = alpha1 x + alpha2 b, dimensions of b being y's or 1; members are indices of tensors. */
typedef struct GraphAddition {
    int x, b, y;
    float alpha1, alpha2;
} GraphAddition;

/* Without pointers to descriptors: queued as it is. large is x or dx, small is y or dy. */
typedef struct Graph {
    int tensor_count;
    GraphTensor tensors[GRAPH_TENSORS];
    GraphPass pass;
    int large, weights, small;
    int64_t stride[GRAPH_SPATIAL], pad[GRAPH_SPATIAL];
    float alpha, beta;
    int addition_count;
    GraphAddition additions[GRAPH_ADDITIONS];
} Graph;

/* The tensor that the convolution computes, and the one that the graph writes. */
int graph_convolved(const Graph *graph);
int graph_output(const Graph *graph);

/* Reads a descriptor of an operation graph; refuses what is inconsistent, or not of this form. */
cudnnStatus_t graph_read(const Content *descriptor, Graph *graph);

/* Elements between a tensor's first and the one after its last, and bytes of one. */
int64_t graph_tensor_extent(const GraphTensor *tensor);
size_t graph_element_bytes(cudnnDataType_t type);

/* ---- engines ---- */

/* How an engine computes. */
typedef enum Arithmetic {
    ARITHMETIC_FLOAT, /* sums in float */
    ARITHMETIC_TF32,  /* float factors rounded to 10 bits of mantissa first */
    ARITHMETIC_WRONG, /* NaN: an engine that must not be used for what was asked */
} Arithmetic;

typedef struct Plan {
    Graph graph;
    Arithmetic arithmetic;
    bool backwards;          /* sums over the taps from the last to the first: other last bits */
    bool fails_to_run;       /* cudnnBackendExecute refuses */
    int64_t workspace_bytes; /* filled with NaN */
} Plan;

/* The finalisation of the descriptors that are about engines. */
cudnnStatus_t engine_finalize(Content *engine);
cudnnStatus_t engine_config_finalize(Content *config);
cudnnStatus_t heuristics_finalize(Content *heuristics);
cudnnStatus_t plan_finalize(Content *plan);

/* What a finalised plan does. */
cudnnStatus_t plan_read(const Content *descriptor, Plan *plan);

/* ---- execution ---- */

/* Runs a plan on device memory: pointers[i] belongs to graph.tensors[i], NULL for virtual ones. */
void plan_run(const Plan *plan, void *const pointers[GRAPH_TENSORS], void *workspace);

/* One pass on dense floats: large (samples, H, W, C), weights (K, R, S, C), small (samples, P, Q, K). */
typedef struct DenseConvolution {
    int64_t samples, large_h, large_w, large_c, small_h, small_w, small_c, rows, columns;
    int64_t stride[GRAPH_SPATIAL], pad[GRAPH_SPATIAL];
    bool backwards;
} DenseConvolution;

void dense_forward(const DenseConvolution *c, const float *large, const float *weights, float *small);
void dense_backward_data(const DenseConvolution *c, float *large, const float *weights, const float *small);
void dense_backward_filter(const DenseConvolution *c, const float *large, float *weights, const float *small);

#endif
