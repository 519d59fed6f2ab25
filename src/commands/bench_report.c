#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/bench.h"
#include "io/metrics.h"
#include "model/describe.h"
#include "training/trainer.h"

/* ---- per-op rows ---- */

static void describe_op(const OpDescription *op, char text[128]) {
    char in[DESCRIBE_SHAPE_BYTES], out[DESCRIBE_SHAPE_BYTES], kernel[32] = "";
    if (op->attributes.kernel > 0)
        snprintf(kernel, sizeof kernel, " %dx%d/%d", op->attributes.kernel, op->attributes.kernel,
                 op->attributes.stride);
    snprintf(text, 128, "%.50s -> %.50s%s", describe_shape(4, op->inputs[0].d, in),
             describe_shape(4, op->outputs[0].d, out), kernel);
}

static BenchOp *find_row(BenchOp *ops, int *count, const char *kernel, const char *shape) {
    for (int i = 0; i < *count; i++)
        if (strcmp(ops[i].kernel, kernel) == 0 && strcmp(ops[i].shape, shape) == 0)
            return &ops[i];
    BenchOp *row = &ops[(*count)++];
    snprintf(row->kernel, sizeof row->kernel, "%s", kernel);
    snprintf(row->shape, sizeof row->shape, "%s", shape);
    return row;
}

static int compare_rows(const void *a, const void *b) {
    double left = ((const BenchOp *)a)->seconds, right = ((const BenchOp *)b)->seconds;
    return (left < right) - (left > right);
}

Status bench_collect_ops(const Network *network, int64_t steps, int *count, BenchOp **ops) {
    Status status = ALLOCATE(ops, network->plan.node_count);
    *count = 0;
    if (status != STATUS_OK)
        return status;
    for (int n = 0; n < network->plan.node_count; n++) {
        const PreparedOp *op = &network->ops[n];
        char shape[128];
        int64_t runs;
        double seconds = network_node_seconds(network, n, &runs);
        describe_op(&op->description, shape);
        char kernel[sizeof(*ops)->kernel];
        snprintf(kernel, sizeof kernel, "%s%s%.24s", op->kernel->name, op->implementation ? " " : "",
                 op->implementation ? op->implementation : "");
        BenchOp *row = find_row(*ops, count, kernel, shape);
        row->calls += runs / steps;
        row->seconds += seconds / (double)steps;
        row->flops += (double)op_flops(&op->description) * (double)runs / (double)steps;
    }
    qsort(*ops, (size_t)*count, sizeof **ops, compare_rows);
    return STATUS_OK;
}

static double total_seconds(int op_count, const BenchOp *ops) {
    double total = 0;
    for (int i = 0; i < op_count; i++)
        total += ops[i].seconds;
    return total > 0 ? total : 1;
}

static double gflops_of(const BenchOp *op) {
    return op->seconds > 0 ? op->flops / op->seconds * 1e-9 : 0;
}

/* ---- all-reduce ---- */

static double algorithm_bandwidth(const BenchWork *work, const BenchResult *result) {
    return (double)work->reduced_bytes / result->median_s;
}

/* What each rank's link carries in a ring: 2 (n-1)/n of the bytes. */
static double bus_bandwidth(const BenchWork *work, const BenchResult *result) {
    double ranks = comm_size(work->session->comm);
    return algorithm_bandwidth(work, result) * 2 * (ranks - 1) / ranks;
}

static double step_flops(const BenchWork *work, const BenchResult *result) {
    return work->flops_per_image * result->images;
}

/* ---- for people ---- */

static void print_ops(const BenchResult *result, int op_count, const BenchOp *ops) {
    double total = total_seconds(op_count, ops);
    size_t kernel = 0, shape = 0; /* columns as wide as their longest text */
    for (int i = 0; i < op_count; i++) {
        kernel = strlen(ops[i].kernel) > kernel ? strlen(ops[i].kernel) : kernel;
        shape = strlen(ops[i].shape) > shape ? strlen(ops[i].shape) : shape;
    }
    printf("\nops of rank 0, %lld further steps: seconds per step summed over its threads, GFLOP/s of one "
           "thread\n",
           (long long)result->profiled_steps);
    printf("%-*s %-*s %6s %10s %9s %7s\n", (int)kernel, "kernel", (int)shape, "shape", "calls", "seconds",
           "GFLOP/s", "share");
    for (int i = 0; i < op_count; i++)
        printf("%-*s %-*s %6lld %10.6f %9.2f %6.2f%%\n", (int)kernel, ops[i].kernel, (int)shape, ops[i].shape,
               (long long)ops[i].calls, ops[i].seconds, gflops_of(&ops[i]), 100 * ops[i].seconds / total);
}

void bench_print_table(const BenchWork *work, const BenchResult *result, int op_count, const BenchOp *ops) {
    char text[DESCRIBE_NUMBER_BYTES];
    printf("%s: median %.6g s per step (min %.6g, mean %.6g, max %.6g; interquartile range %.1f %% of the "
           "median; %lld steps after %lld)\n",
           work->session->arguments.word, result->median_s, result->min_s, result->mean_s, result->max_s,
           100 * result->spread, (long long)result->steps, (long long)result->warmup);
    printf("parameters  %s\n", describe_number(work->parameter_count, text));
    if (result->images > 0)
        printf("rate        %.1f images/s, %.1f GFLOP/s over all ranks (%.2f GFLOP per step)\n",
               result->images / result->median_s, step_flops(work, result) / result->median_s * 1e-9,
               step_flops(work, result) * 1e-9);
    if (work->reduced_bytes > 0)
        printf("all-reduce  %s in %.1f MiB buckets: algorithm %.3f GB/s, bus %.3f GB/s\n",
               describe_bytes(work->reduced_bytes, text), work->session->arguments.config.train_bucket_mib,
               algorithm_bandwidth(work, result) * 1e-9, bus_bandwidth(work, result) * 1e-9);
    if (work->reduced_bytes > 0 && comm_size(work->session->comm) == 1)
        printf("            one rank: nothing travels\n");
    printf("memory      peak resident %s (largest rank)\n",
           describe_bytes((int64_t)result->peak_rss_bytes, text));
    if (result->phase_count > 0)
        printf("phases      seconds per step, mean over a rank's threads, of each phase its slowest rank\n");
    for (int i = 0; i < result->phase_count; i++)
        printf("  %-10s %12.6f s %6.1f %%\n", result->phases[i].name, result->phases[i].seconds,
               100 * result->phases[i].seconds / result->mean_s);
    if (op_count > 0)
        print_ops(result, op_count, ops);
}

/* ---- for programs ---- */

/* The rows as a JSON array, owned by the caller. */
static Status ops_json(int op_count, const BenchOp *ops, char **json) {
    Status status = STATUS_OK;
    size_t bytes;
    double total = total_seconds(op_count, ops);
    FILE *stream = open_memstream(json, &bytes);
    char *row = NULL;
    if (!stream)
        return status_error(STATUS_FAILURE, "out of memory");
    fputc('[', stream);
    for (int i = 0; i < op_count; i++) {
        NamedValue values[] = {
            value_text("kernel", ops[i].kernel),
            value_text("shape", ops[i].shape),
            value_integer("calls", ops[i].calls),
            value_number("seconds", ops[i].seconds),
            value_number("gflop_per_s", gflops_of(&ops[i])),
            value_number("share", ops[i].seconds / total),
        };
        TRY(named_values_json((int)(sizeof values / sizeof *values), values, &row));
        fprintf(stream, "%s%s", i ? "," : "", row);
        free(row);
        row = NULL;
    }
    fputc(']', stream);
done:
    free(row);
    if (fclose(stream) != 0 && status == STATUS_OK)
        status = status_error(STATUS_FAILURE, "out of memory");
    return status;
}

static Status phases_json(const BenchResult *result, char **json) {
    NamedValue values[BENCH_MAX_PHASES];
    for (int i = 0; i < result->phase_count; i++)
        values[i] = value_number(result->phases[i].name, result->phases[i].seconds);
    return named_values_json(result->phase_count, values, json);
}

Status bench_print_json(const BenchWork *work, const BenchResult *result, int op_count, const BenchOp *ops) {
    Status status = STATUS_OK;
    const Session *session = work->session;
    const Config *config = &session->arguments.config;
    char channels[CONFIG_VALUE_SIZE], *op_rows = NULL, *phases = NULL, *json = NULL;
    TRY(ops_json(op_count, ops, &op_rows));
    TRY(phases_json(result, &phases));
    NamedValue values[] = {
        value_text("benchmark", session->arguments.word),
        value_number("median_s", result->median_s),
        value_number("min_s", result->min_s),
        value_number("mean_s", result->mean_s),
        value_number("max_s", result->max_s),
        value_number("spread", result->spread),
        value_integer("steps", result->steps),
        value_integer("warmup", result->warmup),
        value_json("channels", config_value_json(config, CONFIG_KEY_model_channels, channels)),
        value_integer("parameters", work->parameter_count),
        value_integer("batch", config->train_batch),
        value_integer("shard", trainer_shard(config, comm_size(session->comm))),
        value_text("gradient_sum", config->train_gradient_sum),
        value_integer("ranks", comm_size(session->comm)),
        value_integer("threads", session->threads),
        value_text("device", session->backend->name),
        value_text("libraries", session->backend->description),
        value_text("communication", comm_description(session->comm)),
        value_number("images_per_s", result->images / result->median_s),
        value_number("gflop_per_step", step_flops(work, result) * 1e-9),
        value_number("gflop_per_s", step_flops(work, result) / result->median_s * 1e-9),
        value_number("peak_rss_bytes", result->peak_rss_bytes),
        value_json("phases", phases),
        value_json("ops", op_rows),
        /* only where an all-reduce was measured: */
        value_integer("bytes", work->reduced_bytes),
        value_number("bucket_mib", config->train_bucket_mib),
        value_number("algorithm_bytes_per_s", algorithm_bandwidth(work, result)),
        value_number("bus_bytes_per_s", bus_bandwidth(work, result)),
    };
    enum { REDUCE_VALUES = 4 };
    int count = (int)(sizeof values / sizeof *values) - (work->reduced_bytes > 0 ? 0 : REDUCE_VALUES);
    TRY(named_values_json(count, values, &json));
    fputs(json, stdout);
done:
    free(op_rows);
    free(phases);
    free(json);
    return status;
}
