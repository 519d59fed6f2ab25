/* AdamW with global-norm clipping, learning-rate warm-up and a moving average of the parameters, over the
 * flat parameter arrays in fixed pieces, so that no result depends on the number of threads. Everything an
 * update reads and decides lies in the backend's memory: nothing waits for a device until a record is read.
 */
#ifndef TRAINING_OPTIMIZER_H
#define TRAINING_OPTIMIZER_H

#include "kernels/backend.h"
#include "model/graph.h"

typedef struct OptimizerOptions {
    double learning_rate, weight_decay, clip_norm, ema_decay;
    int64_t warmup_steps;
} OptimizerOptions;

typedef struct Optimizer {
    const Backend *backend;
    OptimizerOptions options;
    int threads;
    int64_t count; /* parameter elements */
    /* (count) each, backend memory, owned; all zero after creation */
    float *parameters, *ema, *m, *v, *gradient;
    UpdateArguments
        update;       /* what the routines are called with; its arrays are owned but for sums and tail */
    UpdateStep *step; /* backend memory */
} Optimizer;

/* Updates whose records may be unread at a time. */
enum { OPTIMIZER_RECORDS = 64 };

Status optimizer_create(Optimizer *optimizer, const Backend *backend, const Graph *graph,
                        const OptimizerOptions *options, int threads);
void optimizer_release(Optimizer *optimizer); /* accepts a zeroed struct */

/* Learning rate of step number `step` (0, 1, ...): lr min(1, (s+1)/warmup_steps). */
double optimizer_learning_rate(const Optimizer *optimizer, int64_t step);

/* Sends what the next update needs to know of its step: the rate, the bias corrections, EMA decay
 * min(ema_decay, (1+s)/(10+s)), and that its record is number `step` modulo OPTIMIZER_RECORDS. */
Status optimizer_prepare(Optimizer *optimizer, int64_t step);

/* What an update starts from, backend memory: the gradient of the mean loss, (count), as fixed-point sums or
 * as bf16; without either it stands in optimizer->gradient. */
typedef struct GradientSums {
    const int64_t *fixed;
    const uint16_t *bf16;
    const int64_t *tail; /* (TAIL_COUNT) may be NULL */
} GradientSums;

/* Queues the prepared update. Clipping as torch.nn.utils.clip_grad_norm_: factor
 * min(1, clip_norm / (norm + 1e-6)). A norm that is not finite or, if a tail is given, a bad shard in it
 * changes nothing, and no later update does until optimizer_forgive. */
Status optimizer_queue(Optimizer *optimizer, GradientSums sums);

/* The records of steps [first, first + count), after everything queued is done. */
Status optimizer_records(const Optimizer *optimizer, int64_t first, int64_t count, UpdateRecord *records);

/* Lets updates be applied again after one that could not be. */
Status optimizer_forgive(Optimizer *optimizer);

typedef struct OptimizerReport {
    double gradient_norm; /* before clipping */
    double learning_rate;
} OptimizerReport;

/* All of the above for one step. A norm that is not finite changes nothing and is reported. */
Status optimizer_step(Optimizer *optimizer, const int64_t *gradient_sums, int64_t step,
                      OptimizerReport *report);

#endif
