#include "kernels/cuda/cudnn_engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Status cudnn_descriptor_create(cudnnBackendDescriptor_t *descriptor, cudnnBackendDescriptorType_t type) {
    *descriptor = NULL;
    return CHECK_CUDNN(cudnnBackendCreateDescriptor(type, descriptor));
}

void cudnn_descriptor_release(cudnnBackendDescriptor_t *descriptor) {
    if (*descriptor)
        (void)cudnnBackendDestroyDescriptor(*descriptor);
    *descriptor = NULL;
}

static Status read_notes(cudnnBackendDescriptor_t engine, CudnnNotes *notes) {
    Status status = STATUS_OK;
    cudnnBackendNumericalNote_t numerical[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cudnnBackendBehaviorNote_t behavior[CUDNN_BEHAVIOR_NOTE_TYPE_COUNT];
    int64_t count = 0;
    memset(notes, 0, sizeof *notes);
    TRY(CHECK_CUDNN(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                             CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT,
                                             &count, numerical)));
    for (int64_t i = 0; i < count && i < CUDNN_NUMERICAL_NOTE_TYPE_COUNT; i++)
        if (numerical[i] < CUDNN_NUMERICAL_NOTE_TYPE_COUNT)
            notes->numerical[numerical[i]] = true;
    TRY(CHECK_CUDNN(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE,
                                             CUDNN_TYPE_BEHAVIOR_NOTE, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT, &count,
                                             behavior)));
    for (int64_t i = 0; i < count && i < CUDNN_BEHAVIOR_NOTE_TYPE_COUNT; i++)
        notes->runtime_compiled |= behavior[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
done:
    return status;
}

static Status read_knobs(cudnnBackendDescriptor_t config, CudnnEngine *engine) {
    Status status = STATUS_OK;
    cudnnBackendDescriptor_t choices[CUDNN_MAX_KNOBS] = {NULL};
    int64_t count = 0;
    for (int i = 0; i < CUDNN_MAX_KNOBS; i++)
        TRY(cudnn_descriptor_create(&choices[i], CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR));
    TRY(CHECK_CUDNN(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                             CUDNN_TYPE_BACKEND_DESCRIPTOR, CUDNN_MAX_KNOBS, &count,
                                             choices)));
    engine->knob_count = (int)(count < CUDNN_MAX_KNOBS ? count : CUDNN_MAX_KNOBS);
    for (int i = 0; i < engine->knob_count; i++) {
        cudnnBackendKnobType_t type;
        TRY(CHECK_CUDNN(cudnnBackendGetAttribute(choices[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE,
                                                 CUDNN_TYPE_KNOB_TYPE, 1, &count, &type)));
        TRY(CHECK_CUDNN(cudnnBackendGetAttribute(choices[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE,
                                                 CUDNN_TYPE_INT64, 1, &count, &engine->knob_values[i])));
        engine->knob_types[i] = (int32_t)type;
    }
done:
    for (int i = 0; i < CUDNN_MAX_KNOBS; i++)
        cudnn_descriptor_release(&choices[i]);
    return status;
}

Status cudnn_engine_read(cudnnBackendDescriptor_t config, CudnnEngine *engine, CudnnNotes *notes) {
    Status status = STATUS_OK;
    cudnnBackendDescriptor_t descriptor = NULL;
    int64_t count = 0;
    memset(engine, 0, sizeof *engine);
    TRY(cudnn_descriptor_create(&descriptor, CUDNN_BACKEND_ENGINE_DESCRIPTOR));
    TRY(CHECK_CUDNN(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                             CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &descriptor)));
    TRY(CHECK_CUDNN(cudnnBackendGetAttribute(descriptor, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1,
                                             &count, &engine->index)));
    TRY(read_notes(descriptor, notes));
    TRY(read_knobs(config, engine));
done:
    cudnn_descriptor_release(&descriptor);
    return status;
}

static bool uses_stream_k(const CudnnEngine *engine) {
    for (int i = 0; i < engine->knob_count; i++)
        if (engine->knob_types[i] == CUDNN_KNOB_TYPE_STREAM_K && engine->knob_values[i] != 0)
            return true;
    return false;
}

bool cudnn_engine_allowed(const CudnnConvolution *convolution, const CudnnEngine *engine,
                          const CudnnNotes *notes, CudnnCandidates *candidates) {
    const bool *note = notes->numerical;
    bool exact = convolution->type == DATA_F32 && !convolution->tf32;
    bool winograd = note[CUDNN_NUMERICAL_NOTE_WINOGRAD] || note[CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4] ||
                    note[CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6] ||
                    note[CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13];
    bool tensor_cores = note[CUDNN_NUMERICAL_NOTE_TENSOR_CORE];
    bool imprecise = note[CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS] ||
                     note[CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION];
    bool slot_dependent = convolution->pass != CUDNN_PASS_BACKWARD_WEIGHTS && uses_stream_k(engine);
    if (note[CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC])
        candidates->nondeterministic++;
    else if (imprecise || (exact ? tensor_cores : winograd))
        candidates->imprecise++;
    else if (slot_dependent)
        candidates->slot_dependent++;
    else if (notes->runtime_compiled)
        candidates->runtime_compiled++;
    else
        return true;
    return false;
}

bool cudnn_engine_equal(const CudnnEngine *a, const CudnnEngine *b) {
    return a->index == b->index && a->knob_count == b->knob_count &&
           memcmp(a->knob_types, b->knob_types, (size_t)a->knob_count * sizeof a->knob_types[0]) == 0 &&
           memcmp(a->knob_values, b->knob_values, (size_t)a->knob_count * sizeof a->knob_values[0]) == 0;
}

Status cudnn_engine_config(cudnnBackendDescriptor_t *config, const CudnnEngine *engine,
                           cudnnBackendDescriptor_t graph, cudnnBackendDescriptor_t device) {
    Status status = STATUS_OK;
    cudnnBackendDescriptor_t descriptor = NULL, choices[CUDNN_MAX_KNOBS] = {NULL};
    *config = NULL;
    TRY(cudnn_descriptor_create(&descriptor, CUDNN_BACKEND_ENGINE_DESCRIPTOR));
    CUDNN_SET(descriptor, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    CUDNN_SET(descriptor, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &engine->index);
    CUDNN_SET(descriptor, CUDNN_ATTR_ENGINE_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device);
    CUDNN_FINALIZE(descriptor);
    for (int i = 0; i < engine->knob_count; i++) {
        cudnnBackendKnobType_t type = (cudnnBackendKnobType_t)engine->knob_types[i];
        TRY(cudnn_descriptor_create(&choices[i], CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR));
        CUDNN_SET(choices[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
        CUDNN_SET(choices[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1,
                  &engine->knob_values[i]);
        CUDNN_FINALIZE(choices[i]);
    }
    TRY(cudnn_descriptor_create(config, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
    CUDNN_SET(*config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &descriptor);
    if (engine->knob_count > 0)
        CUDNN_SET(*config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                  engine->knob_count, choices);
    CUDNN_FINALIZE(*config);
done:
    for (int i = 0; i < CUDNN_MAX_KNOBS; i++)
        cudnn_descriptor_release(&choices[i]);
    cudnn_descriptor_release(&descriptor);
    if (status != STATUS_OK)
        cudnn_descriptor_release(config);
    return status;
}

void cudnn_engine_format(const CudnnEngine *engine, char text[CUDNN_ENGINE_BYTES]) {
    int used = snprintf(text, CUDNN_ENGINE_BYTES, "%" PRId64, engine->index);
    for (int i = 0; i < engine->knob_count && used < CUDNN_ENGINE_BYTES; i++)
        used += snprintf(text + used, (size_t)(CUDNN_ENGINE_BYTES - used), "%c%" PRId32 "=%" PRId64,
                         i == 0 ? ':' : ',', engine->knob_types[i], engine->knob_values[i]);
}

bool cudnn_engine_parse(const char *text, CudnnEngine *engine) {
    char *end;
    memset(engine, 0, sizeof *engine);
    engine->index = strtoll(text, &end, 10);
    if (end == text || engine->index < 0)
        return false;
    while (*end != '\0') {
        if (*end != (engine->knob_count == 0 ? ':' : ',') || engine->knob_count == CUDNN_MAX_KNOBS)
            return false;
        text = end + 1;
        engine->knob_types[engine->knob_count] = (int32_t)strtol(text, &end, 10);
        if (end == text || *end != '=')
            return false;
        text = end + 1;
        engine->knob_values[engine->knob_count++] = strtoll(text, &end, 10);
        if (end == text)
            return false;
    }
    return true;
}
