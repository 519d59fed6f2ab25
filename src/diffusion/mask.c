#include "diffusion/mask.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

Status mask_observed_count(double fraction, int64_t pixels, int64_t *observed) {
    if (!(fraction > 0 && fraction <= 1))
        return status_error(STATUS_BAD_INPUT, "observed fraction: expected above 0 and at most 1, found %g",
                            fraction);
    *observed = (int64_t)llround(fraction * (double)pixels);
    if (*observed < 1)
        return status_error(STATUS_BAD_INPUT,
                            "observed fraction: expected at least %g (one of %lld pixels, rounded), found %g",
                            0.5 / (double)pixels, (long long)pixels, fraction);
    return STATUS_OK;
}

/* Fisher-Yates from the front: the first k places are final after k exchanges, so fewer are a prefix of more.
 */
static void permute_front(uint64_t mask_seed, int64_t *order, int64_t pixels, int64_t places) {
    RngKey key = rng_key(mask_seed, RNG_MASK, 0, 0);
    for (int64_t i = 0; i < places; i++) {
        int64_t j = i + rng_bounded(key, (uint32_t)i, (uint32_t)(pixels - i));
        int64_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

Status mask_fill(uint64_t mask_seed, double fraction, int64_t pixels, float *mask) {
    Status status = STATUS_OK;
    int64_t observed = 0, *order = NULL;
    TRY(mask_observed_count(fraction, pixels, &observed));
    TRY(ALLOCATE(&order, pixels));
    for (int64_t i = 0; i < pixels; i++)
        order[i] = i;
    permute_front(mask_seed, order, pixels, observed);
    memset(mask, 0, (size_t)pixels * sizeof *mask);
    for (int64_t i = 0; i < observed; i++)
        mask[order[i]] = 1;
done:
    free(order);
    return status;
}
