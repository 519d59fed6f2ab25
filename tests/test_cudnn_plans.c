/* Plans for all convolutions of the default network without a device: cuDNN is told of devices by their
 * properties. Every engine that is accepted keeps the rules of cudnn_plan.h; some engine is, for every
 * convolution, element type and batch. And the file in which choices are kept. */
#include "kernels/cuda/cudnn_plan.h"

#include <unistd.h>

#include "core/clock.h"
#include "core/config.h"
#include "kernels/cuda/convolution_cudnn.h"
#include "kernels/cuda/cudnn_engine.h"
#include "kernels/cuda/engine_file.h"
#include "kernels/cuda/kernels_cuda.h"
#include "kernels/cuda/single_channel.h"
#include "model/unet.h"
#include "tests/scratch.h"
#include "tests/test.h"

enum { IMAGE_PIXELS = 28, SKIPPED = 77, MAX_PLANS = 64, JSON_BYTES = 2048, MAX_DISTINCT = 256 };
static const size_t workspace_limit = (size_t)256 << 20;

/* What tells devices apart for cuDNN; clocks in kHz, memory in bytes. */
typedef struct Device {
    const char *name;
    int version, multiprocessors, shared_optin, blocks_per_sm, threads_per_sm, l2_cache;
    int clock, memory_clock;
    long long memory;
} Device;

static const Device devices[] = {
    {"NVIDIA H100 80GB HBM3", 900, 132, 232448, 32, 2048, 52428800, 1980000, 2619000, 85000000000},
    {"NVIDIA A100-SXM4-80GB", 800, 108, 166912, 32, 2048, 41943040, 1410000, 1593000, 85000000000},
    {"NVIDIA GeForce RTX 5090", 1200, 170, 101376, 24, 1536, 100663296, 2407000, 14001000, 34000000000},
};

static void describe(const Device *device, char json[JSON_BYTES]) {
    snprintf(
        json, JSON_BYTES,
        "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,"
        "\"multiProcessorCount\":%d,\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,"
        "\"maxSharedMemoryPerBlockOptin\":%d,\"reservedSharedMemoryPerBlock\":1024,"
        "\"maxRegistersPerSM\":65536,\"maxCtasPerSM\":%d,\"maxThreadsPerBlock\":1024,"
        "\"maxThreadsPerSM\":%d,\"pciDeviceId\":0,\"isTccDriver\":0,\"supportCoopLaunch\":1,"
        "\"totalGlobalMem\":%lld,\"smClockRateKHz\":%d,\"memClockRateKHz\":%d,\"l2CacheSize\":%d,"
        "\"cudaDeviceId\":0,\"deviceVer\":%d,\"driverVer\":13000,\"deviceName\":\"%s\"}",
        device->multiprocessors, device->shared_optin, device->blocks_per_sm, device->threads_per_sm,
        device->memory, device->clock, device->memory_clock, device->l2_cache, device->version, device->name);
}

/* ---- text and file ---- */

static void test_engine_text(void) {
    CudnnEngine engine = {.index = 17, .knob_count = 2, .knob_types = {2, 13}, .knob_values = {-1, 1048576}};
    CudnnEngine back;
    char text[CUDNN_ENGINE_BYTES];
    static const char *const malformed[] = {"",       "x",     "-1",      "17:",         "17:2",
                                            "17,2=1", "17:2=", "17:2=1,", "17:2=1;13=0", "17 "};
    cudnn_engine_format(&engine, text);
    CHECK(strcmp(text, "17:2=-1,13=1048576") == 0);
    CHECK(cudnn_engine_parse(text, &back));
    CHECK(cudnn_engine_equal(&engine, &back));
    CHECK(cudnn_engine_parse("0", &back) && back.index == 0 && back.knob_count == 0);
    CHECK(!cudnn_engine_equal(&engine, &back));
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        CHECK(!cudnn_engine_parse(malformed[i], &back));
}

static void test_engine_file(void) {
    char scratch[SCRATCH_PATH_BYTES], path[ENGINE_FILE_PATH_BYTES], engine[CUDNN_ENGINE_BYTES] = "";
    bool found = true;
    int file = -1;
    static const char torn[] = "{\"convolution\": \"a\", \"engine\": \"9:9";
    scratch_open(scratch);
    setenv("XDG_CACHE_HOME", scratch, 1);
    CHECK_OK(engine_file_path("NVIDIA H100 (80GB)", 91900, path));
    CHECK(strstr(path, "cudnn-91900-NVIDIA_H100__80GB_.jsonl"));
    CHECK_OK(engine_file_open(path, &file));
    CHECK_OK(engine_file_find(file, "a", sizeof engine, engine, &found));
    CHECK(!found);
    CHECK_OK(engine_file_add(file, "a", "1:2=3"));
    CHECK_OK(engine_file_add(file, "ab", "2"));
    CHECK(write(file, torn, strlen(torn)) == (ssize_t)strlen(torn)); /* as a killed process may leave it */
    engine_file_close(file);
    CHECK_OK(engine_file_open(path, &file));
    CHECK_OK(engine_file_find(file, "a", sizeof engine, engine, &found));
    CHECK(found && strcmp(engine, "1:2=3") == 0);
    CHECK_OK(engine_file_add(file, "a", "4"));
    CHECK_OK(engine_file_find(file, "a", sizeof engine, engine, &found));
    CHECK(found && strcmp(engine, "4") == 0);
    CHECK_OK(engine_file_find(file, "ab", sizeof engine, engine, &found));
    CHECK(found && strcmp(engine, "2") == 0);
    CHECK_OK(engine_file_find(file, "b", sizeof engine, engine, &found));
    CHECK(!found);
    engine_file_close(file);
    scratch_remove(path);
    CHECK(mkdir(path, 0777) == 0);
    CHECK_ERROR(engine_file_open(path, &file), STATUS_FAILURE, "cannot open it for writing");
    scratch_remove(scratch);
}

/* ---- rules ---- */

static bool allowed(CudnnPass pass, DataType type, bool tf32, int note, bool runtime, int64_t stream_k) {
    CudnnConvolution convolution = {.pass = pass, .type = type, .weights_type = type, .tf32 = tf32};
    CudnnEngine engine = {
        .index = 1, .knob_count = 1, .knob_types = {CUDNN_KNOB_TYPE_STREAM_K}, .knob_values = {stream_k}};
    CudnnNotes notes = {.runtime_compiled = runtime};
    CudnnCandidates counts = {0};
    bool result;
    if (note >= 0)
        notes.numerical[note] = true;
    result = cudnn_engine_allowed(&convolution, &engine, &notes, &counts);
    CHECK((counts.nondeterministic + counts.imprecise + counts.slot_dependent + counts.runtime_compiled ==
           0) == result);
    return result;
}

static void test_rules(void) {
    for (int pass = CUDNN_PASS_FORWARD; pass <= CUDNN_PASS_BACKWARD_WEIGHTS; pass++) {
        CHECK(allowed(pass, DATA_F32, false, -1, false, 0));
        CHECK(allowed(pass, DATA_BF16, false, CUDNN_NUMERICAL_NOTE_TENSOR_CORE, false, 0));
        CHECK(allowed(pass, DATA_F32, true, CUDNN_NUMERICAL_NOTE_TENSOR_CORE, false, 0));
        CHECK(!allowed(pass, DATA_F32, false, CUDNN_NUMERICAL_NOTE_TENSOR_CORE, false, 0));
        CHECK(!allowed(pass, DATA_BF16, false, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, false, 0));
        CHECK(!allowed(pass, DATA_F32, true, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS, false, 0));
        CHECK(!allowed(pass, DATA_BF16, false, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION, false, 0));
        CHECK(!allowed(pass, DATA_BF16, false, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4, false, 0));
        CHECK(allowed(pass, DATA_F32, false, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4, false, 0));
        CHECK(!allowed(pass, DATA_F32, false, -1, true, 0));
        CHECK(allowed(pass, DATA_F32, false, -1, false, 1) == (pass == CUDNN_PASS_BACKWARD_WEIGHTS));
    }
}

/* ---- plans ---- */

typedef struct Totals {
    int convolutions, plans, proposed, fewest;
} Totals;

/* LeakSanitizer, where the test is built with it: without a driver, cuDNN unloads its run-time compiler for
 * every problem, and what that had allocated is lost. */
extern void __lsan_disable(void) __attribute__((weak));
extern void __lsan_enable(void) __attribute__((weak));

static Status all_plans(CudnnProblem *problem, CudnnPlan *plans, int *count, CudnnCandidates *counts) {
    Status status;
    if (__lsan_disable)
        __lsan_disable();
    status = cudnn_problem_plans(problem, workspace_limit, MAX_PLANS, plans, count, counts);
    if (__lsan_enable)
        __lsan_enable();
    return status;
}

/* All plans of a convolution; the first is made again from its engine's text. */
static void test_convolution(const CudnnConvolution *convolution, CudnnDevice device, bool print,
                             Totals *totals) {
    CudnnProblem *problem = NULL;
    CudnnPlan plans[MAX_PLANS], again = {0};
    CudnnEngine engine;
    CudnnCandidates counts;
    char name[CUDNN_NAME_BYTES], text[CUDNN_ENGINE_BYTES] = "none";
    int count = 0;
    cudnn_convolution_name(convolution, name);
    CHECK_OK(cudnn_problem_create(&problem, convolution, device));
    if (!problem)
        return;
    CHECK_OK(all_plans(problem, plans, &count, &counts));
    if (count < 1) {
        printf("%s: FAILED: no engine is usable\n", name);
        test_failures++;
    } else {
        cudnn_engine_format(&plans[0].engine, text);
        CHECK(cudnn_engine_parse(text, &engine));
        CHECK_OK(cudnn_problem_plan(problem, workspace_limit, &engine, &again));
        CHECK(again.workspace_bytes == plans[0].workspace_bytes);
        CHECK(cudnn_engine_equal(&again.engine, &plans[0].engine));
    }
    if (print)
        printf("%-94s %3d of %3d, first %s\n", name, count, counts.proposed, text);
    for (int i = 0; i < count; i++) {
        CHECK(plans[i].workspace_bytes <= workspace_limit);
        CHECK(plans[i].epilogue == convolution->epilogue);
        CHECK(convolution->tf32 || convolution->type == DATA_BF16 || !plans[i].tensor_cores);
        cudnn_plan_release(&plans[i]);
    }
    totals->fewest = totals->convolutions == 0 || count < totals->fewest ? count : totals->fewest;
    totals->convolutions++;
    totals->plans += count;
    totals->proposed += counts.proposed;
    cudnn_plan_release(&again);
    cudnn_problem_release(problem);
}

static bool is_convolution(OpKind kind) {
    return kind >= OP_CONV2D && kind <= OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS;
}

/* Adds a convolution that is not among the `count` found; returns the new count. */
static int add_distinct(const CudnnConvolution *convolution, CudnnConvolution *found, int count) {
    char name[CUDNN_NAME_BYTES], other[CUDNN_NAME_BYTES];
    cudnn_convolution_name(convolution, name);
    for (int i = 0; i < count; i++) {
        cudnn_convolution_name(&found[i], other);
        if (strcmp(other, name) == 0)
            return count;
    }
    found[count] = *convolution;
    return count + 1;
}

/* Adds those convolutions of the default network and its gradients that are not among the `count` found;
 * returns the new count. */
static int add_convolutions(int64_t batch, const char *precision, AutodiffTarget target,
                            CudnnConvolution *found, int count) {
    Config config;
    UnetOptions options;
    Graph *graph = NULL;
    config_defaults(&config);
    snprintf(config.train_precision, sizeof config.train_precision, "%s", precision);
    options = unet_options(&config, batch, IMAGE_PIXELS, IMAGE_PIXELS);
    CHECK_OK(graph_create(&graph));
    CHECK_OK(unet_build_differentiable(graph, &options, target));
    for (int n = 0; n < graph->node_count; n++) {
        const OpDescription *op = &graph->nodes[n].op;
        CudnnConvolution convolution, alone;
        if (!is_convolution(op->kind) || count + 2 > MAX_DISTINCT)
            continue;
        if (!convolution_from_op(op, strcmp(precision, "fp32") != 0, &convolution)) {
            CHECK(single_channel_wants(op));
            continue;
        }
        alone = convolution; /* planned too, see cudnn_plans.h */
        alone.epilogue = CUDNN_ADDS_NOTHING;
        count = add_distinct(&convolution, found, count);
        count = add_distinct(&alone, found, count);
    }
    graph_destroy(graph);
    return count;
}

/* The distinct ones of training and of the input gradient; count of them. */
static int network_convolutions(int64_t batch, const char *precision, CudnnConvolution *found) {
    int count = add_convolutions(batch, precision, AUTODIFF_PARAMETERS, found, 0);
    count = add_convolutions(batch, precision, AUTODIFF_INPUT, found, count);
    CHECK(count > 0 && count < MAX_DISTINCT);
    return count;
}

static void test_network(const Device *device, CudnnDevice descriptor, int64_t batch, const char *precision) {
    static CudnnConvolution convolutions[MAX_DISTINCT];
    int count = network_convolutions(batch, precision, convolutions);
    bool print = device == &devices[0] && batch == 128;
    Totals totals = {0};
    double begin = clock_seconds();
    for (int i = 0; i < count; i++)
        test_convolution(&convolutions[i], descriptor, print, &totals);
    printf("%s, batch %lld, %s: %d convolutions, %d plans of %d engines proposed, at least %d each, %.2f s\n",
           device->name, (long long)batch, precision, totals.convolutions, totals.plans, totals.proposed,
           totals.fewest, clock_seconds() - begin);
}

static void test_refused_epilogue(CudnnDevice descriptor, CudnnConvolution convolution) {
    CudnnProblem *problem = NULL;
    convolution.pass = CUDNN_PASS_BACKWARD_DATA;
    convolution.epilogue = CUDNN_ADDS_BIAS;
    CHECK_ERROR(cudnn_problem_create(&problem, &convolution, descriptor), STATUS_FAILURE, "than forward");
    CHECK(!problem);
}

/* Sizes that no tensor core likes. */
static void test_odd_sizes(CudnnDevice descriptor) {
    Totals totals = {0};
    for (int type = DATA_F32; type <= DATA_BF16; type++)
        for (int pass = CUDNN_PASS_FORWARD; pass <= CUDNN_PASS_BACKWARD_WEIGHTS; pass++) {
            CudnnConvolution same = {.pass = pass,
                                     .samples = 3,
                                     .large_h = 7,
                                     .large_w = 9,
                                     .large_c = 5,
                                     .small_h = 7,
                                     .small_w = 9,
                                     .small_c = 3,
                                     .kernel = 3,
                                     .stride = 1,
                                     .pad = 1,
                                     .type = type,
                                     .weights_type = type};
            CudnnConvolution half = {.pass = pass,
                                     .samples = 1,
                                     .large_h = 6,
                                     .large_w = 10,
                                     .large_c = 2,
                                     .small_h = 3,
                                     .small_w = 5,
                                     .small_c = 7,
                                     .kernel = 4,
                                     .stride = 2,
                                     .pad = 1,
                                     .type = type,
                                     .weights_type = type};
            test_convolution(&same, descriptor, false, &totals);
            test_refused_epilogue(descriptor, same);
            test_convolution(&half, descriptor, false, &totals);
        }
}

int main(void) {
    static const char *const precisions[] = {"fp32", "tf32", "bf16"};
    static const int64_t batches[] = {8, 128};
    char json[JSON_BYTES];
    CudnnDevice descriptor = NULL;
    test_engine_text();
    test_engine_file();
    test_rules();
    for (size_t d = 0; d < sizeof devices / sizeof *devices; d++) {
        describe(&devices[d], json);
        if (cudnn_device_from_json(&descriptor, json) != STATUS_OK) {
            printf("skipped: this cuDNN does not take the description of a device: %s\n", status_message());
            return test_failures ? 1 : SKIPPED;
        }
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++)
            for (size_t p = 0; p < sizeof precisions / sizeof *precisions; p++)
                test_network(&devices[d], descriptor, batches[b], precisions[p]);
        test_odd_sizes(descriptor);
        cudnn_device_release(descriptor);
    }
    return test_result();
}
