/* The convolution implementations against loops in double, at sizes that leave tiles, vectors and blocks
 * partly filled; the same bits on any thread; oneDNN's primitives made and run without touching OpenMP's
 * settings. */
#include "test.h"

#include <omp.h>

#include "core/rng.h"
#include "core/team.h"
#include "kernels/backend.h"
#include "kernels/cpu/convolution.h"

typedef Status (*Create)(Convolution **, const ConvolutionGeometry *, ConvolutionPass);

typedef struct Tensors {
    float *large, *small, *weights, *bias, *addend; /* addend: as small */
    int64_t large_count, small_count, weight_count;
    bool sum; /* forward adds the addend */
} Tensors;

typedef struct Case {
    const char *name;
    Create create;
    double tolerance;
    ConvolutionGeometry geometry;
} Case;

/* float32 sums of a few hundred to a few thousand terms: 5e-7 at most 1e-6 in relative L2 norm. Winograd's
 * transforms multiply that by two to three (winograd.c); its filter gradients sum over more pixels. */
static const double direct_tolerance = 2e-6, winograd_tolerance = 4e-6;

static void *allocate(size_t bytes) {
    void *memory = NULL;
    if (backend_find("cpu")->allocate(&memory, bytes ? bytes : 1) != STATUS_OK) {
        printf("out of memory\n");
        exit(1);
    }
    return memory;
}

static float *allocate_normal(int64_t count, uint32_t sequence) {
    float *values = allocate((size_t)count * sizeof *values);
    rng_fill_normal(rng_key(99, RNG_TEST, 0, sequence), values, count);
    return values;
}

static void poison(float *values, int64_t count) {
    memset(values, 0xff, (size_t)count * sizeof *values); /* NaN */
}

static Tensors tensors_create(const ConvolutionGeometry *g) {
    Tensors t = {.large_count = g->samples * g->large_h * g->large_w * g->large_c,
                 .small_count = g->samples * g->small_h * g->small_w * g->small_c,
                 .weight_count = g->small_c * g->large_c * g->kernel * g->kernel};
    t.large = allocate_normal(t.large_count, 1);
    t.small = allocate_normal(t.small_count, 2);
    t.weights = allocate_normal(t.weight_count, 3);
    t.bias = allocate_normal(g->small_c, 4);
    t.addend = allocate_normal(t.small_count, 5);
    for (int64_t i = 0; i < t.large_count; i++)
        t.large[i] += 0.5f; /* as after a SiLU, not centred */
    return t;
}

static void tensors_release(Tensors *t) {
    backend_find("cpu")->release(t->large);
    backend_find("cpu")->release(t->small);
    backend_find("cpu")->release(t->weights);
    backend_find("cpu")->release(t->bias);
    backend_find("cpu")->release(t->addend);
}

/* Calls visit for every pair of pixels that a tap joins. */
typedef void (*Visit)(const ConvolutionGeometry *g, int64_t large_pixel, int64_t small_pixel, int tap,
                      const Tensors *t, double *out);

static void for_each_tap(const ConvolutionGeometry *g, Visit visit, const Tensors *t, double *out) {
    for (int64_t n = 0; n < g->samples; n++)
        for (int64_t y = 0; y < g->small_h; y++)
            for (int64_t x = 0; x < g->small_w; x++)
                for (int tap = 0; tap < g->kernel * g->kernel; tap++) {
                    int64_t from_y = y * g->stride - g->pad + tap / g->kernel;
                    int64_t from_x = x * g->stride - g->pad + tap % g->kernel;
                    if (from_y >= 0 && from_y < g->large_h && from_x >= 0 && from_x < g->large_w)
                        visit(g, (n * g->large_h + from_y) * g->large_w + from_x,
                              (n * g->small_h + y) * g->small_w + x, tap, t, out);
                }
}

static int64_t weight_at(const ConvolutionGeometry *g, int64_t small_c, int64_t large_c, int tap) {
    return (small_c * g->large_c + large_c) * g->kernel * g->kernel + tap;
}

static void visit_forward(const ConvolutionGeometry *g, int64_t from, int64_t to, int tap, const Tensors *t,
                          double *out) {
    for (int64_t s = 0; s < g->small_c; s++)
        for (int64_t l = 0; l < g->large_c; l++)
            out[to * g->small_c + s] +=
                (double)t->large[from * g->large_c + l] * (double)t->weights[weight_at(g, s, l, tap)];
}

static void visit_data(const ConvolutionGeometry *g, int64_t to, int64_t from, int tap, const Tensors *t,
                       double *out) {
    for (int64_t s = 0; s < g->small_c; s++)
        for (int64_t l = 0; l < g->large_c; l++)
            out[to * g->large_c + l] +=
                (double)t->small[from * g->small_c + s] * (double)t->weights[weight_at(g, s, l, tap)];
}

static void visit_weights(const ConvolutionGeometry *g, int64_t large, int64_t small, int tap,
                          const Tensors *t, double *out) {
    for (int64_t s = 0; s < g->small_c; s++)
        for (int64_t l = 0; l < g->large_c; l++)
            out[weight_at(g, s, l, tap)] +=
                (double)t->small[small * g->small_c + s] * (double)t->large[large * g->large_c + l];
}

static int64_t result_count(const Tensors *t, ConvolutionPass pass) {
    return pass == CONVOLUTION_FORWARD         ? t->small_count
           : pass == CONVOLUTION_BACKWARD_DATA ? t->large_count
                                               : t->weight_count;
}

static void truth(double *out, const ConvolutionGeometry *g, ConvolutionPass pass, const Tensors *t) {
    static const Visit visits[] = {visit_forward, visit_data, visit_weights};
    memset(out, 0, (size_t)result_count(t, pass) * sizeof *out);
    if (pass == CONVOLUTION_FORWARD)
        for (int64_t i = 0; i < t->small_count; i++)
            out[i] = (g->bias ? (double)t->bias[i % g->small_c] : 0) + (t->sum ? (double)t->addend[i] : 0);
    for_each_tap(g, visits[pass], t, out);
}

static double relative_error(const float *a, const double *b, int64_t count) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return sqrt(difference / norm);
}

/* ---- runs, alone and in teams ---- */

typedef struct Run {
    const Convolution *convolution;
    const ConvolutionGeometry *geometry;
    ConvolutionPass pass;
    const Tensors *tensors;
    void *packed;
    float **results, **biases; /* per task */
} Run;

static Status run_task(void *context, int worker, int64_t task) {
    const Run *run = context;
    const Convolution *c = run->convolution;
    const Tensors *t = run->tensors;
    float *result = run->results[task], *bias = run->biases[task];
    float *scratch = allocate(c->scratch_bytes);
    Status status;
    (void)worker;
    poison(result, result_count(t, run->pass));
    poison(bias, run->geometry->small_c);
    poison(scratch, (int64_t)(c->scratch_bytes / sizeof *scratch));
    if (run->pass == CONVOLUTION_FORWARD)
        status = c->run(c, t->large, run->packed, run->geometry->bias ? t->bias : NULL,
                        t->sum ? t->addend : NULL, result, scratch);
    else if (run->pass == CONVOLUTION_BACKWARD_DATA)
        status = c->run(c, result, run->packed, NULL, NULL, t->small, scratch);
    else
        status = c->run(c, t->large, result, run->geometry->bias ? bias : NULL, NULL, t->small, scratch);
    backend_find("cpu")->release(scratch);
    return status;
}

static void check_bias(const Run *run, const float *bias) {
    const ConvolutionGeometry *g = run->geometry;
    for (int64_t s = 0; s < g->small_c; s++) {
        double sum = 0, size = 0;
        for (int64_t i = s; i < run->tensors->small_count; i += g->small_c) {
            sum += run->tensors->small[i];
            size += fabs((double)run->tensors->small[i]);
        }
        CHECK_NEAR(bias[s], sum, 1e-6 * size); /* far below one rounding per term */
    }
}

static void check_pass(const Case *test, ConvolutionPass pass, const Tensors *t) {
    enum { TASKS = 6 };
    const ConvolutionGeometry *g = &test->geometry;
    Convolution *convolution = NULL;
    float *results[TASKS], *biases[TASKS];
    int threads = omp_get_max_threads();
    CHECK_OK(test->create(&convolution, g, pass));
    CHECK(omp_get_max_threads() == threads);
    if (!convolution) /* refused: checked elsewhere */
        return;
    int64_t count = result_count(t, pass);
    double *expected = allocate((size_t)count * sizeof *expected);
    Run run = {convolution, g, pass, t, allocate(convolution->packed_bytes), results, biases};
    for (int i = 0; i < TASKS; i++) {
        results[i] = allocate((size_t)count * sizeof(float));
        biases[i] = allocate((size_t)g->small_c * sizeof(float));
    }
    if (pass != CONVOLUTION_BACKWARD_WEIGHTS)
        CHECK_OK(convolution->pack(convolution, t->weights, run.packed));
    CHECK_OK(run_task(&run, 0, 0));
    CHECK(omp_get_max_threads() == threads);
    truth(expected, g, pass, t);
    double error = relative_error(results[0], expected, count);
    if (!(error <= test->tolerance)) {
        printf("%s (%s), pass %d, %dx%d channels %d -> %d: relative error %.2g, at most %.2g\n", test->name,
               convolution->implementation, (int)pass, (int)g->large_h, (int)g->large_w, (int)g->large_c,
               (int)g->small_c, error, test->tolerance);
        test_failures++;
    }
    if (pass == CONVOLUTION_BACKWARD_WEIGHTS && g->bias)
        check_bias(&run, biases[0]);
    float *alone = results[0];
    results[0] = allocate((size_t)count * sizeof(float));
    for (int workers = 1; workers <= 3; workers++) {
        CHECK_OK(team_run(workers, TASKS, run_task, &run));
        for (int i = 0; i < TASKS; i++)
            CHECK(memcmp(results[i], alone, (size_t)count * sizeof *alone) == 0);
    }
    for (int i = 0; i < TASKS; i++) {
        backend_find("cpu")->release(results[i]);
        backend_find("cpu")->release(biases[i]);
    }
    backend_find("cpu")->release(alone);
    backend_find("cpu")->release(run.packed);
    backend_find("cpu")->release(expected);
    convolution->destroy(convolution);
}

static ConvolutionGeometry geometry(int64_t samples, int64_t h, int64_t w, int64_t in, int64_t out,
                                    int kernel, int stride, int pad) {
    return (ConvolutionGeometry){samples,
                                 h,
                                 w,
                                 in,
                                 (h + 2 * pad - kernel) / stride + 1,
                                 (w + 2 * pad - kernel) / stride + 1,
                                 out,
                                 kernel,
                                 stride,
                                 pad,
                                 true};
}

static void check_case(const char *name, Create create, double tolerance, ConvolutionGeometry g) {
    Case test = {name, create, tolerance, g};
    Tensors tensors = tensors_create(&g);
    for (int pass = CONVOLUTION_FORWARD; pass <= CONVOLUTION_BACKWARD_WEIGHTS; pass++)
        check_pass(&test, (ConvolutionPass)pass, &tensors);
    tensors.sum = true;
    check_pass(&test, CONVOLUTION_FORWARD, &tensors);
    test.geometry.bias = false;
    check_pass(&test, CONVOLUTION_BACKWARD_WEIGHTS, &tensors);
    tensors_release(&tensors);
}

/* The first sample's result when it is run with others and alone: the same bits. */
static void check_sample_count(Create create, ConvolutionGeometry g) {
    Tensors tensors = tensors_create(&g);
    for (int pass = CONVOLUTION_FORWARD; pass <= CONVOLUTION_BACKWARD_DATA; pass++) {
        Convolution *all = NULL, *one = NULL;
        ConvolutionGeometry single = g;
        single.samples = 1;
        CHECK_OK(create(&all, &g, (ConvolutionPass)pass));
        CHECK_OK(create(&one, &single, (ConvolutionPass)pass));
        int64_t count = result_count(&tensors, (ConvolutionPass)pass), per_sample = count / g.samples;
        float *results[] = {allocate((size_t)count * sizeof(float)), allocate((size_t)count * sizeof(float))};
        float *biases[] = {allocate((size_t)g.small_c * sizeof(float)),
                           allocate((size_t)g.small_c * sizeof(float))};
        Run run = {all, &g, (ConvolutionPass)pass, &tensors, allocate(all->packed_bytes), results, biases};
        CHECK_OK(all->pack(all, tensors.weights, run.packed));
        CHECK_OK(run_task(&run, 0, 0));
        backend_find("cpu")->release(run.packed);
        run.packed = allocate(one->packed_bytes);
        run.convolution = one;
        CHECK_OK(one->pack(one, tensors.weights, run.packed));
        CHECK_OK(run_task(&run, 0, 1));
        CHECK(memcmp(results[0], results[1], (size_t)per_sample * sizeof(float)) == 0);
        backend_find("cpu")->release(run.packed);
        for (int i = 0; i < 2; i++) {
            backend_find("cpu")->release(results[i]);
            backend_find("cpu")->release(biases[i]);
        }
        all->destroy(all);
        one->destroy(one);
    }
    tensors_release(&tensors);
}

static void check_refused(Create create, ConvolutionGeometry g) {
    for (int pass = CONVOLUTION_FORWARD; pass <= CONVOLUTION_BACKWARD_WEIGHTS; pass++) {
        Convolution *convolution = NULL;
        CHECK_OK(create(&convolution, &g, (ConvolutionPass)pass));
        CHECK(!convolution);
    }
}

int main(void) {
    omp_set_num_threads(3);

    /* partly filled tiles, images smaller than one, several blocks of tiles, several chunks of channels */
    const ConvolutionGeometry winograd[] = {
        geometry(1, 1, 1, 16, 16, 3, 1, 1),
        geometry(3, 2, 3, 16, 32, 3, 1, 1),
        geometry(2, 4, 4, 32, 16, 3, 1, 1),
        geometry(3, 7, 7, 48, 64, 3, 1, 1),
        geometry(8, 13, 9, 32, 48, 3, 1, 1),
        geometry(2, 28, 28, 16, 16, 3, 1, 1),
        geometry(5, 6, 5, 160, 80, 3, 1, 1),
        geometry(5, 16, 17, 16, 80, 3, 1, 1),
        geometry(3, 5, 7, 80, 144, 3, 1, 1),
        /* by phases */
        geometry(1, 2, 2, 16, 16, 4, 2, 1),
        geometry(3, 4, 6, 16, 32, 4, 2, 1),
        geometry(2, 8, 8, 32, 16, 4, 2, 1),
        geometry(3, 14, 14, 48, 64, 4, 2, 1),
        geometry(8, 26, 18, 32, 48, 4, 2, 1),
        geometry(2, 28, 28, 16, 16, 4, 2, 1),
        geometry(5, 12, 10, 160, 80, 4, 2, 1),
        geometry(3, 10, 14, 80, 144, 4, 2, 1),
    };
    for (size_t i = 0; i < sizeof winograd / sizeof *winograd; i++) {
        check_case("winograd", winograd_convolution_create, winograd_tolerance, winograd[i]);
        if (winograd[i].samples > 1)
            check_sample_count(winograd_convolution_create, winograd[i]);
    }
    check_refused(winograd_convolution_create, geometry(2, 9, 8, 16, 16, 4, 2, 1));
    check_refused(winograd_convolution_create, geometry(2, 8, 7, 16, 16, 4, 2, 1));
    check_refused(winograd_convolution_create, geometry(2, 8, 8, 16, 16, 4, 2, 0));
    check_refused(winograd_convolution_create, geometry(2, 8, 8, 16, 16, 4, 1, 1));
    check_refused(winograd_convolution_create, geometry(2, 8, 8, 16, 16, 3, 1, 0));
    check_refused(winograd_convolution_create, geometry(2, 8, 8, 12, 16, 3, 1, 1));

    const ConvolutionGeometry single[] = {
        geometry(1, 1, 1, 8, 1, 3, 1, 1),   geometry(3, 2, 5, 16, 1, 3, 1, 1),
        geometry(8, 13, 9, 24, 1, 3, 1, 1), geometry(2, 7, 7, 1, 8, 3, 1, 1),
        geometry(3, 5, 3, 1, 64, 3, 1, 1),  geometry(2, 1, 4, 1, 16, 3, 1, 1)};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        check_case("single", single_convolution_create, direct_tolerance, single[i]);
    check_refused(single_convolution_create, geometry(2, 8, 8, 16, 16, 3, 1, 1));
    check_refused(single_convolution_create, geometry(2, 8, 8, 12, 1, 3, 1, 1));

    const ConvolutionGeometry onednn[] = {
        geometry(8, 7, 7, 24, 16, 3, 1, 1), geometry(3, 14, 14, 16, 32, 4, 2, 1),
        geometry(2, 9, 6, 5, 7, 4, 2, 1), geometry(3, 14, 14, 64, 32, 1, 1, 0),
        geometry(8, 28, 28, 16, 32, 4, 2, 1)};
    for (size_t i = 0; i < sizeof onednn / sizeof *onednn; i++) {
        check_case("onednn", onednn_convolution_create, direct_tolerance, onednn[i]);
        check_sample_count(onednn_convolution_create, onednn[i]);
    }
    return test_result();
}
