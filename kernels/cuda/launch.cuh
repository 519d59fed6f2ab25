/* How kernels are launched: all of them go through cuda_launch. */
#ifndef KERNELS_CUDA_LAUNCH_CUH
#define KERNELS_CUDA_LAUNCH_CUH

#include <cuda_runtime.h>

#include "kernels/cuda/cuda_context.h"

/* Queues kernel(arguments...) on the context's stream, with shared_bytes of dynamic shared memory; does not
 * wait. STATUS_FAILURE: the launch was refused; the message starts with `name`. */
template <typename... Parameters, typename... Arguments>
Status cuda_launch(const char *name, void (*kernel)(Parameters...), dim3 blocks, dim3 threads,
                   size_t shared_bytes, Arguments... arguments) {
    cudaLaunchConfig_t config = {};
    config.gridDim = blocks;
    config.blockDim = threads;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = cuda_context()->stream;
    return cuda_check(cudaLaunchKernelEx(&config, kernel, arguments...), name);
}

#endif
