/* Dynamic shared memory. */
#ifndef KERNELS_CUDA_SHARED_CUH
#define KERNELS_CUDA_SHARED_CUH

/* As many bytes as the kernel was launched with, 16-byte aligned. */
__device__ inline char *dynamic_shared() {
    extern __shared__ __align__(16) char dynamic_shared_bytes[];
    return dynamic_shared_bytes;
}

#endif
