#include "routines_rig.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/bf16.h"

enum { GUARD_BYTES = 64, GUARD = 0xa5, MOST_ARRAYS = 16, MOST_ROWS = 4 };

typedef struct Placed {
    unsigned char *memory; /* the backend's: guard, array, guard */
    void *host;
    size_t bytes;
    bool result; /* copied back */
} Placed;

/* The arrays of one call; the first failure is kept. */
typedef struct Places {
    const Backend *backend;
    Placed list[MOST_ARRAYS];
    int count;
    void *owned[MOST_ROWS]; /* host memory that `list` names, freed at the end */
    int owned_count;
    Status status;
} Places;

static void *place(Places *places, const void *host, size_t bytes, bool result) {
    Status status = STATUS_OK;
    Placed *placed = &places->list[places->count++];
    unsigned char *image = NULL;
    const size_t all = bytes + 2 * GUARD_BYTES;
    if (places->status != STATUS_OK)
        return NULL;
    *placed = (Placed){.host = (void *)(uintptr_t)host, .bytes = bytes, .result = result};
    TRY(ALLOCATE(&image, (long long)all));
    memset(image, GUARD, all);
    memcpy(image + GUARD_BYTES, host, bytes);
    TRY(places->backend->allocate((void **)&placed->memory, all));
    TRY(places->backend->copy_in(placed->memory, image, all));
done:
    free(image);
    places->status = status;
    return placed->memory ? placed->memory + GUARD_BYTES : NULL;
}

/* NULL stays NULL. */
static void *place_some(Places *places, const void *host, size_t bytes, bool result) {
    return host ? place(places, host, bytes, result) : NULL;
}

static float *place_floats(Places *places, const float *host, int64_t count, bool result) {
    return host ? place(places, host, (size_t)count * sizeof *host, result) : NULL;
}

static Status collect(Places *places, Placed *placed) {
    Status status = STATUS_OK;
    unsigned char *image = NULL;
    const size_t all = placed->bytes + 2 * GUARD_BYTES;
    TRY(ALLOCATE(&image, (long long)all));
    TRY(places->backend->copy_out(image, placed->memory, all));
    for (size_t i = 0; i < GUARD_BYTES; i++)
        if (image[i] != GUARD || image[all - 1 - i] != GUARD)
            FAIL(STATUS_FAILURE, "memory around an array was written");
    if (placed->result)
        memcpy(placed->host, image + GUARD_BYTES, placed->bytes);
    else if (memcmp(placed->host, image + GUARD_BYTES, placed->bytes) != 0)
        FAIL(STATUS_FAILURE, "an input was changed");
done:
    free(image);
    return status;
}

/* After the call, which gave `status`. */
static Status finish(Places *places, Status status) {
    for (int i = 0; i < places->count; i++) {
        if (status == STATUS_OK && places->list[i].memory)
            status = collect(places, &places->list[i]);
        places->backend->release(places->list[i].memory);
    }
    for (int i = 0; i < places->owned_count; i++)
        free(places->owned[i]);
    return status;
}

Status rig_noise(const Backend *backend, const NoiseArguments *host, int64_t images) {
    Places places = {.backend = backend};
    NoiseArguments a = *host;
    a.batch = place(&places, host->batch, sizeof *host->batch, false);
    a.slots = place(&places, host->slots, (size_t)host->samples * sizeof *host->slots, false);
    a.images = place(&places, host->images, (size_t)(images * host->pixels), false);
    a.sqrt_alpha_bar = place_floats(&places, host->sqrt_alpha_bar, host->steps, false);
    a.sqrt_one_minus_alpha_bar = place_floats(&places, host->sqrt_one_minus_alpha_bar, host->steps, false);
    a.x_t = place_floats(&places, host->x_t, host->samples * host->pixels, true);
    a.eps = place_floats(&places, host->eps, host->samples * host->pixels, true);
    a.t = place_floats(&places, host->t, host->samples, true);
    return finish(&places, places.status == STATUS_OK ? backend->noise(&a) : places.status);
}

Status rig_loss(const Backend *backend, const LossArguments *host) {
    Places places = {.backend = backend};
    LossArguments a = *host;
    const int64_t count = host->samples * host->pixels;
    a.batch = place(&places, host->batch, sizeof *host->batch, false);
    a.slots = place(&places, host->slots, (size_t)host->samples * sizeof *host->slots, false);
    a.eps = place_floats(&places, host->eps, count, false);
    a.eps_hat = place_floats(&places, host->eps_hat, count, false);
    a.d_eps_hat = place_floats(&places, host->d_eps_hat, count, true);
    a.loss_sum = place(&places, host->loss_sum, sizeof *host->loss_sum, true);
    return finish(&places, places.status == STATUS_OK ? backend->loss(&a) : places.status);
}

Status rig_accumulate(const Backend *backend, int64_t *sum, const float *value, int64_t count, float limit,
                      int64_t *bad) {
    Places places = {.backend = backend};
    int64_t *placed = place(&places, sum, (size_t)count * sizeof *sum, true);
    const float *values = place_floats(&places, value, count, false);
    const float *limits = place_floats(&places, &limit, 1, false);
    int64_t *flag = place(&places, bad, sizeof *bad, true);
    return finish(&places, places.status == STATUS_OK
                               ? backend->accumulate(placed, values, count, limits, flag)
                               : places.status);
}

Status rig_collect(const Backend *backend, const ShardTotals *shards, int64_t count, const BatchInput *batch,
                   int64_t *tail) {
    Places places = {.backend = backend};
    const ShardTotals *totals = place(&places, shards, (size_t)count * sizeof *shards, false);
    const BatchInput *input = place(&places, batch, sizeof *batch, false);
    int64_t *placed = place(&places, tail, TAIL_COUNT * sizeof *tail, true);
    return finish(&places, places.status == STATUS_OK ? backend->collect(totals, count, input, placed)
                                                      : places.status);
}

/* In two calls, the first of one piece: the results do not depend on how pieces are grouped. */
static Status convert_pieces(const Backend *backend, const LayoutPiece *pieces, int64_t count, float *flat,
                             bool gather) {
    Status status = STATUS_OK;
    TRY(gather ? backend->gather(pieces, 1, flat) : backend->lay_out(pieces, 1, flat));
    if (count > 1)
        TRY(gather ? backend->gather(pieces + 1, count - 1, flat)
                   : backend->lay_out(pieces + 1, count - 1, flat));
done:
    return status;
}

Status rig_layout(const Backend *backend, const ParameterLayout *layout, int64_t first, float *flat,
                  int64_t elements, float *laid, bool gather) {
    Status status = STATUS_OK;
    Places places = {.backend = backend};
    const size_t bytes = parameter_layout_bytes(layout);
    const int64_t laid_count = (int64_t)bytes / data_type_bytes(layout->type);
    const int64_t count = parameter_layout_cut(layout, first, NULL, NULL);
    uint16_t *halves = NULL;
    LayoutPiece *pieces = NULL;
    TRY(ALLOCATE(&halves, laid_count));
    TRY(ALLOCATE(&pieces, count));
    for (int64_t i = 0; i < laid_count; i++)
        halves[i] = bf16_of(laid[i]);
    void *placed = place(&places, layout->type == DATA_BF16 ? (void *)halves : laid, bytes, !gather);
    parameter_layout_cut(layout, first, placed, pieces);
    const LayoutPiece *table = place(&places, pieces, (size_t)count * sizeof *pieces, false);
    float *values = place_floats(&places, flat, elements, gather);
    TRY(finish(&places, places.status == STATUS_OK ? convert_pieces(backend, table, count, values, gather)
                                                   : places.status));
    for (int64_t i = 0; layout->type == DATA_BF16 && !gather && i < laid_count; i++)
        laid[i] = bf16_value(halves[i]);
done:
    free(halves);
    free(pieces);
    return status;
}

Status rig_narrow(const Backend *backend, uint16_t *to, const float *from, int64_t count) {
    Places places = {.backend = backend};
    uint16_t *placed = place(&places, to, (size_t)count * sizeof *to, true);
    const float *values = place_floats(&places, from, count, false);
    return finish(&places,
                  places.status == STATUS_OK ? backend->narrow(placed, values, count) : places.status);
}

Status rig_update(const Backend *backend, UpdateRoutine routine, const UpdateArguments *host,
                  int64_t elements, int64_t records) {
    Places places = {.backend = backend};
    UpdateArguments a = *host;
    const size_t pieces = (size_t)host->piece_count;
    a.pieces = place_some(&places, host->pieces, pieces * sizeof *host->pieces, false);
    a.squares = place_some(&places, host->squares, pieces * sizeof *host->squares, true);
    a.sums = place_some(&places, host->sums, (size_t)elements * sizeof *host->sums, false);
    a.bf16 = place_some(&places, host->bf16, (size_t)elements * sizeof *host->bf16, false);
    a.tail = place_some(&places, host->tail, TAIL_COUNT * sizeof *host->tail, false);
    a.step = place_some(&places, host->step, sizeof *host->step, false);
    a.state = place_some(&places, host->state, sizeof *host->state, true);
    a.records = place_some(&places, host->records, (size_t)records * sizeof *host->records, true);
    a.gradient = place_floats(&places, host->gradient, elements, true);
    a.parameter = place_floats(&places, host->parameter, elements, true);
    a.m = place_floats(&places, host->m, elements, true);
    a.v = place_floats(&places, host->v, elements, true);
    a.ema = place_floats(&places, host->ema, elements, true);
    return finish(&places, places.status == STATUS_OK ? routine(&a) : places.status);
}

/* Takes over memory that is placed and must stay for the comparison: finish frees it. */
static void *own(Places *places, void *memory) {
    places->owned[places->owned_count++] = memory;
    return memory;
}

/* Pointers to rows that lie one after another in the backend's memory, NULL where the host's are. */
static const float *const *place_rows(Places *places, const float *const *rows, int64_t samples,
                                      int64_t pixels) {
    Status status = STATUS_OK;
    float *values = NULL, *placed;
    const float **addresses = NULL;
    if (!rows || places->status != STATUS_OK)
        return NULL;
    TRY(ALLOCATE(&values, samples * pixels));
    own(places, values);
    TRY(ALLOCATE(&addresses, samples));
    own(places, (void *)addresses);
    for (int64_t n = 0; n < samples; n++)
        if (rows[n])
            memcpy(values + n * pixels, rows[n], (size_t)pixels * sizeof *values);
    placed = place_floats(places, values, samples * pixels, false);
    for (int64_t n = 0; n < samples; n++)
        addresses[n] = rows[n] ? placed + n * pixels : NULL;
    return place(places, addresses, (size_t)samples * sizeof *addresses, false);
done:
    places->status = status;
    return NULL;
}

Status rig_reverse(const Backend *backend, const ReverseArguments *host) {
    Places places = {.backend = backend};
    ReverseArguments a = *host;
    const int64_t count = host->samples * host->pixels;
    a.seeds = place(&places, host->seeds, (size_t)host->samples * sizeof *host->seeds, false);
    a.rng_samples =
        place(&places, host->rng_samples, (size_t)host->samples * sizeof *host->rng_samples, false);
    a.eps_hat = place_floats(&places, host->eps_hat, count, false);
    a.mask = place_rows(&places, host->mask, host->samples, host->pixels);
    a.observed = place_rows(&places, host->observed, host->samples, host->pixels);
    a.x = place_floats(&places, host->x, count, true);
    a.residual = place_floats(&places, host->residual, count, false);
    a.product = place_floats(&places, host->product, count, false);
    return finish(&places, places.status == STATUS_OK ? backend->reverse(&a) : places.status);
}

Status rig_residual(const Backend *backend, const ResidualArguments *host) {
    Places places = {.backend = backend};
    ResidualArguments a = *host;
    const int64_t count = host->samples * host->pixels;
    a.x = place_floats(&places, host->x, count, false);
    a.eps_hat = place_floats(&places, host->eps_hat, count, false);
    a.mask = place_rows(&places, host->mask, host->samples, host->pixels);
    a.observed = place_rows(&places, host->observed, host->samples, host->pixels);
    a.residual = place_floats(&places, host->residual, count, true);
    return finish(&places, places.status == STATUS_OK ? backend->residual(&a) : places.status);
}
