/* Timing of single ops; no test. */
#ifndef TESTS_OP_PERF_H
#define TESTS_OP_PERF_H

/* Prints GFLOP/s of one thread per op at the default network's sizes; returns the exit status. */
int op_perf(const char *backend_name);

#endif
