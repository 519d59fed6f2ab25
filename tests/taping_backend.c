#include "tests/taping_backend.h"

#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "tests/taping_layouts.h"

enum { MOST_CALLS = 4096, MOST_BLOCKS = 4096, MOST_ADDRESSES = 16 };

typedef struct OpCall {
    PreparedOp *op;
    const void *inputs[OP_MAX_INPUTS];
    void *outputs[OP_MAX_OUTPUTS];
    void *scratch;
} OpCall;

typedef struct AccumulateCall {
    int64_t *sum;
    const float *value;
    int64_t count;
    const float *limit;
    int64_t *bad;
} AccumulateCall;

typedef struct CollectCall {
    const ShardTotals *shards;
    int64_t count;
    const BatchInput *batch;
    int64_t *tail;
} CollectCall;

typedef struct MemoryCall {
    void *to;
    const void *from;
    size_t bytes;
} MemoryCall;

typedef struct LayoutCall {
    const LayoutPiece *pieces;
    int64_t count;
    float *flat;
} LayoutCall;

typedef struct OtherCall {
    TapingFunction function;
    _Alignas(16) unsigned char arguments[TAPING_BYTES];
} OtherCall;

typedef struct Call {
    enum {
        CALL_RUN,
        CALL_PACK,
        CALL_NOISE,
        CALL_LOSS,
        CALL_ACCUMULATE,
        CALL_COLLECT,
        CALL_FINISH,
        CALL_PLAN,
        CALL_ADAMW,
        CALL_COPY,
        CALL_CLEAR,
        CALL_NARROW,
        CALL_RESIDUAL,
        CALL_REVERSE,
        CALL_LAY_OUT,
        CALL_GATHER,
        CALL_OTHER
    } kind;
    union {
        OpCall op;
        NoiseArguments noise;
        LossArguments loss;
        AccumulateCall accumulate;
        CollectCall collect;
        UpdateArguments update;
        MemoryCall memory;
        ResidualArguments residual;
        ReverseArguments reverse;
        LayoutCall layout;
        OtherCall other;
    };
    const void *addresses[MOST_ADDRESSES]; /* all that it reads or writes; NULL: none */
    size_t address_count;
} Call;

typedef struct Tape {
    int64_t count;
    Call calls[MOST_CALLS];
} Tape;

typedef struct Block {
    char *begin, *end;
} Block;

static struct {
    Tape *tape; /* being recorded, or NULL */
    bool failed, refuse, fails;
    int64_t failing_call;
    TapingCounts counts;
    Block blocks[MOST_BLOCKS];
    int block_count;
    Backend backend;
} state;

static const Backend *cpu(void) {
    return backend_find("cpu");
}

TapingCounts taping_counts(void) {
    return state.counts;
}

void taping_copy_in_at_once(size_t bytes) {
    state.backend.copy_in_at_once = bytes;
}

void taping_fail(int64_t call) {
    state.fails = call >= 0;
    state.failing_call = call;
}

void taping_refuse(bool refuse) {
    state.refuse = refuse;
}

/* ---- memory ---- */

static Status refuse_recording(const char *what) {
    if (!state.tape)
        return STATUS_OK;
    state.failed = true;
    return status_error(STATUS_FAILURE, "%s while recording", what);
}

static bool is_ours(const void *address) {
    for (int i = 0; i < state.block_count; i++)
        if ((const char *)address >= state.blocks[i].begin && (const char *)address < state.blocks[i].end)
            return true;
    return false;
}

static Status allocate(void **memory, size_t bytes) {
    Status status = STATUS_OK;
    size_t size = bytes ? bytes : 1;
    TRY(refuse_recording("memory was allocated"));
    if (state.block_count == MOST_BLOCKS)
        FAIL(STATUS_FAILURE, "more than %d blocks", MOST_BLOCKS);
    TRY(cpu()->allocate(memory, size));
    state.blocks[state.block_count++] = (Block){*memory, (char *)*memory + size};
done:
    return status;
}

static void release(void *memory) {
    for (int i = 0; memory && i < state.block_count; i++)
        if (state.blocks[i].begin == (char *)memory) {
            state.blocks[i] = state.blocks[--state.block_count];
            break;
        }
    cpu()->release(memory);
}

static Status copy_in(void *to, const void *from_host, size_t bytes) {
    Status status = refuse_recording("memory was copied from the host");
    state.counts.waits += bytes > state.backend.copy_in_at_once;
    return status == STATUS_OK ? cpu()->copy_in(to, from_host, bytes) : status;
}

static Status copy_out(void *to_host, const void *from, size_t bytes) {
    Status status = refuse_recording("memory was copied to the host");
    state.counts.waits++;
    return status == STATUS_OK ? cpu()->copy_out(to_host, from, bytes) : status;
}

static Status synchronise(void) {
    state.counts.waits++;
    return refuse_recording("the host waited");
}

/* ---- calls ---- */

static Status perform(const Call *call) {
    switch (call->kind) {
    case CALL_RUN:
        return taping_layouts_run(call->op.op, call->op.inputs, call->op.outputs, call->op.scratch);
    case CALL_PACK:
        return backend_kernel(cpu(), call->op.op->kernel->kind)->pack(call->op.op, call->op.inputs);
    case CALL_NOISE:
        return cpu()->noise(&call->noise);
    case CALL_LOSS:
        return cpu()->loss(&call->loss);
    case CALL_ACCUMULATE:
        return cpu()->accumulate(call->accumulate.sum, call->accumulate.value, call->accumulate.count,
                                 call->accumulate.limit, call->accumulate.bad);
    case CALL_COLLECT:
        return cpu()->collect(call->collect.shards, call->collect.count, call->collect.batch,
                              call->collect.tail);
    case CALL_FINISH:
        return cpu()->finish_gradient(&call->update);
    case CALL_PLAN:
        return cpu()->plan_update(&call->update);
    case CALL_ADAMW:
        return cpu()->adamw(&call->update);
    case CALL_COPY:
        return cpu()->copy(call->memory.to, call->memory.from, call->memory.bytes);
    case CALL_NARROW:
        return cpu()->narrow(call->memory.to, call->memory.from, (int64_t)call->memory.bytes);
    case CALL_RESIDUAL:
        return cpu()->residual(&call->residual);
    case CALL_REVERSE:
        return cpu()->reverse(&call->reverse);
    case CALL_LAY_OUT:
        return cpu()->lay_out(call->layout.pieces, call->layout.count, call->layout.flat);
    case CALL_GATHER:
        return cpu()->gather(call->layout.pieces, call->layout.count, call->layout.flat);
    case CALL_OTHER:
        return call->other.function(call->other.arguments);
    case CALL_CLEAR:
        return cpu()->clear(call->memory.to, call->memory.bytes);
    }
    return STATUS_FAILURE;
}

/* Also when a recording is replayed: its memory may have been released. */
static Status check_addresses(const Call *call) {
    for (size_t i = 0; i < call->address_count; i++)
        if (call->addresses[i] && !is_ours(call->addresses[i]))
            return status_error(STATUS_FAILURE, "call %d: address %zu is not the backend's", (int)call->kind,
                                i);
    return STATUS_OK;
}

static Status submit(Call *call, const void *const *addresses, size_t count) {
    Status status = STATUS_OK;
    memcpy(call->addresses, addresses, count * sizeof *addresses);
    call->address_count = count;
    TRY(check_addresses(call));
    if (state.tape && state.fails && state.tape->count == state.failing_call)
        FAIL(STATUS_FAILURE, "call %lld was refused", (long long)state.failing_call);
    if (state.tape && state.tape->count == MOST_CALLS)
        FAIL(STATUS_FAILURE, "more than %d calls in a recording", MOST_CALLS);
    if (state.tape) {
        state.tape->calls[state.tape->count++] = *call;
        return STATUS_OK;
    }
    state.counts.direct++;
    return perform(call);
done:
    state.failed = true;
    return status;
}

#define SUBMIT(call, ...)                                                                                    \
    submit(&(call), (const void *const[]){__VA_ARGS__},                                                      \
           sizeof((const void *const[]){__VA_ARGS__}) / sizeof(const void *))

static Status noise(const NoiseArguments *a) {
    Call call = {.kind = CALL_NOISE, .noise = *a};
    return SUBMIT(call, a->batch, a->slots, a->images, a->sqrt_alpha_bar, a->sqrt_one_minus_alpha_bar, a->x_t,
                  a->eps, a->t);
}

static Status loss(const LossArguments *a) {
    Call call = {.kind = CALL_LOSS, .loss = *a};
    return SUBMIT(call, a->batch, a->slots, a->eps, a->eps_hat, a->d_eps_hat, a->loss_sum);
}

static Status accumulate(int64_t *sum, const float *value, int64_t count, const float *limit, int64_t *bad) {
    Call call = {.kind = CALL_ACCUMULATE, .accumulate = {sum, value, count, limit, bad}};
    return SUBMIT(call, sum, value, limit, bad);
}

static Status collect(const ShardTotals *shards, int64_t count, const BatchInput *batch, int64_t *tail) {
    Call call = {.kind = CALL_COLLECT, .collect = {shards, count, batch, tail}};
    return SUBMIT(call, shards, batch, tail);
}

static Status update(int kind, const UpdateArguments *a) {
    Call call = {.update = *a};
    call.kind = kind;
    return SUBMIT(call, a->pieces, a->squares, a->sums, a->bf16, a->tail, a->step, a->state, a->records,
                  a->gradient, a->parameter, a->m, a->v, a->ema);
}

static Status finish_gradient(const UpdateArguments *a) {
    return update(CALL_FINISH, a);
}

static Status plan_update(const UpdateArguments *a) {
    return update(CALL_PLAN, a);
}

static Status adamw(const UpdateArguments *a) {
    return update(CALL_ADAMW, a);
}

static Status copy(void *to, const void *from, size_t bytes) {
    Call call = {.kind = CALL_COPY, .memory = {to, from, bytes}};
    return SUBMIT(call, to, from);
}

static Status clear(void *memory, size_t bytes) {
    Call call = {.kind = CALL_CLEAR, .memory = {memory, NULL, bytes}};
    return bytes > 0 ? SUBMIT(call, memory) : STATUS_OK;
}

static Status narrow(uint16_t *to, const float *from, int64_t count) {
    Call call = {.kind = CALL_NARROW, .memory = {to, from, (size_t)count}};
    return SUBMIT(call, to, from);
}

static Status residual(const ResidualArguments *a) {
    Call call = {.kind = CALL_RESIDUAL, .residual = *a};
    Status status = refuse_recording("constants of the host were used");
    return status == STATUS_OK ? SUBMIT(call, a->x, a->eps_hat, a->mask, a->observed, a->residual) : status;
}

static Status reverse(const ReverseArguments *a) {
    Call call = {.kind = CALL_REVERSE, .reverse = *a};
    Status status = refuse_recording("constants of the host were used");
    return status == STATUS_OK ? SUBMIT(call, a->seeds, a->rng_samples, a->eps_hat, a->mask, a->observed,
                                        a->x, a->residual, a->product)
                               : status;
}

static Status lay_out(const LayoutPiece *pieces, int64_t count, const float *flat) {
    Call call = {.kind = CALL_LAY_OUT, .layout = {pieces, count, (float *)(uintptr_t)flat}};
    return SUBMIT(call, pieces, pieces[0].laid, pieces[count - 1].laid, flat);
}

static Status gather(const LayoutPiece *pieces, int64_t count, float *flat) {
    Call call = {.kind = CALL_GATHER, .layout = {pieces, count, flat}};
    state.counts.gathers++;
    return SUBMIT(call, pieces, pieces[0].laid, pieces[count - 1].laid, flat);
}

Status taping_call(TapingFunction function, const void *arguments, size_t bytes, const void *address) {
    Call call = {.kind = CALL_OTHER, .other = {.function = function}};
    if (bytes > 0)
        memcpy(call.other.arguments, arguments, bytes);
    return SUBMIT(call, address);
}

static Status taped_run(const PreparedOp *op, const void *const *inputs, void *const *outputs,
                        void *scratch) {
    Call call = {.kind = CALL_RUN, .op = {.op = (PreparedOp *)(uintptr_t)op, .scratch = scratch}};
    const void *addresses[OP_MAX_INPUTS + OP_MAX_OUTPUTS];
    memcpy(call.op.inputs, inputs, sizeof call.op.inputs);
    memcpy(call.op.outputs, outputs, sizeof call.op.outputs);
    memcpy(addresses, inputs, sizeof call.op.inputs);
    memcpy(addresses + OP_MAX_INPUTS, outputs, sizeof call.op.outputs);
    return submit(&call, addresses, OP_MAX_INPUTS + OP_MAX_OUTPUTS);
}

static Status taped_pack(PreparedOp *op, const void *const *inputs) {
    Call call = {.kind = CALL_PACK, .op = {.op = op}};
    memcpy(call.op.inputs, inputs, sizeof call.op.inputs);
    return submit(&call, call.op.inputs, OP_MAX_INPUTS);
}

/* ---- recordings ---- */

static Status record_begin(void) {
    state.failed = false;
    return ALLOCATE(&state.tape, 1);
}

static Status record_end(void **recording) {
    Tape *tape = state.tape;
    state.tape = NULL;
    *recording = NULL;
    if (state.failed || state.refuse) {
        free(tape);
        return status_error(STATUS_FAILURE, "the recording was refused");
    }
    state.counts.taped = tape->count;
    *recording = tape;
    return STATUS_OK;
}

static Status replay(void *recording) {
    Status status = STATUS_OK;
    const Tape *tape = recording;
    state.counts.replays++;
    for (int64_t i = 0; i < tape->count; i++) {
        TRY(check_addresses(&tape->calls[i]));
        TRY(perform(&tape->calls[i]));
    }
done:
    return status;
}

static int max_workers(void) {
    return 1;
}

const Backend *taping_backend(void) {
    static OpKernel taped[OP_KIND_COUNT];
    static const OpKernel *kernels[OP_KIND_COUNT + 1];
    Backend *backend = &state.backend;
    if (backend->name)
        return backend;
    for (int i = 0; cpu()->kernels[i]; i++) {
        taped[i] = *cpu()->kernels[i];
        taped[i].run = taped_run;
        taped[i].prepare = taping_layouts_prepare;
        taped[i].pack = taped[i].pack && !taping_layouts_has(taped[i].kind) ? taped_pack : NULL;
        kernels[i] = &taped[i];
    }
    *backend = *cpu();
    backend->name = "taping";
    backend->host_memory = false;
    backend->copy_in_at_once = 1 << 16;
    backend->max_workers = max_workers;
    backend->synchronise = synchronise;
    backend->record_begin = record_begin;
    backend->record_end = record_end;
    backend->replay = replay;
    backend->recording_release = free;
    backend->kernels = kernels;
    backend->allocate = allocate;
    backend->release = release;
    backend->copy_in = copy_in;
    backend->copy_out = copy_out;
    backend->copy = copy;
    backend->clear = clear;
    backend->lay_out = lay_out;
    backend->gather = gather;
    backend->noise = noise;
    backend->loss = loss;
    backend->accumulate = accumulate;
    backend->collect = collect;
    backend->narrow = narrow;
    backend->finish_gradient = finish_gradient;
    backend->plan_update = plan_update;
    backend->adamw = adamw;
    backend->residual = residual;
    backend->reverse = reverse;
    return backend;
}
