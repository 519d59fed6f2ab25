/* core: random numbers, status, team, log. */
#include <stdatomic.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/rng.h"
#include "core/team.h"
#include "tests/test.h"

/* Known answers of Philox4x32-10 published with Random123 (kat_vectors). */
static void test_philox_known_answers(void) {
    static const struct {
        RngBlock counter;
        uint32_t key[2];
        RngBlock expected;
    } cases[] = {
        {{{0, 0, 0, 0}}, {0, 0}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
        {{{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}},
         {UINT32_MAX, UINT32_MAX},
         {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
         {0xa4093822, 0x299f31d0},
         {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        RngBlock found = rng_philox(cases[i].counter, cases[i].key[0], cases[i].key[1]);
        CHECK(memcmp(&found, &cases[i].expected, sizeof found) == 0);
    }
}

/* Every word of the key takes its own place in the counter or key. */
static void test_rng_addressing(void) {
    const uint64_t seed = 0x299f31d0a4093822u;
    RngKey key = rng_key(seed, RNG_TEST, 5, 9);
    RngBlock counter = {{3, 9, 5, RNG_TEST}};
    RngBlock expected = rng_philox(counter, 0xa4093822, 0x299f31d0), found = rng_block(key, 3);
    CHECK(memcmp(&found, &expected, sizeof found) == 0);
    for (uint32_t i = 0; i < 4; i++)
        CHECK(rng_integer(key, 12 + i) == expected.v[i]);
    CHECK(rng_derive_seed(seed, 1, 2, 3) == rng_derive_seed(seed, 1, 2, 3));
    CHECK(rng_derive_seed(seed, 1, 2, 3) != rng_derive_seed(seed, 1, 3, 2));
    CHECK(rng_derive_seed(seed, 1, 2, 3) != rng_derive_seed(seed + 1, 1, 2, 3));
}

static void test_uniform(void) {
    static const uint32_t integers[] = {0, 1, 0x7fffffff, 0x80000000, 0xfffffe00, UINT32_MAX};
    RngKey key = rng_key(1, RNG_TEST, 0, 0);
    int counts[10] = {0};
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        float uniform = rng_uniform_of(integers[i]);
        CHECK(uniform > 0 && uniform < 1);
    }
    for (uint32_t i = 0; i < 100000; i++) {
        uint32_t value = rng_bounded(key, i, 10);
        CHECK(value < 10);
        counts[value % 10]++;
    }
    for (int i = 0; i < 10; i++)
        CHECK_NEAR(counts[i], 10000,
                   5 * sqrt(100000 * 0.1 * 0.9)); /* 5 standard errors of a binomial count */
}

static void test_normals(void) {
    enum { COUNT = 1 << 20, ODD = 1003 };
    RngKey key = rng_key(7, RNG_TEST, 1, 2);
    float *values = NULL, odd[ODD + 1];
    double mean = 0, square = 0, fourth = 0, product = 0;
    CHECK_OK(ALLOCATE(&values, COUNT));
    rng_fill_normal(key, values, COUNT);
    for (int i = 0; i < COUNT; i++) {
        double value = values[i];
        mean += value / COUNT;
        square += value * value / COUNT;
        fourth += value * value * value * value / COUNT;
        product += value * values[i ^ 1] / COUNT; /* the two of one Box-Muller pair */
    }
    /* 5 standard errors of the moments of N(0, 1): var x = 1, var x^2 = 2, var x^4 = 105 - 9; each product
     * twice */
    CHECK_NEAR(mean, 0, 5 * sqrt(1.0 / COUNT));
    CHECK_NEAR(square, 1, 5 * sqrt(2.0 / COUNT));
    CHECK_NEAR(fourth, 3, 5 * sqrt(96.0 / COUNT));
    CHECK_NEAR(product, 0, 5 * sqrt(2.0 / COUNT));

    odd[ODD] = 123.0f;
    rng_fill_normal(key, odd, ODD);
    CHECK(memcmp(odd, values, ODD * sizeof *odd) == 0);
    CHECK(odd[ODD] == 123.0f);
    free(values);
}

static Status failing(void) {
    Status status = STATUS_OK;
    TRY(status_error(STATUS_BAD_INPUT, "file %s: expected %d", "a", 3));
    CHECK(false);
done:
    return status;
}

static void test_status(void) {
    char long_text[3000];
    float *memory = NULL;
    CHECK_ERROR(failing(), STATUS_BAD_INPUT, "file a: expected 3");
    CHECK_ERROR(status_context(STATUS_FAILURE, "reading %d", 7), STATUS_FAILURE,
                "reading 7: file a: expected 3");
    CHECK_ERROR(status_error(STATUS_FAILURE, "again: %s", status_message()), STATUS_FAILURE,
                "again: reading 7: file a");

    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    CHECK_ERROR(status_error(STATUS_FAILURE, "%s", long_text), STATUS_FAILURE, "xxx");
    CHECK_ERROR(status_context(STATUS_FAILURE, "%s", long_text), STATUS_FAILURE, "xxx");
    CHECK(strlen(status_message()) < sizeof long_text - 1);

    CHECK_ERROR(ALLOCATE(&memory, -1), STATUS_FAILURE, "out of memory");
    CHECK(memory == NULL);
    CHECK_ERROR(ALLOCATE(&memory, INT64_MAX), STATUS_FAILURE, "out of memory");
    CHECK_OK(ALLOCATE(&memory, 0));
    CHECK(memory != NULL);
    free(memory);
    CHECK_OK(ALLOCATE(&memory, 100));
    for (int i = 0; i < 100; i++)
        CHECK(memory[i] == 0);
    free(memory);
}

enum { TASKS = 1000 };

typedef struct Work {
    int threads;
    _Atomic int runs[TASKS], started, bad_workers;
    int64_t fail_from; /* tasks from here on fail; negative: none */
} Work;

static Status count_task(void *context, int worker, int64_t task) {
    Work *work = context;
    work->started++;
    work->runs[task]++;
    if (worker < 0 || worker >= work->threads)
        work->bad_workers++;
    if (work->fail_from >= 0 && task >= work->fail_from)
        return status_error(STATUS_BAD_INPUT, "task %lld failed", (long long)task);
    return STATUS_OK;
}

static void test_team(void) {
    static const int64_t counts[] = {0, 1, 2, 7, TASKS};
    for (int threads = 1; threads <= 5; threads++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            Work work = {.threads = threads, .fail_from = -1};
            CHECK_OK(team_run(threads, counts[c], count_task, &work));
            CHECK(work.bad_workers == 0);
            for (int64_t i = 0; i < TASKS; i++)
                CHECK(work.runs[i] == (i < counts[c] ? 1 : 0));
        }
    TeamCores cores, none = {{0}};
    team_cores(&cores);
    CHECK(team_cores_count(&cores) >= 1 && team_cores_count(&none) == 0);
    CHECK(team_cores_overlap(&cores, &cores) && !team_cores_overlap(&cores, &none));
}

static void test_team_failure(void) {
    Work alone = {.threads = 1, .fail_from = 3};
    CHECK_ERROR(team_run(1, TASKS, count_task, &alone), STATUS_BAD_INPUT, "task 3 failed");
    CHECK(alone.started == 4);
    Work last = {.threads = 4, .fail_from = TASKS - 1};
    CHECK_ERROR(team_run(4, TASKS, count_task, &last), STATUS_BAD_INPUT, "task 999 failed");
    Work several = {.threads = 4, .fail_from = 3};
    CHECK_ERROR(team_run(4, TASKS, count_task, &several), STATUS_BAD_INPUT, "failed");
}

static void test_duration(void) {
    static const struct {
        double seconds;
        const char *expected;
    } cases[] = {
        {0, "0 s"},
        {0.04, "0 s"},
        {4.24, "4.2 s"},
        {9.96, "10 s"},
        {42, "42 s"},
        {59.4, "59 s"},
        {59.6, "1 min 00 s"},
        {185, "3 min 05 s"},
        {3569, "59 min 29 s"},
        {3599, "1 h 00 min"},
        {7620, "2 h 07 min"},
        {360000, "100 h 00 min"},
        {-1, "?"},
        {NAN, "?"},
        {INFINITY, "?"},
    };
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        log_duration(cases[i].seconds, text);
        CHECK(strcmp(text, cases[i].expected) == 0);
    }
    CHECK(strcmp(log_bytes(840, text), "840 B") == 0 && strcmp(log_bytes(25740, text), "25.7 kB") == 0);
    CHECK(strcmp(log_bytes(3.1e6, text), "3.1 MB") == 0 && strcmp(log_bytes(1.2e9, text), "1.2 GB") == 0);
    CHECK(strcmp(log_plural(1), "") == 0 && strcmp(log_plural(0), "s") == 0 &&
          strcmp(log_plural(2), "s") == 0);
}

static void test_clock(void) {
    double before = clock_seconds(), after = clock_seconds();
    CHECK(before >= 0 && after >= before);
}

int main(void) {
    test_philox_known_answers();
    test_rng_addressing();
    test_uniform();
    test_normals();
    test_status();
    test_team();
    test_team_failure();
    test_duration();
    test_clock();
    return test_result();
}
