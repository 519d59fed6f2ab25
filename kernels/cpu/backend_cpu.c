/* The two CPU backends: which kernel runs which op, and host memory. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/cpu/kernels_cpu.h"

/* One entry per op, and no entry stands in for another backend's. */
static const OpKernel *const fast_kernels[] = {
    &kernel_loops_time_embedding,
    &kernel_loops_linear,
    &kernel_loops_linear_backward_data,
    &kernel_loops_linear_backward_parameters,
    &kernel_loops_silu,
    &kernel_loops_silu_backward,
    &kernel_cpu_conv2d,
    &kernel_cpu_conv2d_backward_data,
    &kernel_cpu_conv2d_backward_parameters,
    &kernel_cpu_conv_transpose2d,
    &kernel_cpu_conv_transpose2d_backward_data,
    &kernel_cpu_conv_transpose2d_backward_parameters,
    &kernel_fused_group_norm,
    &kernel_fused_group_norm_backward,
    &kernel_loops_add,
    &kernel_loops_concat,
    NULL,
};

static const OpKernel *const reference_kernels[] = {
#define OP(identifier, name, inputs, outputs) &kernel_reference_##name,
#include "kernels/ops.def"
#undef OP
    NULL,
};

enum { CACHE_LINE_BYTES = 64, HUGE_PAGE_BYTES = 2 << 20, PIECE_ELEMENTS = 16384 };

static Status memory_allocate(void **memory, size_t bytes) {
    /* From two huge pages on, rounding up wastes less than it gains in address translation. */
    bool large = bytes >= 2 * (size_t)HUGE_PAGE_BYTES;
    size_t unit = large ? HUGE_PAGE_BYTES : CACHE_LINE_BYTES;
    *memory = NULL;
    if (bytes <= SIZE_MAX - unit) {
        size_t rounded = bytes ? (bytes + unit - 1) / unit * unit : unit;
        *memory = aligned_alloc(unit, rounded);
        if (*memory && large)
            (void)madvise(*memory, rounded,
                          MADV_HUGEPAGE); /* only advice: refused where huge pages are off */
        if (*memory)
            memset(*memory, 0, rounded);
    }
    if (!*memory)
        return status_error(STATUS_FAILURE, "out of memory: %zu bytes of host memory asked for", bytes);
    return STATUS_OK;
}

static void memory_release(void *memory) {
    free(memory);
}

static Status memory_copy(void *to, const void *from, size_t bytes) {
    if (bytes > 0)
        memcpy(to, from, bytes);
    return STATUS_OK;
}

static Status memory_clear(void *memory, size_t bytes) {
    memset(memory, 0, bytes);
    return STATUS_OK;
}

#define CPU_COMMON                                                                                           \
    .precisions = "fp32", .host_memory = true, .allocate = memory_allocate, .release = memory_release,       \
    .copy_in = memory_copy, .copy_out = memory_copy, .copy = memory_copy, .clear = memory_clear,             \
    .lay_out = cpu_lay_out, .gather = cpu_gather, .noise = cpu_noise, .loss = cpu_loss,                      \
    .accumulate = cpu_accumulate, .collect = cpu_collect, .piece_elements = PIECE_ELEMENTS,                  \
    .narrow = cpu_narrow, .finish_gradient = cpu_finish_gradient, .plan_update = cpu_plan_update,            \
    .adamw = cpu_adamw, .residual = cpu_residual, .reverse = cpu_reverse

/* Constant but for the library's description, which is known at run time only. */
static Backend fast_backend = {.name = "cpu", .kernels = fast_kernels, CPU_COMMON};

static const Backend reference_backend = {
    .name = "cpu_reference",
    .description = "CPU, plain loops with double accumulation",
    .kernels = reference_kernels,
    CPU_COMMON,
};

static void describe_fast_backend(void) {
    fast_backend.description = cpu_library_description();
}

const Backend *backend_cpu(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, describe_fast_backend);
    return &fast_backend;
}

const Backend *backend_cpu_reference(void) {
    return &reference_backend;
}
