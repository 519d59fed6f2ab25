/* Engines: what is proposed for a graph, and how each computes. Those that our rules refuse give NaN, so that
 * a rule that lets one pass is seen in every result. The others differ in their last bits, as cuDNN's do. */
#include <stdlib.h>

#include "tests/cuda_emulation/cudnn_emulation.h"

enum { ENGINE_NOTES = 2, ENGINE_KNOBS = 2, NONE = -1 };

/* A knob takes the values 0 to `most`. */
typedef struct Knob {
    cudnnBackendKnobType_t type;
    int64_t most;
} Knob;

typedef enum EngineKind {
    ENGINE_GOOD,
    ENGINE_NEVER,           /* refused by the rules in all cases, by a numerical note */
    ENGINE_RUNTIME,         /* and because it is compiled when a plan is made */
    ENGINE_TENSOR_CORE,     /* TF32 for floats; stream-K by a knob */
    ENGINE_WINOGRAD,        /* right for floats */
    ENGINE_NO_PLAN,         /* a plan cannot be made */
    ENGINE_LARGE_WORKSPACE, /* larger than any limit */
    ENGINE_NO_RUN,          /* a plan does not run */
} EngineKind;

typedef struct Engine {
    int64_t index;
    EngineKind kind;
    int note_count, knob_count;
    cudnnBackendNumericalNote_t notes[ENGINE_NOTES];
    Knob knobs[ENGINE_KNOBS];
    int64_t workspace_bytes;
} Engine;

static const Engine engines[] = {
    {.index = 1, .kind = ENGINE_NEVER, .note_count = 1, .notes = {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}},
    {.index = 2,
     .kind = ENGINE_NEVER,
     .note_count = 2,
     .notes = {CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS, CUDNN_NUMERICAL_NOTE_TENSOR_CORE}},
    {.index = 3,
     .kind = ENGINE_NEVER,
     .note_count = 1,
     .notes = {CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION}},
    {.index = 4, .kind = ENGINE_RUNTIME, .note_count = 1, .notes = {CUDNN_NUMERICAL_NOTE_TENSOR_CORE}},
    {.index = 5, .kind = ENGINE_NO_PLAN},
    {.index = 6, .kind = ENGINE_LARGE_WORKSPACE, .workspace_bytes = (int64_t)1 << 40},
    {.index = 7, .kind = ENGINE_NO_RUN},
    {.index = 10,
     .kind = ENGINE_TENSOR_CORE,
     .note_count = 1,
     .notes = {CUDNN_NUMERICAL_NOTE_TENSOR_CORE},
     .knob_count = 2,
     .knobs = {{CUDNN_KNOB_TYPE_STREAM_K, 1}, {CUDNN_KNOB_TYPE_TILE_SIZE, 3}},
     .workspace_bytes = 5000},
    {.index = 20,
     .kind = ENGINE_WINOGRAD,
     .note_count = 2,
     .notes = {CUDNN_NUMERICAL_NOTE_WINOGRAD, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4},
     .workspace_bytes = 12345},
    {.index = 30, .kind = ENGINE_GOOD, .knob_count = 1, .knobs = {{CUDNN_KNOB_TYPE_TILE_SIZE, 1}}},
};

/* Configurations in the order of their expected speed; values belong to the engine's knobs. */
typedef struct Proposal {
    int64_t engine, values[ENGINE_KNOBS];
} Proposal;

static const Proposal by_speed[] = {{1, {0}}, {10, {1, 2}}, {2, {0}},  {4, {0}}, {5, {0}}, {6, {0}},
                                    {3, {0}}, {10, {0, 1}}, {20, {0}}, {7, {0}}, {30, {0}}};
static const Proposal fallback[] = {{30, {0}}};

static const Engine *find_engine(int64_t index) {
    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
        if (engines[i].index == index)
            return &engines[i];
    return NULL;
}

/* ---- engines and their configurations ---- */

cudnnStatus_t engine_finalize(Content *content) {
    static const cudnnBackendBehaviorNote_t runtime[] = {CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION};
    int64_t index = content_int64(content, CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
    const Engine *engine = find_engine(index);
    if (!engine)
        return cudnn_fail(CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND, "no engine has the index %lld",
                          (long long)index);
    content_set(content, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, engine->note_count,
                engine->notes);
    content_set(content, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE,
                engine->kind == ENGINE_RUNTIME, runtime);
    return CUDNN_STATUS_SUCCESS;
}

static const Engine *configured_engine(const Content *config) {
    return find_engine(
        content_int64(content_child(config, CUDNN_ATTR_ENGINECFG_ENGINE), CUDNN_ATTR_ENGINE_GLOBAL_INDEX));
}

/* The value of a knob; 0 if it is not set. */
static int64_t knob_value(const Content *config, cudnnBackendKnobType_t type) {
    int64_t count;
    Content *const *choices = content_values(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, &count);
    for (int64_t i = 0; i < count; i++)
        if (content_enum(choices[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE) == (int)type)
            return content_int64(choices[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE);
    return 0;
}

cudnnStatus_t engine_config_finalize(Content *config) {
    const Engine *engine = configured_engine(config);
    int64_t count;
    Content *const *choices = content_values(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, &count);
    for (int64_t i = 0; i < count; i++) {
        int type = content_enum(choices[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE);
        int64_t value = content_int64(choices[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE), most = NONE;
        for (int k = 0; k < engine->knob_count; k++)
            if ((int)engine->knobs[k].type == type)
                most = engine->knobs[k].most;
        if (value < 0 || value > most)
            return cudnn_fail(CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND, "engine %lld: knob %d with the value %lld",
                              (long long)engine->index, type, (long long)value);
    }
    return CUDNN_STATUS_SUCCESS;
}

/* ---- heuristics ---- */

static Content *knob_choice(cudnnBackendKnobType_t type, int64_t value) {
    Content *choice = content_create(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    content_set(choice, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
    content_set(choice, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &value);
    return choice;
}

static Content *proposed_config(const Content *heuristics, const Proposal *proposal) {
    Content *engine = content_create(CUDNN_BACKEND_ENGINE_DESCRIPTOR), *choices[ENGINE_KNOBS];
    Content *config = content_create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    const Content *graph = content_child(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    const Content *device = content_child(heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP);
    const Engine *known = find_engine(proposal->engine);
    content_set(engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    content_set(engine, CUDNN_ATTR_ENGINE_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device);
    content_set(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &proposal->engine);
    (void)engine_finalize(engine);
    content_set(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine);
    for (int i = 0; i < known->knob_count; i++)
        choices[i] = knob_choice(known->knobs[i].type, proposal->values[i]);
    if (known->knob_count > 0)
        content_set(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                    known->knob_count, choices);
    for (int i = 0; i < known->knob_count; i++)
        content_release(choices[i]);
    content_release(engine);
    return config;
}

/* What is fused, as in cuDNN 9: a forward pass, perhaps an addend of the result's shape, then a bias of one
 * value per channel, all of the result's type and with float in between. CUDA_EMULATION_FUSION=0: nothing. */
static bool fuses(const Graph *graph) {
    const char *text = getenv("CUDA_EMULATION_FUSION");
    const GraphTensor *y = &graph->tensors[graph_output(graph)];
    bool fits = graph->pass == GRAPH_FORWARD && graph->addition_count <= 2 && (!text || atoi(text) != 0);
    for (int i = 0; i < graph->addition_count; i++) {
        const GraphTensor *x = &graph->tensors[graph->additions[i].x],
                          *b = &graph->tensors[graph->additions[i].b];
        bool last = i + 1 == graph->addition_count;
        fits &=
            x->is_virtual && x->type == CUDNN_DATA_FLOAT && b->type == y->type && b->dims[1] == y->dims[1];
        for (int d = 0; d < GRAPH_DIMS; d++)
            fits &= d == 1 || b->dims[d] == (last ? 1 : y->dims[d]);
    }
    return fits;
}

cudnnStatus_t heuristics_finalize(Content *heuristics) {
    enum { MOST = sizeof by_speed / sizeof *by_speed };
    int mode = content_enum(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE), count = MOST;
    const Proposal *proposals = by_speed;
    Content *configs[MOST];
    Graph graph;
    CUDNN_TRY(graph_read(content_child(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH), &graph));
    if (graph.addition_count > 0 && (mode == CUDNN_HEUR_MODE_FALLBACK || !fuses(&graph)))
        return cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "no engine fuses these operations");
    if (mode == CUDNN_HEUR_MODE_FALLBACK) {
        proposals = fallback;
        count = sizeof fallback / sizeof *fallback;
    } else if (mode != CUDNN_HEUR_MODE_A) {
        return cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "heuristic %d: unknown to the emulation", mode);
    }
    for (int i = 0; i < count; i++)
        configs[i] = proposed_config(heuristics, &proposals[i]);
    content_set(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, configs);
    for (int i = 0; i < count; i++)
        content_release(configs[i]);
    return CUDNN_STATUS_SUCCESS;
}

/* ---- plans ---- */

static Arithmetic arithmetic(const Engine *engine, const Content *config, const Graph *graph) {
    bool floats = graph->tensors[graph->large].type == CUDNN_DATA_FLOAT;
    bool place_matters = graph->pass != GRAPH_BACKWARD_FILTER && knob_value(config, CUDNN_KNOB_TYPE_STREAM_K);
    if (engine->kind == ENGINE_NEVER || engine->kind == ENGINE_RUNTIME ||
        (engine->kind == ENGINE_WINOGRAD && !floats) || place_matters)
        return ARITHMETIC_WRONG;
    if (floats && engine->kind == ENGINE_TENSOR_CORE)
        return ARITHMETIC_TF32;
    return ARITHMETIC_FLOAT;
}

cudnnStatus_t plan_read(const Content *descriptor, Plan *plan) {
    const Content *config = content_child(descriptor, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    const Engine *engine = configured_engine(config);
    CUDNN_TRY(graph_read(
        content_child(content_child(config, CUDNN_ATTR_ENGINECFG_ENGINE), CUDNN_ATTR_ENGINE_OPERATION_GRAPH),
        &plan->graph));
    plan->arithmetic = arithmetic(engine, config, &plan->graph);
    plan->backwards = engine->kind == ENGINE_WINOGRAD || knob_value(config, CUDNN_KNOB_TYPE_TILE_SIZE) == 1;
    plan->fails_to_run = engine->kind == ENGINE_NO_RUN;
    plan->workspace_bytes = engine->workspace_bytes;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t plan_finalize(Content *descriptor) {
    Plan plan;
    const Content *config = content_child(descriptor, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    if (configured_engine(config)->kind == ENGINE_NO_PLAN)
        return cudnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "engine 5 makes no plans");
    CUDNN_TRY(plan_read(descriptor, &plan));
    content_set(descriptor, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1,
                &plan.workspace_bytes);
    return CUDNN_STATUS_SUCCESS;
}
