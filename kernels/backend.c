#include "kernels/backend.h"

#include <stdio.h>
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

Status backend_place(const Backend *backend, const void *host, size_t bytes, const void **placed,
                     void **owned) {
    Status status = STATUS_OK;
    *owned = NULL;
    *placed = host;
    if (backend->host_memory)
        return STATUS_OK;
    TRY(backend->allocate(owned, bytes));
    *placed = *owned;
    TRY(backend->copy_in(*owned, host, bytes));
done:
    return status;
}

Status backend_record(const Backend *backend, Status (*queue)(void *context), void *context,
                      void **recording) {
    Status status = STATUS_OK, ended;
    char message[1024];
    *recording = NULL;
    TRY(backend->record_begin());
    status = queue(context);
    snprintf(message, sizeof message, "%s", status_message());
    ended = backend->record_end(recording);
    if (status == STATUS_OK)
        return ended;
    backend->recording_release(*recording);
    *recording = NULL;
    return status_error(status, "%s", message);
done:
    return status;
}

UpdateStep update_step(const UpdateRates *rates) {
    return (UpdateStep){
        .beta1 = (float)rates->beta1,
        .rest1 = (float)(1 - rates->beta1),
        .beta2 = (float)rates->beta2,
        .rest2 = (float)(1 - rates->beta2),
        .keep = {1, (float)(1 - rates->learning_rate * rates->weight_decay)},
        .step_size = (float)(rates->learning_rate / rates->bias_correction1),
        .correction2 = (float)rates->bias_correction2_sqrt,
        .epsilon = (float)rates->epsilon,
        .follow = (float)(1 - rates->ema_decay),
        .clip_norm = rates->clip_norm,
    };
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
