/* AdamW with global-norm clipping, learning-rate warm-up and a moving average of the parameters, over the
 * flat parameter arrays in fixed pieces, so that no result depends on the number of threads. */
#ifndef TRAINING_OPTIMIZER_H
#define TRAINING_OPTIMIZER_H

#include "kernels/backend.h"
#include "model/graph.h"

typedef struct OptimizerOptions {
    double learning_rate, weight_decay, clip_norm, ema_decay;
    int64_t warmup_steps;
} OptimizerOptions;

/* A consecutive part of one parameter. */
typedef struct OptimizerPiece {
    int64_t offset, count;
    bool decay;
} OptimizerPiece;

typedef struct Optimizer {
    const Backend *backend;
    OptimizerOptions options;
    int threads;
    int64_t count; /* parameter elements */
    /* (count) each, backend memory, owned; all zero after creation */
    float *parameters, *ema, *m, *v, *gradient;
    int64_t piece_count;
    OptimizerPiece *pieces;
    double *squares; /* (piece_count) */
} Optimizer;

Status optimizer_create(Optimizer *optimizer, const Backend *backend, const Graph *graph,
                        const OptimizerOptions *options, int threads);
void optimizer_release(Optimizer *optimizer); /* accepts a zeroed struct */

typedef struct OptimizerReport {
    double gradient_norm; /* before clipping */
    double learning_rate;
} OptimizerReport;

/* Step number `step` (0, 1, ...) from the fixed-point sums of the gradient of the mean loss, (count).
 * Learning rate: lr min(1, (s+1)/warmup_steps). EMA decay: min(ema_decay, (1+s)/(10+s)). Clipping as
 * torch.nn.utils.clip_grad_norm_: factor min(1, clip_norm / (norm + 1e-6)). A norm that is not finite changes
 * nothing and is reported. */
Status optimizer_step(Optimizer *optimizer, const int64_t *gradient_sums, int64_t step,
                      OptimizerReport *report);

#endif
