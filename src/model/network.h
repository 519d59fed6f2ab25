/* The executor: a U-Net prepared on a backend, with one arena per worker, run one shard at a time. */
#ifndef MODEL_NETWORK_H
#define MODEL_NETWORK_H

#include "kernels/backend.h"
#include "model/layouts.h"
#include "model/plan.h"
#include "model/unet.h"

typedef struct Network {
    const Backend *backend;
    Graph *graph;
    Plan plan;
    PreparedOp *ops; /* (plan.node_count) */
    int workers;
    LaidOperands parameter_layouts, gradient_layouts;
    /* See network_backward; both not owned, or NULL. */
    float *gradients;          /* (graph->parameter_elements) backend memory */
    const int64_t *range_ends; /* (range_count) places of the flat array, increasing */
    int range_count;
    const float *parameters; /* (graph->parameter_elements) backend memory, not owned; see network_load */
    struct NetworkWorker *worker;
    int64_t packed_bytes;  /* parameters, and their gradients, in the kernels' own layouts */
    int64_t scratch_bytes; /* per worker */
    bool side_stream;      /* see NetworkOptions */
    TimestepBranch branch; /* of the graph, with a side stream; else empty */
    int64_t side_scratch;  /* where in the scratch that of the side stream begins */
    bool profile;          /* set it to collect seconds per node */
    bool record;           /* see NetworkOptions */
} Network;

/* What a network can compute besides its output. The order of the parameters and the output's bits are the
 * same for all. */
typedef enum NetworkGradients {
    NETWORK_FORWARD,       /* nothing: a far smaller arena */
    NETWORK_TRAINING,      /* the parameters' gradients: network_backward */
    NETWORK_INPUT_GRADIENT /* the input's gradient: network_backward_input */
} NetworkGradients;

typedef struct NetworkOptions {
    UnetOptions unet; /* unet.batch: samples per shard */
    const Backend *backend;
    int workers; /* shards that may be run at the same time, each by one thread */
    NetworkGradients gradients;
    /* Where the backend can, the second network_forward and the second network_backward_input are recorded,
     * and from then on each is one replay: all that changes from one to the next is in the arena. Not for
     * networks whose passes become parts of a larger recording. */
    bool record;
    /* Where the backend can, unless a profile is taken: the timesteps are embedded beside the first
     * convolutions, and, if network->gradients is set, the parameters' gradients are computed beside the rest
     * of the backward pass. The same bits, in more memory. */
    bool side_stream;
} NetworkOptions;

/* Builds graph, gradients and plan, prepares every op. Owned by the caller; network_destroy accepts NULL.
 * Not to be called inside a parallel region. */
Status network_create(Network **network, const NetworkOptions *options);
void network_destroy(Network *network);

/* Checksum of which implementations run the nodes: where it and the backend's description are equal, so are
 * the bits of all results. */
uint64_t network_kernels_checksum(const Network *network);

/* Initial parameters, PyTorch's default distributions but for the output convolution's zeros, keyed by (seed,
 * parameter name's place in the network, element): host memory (graph->parameter_elements). */
void network_initialise(const Graph *graph, uint64_t seed, float *parameters);

/* Takes new parameter values: (graph->parameter_elements) floats in backend memory, which must stay until the
 * next call, re-laid for the kernels on `threads` threads, or by one call of the backend. */
Status network_load(Network *network, const float *parameters, int threads);

/* Tensors of one worker, backend memory: (batch,H,W,1), (batch), (batch,H,W,1), (batch,H,W,1). The gradients
 * are for networks that compute some; the input's for NETWORK_INPUT_GRADIENT alone. */
float *network_input(const Network *network, int worker);
float *network_timesteps(const Network *network, int worker);
float *network_output(const Network *network, int worker);
float *network_output_gradient(const Network *network, int worker);
float *network_input_gradient(const Network *network, int worker);

/* network_input, network_timesteps -> network_output. */
Status network_forward(Network *network, int worker);

/* Receives elements [first, first + count) of this shard's flat gradient, whole parameters, once they are
 * final; valid during the call. The ranges follow each other and are the same in every pass. */
typedef Status (*GradientSink)(void *context, int64_t first, int64_t count, const float *gradient);

/* After network_forward and the loss: network_output_gradient -> the gradient to the sink, parameter after
 * parameter. Where network->gradients is set, by the owner of a network with one worker, it is computed there
 * and stays; it is final, and reported, as far as the pass has come whenever that reaches one of
 * network->range_ends, and at the end. What kernels leave in layouts of their own is then gathered by one
 * call of the backend. */
Status network_backward(Network *network, int worker, GradientSink sink, void *context);

/* Whether there are such kernels: network_backward then needs network->gradients. */
bool network_gathers(const Network *network);

/* NETWORK_INPUT_GRADIENT: network_output_gradient v -> network_input_gradient, J^T v with J = d output / d
 * input at the worker's last network_forward, after which it may be called any number of times. */
Status network_backward_input(Network *network, int worker);

/* Seconds spent in a node since the last reset, summed over workers (profile only), and number of runs. */
double network_node_seconds(const Network *network, int node, int64_t *runs);
void network_reset_profile(Network *network);

/* Bytes this network holds: arenas, scratch, parameters and gradients in the kernels' layouts. */
int64_t network_bytes(const Network *network);

#endif
