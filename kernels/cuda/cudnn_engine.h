/* Inside cudnn_plan.c: cuDNN's descriptors, engines and their settings. */
#ifndef KERNELS_CUDA_CUDNN_ENGINE_H
#define KERNELS_CUDA_CUDNN_ENGINE_H

#include <cudnn.h>

#include "kernels/cuda/cuda_context.h"
#include "kernels/cuda/cudnn_plan.h"

/* Creates a backend descriptor, NULL after a failure; the caller releases it. Releasing NULL is fine. */
Status cudnn_descriptor_create(cudnnBackendDescriptor_t *descriptor, cudnnBackendDescriptorType_t type);
void cudnn_descriptor_release(cudnnBackendDescriptor_t *descriptor);

/* Statements that leave through `done:` on failure. */
#define CUDNN_SET(descriptor, attribute, type, count, values)                                                \
    TRY(CHECK_CUDNN(cudnnBackendSetAttribute((descriptor), (attribute), (type), (count), (values))))
#define CUDNN_FINALIZE(descriptor) TRY(CHECK_CUDNN(cudnnBackendFinalize(descriptor)))

/* What cuDNN notes about an engine. */
typedef struct CudnnNotes {
    bool numerical[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    bool runtime_compiled;
} CudnnNotes;

/* The engine of a configuration: its number, its knobs and its notes. */
Status cudnn_engine_read(cudnnBackendDescriptor_t config, CudnnEngine *engine, CudnnNotes *notes);

/* The rules of cudnn_plan.h; counts the first that refuses. */
bool cudnn_engine_allowed(const CudnnConvolution *convolution, const CudnnEngine *engine,
                          const CudnnNotes *notes, CudnnCandidates *candidates);

bool cudnn_engine_equal(const CudnnEngine *a, const CudnnEngine *b);

/* A configuration of a remembered engine for an operation graph. The caller releases it. */
Status cudnn_engine_config(cudnnBackendDescriptor_t *config, const CudnnEngine *engine,
                           cudnnBackendDescriptor_t graph, cudnnBackendDescriptor_t device);

#endif
