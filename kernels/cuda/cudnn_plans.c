#include "kernels/cuda/cudnn_plans.h"

#include <cudnn.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "kernels/cuda/convolution_loops.h"
#include "kernels/cuda/cuda_context.h"
#include "kernels/cuda/engine_file.h"
#include "kernels/cuda/kernels_cuda.h"

/* cuDNN orders its proposals by expected speed: about three dozen for tensor cores, tiles of all sizes
 * among them. Timing one should take a millisecond, once per device. */
enum { TIMED_PLANS = 32, WARM_UPS = 1, ROUNDS = 3, RUNS = 4, MAX_REPLAYS = 8 };
/* What the file says for a convolution whose additions are a launch of their own. */
static const char separate_text[] = "separate";
static const size_t workspace_limit = (size_t)256 << 20;

typedef struct Entry {
    char name[CUDNN_NAME_BYTES];
    CudnnProblem *problem;
    CudnnPlan plan;            /* the entry's own; empty where it uses the separate one */
    const CudnnPlan *separate; /* of the convolution alone, where there is an epilogue; another entry's */
    const CudnnPlan *chosen;   /* one of the two */
    struct Entry *next;
} Entry;

struct CudnnPlans {
    struct cudnnContext *handle;
    CudnnDevice device;
    char path[ENGINE_FILE_PATH_BYTES];
    bool file_usable;
    Entry *entries; /* a few dozen */
};

Status cudnn_plans_open(CudnnPlans **out, struct cudnnContext *handle, const char *device_name) {
    Status status = STATUS_OK;
    CudnnPlans *plans = NULL;
    *out = NULL;
    TRY(ALLOCATE(&plans, 1));
    plans->handle = handle;
    TRY(cudnn_device_from_handle(&plans->device, handle));
    plans->file_usable = engine_file_path(device_name, cudnnGetVersion(), plans->path) == STATUS_OK;
    if (!plans->file_usable)
        log_warning("cuDNN engines are not timed, since the choice cannot be kept: %s", status_message());
    *out = plans;
    plans = NULL;
done:
    free(plans);
    return status;
}

static void entry_release(Entry *entry) {
    if (!entry)
        return;
    cudnn_plan_release(&entry->plan);
    cudnn_problem_release(entry->problem);
    free(entry);
}

void cudnn_plans_close(CudnnPlans *plans) {
    if (!plans)
        return;
    while (plans->entries) {
        Entry *next = plans->entries->next;
        entry_release(plans->entries);
        plans->entries = next;
    }
    cudnn_device_release(plans->device);
    free(plans);
}

/* ---- timing ---- */

/* The tensors of a convolution, filled with random numbers, and a workspace. */
typedef struct Rig {
    const CudnnConvolution *convolution;
    CudnnTensors tensors;
    void *workspace;
    cudaEvent_t begin, end;
} Rig;

static Status random_tensor(void **memory, DataType type, int64_t count, uint32_t seed) {
    Status status = STATUS_OK;
    TRY(cuda_allocate(memory, (size_t)(count * data_type_bytes(type))));
    TRY(cuda_fill_random(*memory, type, count, seed));
done:
    return status;
}

static Status rig_create(Rig *rig, const CudnnConvolution *c, const CudnnPlan *plans, int count) {
    Status status = STATUS_OK;
    size_t workspace = 0;
    const int64_t small = c->samples * c->small_h * c->small_w * c->small_c;
    enum { SEED_LARGE = 1, SEED_WEIGHTS, SEED_SMALL, SEED_BIAS, SEED_ADDEND };
    rig->convolution = c;
    for (int i = 0; i < count; i++)
        if (plans[i].workspace_bytes > workspace)
            workspace = plans[i].workspace_bytes;
    TRY(random_tensor(&rig->tensors.large, c->type, c->samples * c->large_h * c->large_w * c->large_c,
                      SEED_LARGE));
    TRY(random_tensor(&rig->tensors.small, c->type, small, SEED_SMALL));
    if (c->epilogue != CUDNN_ADDS_NOTHING)
        TRY(random_tensor(&rig->tensors.bias, c->type, c->small_c, SEED_BIAS));
    if (c->epilogue == CUDNN_ADDS_ADDEND_AND_BIAS)
        TRY(random_tensor(&rig->tensors.addend, c->type, small, SEED_ADDEND));
    TRY(random_tensor(&rig->tensors.weights, c->weights_type, c->small_c * c->kernel * c->kernel * c->large_c,
                      SEED_WEIGHTS));
    TRY(cuda_allocate(&rig->workspace, workspace));
    TRY(CHECK_CUDA(cudaEventCreate(&rig->begin)));
    TRY(CHECK_CUDA(cudaEventCreate(&rig->end)));
done:
    return status;
}

static void rig_release(Rig *rig) {
    cuda_release(rig->tensors.large);
    cuda_release(rig->tensors.weights);
    cuda_release(rig->tensors.small);
    cuda_release(rig->tensors.bias);
    cuda_release(rig->tensors.addend);
    cuda_release(rig->workspace);
    if (rig->begin)
        (void)cudaEventDestroy(rig->begin);
    if (rig->end)
        (void)cudaEventDestroy(rig->end);
}

/* Runs of one plan. */
typedef struct Runs {
    const CudnnPlans *plans;
    const Rig *rig;
    const CudnnPlan *plan;
    int times;
} Runs;

static Status queue_runs(void *context) {
    Status status = STATUS_OK;
    const Runs *runs = context;
    const CudnnConvolution *c = runs->rig->convolution;
    const CudnnTensors *t = &runs->rig->tensors;
    for (int i = 0; i < runs->times; i++) {
        TRY(cudnn_plan_run(runs->plan, runs->plans->handle, t, runs->rig->workspace));
        if (runs->plan->epilogue != c->epilogue)
            TRY(cuda_add_to_convolution(t->small, c->type, t->addend, t->bias,
                                        c->samples * c->small_h * c->small_w, c->small_c));
    }
done:
    return status;
}

/* A plan that is timed. */
typedef struct Timed {
    void *recording; /* of RUNS runs; NULL: it does not run, or its recording is released */
    bool leads;      /* a replay goes before the timed ones */
    int replays;     /* of a round */
    float best;      /* milliseconds of one run in the best round, which the fewest other things disturbed */
} Timed;

/* Recorded, as in a training step: queued one by one, runs of small convolutions would take as long as the
 * host takes to queue them. */
static Status timed_create(const CudnnPlans *plans, const Rig *rig, const CudnnPlan *plan, Timed *timed) {
    Status status = STATUS_OK;
    Runs warm_ups = {plans, rig, plan, WARM_UPS}, runs = {plans, rig, plan, RUNS};
    *timed = (Timed){.replays = 1};
    TRY(queue_runs(&warm_ups));
    TRY(backend_record(backend_cuda(), queue_runs, &runs, &timed->recording));
done:
    return status;
}

/* One round. While the leading replay runs, the host queues the others, so that its time is not counted. */
static Status time_round(const Rig *rig, Timed *timed) {
    Status status = STATUS_OK;
    const Backend *backend = backend_cuda();
    float elapsed;
    if (timed->leads)
        TRY(backend->replay(timed->recording));
    TRY(CHECK_CUDA(cudaEventRecord(rig->begin, cuda_context()->stream)));
    for (int i = 0; i < timed->replays; i++)
        TRY(backend->replay(timed->recording));
    TRY(CHECK_CUDA(cudaEventRecord(rig->end, cuda_context()->stream)));
    TRY(CHECK_CUDA(cudaEventSynchronize(rig->end)));
    TRY(CHECK_CUDA(cudaEventElapsedTime(&elapsed, rig->begin, rig->end)));
    elapsed /= (float)(timed->replays * RUNS);
    if (timed->best == 0 || elapsed < timed->best)
        timed->best = elapsed;
done:
    return status;
}

/* A first round tells how many replays a round needs to last, and about how long a run takes (`best`). */
static Status first_round(const Rig *rig, Timed *timed) {
    static const float round_milliseconds = 0.1F;
    Status status = STATUS_OK;
    float took;
    TRY(time_round(rig, timed));
    took = timed->best * RUNS;
    timed->leads = took < round_milliseconds;
    if (timed->leads)
        timed->replays =
            took * MAX_REPLAYS > round_milliseconds ? (int)(round_milliseconds / took) + 1 : MAX_REPLAYS;
done:
    return status;
}

/* A plan that fails to run is passed over. */
static void pass_over(const CudnnConvolution *convolution, const CudnnPlan *plan, Timed *timed) {
    char name[CUDNN_NAME_BYTES];
    cudnn_convolution_name(convolution, name);
    log_warning("convolution %s: cuDNN engine %lld is passed over: %s", name, (long long)plan->engine.index,
                status_message());
    backend_cuda()->recording_release(timed->recording);
    timed->recording = NULL;
}

/* Those that the first round shows to be far behind, and slow enough to matter: an engine without tensor
 * cores may take a hundred times as long as the best, and all its rounds as long as everybody else's. The
 * others begin anew, since the first launch of a recording is dearer than those that follow. */
static void drop_slow(Timed *timed, int count) {
    /* more than an idle device's clock rises by while the first are timed; of a round */
    static const float hopeless = 8, milliseconds = 2;
    float least = 0;
    for (int i = 0; i < count; i++)
        if (timed[i].recording && (least == 0 || timed[i].best < least))
            least = timed[i].best;
    for (int i = 0; i < count; i++) {
        if (timed[i].recording && timed[i].best > hopeless * least && timed[i].best * RUNS > milliseconds) {
            backend_cuda()->recording_release(timed[i].recording);
            timed[i].recording = NULL;
        }
        timed[i].best = 0;
    }
}

/* Index of the fastest. Rounds of all candidates take turns: the device's clock may still be rising. */
static Status fastest(const CudnnPlans *plans, const CudnnConvolution *convolution,
                      const CudnnPlan *candidates, int count, int *chosen) {
    Status status = STATUS_OK;
    Rig rig = {0};
    Timed timed[TIMED_PLANS + 1] = {0};
    *chosen = -1;
    TRY(rig_create(&rig, convolution, candidates, count));
    for (int i = 0; i < count; i++)
        if (timed_create(plans, &rig, &candidates[i], &timed[i]) != STATUS_OK ||
            first_round(&rig, &timed[i]) != STATUS_OK)
            pass_over(convolution, &candidates[i], &timed[i]);
    drop_slow(timed, count);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < count; i++)
            if (timed[i].recording && time_round(&rig, &timed[i]) != STATUS_OK)
                pass_over(convolution, &candidates[i], &timed[i]);
    for (int i = 0; i < count; i++)
        if (timed[i].recording && (*chosen < 0 || timed[i].best < timed[*chosen].best))
            *chosen = i;
    TRY(cuda_synchronize()); /* names a failure that outlasts the plan that caused it */
    if (*chosen < 0)
        FAIL(STATUS_FAILURE, "none of cuDNN's %d engines runs", count);
done:
    for (int i = 0; i < count; i++)
        backend_cuda()->recording_release(timed[i].recording);
    rig_release(&rig);
    return status;
}

/* ---- choosing ---- */

/* The fastest of cuDNN's proposals and the separate plan, or the first of them where the choice could not be
 * kept. */
static Status choose(const CudnnPlans *plans, const CudnnConvolution *convolution, bool timed, Entry *entry) {
    Status status = STATUS_OK;
    CudnnPlan candidates[TIMED_PLANS + 1] = {0};
    CudnnCandidates counts;
    int count = 0, all, chosen = 0;
    TRY(cudnn_problem_plans(entry->problem, workspace_limit, timed ? TIMED_PLANS : 1, candidates, &count,
                            &counts));
    all = count;
    if (entry->separate)
        candidates[all++] = *entry->separate;
    if (all == 0)
        FAIL(STATUS_FAILURE,
             "none of the %d engines that cuDNN proposes is usable: %d nondeterministic, %d imprecise, "
             "%d dependent on the place in the batch, %d compiled at run time, %d unsupported, "
             "%d with too large a workspace",
             counts.proposed, counts.nondeterministic, counts.imprecise, counts.slot_dependent,
             counts.runtime_compiled, counts.unsupported, counts.too_large);
    if (timed && all > 1)
        TRY(fastest(plans, convolution, candidates, all, &chosen));
    entry->chosen = entry->separate;
    if (chosen < count) {
        entry->plan = candidates[chosen];
        entry->chosen = &entry->plan;
        memset(&candidates[chosen], 0, sizeof candidates[chosen]);
    }
done:
    for (int i = 0; i < count; i++)
        cudnn_plan_release(&candidates[i]);
    return status;
}

/* The plan that the file remembers; entry->chosen stays NULL without one that still works. */
static Status recall(int file, Entry *entry) {
    Status status = STATUS_OK;
    char text[CUDNN_ENGINE_BYTES];
    CudnnEngine engine;
    bool found;
    TRY(engine_file_find(file, entry->name, sizeof text, text, &found));
    if (!found)
        goto done;
    if (entry->separate && strcmp(text, separate_text) == 0)
        entry->chosen = entry->separate;
    else if (cudnn_engine_parse(text, &engine) &&
             cudnn_problem_plan(entry->problem, workspace_limit, &engine, &entry->plan) == STATUS_OK)
        entry->chosen = &entry->plan;
    else
        log_warning("the remembered cuDNN engine %s for %s is not usable and chosen anew", text, entry->name);
done:
    return status;
}

static void give_up_file(CudnnPlans *plans) {
    log_warning("cuDNN engines are not timed, since the choice cannot be kept: %s", status_message());
    plans->file_usable = false;
}

/* One process at a time, so that all take the same plan. */
static Status recall_or_choose(CudnnPlans *plans, const CudnnConvolution *convolution, Entry *entry) {
    Status status = STATUS_OK;
    char text[CUDNN_ENGINE_BYTES];
    int file = -1;
    entry->chosen = NULL;
    if (plans->file_usable && engine_file_open(plans->path, &file) != STATUS_OK)
        give_up_file(plans);
    if (file >= 0 && recall(file, entry) != STATUS_OK)
        give_up_file(plans);
    if (entry->chosen)
        goto done;
    TRY(choose(plans, convolution, plans->file_usable, entry));
    if (entry->chosen == &entry->plan)
        cudnn_engine_format(&entry->plan.engine, text);
    else
        memcpy(text, separate_text, sizeof separate_text);
    if (plans->file_usable && engine_file_add(file, entry->name, text) != STATUS_OK)
        give_up_file(plans);
done:
    engine_file_close(file);
    return status;
}

Status cudnn_plans_get(CudnnPlans *plans, const CudnnConvolution *convolution, const CudnnPlan **plan) {
    Status status = STATUS_OK;
    Entry *entry = NULL;
    char name[CUDNN_NAME_BYTES];
    cudnn_convolution_name(convolution, name);
    for (entry = plans->entries; entry; entry = entry->next)
        if (strcmp(entry->name, name) == 0) {
            *plan = entry->chosen;
            return STATUS_OK;
        }
    TRY(ALLOCATE(&entry, 1));
    memcpy(entry->name, name, sizeof name);
    if (convolution->epilogue != CUDNN_ADDS_NOTHING) {
        CudnnConvolution alone = *convolution;
        alone.epilogue = CUDNN_ADDS_NOTHING;
        TRY(cudnn_plans_get(plans, &alone, &entry->separate)); /* before the file's lock is taken */
    }
    TRY(cudnn_problem_create(&entry->problem, convolution, plans->device));
    TRY(recall_or_choose(plans, convolution, entry));
    entry->next = plans->entries;
    plans->entries = entry;
    *plan = entry->chosen;
    entry = NULL;
done:
    if (status != STATUS_OK)
        status = status_context(status, "convolution %s", name);
    entry_release(entry);
    return status;
}
