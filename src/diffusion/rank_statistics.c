#include "diffusion/rank_statistics.h"

#include <stdbool.h>
#include <stdlib.h>

#include "core/rng.h"

const char *rank_statistic_name(RankStatistic statistic) {
    static const char *const names[RANK_STATISTIC_COUNT] = {
        [RANK_UNCERTAIN_PIXEL] = "missing.uncertain_pixel",
        [RANK_CERTAIN_PIXEL] = "missing.certain_pixel",
        [RANK_MEAN] = "missing.mean",
        [RANK_PROJECTION] = "missing.projection",
        [RANK_SQUARES] = "missing.squares",
        [RANK_OBSERVED_PIXEL] = "observed.pixel",
    };
    return names[statistic];
}

/* Elements of a statistic's random numbers; and the step of rank_pixels, above every statistic. */
enum { PICK = 0, TIES = 1, SIGNS = 2, PIXELS_STEP = 1 << 16 };

typedef struct Pixel {
    int64_t index;
    double variance; /* over truth and draws together */
} Pixel;

typedef struct Ranking {
    const RankInput *input;
    float *column;  /* (n + 1) */
    double *values; /* (n + 1) of a statistic, the truth's first */
    Pixel *missing; /* (missing_count), the least uncertain first */
    int64_t *observed;
    int64_t missing_count, observed_count;
} Ranking;

/* The truth is member 0. */
static const float *member(const RankInput *input, int64_t i) {
    return i == 0 ? input->truth : input->draws + (i - 1) * input->pixels;
}

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int compare_pixels(const void *a, const void *b) {
    const Pixel *x = a, *y = b;
    if (x->variance != y->variance)
        return x->variance > y->variance ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

/* Sorted first, so that not even the rounding of a sum depends on which member is the truth. */
static double pooled_variance(const Ranking *ranking, int64_t pixel) {
    int64_t members = ranking->input->draw_count + 1;
    double mean = 0, sum = 0;
    for (int64_t i = 0; i < members; i++)
        ranking->column[i] = member(ranking->input, i)[pixel];
    qsort(ranking->column, (size_t)members, sizeof *ranking->column, compare_floats);
    for (int64_t i = 0; i < members; i++)
        mean += ranking->column[i] / (double)members;
    for (int64_t i = 0; i < members; i++)
        sum += (ranking->column[i] - mean) * (ranking->column[i] - mean);
    return sum / (double)(members - 1);
}

static Status ranking_create(const RankInput *input, Ranking *ranking) {
    Status status = STATUS_OK;
    ranking->input = input;
    if (input->draw_count < 1)
        FAIL(STATUS_FAILURE, "ranks: expected 1 draw or more, found %lld", (long long)input->draw_count);
    TRY(ALLOCATE(&ranking->column, input->draw_count + 1));
    TRY(ALLOCATE(&ranking->values, input->draw_count + 1));
    TRY(ALLOCATE(&ranking->missing, input->pixels));
    TRY(ALLOCATE(&ranking->observed, input->pixels));
    for (int64_t p = 0; p < input->pixels; p++)
        if (input->mask[p] > 0)
            ranking->observed[ranking->observed_count++] = p;
        else
            ranking->missing[ranking->missing_count++] = (Pixel){p, pooled_variance(ranking, p)};
    qsort(ranking->missing, (size_t)ranking->missing_count, sizeof *ranking->missing, compare_pixels);
done:
    return status;
}

static void ranking_release(Ranking *ranking) {
    free(ranking->column);
    free(ranking->values);
    free(ranking->missing);
    free(ranking->observed);
}

/* How many of values[1 ..] are below values[0]; equal ones are below or above it with every place as likely.
 */
static int64_t rank_first(const double *values, int64_t count, RngKey key, uint32_t element) {
    int64_t below = 0, equal = 0;
    for (int64_t i = 1; i < count; i++) {
        below += values[i] < values[0];
        equal += values[i] == values[0];
    }
    return below + rng_bounded(key, element, (uint32_t)equal + 1);
}

static double measure(const Ranking *ranking, RankStatistic statistic, RngKey key, const float *image) {
    double sum = 0;
    for (int64_t i = 0; i < ranking->missing_count; i++) {
        int64_t p = ranking->missing[i].index;
        if (statistic == RANK_SQUARES)
            sum += (double)image[p] * image[p];
        else if (statistic == RANK_PROJECTION)
            sum += rng_integer(key, SIGNS + (uint32_t)p) & 1 ? image[p] : -image[p];
        else
            sum += image[p];
    }
    return sum;
}

/* The pixel a statistic reads; -1: none. */
static int64_t pick_pixel(const Ranking *ranking, RankStatistic statistic, RngKey key) {
    int64_t certain = ranking->missing_count - (ranking->missing_count + 2) / 3;
    int64_t first = statistic == RANK_UNCERTAIN_PIXEL ? certain : 0, count = certain;
    if (statistic == RANK_UNCERTAIN_PIXEL)
        count = ranking->missing_count - certain;
    if (statistic == RANK_OBSERVED_PIXEL)
        count = ranking->observed_count;
    if (count == 0)
        return -1;
    int64_t place = first + rng_bounded(key, PICK, (uint32_t)count);
    return statistic == RANK_OBSERVED_PIXEL ? ranking->observed[place] : ranking->missing[place].index;
}

static int32_t rank_of(const Ranking *ranking, RankStatistic statistic) {
    const RankInput *input = ranking->input;
    RngKey key = rng_key(input->seed, RNG_TEST_STATISTIC, (uint32_t)statistic, input->unit);
    bool whole = statistic == RANK_MEAN || statistic == RANK_PROJECTION || statistic == RANK_SQUARES;
    int64_t pixel = whole ? -1 : pick_pixel(ranking, statistic, key);
    if (whole ? ranking->missing_count == 0 : pixel < 0)
        return -1;
    for (int64_t i = 0; i <= input->draw_count; i++) {
        const float *image = member(input, i);
        ranking->values[i] = whole ? measure(ranking, statistic, key, image) : image[pixel];
    }
    return (int32_t)rank_first(ranking->values, input->draw_count + 1, key, TIES);
}

Status rank_statistics(const RankInput *input, int32_t *ranks) {
    Status status = STATUS_OK;
    Ranking ranking = {0};
    TRY(ranking_create(input, &ranking));
    for (int statistic = 0; statistic < RANK_STATISTIC_COUNT; statistic++)
        ranks[statistic] = rank_of(&ranking, (RankStatistic)statistic);
done:
    ranking_release(&ranking);
    return status;
}

Status rank_pixels(const RankInput *input, int64_t *counts) {
    Status status = STATUS_OK;
    Ranking ranking = {0};
    RngKey key = rng_key(input->seed, RNG_TEST_STATISTIC, PIXELS_STEP, input->unit);
    TRY(ranking_create(input, &ranking));
    for (int64_t place = 0; place < ranking.missing_count; place++) {
        int64_t pixel = ranking.missing[place].index, stratum = place * RANK_STRATA / ranking.missing_count;
        for (int64_t i = 0; i <= input->draw_count; i++)
            ranking.values[i] = member(input, i)[pixel];
        counts[stratum * (input->draw_count + 1) +
               rank_first(ranking.values, input->draw_count + 1, key, (uint32_t)pixel)]++;
    }
done:
    ranking_release(&ranking);
    return status;
}
