#include <math.h>
#include <string.h>

#include "kernels/bf16.h"
#include "kernels/cpu/kernels_cpu.h"
#include "kernels/cpu/simd.h"

enum { DOUBLE_LANES = 4 };

typedef double DoubleLanes __attribute__((vector_size(32)));
typedef int64_t IntegerLanes __attribute__((vector_size(32)));
typedef float FloatLanes __attribute__((vector_size(16)));

Status cpu_lay_out(const LayoutPiece *pieces, int64_t count, const float *flat) {
    for (const LayoutPiece *p = pieces; p < pieces + count; p++)
        for (int64_t i = 0; i < p->width; i++)
            for (int64_t tap = 0; tap < p->taps; tap++) {
                float value = flat[p->first + i * p->taps + tap];
                int64_t at = tap * p->inner + i;
                if (p->type == DATA_BF16)
                    ((uint16_t *)p->laid)[at] = bf16_of(value);
                else
                    ((float *)p->laid)[at] = value;
            }
    return STATUS_OK;
}

static float laid_value(const LayoutPiece *p, int64_t part, int64_t at) {
    at += part * p->part_elements;
    return p->type == DATA_BF16 ? bf16_value(((const uint16_t *)p->laid)[at]) : ((const float *)p->laid)[at];
}

static float sum_of_parts(const LayoutPiece *p, int64_t at) {
    double rows[LAYOUT_SUM_ROWS] = {0}, sum = 0;
    if (p->parts == 1)
        return laid_value(p, 0, at);
    for (int64_t k = 0; k < p->parts; k++)
        rows[k % LAYOUT_SUM_ROWS] += laid_value(p, k, at);
    for (int row = 0; row < LAYOUT_SUM_ROWS; row++)
        sum += rows[row];
    return (float)sum;
}

Status cpu_gather(const LayoutPiece *pieces, int64_t count, float *flat) {
    for (const LayoutPiece *p = pieces; p < pieces + count; p++)
        for (int64_t i = 0; i < p->width; i++)
            for (int64_t tap = 0; tap < p->taps; tap++)
                flat[p->first + i * p->taps + tap] = sum_of_parts(p, tap * p->inner + i);
    return STATUS_OK;
}

Status cpu_noise(const NoiseArguments *a) {
    const uint32_t rng_step = a->batch->rng_step;
    for (int64_t n = 0; n < a->samples; n++) {
        float *x_t = a->x_t + n * a->pixels, *eps = a->eps + n * a->pixels;
        const BatchSlot slot = a->slots[n];
        if (slot.image == BATCH_PADDING) {
            memset(x_t, 0, (size_t)a->pixels * sizeof *x_t);
            memset(eps, 0, (size_t)a->pixels * sizeof *eps);
            a->t[n] = 0;
            continue;
        }
        const uint8_t *image = a->images + slot.image * a->pixels;
        RngKey timestep = rng_key(a->seed, a->timestep_stream, rng_step, slot.rng_sample);
        uint32_t t = rng_bounded(timestep, 0, (uint32_t)a->steps);
        rng_fill_normal(rng_key(a->seed, a->noise_stream, rng_step, slot.rng_sample), eps, a->pixels);
        const float signal = a->sqrt_alpha_bar[t], noise = a->sqrt_one_minus_alpha_bar[t];
        const float white = 255.0f / 2;
        for (int64_t i = 0; i < a->pixels; i++)
            x_t[i] = signal * ((float)image[i] / white - 1) + noise * eps[i];
        a->t[n] = (float)t;
    }
    return STATUS_OK;
}

Status cpu_loss(const LossArguments *a) {
    const double slope = 2 / ((double)a->pixels * (double)a->batch->count);
    double loss_sum = 0;
    for (int64_t n = 0; n < a->samples; n++) {
        const float *eps = a->eps + n * a->pixels, *eps_hat = a->eps_hat + n * a->pixels;
        float *gradient = a->d_eps_hat ? a->d_eps_hat + n * a->pixels : NULL;
        if (a->slots[n].image == BATCH_PADDING) {
            if (gradient)
                memset(gradient, 0, (size_t)a->pixels * sizeof *gradient);
            continue;
        }
        double squares = 0;
        for (int64_t i = 0; i < a->pixels; i++) {
            double difference = (double)eps_hat[i] - eps[i];
            squares += difference * difference;
            if (gradient)
                gradient[i] = (float)(slope * difference);
        }
        loss_sum += squares / (double)a->pixels;
    }
    *a->loss_sum = loss_sum;
    return STATUS_OK;
}

/* Adding 1.5 * 2^52 leaves a double of magnitude up to 2^51 rounded to nearest even in its lowest bits. */
static const double round_shift = 6755399441055744.0;

/* Values of magnitude up to 1 (2^50 steps). */
static inline void accumulate_four(int64_t *sum, const float *value) {
    const DoubleLanes shift = {round_shift, round_shift, round_shift, round_shift};
    FloatLanes floats;
    IntegerLanes totals;
    memcpy(&floats, value, sizeof floats);
    memcpy(&totals, sum, sizeof totals);
    DoubleLanes shifted = __builtin_convertvector(floats, DoubleLanes) * FIXED_POINT_SCALE + shift;
    totals += (IntegerLanes)shifted - (IntegerLanes)shift;
    memcpy(sum, &totals, sizeof totals);
}

static void accumulate_each(int64_t *sum, const float *value, int64_t count, float largest, int64_t *bad) {
    for (int64_t i = 0; i < count; i++) {
        if (fabsf(value[i]) <= largest)
            sum[i] += llrint((double)value[i] * FIXED_POINT_SCALE);
        else
            *bad = 1;
    }
}

static bool all_within(const float *value, int64_t count, float limit) {
    SimdInt within = ~(SimdInt){0};
    for (int64_t i = 0; i < count; i += SIMD_LANES) {
        SimdFloat v = simd_load(value + i);
        within &= (v <= limit) & (v >= -limit); /* false for NaN */
    }
    int32_t every = -1;
    for (int k = 0; k < SIMD_LANES; k++)
        every &= within[k];
    return every != 0;
}

Status cpu_accumulate(int64_t *sum, const float *value, int64_t count, const float *limit, int64_t *bad) {
    enum { BLOCK = 64 };
    const float representable = 8191.5f; /* int64 holds 2^63 / 2^50 = 8192 */
    const float largest = fminf(*limit, representable), fast = fminf(*limit, 1);
    int64_t i = 0;
    for (; i + BLOCK <= count; i += BLOCK) {
        if (!all_within(value + i, BLOCK, fast)) {
            accumulate_each(sum + i, value + i, BLOCK, largest, bad);
            continue;
        }
        for (int k = 0; k < BLOCK; k += DOUBLE_LANES)
            accumulate_four(sum + i + k, value + i + k);
    }
    accumulate_each(sum + i, value + i, count - i, largest, bad);
    return STATUS_OK;
}

Status cpu_collect(const ShardTotals *shards, int64_t count, const BatchInput *batch, int64_t *tail) {
    tail[TAIL_LOSS] = tail[TAIL_BAD] = 0;
    tail[TAIL_STOP] = batch->stop;
    tail[TAIL_FIRST_BAD] = -1;
    for (int64_t i = 0; i < count; i++) {
        double share = shards[i].loss_sum / (double)batch->count;
        if (!shards[i].bad && fabs(share) <= batch->limit) {
            tail[TAIL_LOSS] += llrint(share * FIXED_POINT_SCALE);
            continue;
        }
        tail[TAIL_BAD]++;
        if (tail[TAIL_FIRST_BAD] < 0)
            tail[TAIL_FIRST_BAD] = i;
    }
    return STATUS_OK;
}

Status cpu_narrow(uint16_t *to, const float *from, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        to[i] = bf16_of(from[i]);
    return STATUS_OK;
}

/* In four lanes, whatever the compiler makes of the loop. */
static double sum_of_squares(const float *gradient, int64_t count) {
    double lanes[DOUBLE_LANES] = {0};
    int64_t i = 0;
    for (; i + DOUBLE_LANES <= count; i += DOUBLE_LANES)
        for (int k = 0; k < DOUBLE_LANES; k++)
            lanes[k] += (double)gradient[i + k] * (double)gradient[i + k];
    for (; i < count; i++)
        lanes[0] += (double)gradient[i] * (double)gradient[i];
    return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}

Status cpu_finish_gradient(const UpdateArguments *a) {
    const double unit = 1 / FIXED_POINT_SCALE;
    for (int64_t p = 0; p < a->piece_count; p++) {
        const UpdatePiece *piece = &a->pieces[p];
        float *gradient = a->gradient + piece->offset;
        for (int64_t i = 0; a->sums && i < piece->count; i++)
            gradient[i] = (float)((double)a->sums[piece->offset + i] * unit);
        for (int64_t i = 0; a->bf16 && i < piece->count; i++)
            gradient[i] = bf16_value(a->bf16[piece->offset + i]);
        a->squares[p] = sum_of_squares(gradient, piece->count);
    }
    return STATUS_OK;
}

Status cpu_plan_update(const UpdateArguments *a) {
    static const int64_t no_tail[TAIL_COUNT] = {[TAIL_FIRST_BAD] = -1};
    const int64_t *tail = a->tail ? a->tail : no_tail;
    UpdateRecord *record = &a->records[a->step->record];
    double squares = 0, scale = 1;
    for (int64_t p = 0; p < a->piece_count; p++)
        squares += a->squares[p];
    const double norm = sqrt(squares);
    if (a->step->clip_norm > 0 && a->step->clip_norm / (norm + 1e-6) < 1)
        scale = a->step->clip_norm / (norm + 1e-6);
    a->state->scale = (float)scale;
    a->state->apply = isfinite(norm) && tail[TAIL_BAD] == 0 && !a->state->failed;
    a->state->failed = !a->state->apply;
    memcpy(record->tail, tail, sizeof record->tail);
    record->gradient_norm = norm;
    return STATUS_OK;
}

static void update_piece(const UpdateArguments *a, const UpdatePiece *piece) {
    const UpdateStep step = *a->step;
    const float *restrict gradient = a->gradient + piece->offset;
    float *restrict parameter = a->parameter + piece->offset, *restrict m = a->m + piece->offset;
    float *restrict v = a->v + piece->offset, *restrict ema = a->ema + piece->offset;
    const float scale = a->state->scale, keep = step.keep[piece->decay];
    for (int64_t i = 0; i < piece->count; i++) {
        float g = scale * gradient[i];
        m[i] = step.beta1 * m[i] + step.rest1 * g;
        v[i] = step.beta2 * v[i] + step.rest2 * (g * g);
        float p =
            keep * parameter[i] - step.step_size * (m[i] / (sqrtf(v[i]) / step.correction2 + step.epsilon));
        parameter[i] = p;
        ema[i] += step.follow * (p - ema[i]);
    }
}

Status cpu_adamw(const UpdateArguments *a) {
    for (int64_t p = 0; a->state->apply && p < a->piece_count; p++)
        update_piece(a, &a->pieces[p]);
    return STATUS_OK;
}

/* Noise is drawn this many pixels at a time, a multiple of the generator's block of 4. */
enum { REVERSE_CHUNK = 256 };

/* Standard normals for elements [first, first + count) of the key's sequence. */
static void normals_from(RngKey key, int64_t first, float *out, int64_t count) {
    float four[4];
    for (int64_t i = 0; i < count; i += 4) {
        rng_normals(key, (uint32_t)((first + i) / 4), four);
        for (int64_t k = 0; k < 4 && i + k < count; k++)
            out[i + k] = four[k];
    }
}

static void reverse_unconditional(const ReverseStep *step, float *restrict x, const float *restrict eps_hat,
                                  const float *restrict z, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        float x0 = step->from_x * x[i] + step->from_eps * eps_hat[i];
        x[i] = step->mean_x0 * x0 + step->mean_x * x[i] + step->sigma * z[i];
    }
}

static void reverse_conditional(const ReverseStep *step, float *restrict x, const float *restrict eps_hat,
                                const float *restrict z, const float *restrict xi,
                                const float *restrict direction, const float *restrict mask,
                                const float *restrict y, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        float x0_hat = step->from_x * x[i] + step->from_eps * eps_hat[i];
        float residual = mask[i] != 0 ? y[i] - x0_hat : 0;
        float x0 = step->projection && mask[i] != 0 ? y[i] : x0_hat;
        float next = step->mean_x0 * x0 + step->mean_x * x[i] + step->gain * residual +
                     step->guidance * direction[i] + step->sigma * z[i];
        if (step->replacement && mask[i] != 0)
            next = step->replace_y * y[i] + step->replace_noise * xi[i];
        x[i] = next;
    }
}

static void renoise(const ReverseStep *step, float *restrict x, const float *restrict xi, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        x[i] = step->renoise_x * x[i] + step->renoise_noise * xi[i];
}

/* J^T u of ReverseStep. */
static void fill_direction(const ReverseStep *step, const float *restrict u, const float *restrict product,
                           float *restrict direction, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        direction[i] = step->from_x * u[i] + step->from_eps * product[i];
}

/* Pixels [first, first + count) of sample n, count at most REVERSE_CHUNK. */
static void reverse_chunk(const ReverseArguments *a, int64_t n, int64_t first, int64_t count) {
    const ReverseStep *step = a->step;
    const float *mask = a->mask ? a->mask[n] : NULL;
    const int64_t at = n * a->pixels + first;
    float z[REVERSE_CHUNK] = {0}, xi[REVERSE_CHUNK] = {0}, direction[REVERSE_CHUNK] = {0};
    if (step->sigma != 0)
        normals_from(rng_key(a->seeds[n], RNG_SAMPLE_NOISE, a->rng_step, a->rng_samples[n]), first, z, count);
    if (!mask) {
        reverse_unconditional(step, a->x + at, a->eps_hat + at, z, count);
    } else {
        if (step->replacement && step->replace_noise != 0)
            normals_from(rng_key(a->seeds[n], RNG_REPLACEMENT_NOISE, a->rng_step, a->rng_samples[n]), first,
                         xi, count);
        if (a->product)
            fill_direction(step, a->residual + at, a->product + at, direction, count);
        reverse_conditional(step, a->x + at, a->eps_hat + at, z, xi, direction, mask + first,
                            a->observed[n] + first, count);
    }
    if (step->renoise_noise != 0) {
        normals_from(rng_key(a->seeds[n], RNG_RENOISE, a->rng_step, a->rng_samples[n]), first, xi, count);
        renoise(step, a->x + at, xi, count);
    }
}

Status cpu_reverse(const ReverseArguments *a) {
    for (int64_t n = 0; n < a->samples; n++)
        for (int64_t first = 0; first < a->pixels; first += REVERSE_CHUNK)
            reverse_chunk(a, n, first, a->pixels - first < REVERSE_CHUNK ? a->pixels - first : REVERSE_CHUNK);
    return STATUS_OK;
}

/* Leaves m (y - x0_hat) in u and returns the sum of its squares. */
static double residual_of_sample(const ReverseStep *step, const float *x, const float *eps_hat,
                                 const float *mask, const float *y, float *u, int64_t pixels) {
    double squares = 0;
    for (int64_t i = 0; i < pixels; i++) {
        float x0_hat = step->from_x * x[i] + step->from_eps * eps_hat[i];
        u[i] = mask[i] != 0 ? y[i] - x0_hat : 0;
        squares += (double)u[i] * (double)u[i];
    }
    return squares;
}

Status cpu_residual(const ResidualArguments *a) {
    for (int64_t n = 0; n < a->samples; n++) {
        const int64_t at = n * a->pixels;
        float *u = a->residual + at;
        if (!a->mask || !a->mask[n]) {
            memset(u, 0, (size_t)a->pixels * sizeof *u);
            continue;
        }
        double squares =
            residual_of_sample(a->step, a->x + at, a->eps_hat + at, a->mask[n], a->observed[n], u, a->pixels);
        double scale = squares > 0 ? 1 / sqrt(squares) : 0;
        for (int64_t i = 0; a->step->normalise && i < a->pixels; i++)
            u[i] = (float)(u[i] * scale);
    }
    return STATUS_OK;
}
