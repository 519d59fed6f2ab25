/* The whole network: output, gradients and ten optimizer steps against PyTorch (tests/vectors/README.md), and
 * what a shard promises: no sample depends on its slot or its neighbours. usage: test_network VECTORS */
#include <inttypes.h>

#include "core/rng.h"
#include "io/hdf5_file.h"
#include "model/network.h"
#include "test.h"
#include "training/optimizer.h"

enum { LEARNING_STEPS = 10, OVERFIT_STEPS = 150 };

/* Float32 against float64 rounded once: an element is off by about 6e-8 times the square root of the number
 * of roundings behind it, some 10^4 here; PyTorch's own float32 is 5e-7 away at the output. */
static const double forward_tolerance = 1e-5, gradient_tolerance = 1e-5;
/* AdamW divides by sqrt(v), which turns the rounding of a small gradient into a change of the size of the
 * learning rate: PyTorch's float32 is 5e-5 from its own float64 in single tensors after ten steps. */
static const double all_parameters_tolerance = 2e-5, one_parameter_tolerance = 2e-4;
/* A sum over all pixels or parameters in double of float32 values; the first step shows 1e-6, later ones
 * inherit the parameters' error. */
static const double scalar_tolerance = 1e-4;

static const UnetOptions small = {.channel_count = 3,
                                  .channels = {8, 16, 24},
                                  .time_dim = 24,
                                  .groups = 4,
                                  .batch = 4,
                                  .height = 12,
                                  .width = 12};
static const UnetOptions report = {.channel_count = 3,
                                   .channels = {64, 128, 256},
                                   .time_dim = 256,
                                   .groups = 8,
                                   .batch = 8,
                                   .height = 28,
                                   .width = 28};

/* ---- a network with its optimizer, fed with given x_t, t and eps ---- */

typedef struct Rig {
    const Backend *backend;
    Network *network;
    Optimizer optimizer;
    int64_t *sums;
    bool bad;
    int64_t shard, batch, pixels; /* samples per shard and in the batch; pixels of a sample */
    float *eps_hat;               /* (batch, pixels) of the latest rig_gradient */
    double loss;
} Rig;

static void rig_create(Rig *rig, const char *backend, const UnetOptions *unet, int64_t batch,
                       const OptimizerOptions *optimizer) {
    NetworkOptions options = {
        .unet = *unet, .backend = backend_find(backend), .workers = 1, .training = true};
    *rig = (Rig){.backend = options.backend,
                 .shard = unet->batch,
                 .batch = batch,
                 .pixels = unet->height * unet->width};
    CHECK(rig->backend);
    CHECK_OK(network_create(&rig->network, &options));
    CHECK_OK(optimizer_create(&rig->optimizer, rig->backend, rig->network->graph, optimizer, 2));
    CHECK_OK(ALLOCATE(&rig->sums, rig->optimizer.count));
    CHECK_OK(ALLOCATE(&rig->eps_hat, batch * rig->pixels));
}

static void rig_release(Rig *rig) {
    network_destroy(rig->network);
    optimizer_release(&rig->optimizer);
    free(rig->sums);
    free(rig->eps_hat);
}

static Status add_gradient(void *context, int parameter, const float *gradient) {
    Rig *rig = context;
    const Parameter *p = &rig->network->graph->parameters[parameter];
    return rig->backend->accumulate(rig->sums + p->offset, gradient, p->count, 8192, &rig->bad);
}

/* eps_hat, loss and, in sums, the gradient of the mean loss, shard by shard. */
static void rig_gradient(Rig *rig, const float *x_t, const float *t, const float *eps) {
    size_t bytes = (size_t)(rig->shard * rig->pixels) * sizeof(float);
    Network *network = rig->network;
    memset(rig->sums, 0, (size_t)rig->optimizer.count * sizeof *rig->sums);
    rig->loss = 0;
    rig->bad = false;
    for (int64_t first = 0; first < rig->batch; first += rig->shard) {
        int64_t at = first * rig->pixels;
        double loss_sum = 0;
        memcpy(network_input(network, 0), x_t + at, bytes);
        memcpy(network_timesteps(network, 0), t + first, (size_t)rig->shard * sizeof(float));
        CHECK_OK(network_forward(network, 0));
        memcpy(rig->eps_hat + at, network_output(network, 0), bytes);
        LossArguments loss = {
            .samples = rig->shard,
            .real_samples = rig->shard,
            .pixels = rig->pixels,
            .batch = rig->batch,
            .eps = eps + at,
            .eps_hat = network_output(network, 0),
            .d_eps_hat = network_output_gradient(network, 0),
            .loss_sum = &loss_sum,
        };
        CHECK_OK(rig->backend->loss(&loss));
        CHECK_OK(network_backward(network, 0, add_gradient, rig));
        rig->loss += loss_sum / (double)rig->batch;
    }
}

static void rig_step(Rig *rig, int64_t step, OptimizerReport *out) {
    CHECK(!rig->bad);
    CHECK_OK(optimizer_step(&rig->optimizer, rig->sums, step, out));
    CHECK_OK(network_load(rig->network, rig->optimizer.parameters, 2));
}

/* ---- PyTorch's vectors ---- */

typedef struct Vectors {
    Hdf5File *file;
    UnetOptions unet;
    OptimizerOptions optimizer;
    float *x_t, *t, *eps, *eps_hat;
    double losses[LEARNING_STEPS], norms[LEARNING_STEPS];
} Vectors;

static int64_t read_integer(Hdf5File *file, const char *name) {
    int64_t value = 0;
    CHECK_OK(hdf5_read_scalar(file, name, HDF5_INT64, &value));
    return value;
}

static double read_number(Hdf5File *file, const char *name) {
    double value = NAN;
    CHECK_OK(hdf5_read_scalar(file, name, HDF5_FLOAT64, &value));
    return value;
}

static float *read_floats(Hdf5File *file, const char *name, int64_t count) {
    float *data = NULL;
    CHECK_OK(ALLOCATE(&data, count));
    CHECK_OK(hdf5_read_array(file, name, HDF5_FLOAT32, count, data));
    return data;
}

static void read_vectors(Vectors *v, const char *path) {
    *v = (Vectors){.unet = small};
    CHECK_OK(hdf5_open(path, &v->file));
    if (!v->file)
        return;
    CHECK(read_integer(v->file, "N") == small.batch && read_integer(v->file, "H") == small.height);
    CHECK(read_integer(v->file, "W") == small.width && read_integer(v->file, "time_dim") == small.time_dim);
    CHECK(read_integer(v->file, "groups") == small.groups);
    v->optimizer = (OptimizerOptions){
        .learning_rate = read_number(v->file, "lr"),
        .weight_decay = read_number(v->file, "weight_decay"),
        .clip_norm = read_number(v->file, "clip_norm"),
        .ema_decay = 0.999,
    };
    int64_t elements = small.batch * small.height * small.width;
    v->x_t = read_floats(v->file, "/x_t", elements);
    v->t = read_floats(v->file, "/t", small.batch);
    v->eps = read_floats(v->file, "/eps", elements);
    v->eps_hat = read_floats(v->file, "/eps_hat", elements);
    CHECK_OK(hdf5_read_array(v->file, "/losses", HDF5_FLOAT64, LEARNING_STEPS, v->losses));
    CHECK_OK(hdf5_read_array(v->file, "/grad_norms", HDF5_FLOAT64, LEARNING_STEPS, v->norms));
}

static void release_vectors(Vectors *v) {
    hdf5_close(v->file);
    free(v->x_t);
    free(v->t);
    free(v->eps);
    free(v->eps_hat);
}

/* All tensors of a group, in the graph's flat order. */
static float *read_group(const Vectors *v, const Graph *graph, const char *group) {
    float *flat = NULL;
    char name[256];
    CHECK_OK(ALLOCATE(&flat, graph->parameter_elements));
    for (int p = 0; p < graph->parameter_count; p++) {
        const Parameter *parameter = &graph->parameters[p];
        int64_t dims[HDF5_MAXIMUM_RANK];
        int rank = 0;
        snprintf(name, sizeof name, "%s/%s", group, parameter->name);
        CHECK_OK(hdf5_array_shape(v->file, name, HDF5_FLOAT32, &rank, dims));
        CHECK(rank == parameter->rank && memcmp(dims, parameter->dims, (size_t)rank * sizeof *dims) == 0);
        CHECK_OK(hdf5_read_array(v->file, name, HDF5_FLOAT32, parameter->count, flat + parameter->offset));
    }
    return flat;
}

/* Largest relative L2 error over the tensors; names those beyond the tolerance. */
static double compare_tensors(const Graph *graph, const float *found, const float *expected,
                              double tolerance) {
    double worst = 0;
    for (int p = 0; p < graph->parameter_count; p++) {
        const Parameter *parameter = &graph->parameters[p];
        double error =
            test_relative_error(found + parameter->offset, expected + parameter->offset, parameter->count);
        if (!(error <= tolerance))
            printf("%s: relative error %.3g, at most %.3g\n", parameter->name, error, tolerance);
        worst = error <= worst ? worst : error;
    }
    CHECK(worst <= tolerance);
    return worst;
}

static void check_scalars(const char *name, double found, double expected, double *worst) {
    double error = fabs(found - expected) / fabs(expected);
    if (!(error <= scalar_tolerance)) {
        printf("%s: found %.9g, expected %.9g\n", name, found, expected);
        CHECK(false);
    }
    *worst = error <= *worst ? *worst : error;
}

static void test_against_torch(const Vectors *v, const char *backend, int64_t shard) {
    UnetOptions unet = v->unet;
    Rig rig;
    unet.batch = shard;
    rig_create(&rig, backend, &unet, small.batch, &v->optimizer);
    const Graph *graph = rig.network->graph;
    float *initial = read_group(v, graph, "/parameters"), *gradients = read_group(v, graph, "/gradients");
    float *after = read_group(v, graph, "/parameters_after_10");
    double scalars = 0, gradient_error = 0, output_error = 0, squares;
    memcpy(rig.optimizer.parameters, initial, (size_t)rig.optimizer.count * sizeof(float));
    CHECK_OK(network_load(rig.network, rig.optimizer.parameters, 2));
    for (int step = 0; step < LEARNING_STEPS; step++) {
        OptimizerReport done = {0};
        rig_gradient(&rig, v->x_t, v->t, v->eps);
        if (step == 0) {
            output_error = test_relative_error(rig.eps_hat, v->eps_hat, small.batch * rig.pixels);
            CHECK(output_error <= forward_tolerance);
            CHECK_OK(rig.backend->finish_gradient(rig.optimizer.gradient, rig.sums, rig.optimizer.count,
                                                  &squares));
            gradient_error = compare_tensors(graph, rig.optimizer.gradient, gradients, gradient_tolerance);
        }
        rig_step(&rig, step, &done);
        check_scalars("loss", rig.loss, v->losses[step], &scalars);
        check_scalars("gradient norm", done.gradient_norm, v->norms[step], &scalars);
    }
    double all = test_relative_error(rig.optimizer.parameters, after, rig.optimizer.count);
    CHECK(all <= all_parameters_tolerance);
    double worst = compare_tensors(graph, rig.optimizer.parameters, after, one_parameter_tolerance);
    printf("%-13s shards of %" PRId64
           ": output %.1e, gradients %.1e, losses and norms %.1e; after 10 steps all %.1e, "
           "worst tensor %.1e\n",
           backend, shard, output_error, gradient_error, scalars, all, worst);
    free(initial);
    free(gradients);
    free(after);
    rig_release(&rig);
}

/* ---- properties ---- */

static void fill_normal(float *data, int64_t count, uint32_t sample) {
    rng_fill_normal(rng_key(1, RNG_TEST, 0, sample), data, count);
}

static void test_overfit(const char *backend) {
    OptimizerOptions options = {.learning_rate = 3e-3, .clip_norm = 1, .ema_decay = 0.9};
    int64_t elements = small.batch * small.height * small.width;
    float *x_t = NULL, *eps = NULL, *t = NULL, *initial = NULL;
    Rig rig;
    double first = 0;
    rig_create(&rig, backend, &small, small.batch, &options);
    CHECK_OK(ALLOCATE(&x_t, elements));
    CHECK_OK(ALLOCATE(&eps, elements));
    CHECK_OK(ALLOCATE(&t, small.batch));
    CHECK_OK(ALLOCATE(&initial, rig.optimizer.count));
    fill_normal(x_t, elements, 0);
    fill_normal(eps, elements, 1); /* independent of x_t: can only be learnt by heart */
    for (int64_t i = 0; i < small.batch; i++)
        t[i] = (float)(70 * i);
    network_initialise(rig.network->graph, 3, initial);
    memcpy(rig.optimizer.parameters, initial, (size_t)rig.optimizer.count * sizeof(float));
    CHECK_OK(network_load(rig.network, rig.optimizer.parameters, 2));
    for (int step = 0; step < OVERFIT_STEPS; step++) {
        OptimizerReport done = {0};
        rig_gradient(&rig, x_t, t, eps);
        first = step == 0 ? rig.loss : first;
        rig_step(&rig, step, &done);
    }
    printf("%-13s one batch, %d steps: loss %.4f -> %.4f\n", backend, OVERFIT_STEPS, first, rig.loss);
    CHECK(rig.loss < 0.2 * first); /* a network that learns nothing stays at 1 */
    free(x_t);
    free(eps);
    free(t);
    free(initial);
    rig_release(&rig);
}

/* One sample's output in every slot, with other neighbours each time, has the same bits; a NaN stays in its
 * sample. */
static void test_slots(const char *backend, const UnetOptions *shape, int64_t slots) {
    UnetOptions unet = *shape;
    unet.batch = slots;
    NetworkOptions options = {.unet = unet, .backend = backend_find(backend), .workers = 1};
    Network *network = NULL;
    int64_t pixels = unet.height * unet.width;
    float *parameters = NULL, *sample = NULL, *expected = NULL, *clean = NULL;
    CHECK_OK(network_create(&network, &options));
    CHECK_OK(options.backend->allocate((void **)&parameters,
                                       (size_t)network->graph->parameter_elements * sizeof(float)));
    CHECK_OK(ALLOCATE(&sample, pixels));
    CHECK_OK(ALLOCATE(&expected, pixels));
    CHECK_OK(ALLOCATE(&clean, slots * pixels));
    network_initialise(network->graph, 5, parameters);
    CHECK_OK(network_load(network, parameters, 1));
    fill_normal(sample, pixels, 100);
    for (int64_t slot = 0; slot < slots; slot++) {
        for (int64_t i = 0; i < slots; i++) {
            fill_normal(network_input(network, 0) + i * pixels, pixels, (uint32_t)(slot * slots + i));
            network_timesteps(network, 0)[i] = (float)(slot + 13 * i);
        }
        memcpy(network_input(network, 0) + slot * pixels, sample, (size_t)pixels * sizeof(float));
        network_timesteps(network, 0)[slot] = 42;
        CHECK_OK(network_forward(network, 0));
        const float *found = network_output(network, 0) + slot * pixels;
        if (slot == 0)
            memcpy(expected, found, (size_t)pixels * sizeof(float));
        CHECK(isfinite(found[0]) && memcmp(found, expected, (size_t)pixels * sizeof(float)) == 0);
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < slots; i++) {
            fill_normal(network_input(network, 0) + i * pixels, pixels, (uint32_t)i);
            network_timesteps(network, 0)[i] = (float)i;
        }
        if (pass == 1)
            network_input(network, 0)[1 * pixels + pixels / 2] = NAN;
        CHECK_OK(network_forward(network, 0));
        if (pass == 0)
            memcpy(clean, network_output(network, 0), (size_t)(slots * pixels) * sizeof(float));
    }
    for (int64_t i = 0; i < slots; i++) {
        const float *found = network_output(network, 0) + i * pixels;
        bool same = memcmp(found, clean + i * pixels, (size_t)pixels * sizeof(float)) == 0;
        CHECK(i == 1 ? isnan(found[0]) && isnan(found[pixels - 1]) : same);
    }
    options.backend->release(parameters);
    free(sample);
    free(expected);
    free(clean);
    network_destroy(network);
}

int main(int argc, char **argv) {
    static const char *const backends[] = {"cpu", "cpu_reference"};
    static const int64_t shards[] = {4, 2, 1};
    Vectors vectors;
    if (argc != 2) {
        printf("usage: test_network VECTORS\n");
        return 2;
    }
    read_vectors(&vectors, argv[1]);
    for (size_t b = 0; b < sizeof backends / sizeof *backends; b++) {
        for (size_t s = 0; vectors.file && s < sizeof shards / sizeof *shards; s++)
            test_against_torch(&vectors, backends[b], shards[s]);
        test_slots(backends[b], &small, 5);
    }
    test_slots("cpu", &report, 8);
    test_overfit("cpu");
    release_vectors(&vectors);
    return test_result();
}
