/* Checks for the test programs: a failed check prints where and what, and the program exits with 1. */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/status.h"

static int test_failures;

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            printf("%s:%d: FAILED: %s\n", __FILE__, __LINE__, #condition);                                   \
            test_failures++;                                                                                 \
        }                                                                                                    \
    } while (0)

/* |value - expected| <= tolerance; NaN fails. */
#define CHECK_NEAR(value, expected, tolerance)                                                               \
    do {                                                                                                     \
        double value_ = (value), expected_ = (expected), tolerance_ = (tolerance);                           \
        if (!(fabs(value_ - expected_) <= tolerance_)) {                                                     \
            printf("%s:%d: FAILED: %s = %.9g, expected %.9g within %.2g\n", __FILE__, __LINE__, #value,      \
                   value_, expected_, tolerance_);                                                           \
            test_failures++;                                                                                 \
        }                                                                                                    \
    } while (0)

#define CHECK_OK(call)                                                                                       \
    do {                                                                                                     \
        if ((call) != STATUS_OK) {                                                                           \
            printf("%s:%d: FAILED: %s: %s\n", __FILE__, __LINE__, #call, status_message());                  \
            test_failures++;                                                                                 \
        }                                                                                                    \
    } while (0)

/* The call fails with this status and a message that contains `text`. */
#define CHECK_ERROR(call, code, text)                                                                        \
    do {                                                                                                     \
        Status status_ = (call);                                                                             \
        if (status_ != (code) || !strstr(status_message(), (text))) {                                        \
            printf("%s:%d: FAILED: %s: status %d, message \"%s\", expected status %d and \"%s\"\n",          \
                   __FILE__, __LINE__, #call, (int)status_, status_message(), (int)(code), (text));          \
            test_failures++;                                                                                 \
        }                                                                                                    \
    } while (0)

/* L2 norm of a - b over that of b. */
static inline double test_relative_error(const float *a, const float *b, int64_t count) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return sqrt(difference) / (sqrt(norm) > 0 ? sqrt(norm) : 1);
}

static inline int test_result(void) {
    printf("%s\n", test_failures ? "FAILED" : "ok");
    return test_failures ? 1 : 0;
}

#endif
