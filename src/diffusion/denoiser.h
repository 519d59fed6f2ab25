/* The seam between networks and samplers: anything that predicts the noise in x_t. */
#ifndef DIFFUSION_DENOISER_H
#define DIFFUSION_DENOISER_H

#include <stdint.h>

#include "kernels/backend.h"

typedef struct Denoiser Denoiser;

struct Denoiser {
    const Backend *backend; /* whose memory the arguments of eps_hat are in */
    int workers;            /* threads that may be in eps_hat at once, each with its own worker index */
    int64_t batch, height, width;

    /* eps_hat = E[eps | x_t]; x_t and eps_hat (batch, height, width), t (batch) as floats, all in the
     * backend's memory, none overlapping. The result for a sample depends on that sample and its t alone, not
     * on its slot or its neighbours. Not collective. */
    Status (*eps_hat)(Denoiser *self, int worker, const float *x_t, const float *t, float *eps_hat);

    /* Vector-Jacobian product of this worker's last eps_hat call, whose x_t and t must be unchanged:
     *   product[n, j] = sum_i v[n, i] d eps_hat[n, i] / d x_t[n, j],  v and product (batch, height, width)
     * Optional: NULL where the implementation has none. Not collective. */
    Status (*vjp)(Denoiser *self, int worker, const float *v, float *product);

    void *context; /* the implementation's own */
};

#endif
