/* Every op on every backend: values, gradients, memory discipline, independence of slots, identical bits.
 *
 * test_ops                     all backends that run on the host
 * test_ops BACKEND [PRECISION] one backend; exit status 77 if there is no device for it
 * test_ops --perf [BACKEND [PRECISION [SAMPLES]]]    times at the default network's sizes */
#include <float.h>

#include "core/rng.h"
#include "core/team.h"
#include "kernels/backend.h"
#include "op_cases.h"
#include "op_copies.h"
#include "op_emulation.h"
#include "op_perf.h"
#include "op_precision.h"
#include "op_rig.h"
#include "op_truth.h"
#include "test.h"
#include "test_backend.h"

/* Central differences in double: truncation h^2 times a third derivative (up to about 100 for SiLU of
 * GroupNorm). */
#define DIFFERENCE_STEP 1e-4
#define DIFFERENCE_TRUNCATION 1e-6

enum { SEED = 20240117, SEED_OTHER, SEED_DIRECTION, SEED_FORWARD };
enum { TEAM_WORKERS = 3, TEAM_TASKS = 7 };

typedef struct Trial {
    const Backend *backend;
    const OpPrecision *precision;
    const OpDescription *op;
    PreparedOp prepared;
    OpTensors tensors, again; /* reference results; for comparisons */
    double worst;             /* largest error over its tolerance */
} Trial;

static void complain(const Trial *trial, const char *what, const char *detail) {
    char text[256];
    printf("%s: FAILED on backend %s: %s: %s: %s\n", __FILE__, trial->backend->name,
           op_case_text(trial->op, text), what, detail);
    test_failures++;
}

/* Reports a failed call; true if it succeeded. */
static bool succeeded(const Trial *trial, const char *what, Status status) {
    if (status != STATUS_OK)
        complain(trial, what, status_message());
    return status == STATUS_OK;
}

static double *to_double(const float *values, int64_t count) {
    double *copy = values && count ? malloc((size_t)count * sizeof *copy) : NULL;
    for (int64_t i = 0; copy && i < count; i++)
        copy[i] = values[i];
    return copy;
}

/* Inputs as they occur: mean and rstd of a backward pass belong to its x and shift. */
static Status fill_inputs(const Trial *trial, uint64_t seed, float magnitude, OpTensors *tensors) {
    Status status = STATUS_OK;
    const OpDescription *op = trial->op;
    OpTruth truth = {0};
    double *in[OP_MAX_INPUTS] = {0};
    op_case_inputs(op, seed, magnitude, tensors->in);
    op_precision_round(trial->precision, op, tensors->in);
    if (op->kind == OP_GROUP_NORM_BACKWARD) {
        OpDescription forward = {.kind = OP_GROUP_NORM, .attributes = op->attributes};
        memcpy(forward.inputs, op->inputs, 4 * sizeof *forward.inputs);
        forward.outputs[0] = op->inputs[0];
        forward.outputs[1] = forward.outputs[2] = op->inputs[4];
        for (int k = 0; k < 4; k++)
            in[k] = to_double(tensors->in[k], shape_count(op->inputs[k]));
        TRY(op_truth_create(&truth, &forward, (const double *const *)in));
        for (int64_t g = 0; g < shape_count(op->inputs[4]); g++) {
            tensors->in[4][g] = (float)truth.out[1][g];
            tensors->in[5][g] = (float)truth.out[2][g];
        }
    }
done:
    op_truth_release(&truth);
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        free(in[k]);
    return status;
}

static bool same_bits(const Trial *trial, const OpTensors *a, const OpTensors *b) {
    for (int k = 0; k < OP_MAX_OUTPUTS; k++)
        if (a->out[k] &&
            memcmp(a->out[k], b->out[k], (size_t)shape_count(trial->op->outputs[k]) * sizeof(float)) != 0)
            return false;
    return true;
}

static void copy_inputs(const Trial *trial, OpTensors *to, const OpTensors *from) {
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        if (from->in[k])
            memcpy(to->in[k], from->in[k], (size_t)shape_count(trial->op->inputs[k]) * sizeof(float));
}

/* ---- values ---- */

static void compare_output(Trial *trial, const OpTruth *truth, int k, const float *found) {
    OpError error = op_error(trial->precision, &trial->prepared, truth, k, found);
    if (!(error.element <= 1) || !(error.l2 <= 1)) {
        char text[200];
        snprintf(
            text, sizeof text,
            "%s: L2 error %.2f, largest error %.2f times its tolerance (element %lld is %.9g, expected %.9g)",
            op_output_name(trial->op->kind, k), error.l2, error.element, (long long)error.worst,
            (double)found[error.worst], truth->out[k][error.worst]);
        complain(trial, "values", text);
    }
    trial->worst = fmax(trial->worst, fmax(error.element, error.l2));
}

static void compare_with_truth(Trial *trial, const OpTensors *tensors) {
    OpTruth truth = {0};
    double *in[OP_MAX_INPUTS] = {0};
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        in[k] = to_double(tensors->in[k], shape_count(trial->op->inputs[k]));
    if (succeeded(trial, "truth", op_truth_create(&truth, trial->op, (const double *const *)in)))
        for (int k = 0; k < OP_MAX_OUTPUTS; k++)
            if (tensors->out[k])
                compare_output(trial, &truth, k, tensors->out[k]);
    op_truth_release(&truth);
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        free(in[k]);
}

/* ---- gradients against central differences ---- */

static double dot(const double *a, const double *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

typedef struct Difference {
    OpDescription forward;
    double *in[OP_MAX_INPUTS], *dy, *direction;
    Shape part;      /* of the direction: like an input, or with some of its channels, or one sample */
    int64_t first;   /* of these channels */
    int64_t samples; /* that all move alike: 1 but for one sample's direction */
} Difference;

/* Element i of the direction, in input k. */
static int64_t input_element(const Difference *d, int k, int64_t i) {
    return i / d->part.d[3] * d->forward.inputs[k].d[3] + d->first + i % d->part.d[3];
}

static void move_input(Difference *d, int k, double amount) {
    const int64_t count = shape_count(d->part);
    for (int64_t i = 0; i < count * d->samples; i++)
        d->in[k][input_element(d, k, i)] += amount * d->direction[i % count];
}

/* <dy, forward(in + amount direction in input k)> */
static Status forward_product(Difference *d, int k, double amount, double *product) {
    Status status = STATUS_OK;
    OpTruth truth = {0};
    move_input(d, k, amount);
    TRY(op_truth_create(&truth, &d->forward, (const double *const *)d->in));
    *product = dot(d->dy, truth.out[0], shape_count(d->forward.outputs[0]));
done:
    move_input(d, k, -amount);
    op_truth_release(&truth);
    return status;
}

/* Output k of the backward op, along a random direction. */
static Status check_gradient(Trial *trial, Difference *d, const OpTruth *truth, int k) {
    Status status = STATUS_OK;
    const OpDescription *op = trial->op;
    const char *name = op_output_name(op->kind, k);
    bool rest = strcmp(name, "dx_rest") == 0, dx = rest || strcmp(name, "dx") == 0;
    int input = op_input(d->forward.kind, dx ? "x" : name + 1), addend = op_input(op->kind, "addend");
    int64_t count = shape_count(op->outputs[k]);
    float *normals = NULL;
    double above = 0, below = 0, product = 0;
    TRY(ALLOCATE(&normals, count));
    rng_fill_normal(rng_key(SEED_DIRECTION, RNG_TEST, 0, (uint32_t)k), normals, count);
    d->direction = to_double(normals, count);
    d->part = op->outputs[k];
    d->first = rest ? op->outputs[op_output(op->kind, "dx")].d[3] : 0;
    d->samples = 1;
    if (input < 0) { /* a bias of x: as a shift that all samples have in common */
        input = op_input(d->forward.kind, "shift");
        d->part = (Shape){{1, 1, 1, count}};
        d->samples = op->inputs[0].d[0];
    }
    TRY(forward_product(d, input, DIFFERENCE_STEP, &above));
    TRY(forward_product(d, input, -DIFFERENCE_STEP, &below));
    for (int64_t i = 0; i < count; i++) {
        double gradient = trial->tensors.out[k][i];
        if (dx && addend >= 0 && trial->tensors.in[addend])
            gradient -= trial->tensors.in[addend][input_element(d, input, i)];
        product += gradient * d->direction[i];
    }
    double difference = (above - below) / (2 * DIFFERENCE_STEP),
           along = sqrt(dot(d->direction, d->direction, count));
    double dy = sqrt(dot(d->dy, d->dy, shape_count(d->forward.outputs[0])));
    /* the kernel's rounding (as in compare_output) and the difference's truncation, both by Cauchy-Schwarz */
    double tolerance = op_tolerance_l2(trial->precision, &trial->prepared, truth, k) * along +
                       DIFFERENCE_TRUNCATION * dy * along * sqrt((double)d->samples);
    if (!(fabs(product - difference) <= tolerance)) {
        char text[160];
        snprintf(text, sizeof text, "%s along a direction is %.9g, central difference %.9g, tolerance %.2g",
                 name, product, difference, tolerance);
        complain(trial, "gradient", text);
    }
done:
    free(normals);
    free(d->direction);
    d->direction = NULL;
    return status;
}

static void check_gradients(Trial *trial) {
    Difference d = {0};
    OpTruth truth = {0};
    OpTensors values = {0};
    double *in[OP_MAX_INPUTS] = {0};
    const OpDescription *op = trial->op;
    int dy = op_input(op->kind, "dy");
    if (!op_case_forward(op, &d.forward) ||
        !succeeded(trial, "tensors", op_tensors_create(&values, &d.forward)))
        goto done;
    op_case_inputs(&d.forward, SEED_FORWARD, 1, values.in); /* for inputs the gradient does not depend on */
    for (int k = 0; k < op_input_count(d.forward.kind); k++) {
        int source = op_input(op->kind, op_input_name(d.forward.kind, k));
        const float *from = source >= 0 ? trial->tensors.in[source] : values.in[k];
        d.in[k] = to_double(from, shape_count(d.forward.inputs[k]));
    }
    d.dy = to_double(trial->tensors.in[dy], shape_count(op->inputs[dy]));
    for (int k = 0; k < OP_MAX_INPUTS; k++)
        in[k] = to_double(trial->tensors.in[k], shape_count(op->inputs[k]));
    if (succeeded(trial, "truth", op_truth_create(&truth, op, (const double *const *)in)))
        for (int k = 0; k < OP_MAX_OUTPUTS; k++)
            if (trial->tensors.out[k])
                (void)succeeded(trial, "gradient", check_gradient(trial, &d, &truth, k));
done:
    op_truth_release(&truth);
    op_tensors_release(&values);
    for (int k = 0; k < OP_MAX_INPUTS; k++) {
        free(d.in[k]);
        free(in[k]);
    }
    free(d.dy);
}

/* ---- bits ---- */

/* Puts sample `from` of source into slot `to` of target, for every operand that has samples. */
static void copy_sample(const OpDescription *op, OpTensors *target, int64_t to, const OpTensors *source,
                        int64_t from) {
    for (int k = 0; k < op_input_count(op->kind); k++)
        if (source->in[k] && !op_operand_is_parameter(op_input_name(op->kind, k))) {
            int64_t size = shape_count(op->inputs[k]) / op->inputs[k].d[0];
            memcpy(target->in[k] + to * size, source->in[k] + from * size, (size_t)size * sizeof(float));
        }
}

static bool same_sample(const OpDescription *op, const OpTensors *a, int64_t slot_a, const OpTensors *b,
                        int64_t slot_b) {
    for (int k = 0; k < op_output_count(op->kind); k++)
        if (a->out[k] && !op_operand_is_parameter(op_output_name(op->kind, k))) {
            int64_t size = shape_count(op->outputs[k]) / op->outputs[k].d[0];
            if (memcmp(a->out[k] + slot_a * size, b->out[k] + slot_b * size, (size_t)size * sizeof(float)) !=
                0)
                return false;
        }
    return true;
}

/* The first and the last sample, in every slot, among other neighbours: the same bits. */
static void check_slots(Trial *trial, OpTensors *others) {
    const OpDescription *op = trial->op;
    const int64_t slots = op->inputs[0].d[0];
    for (int64_t sample = 0; sample<slots; sample += slots> 1 ? slots - 1 : 1)
        for (int64_t slot = 0; slot < slots; slot++) {
            copy_inputs(trial, &trial->again, others);
            for (int k = 0; k < op_input_count(op->kind); k++)
                if (trial->again.in[k] && op_operand_is_parameter(op_input_name(op->kind, k)))
                    memcpy(trial->again.in[k], trial->tensors.in[k],
                           (size_t)shape_count(op->inputs[k]) * sizeof(float));
            copy_sample(op, &trial->again, slot, &trial->tensors, sample);
            if (!succeeded(trial, "slots", op_rig_run(trial->backend, &trial->prepared, &trial->again)))
                return;
            if (!same_sample(op, &trial->tensors, sample, &trial->again, slot)) {
                complain(trial, "slots", "a sample's result depends on its slot or its neighbours");
                return;
            }
        }
}

typedef struct TeamRun {
    Trial *trial;
    OpTensors *tensors; /* (TEAM_TASKS) */
} TeamRun;

static Status team_task(void *context, int worker, int64_t task) {
    TeamRun *run = context;
    (void)worker;
    return op_rig_run(run->trial->backend, &run->trial->prepared, &run->tensors[task]);
}

static int backend_workers(const Backend *backend) {
    return backend->max_workers ? backend->max_workers() : TEAM_WORKERS;
}

static void check_threads(Trial *trial) {
    OpTensors tensors[TEAM_TASKS] = {0};
    TeamRun run = {trial, tensors};
    bool ready = true;
    for (int i = 0; i < TEAM_TASKS; i++) {
        ready = ready && succeeded(trial, "tensors", op_tensors_create(&tensors[i], trial->op));
        if (ready)
            copy_inputs(trial, &tensors[i], &trial->tensors);
    }
    if (ready && succeeded(trial, "threads", team_run(TEAM_WORKERS, TEAM_TASKS, team_task, &run)))
        for (int i = 0; i < TEAM_TASKS; i++)
            if (!same_bits(trial, &trial->tensors, &tensors[i])) {
                complain(trial, "threads", "a run beside others gives other bits than a run alone");
                break;
            }
    for (int i = 0; i < TEAM_TASKS; i++)
        op_tensors_release(&tensors[i]);
}

/* A second run, and a run of a second preparation of the same op. */
static void check_repetition(Trial *trial) {
    PreparedOp second = {0};
    copy_inputs(trial, &trial->again, &trial->tensors);
    if (succeeded(trial, "second run", op_rig_run(trial->backend, &trial->prepared, &trial->again)) &&
        !same_bits(trial, &trial->tensors, &trial->again))
        complain(trial, "second run", "other bits than the first");
    if (succeeded(trial, "second prepare", op_rig_prepare(trial->backend, trial->op, &second)) &&
        succeeded(trial, "second pack", op_rig_pack(trial->backend, &second, trial->tensors.in)) &&
        succeeded(trial, "second prepare", op_rig_run(trial->backend, &second, &trial->again)) &&
        !same_bits(trial, &trial->tensors, &trial->again))
        complain(trial, "second prepare", "other bits than the first");
    op_rig_release(&second);
}

/* New parameters take effect with the next pack, and the old ones can come back. */
static void check_pack(Trial *trial, OpTensors *others) {
    if (!trial->prepared.kernel->pack)
        return;
    if (!succeeded(trial, "pack", op_rig_pack(trial->backend, &trial->prepared, others->in)) ||
        !succeeded(trial, "pack", op_rig_run(trial->backend, &trial->prepared, others)))
        return;
    compare_with_truth(trial, others);
    copy_inputs(trial, &trial->again, &trial->tensors);
    if (!succeeded(trial, "pack", op_rig_pack(trial->backend, &trial->prepared, trial->tensors.in)) ||
        !succeeded(trial, "pack", op_rig_run(trial->backend, &trial->prepared, &trial->again)))
        return;
    if (!same_bits(trial, &trial->tensors, &trial->again))
        complain(trial, "pack", "packing the first parameters again gives other bits");
    if (same_bits(trial, &trial->tensors, others))
        complain(trial, "pack", "other data and parameters gave the same result");
}

/* ---- one case, and the whole ---- */

typedef struct Tally {
    int cases, refused;
    double worst;
} Tally;

/* True for a case that a device's library may refuse and did. */
static bool refused(const Trial *trial, Status status) {
    return status == STATUS_BAD_INPUT && op_precision_may_refuse(trial->precision, trial->op);
}

static void run_trial(const Backend *backend, const OpPrecision *precision, const OpDescription *op,
                      Tally *tally) {
    Trial trial = {.backend = backend, .precision = precision, .op = op};
    OpTensors others = {0};
    Status prepared = op_rig_prepare(backend, op, &trial.prepared);
    tally->cases++;
    if (refused(&trial, prepared))
        tally->refused++;
    else if (succeeded(&trial, "prepare", prepared) &&
             succeeded(&trial, "tensors", op_tensors_create(&trial.tensors, op)) &&
             succeeded(&trial, "tensors", op_tensors_create(&trial.again, op)) &&
             succeeded(&trial, "tensors", op_tensors_create(&others, op)) &&
             succeeded(&trial, "inputs", fill_inputs(&trial, SEED, 1, &trial.tensors)) &&
             succeeded(&trial, "inputs", fill_inputs(&trial, SEED_OTHER, 100, &others)) &&
             succeeded(&trial, "pack", op_rig_pack(backend, &trial.prepared, trial.tensors.in)) &&
             succeeded(&trial, "run", op_rig_run(backend, &trial.prepared, &trial.tensors))) {
        compare_with_truth(&trial, &trial.tensors);
        check_gradients(&trial);
        check_repetition(&trial);
        if (backend_workers(backend) > 1)
            check_threads(&trial);
        check_slots(&trial, &others);
        check_pack(&trial, &others);
    }
    op_rig_release(&trial.prepared);
    op_tensors_release(&trial.tensors);
    op_tensors_release(&trial.again);
    op_tensors_release(&others);
    tally->worst = fmax(tally->worst, trial.worst);
}

/* Descriptions that contradict themselves are refused by a line that names the op. */
static void check_refusals(const Backend *backend, const OpDescription *good) {
    OpDescription bad[OP_CONTRADICTIONS];
    int count = op_case_contradictions(good, bad);
    for (int k = 0; k < count; k++) {
        PreparedOp prepared;
        CHECK_ERROR(op_rig_prepare(backend, &bad[k], &prepared), STATUS_BAD_INPUT, op_name(good->kind));
        op_rig_release(&prepared);
    }
}

static void check_backend(const Backend *backend, const OpPrecision *precision, const OpCases *cases) {
    Tally tally[OP_KIND_COUNT] = {0};
    printf("backend %s, %s: %s\n", backend->name, precision->name, backend->description);
    CHECK_OK(op_rig_check_memory(backend));
    for (int i = 0; i < cases->count; i++) {
        OpDescription op = cases->list[i];
        if (!backend_kernel(backend, op.kind))
            continue;
        op_precision_describe(precision, &op);
        if (tally[op.kind].cases == 0)
            check_refusals(backend, &op);
        run_trial(backend, precision, &op, &tally[op.kind]);
    }
    for (int kind = 0; kind < OP_KIND_COUNT; kind++) {
        const OpKernel *kernel = backend_kernel(backend, (OpKind)kind);
        CHECK(kernel != NULL); /* every backend so far is complete */
        CHECK(tally[kind].cases > tally[kind].refused);
        if (kernel)
            printf("  %-40s %3d cases, %d refused, largest error %.3f of its tolerance\n", kernel->name,
                   tally[kind].cases, tally[kind].refused, tally[kind].worst);
    }
}

static void check_host_backends(const OpCases *cases) {
    const OpPrecision precision = op_precision("fp32"), bf16 = op_precision("bf16");
    char names[256], *rest = names;
    snprintf(names, sizeof names, "%s", backend_names());
    for (char *name = strtok_r(names, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
        const Backend *backend = backend_find(name);
        CHECK(backend && strcmp(backend->name, name) == 0);
        if (backend && backend->host_memory)
            check_backend(backend, &precision, cases);
    }
    check_backend(op_emulation_backend(), &bf16, cases);
}

int main(int argc, char **argv) {
    OpCases cases;
    if (argc > 1 && strcmp(argv[1], "--perf") == 0)
        return op_perf(argc > 2 ? argv[2] : "cpu", argc > 3 ? argv[3] : "fp32",
                       argc > 4 ? strtoll(argv[4], NULL, 10) : 8);
    if (argc > 1 && strcmp(argv[1], "--copies") == 0)
        return op_copies(argc > 2 ? argv[2] : "cpu", argc > 3 ? argv[3] : "fp32",
                         argc > 4 ? strtoll(argv[4], NULL, 10) : 4);
    CHECK_OK(op_cases_create(&cases));
    CHECK(backend_find("no such backend") == NULL);
    if (argc > 1) {
        OpPrecision precision = op_precision(argc > 2 ? argv[2] : "fp32");
        const Backend *backend = test_backend_start(argv[1], precision.name);
        check_backend(backend, &precision, &cases);
        test_backend_stop(backend);
    } else {
        check_host_backends(&cases);
    }
    free(cases.list);
    return test_result();
}
