#include "model/unet.h"

#include <stdarg.h>
#include <stdio.h>

#include "kernels/backend.h"

UnetOptions unet_options(const Config *config, int64_t batch, int64_t height, int64_t width) {
    UnetOptions options = {
        .channel_count = config->model_channels.count,
        .time_dim = config->model_time_dim,
        .groups = (int)config->model_groups,
        .activation_type = backend_activation_type(config->train_precision),
        .batch = batch,
        .height = height,
        .width = width,
    };
    for (int i = 0; i < options.channel_count && i < UNET_MAX_LEVELS; i++)
        options.channels[i] = config->model_channels.values[i];
    return options;
}

/* "prefix.suffix" for module paths. */
typedef struct Path {
    char text[GRAPH_NAME_LENGTH];
} Path;

__attribute__((format(printf, 1, 2))) static Path path(const char *format, ...) {
    Path result;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(result.text, sizeof result.text, format, arguments);
    va_end(arguments);
    return result;
}

/* h = conv1(silu(norm1(x))); h = conv2(silu(norm2(h + time(e)))); h + skip(x), where time is a layer of the
 * stack `times`, whose e went through SiLU already, and skip is a 1x1 convolution if the channels change. The
 * last convolution of the two adds. */
static int residual_block(Graph *g, Path name, int x, int times, int64_t channels, int groups) {
    if (g->status != STATUS_OK)
        return GRAPH_NONE;
    int64_t in_channels = g->values[x].shape.d[3];
    int h = graph_group_norm_silu(g, path("%.80s.norm1", name.text).text, x, GRAPH_NONE, groups);
    h = graph_conv2d(g, path("%.80s.conv1", name.text).text, h, GRAPH_NONE, channels, 3, 1, 1);
    int shift = graph_linear_layer(g, path("%.80s.time", name.text).text, times, channels);
    h = graph_group_norm_silu(g, path("%.80s.norm2", name.text).text, h, shift, groups);
    int addend = in_channels == channels ? x : GRAPH_NONE;
    h = graph_conv2d(g, path("%.80s.conv2", name.text).text, h, addend, channels, 3, 1, 1);
    if (in_channels != channels)
        h = graph_conv2d(g, path("%.80s.skip", name.text).text, x, h, channels, 1, 1, 0);
    return h;
}

Status unet_build(Graph *g, const UnetOptions *options) {
    int levels = options->channel_count - 1, skips[UNET_MAX_LEVELS];
    const int64_t *channels = options->channels;
    int64_t batch = options->batch, divisor = (int64_t)1 << levels;
    if (levels < 1 || options->channel_count > UNET_MAX_LEVELS)
        return status_error(STATUS_BAD_INPUT, "model.channels: expected 2 to %d levels, found %d",
                            UNET_MAX_LEVELS, options->channel_count);
    if (options->height % divisor || options->width % divisor || options->height < 1 || options->width < 1)
        return status_error(
            STATUS_BAD_INPUT,
            "images of %lldx%lld pixels: %d channel levels halve the image %d times, so height and "
            "width must be multiples of %lld",
            (long long)options->height, (long long)options->width, options->channel_count, levels,
            (long long)divisor);

    g->activation_type = options->activation_type;
    g->input = graph_input(g, "x_t", (Shape){{batch, options->height, options->width, 1}});
    g->timesteps = graph_input(g, "t", (Shape){{batch, 1, 1, 1}});
    int e = graph_time_embedding(g, "time_embedding", g->timesteps, channels[0]);
    e = graph_linear(g, "time_mlp.0", e, options->time_dim);
    e = graph_silu(g, "time_mlp.1", e);
    e = graph_linear(g, "time_mlp.2", e, options->time_dim);
    e = graph_silu(g, "time_silu", e); /* every block begins with it: computed once */
    int times = graph_linear_stack(g, "time_layers", e);

    int h = graph_conv2d(g, "stem", g->input, GRAPH_NONE, channels[0], 3, 1, 1);
    for (int i = 0; i < levels; i++) {
        skips[i] = h = residual_block(g, path("down.%d.block", i), h, times, channels[i], options->groups);
        h = graph_conv2d(g, path("down.%d.downsample", i).text, h, GRAPH_NONE, channels[i + 1], 4, 2, 1);
    }
    for (int i = 0; i < 2; i++)
        h = residual_block(g, path("mid.%d", i), h, times, channels[levels], options->groups);
    for (int i = levels - 1, k = 0; i >= 0; i--, k++) {
        h = graph_conv_transpose2d(g, path("up.%d.upsample", k).text, h, channels[i], 4, 2, 1);
        h = graph_concat(g, path("up.%d.concat", k).text, h, skips[i]);
        h = residual_block(g, path("up.%d.block", k), h, times, channels[i], options->groups);
    }
    h = graph_group_norm_silu(g, "out.norm", h, GRAPH_NONE, options->groups);
    g->output = graph_conv2d(g, "out.conv", h, GRAPH_NONE, 1, 3, 1, 1);
    graph_start_at_zero(g, "out.conv");     /* eps_hat = 0 at first: trains faster, see SPEED.md */
    graph_store_as(g, g->output, DATA_F32); /* the samplers and the loss compute in float */
    g->forward_nodes = g->node_count;
    return graph_check(g);
}

Status unet_build_differentiable(Graph *graph, const UnetOptions *options, AutodiffTarget target) {
    Status status = unet_build(graph, options);
    return status == STATUS_OK ? autodiff_append(graph, target) : status;
}

Status unet_build_trainable(Graph *graph, const UnetOptions *options) {
    return unet_build_differentiable(graph, options, AUTODIFF_PARAMETERS);
}
