#include "kernels/backend.h"

#include <string.h>

#include "kernels/cpu/kernels_cpu.h"

#ifdef HAVE_CUDA /* set by the build */
#include "kernels/cuda/kernels_cuda.h"
#define CUDA_BACKENDS(ENTRY) ENTRY(cuda)
#else
#define CUDA_BACKENDS(ENTRY)
#endif

/* Every backend of this build; each has a function backend_<name>. */
#define BACKENDS(ENTRY) ENTRY(cpu) ENTRY(cpu_reference) CUDA_BACKENDS(ENTRY)

const Backend *backend_find(const char *name) {
#define ENTRY(backend)                                                                                       \
    if (strcmp(name, #backend) == 0)                                                                         \
        return backend_##backend();
    BACKENDS(ENTRY)
#undef ENTRY
    return NULL;
}

DataType backend_activation_type(const char *precision) {
    return strcmp(precision, "bf16") == 0 ? DATA_BF16 : DATA_F32;
}

const char *backend_names(void) {
#define ENTRY(backend) " " #backend
    return &BACKENDS(ENTRY)[1]; /* without the first space */
#undef ENTRY
}

const OpKernel *backend_kernel(const Backend *backend, OpKind kind) {
    for (const OpKernel *const *kernel = backend->kernels; *kernel; kernel++)
        if ((*kernel)->kind == kind)
            return *kernel;
    return NULL;
}
