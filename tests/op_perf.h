/* Timing of single ops; no test. */
#ifndef TESTS_OP_PERF_H
#define TESTS_OP_PERF_H

#include <stdint.h>

/* Prints, for every op at the default network's sizes with `samples` samples, its time, GFLOP/s, and the
 * bytes of its operands over the time beside what a copy reaches; one thread. Returns the exit status. */
int op_perf(const char *backend_name, const char *precision, int64_t samples);

#endif
