/* Convolutions by oneDNN, single-threaded. The one file that knows oneDNN, and where its versions 2 and 3
 * differ. */
#include <dnnl.h>
#include <dnnl_debug.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cpu/convolution.h"
#include "kernels/cpu/kernels_cpu.h"

#define TRY_ONEDNN(call)                                                                                     \
    do {                                                                                                     \
        dnnl_status_t code_ = (call);                                                                        \
        if (code_ != dnnl_success)                                                                           \
            FAIL(STATUS_FAILURE, "oneDNN: %s (%s)", dnnl_status2str(code_), #call);                          \
    } while (0)

enum { DIMENSIONS = 4, SPATIAL = 2, ALIGNMENT = 64 };

/* What a primitive wants its tensors to look like; the descriptors live as long as the primitive's
 * descriptor. */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t Layout;
#else
typedef const dnnl_memory_desc_t *Layout;
#endif

typedef struct OnednnConvolution {
    Convolution base;
    ConvolutionPass pass;
    dnnl_engine_t engine;
    dnnl_primitive_desc_t description, reorder_description;
    dnnl_primitive_t primitive,
        reorder; /* reorder: plain -> packed weights, or back for the weights' gradient */
    Layout large, weights, bias, small, plain, scratchpad, reorder_scratchpad;
    size_t scratchpad_offset,
        reorder_scratchpad_offset; /* in scratch; the weights' gradient is at its start */
} OnednnConvolution;

/* ---- where oneDNN 2 and 3 differ ---- */

typedef struct ConvolutionTensors {
    dnnl_memory_desc_t large, weights, plain, bias, small;
} ConvolutionTensors;

static dnnl_status_t tensor_init(dnnl_memory_desc_t *tensor, int dimensions, const dnnl_dims_t sizes,
                                 dnnl_format_tag_t tag) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_tag(tensor, dimensions, sizes, dnnl_f32, tag);
#else
    return dnnl_memory_desc_init_by_tag(tensor, dimensions, sizes, dnnl_f32, tag);
#endif
}

static void tensors_release(ConvolutionTensors *tensors) {
#if DNNL_VERSION_MAJOR >= 3
    dnnl_memory_desc_t all[] = {tensors->large, tensors->weights, tensors->plain, tensors->bias,
                                tensors->small};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i])
            (void)dnnl_memory_desc_destroy(all[i]);
#else
    (void)tensors; /* plain structs */
#endif
}

static dnnl_status_t describe_convolution(dnnl_primitive_desc_t *description,
                                          const ConvolutionTensors *tensors,
                                          const ConvolutionGeometry *geometry, ConvolutionPass pass,
                                          const_dnnl_primitive_attr_t attributes, dnnl_engine_t engine,
                                          const_dnnl_primitive_desc_t forward) {
    const dnnl_dims_t strides = {geometry->stride, geometry->stride};
    const dnnl_dims_t padding = {geometry->pad, geometry->pad};
    const dnnl_alg_kind_t algorithm = dnnl_convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
    const dnnl_dims_t dilations = {0, 0};
    dnnl_memory_desc_t bias = geometry->bias ? tensors->bias : NULL;
    switch (pass) {
    case CONVOLUTION_FORWARD:
        return dnnl_convolution_forward_primitive_desc_create(
            description, engine, dnnl_forward_training, algorithm, tensors->large, tensors->weights, bias,
            tensors->small, strides, dilations, padding, padding, attributes);
    case CONVOLUTION_BACKWARD_DATA:
        return dnnl_convolution_backward_data_primitive_desc_create(
            description, engine, algorithm, tensors->large, tensors->weights, tensors->small, strides,
            dilations, padding, padding, forward, attributes);
    case CONVOLUTION_BACKWARD_WEIGHTS:
        return dnnl_convolution_backward_weights_primitive_desc_create(
            description, engine, algorithm, tensors->large, tensors->weights, bias, tensors->small, strides,
            dilations, padding, padding, forward, attributes);
    }
    return dnnl_invalid_arguments;
#else
    dnnl_convolution_desc_t operation;
    const dnnl_memory_desc_t *bias = geometry->bias ? &tensors->bias : NULL;
    dnnl_status_t code = dnnl_invalid_arguments;
    switch (pass) {
    case CONVOLUTION_FORWARD:
        code = dnnl_convolution_forward_desc_init(&operation, dnnl_forward_training, algorithm,
                                                  &tensors->large, &tensors->weights, bias, &tensors->small,
                                                  strides, padding, padding);
        break;
    case CONVOLUTION_BACKWARD_DATA:
        code = dnnl_convolution_backward_data_desc_init(&operation, algorithm, &tensors->large,
                                                        &tensors->weights, &tensors->small, strides, padding,
                                                        padding);
        break;
    case CONVOLUTION_BACKWARD_WEIGHTS:
        code = dnnl_convolution_backward_weights_desc_init(&operation, algorithm, &tensors->large,
                                                           &tensors->weights, bias, &tensors->small, strides,
                                                           padding, padding);
        break;
    }
    if (code != dnnl_success)
        return code;
    return dnnl_primitive_desc_create(description, &operation, attributes, engine, forward);
#endif
}

/* The weights' plain layout, kept by the reorder's descriptor. */
static dnnl_status_t describe_reorder(dnnl_primitive_desc_t *description, Layout from, Layout to,
                                      const_dnnl_primitive_attr_t attributes, dnnl_engine_t engine) {
    return dnnl_reorder_primitive_desc_create(description, from, engine, to, engine, attributes);
}

static Layout plain_layout(const ConvolutionTensors *tensors) {
#if DNNL_VERSION_MAJOR >= 3
    return tensors->plain;
#else
    return &tensors->plain;
#endif
}

/* ---- the same in both ---- */

static Status tensors_create(ConvolutionTensors *tensors, const ConvolutionGeometry *geometry) {
    Status status = STATUS_OK;
    const dnnl_dims_t large = {geometry->samples, geometry->large_c, geometry->large_h, geometry->large_w};
    const dnnl_dims_t small = {geometry->samples, geometry->small_c, geometry->small_h, geometry->small_w};
    const dnnl_dims_t weights = {geometry->small_c, geometry->large_c, geometry->kernel, geometry->kernel};
    const dnnl_dims_t bias = {geometry->small_c};
    TRY_ONEDNN(tensor_init(&tensors->large, DIMENSIONS, large, dnnl_nhwc));
    TRY_ONEDNN(tensor_init(&tensors->small, DIMENSIONS, small, dnnl_nhwc));
    TRY_ONEDNN(tensor_init(&tensors->weights, DIMENSIONS, weights, dnnl_format_tag_any));
    TRY_ONEDNN(tensor_init(&tensors->plain, DIMENSIONS, weights, dnnl_oihw));
    TRY_ONEDNN(tensor_init(&tensors->bias, 1, bias, dnnl_x));
done:
    return status;
}

static size_t aligned(size_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t layout_bytes(Layout layout) {
    return layout ? dnnl_memory_desc_get_size(layout) : 0;
}

/* Reads from the finished descriptors which layout each tensor has, and cuts up the scratch memory. */
static void adopt_layouts(OnednnConvolution *convolution) {
    const_dnnl_primitive_desc_t description = convolution->description,
                                reorder = convolution->reorder_description;
    bool forward = convolution->pass == CONVOLUTION_FORWARD,
         data = convolution->pass == CONVOLUTION_BACKWARD_DATA;
    convolution->large =
        dnnl_primitive_desc_query_md(description, data ? dnnl_query_diff_src_md : dnnl_query_src_md, 0);
    convolution->small =
        dnnl_primitive_desc_query_md(description, forward ? dnnl_query_dst_md : dnnl_query_diff_dst_md, 0);
    if (forward || data)
        convolution->weights = dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0);
    else
        convolution->weights = dnnl_primitive_desc_query_md(description, dnnl_query_diff_weights_md, 0);
    if (forward)
        convolution->bias = dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 1);
    else if (!data)
        convolution->bias = dnnl_primitive_desc_query_md(description, dnnl_query_diff_weights_md, 1);
    convolution->scratchpad = dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
    convolution->plain =
        dnnl_primitive_desc_query_md(reorder, forward || data ? dnnl_query_src_md : dnnl_query_dst_md, 0);
    convolution->reorder_scratchpad = dnnl_primitive_desc_query_md(reorder, dnnl_query_scratchpad_md, 0);

    size_t weights_bytes = forward || data ? 0 : layout_bytes(convolution->weights);
    convolution->scratchpad_offset = aligned(weights_bytes);
    convolution->reorder_scratchpad_offset =
        convolution->scratchpad_offset + aligned(layout_bytes(convolution->scratchpad));
    convolution->base.packed_bytes = forward || data ? layout_bytes(convolution->weights) : 0;
    convolution->base.scratch_bytes =
        convolution->reorder_scratchpad_offset + aligned(layout_bytes(convolution->reorder_scratchpad));
}

static Status create_primitives(OnednnConvolution *convolution, const ConvolutionGeometry *geometry) {
    Status status = STATUS_OK;
    ConvolutionTensors tensors = {0};
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t forward = NULL;
    TRY(tensors_create(&tensors, geometry));
    TRY_ONEDNN(dnnl_engine_create(&convolution->engine, dnnl_cpu, 0));
    TRY_ONEDNN(dnnl_primitive_attr_create(&attributes));
    TRY_ONEDNN(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user));

    if (convolution->pass != CONVOLUTION_FORWARD)
        TRY_ONEDNN(describe_convolution(&forward, &tensors, geometry, CONVOLUTION_FORWARD, attributes,
                                        convolution->engine, NULL));
    TRY_ONEDNN(describe_convolution(&convolution->description, &tensors, geometry, convolution->pass,
                                    attributes, convolution->engine, forward));
    TRY_ONEDNN(dnnl_primitive_desc_query(convolution->description, dnnl_query_impl_info_str, 0,
                                         &convolution->base.implementation));
    TRY_ONEDNN(dnnl_primitive_create(&convolution->primitive, convolution->description));

    Layout plain = plain_layout(&tensors);
    if (convolution->pass == CONVOLUTION_BACKWARD_WEIGHTS) {
        Layout packed = dnnl_primitive_desc_query_md(convolution->description, dnnl_query_diff_weights_md, 0);
        TRY_ONEDNN(describe_reorder(&convolution->reorder_description, packed, plain, attributes,
                                    convolution->engine));
    } else {
        Layout packed = dnnl_primitive_desc_query_md(convolution->description, dnnl_query_weights_md, 0);
        TRY_ONEDNN(describe_reorder(&convolution->reorder_description, plain, packed, attributes,
                                    convolution->engine));
    }
    TRY_ONEDNN(dnnl_primitive_create(&convolution->reorder, convolution->reorder_description));
    adopt_layouts(convolution);
done:
    if (forward)
        (void)dnnl_primitive_desc_destroy(forward);
    if (attributes)
        (void)dnnl_primitive_attr_destroy(attributes);
    tensors_release(&tensors);
    return status;
}

/* One tensor of an execution. */
typedef struct Argument {
    int name;
    Layout layout;
    void *data;
} Argument;

/* Executes on the calling thread alone. The memory objects are made for this call because several threads
 * share the primitive; that costs about a microsecond. */
static Status execute(dnnl_primitive_t primitive, dnnl_engine_t engine, int count,
                      const Argument *arguments) {
    enum { MAX_ARGUMENTS = 6 };
    Status status = STATUS_OK;
    dnnl_stream_t stream = NULL;
    dnnl_exec_arg_t list[MAX_ARGUMENTS];
    int made = 0;
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    for (int i = 0; i < count; i++) {
        if (!layout_bytes(arguments[i].layout))
            continue;
        TRY_ONEDNN(dnnl_memory_create(&list[made].memory, arguments[i].layout, engine, arguments[i].data));
        list[made++].arg = arguments[i].name;
    }
    TRY_ONEDNN(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
    TRY_ONEDNN(dnnl_primitive_execute(primitive, stream, made, list));
    TRY_ONEDNN(dnnl_stream_wait(stream));
done:
    if (stream)
        (void)dnnl_stream_destroy(stream);
    while (made > 0)
        (void)dnnl_memory_destroy(list[--made].memory);
    omp_set_num_threads(threads);
    return status;
}

static Status pack(const Convolution *self, const float *plain, void *packed) {
    const OnednnConvolution *convolution = (const OnednnConvolution *)self;
    Status status = STATUS_OK;
    void *scratch = NULL;
    size_t scratch_bytes = layout_bytes(convolution->reorder_scratchpad);
    if (scratch_bytes && !(scratch = aligned_alloc(ALIGNMENT, aligned(scratch_bytes))))
        FAIL(STATUS_FAILURE, "out of memory: %zu bytes to re-lay convolution weights", scratch_bytes);
    const Argument arguments[] = {
        {DNNL_ARG_FROM, convolution->plain, (void *)(uintptr_t)plain},
        {DNNL_ARG_TO, convolution->weights, packed},
        {DNNL_ARG_SCRATCHPAD, convolution->reorder_scratchpad, scratch},
    };
    TRY(execute(convolution->reorder, convolution->engine, 3, arguments));
done:
    free(scratch);
    return status;
}

static Status run_backward_weights(const OnednnConvolution *convolution, float *large, float *plain,
                                   float *bias, float *small, char *scratch) {
    Status status = STATUS_OK;
    const Argument gradient[] = {
        {DNNL_ARG_SRC, convolution->large, large},
        {DNNL_ARG_DIFF_DST, convolution->small, small},
        {DNNL_ARG_DIFF_WEIGHTS, convolution->weights, scratch},
        {DNNL_ARG_DIFF_BIAS, convolution->bias, bias},
        {DNNL_ARG_SCRATCHPAD, convolution->scratchpad, scratch + convolution->scratchpad_offset},
    };
    const Argument unpack[] = {
        {DNNL_ARG_FROM, convolution->weights, scratch},
        {DNNL_ARG_TO, convolution->plain, plain},
        {DNNL_ARG_SCRATCHPAD, convolution->reorder_scratchpad,
         scratch + convolution->reorder_scratchpad_offset},
    };
    TRY(execute(convolution->primitive, convolution->engine, 5, gradient));
    TRY(execute(convolution->reorder, convolution->engine, 3, unpack));
done:
    return status;
}

static Status run(const Convolution *self, float *large, void *weights, float *bias, const float *addend,
                  float *small, void *scratch) {
    Status status = STATUS_OK;
    const OnednnConvolution *convolution = (const OnednnConvolution *)self;
    if (convolution->pass == CONVOLUTION_BACKWARD_WEIGHTS)
        return run_backward_weights(convolution, large, weights, bias, small, scratch);
    bool forward = convolution->pass == CONVOLUTION_FORWARD;
    const Argument arguments[] = {
        {forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_SRC, convolution->large, large},
        {DNNL_ARG_WEIGHTS, convolution->weights, weights},
        {DNNL_ARG_BIAS, convolution->bias, bias},
        {forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, convolution->small, small},
        {DNNL_ARG_SCRATCHPAD, convolution->scratchpad, (char *)scratch + convolution->scratchpad_offset},
    };
    TRY(execute(convolution->primitive, convolution->engine, 5, arguments));
    convolution_add(small, addend, (int64_t)(layout_bytes(convolution->small) / sizeof *small));
done:
    return status;
}

static void destroy(Convolution *self) {
    OnednnConvolution *convolution = (OnednnConvolution *)self;
    if (convolution->reorder)
        (void)dnnl_primitive_destroy(convolution->reorder);
    if (convolution->reorder_description)
        (void)dnnl_primitive_desc_destroy(convolution->reorder_description);
    if (convolution->primitive)
        (void)dnnl_primitive_destroy(convolution->primitive);
    if (convolution->description)
        (void)dnnl_primitive_desc_destroy(convolution->description);
    if (convolution->engine)
        (void)dnnl_engine_destroy(convolution->engine);
    free(convolution);
}

Status onednn_convolution_create(Convolution **result, const ConvolutionGeometry *geometry,
                                 ConvolutionPass pass) {
    Status status = STATUS_OK;
    OnednnConvolution *convolution = NULL;
    int threads = omp_get_max_threads();
    *result = NULL;
    TRY(ALLOCATE(&convolution, 1));
    convolution->pass = pass;
    convolution->base.pack = pack;
    convolution->base.run = run;
    convolution->base.destroy = destroy;
    /* A primitive made for several threads and run inside a parallel region computes wrong filter gradients.
     */
    omp_set_num_threads(1);
    TRY(create_primitives(convolution, geometry));
    *result = &convolution->base;
    convolution = NULL;
done:
    omp_set_num_threads(threads);
    if (convolution)
        destroy(&convolution->base);
    return status;
}

const char *cpu_library_description(void) {
    static char text[64];
    const dnnl_version_t *version = dnnl_version();
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    const char *name = isa >= dnnl_cpu_isa_avx512_core ? "AVX-512"
                       : isa >= dnnl_cpu_isa_avx2      ? "AVX2"
                                                       : "SSE/AVX";
    snprintf(text, sizeof text, "CPU, oneDNN %d.%d.%d, %s", version->major, version->minor, version->patch,
             name);
    return text;
}
