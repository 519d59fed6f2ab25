#include "diffusion/network_denoiser.h"

/* The executor reads and writes its own arena; the caller's tensors may be elsewhere. */
static Status network_eps_hat(Denoiser *self, int worker, const float *x_t, const float *t, float *eps_hat) {
    Status status = STATUS_OK;
    Network *network = self->context;
    size_t image_bytes = (size_t)(self->batch * self->height * self->width) * sizeof(float);
    TRY(self->backend->copy(network_input(network, worker), x_t, image_bytes));
    TRY(self->backend->copy(network_timesteps(network, worker), t, (size_t)self->batch * sizeof(float)));
    TRY(network_forward(network, worker));
    TRY(self->backend->copy(eps_hat, network_output(network, worker), image_bytes));
done:
    return status;
}

static Status network_vjp(Denoiser *self, int worker, const float *v, float *product) {
    Status status = STATUS_OK;
    Network *network = self->context;
    size_t image_bytes = (size_t)(self->batch * self->height * self->width) * sizeof(float);
    TRY(self->backend->copy(network_output_gradient(network, worker), v, image_bytes));
    TRY(network_backward_input(network, worker));
    TRY(self->backend->copy(product, network_input_gradient(network, worker), image_bytes));
done:
    return status;
}

Denoiser network_denoiser(Network *network) {
    Shape input = network->graph->values[network->graph->input].shape;
    return (Denoiser){
        .backend = network->backend,
        .workers = network->workers,
        .batch = input.d[0],
        .height = input.d[1],
        .width = input.d[2],
        .eps_hat = network_eps_hat,
        .vjp = network->graph->input_gradient == GRAPH_NONE ? NULL : network_vjp,
        .context = network,
    };
}
