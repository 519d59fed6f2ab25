/* One block of independent chains. */
#include <string.h>

#include "diffusion/generate_worker.h"

/* Slots beyond the unit's chains repeat its last one, so that they hold ordinary values. */
static Status start(const Generation *g, Worker *worker, const Unit *unit) {
    const GenerateArguments *arguments = g->arguments;
    for (int64_t i = 0; i < g->slots; i++) {
        int64_t chain = unit->first + (i < unit->count ? i : unit->count - 1);
        worker->host_seeds[i] = arguments->seeds[chain];
        worker->host_rng_samples[i] = arguments->rng_samples[chain];
        draw_start(arguments->seeds[chain], arguments->rng_samples[chain], g->pixels,
                   worker->host_x + i * g->pixels);
        if (arguments->observations)
            worker_observe(g, worker, i, arguments->observations[chain]);
    }
    return worker_place(g, worker);
}

/* Whether to look at the states after step k. Where the backend works behind the host a look waits: then only
 * after so many steps. Nothing is missed: x enters every term's sum in the next state, so a value that is not
 * finite stays so, and observed pixels that replacement overwrites are overwritten before each look. */
static bool must_look(const Generation *g, int64_t k) {
    enum { STEPS_BETWEEN_LOOKS = 32 };
    return !g->backend->synchronise || (k + 1) % STEPS_BETWEEN_LOOKS == 0 ||
           k + 1 == g->arguments->plan->count;
}

Status chains_run(Generation *g, int index, const Unit *unit, float *samples) {
    Status status = STATUS_OK;
    Worker *worker = &g->workers[index];
    TRY(start(g, worker, unit));
    for (int64_t k = 0; k < g->arguments->plan->count; k++) {
        TRY(generation_check_stop(g));
        TRY(worker_evaluate(g, index, 0, k));
        TRY(worker_reverse(g, index, 0, k));
        if (must_look(g, k))
            TRY(worker_read(g, worker, unit->count, unit->first, k));
        generation_count_step(g, index);
    }
    memcpy(samples, worker->host_x, (size_t)(unit->count * g->pixels) * sizeof *samples);
done:
    return status;
}
