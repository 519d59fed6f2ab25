#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/commands.h"
#include "core/log.h"
#include "model/describe.h"
#include "model/network.h"
#include "model/weights.h"
#include "training/trainer.h"

enum { INSPECT_IMAGE_SIZE = 28 }; /* MNIST's, where no checkpoint says otherwise */

static void print_heading(const char *text) {
    printf("\n%s\n", text);
    for (size_t i = 0; i < strlen(text); i++)
        putchar('-');
    putchar('\n');
}

/* ---- a checkpoint ---- */

static void print_state(const Checkpoint *checkpoint, const char *path) {
    printf("checkpoint          %s\n", path);
    printf("step                %lld (epoch %lld, step %lld in it)\n", (long long)checkpoint->step,
           (long long)checkpoint->epoch, (long long)checkpoint->step_in_epoch);
    printf("finished            %s\n", checkpoint->finished ? "yes" : "no");
    printf("images              %lldx%lld\n", (long long)checkpoint->height, (long long)checkpoint->width);
    printf("seed                %llu\n", (unsigned long long)checkpoint->seed);
    if (checkpoint->epoch_loss_steps > 0)
        printf("mean loss, so far   %.6f (epoch in progress, %lld steps)\n",
               checkpoint->epoch_loss_sum / (double)checkpoint->epoch_loss_steps,
               (long long)checkpoint->epoch_loss_steps);
    if (checkpoint->epoch > 0) {
        printf("mean loss, last     %.6f (last whole epoch)\n", checkpoint->last_epoch_mean);
        printf("mean loss, best     %.6f (best epoch)\n", checkpoint->best_epoch_mean);
    }
    printf("parameters checksum %016llx\n", (unsigned long long)checkpoint_parameters_checksum(checkpoint));
    printf("provenance          %s\n", checkpoint->provenance_json);
    printf("configuration       %s\n", checkpoint->config_json);
}

typedef struct Statistics {
    double mean, deviation, minimum, maximum;
} Statistics;

/* NaN and infinities show in mean and deviation. */
static Statistics measure(const float *values, int64_t count) {
    Statistics s = {.minimum = INFINITY, .maximum = -INFINITY};
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += values[i];
        s.minimum = fmin(s.minimum, values[i]);
        s.maximum = fmax(s.maximum, values[i]);
    }
    s.mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += (values[i] - s.mean) * (values[i] - s.mean);
    s.deviation = sqrt(squares / (double)count);
    return s;
}

static void print_tensors(const Checkpoint *checkpoint) {
    char shape[DESCRIBE_SHAPE_BYTES];
    printf("%-36s %16s %11s %11s %11s %11s\n", "tensor", "shape", "mean", "deviation", "minimum", "maximum");
    for (int i = 0; i < checkpoint->tensor_count; i++) {
        const TensorInfo *tensor = &checkpoint->tensors[i];
        Statistics s = measure(checkpoint->parameters + tensor->offset, tensor->count);
        printf("%-36s %16s %11.3e %11.3e %11.3e %11.3e\n", tensor->name,
               describe_shape(tensor->rank, tensor->dims, shape), s.mean, s.deviation, s.minimum, s.maximum);
    }
}

/* ---- the network ---- */

/* What the backend needs on top of the plan: its kernels' scratch, and the layouts of parameters and
 * gradients. */
static void print_kernels(const Session *session, const Network *network) {
    char scratch[DESCRIBE_NUMBER_BYTES], packed[DESCRIBE_NUMBER_BYTES], total[DESCRIBE_NUMBER_BYTES];
    int64_t per_worker = network->plan.arena_bytes + network->scratch_bytes;
    printf(
        "kernels of %s: scratch %s per worker, parameters and gradients in their layouts %s; training on %d "
        "thread%s: %s\n",
        session->backend->name, describe_bytes(network->scratch_bytes, scratch),
        describe_bytes(network->packed_bytes, packed), session->threads, session->threads == 1 ? "" : "s",
        describe_bytes(session->threads * per_worker + network->packed_bytes, total));
}

/* As the backend trains it. */
static Status print_network(const Session *session, const UnetOptions *unet) {
    Status status = STATUS_OK;
    const Config *config = &session->arguments.config;
    NetworkOptions options = {
        .unet = *unet,
        .backend = session->backend,
        .workers = 1,
        .gradients = NETWORK_TRAINING,
        .side_stream = config->train_side_stream,
    };
    Network *network = NULL;
    TRY(network_create(&network, &options));
    print_heading("Parameters");
    describe_parameters(network->graph, stdout);
    print_heading("Memory");
    TRY(describe_memory(network->graph, network->side_stream, stdout));
    print_kernels(session, network);
    print_heading("Cost");
    describe_cost(network->graph, config->train_batch, stdout);
done:
    network_destroy(network);
    return status;
}

static Status print_schematic(const Graph *graph) {
    char *text = NULL;
    Status status = describe_dot(graph, &text);
    if (status == STATUS_OK)
        fputs(text, stdout);
    free(text);
    return status;
}

/* Rank 0 alone. */
static Status inspect(Session *session) {
    Status status = STATUS_OK;
    Arguments *arguments = &session->arguments;
    const Config *config = &arguments->config;
    Checkpoint checkpoint = {0};
    int64_t height = INSPECT_IMAGE_SIZE, width = INSPECT_IMAGE_SIZE;
    Graph *graph = NULL;
    char path[FILE_PATH_BYTES];
    if (arguments->checkpoint) {
        TRY(checkpoint_read(arguments->checkpoint, &checkpoint, path));
        TRY(session_take_configuration(session, &checkpoint, path));
        height = checkpoint.height;
        width = checkpoint.width;
    }
    UnetOptions unet = unet_options(config, trainer_shard(config, comm_size(session->comm)), height, width);
    TRY(graph_create(&graph));
    TRY(unet_build_trainable(graph, &unet));
    if (arguments->checkpoint)
        TRY(weights_check(graph, &checkpoint, path));
    if (arguments->dot) {
        TRY(print_schematic(graph));
        goto done;
    }
    if (arguments->checkpoint) {
        print_state(&checkpoint, path);
        print_heading("Tensors");
        print_tensors(&checkpoint);
    }
    TRY(print_network(session, &unet));
done:
    graph_destroy(graph);
    checkpoint_release(&checkpoint);
    return status;
}

static Status inspect_run(Session *session) {
    Status status = session->root ? inspect(session) : STATUS_OK;
    if (session->root && status == STATUS_OK && fflush(stdout) != 0)
        status = status_error(STATUS_FAILURE, "standard output: cannot be written");
    return comm_agree(session->comm, status);
}

const Command command_inspect = {
    .description =
        {
            .name = "inspect",
            .summary = "print a network's parameters, memory plan and operation count, and a checkpoint's "
                       "contents",
            .flags = ARGUMENT_CHECKPOINT_OPTIONAL | ARGUMENT_DOT,
            .key_groups = "model train",
            .example = "ddpm_mpi inspect --dot | dot -Tsvg -o unet.svg",
        },
    .run = inspect_run,
};
