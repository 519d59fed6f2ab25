/* cuDNN's backend descriptors: which attributes each has, setting, finalising and reading them. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cuda_emulation/cudnn_emulation.h"

enum { MAX_ATTRIBUTES = 12, MESSAGE_BYTES = 512, LIVE = 0x43554e4e, MAX_COUNT = 1 << 16 };

typedef struct Attribute {
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    int64_t count;
    void *values;
} Attribute;

struct Content {
    cudnnBackendDescriptorType_t type;
    int references;
    bool finalized;
    int attribute_count;
    Attribute attributes[MAX_ATTRIBUTES];
};

/* What cudnnBackendDescriptor_t points to. */
typedef struct Descriptor {
    uint32_t live;
    Content *content;
} Descriptor;

static _Thread_local char last_message[MESSAGE_BYTES];

cudnnStatus_t cudnn_fail(cudnnStatus_t status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_message, sizeof last_message, format, arguments);
    va_end(arguments);
    return status;
}

void cudnnGetLastErrorString(char *message, size_t max_size) {
    snprintf(message, max_size, "%s", last_message);
    last_message[0] = '\0';
}

/* ---- the attributes of each descriptor ---- */

/* May it be set by the caller; must it be, before the descriptor is finalised; can only be read. */
typedef enum Use { OPTIONAL, REQUIRED, COMPUTED } Use;

typedef struct Rule {
    cudnnBackendDescriptorType_t descriptor;
    cudnnBackendAttributeName_t attribute;
    cudnnBackendAttributeType_t type;
    int least, most; /* values */
    Use use;
} Rule;

#define RULE(descriptor, attribute, type, least, most, use)                                                  \
    { CUDNN_BACKEND_##descriptor##_DESCRIPTOR, CUDNN_ATTR_##attribute, CUDNN_TYPE_##type, least, most, use }
#define CONVOLUTION_RULES(operation, prefix, large, weights, small)                                          \
    RULE(operation, prefix##_CONV_DESC, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),                                 \
        RULE(operation, prefix##large, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),                                  \
        RULE(operation, prefix##weights, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),                                \
        RULE(operation, prefix##small, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),                                  \
        RULE(operation, prefix##_ALPHA, FLOAT, 1, 1, REQUIRED),                                              \
        RULE(operation, prefix##_BETA, FLOAT, 1, 1, REQUIRED)

static const Rule rules[] = {
    RULE(TENSOR, TENSOR_UNIQUE_ID, INT64, 1, 1, REQUIRED),
    RULE(TENSOR, TENSOR_DATA_TYPE, DATA_TYPE, 1, 1, REQUIRED),
    RULE(TENSOR, TENSOR_DIMENSIONS, INT64, GRAPH_DIMS, GRAPH_DIMS, REQUIRED),
    RULE(TENSOR, TENSOR_STRIDES, INT64, GRAPH_DIMS, GRAPH_DIMS, REQUIRED),
    RULE(TENSOR, TENSOR_BYTE_ALIGNMENT, INT64, 1, 1, REQUIRED),
    RULE(TENSOR, TENSOR_IS_VIRTUAL, BOOLEAN, 1, 1, OPTIONAL),
    RULE(CONVOLUTION, CONVOLUTION_COMP_TYPE, DATA_TYPE, 1, 1, REQUIRED),
    RULE(CONVOLUTION, CONVOLUTION_CONV_MODE, CONVOLUTION_MODE, 1, 1, REQUIRED),
    RULE(CONVOLUTION, CONVOLUTION_SPATIAL_DIMS, INT64, 1, 1, REQUIRED),
    RULE(CONVOLUTION, CONVOLUTION_DILATIONS, INT64, GRAPH_SPATIAL, GRAPH_SPATIAL, REQUIRED),
    RULE(CONVOLUTION, CONVOLUTION_FILTER_STRIDES, INT64, GRAPH_SPATIAL, GRAPH_SPATIAL, REQUIRED),
    RULE(CONVOLUTION, CONVOLUTION_PRE_PADDINGS, INT64, GRAPH_SPATIAL, GRAPH_SPATIAL, REQUIRED),
    RULE(CONVOLUTION, CONVOLUTION_POST_PADDINGS, INT64, GRAPH_SPATIAL, GRAPH_SPATIAL, REQUIRED),
    CONVOLUTION_RULES(OPERATION_CONVOLUTION_FORWARD, OPERATION_CONVOLUTION_FORWARD, _X, _W, _Y),
    CONVOLUTION_RULES(OPERATION_CONVOLUTION_BACKWARD_DATA, OPERATION_CONVOLUTION_BWD_DATA, _DX, _W, _DY),
    CONVOLUTION_RULES(OPERATION_CONVOLUTION_BACKWARD_FILTER, OPERATION_CONVOLUTION_BWD_FILTER, _X, _DW, _DY),
    RULE(POINTWISE, POINTWISE_MODE, POINTWISE_MODE, 1, 1, REQUIRED),
    RULE(POINTWISE, POINTWISE_MATH_PREC, DATA_TYPE, 1, 1, REQUIRED),
    RULE(OPERATION_POINTWISE, OPERATION_POINTWISE_PW_DESCRIPTOR, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),
    RULE(OPERATION_POINTWISE, OPERATION_POINTWISE_XDESC, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),
    RULE(OPERATION_POINTWISE, OPERATION_POINTWISE_BDESC, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),
    RULE(OPERATION_POINTWISE, OPERATION_POINTWISE_YDESC, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),
    RULE(OPERATION_POINTWISE, OPERATION_POINTWISE_ALPHA1, FLOAT, 1, 1, OPTIONAL),
    RULE(OPERATION_POINTWISE, OPERATION_POINTWISE_ALPHA2, FLOAT, 1, 1, OPTIONAL),
    RULE(OPERATIONGRAPH, OPERATIONGRAPH_OPS, BACKEND_DESCRIPTOR, 1, 1 + GRAPH_ADDITIONS, REQUIRED),
    RULE(DEVICEPROP, DEVICEPROP_HANDLE, HANDLE, 1, 1, OPTIONAL),
    RULE(DEVICEPROP, DEVICEPROP_JSON_REPRESENTATION, CHAR, 1, MAX_COUNT, OPTIONAL),
    RULE(ENGINEHEUR, ENGINEHEUR_OPERATION_GRAPH, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),
    RULE(ENGINEHEUR, ENGINEHEUR_MODE, HEUR_MODE, 1, 1, REQUIRED),
    RULE(ENGINEHEUR, ENGINEHEUR_DEVICEPROP, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),
    RULE(ENGINEHEUR, ENGINEHEUR_RESULTS, BACKEND_DESCRIPTOR, 0, MAX_COUNT, COMPUTED),
    RULE(ENGINE, ENGINE_OPERATION_GRAPH, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),
    RULE(ENGINE, ENGINE_GLOBAL_INDEX, INT64, 1, 1, REQUIRED),
    RULE(ENGINE, ENGINE_DEVICEPROP, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),
    RULE(ENGINE, ENGINE_NUMERICAL_NOTE, NUMERICAL_NOTE, 0, MAX_COUNT, COMPUTED),
    RULE(ENGINE, ENGINE_BEHAVIOR_NOTE, BEHAVIOR_NOTE, 0, MAX_COUNT, COMPUTED),
    RULE(KNOB_CHOICE, KNOB_CHOICE_KNOB_TYPE, KNOB_TYPE, 1, 1, REQUIRED),
    RULE(KNOB_CHOICE, KNOB_CHOICE_KNOB_VALUE, INT64, 1, 1, REQUIRED),
    RULE(ENGINECFG, ENGINECFG_ENGINE, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),
    RULE(ENGINECFG, ENGINECFG_KNOB_CHOICES, BACKEND_DESCRIPTOR, 1, MAX_COUNT, OPTIONAL),
    RULE(EXECUTION_PLAN, EXECUTION_PLAN_ENGINE_CONFIG, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),
    RULE(EXECUTION_PLAN, EXECUTION_PLAN_DEVICEPROP, BACKEND_DESCRIPTOR, 1, 1, REQUIRED),
    RULE(EXECUTION_PLAN, EXECUTION_PLAN_WORKSPACE_SIZE, INT64, 1, 1, COMPUTED),
    RULE(VARIANT_PACK, VARIANT_PACK_UNIQUE_IDS, INT64, 1, GRAPH_TENSORS, REQUIRED),
    RULE(VARIANT_PACK, VARIANT_PACK_DATA_POINTERS, VOID_PTR, 1, GRAPH_TENSORS, REQUIRED),
    RULE(VARIANT_PACK, VARIANT_PACK_WORKSPACE, VOID_PTR, 1, 1, OPTIONAL),
};
enum { RULES = sizeof rules / sizeof *rules };

static const Rule *find_rule(cudnnBackendDescriptorType_t descriptor, cudnnBackendAttributeName_t attribute) {
    for (int i = 0; i < RULES; i++)
        if (rules[i].descriptor == descriptor && rules[i].attribute == attribute)
            return &rules[i];
    return NULL;
}

static size_t value_bytes(cudnnBackendAttributeType_t type) {
    switch ((int)type) {
    case CUDNN_TYPE_BOOLEAN:
    case CUDNN_TYPE_CHAR:
        return 1;
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
        return sizeof(int64_t);
    default:
        return sizeof(int); /* float and the enumerations */
    }
}

/* ---- contents ---- */

cudnnBackendDescriptorType_t content_type(const Content *content) {
    return content->type;
}

Content *content_create(cudnnBackendDescriptorType_t type) {
    Content *content = calloc(1, sizeof *content);
    if (!content)
        abort();
    content->type = type;
    content->references = 1;
    return content;
}

Content *content_share(Content *content) {
    content->references++;
    return content;
}

static void attribute_clear(Attribute *attribute) {
    if (attribute->type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        for (int64_t i = 0; i < attribute->count; i++)
            content_release(((Content **)attribute->values)[i]);
    free(attribute->values);
    attribute->values = NULL;
}

void content_release(Content *content) {
    if (!content || --content->references > 0)
        return;
    for (int i = 0; i < content->attribute_count; i++)
        attribute_clear(&content->attributes[i]);
    free(content);
}

static Attribute *find_attribute(const Content *content, cudnnBackendAttributeName_t name) {
    for (int i = 0; i < content->attribute_count; i++)
        if (content->attributes[i].name == name)
            return (Attribute *)&content->attributes[i];
    return NULL;
}

void content_set(Content *content, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                 int64_t count, const void *values) {
    size_t bytes = (size_t)count * value_bytes(type);
    Attribute *attribute = find_attribute(content, name);
    void *copy = malloc(bytes ? bytes : 1);
    if (!copy || (!attribute && content->attribute_count == MAX_ATTRIBUTES))
        abort();
    memcpy(copy, values, bytes);
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        for (int64_t i = 0; i < count; i++)
            content_share(((Content **)copy)[i]);
    if (attribute)
        attribute_clear(attribute);
    else
        attribute = &content->attributes[content->attribute_count++];
    *attribute = (Attribute){name, type, count, copy};
}

const void *content_values(const Content *content, cudnnBackendAttributeName_t name, int64_t *count) {
    const Attribute *attribute = find_attribute(content, name);
    if (count)
        *count = attribute ? attribute->count : 0;
    return attribute ? attribute->values : NULL;
}

int64_t content_int64(const Content *content, cudnnBackendAttributeName_t name) {
    return *(const int64_t *)content_values(content, name, NULL);
}

int content_enum(const Content *content, cudnnBackendAttributeName_t name) {
    return *(const int *)content_values(content, name, NULL);
}

float content_float(const Content *content, cudnnBackendAttributeName_t name, float absent) {
    const float *value = content_values(content, name, NULL);
    return value ? *value : absent;
}

const Content *content_child(const Content *content, cudnnBackendAttributeName_t name) {
    return *(Content *const *)content_values(content, name, NULL);
}

/* ---- what the caller holds ---- */

static Descriptor *live(cudnnBackendDescriptor_t handle) {
    Descriptor *descriptor = handle;
    return descriptor && descriptor->live == LIVE ? descriptor : NULL;
}

cudnnStatus_t content_of(cudnnBackendDescriptor_t handle, cudnnBackendDescriptorType_t type,
                         const Content **content) {
    const Descriptor *descriptor = live(handle);
    if (!descriptor)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor, or a destroyed one");
    if (descriptor->content->type != type)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "descriptor of type %d, expected %d",
                          (int)descriptor->content->type, (int)type);
    if (!descriptor->content->finalized)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "descriptor of type %d is not finalised",
                          (int)type);
    *content = descriptor->content;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *handle) {
    bool known = type == CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR;
    Descriptor *descriptor;
    for (int i = 0; i < RULES; i++)
        known |= rules[i].descriptor == type;
    if (!known || !handle)
        return cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "descriptor of type %d: unknown to the emulation",
                          (int)type);
    descriptor = calloc(1, sizeof *descriptor);
    if (!descriptor)
        abort();
    descriptor->live = LIVE;
    descriptor->content = content_create(type);
    *handle = descriptor;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t handle) {
    Descriptor *descriptor = live(handle);
    if (!descriptor)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor, or a destroyed one");
    content_release(descriptor->content);
    descriptor->live = 0;
    free(descriptor);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t check_attribute(const Content *content, cudnnBackendAttributeName_t name,
                                     cudnnBackendAttributeType_t type, const Rule **rule) {
    *rule = find_rule(content->type, name);
    if (!*rule)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM, "attribute %d of descriptor %d: unknown to the emulation",
                          (int)name, (int)content->type);
    if ((*rule)->type != type)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE,
                          "attribute %d of descriptor %d: expected type %d, found %d", (int)name,
                          (int)content->type, (int)(*rule)->type, (int)type);
    return CUDNN_STATUS_SUCCESS;
}

/* The contents of descriptors that are set as attributes. */
static cudnnStatus_t set_descriptors(Content *content, const Rule *rule, int64_t count,
                                     void *const *handles) {
    Content **children = calloc((size_t)count, sizeof *children);
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    if (!children)
        abort();
    for (int64_t i = 0; i < count && status == CUDNN_STATUS_SUCCESS; i++) {
        const Descriptor *child = live(handles[i]);
        if (!child || !child->content->finalized)
            status =
                cudnn_fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED,
                           "attribute %d of descriptor %d: element %lld is no descriptor or not finalised",
                           (int)rule->attribute, (int)content->type, (long long)i);
        else
            children[i] = child->content;
    }
    if (status == CUDNN_STATUS_SUCCESS)
        content_set(content, rule->attribute, rule->type, count, children);
    free(children);
    return status;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t handle, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    Descriptor *descriptor = live(handle);
    const Rule *rule;
    if (!descriptor || !values)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "attribute %d: no descriptor or no values",
                          (int)name);
    if (descriptor->content->finalized)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM, "attribute %d: the descriptor is finalised", (int)name);
    CUDNN_TRY(check_attribute(descriptor->content, name, type, &rule));
    if (rule->use == COMPUTED)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM, "attribute %d can only be read", (int)name);
    if (count < rule->least || count > rule->most)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM, "attribute %d of descriptor %d: %lld values", (int)name,
                          (int)descriptor->content->type, (long long)count);
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        return set_descriptors(descriptor->content, rule, count, values);
    content_set(descriptor->content, name, type, count, values);
    return CUDNN_STATUS_SUCCESS;
}

/* ---- finalising ---- */

static cudnnStatus_t tensor_finalize(const Content *tensor) {
    const int64_t *dims = content_values(tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, NULL);
    const int64_t *strides = content_values(tensor, CUDNN_ATTR_TENSOR_STRIDES, NULL);
    int type = content_enum(tensor, CUDNN_ATTR_TENSOR_DATA_TYPE);
    int64_t alignment = content_int64(tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT);
    if (type != CUDNN_DATA_FLOAT && type != CUDNN_DATA_BFLOAT16)
        return cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "tensor of type %d", type);
    if (alignment < 1 || (alignment & (alignment - 1)) != 0)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM, "tensor aligned to %lld bytes", (long long)alignment);
    for (int i = 0; i < GRAPH_DIMS; i++)
        if (dims[i] < 1 || strides[i] < 1)
            return cudnn_fail(CUDNN_STATUS_BAD_PARAM, "tensor: dimension %d: size %lld, stride %lld", i,
                              (long long)dims[i], (long long)strides[i]);
    if (strides[1] != 1 || strides[3] < dims[1] || strides[2] < dims[3] * strides[3] ||
        strides[0] < dims[2] * strides[2])
        return cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED_LAYOUT, "tensor: not NHWC without overlaps");
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t pack_finalize(const Content *pack) {
    int64_t ids = 0, pointers = 0;
    (void)content_values(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &ids);
    (void)content_values(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, &pointers);
    if (ids != pointers)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM, "variant pack: %lld ids, %lld pointers", (long long)ids,
                          (long long)pointers);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t device_finalize(const Content *device) {
    bool handle = content_values(device, CUDNN_ATTR_DEVICEPROP_HANDLE, NULL);
    bool json = content_values(device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, NULL);
    if (handle == json)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM, "device properties: expected a handle or JSON");
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t finalize(Content *content) {
    Graph graph;
    switch ((int)content->type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
        return tensor_finalize(content);
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
        return graph_read(content, &graph);
    case CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR:
        return device_finalize(content);
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
        return heuristics_finalize(content);
    case CUDNN_BACKEND_ENGINE_DESCRIPTOR:
        return engine_finalize(content);
    case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR:
        return engine_config_finalize(content);
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
        return plan_finalize(content);
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
        return pack_finalize(content);
    default: /* said all by its attributes: graph_read looks at their values */
        return CUDNN_STATUS_SUCCESS;
    }
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t handle) {
    Descriptor *descriptor = live(handle);
    if (!descriptor)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor, or a destroyed one");
    if (descriptor->content->finalized)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM, "the descriptor is finalised already");
    for (int i = 0; i < RULES; i++)
        if (rules[i].descriptor == descriptor->content->type && rules[i].use == REQUIRED &&
            !find_attribute(descriptor->content, rules[i].attribute))
            return cudnn_fail(CUDNN_STATUS_BAD_PARAM, "descriptor of type %d: attribute %d is not set",
                              (int)descriptor->content->type, (int)rules[i].attribute);
    CUDNN_TRY(finalize(descriptor->content));
    descriptor->content->finalized = true;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- reading ---- */

/* Each of the caller's descriptors, of the right type and not finalised, becomes one of these. */
static cudnnStatus_t get_descriptors(const Attribute *attribute, int64_t count, void *const *handles) {
    for (int64_t i = 0; i < count; i++) {
        Content *found = ((Content **)attribute->values)[i];
        Descriptor *descriptor = live(handles[i]);
        if (!descriptor || descriptor->content->type != found->type)
            return cudnn_fail(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE,
                              "attribute %d: element %lld is no descriptor of type %d", (int)attribute->name,
                              (long long)i, (int)found->type);
        content_release(descriptor->content);
        found->finalized = true;
        descriptor->content = content_share(found);
    }
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const handle,
                                       cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                       int64_t capacity, int64_t *count, void *values) {
    const Descriptor *descriptor = live(handle);
    const Attribute *attribute;
    const Rule *rule;
    int64_t given;
    if (!descriptor)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor, or a destroyed one");
    if (!descriptor->content->finalized)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "descriptor of type %d is not finalised",
                          (int)descriptor->content->type);
    CUDNN_TRY(check_attribute(descriptor->content, name, type, &rule));
    attribute = find_attribute(descriptor->content, name);
    if (count)
        *count = attribute ? attribute->count : 0;
    if (!attribute || !values)
        return CUDNN_STATUS_SUCCESS;
    given = attribute->count < capacity ? attribute->count : capacity;
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        return get_descriptors(attribute, given, values);
    memcpy(values, attribute->values, (size_t)given * value_bytes(type));
    return CUDNN_STATUS_SUCCESS;
}
