#include "training/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "core/team.h"

/* torch.optim.AdamW's defaults. */
static const double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;

static Status cut_pieces(Optimizer *optimizer, const Graph *graph) {
    Status status = STATUS_OK;
    const Backend *backend = optimizer->backend;
    const int64_t size = backend->piece_elements;
    UpdatePiece *pieces = NULL, *placed = NULL;
    int64_t count = 0, next = 0;
    for (int p = 0; p < graph->parameter_count; p++)
        count += (graph->parameters[p].count + size - 1) / size;
    TRY(ALLOCATE(&pieces, count));
    for (int p = 0; p < graph->parameter_count; p++) {
        const Parameter *parameter = &graph->parameters[p];
        for (int64_t at = 0; at < parameter->count; at += size) {
            int64_t left = parameter->count - at;
            pieces[next++] =
                (UpdatePiece){parameter->offset + at, left < size ? left : size, parameter->decay};
        }
    }
    optimizer->update.piece_count = count;
    TRY(backend->allocate((void **)&optimizer->update.squares, (size_t)count * sizeof(double)));
    TRY(backend->allocate((void **)&placed, (size_t)count * sizeof *placed));
    optimizer->update.pieces = placed;
    TRY(backend->copy_in(placed, pieces, (size_t)count * sizeof *placed));
done:
    free(pieces);
    return status;
}

Status optimizer_create(Optimizer *optimizer, const Backend *backend, const Graph *graph,
                        const OptimizerOptions *options, int threads) {
    Status status = STATUS_OK;
    size_t bytes = (size_t)graph->parameter_elements * sizeof(float);
    UpdateArguments *update = &optimizer->update;
    *optimizer = (Optimizer){
        .backend = backend, .options = *options, .threads = threads, .count = graph->parameter_elements};
    TRY(backend->allocate((void **)&optimizer->parameters, bytes));
    TRY(backend->allocate((void **)&optimizer->ema, bytes));
    TRY(backend->allocate((void **)&optimizer->m, bytes));
    TRY(backend->allocate((void **)&optimizer->v, bytes));
    TRY(backend->allocate((void **)&optimizer->gradient, bytes));
    TRY(backend->allocate((void **)&optimizer->step, sizeof *optimizer->step));
    TRY(backend->allocate((void **)&update->state, sizeof *update->state));
    TRY(backend->allocate((void **)&update->records, OPTIMIZER_RECORDS * sizeof *update->records));
    TRY(cut_pieces(optimizer, graph));
    update->step = optimizer->step;
    update->gradient = optimizer->gradient;
    update->parameter = optimizer->parameters;
    update->m = optimizer->m;
    update->v = optimizer->v;
    update->ema = optimizer->ema;
done:
    if (status != STATUS_OK)
        optimizer_release(optimizer);
    return status;
}

void optimizer_release(Optimizer *optimizer) {
    const Backend *backend = optimizer->backend;
    if (backend) {
        backend->release(optimizer->parameters);
        backend->release(optimizer->ema);
        backend->release(optimizer->m);
        backend->release(optimizer->v);
        backend->release(optimizer->gradient);
        backend->release(optimizer->step);
        backend->release(optimizer->update.state);
        backend->release(optimizer->update.records);
        backend->release(optimizer->update.squares);
        backend->release((void *)(uintptr_t)optimizer->update.pieces);
    }
    *optimizer = (Optimizer){0};
}

double optimizer_learning_rate(const Optimizer *optimizer, int64_t step) {
    const OptimizerOptions *options = &optimizer->options;
    double rate = options->learning_rate;
    if (step + 1 < options->warmup_steps)
        rate *= (double)(step + 1) / (double)options->warmup_steps;
    return rate;
}

Status optimizer_prepare(Optimizer *optimizer, int64_t step) {
    const OptimizerOptions *options = &optimizer->options;
    UpdateStep constants = update_step(&(UpdateRates){
        .learning_rate = optimizer_learning_rate(optimizer, step),
        .beta1 = beta1,
        .beta2 = beta2,
        .epsilon = epsilon,
        .weight_decay = options->weight_decay,
        .bias_correction1 = 1 - pow(beta1, (double)(step + 1)),
        .bias_correction2_sqrt = sqrt(1 - pow(beta2, (double)(step + 1))),
        .ema_decay = fmin(options->ema_decay, (1.0 + (double)step) / (10.0 + (double)step)),
        .clip_norm = options->clip_norm,
    });
    constants.record = step % OPTIMIZER_RECORDS;
    return optimizer->backend->copy_in(optimizer->step, &constants, sizeof constants);
}

typedef Status (*UpdateRoutine)(const UpdateArguments *arguments);

typedef struct UpdateTask {
    const UpdateArguments *update;
    UpdateRoutine routine;
} UpdateTask;

static Status update_one(void *context, int worker, int64_t piece) {
    const UpdateTask *task = context;
    UpdateArguments one = *task->update;
    (void)worker;
    one.piece_count = 1;
    one.pieces += piece;
    one.squares += piece;
    return task->routine(&one);
}

/* Threads share the pieces on a host; a device takes all in one call. */
static Status for_all_pieces(const Optimizer *optimizer, UpdateRoutine routine) {
    UpdateTask task = {&optimizer->update, routine};
    if (!optimizer->backend->host_memory)
        return routine(&optimizer->update);
    return team_run(optimizer->threads, optimizer->update.piece_count, update_one, &task);
}

Status optimizer_queue(Optimizer *optimizer, GradientSums sums) {
    Status status = STATUS_OK;
    const Backend *backend = optimizer->backend;
    optimizer->update.sums = sums.fixed;
    optimizer->update.bf16 = sums.bf16;
    optimizer->update.tail = sums.tail;
    TRY(for_all_pieces(optimizer, backend->finish_gradient));
    TRY(backend->plan_update(&optimizer->update));
    TRY(for_all_pieces(optimizer, backend->adamw));
done:
    return status;
}

Status optimizer_records(const Optimizer *optimizer, int64_t first, int64_t count, UpdateRecord *records) {
    Status status = STATUS_OK;
    int64_t begin = first % OPTIMIZER_RECORDS;
    int64_t straight = begin + count <= OPTIMIZER_RECORDS ? count : OPTIMIZER_RECORDS - begin;
    const UpdateRecord *ring = optimizer->update.records;
    TRY(optimizer->backend->copy_out(records, ring + begin, (size_t)straight * sizeof *records));
    TRY(optimizer->backend->copy_out(records + straight, ring, (size_t)(count - straight) * sizeof *records));
done:
    return status;
}

Status optimizer_forgive(Optimizer *optimizer) {
    return optimizer->backend->clear(optimizer->update.state, sizeof *optimizer->update.state);
}

Status optimizer_step(Optimizer *optimizer, const int64_t *gradient_sums, int64_t step,
                      OptimizerReport *report) {
    Status status = STATUS_OK;
    UpdateRecord record;
    TRY(optimizer_prepare(optimizer, step));
    TRY(optimizer_queue(optimizer, (GradientSums){.fixed = gradient_sums}));
    TRY(optimizer_records(optimizer, step, 1, &record));
    report->gradient_norm = record.gradient_norm;
    report->learning_rate = optimizer_learning_rate(optimizer, step);
    if (!isfinite(record.gradient_norm))
        TRY(optimizer_forgive(optimizer));
done:
    return status;
}
