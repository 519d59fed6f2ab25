/* AdamW with clipping, warm-up and moving average over the parameters of a small network, against the
 * formulas in double. */
#include "core/rng.h"
#include "model/unet.h"
#include "tests/test.h"
#include "training/optimizer.h"

enum { STEPS = 12, RESULTS = 4 };

static const UnetOptions small_network = {.channel_count = 2,
                                          .channels = {8, 40},
                                          .time_dim = 48,
                                          .groups = 4,
                                          .batch = 1,
                                          .height = 8,
                                          .width = 8};

/* The state in double. */
typedef struct Reference {
    int64_t count;
    bool *decay;
    double *values[RESULTS]; /* parameters, moving average, m, v */
} Reference;

static void reference_create(Reference *reference, const Graph *graph, const float *initial) {
    *reference = (Reference){.count = graph->parameter_elements};
    CHECK_OK(ALLOCATE(&reference->decay, reference->count));
    for (int k = 0; k < RESULTS; k++)
        CHECK_OK(ALLOCATE(&reference->values[k], reference->count));
    for (int p = 0; p < graph->parameter_count; p++)
        for (int64_t i = 0; i < graph->parameters[p].count; i++)
            /* convolutions' and linear layers' weights; biases and GroupNorm have one dimension */
            reference->decay[graph->parameters[p].offset + i] = graph->parameters[p].rank >= 2;
    for (int64_t i = 0; i < reference->count; i++)
        reference->values[0][i] = reference->values[1][i] = initial[i];
}

static void reference_release(Reference *reference) {
    free(reference->decay);
    for (int k = 0; k < RESULTS; k++)
        free(reference->values[k]);
}

/* torch.optim.AdamW's defaults and torch.nn.utils.clip_grad_norm_. */
static void reference_step(Reference *reference, const OptimizerOptions *options, const int64_t *sums,
                           int64_t step, OptimizerReport *report) {
    const double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, t = (double)step + 1;
    double squares = 0, scale = 1, rate = options->learning_rate;
    for (int64_t i = 0; i < reference->count; i++)
        squares += pow((double)sums[i] / FIXED_POINT_SCALE, 2);
    report->gradient_norm = sqrt(squares);
    if (options->clip_norm > 0)
        scale = fmin(1, options->clip_norm / (report->gradient_norm + 1e-6));
    if (options->warmup_steps > 0)
        rate *= fmin(1, t / (double)options->warmup_steps);
    report->learning_rate = rate;
    double average = fmin(options->ema_decay, (1 + (double)step) / (10 + (double)step));
    for (int64_t i = 0; i < reference->count; i++) {
        double g = scale * (double)sums[i] / FIXED_POINT_SCALE;
        double *p = &reference->values[0][i], *ema = &reference->values[1][i], *m = &reference->values[2][i],
               *v = &reference->values[3][i];
        if (reference->decay[i])
            *p -= rate * options->weight_decay * *p;
        *m = beta1 * *m + (1 - beta1) * g;
        *v = beta2 * *v + (1 - beta2) * g * g;
        *p -= rate * (*m / (1 - pow(beta1, t))) / (sqrt(*v / (1 - pow(beta2, t))) + epsilon);
        *ema = average * *ema + (1 - average) * *p;
    }
}

/* Gradients of norm about `norm`, with elements over four orders of magnitude and some exactly zero. */
static void make_sums(int64_t *sums, int64_t count, int64_t step, double norm) {
    double squares = 0;
    float *values = NULL;
    CHECK_OK(ALLOCATE(&values, count + 4));
    rng_fill_normal(rng_key(2, RNG_TEST, (uint32_t)step, 0), values, count);
    for (int64_t i = 0; i < count; i++) {
        values[i] *= i % 11 == 0 ? 0 : powf(10, -(float)(i % 5));
        squares += (double)values[i] * values[i];
    }
    for (int64_t i = 0; i < count; i++)
        sums[i] = llrint(norm / sqrt(squares) * values[i] * FIXED_POINT_SCALE);
    free(values);
}

/* Float arithmetic against double, per element: a parameter takes a rounding (2^-24 of it) at each
 * multiplication, subtraction and step; an update of the size of the learning rate carries the roundings of
 * m, v, the constants and the quotient, about 16 of them, each of 2^-24, and m's and v's own grow with the
 * steps. */
static void compare(const Optimizer *optimizer, const Reference *reference, int64_t steps) {
    const double unit = 0x1p-24, rate = optimizer->options.learning_rate;
    const float *found[RESULTS] = {optimizer->parameters, optimizer->ema, optimizer->m, optimizer->v};
    int64_t wrong[RESULTS] = {0};
    for (int64_t i = 0; i < reference->count; i++) {
        double v = reference->values[3][i], n = (double)steps;
        double parameter_error = n * unit * (3 * fabs(reference->values[0][i]) + 64 * rate);
        /* m averages gradients, none larger than sqrt(v / (1 - beta2)) but for the 1% that v has decayed */
        double tolerance[RESULTS] = {parameter_error, 2 * parameter_error,
                                     8 * unit * n * sqrt(v * 1000) + 1e-30, 16 * unit * n * v + 1e-36};
        for (int k = 0; k < RESULTS; k++)
            wrong[k] += !(fabs(found[k][i] - reference->values[k][i]) <= tolerance[k]);
    }
    CHECK(wrong[0] == 0);
    CHECK(wrong[1] == 0);
    CHECK(wrong[2] == 0);
    CHECK(wrong[3] == 0);
}

static void start(Optimizer *optimizer, const Graph *graph, const OptimizerOptions *options, int threads,
                  const float *initial) {
    const Backend *backend = backend_find("cpu");
    size_t bytes = (size_t)graph->parameter_elements * sizeof(float);
    CHECK(backend);
    CHECK_OK(optimizer_create(optimizer, backend, graph, options, threads));
    CHECK_OK(backend->copy_in(optimizer->parameters, initial, bytes));
    CHECK_OK(backend->copy_in(optimizer->ema, initial, bytes));
}

static void test_steps(const Graph *graph, const float *initial, const OptimizerOptions *options) {
    Optimizer one = {0}, three = {0};
    Reference reference;
    int64_t *sums = NULL, clipped = 0;
    int64_t count = graph->parameter_elements;
    size_t bytes = (size_t)count * sizeof(float);
    start(&one, graph, options, 1, initial);
    start(&three, graph, options, 3, initial);
    reference_create(&reference, graph, initial);
    CHECK_OK(ALLOCATE(&sums, count));
    for (int64_t step = 0; step < STEPS; step++) {
        OptimizerReport found, again, expected;
        make_sums(sums, count, step, step % 3 == 2 ? 4.0 : 0.3); /* every third is clipped at 1 */
        CHECK_OK(optimizer_step(&one, sums, step, &found));
        CHECK_OK(optimizer_step(&three, sums, step, &again));
        reference_step(&reference, options, sums, step, &expected);
        clipped += options->clip_norm > 0 && expected.gradient_norm > options->clip_norm;
        /* elements rounded to float, their squares added in double */
        CHECK_NEAR(found.gradient_norm, expected.gradient_norm, 0x1p-24 * expected.gradient_norm);
        CHECK_NEAR(found.learning_rate, expected.learning_rate, 1e-15);
        CHECK(memcmp(&found.gradient_norm, &again.gradient_norm, sizeof(double)) == 0);
        compare(&one, &reference, step + 1);
    }
    CHECK(clipped == (options->clip_norm > 0 ? STEPS / 3 : 0));
    CHECK(memcmp(one.parameters, three.parameters, bytes) == 0 && memcmp(one.ema, three.ema, bytes) == 0 &&
          memcmp(one.m, three.m, bytes) == 0 && memcmp(one.v, three.v, bytes) == 0);
    optimizer_release(&one);
    optimizer_release(&three);
    optimizer_release(&three);
    reference_release(&reference);
    free(sums);
}

/* Without a gradient nothing moves but what decays, and that by exactly lr * weight_decay of itself. */
static void test_decay_alone(const Graph *graph, const float *initial) {
    OptimizerOptions options = {.learning_rate = 0.1, .weight_decay = 0.5, .clip_norm = 1, .ema_decay = 0.9};
    Optimizer optimizer = {0};
    OptimizerReport report;
    int64_t *sums = NULL, wrong = 0, decayed = 0;
    start(&optimizer, graph, &options, 2, initial);
    CHECK_OK(ALLOCATE(&sums, optimizer.count));
    CHECK_OK(optimizer_step(&optimizer, sums, 0, &report));
    CHECK(report.gradient_norm == 0);
    for (int p = 0; p < graph->parameter_count; p++) {
        const Parameter *parameter = &graph->parameters[p];
        CHECK(parameter->decay == (parameter->rank >= 2));
        for (int64_t i = parameter->offset; i < parameter->offset + parameter->count; i++) {
            double expected = parameter->rank >= 2 ? 0.95 * initial[i] : initial[i];
            wrong +=
                !(fabs(optimizer.parameters[i] - expected) <= 0x1p-23 * fabs(expected)); /* two roundings */
            decayed += optimizer.parameters[i] != initial[i];
        }
    }
    CHECK(wrong == 0);
    CHECK(decayed > 0 && decayed < optimizer.count);
    optimizer_release(&optimizer);
    free(sums);
}

int main(void) {
    Graph *graph = NULL;
    float *initial = NULL;
    OptimizerOptions options = {
        .learning_rate = 1e-3, .weight_decay = 0.1, .clip_norm = 1, .ema_decay = 0.3, .warmup_steps = 5};
    CHECK_OK(graph_create(&graph));
    CHECK_OK(unet_build_trainable(graph, &small_network));
    CHECK(graph->parameter_elements > 2 * 16384); /* several pieces of the optimizer's in one tensor */
    CHECK_OK(ALLOCATE(&initial, graph->parameter_elements));
    rng_fill_normal(rng_key(1, RNG_TEST, 0, 0), initial, graph->parameter_elements);
    for (int64_t i = 0; i < graph->parameter_elements; i++)
        initial[i] *= 0.1f;
    test_steps(graph, initial, &options); /* the average's decay: 0.1 at first, 0.3 from step 3 on */
    options = (OptimizerOptions){.learning_rate = 1e-2, .weight_decay = 0, .clip_norm = 0, .ema_decay = 0};
    test_steps(graph, initial, &options);
    test_decay_alone(graph, initial);
    graph_destroy(graph);
    free(initial);
    return test_result();
}
