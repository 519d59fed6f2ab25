/* Draws as a device makes them, with the network's passes replayed and with its calls queued: the same bits
 * from every sampler.
 *
 * test_draws_recorded                       on the stand-in of taping_backend.h, and the bits are the CPU
 * backend's; a step queues so many calls and no more, and waits only where it looks at the states
 * test_draws_recorded BACKEND [PRECISION]   exit status 77 if there is no device for it */
#include "core/rng.h"
#include "diffusion/generate.h"
#include "diffusion/network_denoiser.h"
#include "tests/sampler_defaults.h"
#include "tests/taping_backend.h"
#include "tests/test.h"
#include "tests/test_backend.h"
#include "tests/unet_sizes.h"

/* On the stand-in more steps than lie between two looks; chains in blocks of 3 with a last one of 1. */
enum { STEPS = 40, DEVICE_STEPS = 4, LOOK = 32, BATCH = 3, CHAINS = 7, PIXELS = 12 * 12, PARTICLES = 4 };

/* ---- a network on a backend ---- */

typedef struct Machine {
    const Backend *backend;
    Network *network;
    float *parameters; /* backend memory */
    Denoiser denoiser;
} Machine;

/* Replaces the parameters by random ones at another address. */
static void load_parameters(Machine *machine, uint64_t seed) {
    const Graph *graph = machine->network->graph;
    const size_t bytes = (size_t)graph->parameter_elements * sizeof(float);
    int output = graph_find_parameter(graph, "out.conv.weight"); /* begins at zero */
    float *host = NULL, *placed = NULL;
    CHECK_OK(ALLOCATE(&host, graph->parameter_elements));
    network_initialise(graph, seed, host);
    for (int64_t i = 0; i < graph->parameters[output].count; i++)
        host[graph->parameters[output].offset + i] = 0.1f * (float)(i % 5 - 2);
    CHECK_OK(machine->backend->allocate((void **)&placed, bytes));
    CHECK_OK(machine->backend->copy_in(placed, host, bytes));
    CHECK_OK(network_load(machine->network, placed, 1));
    if (machine->parameters)
        machine->backend->release(machine->parameters);
    machine->parameters = placed;
    free(host);
}

static Machine machine_at(const Backend *backend, const char *precision, bool record) {
    Machine machine = {.backend = backend};
    NetworkOptions network = {.unet = small,
                              .backend = backend,
                              .workers = 1,
                              .gradients = NETWORK_INPUT_GRADIENT,
                              .record = record,
                              .side_stream = true};
    network.unet.batch = BATCH;
    network.unet.activation_type = backend_activation_type(precision);
    CHECK_OK(network_create(&machine.network, &network));
    load_parameters(&machine, 5);
    machine.denoiser = network_denoiser(machine.network);
    return machine;
}

static Machine machine_of(const Backend *backend, bool record) {
    return machine_at(backend, "fp32", record);
}

static void machine_end(Machine *machine) {
    network_destroy(machine->network);
    machine->backend->release(machine->parameters);
}

/* ---- draws ---- */

typedef struct Setup {
    Comm *comm;
    Schedule *schedule;
    Observation *observation;
} Setup;

static Setup setup_of(int64_t steps) {
    Setup setup = {0};
    ObservationSettings settings = {.fraction = 0.3, .mask_seed = 1, .sigma_y = 0.1};
    float truth[PIXELS];
    rng_fill_normal(rng_key(3, RNG_TEST, 0, 0), truth, PIXELS);
    CHECK_OK(comm_create(&setup.comm));
    CHECK_OK(schedule_create("linear", steps, 1e-4, 2e-2, &setup.schedule));
    CHECK_OK(observation_create_from(&settings, truth, 12, 12, 0, &setup.observation));
    return setup;
}

static void setup_end(Setup *setup) {
    observation_destroy(setup->observation);
    schedule_destroy(setup->schedule);
    comm_destroy(setup->comm);
}

static SamplerPlan *plan_of(const Setup *setup, const char *sampler) {
    SamplerPlan *plan = NULL;
    SamplerOptions options = DEFAULTS;
    options.particles = options.draws_per_run = PARTICLES;
    CHECK_OK(sampler_plan_create(sampler, setup->schedule, &options, &plan));
    return plan;
}

/* samples: (CHAINS, PIXELS) */
static Status draw(const Setup *setup, Machine *machine, const SamplerPlan *plan, float *samples) {
    uint64_t seeds[CHAINS];
    uint32_t rng_samples[CHAINS];
    const Observation *observations[CHAINS];
    for (uint32_t i = 0; i < CHAINS; i++) {
        seeds[i] = 99;
        rng_samples[i] = i;
        observations[i] = setup->observation;
    }
    GenerateArguments arguments = {.comm = setup->comm,
                                   .denoiser = &machine->denoiser,
                                   .plan = plan,
                                   .count = CHAINS,
                                   .seeds = seeds,
                                   .rng_samples = rng_samples,
                                   .observations = plan->sampler->posterior ? observations : NULL,
                                   .samples = samples};
    return generate_samples(&arguments);
}

static bool same(const float *a, const float *b) {
    return memcmp(a, b, (size_t)CHAINS * PIXELS * sizeof *a) == 0;
}

/* ---- what a draw queues ---- */

/* All that a sampler asks for: passes forward and backward of a block, waits. */
typedef struct Work {
    int64_t forward, backward, waits;
} Work;

static Work work_of(const SamplerPlan *plan) {
    const bool particles = plan->sampler->particles;
    const int64_t units = particles ? (CHAINS + PARTICLES - 1) / PARTICLES : (CHAINS + BATCH - 1) / BATCH;
    const int64_t blocks = particles ? (PARTICLES + BATCH - 1) / BATCH : 1; /* of a unit */
    Work work = {0};
    for (int64_t k = 0; k < plan->count; k++) {
        const bool guided = plan->sampler->jacobian && plan->steps[k].guidance != 0;
        work.forward += units * blocks;
        work.backward += guided ? units * blocks : 0;
        if (particles) /* x and eps_hat, residual and product go to the host at every step */
            work.waits += units * (guided ? 4 : 2);
        else
            work.waits += units * ((k + 1) % LOOK == 0 || k + 1 == plan->count);
    }
    return work;
}

/* A forward pass: x and t in, eps_hat out, and the reverse step; a backward one: the residual, in and out. */
static int64_t calls_between(const Work *work) {
    return 4 * work->forward + 3 * work->backward;
}

static void test_sampler(const Setup *setup, const char *name) {
    Machine host = machine_of(backend_find("cpu"), true), queued = machine_of(taping_backend(), false),
            recorded = machine_of(taping_backend(), true);
    static float expected[CHAINS * PIXELS], found[CHAINS * PIXELS];
    SamplerPlan *plan = plan_of(setup, name);
    const Work work = work_of(plan);
    const int64_t forward = host.network->graph->forward_nodes,
                  backward = host.network->plan.node_count - forward;
    CHECK_OK(draw(setup, &host, plan, expected));

    TapingCounts start = taping_counts();
    CHECK_OK(draw(setup, &queued, plan, found));
    TapingCounts end = taping_counts();
    CHECK(same(found, expected));
    CHECK(end.direct - start.direct ==
          calls_between(&work) + forward * work.forward + backward * work.backward);
    CHECK(end.replays == start.replays && end.waits - start.waits == work.waits);

    for (int repetition = 0; repetition < 2; repetition++) {
        const bool first = repetition == 0, guides = work.backward > 0;
        memset(found, 0, sizeof found);
        start = taping_counts();
        CHECK_OK(draw(setup, &recorded, plan, found));
        end = taping_counts();
        CHECK(same(found, expected));
        CHECK(end.direct - start.direct ==
              calls_between(&work) + (first ? forward + (guides ? backward : 0) : 0));
        CHECK(end.replays - start.replays ==
              work.forward + work.backward - (first ? 1 + (guides ? 1 : 0) : 0));
        CHECK(end.waits - start.waits == work.waits);
    }
    printf("%-17s %3lld steps: %lld calls, %lld replays and %lld waits for %d draws\n", name,
           (long long)plan->count, (long long)(end.direct - start.direct),
           (long long)(end.replays - start.replays), (long long)(end.waits - start.waits), CHAINS);
    sampler_plan_destroy(plan);
    machine_end(&host);
    machine_end(&queued);
    machine_end(&recorded);
}

/* Where recording fails, or would hide what is measured, passes are queued; new parameters elsewhere are
 * recorded anew, the old ones being released. */
static void test_not_recorded(const Setup *setup) {
    Machine host = machine_of(backend_find("cpu"), true), refused = machine_of(taping_backend(), true),
            moved = machine_of(taping_backend(), true);
    static float expected[CHAINS * PIXELS], found[CHAINS * PIXELS];
    SamplerPlan *plan = plan_of(setup, "pigdm");
    int64_t runs, before = taping_counts().replays;
    CHECK_OK(draw(setup, &host, plan, expected));
    taping_refuse(true);
    CHECK_OK(draw(setup, &refused, plan, found));
    taping_refuse(false);
    CHECK(same(found, expected));
    CHECK_OK(draw(setup, &refused, plan, found)); /* it is not tried again */
    CHECK(same(found, expected) && taping_counts().replays == before);

    moved.network->profile = true;
    CHECK_OK(draw(setup, &moved, plan, found));
    CHECK(same(found, expected) && taping_counts().replays == before);
    (void)network_node_seconds(moved.network, 0, &runs);
    CHECK(runs == work_of(plan).forward);
    moved.network->profile = false;
    CHECK_OK(draw(setup, &moved, plan, found));
    CHECK(same(found, expected) && taping_counts().replays > before);
    load_parameters(&moved, 6);
    load_parameters(&host, 6);
    CHECK_OK(draw(setup, &host, plan, expected));
    CHECK(!same(found, expected));
    CHECK_OK(draw(setup, &moved, plan, found));
    CHECK(same(found, expected));
    sampler_plan_destroy(plan);
    machine_end(&host);
    machine_end(&refused);
    machine_end(&moved);
}

/* A network that says NaN: the CPU names the first step, a device that of the first look. */
static void test_not_finite(const Setup *setup) {
    Machine host = machine_of(backend_find("cpu"), true), device = machine_of(taping_backend(), true);
    Machine *const machines[] = {&host, &device};
    const char *const messages[] = {"sample 0 is not finite after the step t = 39",
                                    "sample 0 is not finite after the step t = 8"};
    static float found[CHAINS * PIXELS];
    SamplerPlan *plan = plan_of(setup, "ddpm");
    for (int i = 0; i < 2; i++) {
        machines[i]->parameters[0] = NAN; /* the stand-in's memory is the host's */
        CHECK_OK(network_load(machines[i]->network, machines[i]->parameters, 1));
        CHECK_ERROR(draw(setup, machines[i], plan, found), STATUS_FAILURE, messages[i]);
    }
    sampler_plan_destroy(plan);
    machine_end(&host);
    machine_end(&device);
}

/* ---- a device ---- */

static const Backend *device;
static int64_t replays;

static Status count_replay(void *recording) {
    replays++;
    return device->replay(recording);
}

/* A network of its own for every draw, so that each pass is queued once and recorded once. */
static void test_on_device(const Setup *setup, const char *precision, const char *name) {
    Backend counting = *device;
    counting.replay = count_replay;
    Machine queued = machine_at(&counting, precision, false),
            recorded = machine_at(&counting, precision, true);
    static float expected[CHAINS * PIXELS], found[CHAINS * PIXELS];
    SamplerPlan *plan = plan_of(setup, name);
    const Work work = work_of(plan);
    replays = 0;
    CHECK_OK(draw(setup, &queued, plan, expected));
    CHECK(replays == 0);
    CHECK_OK(draw(setup, &recorded, plan, found));
    CHECK(replays == work.forward + work.backward - (work.backward > 0 ? 2 : 1));
    CHECK(same(found, expected));
    printf("%-17s %s: %lld replays, the same bits\n", name, precision, (long long)replays);
    sampler_plan_destroy(plan);
    machine_end(&queued);
    machine_end(&recorded);
}

static void test_device(const char *name, const char *precision) {
    device = test_backend_start(name, precision);
    Setup setup = setup_of(DEVICE_STEPS);
    for (const Sampler *const *sampler = sampler_table(); *sampler; sampler++)
        test_on_device(&setup, precision, (*sampler)->name);
    setup_end(&setup);
    test_backend_stop(device);
}

static void test_stand_in(void) {
    Setup setup = setup_of(STEPS);
    for (const Sampler *const *sampler = sampler_table(); *sampler; sampler++)
        test_sampler(&setup, (*sampler)->name);
    test_not_recorded(&setup);
    test_not_finite(&setup);
    setup_end(&setup);
}

int main(int argc, char **argv) {
    if (argc > 1)
        test_device(argv[1], argc > 2 ? argv[2] : "fp32");
    else
        test_stand_in();
    return test_result();
}
