/* Tests that run on a backend named on the command line: where it needs a device and there is none, they are
 * skipped. */
#ifndef TESTS_TEST_BACKEND_H
#define TESTS_TEST_BACKEND_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"

enum { TEST_SKIPPED = 77 };

/* The backend, started at a precision (NULL: its default); ends the program with 77 where it was not built or
 * has no device, with 1 where it does not start. */
static inline const Backend *test_backend_start(const char *name, const char *precision) {
    const Backend *backend = backend_find(name);
    char first[16];
    if (!backend) {
        printf("skipped: this build has no backend %s\n", name);
        exit(TEST_SKIPPED);
    }
    if (backend->is_available && !backend->is_available()) {
        printf("skipped: no device for backend %s\n", name);
        exit(TEST_SKIPPED);
    }
    snprintf(first, sizeof first, "%.*s", (int)strcspn(backend->precisions, " "), backend->precisions);
    BackendPlace place = {.precision = precision ? precision : first};
    if (backend->start && backend->start(&place) != STATUS_OK) {
        printf("FAILED: %s\n", status_message());
        exit(1);
    }
    return backend;
}

static inline void test_backend_stop(const Backend *backend) {
    if (backend->stop)
        backend->stop();
}

#endif
