#include "tests/prior_rig.h"

#include "core/rng.h"
#include "tests/prior_truth.h"
#include "tests/test.h"

const PriorSettings PRIOR_CASES[PRIOR_CASE_COUNT] = {
    {.name = "gaussian", .side = 4, .correlation = 0.9},
    {.name = "mixture", .side = 4, .modes = 10, .separation = 6, .tau = 0.2, .seed = 3},
    {.name = "class-gaussian", .tau = 0.1},
    {.name = "empirical", .images = 60, .tau = 0.2},
};

enum { HEIGHT = 6, WIDTH = 5 };

static uint8_t pixels[PRIOR_CASE_IMAGES * HEIGHT * WIDTH], labels[PRIOR_CASE_IMAGES];
const PriorImages prior_case_images = {PRIOR_CASE_IMAGES, HEIGHT, WIDTH, pixels, labels};

/* Seven classes of bars, dimmed at random: black background, grey levels, correlated pixels. */
void prior_cases_fill(void) {
    for (uint32_t n = 0; n < PRIOR_CASE_IMAGES; n++) {
        RngKey key = rng_key(1, RNG_TEST, 0, n);
        uint32_t label = rng_bounded(key, 0, 7), level = 80 + rng_bounded(key, 1, 176);
        labels[n] = (uint8_t)label;
        for (uint32_t p = 0; p < HEIGHT * WIDTH; p++) {
            bool inked = label < 4 ? p % WIDTH == label || p % WIDTH == label + 1 : p / WIDTH == label - 3;
            uint32_t value = inked ? level - rng_bounded(key, 2 + p, 60) : 0;
            pixels[n * HEIGHT * WIDTH + p] = (uint8_t)value;
        }
    }
}

Schedule *prior_case_schedule(void) {
    Schedule *schedule = NULL;
    CHECK_OK(schedule_create("linear", PRIOR_CASE_STEPS, 1e-4, 2e-2, &schedule));
    return schedule;
}

Prior *prior_case(int kind) {
    Prior *prior = NULL;
    CHECK_OK(prior_create(&PRIOR_CASES[kind], &prior_case_images, &prior));
    return prior;
}

void prior_case_noised(const Prior *prior, const Schedule *schedule, int64_t t, uint32_t n, float *x) {
    float noise[TRUTH_PIXELS];
    int64_t count = prior_pixels(prior);
    CHECK_OK(prior_draw(prior, 5, n, x, NULL));
    rng_fill_normal(rng_key(2, RNG_TEST, (uint32_t)t, n), noise, count);
    for (int64_t p = 0; p < count; p++)
        x[p] = schedule->sqrt_alpha_bar[t] * x[p] + schedule->sqrt_one_minus_alpha_bar[t] * noise[p];
}
