/* The plans of one process: each convolution is timed once, on the device, and shared by all ops that compute
 * it. A convolution with additions is timed by cuDNN's engines that add, and, against those, by the plan of
 * the convolution alone with a loop of our own behind it.
 *
 * What was chosen is remembered in a file per device model and cuDNN version, one JSON object a line, in
 * $XDG_CACHE_HOME/ddpm_mpi or ~/.cache/ddpm_mpi. Ranks take turns at the file: the first to need a
 * convolution times it, the others follow its choice, since two engines may differ in the last bits. Where
 * the file cannot be written, nothing is timed and cuDNN's own first choice is taken, which is the same on
 * every rank. */
#ifndef KERNELS_CUDA_CUDNN_PLANS_H
#define KERNELS_CUDA_CUDNN_PLANS_H

#include <cuda_runtime_api.h>

#include "kernels/cuda/cudnn_plan.h"

typedef struct CudnnPlans CudnnPlans;

/* handle is borrowed, bound to the context's stream; device_name and cuDNN's version name the file. Close
 * with NULL is fine. */
Status cudnn_plans_open(CudnnPlans **plans, struct cudnnContext *handle, const char *device_name);
void cudnn_plans_close(CudnnPlans *plans);

/* The plan of a convolution: owned by `plans`, valid until it is closed. (*plan)->epilogue is the
 * convolution's, or CUDNN_ADDS_NOTHING where the caller is to add by cuda_add_to_convolution. Synchronises.
 * STATUS_FAILURE: no engine of cuDNN's is usable, naming the convolution and what became of the proposals. */
Status cudnn_plans_get(CudnnPlans *plans, const CudnnConvolution *convolution, const CudnnPlan **plan);

#endif
