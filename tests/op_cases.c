#include "op_cases.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

typedef struct ConvolutionSize {
    bool transposed;
    int64_t n, h, w, in, out;
    int kernel, stride, pad;
} ConvolutionSize;

typedef struct NormSize {
    int64_t n, h, w, c;
    int groups;
    bool shift, dshift, silu, addend;
    int64_t split; /* channels of dx, the others being dx_rest's; 0: all */
} NormSize;

static const ConvolutionSize convolutions[] = {
    {false, 3, 5, 3, 1, 8, 3, 1, 1},     {false, 3, 5, 3, 8, 1, 3, 1, 1},
    {false, 8, 7, 7, 3, 16, 3, 1, 1},    {false, 1, 28, 28, 1, 16, 3, 1, 1},
    {false, 1, 28, 28, 16, 1, 3, 1, 1},  {false, 3, 14, 14, 24, 8, 3, 1, 1},
    {false, 3, 7, 7, 64, 24, 3, 1, 1},   {false, 1, 14, 14, 64, 64, 3, 1, 1},
    {false, 8, 7, 7, 8, 64, 3, 1, 1},    {false, 1, 1, 1, 8, 8, 3, 1, 1},
    {false, 3, 28, 28, 3, 3, 3, 1, 1},   {false, 3, 5, 3, 3, 8, 1, 1, 0},
    {false, 8, 7, 7, 24, 16, 1, 1, 0},   {false, 1, 14, 14, 64, 8, 1, 1, 0},
    {false, 3, 28, 28, 16, 1, 1, 1, 0},  {false, 1, 5, 3, 1, 24, 1, 1, 0},
    {false, 3, 28, 28, 8, 8, 4, 2, 1},   {false, 8, 14, 14, 16, 24, 4, 2, 1},
    {false, 1, 14, 14, 64, 64, 4, 2, 1}, {false, 3, 5, 3, 3, 8, 4, 2, 1},
    {false, 1, 7, 7, 8, 16, 4, 2, 1},    {false, 3, 2, 6, 1, 1, 4, 2, 1},
    {true, 3, 7, 7, 8, 8, 4, 2, 1},      {true, 8, 7, 7, 24, 16, 4, 2, 1},
    {true, 1, 14, 14, 64, 64, 4, 2, 1},  {true, 3, 5, 3, 3, 1, 4, 2, 1},
    {true, 1, 3, 5, 1, 8, 4, 2, 1},      {true, 3, 1, 1, 16, 3, 4, 2, 1},
    {false, 1, 5, 3, 1, 520, 3, 1, 1}, /* more channels than a block of a GPU takes at once */
};

/* Forward, with an addend. */
static const ConvolutionSize sums[] = {
    {false, 3, 5, 3, 8, 1, 3, 1, 1},   {false, 3, 5, 3, 1, 8, 3, 1, 1},   {false, 3, 7, 5, 16, 32, 3, 1, 1},
    {false, 3, 5, 3, 3, 7, 3, 1, 1},   {false, 8, 7, 7, 24, 16, 1, 1, 0}, {false, 1, 14, 14, 64, 64, 3, 1, 1},
    {false, 3, 28, 28, 8, 8, 4, 2, 1},
};

/* Backward data, added to what is there. */
static const ConvolutionSize growing[] = {
    {false, 3, 7, 5, 16, 32, 3, 1, 1},   {false, 3, 5, 3, 3, 7, 3, 1, 1},
    {false, 8, 7, 7, 24, 16, 1, 1, 0},   {false, 3, 28, 28, 8, 8, 4, 2, 1},
    {false, 1, 14, 14, 64, 64, 3, 1, 1}, {false, 8, 14, 14, 16, 24, 4, 2, 1},
};

/* The gradient of the weight alone. */
static const ConvolutionSize weights_alone[] = {
    {false, 3, 5, 3, 1, 8, 3, 1, 1},    {false, 3, 5, 3, 8, 1, 3, 1, 1},
    {false, 3, 2, 6, 1, 1, 4, 2, 1},    {false, 3, 5, 3, 3, 7, 3, 1, 1},
    {false, 8, 7, 7, 24, 16, 1, 1, 0},  {false, 3, 28, 28, 8, 8, 4, 2, 1},
    {false, 3, 14, 14, 24, 8, 3, 1, 1}, {false, 1, 14, 14, 64, 64, 3, 1, 1},
};

static const NormSize norms[] = {
    /* every combination of options, two channels per group */
    {3, 5, 3, 8, 4, false, false, false, false, 0},
    {3, 5, 3, 8, 4, false, false, false, true, 0},
    {3, 5, 3, 8, 4, false, false, true, false, 0},
    {3, 5, 3, 8, 4, false, false, true, true, 0},
    {3, 5, 3, 8, 4, true, true, false, false, 0},
    {3, 5, 3, 8, 4, true, true, false, true, 0},
    {3, 5, 3, 8, 4, true, true, true, false, 0},
    {3, 5, 3, 8, 4, true, true, true, true, 0},
    {3, 5, 3, 8, 4, true, false, true, true, 0},
    /* one channel per group */
    {3, 5, 3, 8, 8, true, true, true, true, 0},
    {8, 7, 7, 16, 16, false, false, true, false, 0},
    {3, 7, 7, 3, 3, true, true, false, true, 0},
    /* and more groups than a block of a GPU has threads */
    {3, 4, 4, 72, 72, true, true, true, true, 0},
    {2, 3, 5, 68, 68, false, false, true, false, 0},
    {1, 5, 3, 1, 1, false, false, false, false, 0},
    /* one group, odd widths, one pixel, the network's own sizes */
    {3, 7, 7, 3, 1, true, true, true, true, 0},
    {3, 14, 14, 24, 8, true, true, true, true, 0},
    {3, 1, 1, 16, 2, true, true, true, false, 0},
    {8, 14, 14, 64, 8, true, true, true, true, 0},
    {1, 28, 28, 64, 8, true, true, true, true, 0},
    {8, 28, 28, 16, 8, false, false, true, true, 0},
    {1, 7, 7, 256, 8, false, false, true, false, 0},
    {1, 7, 7, 24, 2, true, true, false, false, 0},
    /* the gradient in two parts: odd ones, whole vectors of one width or another, within a group */
    {3, 5, 3, 8, 4, true, true, true, true, 3},
    {3, 5, 3, 8, 4, false, false, true, false, 4},
    {3, 7, 7, 3, 1, false, false, false, true, 1},
    {3, 14, 14, 24, 8, true, true, true, true, 23},
    {8, 7, 7, 16, 2, false, false, true, true, 8},
    {1, 28, 28, 64, 8, false, false, true, true, 48},
    {8, 14, 14, 64, 8, false, false, true, true, 32},
};

static const int64_t linears[][3] = {{1, 1, 1},  {3, 3, 8},     {8, 64, 24}, {3, 256, 256},
                                     {3, 24, 1}, {8, 256, 128}, {1, 64, 3},  {3, 7, 17}}; /* n, in, out */
static const int64_t embeddings[][2] = {{3, 2}, {8, 64}, {1, 256}, {3, 6}};               /* n, channels */
static const int64_t elementwise[][4] = {
    {3, 5, 3, 3}, {8, 1, 1, 256}, {1, 1, 1, 1}, {1, 7, 7, 24}, {3, 14, 14, 8}};
static const int64_t concats[][5] = {
    {3, 5, 3, 3, 8}, {1, 7, 7, 64, 24}, {8, 14, 14, 16, 16}, {1, 1, 1, 1, 1}};

static const ConvolutionSize unet_convolutions[] = {
    {false, 8, 28, 28, 1, 64, 3, 1, 1},    {false, 8, 28, 28, 64, 64, 3, 1, 1},
    {false, 8, 28, 28, 128, 64, 3, 1, 1},  {false, 8, 14, 14, 128, 128, 3, 1, 1},
    {false, 8, 14, 14, 256, 128, 3, 1, 1}, {false, 8, 7, 7, 256, 256, 3, 1, 1},
    {false, 8, 28, 28, 64, 1, 3, 1, 1},    {false, 8, 28, 28, 128, 64, 1, 1, 0},
    {false, 8, 14, 14, 256, 128, 1, 1, 0}, {false, 8, 28, 28, 64, 128, 4, 2, 1},
    {false, 8, 14, 14, 128, 256, 4, 2, 1}, {true, 8, 7, 7, 256, 128, 4, 2, 1},
    {true, 8, 14, 14, 128, 64, 4, 2, 1},
};

static const ConvolutionSize unet_sums[] = {
    {false, 8, 28, 28, 64, 64, 3, 1, 1},   {false, 8, 14, 14, 128, 128, 3, 1, 1},
    {false, 8, 7, 7, 256, 256, 3, 1, 1},   {false, 8, 28, 28, 128, 64, 1, 1, 0},
    {false, 8, 14, 14, 256, 128, 1, 1, 0},
};

static const ConvolutionSize unet_growing[] = {{false, 8, 28, 28, 64, 128, 4, 2, 1},
                                               {false, 8, 14, 14, 128, 256, 4, 2, 1}};

static const NormSize unet_norms[] = {
    {8, 28, 28, 64, 8, true, true, true, true, 0},      {8, 14, 14, 128, 8, true, true, true, true, 0},
    {8, 7, 7, 256, 8, true, true, true, true, 0},       {8, 28, 28, 128, 8, false, false, true, true, 64},
    {8, 14, 14, 256, 8, false, false, true, true, 128},
};

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static Shape shape(int64_t a, int64_t b, int64_t c, int64_t d) {
    return (Shape){{a, b, c, d}};
}

enum { LARGEST_CASE_COUNT = 512 };

static OpDescription *append(OpCases *cases, OpKind kind) {
    OpDescription *op = &cases->list[cases->count++];
    if (cases->count > LARGEST_CASE_COUNT)
        abort(); /* a mistake in this file's tables */
    op->kind = kind;
    return op;
}

static void append_convolution(OpCases *cases, const ConvolutionSize *s) {
    OpAttributes attributes = {.kernel = s->kernel, .stride = s->stride, .pad = s->pad};
    Shape x = shape(s->n, s->h, s->w, s->in), y = shape(s->n, 0, 0, s->out), bias = shape(s->out, 1, 1, 1);
    Shape weight = s->transposed ? shape(s->in, s->out, s->kernel, s->kernel)
                                 : shape(s->out, s->in, s->kernel, s->kernel);
    for (int k = 1; k <= 2; k++)
        y.d[k] = s->transposed ? (x.d[k] - 1) * s->stride - 2 * s->pad + s->kernel
                               : (x.d[k] + 2 * s->pad - s->kernel) / s->stride + 1;
    OpDescription *op = append(cases, s->transposed ? OP_CONV_TRANSPOSE2D : OP_CONV2D);
    *op = (OpDescription){
        .kind = op->kind, .attributes = attributes, .inputs = {x, weight, bias}, .outputs = {y}};
    op = append(cases, s->transposed ? OP_CONV_TRANSPOSE2D_BACKWARD_DATA : OP_CONV2D_BACKWARD_DATA);
    *op = (OpDescription){.kind = op->kind, .attributes = attributes, .inputs = {y, weight}, .outputs = {x}};
    op = append(cases,
                s->transposed ? OP_CONV_TRANSPOSE2D_BACKWARD_PARAMETERS : OP_CONV2D_BACKWARD_PARAMETERS);
    *op = (OpDescription){
        .kind = op->kind, .attributes = attributes, .inputs = {x, y}, .outputs = {weight, bias}};
}

static void append_sum(OpCases *cases, const ConvolutionSize *s) {
    append_convolution(cases, s);
    cases->count -= 2; /* the gradients do not know of the addend */
    OpDescription *op = &cases->list[cases->count - 1];
    op->inputs[op_input(op->kind, "addend")] = op->outputs[0];
}

static void append_norm(OpCases *cases, const NormSize *s) {
    OpAttributes attributes = {.groups = s->groups, .silu = s->silu, .epsilon = 1e-5f};
    const Shape absent = {{0}};
    Shape x = shape(s->n, s->h, s->w, s->c), gamma = shape(s->c, 1, 1, 1),
          moment = shape(s->n, 1, 1, s->groups);
    Shape row = shape(s->n, 1, 1, s->c), shift = s->shift ? row : absent, dx = x, dx_rest = absent;
    if (s->split) {
        dx_rest = x;
        dx.d[3] = s->split;
        dx_rest.d[3] -= s->split;
    }
    OpDescription *op = append(cases, OP_GROUP_NORM);
    *op = (OpDescription){.kind = op->kind,
                          .attributes = attributes,
                          .inputs = {x, shift, gamma, gamma},
                          .outputs = {x, moment, moment}};
    op = append(cases, OP_GROUP_NORM_BACKWARD);
    *op = (OpDescription){
        .kind = op->kind,
        .attributes = attributes,
        .inputs = {x, shift, gamma, gamma, moment, moment, x, s->addend ? x : absent},
        .outputs = {dx, gamma, gamma, s->dshift ? row : absent, dx_rest, s->dshift ? gamma : absent}};
}

static void append_growing(OpCases *cases, const ConvolutionSize *s) {
    append_convolution(cases, s);
    cases->count -= 2; /* the gradients */
    OpDescription *op = &cases->list[cases->count];
    cases->list[cases->count - 1] = *op; /* backward data in place of the forward op */
    op--;
    op->inputs[op_input(op->kind, "addend")] = op->outputs[0];
}

static void append_weight_alone(OpCases *cases, const ConvolutionSize *s) {
    append_convolution(cases, s);
    OpDescription *op = &cases->list[cases->count - 1];
    op->outputs[op_output(op->kind, "dbias")] = (Shape){{0}};
    cases->count -= 2;
    cases->list[cases->count - 1] = *op; /* in place of the forward op */
}

/* shift and dshift as parts of larger tensors; in some cases without dbias. */
static void append_norm_parts(OpCases *cases, const NormSize *s) {
    append_norm(cases, s);
    OpDescription *forward = &cases->list[cases->count - 2], *backward = forward + 1;
    forward->input_pitches[op_input(forward->kind, "shift")] = s->c + 5;
    backward->input_pitches[op_input(backward->kind, "shift")] = s->c + 1;
    backward->output_pitches[op_output(backward->kind, "dshift")] = s->dshift ? s->c + 3 : 0;
    if (!s->addend)
        backward->outputs[op_output(backward->kind, "dbias")] = (Shape){{0}};
}

/* The gradient with respect to x alone. */
static void append_norm_data(OpCases *cases, const NormSize *s) {
    append_norm(cases, s);
    cases->list[cases->count - 2] = cases->list[cases->count - 1]; /* in place of the forward op */
    cases->count--;
    OpDescription *op = &cases->list[cases->count - 1];
    for (int k = 0; k < op_output_count(op->kind); k++)
        if (k != op_output(op->kind, "dx") && k != op_output(op->kind, "dx_rest"))
            op->outputs[k] = (Shape){{0}};
}

static void append_linear(OpCases *cases, const int64_t s[3]) {
    Shape x = shape(s[0], 1, 1, s[1]), y = shape(s[0], 1, 1, s[2]);
    Shape weight = shape(s[2], s[1], 1, 1), bias = shape(s[2], 1, 1, 1);
    *append(cases, OP_LINEAR) =
        (OpDescription){.kind = OP_LINEAR, .inputs = {x, weight, bias}, .outputs = {y}};
    *append(cases, OP_LINEAR_BACKWARD_DATA) =
        (OpDescription){.kind = OP_LINEAR_BACKWARD_DATA, .inputs = {y, weight}, .outputs = {x}};
    *append(cases, OP_LINEAR_BACKWARD_PARAMETERS) =
        (OpDescription){.kind = OP_LINEAR_BACKWARD_PARAMETERS, .inputs = {x, y}, .outputs = {weight, bias}};
}

static void append_rest(OpCases *cases) {
    for (int i = 0; i < COUNT(embeddings); i++) {
        OpDescription *op = append(cases, OP_TIME_EMBEDDING);
        op->inputs[0] = shape(embeddings[i][0], 1, 1, 1);
        op->outputs[0] = shape(embeddings[i][0], 1, 1, embeddings[i][1]);
    }
    for (int i = 0; i < COUNT(elementwise); i++) {
        const int64_t *e = elementwise[i];
        Shape x = shape(e[0], e[1], e[2], e[3]);
        *append(cases, OP_SILU) = (OpDescription){.kind = OP_SILU, .inputs = {x}, .outputs = {x}};
        *append(cases, OP_SILU_BACKWARD) =
            (OpDescription){.kind = OP_SILU_BACKWARD, .inputs = {x, x}, .outputs = {x}};
        *append(cases, OP_ADD) = (OpDescription){.kind = OP_ADD, .inputs = {x, x}, .outputs = {x}};
    }
    for (int i = 0; i < COUNT(concats); i++) {
        const int64_t *c = concats[i];
        OpDescription *op = append(cases, OP_CONCAT);
        op->inputs[0] = shape(c[0], c[1], c[2], c[3]);
        op->inputs[1] = shape(c[0], c[1], c[2], c[4]);
        op->outputs[0] = shape(c[0], c[1], c[2], c[3] + c[4]);
    }
}

Status op_cases_create(OpCases *cases) {
    Status status = STATUS_OK;
    *cases = (OpCases){0};
    TRY(ALLOCATE(&cases->list, LARGEST_CASE_COUNT));
    for (int i = 0; i < COUNT(convolutions); i++)
        append_convolution(cases, &convolutions[i]);
    for (int i = 0; i < COUNT(sums); i++)
        append_sum(cases, &sums[i]);
    for (int i = 0; i < COUNT(growing); i++)
        append_growing(cases, &growing[i]);
    for (int i = 0; i < COUNT(weights_alone); i++)
        append_weight_alone(cases, &weights_alone[i]);
    for (int i = 0; i < COUNT(norms); i++)
        append_norm(cases, &norms[i]);
    for (int i = 0; i < COUNT(norms); i++)
        append_norm_data(cases, &norms[i]);
    for (int i = 0; i < COUNT(norms); i++)
        if (norms[i].shift)
            append_norm_parts(cases, &norms[i]);
    for (int i = 0; i < COUNT(linears); i++)
        append_linear(cases, linears[i]);
    append_rest(cases);
done:
    return status;
}

static void set_samples(OpDescription *op, int64_t samples) {
    for (int k = 0; k < op_input_count(op->kind); k++)
        if (op->inputs[k].d[0] && !op_operand_is_parameter(op_input_name(op->kind, k)))
            op->inputs[k].d[0] = samples;
    for (int k = 0; k < op_output_count(op->kind); k++)
        if (op->outputs[k].d[0] && !op_operand_is_parameter(op_output_name(op->kind, k)))
            op->outputs[k].d[0] = samples;
}

Status op_cases_create_unet(OpCases *cases, int64_t samples) {
    const int64_t dense[3] = {8, 256, 256};
    Status status = STATUS_OK;
    *cases = (OpCases){0};
    TRY(ALLOCATE(&cases->list, LARGEST_CASE_COUNT));
    for (int i = 0; i < COUNT(unet_convolutions); i++)
        append_convolution(cases, &unet_convolutions[i]);
    for (int i = 0; i < COUNT(unet_sums); i++)
        append_sum(cases, &unet_sums[i]);
    for (int i = 0; i < COUNT(unet_growing); i++)
        append_growing(cases, &unet_growing[i]);
    for (int i = 0; i < COUNT(unet_norms); i++)
        append_norm(cases, &unet_norms[i]);
    append_linear(cases, dense);
    for (int i = 0; i < cases->count; i++)
        set_samples(&cases->list[i], samples);
done:
    return status;
}

const char *op_case_text(const OpDescription *op, char text[256]) {
    const OpAttributes *a = &op->attributes;
    int length = snprintf(text, 256, "%s", op_name(op->kind));
    if (a->kernel)
        length += snprintf(text + length, 256 - (size_t)length, " %dx%d stride %d pad %d", a->kernel,
                           a->kernel, a->stride, a->pad);
    if (a->groups)
        length +=
            snprintf(text + length, 256 - (size_t)length, " groups %d%s", a->groups, a->silu ? " silu" : "");
    for (int k = 0; k < OP_MAX_INPUTS + OP_MAX_OUTPUTS; k++) {
        Shape s = k < OP_MAX_INPUTS ? op->inputs[k] : op->outputs[k - OP_MAX_INPUTS];
        if (k == OP_MAX_INPUTS)
            length += snprintf(text + length, 256 - (size_t)length, " ->");
        if (s.d[0] && length < 220)
            length += snprintf(text + length, 256 - (size_t)length,
                               " (%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ")", s.d[0], s.d[1], s.d[2],
                               s.d[3]);
    }
    return text;
}

int op_case_contradictions(const OpDescription *good, OpDescription bad[OP_CONTRADICTIONS]) {
    int count = 0;
    for (int k = 0; k < OP_CONTRADICTIONS; k++)
        bad[k] = *good;
    bad[count++].outputs[0].d[0] += 1;
    bad[count++].inputs[0].d[0] = 0;
    bad[count++].inputs[0].d[1] = -5;
    bad[count++].input_pitches[0] = good->inputs[0].d[3] + 1;
    bad[count++].output_pitches[0] = good->outputs[0].d[3] + 1;
    if (good->attributes.kernel) {
        bad[count++].attributes.kernel = 0;
        bad[count++].attributes.stride = 0;
    }
    if (good->attributes.groups) {
        bad[count++].attributes.groups = 0;
        bad[count++].attributes.groups = (int)good->inputs[0].d[3] + 1;
    }
    if (good->kind == OP_CONV2D) {
        int addend = op_input(good->kind, "addend");
        bad[count].inputs[addend] = bad[count + 1].inputs[addend] = good->outputs[0];
        bad[count++].inputs[addend].d[3] += 1;
        bad[count++].input_types[addend] = good->output_types[0] == DATA_F32 ? DATA_BF16 : DATA_F32;
    }
    if (good->kind == OP_GROUP_NORM_BACKWARD) {
        int rest = op_output(good->kind, "dx_rest");
        bad[count++].outputs[op_output(good->kind, "dbeta")] = (Shape){{0}}; /* but dgamma */
        bad[count].outputs[op_output(good->kind, "dbias")] = good->inputs[op_input(good->kind, "gamma")];
        bad[count++].outputs[op_output(good->kind, "dshift")] = (Shape){{0}}; /* but dbias */
        bad[count++].outputs[rest] = good->inputs[0];                         /* nothing is left for dx */
        bad[count].outputs[rest] = good->inputs[0]; /* dx has all channels already */
        bad[count++].outputs[rest].d[3] = 1;
    }
    return count;
}

/* Every operand name in ops.def. */
static const char *const operand_names[] = {
    "t",       "e",     "x",     "y",    "a",    "b",    "weight", "bias",   "dy",    "dx",     "dbias",
    "dweight", "shift", "gamma", "beta", "mean", "rstd", "addend", "dgamma", "dbeta", "dshift", "dx_rest"};

const char *op_input_name(OpKind kind, int index) {
    for (int k = 0; k < COUNT(operand_names); k++)
        if (op_input(kind, operand_names[k]) == index)
            return operand_names[k];
    return "?";
}

const char *op_output_name(OpKind kind, int index) {
    for (int k = 0; k < COUNT(operand_names); k++)
        if (op_output(kind, operand_names[k]) == index)
            return operand_names[k];
    return "?";
}

bool op_operand_is_parameter(const char *name) {
    static const char *const parameters[] = {"weight", "bias", "gamma", "beta"};
    for (int k = 0; k < COUNT(parameters); k++)
        if (strcmp(name, parameters[k]) == 0 || (name[0] == 'd' && strcmp(name + 1, parameters[k]) == 0))
            return true;
    return false;
}

/* Timesteps are whole numbers; rstd is positive; SiLU meets numbers whose exp overflows a float. */
static float input_value(const OpDescription *op, const char *name, float normal, int64_t i,
                         float magnitude) {
    static const float extremes[] = {-100, 100, -30, 30, 0, -0.0f};
    if (strcmp(name, "t") == 0)
        return floorf(fminf(fabsf(normal) * 120 * magnitude, 999));
    if (strcmp(name, "gamma") == 0)
        return 1 + 0.3f * normal;
    if (strcmp(name, "weight") == 0 || strcmp(name, "bias") == 0 || strcmp(name, "beta") == 0)
        return 0.5f * normal;
    if (strcmp(name, "rstd") == 0)
        return 0.5f + fabsf(normal);
    if (op->kind == OP_SILU || op->kind == OP_SILU_BACKWARD)
        return strcmp(name, "x") == 0 && i < COUNT(extremes) ? extremes[i] : 4 * normal * magnitude;
    if (strcmp(name, "x") == 0 && op->attributes.groups)
        return 0.7f + normal * magnitude; /* a mean to be removed */
    return normal * magnitude;
}

void op_case_inputs(const OpDescription *op, uint64_t seed, float magnitude, float *const *in) {
    for (int k = 0; k < op_input_count(op->kind); k++) {
        int64_t count = shape_count(op->inputs[k]);
        if (count == 0)
            continue;
        const char *name = op_input_name(op->kind, k);
        rng_fill_normal(rng_key(seed, RNG_TEST, 0, (uint32_t)k), in[k], count);
        for (int64_t i = 0; i < count; i++)
            in[k][i] = input_value(op, name, in[k][i], i, magnitude);
    }
}

/* Shape of the forward op's input `name`. */
static Shape backward_shape(const OpDescription *op, const char *name) {
    char gradient[16];
    snprintf(gradient, sizeof gradient, "d%s", name);
    int as_input = op_input(op->kind, name), as_gradient = op_output(op->kind, gradient);
    if (strcmp(name, "addend") == 0) /* the forward op's own, which its gradients do not depend on */
        return (Shape){{0}};
    if (as_input >= 0)
        return op->inputs[as_input];
    if (as_gradient >= 0 && op->outputs[as_gradient].d[0])
        return op->outputs[as_gradient];
    /* the bias, which the other gradients do not depend on */
    return (Shape){{op->inputs[op_input(op->kind, "dy")].d[3], 1, 1, 1}};
}

bool op_case_forward(const OpDescription *op, OpDescription *forward) {
    const char *suffix = strstr(op_name(op->kind), "_backward");
    if (!suffix)
        return false;
    *forward = (OpDescription){.attributes = op->attributes};
    size_t length = (size_t)(suffix - op_name(op->kind));
    while (strlen(op_name(forward->kind)) != length ||
           memcmp(op_name(forward->kind), op_name(op->kind), length) != 0)
        forward->kind++;
    for (int k = 0; k < op_input_count(forward->kind); k++)
        forward->inputs[k] = backward_shape(op, op_input_name(forward->kind, k));
    forward->outputs[0] = op->inputs[op_input(op->kind, "dy")];
    if (op->kind == OP_GROUP_NORM_BACKWARD)
        forward->outputs[1] = forward->outputs[2] = op->inputs[op_input(op->kind, "mean")];
    return true;
}
