/* GroupNorm (Wu and He, arXiv:1803.08494) with the shift before it and the SiLU after it, and its gradient.
 *
 * Channels are the vector lanes, in blocks of 8 or 16. Sums over pixels are float sums over short runs of
 * pixels, added up in double, channel by channel; a group's statistics are then put together from its
 * channels in double. The variance is summed around the mean in a second pass: the tensor of one sample lies
 * in cache. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/kernels_cpu.h"
#include "kernels/cpu/simd.h"
#include "kernels/op_check.h"

/* A run of this many pixels is summed in float: at most 6 roundings deep per lane and accumulator. */
enum { RUN_PIXELS = 32, ACCUMULATORS = 4 };

typedef struct Extent {
    int64_t samples, pixels, channels, groups, group_channels;
    int64_t padded_channels; /* the per-channel arrays' length: a whole vector from any channel on */
} Extent;

static Extent extent_of(const OpDescription *description) {
    Shape x = description->inputs[0];
    Extent extent = {
        .samples = x.d[0],
        .pixels = x.d[1] * x.d[2],
        .channels = x.d[3],
        .groups = description->attributes.groups,
        .group_channels = x.d[3] / description->attributes.groups,
        .padded_channels = (x.d[3] + 2 * SIMD_LANES - 1) / SIMD_LANES * SIMD_LANES,
    };
    return extent;
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Arrays per channel of the backward pass. */
typedef struct BackwardArrays {
    double *du, *du_zhat, *zhat;        /* this sample's sums per channel */
    double *dgamma, *dbeta;             /* over all samples */
    float *scale, *offset;              /* zhat = scale x + offset */
    float *gamma, *beta;                /* padded copies */
    float *from_du, *from_x, *constant; /* dz = from_du du + from_x x + constant */
} BackwardArrays;

/* The gradient with respect to channels [first, first + channels) of x. */
typedef struct Part {
    float *dx; /* (samples, pixels, channels) */
    int64_t first, channels;
} Part;

/* The inner loops for one vector width; group_norm_vector.inc says what each does. */
typedef struct GroupNormLoops {
    void (*sum_channels)(double *sums, const float *x, const float *offsets, const Extent *extent,
                         bool squared);
    void (*apply)(float *y, const float *x, const float *scale, const float *offset, const Extent *extent,
                  bool silu);
    void (*differentiate)(const Part *part, const float *x, const float *dy, const BackwardArrays *arrays,
                          const Extent *extent, bool silu);
    void (*finish)(const Part *part, const float *x, const float *addend, const BackwardArrays *arrays,
                   const Extent *extent);
} GroupNormLoops;

#define LANES SIMD_LANES
#define VECTOR SimdFloat
#define SIMD(word) simd_##word
#define NAME(word) word##_8
#include "kernels/cpu/group_norm_vector.inc"
#undef LANES
#undef VECTOR
#undef SIMD
#undef NAME

#ifdef SIMD16_COMPILED
SIMD16_BEGIN
#define LANES SIMD16_LANES
#define VECTOR Simd16Float
#define SIMD(word) simd16_##word
#define NAME(word) word##_16
#include "kernels/cpu/group_norm_vector.inc"
#undef LANES
#undef VECTOR
#undef SIMD
#undef NAME
SIMD16_END
#endif

/* Both widths give the same bits; the wide one where it has no lanes to spare. */
static const GroupNormLoops *choose_loops(int64_t channels) {
#ifdef SIMD16_COMPILED
    if (channels % SIMD16_LANES == 0 && simd16_available())
        return &loops_16;
#endif
    (void)channels;
    return &loops_8;
}

/* ---- forward ---- */

static double group_sum(const double *sums, const Extent *extent, int64_t group) {
    double sum = 0;
    for (int64_t k = 0; k < extent->group_channels; k++)
        sum += sums[group * extent->group_channels + k];
    return sum;
}

/* Mean and 1/sqrt(var + epsilon) of x + shift per group. offsets: working memory. */
static void statistics(const GroupNormLoops *loops, float *mean, float *rstd, const float *x,
                       const float *shift, float epsilon, const Extent *extent, float *offsets,
                       double *sums) {
    double count = (double)(extent->pixels * extent->group_channels);
    memset(offsets, 0, (size_t)extent->padded_channels * sizeof *offsets);
    if (shift)
        memcpy(offsets, shift, (size_t)extent->channels * sizeof *offsets);
    loops->sum_channels(sums, x, offsets, extent, false);
    for (int64_t group = 0; group < extent->groups; group++) {
        double average = group_sum(sums, extent, group) / count;
        mean[group] = (float)average;
        for (int64_t k = 0; k < extent->group_channels; k++) {
            int64_t c = group * extent->group_channels + k;
            offsets[c] = (float)(offsets[c] - average);
        }
    }
    loops->sum_channels(sums, x, offsets, extent, true);
    for (int64_t group = 0; group < extent->groups; group++)
        rstd[group] = (float)(1 / sqrt(group_sum(sums, extent, group) / count + epsilon));
}

enum { FORWARD_ARRAYS = 2, BACKWARD_ARRAYS = 7, BACKWARD_SUMS = 5 };

static Status group_norm_prepare(PreparedOp *op) {
    Status status = STATUS_OK;
    TRY(op_check(&op->description));
    Extent extent = extent_of(&op->description);
    op->scratch_bytes = (size_t)extent.padded_channels * (sizeof(double) + FORWARD_ARRAYS * sizeof(float));
done:
    return status;
}

static Status group_norm_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                             void *scratch) {
    const Extent extent = extent_of(&op->description);
    const GroupNormLoops *loops = choose_loops(extent.channels);
    const float *shift = inputs[1], *gamma = inputs[2], *beta = inputs[3];
    double *sums = scratch;
    float *scale = (float *)(sums + extent.padded_channels), *offset = scale + extent.padded_channels;
    for (int64_t n = 0; n < extent.samples; n++) {
        const float *x = (const float *)inputs[0] + n * extent.pixels * extent.channels;
        const float *sample_shift = shift ? shift + n * op_input_pitch(&op->description, 1) : NULL;
        float *y = (float *)outputs[0] + n * extent.pixels * extent.channels;
        float *mean = (float *)outputs[1] + n * extent.groups,
              *rstd = (float *)outputs[2] + n * extent.groups;
        statistics(loops, mean, rstd, x, sample_shift, op->description.attributes.epsilon, &extent, offset,
                   sums);
        memset(scale, 0, (size_t)extent.padded_channels * sizeof *scale);
        memset(offset, 0, (size_t)extent.padded_channels * sizeof *offset);
        for (int64_t c = 0; c < extent.channels; c++) {
            int64_t group = c / extent.group_channels;
            scale[c] = gamma[c] * rstd[group];
            offset[c] = ((sample_shift ? sample_shift[c] : 0) - mean[group]) * scale[c] + beta[c];
        }
        loops->apply(y, x, scale, offset, &extent, op->description.attributes.silu);
    }
    return STATUS_OK;
}

/* ---- backward ----
 * With zhat = (x + shift - mean) rstd, u = gamma zhat + beta, du = dy act'(u), and M values in a group:
 *   dbeta = sum du, dgamma = sum du zhat
 *   dz = rstd (gamma du - s1 / M - zhat s2 / M), s1 = sum gamma du, s2 = sum gamma du zhat over the group
 * du is parked in dx between the two passes. */

static BackwardArrays backward_arrays(void *scratch, int64_t padded_channels) {
    double *sums = scratch;
    float *arrays = (float *)(sums + BACKWARD_SUMS * padded_channels);
    BackwardArrays result;
    double **const sum_slots[BACKWARD_SUMS] = {&result.du, &result.du_zhat, &result.zhat, &result.dgamma,
                                               &result.dbeta};
    float **const slots[BACKWARD_ARRAYS] = {&result.scale,   &result.offset, &result.gamma,   &result.beta,
                                            &result.from_du, &result.from_x, &result.constant};
    for (int i = 0; i < BACKWARD_SUMS; i++)
        *sum_slots[i] = sums + i * padded_channels;
    for (int i = 0; i < BACKWARD_ARRAYS; i++)
        *slots[i] = arrays + i * padded_channels;
    return result;
}

/* Turns this sample's sums into the coefficients of dz, its dshift and its share of dgamma and dbeta. */
static void combine(const BackwardArrays *arrays, float *dshift, const float *rstd, const Extent *extent) {
    double count = (double)(extent->pixels * extent->group_channels);
    for (int64_t group = 0; group < extent->groups; group++) {
        int64_t first = group * extent->group_channels, last = first + extent->group_channels;
        double s1 = 0, s2 = 0, scale = rstd[group];
        for (int64_t c = first; c < last; c++) {
            s1 += arrays->gamma[c] * arrays->du[c];
            s2 += arrays->gamma[c] * arrays->du_zhat[c];
            arrays->dbeta[c] += arrays->du[c];
            arrays->dgamma[c] += arrays->du_zhat[c];
        }
        for (int64_t c = first; c < last; c++) {
            double from_du = arrays->gamma[c] * scale, from_zhat = -scale * s2 / count;
            double constant = -scale * s1 / count;
            arrays->from_du[c] = (float)from_du;
            arrays->from_x[c] = (float)(from_zhat * arrays->scale[c]);
            arrays->constant[c] = (float)(constant + from_zhat * arrays->offset[c]);
            if (dshift)
                dshift[c] = (float)(from_du * arrays->du[c] + from_zhat * arrays->zhat[c] +
                                    constant * (double)extent->pixels);
        }
    }
}

static Status group_norm_backward_prepare(PreparedOp *op) {
    Status status = STATUS_OK;
    TRY(op_check(&op->description));
    Extent extent = extent_of(&op->description);
    op->scratch_bytes =
        (size_t)extent.padded_channels * (BACKWARD_SUMS * sizeof(double) + BACKWARD_ARRAYS * sizeof(float));
done:
    return status;
}

/* dx of one sample is computed part by part: of all channels, or of the first ones and the others. */
static int sample_parts(const OpDescription *d, void *const *outputs, int64_t sample, Part parts[2]) {
    const int slots[2] = {0, 4}; /* dx, dx_rest */
    int count = 0;
    int64_t first = 0;
    for (int i = 0; i < 2 && outputs[slots[i]]; i++) {
        Shape shape = d->outputs[slots[i]];
        float *dx = (float *)outputs[slots[i]] + sample * shape.d[1] * shape.d[2] * shape.d[3];
        parts[count++] = (Part){dx, first, shape.d[3]};
        first += shape.d[3];
    }
    return count;
}

/* dbias[c] = sum over samples of dshift[n, c], a row of which is `pitch` elements. */
static void sum_samples(float *dbias, const float *dshift, int64_t pitch, const Extent *extent) {
    for (int64_t c = 0; c < extent->channels; c++) {
        double sum = 0;
        for (int64_t n = 0; n < extent->samples; n++)
            sum += dshift[n * pitch + c];
        dbias[c] = (float)sum;
    }
}

static Status group_norm_backward_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                                      void *scratch) {
    const Extent extent = extent_of(&op->description);
    const BackwardArrays arrays = backward_arrays(scratch, extent.padded_channels);
    const float *shift = inputs[1], *mean = inputs[4], *rstd = inputs[5], *addend = inputs[7];
    const bool silu = op->description.attributes.silu;
    const int64_t shift_pitch = op_input_pitch(&op->description, 1);
    const int64_t dshift_pitch = op_output_pitch(&op->description, 3);
    float *dgamma = outputs[1], *dbeta = outputs[2], *dshift = outputs[3];
    memset(scratch, 0, op->scratch_bytes);
    memcpy(arrays.gamma, inputs[2], (size_t)extent.channels * sizeof(float));
    memcpy(arrays.beta, inputs[3], (size_t)extent.channels * sizeof(float));
    for (int64_t n = 0; n < extent.samples; n++) {
        int64_t at = n * extent.pixels * extent.channels;
        const float *x = (const float *)inputs[0] + at, *dy = (const float *)inputs[6] + at;
        Part parts[2];
        int part_count = sample_parts(&op->description, outputs, n, parts);
        for (int64_t c = 0; c < extent.channels; c++) {
            int64_t group = n * extent.groups + c / extent.group_channels;
            arrays.scale[c] = rstd[group];
            arrays.offset[c] = ((shift ? shift[n * shift_pitch + c] : 0) - mean[group]) * rstd[group];
        }
        for (int p = 0; p < part_count; p++)
            choose_loops(parts[p].channels)->differentiate(&parts[p], x, dy, &arrays, &extent, silu);
        combine(&arrays, dshift ? dshift + n * dshift_pitch : NULL, rstd + n * extent.groups, &extent);
        for (int p = 0; p < part_count; p++)
            choose_loops(parts[p].channels)
                ->finish(&parts[p], x, addend ? addend + at : NULL, &arrays, &extent);
    }
    for (int64_t c = 0; dgamma && c < extent.channels; c++) {
        dgamma[c] = (float)arrays.dgamma[c];
        dbeta[c] = (float)arrays.dbeta[c];
    }
    if (outputs[5])
        sum_samples(outputs[5], dshift, dshift_pitch, &extent);
    return STATUS_OK;
}

static void release_nothing(PreparedOp *op) {
    (void)op;
}

const OpKernel kernel_fused_group_norm = {
    .kind = OP_GROUP_NORM,
    .name = "group_norm_fused",
    .prepare = group_norm_prepare,
    .run = group_norm_run,
    .release = release_nothing,
};

const OpKernel kernel_fused_group_norm_backward = {
    .kind = OP_GROUP_NORM_BACKWARD,
    .name = "group_norm_backward_fused",
    .prepare = group_norm_backward_prepare,
    .run = group_norm_backward_run,
    .release = release_nothing,
};
