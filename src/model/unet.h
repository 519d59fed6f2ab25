/* The denoiser eps_theta(x_t, t): a residual U-Net with sinusoidal time embedding (DDPM, arXiv:2006.11239).
 */
#ifndef MODEL_UNET_H
#define MODEL_UNET_H

#include "core/config.h"
#include "model/autodiff.h"
#include "model/graph.h"

enum { UNET_MAX_LEVELS = 16 };

typedef struct UnetOptions {
    int channel_count;
    int64_t channels[UNET_MAX_LEVELS]; /* widths of the levels; the last is the bottleneck's */
    int64_t time_dim;
    int groups;
    DataType activation_type;     /* of feature maps */
    int64_t batch, height, width; /* of the input (batch, height, width, 1) */
} UnetOptions;

/* The options of a checked configuration. */
UnetOptions unet_options(const Config *config, int64_t batch, int64_t height, int64_t width);

/* Appends the network to an empty graph and sets its input, timesteps, output and forward_nodes. An image
 * size that the strides do not divide is STATUS_BAD_INPUT. */
Status unet_build(Graph *graph, const UnetOptions *options);

/* The same with gradient nodes, which fix the order of the parameters in the flat array: one order for every
 * target. */
Status unet_build_differentiable(Graph *graph, const UnetOptions *options, AutodiffTarget target);

/* With the gradients of the parameters. */
Status unet_build_trainable(Graph *graph, const UnetOptions *options);

#endif
