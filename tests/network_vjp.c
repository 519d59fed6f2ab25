#include "network_vjp.h"

#include <inttypes.h>

#include "core/rng.h"
#include "diffusion/network_denoiser.h"
#include "io/hdf5_file.h"
#include "test.h"
#include "unet_sizes.h"

/* A denoiser with a network of its own and one shard's tensors. */
typedef struct Rig {
    const Backend *backend;
    Network *network;
    Denoiser denoiser;
    int64_t values;                       /* of one shard's images */
    float *parameters, *x, *t, *in, *out; /* backend memory; in and out: (values) */
} Rig;

static void fill_normal(float *data, int64_t count, uint32_t sample) {
    rng_fill_normal(rng_key(2, RNG_TEST, 0, sample), data, count);
}

static float *allocate(int64_t count) {
    float *memory = NULL;
    CHECK_OK(ALLOCATE(&memory, count));
    return memory;
}

static float *allocate_normal(int64_t count, uint32_t sample) {
    float *memory = allocate(count);
    fill_normal(memory, count, sample);
    return memory;
}

static float *place(const Backend *backend, const float *values, int64_t count) {
    float *memory = NULL;
    CHECK_OK(backend->allocate((void **)&memory, (size_t)count * sizeof *memory));
    if (values)
        CHECK_OK(backend->copy_in(memory, values, (size_t)count * sizeof *memory));
    return memory;
}

/* Initial parameters; the output convolution, which may begin at zero, is random. */
static float *random_parameters(const Graph *graph) {
    float *parameters = allocate(graph->parameter_elements);
    int output = graph_find_parameter(graph, "out.conv.weight");
    network_initialise(graph, 5, parameters);
    CHECK(output >= 0);
    fill_normal(parameters + graph->parameters[output].offset, graph->parameters[output].count, 99);
    return parameters;
}

/* parameters: host memory in the graph's order; NULL: random ones. */
static void rig_create(Rig *rig, const Backend *backend, const UnetOptions *unet, NetworkGradients gradients,
                       int workers, const float *parameters) {
    NetworkOptions options = {.unet = *unet, .backend = backend, .workers = workers, .gradients = gradients};
    float *made = NULL;
    *rig = (Rig){.backend = backend, .values = unet->batch * unet->height * unet->width};
    CHECK_OK(network_create(&rig->network, &options));
    if (!parameters)
        parameters = made = random_parameters(rig->network->graph);
    rig->parameters = place(backend, parameters, rig->network->graph->parameter_elements);
    CHECK_OK(network_load(rig->network, rig->parameters, 1));
    rig->denoiser = network_denoiser(rig->network);
    rig->x = place(backend, NULL, rig->values);
    rig->t = place(backend, NULL, unet->batch);
    rig->in = place(backend, NULL, rig->values);
    rig->out = place(backend, NULL, rig->values);
    free(made);
}

static void rig_release(Rig *rig) {
    rig->backend->release(rig->parameters);
    rig->backend->release(rig->x);
    rig->backend->release(rig->t);
    rig->backend->release(rig->in);
    rig->backend->release(rig->out);
    network_destroy(rig->network);
}

/* Host memory in and out. */
static void rig_eps_hat(Rig *rig, int worker, const float *x, const float *t, float *eps_hat) {
    const size_t bytes = (size_t)rig->values * sizeof *x;
    CHECK_OK(rig->backend->copy_in(rig->x, x, bytes));
    CHECK_OK(rig->backend->copy_in(rig->t, t, (size_t)rig->denoiser.batch * sizeof *t));
    CHECK_OK(rig->denoiser.eps_hat(&rig->denoiser, worker, rig->x, rig->t, rig->out));
    CHECK_OK(rig->backend->copy_out(eps_hat, rig->out, bytes));
}

static void rig_vjp(Rig *rig, int worker, const float *v, float *product) {
    const size_t bytes = (size_t)rig->values * sizeof *v;
    CHECK_OK(rig->backend->copy_in(rig->in, v, bytes));
    CHECK_OK(rig->denoiser.vjp(&rig->denoiser, worker, rig->in, rig->out));
    CHECK_OK(rig->backend->copy_out(product, rig->out, bytes));
}

/* ---- against PyTorch ---- */

static float *read_floats(Hdf5File *file, const char *name, int64_t count) {
    float *data = allocate(count);
    CHECK_OK(hdf5_read_array(file, name, HDF5_FLOAT32, count, data));
    return data;
}

static float *read_parameters(Hdf5File *file, const Graph *graph) {
    float *parameters = allocate(graph->parameter_elements);
    for (int p = 0; p < graph->parameter_count; p++) {
        const Parameter *parameter = &graph->parameters[p];
        char name[128];
        snprintf(name, sizeof name, "/parameters/%s", parameter->name);
        CHECK_OK(hdf5_read_array(file, name, HDF5_FLOAT32, parameter->count, parameters + parameter->offset));
    }
    return parameters;
}

static void test_against_torch(Hdf5File *file, const Backend *backend, const UnetOptions *unet,
                               const char *precision, double tolerance) {
    const int64_t pixels = small.height * small.width, all = small.batch * pixels;
    float *x = read_floats(file, "/x_t", all), *t = read_floats(file, "/t", small.batch);
    float *v = read_floats(file, "/eps", all), *expected = read_floats(file, "/input_gradient", all);
    float *eps_hat = allocate(all), *product = allocate(all), *parameters = NULL;
    Graph *graph = NULL;
    Rig rig;
    CHECK_OK(graph_create(&graph));
    CHECK_OK(unet_build_trainable(graph, unet)); /* the order of a checkpoint */
    parameters = read_parameters(file, graph);
    rig_create(&rig, backend, unet, NETWORK_INPUT_GRADIENT, 1, parameters);
    for (int64_t first = 0; first < small.batch; first += unet->batch) {
        rig_eps_hat(&rig, 0, x + first * pixels, t + first, eps_hat + first * pixels);
        rig_vjp(&rig, 0, v + first * pixels, product + first * pixels);
    }
    double error = test_relative_error(product, expected, all);
    printf("%-13s %s, shards of %" PRId64 ": vector-Jacobian product %.1e\n", backend->name, precision,
           unet->batch, error);
    CHECK(error <= tolerance);
    rig_release(&rig);
    graph_destroy(graph);
    free(x);
    free(t);
    free(v);
    free(expected);
    free(eps_hat);
    free(product);
    free(parameters);
}

/* ---- against finite differences ---- */

static double dot(const float *a, const float *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

/* <v, eps_hat(x + step d) - eps_hat(x - step d)> / (2 step) */
static double central_difference(Rig *rig, const float *x, const float *t, const float *v,
                                 const float *direction, double step) {
    float *moved = allocate(rig->values), *eps_hat = allocate(rig->values);
    double result = 0;
    for (int side = -1; side <= 1; side += 2) {
        for (int64_t i = 0; i < rig->values; i++)
            moved[i] = (float)(x[i] + side * step * direction[i]);
        rig_eps_hat(rig, 0, moved, t, eps_hat);
        result += side * dot(v, eps_hat, rig->values) / (2 * step);
    }
    free(moved);
    free(eps_hat);
    return result;
}

/* The derivative of <v, eps_hat> along d = J^T v / |J^T v| is |J^T v|. Central differences miss it by
 * truncation, of which doubling the step shows three times as much, and by the outputs' rounding: 1e-6 of
 * their norm (test_against_torch of test_network.c shows 6e-7), twice, over two steps. */
static void test_differences(const Backend *backend) {
    const double step = 0.25, rounding = 1e-6;
    UnetOptions unet = report;
    unet.channels[0] = 16, unet.channels[1] = 32, unet.channels[2] = 64;
    unet.batch = 2;
    Rig rig;
    rig_create(&rig, backend, &unet, NETWORK_INPUT_GRADIENT, 1, NULL);
    float *x = allocate_normal(rig.values, 1), *v = allocate_normal(rig.values, 2);
    float *eps_hat = allocate(rig.values), *product = allocate(rig.values);
    const float t[] = {3, 250};
    rig_eps_hat(&rig, 0, x, t, eps_hat);
    rig_vjp(&rig, 0, v, product);
    double expected = sqrt(dot(product, product, rig.values));
    for (int64_t i = 0; i < rig.values; i++)
        product[i] = (float)(product[i] / expected);
    double near = central_difference(&rig, x, t, v, product, step);
    double far = central_difference(&rig, x, t, v, product, 2 * step);
    double outputs = sqrt(dot(eps_hat, eps_hat, rig.values) * dot(v, v, rig.values));
    double tolerance = fabs(far - near) + rounding * outputs / step;
    printf("%-13s |J^T v| = %.6g, central difference %.6g, tolerance %.2g\n", backend->name, expected, near,
           tolerance);
    CHECK_NEAR(near, expected, tolerance);
    CHECK(tolerance < 0.01 * expected); /* the check means something */
    rig_release(&rig);
    free(x);
    free(v);
    free(eps_hat);
    free(product);
}

/* ---- what the seam promises ---- */

static bool same_bits(const float *a, const float *b, int64_t count) {
    return memcmp(a, b, (size_t)count * sizeof *a) == 0;
}

/* eps_hat and the parameters' places are the same whatever gradients the network was made for. */
static void test_kinds(const Backend *backend, const UnetOptions *unet) {
    static const NetworkGradients kinds[] = {NETWORK_INPUT_GRADIENT, NETWORK_FORWARD, NETWORK_TRAINING};
    const int64_t values = unet->batch * unet->height * unet->width;
    float *x = allocate_normal(values, 3), *t = allocate(unet->batch);
    float *expected = allocate(values), *found = allocate(values);
    Rig rigs[3];
    for (int k = 0; k < 3; k++) {
        rig_create(&rigs[k], backend, unet, kinds[k], 1, NULL);
        const Graph *graph = rigs[k].network->graph, *first = rigs[0].network->graph;
        rig_eps_hat(&rigs[k], 0, x, t, k == 0 ? expected : found);
        CHECK(k == 0 || same_bits(found, expected, values));
        CHECK((rigs[k].denoiser.vjp != NULL) == (kinds[k] == NETWORK_INPUT_GRADIENT));
        CHECK(graph->parameter_count == first->parameter_count);
        for (int p = 0; p < graph->parameter_count; p++)
            CHECK(graph->parameters[p].offset == first->parameters[p].offset &&
                  strcmp(graph->parameters[p].name, first->parameters[p].name) == 0);
    }
    CHECK(rigs[1].network->plan.arena_bytes < rigs[0].network->plan.arena_bytes);
    CHECK(rigs[0].network->plan.node_count < rigs[2].network->plan.node_count);
    for (int k = 0; k < 3; k++)
        rig_release(&rigs[k]);
    free(x);
    free(t);
    free(expected);
    free(found);
}

/* One sample in every slot, with other neighbours each time, has the same bits; a NaN stays in its sample. */
static void test_slots(const Backend *backend, const UnetOptions *unet) {
    const int64_t slots = unet->batch, pixels = unet->height * unet->width;
    const size_t sample_bytes = (size_t)pixels * sizeof(float);
    Rig rig;
    rig_create(&rig, backend, unet, NETWORK_INPUT_GRADIENT, 1, NULL);
    float *x = allocate(rig.values), *v = allocate(rig.values), *t = allocate(slots);
    float *product = allocate(rig.values), *expected = allocate(pixels);
    float *sample_x = allocate_normal(pixels, 1000), *sample_v = allocate_normal(pixels, 1001);
    for (int64_t slot = 0; slot < slots; slot++) {
        fill_normal(x, rig.values, (uint32_t)(2 * slot));
        fill_normal(v, rig.values, (uint32_t)(2 * slot + 1));
        for (int64_t i = 0; i < slots; i++)
            t[i] = (float)(slot + 13 * i);
        memcpy(x + slot * pixels, sample_x, sample_bytes);
        memcpy(v + slot * pixels, sample_v, sample_bytes);
        t[slot] = 42;
        v[(slot + 1) % slots * pixels + 5] = slot == 1 ? NAN : 1;
        rig_eps_hat(&rig, 0, x, t, product);
        rig_vjp(&rig, 0, v, product);
        if (slot == 0)
            memcpy(expected, product, sample_bytes);
        CHECK(isfinite(expected[0]) && same_bits(product + slot * pixels, expected, pixels));
        for (int64_t i = 0; i < slots; i++)
            CHECK((isfinite(product[i * pixels]) != 0) == !(slot == 1 && i == 2 % slots));
    }
    rig_release(&rig);
    free(x);
    free(v);
    free(t);
    free(product);
    free(expected);
    free(sample_x);
    free(sample_v);
}

/* Several products after one eps_hat, and another worker's calls in between: each the same bits as the first
 * time. */
static void test_repetition(const Backend *backend, const UnetOptions *unet) {
    const int workers = backend->max_workers && backend->max_workers() < 2 ? 1 : 2;
    Rig rig;
    rig_create(&rig, backend, unet, NETWORK_INPUT_GRADIENT, workers, NULL);
    float *x = allocate_normal(rig.values, 4), *other_x = allocate_normal(rig.values, 5);
    float *v = allocate_normal(rig.values, 6), *other_v = allocate_normal(rig.values, 7);
    float *t = allocate(unet->batch), *eps_hat = allocate(rig.values);
    float *expected = allocate(rig.values), *product = allocate(rig.values);
    rig_eps_hat(&rig, 0, x, t, eps_hat);
    rig_vjp(&rig, 0, v, expected);
    rig_vjp(&rig, 0, other_v, product);
    CHECK(!same_bits(product, expected, rig.values));
    if (workers > 1) {
        rig_eps_hat(&rig, 1, other_x, t, eps_hat);
        rig_vjp(&rig, 1, v, product);
        CHECK(!same_bits(product, expected, rig.values));
    }
    rig_vjp(&rig, 0, v, product);
    CHECK(same_bits(product, expected, rig.values));
    rig_release(&rig);
    free(x);
    free(other_x);
    free(v);
    free(other_v);
    free(t);
    free(eps_hat);
    free(expected);
    free(product);
}

int network_vjp_test(const char *vectors, const Backend *backend, const char *precision, double tolerance) {
    static const int64_t shards[] = {4, 2, 1};
    UnetOptions unet = small, report_shard = report;
    Hdf5File *file = NULL;
    int failures = test_failures;
    unet.activation_type = report_shard.activation_type = backend_activation_type(precision);
    CHECK_OK(hdf5_open(vectors, &file));
    for (size_t s = 0; file && s < sizeof shards / sizeof *shards; s++) {
        unet.batch = shards[s];
        test_against_torch(file, backend, &unet, precision, tolerance);
    }
    hdf5_close(file);
    unet.batch = 5;
    test_kinds(backend, &unet);
    test_slots(backend, &unet);
    test_repetition(backend, &unet);
    if (strcmp(backend->name, "cpu_reference") != 0) { /* slow, and no other code at other sizes */
        test_slots(backend, &report_shard);
        if (strcmp(precision, "fp32") == 0)
            test_differences(backend);
    }
    return test_failures - failures;
}
