/* The whole network: output, gradients and ten optimizer steps against PyTorch (tests/vectors/README.md), and
 * what a shard promises: no sample depends on its slot or its neighbours.
 *
 * test_network VECTORS                       both CPU backends
 * test_network VECTORS BACKEND [PRECISION]   another one; exit status 77 if there is no device for it */
#include <inttypes.h>

#include "core/rng.h"
#include "io/hdf5_file.h"
#include "model/network.h"
#include "network_vjp.h"
#include "test.h"
#include "test_backend.h"
#include "training/optimizer.h"
#include "unet_sizes.h"

enum { LEARNING_STEPS = 10, OVERFIT_STEPS = 150 };

/* Largest relative L2 errors against PyTorch's float64. */
typedef struct Tolerances {
    const char *precision;
    double forward, gradient, one_gradient; /* output; all gradients together; one tensor's */
    double after, one_after;                /* parameters after ten steps, together and one tensor */
    double scalar;                          /* each step's loss and gradient norm */
} Tolerances;

/* Float32 against float64 rounded once: an element is off by about 6e-8 times the square root of the number
 * of roundings behind it, some 10^4 here; PyTorch's own float32 is 5e-7 away at the output.
 * AdamW divides by sqrt(v), which turns the rounding of a small gradient into a change of the size of the
 * learning rate: PyTorch's float32 is 5e-5 from its own float64 in single tensors after ten steps.
 * Losses and norms are sums over all pixels or parameters in double of float32 values; the first step shows
 * 1e-6, later ones inherit the parameters' error. */
static const Tolerances host_tolerances = {"fp32", 1e-5, 1e-5, 1e-5, 2e-5, 2e-4, 1e-4};

/* A device's library chooses among algorithms, of which some (Winograd) round ten times as much.
 * Rounding this network's feature maps, their gradients and the weights to bf16 in PyTorch moves its output
 * by 0.8 percent, its gradients by 1.2 and the worst tensor by 2.5: three times that is allowed. TF32 rounds
 * only what is multiplied, to 11 bits instead of 8: an eighth, and three times that. AdamW's first steps are
 * the sign of the gradient times the learning rate, whatever its size: parameters are compared in float32
 * only. */
static const Tolerances device_tolerances[] = {
    {"fp32", 1e-4, 1e-4, 1e-4, 1e-4, 1e-3, 2e-4},
    {"tf32", 0.003, 0.005, 0.01, INFINITY, INFINITY, 0.01},
    {"bf16", 0.024, 0.036, 0.075, INFINITY, INFINITY, 0.05},
};

/* ---- a network with its optimizer, fed with given x_t, t and eps ---- */

typedef struct Rig {
    const Backend *backend;
    Network *network;
    Optimizer optimizer;
    int64_t *sums;
    /* one shard's, in the backend's memory */
    BatchInput *input;
    BatchSlot *slots;
    ShardTotals *totals;
    int64_t shard, batch, pixels; /* samples per shard and in the batch; pixels of a sample */
    float *eps_hat;               /* (batch, pixels) of the latest rig_gradient */
    double loss;
} Rig;

static int threads(const Backend *backend) {
    return backend->max_workers ? backend->max_workers() : 2;
}

static void to_backend(const Backend *backend, void *to, const void *from, int64_t count) {
    CHECK_OK(backend->copy_in(to, from, (size_t)count * sizeof(float)));
}

static void from_backend(const Backend *backend, void *to, const void *from, int64_t count) {
    CHECK_OK(backend->copy_out(to, from, (size_t)count * sizeof(float)));
}

static void rig_create(Rig *rig, const Backend *backend, const UnetOptions *unet, int64_t batch,
                       const OptimizerOptions *optimizer) {
    NetworkOptions options = {
        .unet = *unet, .backend = backend, .workers = 1, .gradients = NETWORK_TRAINING, .side_stream = true};
    *rig = (Rig){.backend = options.backend,
                 .shard = unet->batch,
                 .batch = batch,
                 .pixels = unet->height * unet->width};
    CHECK_OK(network_create(&rig->network, &options));
    CHECK_OK(
        optimizer_create(&rig->optimizer, rig->backend, rig->network->graph, optimizer, threads(backend)));
    if (network_gathers(rig->network)) /* the optimizer's is free until the sums are complete */
        rig->network->gradients = rig->optimizer.gradient;
    CHECK_OK(backend->allocate((void **)&rig->sums, (size_t)rig->optimizer.count * sizeof *rig->sums));
    CHECK_OK(backend->allocate((void **)&rig->input, sizeof *rig->input));
    CHECK_OK(backend->allocate((void **)&rig->totals, sizeof *rig->totals));
    CHECK_OK(backend->allocate((void **)&rig->slots, (size_t)rig->shard * sizeof *rig->slots)); /* image 0 */
    const BatchInput input = {.count = batch, .limit = 8192};
    CHECK_OK(backend->copy_in(rig->input, &input, sizeof input));
    CHECK_OK(ALLOCATE(&rig->eps_hat, batch * rig->pixels));
}

static void rig_release(Rig *rig) {
    rig->backend->release(rig->sums);
    rig->backend->release(rig->input);
    rig->backend->release(rig->slots);
    rig->backend->release(rig->totals);
    network_destroy(rig->network);
    optimizer_release(&rig->optimizer);
    free(rig->eps_hat);
}

static Status add_gradient(void *context, int64_t first, int64_t count, const float *gradient) {
    Rig *rig = context;
    return rig->backend->accumulate(rig->sums + first, gradient, count, &rig->input->limit,
                                    &rig->totals->bad);
}

/* eps_hat, loss and, in sums, the gradient of the mean loss, shard by shard. */
static void rig_gradient(Rig *rig, const float *x_t, const float *t, const float *eps) {
    Network *network = rig->network;
    const Backend *backend = rig->backend;
    const int64_t values = rig->shard * rig->pixels;
    float *placed_eps = NULL;
    CHECK_OK(backend->allocate((void **)&placed_eps, (size_t)values * sizeof *placed_eps));
    CHECK_OK(backend->clear(rig->sums, (size_t)rig->optimizer.count * sizeof *rig->sums));
    CHECK_OK(backend->clear(rig->totals, sizeof *rig->totals));
    rig->loss = 0;
    for (int64_t first = 0; first < rig->batch; first += rig->shard) {
        int64_t at = first * rig->pixels;
        ShardTotals totals;
        to_backend(backend, network_input(network, 0), x_t + at, values);
        to_backend(backend, network_timesteps(network, 0), t + first, rig->shard);
        to_backend(backend, placed_eps, eps + at, values);
        CHECK_OK(network_forward(network, 0));
        from_backend(backend, rig->eps_hat + at, network_output(network, 0), values);
        LossArguments loss = {
            .samples = rig->shard,
            .pixels = rig->pixels,
            .batch = rig->input,
            .slots = rig->slots,
            .eps = placed_eps,
            .eps_hat = network_output(network, 0),
            .d_eps_hat = network_output_gradient(network, 0),
            .loss_sum = &rig->totals->loss_sum,
        };
        CHECK_OK(backend->loss(&loss));
        CHECK_OK(network_backward(network, 0, add_gradient, rig));
        CHECK_OK(backend->copy_out(&totals, rig->totals, sizeof totals));
        CHECK(!totals.bad);
        rig->loss += totals.loss_sum / (double)rig->batch;
    }
    backend->release(placed_eps);
}

static void read_gradient(const Rig *rig, float *gradient) {
    int64_t *sums = NULL;
    CHECK_OK(ALLOCATE(&sums, rig->optimizer.count));
    CHECK_OK(rig->backend->copy_out(sums, rig->sums, (size_t)rig->optimizer.count * sizeof *sums));
    for (int64_t i = 0; i < rig->optimizer.count; i++)
        gradient[i] = (float)((double)sums[i] / FIXED_POINT_SCALE);
    free(sums);
}

static void rig_step(Rig *rig, int64_t step, OptimizerReport *out) {
    CHECK_OK(optimizer_step(&rig->optimizer, rig->sums, step, out));
    CHECK_OK(network_load(rig->network, rig->optimizer.parameters, threads(rig->backend)));
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

static void check_scalars(const char *name, double found, double expected, double tolerance, double *worst) {
    double error = fabs(found - expected) / fabs(expected);
    if (!(error <= tolerance)) {
        printf("%s: found %.9g, expected %.9g\n", name, found, expected);
        CHECK(false);
    }
    *worst = error <= *worst ? *worst : error;
}

static void test_against_torch(const Vectors *v, const Backend *backend, const Tolerances *tolerances,
                               int64_t shard) {
    UnetOptions unet = v->unet;
    Rig rig;
    unet.batch = shard;
    unet.activation_type = backend_activation_type(tolerances->precision);
    rig_create(&rig, backend, &unet, small.batch, &v->optimizer);
    const Graph *graph = rig.network->graph;
    const int64_t count = rig.optimizer.count;
    float *initial = read_group(v, graph, "/parameters"), *gradients = read_group(v, graph, "/gradients");
    float *after = read_group(v, graph, "/parameters_after_10"), *found = NULL;
    double scalars = 0, gradient_error = 0, worst_gradient = 0, output_error = 0;
    CHECK_OK(ALLOCATE(&found, count));
    to_backend(backend, rig.optimizer.parameters, initial, count);
    CHECK_OK(network_load(rig.network, rig.optimizer.parameters, threads(backend)));
    for (int step = 0; step < LEARNING_STEPS; step++) {
        OptimizerReport done = {0};
        rig_gradient(&rig, v->x_t, v->t, v->eps);
        if (step == 0) {
            output_error = test_relative_error(rig.eps_hat, v->eps_hat, small.batch * rig.pixels);
            CHECK(output_error <= tolerances->forward);
            read_gradient(&rig, found);
            gradient_error = test_relative_error(found, gradients, count);
            CHECK(gradient_error <= tolerances->gradient);
            worst_gradient = compare_tensors(graph, found, gradients, tolerances->one_gradient);
        }
        rig_step(&rig, step, &done);
        check_scalars("loss", rig.loss, v->losses[step], tolerances->scalar, &scalars);
        check_scalars("gradient norm", done.gradient_norm, v->norms[step], tolerances->scalar, &scalars);
    }
    from_backend(backend, found, rig.optimizer.parameters, count);
    double all = test_relative_error(found, after, count);
    CHECK(all <= tolerances->after);
    double worst = compare_tensors(graph, found, after, tolerances->one_after);
    printf("%-13s %s, shards of %" PRId64
           ": output %.1e, gradients %.1e, worst %.1e, losses and norms %.1e; after 10 steps all %.1e, "
           "worst tensor %.1e\n",
           backend->name, tolerances->precision, shard, output_error, gradient_error, worst_gradient, scalars,
           all, worst);
    free(found);
    free(initial);
    free(gradients);
    free(after);
    rig_release(&rig);
}

/* ---- properties ---- */

static void fill_normal(float *data, int64_t count, uint32_t sample) {
    rng_fill_normal(rng_key(1, RNG_TEST, 0, sample), data, count);
}

/* Two nodes of the side stream never run at a time, but one beside others: their scratch lies apart. */
static void check_scratch(const Network *network) {
    const int64_t side = network->scratch_bytes - network->side_scratch;
    for (int n = 0; network->side_stream && n < network->plan.node_count; n++) {
        const int64_t bytes = (int64_t)network->ops[n].scratch_bytes;
        const bool aside = n < network->branch.end || graph_node_is_leaf(network->graph, n);
        CHECK(bytes <= (aside ? side : network->side_scratch));
    }
}

static void test_overfit(const Backend *backend, const char *precision) {
    OptimizerOptions options = {.learning_rate = 3e-3, .clip_norm = 1, .ema_decay = 0.9};
    int64_t elements = small.batch * small.height * small.width;
    float *x_t = NULL, *eps = NULL, *t = NULL, *initial = NULL;
    UnetOptions unet = small;
    Rig rig;
    double first = 0;
    unet.activation_type = backend_activation_type(precision);
    rig_create(&rig, backend, &unet, small.batch, &options);
    check_scratch(rig.network);
    CHECK_OK(ALLOCATE(&x_t, elements));
    CHECK_OK(ALLOCATE(&eps, elements));
    CHECK_OK(ALLOCATE(&t, small.batch));
    CHECK_OK(ALLOCATE(&initial, rig.optimizer.count));
    fill_normal(x_t, elements, 0);
    fill_normal(eps, elements, 1); /* independent of x_t: can only be learnt by heart */
    for (int64_t i = 0; i < small.batch; i++)
        t[i] = (float)(70 * i);
    network_initialise(rig.network->graph, 3, initial);
    to_backend(backend, rig.optimizer.parameters, initial, rig.optimizer.count);
    CHECK_OK(network_load(rig.network, rig.optimizer.parameters, threads(backend)));
    for (int step = 0; step < OVERFIT_STEPS; step++) {
        OptimizerReport done = {0};
        rig_gradient(&rig, x_t, t, eps);
        first = step == 0 ? rig.loss : first;
        rig_step(&rig, step, &done);
    }
    printf("%-13s one batch, %d steps: loss %.4f -> %.4f\n", backend->name, OVERFIT_STEPS, first, rig.loss);
    CHECK(rig.loss < 0.2 * first); /* a network that learns nothing stays at 1 */
    free(x_t);
    free(eps);
    free(t);
    free(initial);
    rig_release(&rig);
}

/* A forward pass of a batch that lies in host memory; the output replaces x. */
static void run_forward(Network *network, float *x, const float *t, int64_t slots, int64_t pixels) {
    to_backend(network->backend, network_input(network, 0), x, slots * pixels);
    to_backend(network->backend, network_timesteps(network, 0), t, slots);
    CHECK_OK(network_forward(network, 0));
    from_backend(network->backend, x, network_output(network, 0), slots * pixels);
}

static Network *create_random(const Backend *backend, const UnetOptions *unet, float **parameters) {
    NetworkOptions options = {.unet = *unet, .backend = backend, .workers = 1};
    Network *network = NULL;
    float *initial = NULL;
    CHECK_OK(network_create(&network, &options));
    const int64_t count = network->graph->parameter_elements;
    CHECK_OK(ALLOCATE(&initial, count));
    CHECK_OK(backend->allocate((void **)parameters, (size_t)count * sizeof **parameters));
    network_initialise(network->graph, 5, initial);
    int output =
        graph_find_parameter(network->graph, "out.conv.weight"); /* may begin at zero: hides everything */
    CHECK(output >= 0);
    fill_normal(initial + network->graph->parameters[output].offset, network->graph->parameters[output].count,
                99);
    to_backend(backend, *parameters, initial, count);
    CHECK_OK(network_load(network, *parameters, 1));
    free(initial);
    return network;
}

/* One sample's output in every slot, with other neighbours each time, has the same bits; a NaN stays in its
 * sample. */
static void test_slots(const Backend *backend, const char *precision, const UnetOptions *shape,
                       int64_t slots) {
    UnetOptions unet = *shape;
    const int64_t pixels = unet.height * unet.width;
    const size_t sample_bytes = (size_t)pixels * sizeof(float);
    float *parameters = NULL, *sample = NULL, *expected = NULL, *clean = NULL, *x = NULL, *t = NULL;
    unet.batch = slots;
    unet.activation_type = backend_activation_type(precision);
    Network *network = create_random(backend, &unet, &parameters);
    CHECK_OK(ALLOCATE(&sample, pixels));
    CHECK_OK(ALLOCATE(&expected, pixels));
    CHECK_OK(ALLOCATE(&clean, slots * pixels));
    CHECK_OK(ALLOCATE(&x, slots * pixels));
    CHECK_OK(ALLOCATE(&t, slots));
    fill_normal(sample, pixels, 100);
    for (int64_t slot = 0; slot < slots; slot++) {
        for (int64_t i = 0; i < slots; i++) {
            fill_normal(x + i * pixels, pixels, (uint32_t)(slot * slots + i));
            t[i] = (float)(slot + 13 * i);
        }
        memcpy(x + slot * pixels, sample, sample_bytes);
        t[slot] = 42;
        run_forward(network, x, t, slots, pixels);
        const float *found = x + slot * pixels;
        if (slot == 0)
            memcpy(expected, found, sample_bytes);
        CHECK(isfinite(found[0]) && memcmp(found, expected, sample_bytes) == 0);
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < slots; i++) {
            fill_normal(x + i * pixels, pixels, (uint32_t)i);
            t[i] = (float)i;
        }
        if (pass == 1)
            x[1 * pixels + pixels / 2] = NAN;
        run_forward(network, x, t, slots, pixels);
        if (pass == 0)
            memcpy(clean, x, sample_bytes * (size_t)slots);
    }
    for (int64_t i = 0; i < slots; i++) {
        const float *found = x + i * pixels;
        bool same = memcmp(found, clean + i * pixels, sample_bytes) == 0;
        CHECK(i == 1 ? isnan(found[0]) && isnan(found[pixels - 1]) : same);
    }
    backend->release(parameters);
    free(sample);
    free(expected);
    free(clean);
    free(x);
    free(t);
    network_destroy(network);
}

static const Tolerances *find_tolerances(const char *precision) {
    for (size_t i = 0; i < sizeof device_tolerances / sizeof *device_tolerances; i++)
        if (strcmp(device_tolerances[i].precision, precision) == 0)
            return &device_tolerances[i];
    printf("no tolerances for precision %s\n", precision);
    exit(2);
}

static void test_backend(const char *path, const Vectors *vectors, const Backend *backend,
                         const Tolerances *tolerances) {
    static const int64_t shards[] = {4, 2, 1};
    for (size_t s = 0; vectors->file && s < sizeof shards / sizeof *shards; s++)
        test_against_torch(vectors, backend, tolerances, shards[s]);
    test_slots(backend, tolerances->precision, &small, 5);
    test_failures += network_vjp_test(path, backend, tolerances->precision, tolerances->one_gradient);
}

int main(int argc, char **argv) {
    Vectors vectors;
    if (argc < 2) {
        printf("usage: test_network VECTORS [BACKEND [PRECISION [quick]]]\n");
        return 2;
    }
    const Tolerances *tolerances = argc < 3 ? &host_tolerances : find_tolerances(argc > 3 ? argv[3] : "fp32");
    bool quick = argc > 4 && strcmp(argv[4], "quick") == 0; /* without what takes longest */
    const Backend *backend = test_backend_start(argc > 2 ? argv[2] : "cpu", tolerances->precision);
    read_vectors(&vectors, argv[1]);
    test_backend(argv[1], &vectors, backend, tolerances);
    if (argc < 3)
        test_backend(argv[1], &vectors, backend_find("cpu_reference"), tolerances);
    if (!quick) {
        test_slots(backend, tolerances->precision, &report, 8);
        test_overfit(backend, tolerances->precision);
    }
    release_vectors(&vectors);
    test_backend_stop(backend);
    return test_result();
}
