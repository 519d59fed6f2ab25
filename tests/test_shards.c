/* The gradient of a global batch: the same bits on any number of ranks and threads, the sum of what the
 * shards give one by one, padding without influence. Run as one process and on ranks. */
#include "core/rng.h"
#include "tests/test.h"
#include "tests/training_rig.h"

/* A network of its own with shards of `shard` samples. */
typedef struct Machine {
    Schedule *schedule;
    Network *network;
    Shards shards;
} Machine;

/* With a gradient: sums in float, which end there. */
static void machine_create_with(Machine *machine, const Rig *rig, Comm *comm, int64_t shard, int threads,
                                float *gradient) {
    const Config *config = &rig->config;
    float *parameters = NULL;
    NetworkOptions options = {.unet = unet_options(config, shard, RIG_SIDE, RIG_SIDE),
                              .backend = rig->backend,
                              .workers = threads,
                              .gradients = NETWORK_TRAINING};
    CHECK_OK(schedule_create(config->diffusion_schedule, config->diffusion_steps,
                             config->diffusion_beta_start, config->diffusion_beta_end, &machine->schedule));
    CHECK_OK(network_create(&machine->network, &options));
    ShardsOptions sums = {.bucket_mib = config->train_bucket_mib, .gradient = gradient};
    CHECK_OK(shards_create(&machine->shards, comm, machine->network, machine->schedule, &sums));
    int64_t count = machine->network->graph->parameter_elements;
    CHECK_OK(rig->backend->allocate((void **)&parameters, (size_t)count * sizeof(float)));
    network_initialise(machine->network->graph, 3, parameters);
    for (int64_t i = 0; i < count; i += 997) /* no layer at zero or symmetric */
        parameters[i] += 0.01f;
    CHECK_OK(network_load(machine->network, parameters, threads));
}

static void machine_create(Machine *machine, const Rig *rig, Comm *comm, int64_t shard, int threads) {
    machine_create_with(machine, rig, comm, shard, threads, NULL);
}

static void machine_destroy(Machine *machine, const Rig *rig) {
    float *parameters = (float *)(uintptr_t)machine->network->parameters;
    shards_release(&machine->shards);
    network_destroy(machine->network);
    schedule_destroy(machine->schedule);
    rig->backend->release(parameters);
}

static int64_t parameter_count(const Machine *machine) {
    return machine->network->graph->parameter_elements;
}

static Batch make_batch(const Dataset *dataset, const uint32_t *index, int64_t count) {
    return (Batch){.dataset = dataset,
                   .index = index,
                   .count = count,
                   .seed = 11,
                   .rng_step = 5,
                   .timestep_stream = RNG_TIMESTEP,
                   .noise_stream = RNG_TRAINING_NOISE};
}

static void test_ranks_and_threads(const Rig *rig, const Batch *batch) {
    Machine one = {0};
    ShardsResult expected;
    double expected_loss, loss;
    machine_create(&one, rig, rig->alone, RIG_SHARD, 1);
    int64_t count = parameter_count(&one), zeros = 0;
    CHECK_OK(shards_gradient(&one.shards, batch, false, &expected));
    CHECK(expected.finite && expected.bad_shard == -1 && expected.stop_requests == 0);
    CHECK(expected.loss > 0 && expected.loss < 100);
    for (int64_t i = 0; i < count; i++)
        zeros += one.shards.sums[i] == 0;
    CHECK(zeros < count / 2);
    CHECK_OK(shards_loss(&one.shards, batch, &expected_loss));
    CHECK(memcmp(&expected_loss, &expected.loss, sizeof(double)) == 0);
    for (int threads = 1; threads <= 3; threads++) {
        Machine many = {0};
        ShardsResult result;
        machine_create(&many, rig, rig->comm, RIG_SHARD, threads);
        for (int repeat = 0; repeat < 2; repeat++) { /* sums are cleared in between */
            bool stop = repeat == 1 && comm_rank(rig->comm) == comm_size(rig->comm) - 1;
            CHECK_OK(shards_gradient(&many.shards, batch, stop, &result));
            CHECK(memcmp(many.shards.sums, one.shards.sums, (size_t)count * sizeof(int64_t)) == 0);
            CHECK(memcmp(&result.loss, &expected.loss, sizeof(double)) == 0);
            CHECK(result.finite && result.bad_shard == -1 && result.stop_requests == repeat);
        }
        CHECK_OK(shards_loss(&many.shards, batch, &loss));
        CHECK(memcmp(&loss, &expected_loss, sizeof(double)) == 0);
        machine_destroy(&many, rig);
    }
    machine_destroy(&one, rig);
}

/* One shard through the network by hand. */
typedef struct ByHand {
    Machine *machine;
    const Rig *rig;
    double *sum, *magnitude; /* (parameters) of the shards' gradients and of their absolute values */
    float *latest;           /* (parameters) of the latest shard */
    double loss;             /* of the shards, as shares of the batch's mean */
} ByHand;

static Status take_gradient(void *context, int64_t first, int64_t count, const float *gradient) {
    ByHand *by_hand = context;
    for (int64_t i = 0; i < count; i++) {
        by_hand->latest[first + i] = gradient[i];
        by_hand->sum[first + i] += (double)gradient[i];
        by_hand->magnitude[first + i] += fabs((double)gradient[i]);
    }
    return STATUS_OK;
}

static void by_hand_create(ByHand *by_hand, const Rig *rig, Machine *machine) {
    int64_t count = parameter_count(machine);
    *by_hand = (ByHand){.machine = machine, .rig = rig};
    CHECK_OK(ALLOCATE(&by_hand->sum, count));
    CHECK_OK(ALLOCATE(&by_hand->magnitude, count));
    CHECK_OK(ALLOCATE(&by_hand->latest, count));
}

static void by_hand_release(ByHand *by_hand) {
    free(by_hand->sum);
    free(by_hand->magnitude);
    free(by_hand->latest);
}

/* Shard `shard` of the batch; slots beyond its end get `garbage` as x_t and timestep (NULL: zeros). */
static void run_by_hand(ByHand *by_hand, const Batch *batch, int64_t shard, const float *garbage) {
    enum { PIXELS = RIG_SIDE * RIG_SIDE, MOST = 16 };
    Network *network = by_hand->machine->network;
    const Schedule *schedule = by_hand->machine->schedule;
    int64_t samples = by_hand->machine->shards.samples, real = 0;
    BatchInput input = {.count = batch->count, .rng_step = batch->rng_step};
    BatchSlot slots[MOST];
    float eps[MOST * PIXELS];
    double loss_sum = 0;
    for (int64_t i = 0; i < samples; i++) {
        int64_t position = shard * samples + i;
        bool exists = position < batch->count;
        slots[i] = (BatchSlot){exists ? batch->index[position] : BATCH_PADDING, (uint32_t)position};
        real += exists;
    }
    CHECK_OK(by_hand->rig->backend->noise(&(NoiseArguments){
        .samples = samples,
        .pixels = PIXELS,
        .batch = &input,
        .slots = slots,
        .images = batch->dataset->pixels,
        .seed = batch->seed,
        .timestep_stream = batch->timestep_stream,
        .noise_stream = batch->noise_stream,
        .steps = schedule->steps,
        .sqrt_alpha_bar = schedule->sqrt_alpha_bar,
        .sqrt_one_minus_alpha_bar = schedule->sqrt_one_minus_alpha_bar,
        .x_t = network_input(network, 0),
        .eps = eps,
        .t = network_timesteps(network, 0),
    }));
    for (int64_t i = real; garbage && i < samples; i++) {
        memcpy(network_input(network, 0) + i * PIXELS, garbage, PIXELS * sizeof(float));
        memcpy(eps + i * PIXELS, garbage + PIXELS, PIXELS * sizeof(float));
        network_timesteps(network, 0)[i] = 100 + (float)i;
    }
    CHECK_OK(network_forward(network, 0));
    CHECK_OK(by_hand->rig->backend->loss(&(LossArguments){
        .samples = samples,
        .pixels = PIXELS,
        .batch = &input,
        .slots = slots,
        .eps = eps,
        .eps_hat = network_output(network, 0),
        .d_eps_hat = network_output_gradient(network, 0),
        .loss_sum = &loss_sum,
    }));
    CHECK_OK(network_backward(network, 0, take_gradient, by_hand));
    by_hand->loss += loss_sum / (double)batch->count;
}

/* Rounding each shard's value to 2^-50 moves the sum by at most half of that per shard; the expected sum
 * itself is rounded in double (2^-53 of the magnitudes per addition). */
static void test_fixed_point(const Rig *rig, const Batch *batch) {
    Machine machine = {0};
    ByHand by_hand;
    ShardsResult result;
    int64_t shard_count = (batch->count + RIG_SHARD - 1) / RIG_SHARD, wrong = 0;
    machine_create(&machine, rig, rig->alone, RIG_SHARD, 1);
    by_hand_create(&by_hand, rig, &machine);
    for (int64_t shard = 0; shard < shard_count; shard++)
        run_by_hand(&by_hand, batch, shard, NULL);
    CHECK_OK(shards_gradient(&machine.shards, batch, false, &result));
    for (int64_t i = 0; i < parameter_count(&machine); i++) {
        double found = (double)machine.shards.sums[i] / FIXED_POINT_SCALE;
        double tolerance = (double)shard_count * (0.5 / FIXED_POINT_SCALE + 0x1p-53 * by_hand.magnitude[i]);
        wrong += !(fabs(found - by_hand.sum[i]) <= tolerance);
    }
    CHECK(wrong == 0);
    CHECK_NEAR(result.loss, by_hand.loss,
               (double)shard_count * (0.5 / FIXED_POINT_SCALE + 0x1p-53 * by_hand.loss));
    by_hand_release(&by_hand);
    machine_destroy(&machine, rig);
}

/* 5 samples in shards of 4 (3 slots of padding) and in shards of 1 (none): the same up to float rounding.
 * Each gradient is a sum of a few hundred to thousand products per sample in float: relative L2 error about
 * 6e-8 sqrt(1000). */
static void test_padding(const Rig *rig, const Batch *batch) {
    static const double tolerance = 1e-5;
    Machine padded = {0}, single = {0};
    ShardsResult result, expected;
    float *found = NULL, *truth = NULL;
    machine_create(&padded, rig, rig->comm, RIG_SHARD, 2);
    machine_create(&single, rig, rig->comm, 1, 2);
    int64_t count = parameter_count(&padded);
    CHECK(parameter_count(&single) == count);
    CHECK_OK(shards_gradient(&padded.shards, batch, false, &result));
    CHECK_OK(shards_gradient(&single.shards, batch, false, &expected));
    CHECK_OK(ALLOCATE(&found, count));
    CHECK_OK(ALLOCATE(&truth, count));
    for (int64_t i = 0; i < count; i++) {
        found[i] = (float)((double)padded.shards.sums[i] / FIXED_POINT_SCALE);
        truth[i] = (float)((double)single.shards.sums[i] / FIXED_POINT_SCALE);
    }
    for (int p = 0; p < padded.network->graph->parameter_count; p++) {
        const Parameter *parameter = &padded.network->graph->parameters[p];
        CHECK_NEAR(
            test_relative_error(found + parameter->offset, truth + parameter->offset, parameter->count), 0,
            tolerance);
    }
    CHECK_NEAR(result.loss, expected.loss, 1e-6 * expected.loss); /* forward alone: a mean of 720 squares */
    free(found);
    free(truth);
    machine_destroy(&padded, rig);
    machine_destroy(&single, rig);
}

/* Sums in float, one shard per rank, against sums in fixed point in shards of one: the same up to float
 * rounding (see test_padding; the sum over ranks adds one rounding per rank). The loss travels in fixed point
 * and is a mean over the same squares. Twice: nothing is left of the first pass. */
static void test_float_sums(const Rig *rig, const Batch *batch) {
    Machine machine = {0}, single = {0};
    ShardsResult result, expected;
    float *gradient = NULL, *truth = NULL;
    int64_t share = (RIG_BATCH + comm_size(rig->comm) - 1) / comm_size(rig->comm);
    machine_create(&single, rig, rig->comm, 1, 2);
    int64_t count = parameter_count(&single);
    CHECK_OK(ALLOCATE(&truth, count));
    CHECK_OK(rig->backend->allocate((void **)&gradient, (size_t)count * sizeof *gradient));
    machine_create_with(&machine, rig, rig->comm, share, 1, gradient);
    CHECK_OK(shards_gradient(&single.shards, batch, false, &expected));
    for (int64_t i = 0; i < count; i++) {
        truth[i] = (float)((double)single.shards.sums[i] / FIXED_POINT_SCALE);
        gradient[i] = NAN;
    }
    for (int repeat = 0; repeat < 2; repeat++) {
        CHECK_OK(shards_gradient(&machine.shards, batch, repeat == 1, &result));
        for (int p = 0; p < machine.network->graph->parameter_count; p++) {
            const Parameter *parameter = &machine.network->graph->parameters[p];
            CHECK_NEAR(test_relative_error(gradient + parameter->offset, truth + parameter->offset,
                                           parameter->count),
                       0, 1e-5);
        }
        CHECK_NEAR(result.loss, expected.loss, 1e-6 * expected.loss);
        CHECK(result.finite && result.stop_requests == (repeat == 1 ? comm_size(rig->comm) : 0));
    }
    double loss;
    CHECK_OK(shards_loss(&machine.shards, batch, &loss));
    CHECK(memcmp(&loss, &result.loss, sizeof loss) == 0);
    GradientSums sums = shards_sums(&machine.shards);
    CHECK(!sums.fixed && !sums.bf16 && sums.tail);
    machine_destroy(&machine, rig);
    machine_destroy(&single, rig);
    rig->backend->release(gradient);
    free(truth);
}

/* Whatever stands in a padded slot, loss and gradients are the same. */
static void test_padded_content(const Rig *rig, const Batch *batch) {
    enum { PIXELS = RIG_SIDE * RIG_SIDE };
    Machine machine = {0};
    ByHand zeros, garbage;
    float content[2 * PIXELS];
    int64_t wrong = 0, last = (batch->count - 1) / RIG_SHARD;
    rng_fill_normal(rng_key(1, RNG_TEST, 0, 0), content, 2 * PIXELS);
    machine_create(&machine, rig, rig->alone, RIG_SHARD, 1);
    by_hand_create(&zeros, rig, &machine);
    by_hand_create(&garbage, rig, &machine);
    run_by_hand(&zeros, batch, last, NULL);
    run_by_hand(&garbage, batch, last, content);
    for (int64_t i = 0; i < parameter_count(&machine); i++)
        wrong += !(zeros.latest[i] == garbage.latest[i]); /* 0 and -0 count as equal: their sums are */
    CHECK(wrong == 0);
    CHECK(zeros.loss == garbage.loss);
    by_hand_release(&zeros);
    by_hand_release(&garbage);
    machine_destroy(&machine, rig);
}

int main(void) {
    Rig rig;
    Dataset dataset = {0};
    uint32_t order[RIG_IMAGES];
    rig_create(&rig);
    CHECK_OK(data_share(rig.comm, rig.data, "train", 0, &dataset));
    CHECK(dataset.count == RIG_IMAGES && dataset.height == RIG_SIDE && dataset.width == RIG_SIDE);
    data_order(5, 1, RIG_IMAGES, order);
    Batch whole = make_batch(&dataset, order, RIG_BATCH), ragged = make_batch(&dataset, order + RIG_BATCH, 5),
          short_one = make_batch(&dataset, order, 1);
    test_ranks_and_threads(&rig, &whole);
    test_ranks_and_threads(&rig, &ragged);
    test_ranks_and_threads(&rig, &short_one); /* fewer shards than ranks: some have none */
    test_fixed_point(&rig, &whole);
    test_fixed_point(&rig, &ragged);
    test_padding(&rig, &ragged);
    test_padded_content(&rig, &ragged);
    test_float_sums(&rig, &whole);
    test_float_sums(&rig, &ragged);
    test_float_sums(&rig, &short_one);
    dataset_release(&dataset);
    rig_destroy(&rig);
    return test_result();
}
