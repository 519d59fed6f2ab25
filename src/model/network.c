#include "model/network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/team.h"
#include "io/checksum.h"

/* The nodes [first, end) and their recording. */
typedef struct Pass {
    int first, end;
    bool queued; /* once: what libraries allocate and load is there */
    bool refused;
    void *recording;
} Pass;

typedef struct NetworkWorker {
    void *arena, *scratch;
    Pass forward, backward;
    double *seconds; /* (plan.node_count) */
    int64_t *runs;
} NetworkWorker;

/* Whether the node is for the side stream. */
static bool is_aside(const Network *network, int n) {
    return network->side_stream && (n < network->branch.end || graph_node_is_leaf(network->graph, n));
}

static Status prepare_ops(Network *network) {
    Status status = STATUS_OK;
    enum { ALIGNMENT = 64 };
    int64_t scratch[2] = {0, 0}; /* of the main and of the side stream */
    TRY(ALLOCATE(&network->ops, network->plan.node_count));
    for (int n = 0; n < network->plan.node_count; n++) {
        const Node *node = &network->graph->nodes[n];
        PreparedOp *op = &network->ops[n];
        const OpKernel *kernel = backend_kernel(network->backend, node->op.kind);
        if (!kernel)
            FAIL(STATUS_FAILURE, "backend %s has no kernel for %s, which %s needs", network->backend->name,
                 op_name(node->op.kind), node->name);
        op->description = node->op;
        op->kernel = kernel;
        status = kernel->prepare(op);
        if (status != STATUS_OK) {
            status_context(status, "preparing %s (%s)", node->name, kernel->name);
            goto done;
        }
        network->packed_bytes += (int64_t)op->packed_bytes;
        int64_t *most = &scratch[is_aside(network, n)];
        if ((int64_t)op->scratch_bytes > *most)
            *most = (int64_t)op->scratch_bytes;
    }
    network->side_scratch = (scratch[0] + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    network->scratch_bytes = network->side_scratch + scratch[1];
done:
    return status;
}

static Status create_layouts(Network *network) {
    Status status = STATUS_OK;
    const int nodes = network->plan.node_count;
    TRY(laid_create(&network->parameter_layouts, LAID_PARAMETERS, network->backend, network->graph,
                    network->ops, nodes));
    TRY(laid_create(&network->gradient_layouts, LAID_GRADIENTS, network->backend, network->graph,
                    network->ops, nodes));
    if (network_gathers(network) && network->workers > 1)
        FAIL(STATUS_FAILURE, "backend %s gathers gradients: expected 1 worker, found %d",
             network->backend->name, network->workers);
    network->packed_bytes += network->parameter_layouts.bytes + network->gradient_layouts.bytes;
done:
    return status;
}

static Status create_workers(Network *network) {
    Status status = STATUS_OK;
    TRY(ALLOCATE(&network->worker, network->workers));
    for (int w = 0; w < network->workers; w++) {
        NetworkWorker *worker = &network->worker[w];
        TRY(network->backend->allocate(&worker->arena, (size_t)network->plan.arena_bytes));
        TRY(network->backend->allocate(&worker->scratch, (size_t)network->scratch_bytes + 64));
        worker->forward = (Pass){.end = network->graph->forward_nodes};
        worker->backward = (Pass){.first = network->graph->forward_nodes, .end = network->plan.node_count};
        TRY(ALLOCATE(&worker->seconds, network->plan.node_count));
        TRY(ALLOCATE(&worker->runs, network->plan.node_count));
    }
done:
    return status;
}

Status network_create(Network **result, const NetworkOptions *options) {
    Status status = STATUS_OK;
    Network *network = NULL;
    TRY(ALLOCATE(&network, 1));
    network->backend = options->backend;
    network->workers = options->workers;
    network->record = options->record && options->backend->record_begin;
    network->side_stream = options->side_stream && options->backend->side_begin;
    TRY(graph_create(&network->graph));
    TRY(unet_build_differentiable(network->graph, &options->unet,
                                  options->gradients == NETWORK_INPUT_GRADIENT ? AUTODIFF_INPUT
                                                                               : AUTODIFF_PARAMETERS));
    if (network->side_stream)
        network->branch = graph_timestep_branch(network->graph);
    TRY(plan_create(&network->plan, network->graph,
                    options->gradients == NETWORK_FORWARD ? network->graph->forward_nodes
                                                          : network->graph->node_count,
                    network->side_stream));
    TRY(plan_check(&network->plan));
    TRY(prepare_ops(network));
    TRY(create_layouts(network));
    TRY(create_workers(network));
done:
    if (status != STATUS_OK) {
        network_destroy(network);
        network = NULL;
    }
    *result = network;
    return status;
}

uint64_t network_kernels_checksum(const Network *network) {
    Checksum checksum = checksum_start();
    for (int n = 0; n < network->plan.node_count; n++) {
        const PreparedOp *op = &network->ops[n];
        const char *implementation = op->implementation ? op->implementation : "";
        checksum_add(&checksum, op->kernel->name, strlen(op->kernel->name));
        checksum_add(&checksum, implementation, strlen(implementation));
    }
    return checksum_value(&checksum);
}

static void release_recordings(Network *network) {
    for (int w = 0; network->record && network->worker && w < network->workers; w++) {
        Pass *passes[] = {&network->worker[w].forward, &network->worker[w].backward};
        for (size_t i = 0; i < sizeof passes / sizeof *passes; i++) {
            network->backend->recording_release(passes[i]->recording);
            passes[i]->recording = NULL;
        }
    }
}

void network_destroy(Network *network) {
    if (!network)
        return;
    release_recordings(network);
    for (int w = 0; network->worker && w < network->workers; w++) {
        network->backend->release(network->worker[w].arena);
        network->backend->release(network->worker[w].scratch);
        free(network->worker[w].seconds);
        free(network->worker[w].runs);
    }
    for (int n = 0; network->ops && n < network->plan.node_count; n++)
        if (network->ops[n].kernel)
            network->ops[n].kernel->release(&network->ops[n]);
    laid_release(&network->parameter_layouts, network->backend);
    laid_release(&network->gradient_layouts, network->backend);
    free(network->worker);
    free(network->ops);
    plan_release(&network->plan);
    graph_destroy(network->graph);
    free(network);
}

void network_initialise(const Graph *graph, uint64_t seed, float *parameters) {
    for (int p = 0; p < graph->parameter_count; p++) {
        const Parameter *parameter = &graph->parameters[p];
        RngKey key = rng_key(seed, RNG_PARAMETERS, 0, (uint32_t)p);
        for (int64_t i = 0; i < parameter->count; i++)
            parameters[parameter->offset + i] =
                parameter->initial_bound > 0
                    ? parameter->initial_bound * (2 * rng_uniform_of(rng_integer(key, (uint32_t)i)) - 1)
                    : parameter->initial_value;
    }
}

/* The address of a node's operand for one worker: in the arena, or among the parameters. */
static void *operand(const Network *network, int worker, int value) {
    if (value == GRAPH_NONE)
        return NULL;
    const Value *v = &network->graph->values[value];
    if (v->kind == VALUE_PARAMETER) /* read only: kernels receive it as an input */
        return (void *)(uintptr_t)(network->parameters + network->graph->parameters[v->parameter].offset);
    if (v->kind == VALUE_PARAMETER_GRADIENT && network->gradients)
        return network->gradients + network->graph->parameters[v->parameter].offset;
    if (v->kind == VALUE_VIEW)
        return (char *)operand(network, worker, v->parent) + v->first_channel * data_type_bytes(v->type);
    return (char *)network->worker[worker].arena + network->plan.offset[value];
}

static Status pack_task(void *context, int worker, int64_t n) {
    Network *network = context;
    PreparedOp *op = &network->ops[n];
    const void *inputs[OP_MAX_INPUTS] = {0};
    (void)worker;
    if (!op->kernel->pack)
        return STATUS_OK;
    for (int i = 0; i < OP_MAX_INPUTS; i++) {
        int value = network->graph->nodes[n].inputs[i];
        if (value != GRAPH_NONE && network->graph->values[value].kind == VALUE_PARAMETER)
            inputs[i] = operand(network, 0, value);
    }
    return op->kernel->pack(op, inputs);
}

Status network_load(Network *network, const float *parameters, int threads) {
    Status status = STATUS_OK;
    const LaidOperands *laid = &network->parameter_layouts;
    const int nodes = network->plan.node_count;
    if (parameters != network->parameters)
        release_recordings(network);
    network->parameters = parameters;
    TRY(team_run(threads, nodes, pack_task, network));
    if (laid->bytes > 0)
        TRY(network->backend->lay_out(laid->pieces, laid->end[nodes - 1], parameters));
done:
    return status;
}

float *network_input(const Network *network, int worker) {
    return operand(network, worker, network->graph->input);
}

float *network_timesteps(const Network *network, int worker) {
    return operand(network, worker, network->graph->timesteps);
}

float *network_output(const Network *network, int worker) {
    return operand(network, worker, network->graph->output);
}

float *network_output_gradient(const Network *network, int worker) {
    return operand(network, worker, network->graph->output_gradient);
}

float *network_input_gradient(const Network *network, int worker) {
    return operand(network, worker, network->graph->input_gradient);
}

static Status run_node(Network *network, int worker, int n) {
    const Node *node = &network->graph->nodes[n];
    const PreparedOp *op = &network->ops[n];
    NetworkWorker *w = &network->worker[worker];
    const void *inputs[OP_MAX_INPUTS];
    void *outputs[OP_MAX_OUTPUTS];
    for (int i = 0; i < OP_MAX_INPUTS; i++) {
        const void *laid = laid_operand(&network->parameter_layouts, n, i);
        inputs[i] = laid ? laid : operand(network, worker, node->inputs[i]);
    }
    for (int i = 0; i < OP_MAX_OUTPUTS; i++) {
        void *laid = laid_operand(&network->gradient_layouts, n, i);
        outputs[i] = laid ? laid : operand(network, worker, node->outputs[i]);
    }
    double start = network->profile ? clock_seconds() : 0; /* the last op was waited for */
    Status status = op->kernel->run(op, inputs, outputs,
                                    (char *)w->scratch + (is_aside(network, n) ? network->side_scratch : 0));
    if (network->profile) {
        if (status == STATUS_OK && network->backend->synchronise)
            status = network->backend->synchronise();
        w->seconds[n] += clock_seconds() - start;
        w->runs[n]++;
    }
    return status == STATUS_OK ? status : status_context(status, "%s (%s)", node->name, op->kernel->name);
}

/* ---- passes ---- */

typedef struct PassWork {
    Network *network;
    int worker, first, end;
} PassWork;

/* On the side stream: after what was queued before, beside what is queued next, until it is joined. */
static Status run_node_aside(Network *network, int worker, int n) {
    Status status = STATUS_OK;
    TRY(network->backend->side_begin());
    status = run_node(network, worker, n);
    network->backend->side_end();
done:
    return status;
}

static Status queue_nodes(void *context) {
    Status status = STATUS_OK;
    const PassWork *work = context;
    Network *network = work->network;
    bool aside = false; /* the timesteps' branch may still run on the side stream */
    for (int n = work->first; n < work->end; n++) {
        if (n < network->branch.end && !network->profile) {
            aside = true;
            TRY(run_node_aside(network, work->worker, n));
            continue;
        }
        if (n == network->branch.join && aside) {
            aside = false;
            TRY(network->backend->side_join());
        }
        TRY(run_node(network, work->worker, n));
    }
    if (aside)
        TRY(network->backend->side_join());
done:
    return status;
}

/* A pass that cannot be recorded is queued: its results are the same. */
static void record_pass(PassWork *work, Pass *pass) {
    if (backend_record(work->network->backend, queue_nodes, work, &pass->recording) == STATUS_OK)
        return;
    pass->refused = true;
    log_warning("a pass of the network could not be recorded and is queued call by call: %s",
                status_message());
}

static Status run_pass(Network *network, int worker, Pass *pass) {
    PassWork work = {network, worker, pass->first, pass->end};
    const bool records = network->record && !network->profile; /* in a recording no node can be timed */
    if (records && pass->queued && !pass->recording && !pass->refused)
        record_pass(&work, pass);
    pass->queued = true;
    return records && pass->recording ? network->backend->replay(pass->recording) : queue_nodes(&work);
}

Status network_forward(Network *network, int worker) {
    return run_pass(network, worker, &network->worker[worker].forward);
}

bool network_gathers(const Network *network) {
    return network->gradient_layouts.bytes > 0;
}

/* How far a backward pass has come. */
typedef struct Ready {
    int64_t computed, reported; /* elements of the flat gradient */
    int64_t gathered;           /* pieces */
    int range;                  /* the next of range_ends */
    bool aside;                 /* a leaf may still run on the side stream */
} Ready;

static Status join(const Network *network, Ready *ready) {
    const bool aside = ready->aside;
    ready->aside = false;
    return aside ? network->backend->side_join() : STATUS_OK;
}

/* A leaf, beside what comes next. What the leaf before it read is kept no longer (plan.h). */
static Status run_aside(Network *network, int worker, int n, Ready *ready) {
    Status status = STATUS_OK;
    TRY(join(network, ready));
    ready->aside = true;
    status = run_node_aside(network, worker, n);
done:
    return status;
}

static Status report_range(const Network *network, int n, Ready *ready, GradientSink sink, void *context) {
    Status status = STATUS_OK;
    const LaidOperands *laid = &network->gradient_layouts;
    const int64_t first = ready->reported, pieces = laid->end[n] - ready->gathered;
    if (ready->computed == first)
        return STATUS_OK;
    TRY(join(network, ready));
    if (pieces > 0)
        TRY(network->backend->gather(laid->pieces + ready->gathered, pieces, network->gradients));
    ready->gathered += pieces;
    ready->reported = ready->computed;
    TRY(sink(context, first, ready->computed - first, network->gradients + first));
done:
    return status;
}

static bool range_ended(const Network *network, Ready *ready) {
    const int before = ready->range;
    while (ready->range < network->range_count && network->range_ends[ready->range] <= ready->computed)
        ready->range++;
    return ready->range > before;
}

/* A gradient that node n computed. */
static Status take_gradient(const Network *network, int worker, int value, Ready *ready, GradientSink sink,
                            void *context) {
    Status status = STATUS_OK;
    const Value *v = &network->graph->values[value];
    const int64_t first = network->graph->parameters[v->parameter].offset, count = shape_count(v->shape);
    if (first != ready->computed)
        FAIL(STATUS_FAILURE, "%s: computed after %lld elements, expected after %lld", v->name,
             (long long)ready->computed, (long long)first);
    ready->computed += count;
    if (!network->gradients)
        TRY(sink(context, first, count, operand(network, worker, value)));
done:
    return status;
}

Status network_backward(Network *network, int worker, GradientSink sink, void *context) {
    Status status = STATUS_OK;
    const Graph *graph = network->graph;
    const int nodes = network->plan.node_count;
    const bool may_run_aside = network->side_stream && network->gradients && !network->profile;
    Ready ready = {0};
    if (network_gathers(network) && !network->gradients)
        FAIL(STATUS_FAILURE, "backend %s gathers gradients: expected memory for them",
             network->backend->name);
    for (int n = graph->forward_nodes; n < nodes; n++) {
        if (may_run_aside && graph_node_is_leaf(graph, n))
            TRY(run_aside(network, worker, n, &ready));
        else
            TRY(run_node(network, worker, n));
        for (int i = 0; i < OP_MAX_OUTPUTS; i++) {
            int value = graph->nodes[n].outputs[i];
            if (value != GRAPH_NONE && graph->values[value].kind == VALUE_PARAMETER_GRADIENT)
                TRY(take_gradient(network, worker, value, &ready, sink, context));
        }
        if (network->gradients && (range_ended(network, &ready) || n == nodes - 1))
            TRY(report_range(network, n, &ready, sink, context));
    }
done:
    return status;
}

Status network_backward_input(Network *network, int worker) {
    return run_pass(network, worker, &network->worker[worker].backward);
}

double network_node_seconds(const Network *network, int node, int64_t *runs) {
    double seconds = 0;
    *runs = 0;
    for (int w = 0; w < network->workers; w++) {
        seconds += network->worker[w].seconds[node];
        *runs += network->worker[w].runs[node];
    }
    return seconds;
}

void network_reset_profile(Network *network) {
    for (int w = 0; w < network->workers; w++)
        for (int n = 0; n < network->plan.node_count; n++) {
            network->worker[w].seconds[n] = 0;
            network->worker[w].runs[n] = 0;
        }
}

int64_t network_bytes(const Network *network) {
    return network->workers * (network->plan.arena_bytes + network->scratch_bytes) + network->packed_bytes;
}
