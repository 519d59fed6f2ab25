#include "training/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "core/team.h"

enum { PIECE_ELEMENTS = 16384 };

/* torch.optim.AdamW's defaults. */
static const double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;

/* Threads share the pieces of a host; on a device every piece is a launch and a wait, so a tensor is one. */
static int64_t piece_size(const Optimizer *optimizer, const Parameter *parameter) {
    return optimizer->backend->host_memory ? PIECE_ELEMENTS : parameter->count;
}

static int64_t pieces_of(const Optimizer *optimizer, const Parameter *parameter) {
    int64_t size = piece_size(optimizer, parameter);
    return (parameter->count + size - 1) / size;
}

static Status cut_pieces(Optimizer *optimizer, const Graph *graph) {
    Status status = STATUS_OK;
    int64_t next = 0;
    for (int p = 0; p < graph->parameter_count; p++)
        optimizer->piece_count += pieces_of(optimizer, &graph->parameters[p]);
    TRY(ALLOCATE(&optimizer->pieces, optimizer->piece_count));
    TRY(ALLOCATE(&optimizer->squares, optimizer->piece_count));
    for (int p = 0; p < graph->parameter_count; p++) {
        const Parameter *parameter = &graph->parameters[p];
        int64_t size = piece_size(optimizer, parameter);
        for (int64_t i = 0; i < pieces_of(optimizer, parameter); i++) {
            int64_t left = parameter->count - i * size;
            optimizer->pieces[next++] =
                (OptimizerPiece){parameter->offset + i * size, left < size ? left : size, parameter->decay};
        }
    }
done:
    return status;
}

Status optimizer_create(Optimizer *optimizer, const Backend *backend, const Graph *graph,
                        const OptimizerOptions *options, int threads) {
    Status status = STATUS_OK;
    size_t bytes = (size_t)graph->parameter_elements * sizeof(float);
    *optimizer = (Optimizer){
        .backend = backend, .options = *options, .threads = threads, .count = graph->parameter_elements};
    TRY(backend->allocate((void **)&optimizer->parameters, bytes));
    TRY(backend->allocate((void **)&optimizer->ema, bytes));
    TRY(backend->allocate((void **)&optimizer->m, bytes));
    TRY(backend->allocate((void **)&optimizer->v, bytes));
    TRY(backend->allocate((void **)&optimizer->gradient, bytes));
    TRY(cut_pieces(optimizer, graph));
done:
    if (status != STATUS_OK)
        optimizer_release(optimizer);
    return status;
}

void optimizer_release(Optimizer *optimizer) {
    if (optimizer->backend) {
        optimizer->backend->release(optimizer->parameters);
        optimizer->backend->release(optimizer->ema);
        optimizer->backend->release(optimizer->m);
        optimizer->backend->release(optimizer->v);
        optimizer->backend->release(optimizer->gradient);
    }
    free(optimizer->pieces);
    free(optimizer->squares);
    *optimizer = (Optimizer){0};
}

typedef struct StepTask {
    Optimizer *optimizer;
    const int64_t *sums;
    AdamWArguments common;
} StepTask;

static Status finish_piece(void *context, int worker, int64_t index) {
    StepTask *task = context;
    Optimizer *optimizer = task->optimizer;
    OptimizerPiece piece = optimizer->pieces[index];
    (void)worker;
    return optimizer->backend->finish_gradient(optimizer->gradient + piece.offset, task->sums + piece.offset,
                                               piece.count, &optimizer->squares[index]);
}

static Status update_piece(void *context, int worker, int64_t index) {
    StepTask *task = context;
    Optimizer *optimizer = task->optimizer;
    OptimizerPiece piece = optimizer->pieces[index];
    AdamWArguments arguments = task->common;
    (void)worker;
    arguments.count = piece.count;
    arguments.gradient = optimizer->gradient + piece.offset;
    arguments.parameter = optimizer->parameters + piece.offset;
    arguments.m = optimizer->m + piece.offset;
    arguments.v = optimizer->v + piece.offset;
    arguments.ema = optimizer->ema + piece.offset;
    arguments.weight_decay = piece.decay ? arguments.weight_decay : 0;
    return optimizer->backend->adamw(&arguments);
}

Status optimizer_step(Optimizer *optimizer, const int64_t *gradient_sums, int64_t step,
                      OptimizerReport *report) {
    Status status = STATUS_OK;
    const OptimizerOptions *options = &optimizer->options;
    StepTask task = {.optimizer = optimizer, .sums = gradient_sums};
    double squares = 0, scale = 1, rate = options->learning_rate;
    TRY(team_run(optimizer->threads, optimizer->piece_count, finish_piece, &task));
    for (int64_t i = 0; i < optimizer->piece_count; i++)
        squares += optimizer->squares[i];
    report->gradient_norm = sqrt(squares);
    if (options->clip_norm > 0 && options->clip_norm / (report->gradient_norm + 1e-6) < 1)
        scale = options->clip_norm / (report->gradient_norm + 1e-6);
    if (step + 1 < options->warmup_steps)
        rate *= (double)(step + 1) / (double)options->warmup_steps;
    report->learning_rate = rate;
    if (!isfinite(report->gradient_norm))
        return STATUS_OK;
    task.common = (AdamWArguments){
        .gradient_scale = scale,
        .learning_rate = rate,
        .beta1 = beta1,
        .beta2 = beta2,
        .epsilon = epsilon,
        .weight_decay = options->weight_decay,
        .bias_correction1 = 1 - pow(beta1, (double)(step + 1)),
        .bias_correction2_sqrt = sqrt(1 - pow(beta2, (double)(step + 1))),
        .ema_decay = fmin(options->ema_decay, (1.0 + (double)step) / (10.0 + (double)step)),
    };
    TRY(team_run(optimizer->threads, optimizer->piece_count, update_piece, &task));
done:
    return status;
}
