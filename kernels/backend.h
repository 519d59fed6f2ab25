/* A backend executes ops and the fused routines around the network, in its own memory.
 *
 * Backends are found by name in a registry (backend_find): one that was not built is an absent entry.
 * Kernels, one implementation of one op each, are entries of the backend's table; an op without an entry is
 * refused when the network is prepared. Nothing outside kernels/ knows which library runs an op.
 *
 * Workers: `run` may be called by several threads at once on one PreparedOp, each with its own tensors and
 * scratch. `prepare`, `pack` and `release` are called outside parallel regions. Nothing here is collective.
 */
#ifndef KERNELS_BACKEND_H
#define KERNELS_BACKEND_H

#include <stddef.h>

#include "core/rng.h"
#include "core/status.h"
#include "kernels/op.h"
#include "kernels/parameter_layout.h"

typedef struct PreparedOp PreparedOp;

/* One implementation of one op. */
typedef struct OpKernel {
    OpKind kind;
    const char *name; /* shown in per-op tables, "conv2d_cpu" */

    /* Called once; op->kernel and op->description are set. May set op->state, op->packed, op->scratch_bytes
     * and the layouts. */
    Status (*prepare)(PreparedOp *op);

    /* Optional: re-lays the op's parameters (fp32, PyTorch layout) into op->packed; called after every change
     * of the parameters, before the next run. Without it run receives the parameters as they are, or in the
     * layouts that prepare asked for. */
    Status (*pack)(PreparedOp *op, const void *const *inputs);

    /* inputs and outputs in ops.def's order, NULL where absent; parameter inputs are NULL for kernels with
     * `pack`. No two of them overlap, but where ops.def says that one is another. Outputs are overwritten.
     * scratch: op->scratch_bytes, 64-byte aligned, contents undefined. The result for a sample depends on
     * nothing but that sample and the parameters. */
    Status (*run)(const PreparedOp *op, const void *const *inputs, void *const *outputs, void *scratch);

    void (*release)(PreparedOp *op); /* frees state and packed; accepts a half-prepared op */
} OpKernel;

struct PreparedOp {
    const OpKernel *kernel;
    OpDescription description;
    void *state;          /* the kernel's own; shared by all workers, read-only in run */
    void *packed;         /* parameters in the kernel's layout; written by pack only */
    size_t packed_bytes;  /* for memory reports */
    size_t scratch_bytes; /* per worker */
    /* Layouts of parameters among the inputs (kernels without `pack`) and of their gradients among the
     * outputs; parts = 0: plain. run's pointers are to memory of these layouts, 64-byte aligned. */
    ParameterLayout input_layouts[OP_MAX_INPUTS], output_layouts[OP_MAX_OUTPUTS];
    /* For people, where the kernel chose one: "winograd", or NULL. Results have the same bits where this, the
     * description and the backend's are equal. */
    const char *implementation;
};

/* ---- fused routines. Every pointer is the backend's memory, also those to single numbers and structs: what
 * changes from step to step is read there, so that one recorded step serves all. But for `step` of reverse
 * and residual: they are a kernel each between two recorded passes, queued with their constants. ---- */

/* What changes from batch to batch. */
typedef struct BatchInput {
    int64_t count;     /* real samples of the global batch */
    int64_t stop;      /* this rank asks to stop */
    uint32_t rng_step; /* step number of the random numbers */
    float limit;       /* largest magnitude of one shard's contribution to a fixed-point sum */
} BatchInput;

/* One place of a batch. */
#define BATCH_PADDING UINT32_MAX
typedef struct BatchSlot {
    uint32_t image;      /* number of its image, or BATCH_PADDING: x_t = eps = 0, t = 0, no loss */
    uint32_t rng_sample; /* sample number of its random numbers */
} BatchSlot;

/* x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps for one shard, x0 = pixel / 127.5 - 1. */
typedef struct NoiseArguments {
    int64_t samples, pixels; /* slots of the shard; pixels per sample */
    const BatchInput *batch;
    const BatchSlot *slots; /* (samples) */
    const uint8_t *images;  /* (images of the data set, pixels) */
    uint64_t seed;
    RngStream timestep_stream, noise_stream;
    int64_t steps;                                          /* T */
    const float *sqrt_alpha_bar, *sqrt_one_minus_alpha_bar; /* (T) */
    float *x_t, *eps, *t; /* out: (samples, pixels), (samples, pixels), (samples) */
} NoiseArguments;

/* Loss of one shard: sum over its real samples of the mean over pixels of (eps - eps_hat)^2 (double, fixed
 * order), and the gradient d_eps_hat = 2 (eps_hat - eps) / (pixels * count) of the mean over the global
 * batch; padding: 0. */
typedef struct LossArguments {
    int64_t samples, pixels;
    const BatchInput *batch;
    const BatchSlot *slots; /* (samples) */
    const float *eps, *eps_hat;
    float *d_eps_hat; /* out; may be NULL */
    double *loss_sum; /* out */
} LossArguments;

/* Fixed-point sums: values are added as int64 with 2^50 steps per unit, which is associative, so the sum has
 * the same bits in any order, on any number of ranks and threads. */
#define FIXED_POINT_SCALE 1125899906842624.0 /* 2^50 */

/* What one shard leaves besides its gradient. */
typedef struct ShardTotals {
    double loss_sum; /* see LossArguments */
    int64_t bad;     /* not 0: accumulate met a value that it could not take */
} ShardTotals;

/* What is summed over the ranks behind the gradient. The loss is the mean over the global batch, in fixed
 * point; bad counts the shards whose loss or gradient could not be taken; stop counts the ranks that ask to.
 * Behind the sums: the first bad one among this rank's shards, or -1. */
enum { TAIL_LOSS, TAIL_BAD, TAIL_STOP, TAIL_SUMMED, TAIL_FIRST_BAD = TAIL_SUMMED, TAIL_COUNT };

/* AdamW (Loshchilov and Hutter, arXiv:1711.05101) as torch.optim.AdamW computes it, with clipping of the
 * gradient's norm as torch.nn.utils.clip_grad_norm_ and the moving average of the parameters. */
typedef struct UpdateRates {
    double learning_rate, beta1, beta2, epsilon, weight_decay;
    double bias_correction1, bias_correction2_sqrt; /* 1 - beta1^s, sqrt(1 - beta2^s) */
    double ema_decay;
    double clip_norm; /* 0: no clipping */
} UpdateRates;

/* The constants of one update, as its loops use them. */
typedef struct UpdateStep {
    float beta1, rest1, beta2, rest2; /* rest: 1 - beta */
    float keep[2];                    /* 1 - lr weight_decay, of parameters without and with decay */
    float step_size, correction2, epsilon, follow; /* lr / c1, c2, epsilon, 1 - ema_decay */
    double clip_norm;
    int64_t record; /* the number of the record that plan_update writes */
} UpdateStep;

/* From double: 1 - beta2 of a beta2 rounded to float would be wrong by 1e-5 of itself. Record 0. */
UpdateStep update_step(const UpdateRates *rates);

/* What an update decided: kept from one to the next. */
typedef struct UpdateState {
    float scale;    /* of the gradient: 1, or less to clip it */
    int32_t apply;  /* 0: something was not finite, this update changes nothing */
    int32_t failed; /* set with the first update that is not applied: none is from then on, until cleared */
} UpdateState;

/* What a step leaves for the host. */
typedef struct UpdateRecord {
    int64_t tail[TAIL_COUNT]; /* a copy; zeros and -1 without one */
    double gradient_norm;     /* before clipping */
} UpdateRecord;

/* A consecutive part of one parameter. */
typedef struct UpdatePiece {
    int64_t offset, count; /* in the flat arrays */
    int64_t decay;         /* 1: subject to weight decay, else 0 */
} UpdatePiece;

/* The flat arrays and the pieces of them that a call works on; pieces are independent of each other. */
typedef struct UpdateArguments {
    int64_t piece_count;
    const UpdatePiece *pieces;
    double *squares;      /* (piece_count) */
    const int64_t *sums;  /* the gradient in fixed point, or */
    const uint16_t *bf16; /* in bf16, or, both being NULL, it stands in `gradient` */
    const int64_t *tail;  /* (TAIL_COUNT) may be NULL */
    const UpdateStep *step;
    UpdateState *state;
    UpdateRecord *records;
    float *gradient, *parameter, *m, *v, *ema;
} UpdateArguments;

/* One reverse step x_t -> x_{t-1} for `samples` samples (formulas: diffusion/reverse.h). Per pixel:
 *   x0_hat = from_x x + from_eps eps_hat
 *   residual = m (y - x0_hat)
 *   x0 = projection ? m y + (1 - m) x0_hat : x0_hat
 *   direction = from_x u + from_eps J_eps^T u   (J^T u for J = d x0_hat / d x, J_eps = d eps_hat / d x)
 *   next = mean_x0 x0 + mean_x x + gain residual + guidance direction + sigma z
 *   if replacement: next = m (replace_y y + replace_noise xi) + (1 - m) next
 *   if renoise_noise is not 0: next = renoise_x next + renoise_noise xi'   (back to the noise level of x)
 * z, xi and xi' are of the streams RNG_SAMPLE_NOISE, RNG_REPLACEMENT_NOISE and RNG_RENOISE. */
typedef struct ReverseStep {
    float from_x, from_eps;
    float mean_x0, mean_x;
    float gain, sigma;
    bool projection, replacement;
    float replace_y, replace_noise;
    float renoise_x, renoise_noise;
    bool normalise; /* see ResidualArguments */
    float guidance;
} ReverseStep;

/* The vector whose product with J guides a step: u = m (y - x0_hat), with the step's x0_hat; if the step says
 * `normalise`, divided by the sample's own norm ||m (y - x0_hat)|| (double, fixed order; u = 0 where that is
 * 0). Samples without an observation: u = 0. */
typedef struct ResidualArguments {
    int64_t samples, pixels;
    const ReverseStep *step;      /* host memory, read during the call */
    const float *x, *eps_hat;     /* (samples, pixels) */
    const float *const *mask;     /* as in ReverseArguments */
    const float *const *observed; /* (samples) pointers to (pixels) of y */
    float *residual;              /* out: u (samples, pixels) */
} ResidualArguments;

typedef struct ReverseArguments {
    int64_t samples, pixels;
    const ReverseStep *step;      /* host memory, read during the call */
    const uint64_t *seeds;        /* (samples) */
    const uint32_t *rng_samples;  /* (samples) */
    uint32_t rng_step;            /* t, plus T for every repetition of the step */
    const float *eps_hat;         /* (samples, pixels) */
    const float *const *mask;     /* (samples) pointers to (pixels) of 0 or 1; NULL: no observation */
    const float *const *observed; /* (samples) pointers to (pixels) of y */
    float *x;                     /* (samples, pixels), updated in place */
    /* u and J_eps^T u (samples, pixels); both or neither (NULL: direction = 0). Samples without an
     * observation are not guided. */
    const float *residual, *product;
} ReverseArguments;

/* Tells devices apart: equal in two processes, on whatever node, exactly where they mean the same device. */
typedef struct DeviceIdentity {
    unsigned char bytes[16]; /* a UUID */
} DeviceIdentity;

enum { BACKEND_MAX_DEVICES = 64 };

/* Where a rank computes. One rank has one device. */
typedef struct BackendPlace {
    int device;            /* its number among those that `devices` lists; 0 for a backend without devices */
    const char *precision; /* one of the backend's precisions */
} BackendPlace;

typedef struct Backend {
    const char *name;
    const char *description; /* one line: library versions, instruction set; final after `start` */

    /* What train.precision may be, separated by spaces, the default first. */
    const char *precisions;

    /* Optional: NULL for the processor. The devices that this process sees, at most BACKEND_MAX_DEVICES, in
     * the order of their numbers. STATUS_FAILURE: none, and why. */
    Status (*devices)(DeviceIdentity *identities, int *count);

    /* Optional. Takes the device and creates the libraries' handles: before anything below is called, on the
     * main thread, once. STATUS_FAILURE names what is missing (the device, a library). */
    Status (*start)(const BackendPlace *place);
    /* Optional. After everything prepared and allocated was released. */
    void (*stop)(void);
    /* Optional: NULL means yes. Whether `start` has a device to take; cheap, prints nothing. */
    bool (*is_available)(void);
    /* Optional: NULL means any. How many workers (threads that call `run` at the same time) there may be. */
    int (*max_workers)(void);
    /* Optional: NULL on the host. The stream all work is queued on (a cudaStream_t), between start and stop.
     */
    void *(*stream)(void);
    /* Optional: NULL where calls return when their work is done. Waits for all queued work. */
    Status (*synchronise)(void);

    /* Optional, all or none: recording. What is queued between begin and end is not run but becomes a
     * recording, which replay queues as a whole; on the same addresses, so that what changes must be read
     * from memory. In between nothing is allocated, waited for or copied from or to the host, and everything
     * was queued once before. After a failure in between, end is called all the same. */
    Status (*record_begin)(void);
    Status (*record_end)(void **recording);
    Status (*replay)(void *recording);
    void (*recording_release)(void *recording); /* accepts NULL */

    /* Optional, all or none: a side stream. What is queued between side_begin and side_end comes after what
     * was queued before, and runs beside what is queued next, until side_join: what is queued from then on
     * comes after it. What was begun is ended, and joined before a recording ends. */
    Status (*side_begin)(void);
    void (*side_end)(void);
    Status (*side_join)(void);

    const OpKernel *const *kernels; /* NULL-terminated; the first that matches a kind is used */

    bool host_memory; /* the backend's memory is the host's: pointers may be followed on the CPU */
    Status (*allocate)(void **memory, size_t bytes); /* 64-byte aligned or better, zeroed */
    void (*release)(void *memory);
    /* In order with what is queued; from_host may change after the call. More than copy_in_at_once bytes wait
     * for what is queued; 0: nothing waits. */
    size_t copy_in_at_once;
    Status (*copy_in)(void *to, const void *from_host, size_t bytes);
    /* After all that was queued; waits. */
    Status (*copy_out)(void *to_host, const void *from, size_t bytes);
    Status (*copy)(void *to, const void *from, size_t bytes); /* within the backend's memory */
    Status (*clear)(void *memory, size_t bytes);              /* zeroes */

    /* Parameters into the pieces' layouts, rounded to their types, halves to even; and gradients out of them,
     * each the sum of its parts (parameter_layout.h). pieces (count): backend memory, independent of each
     * other; flat: the array they were cut for. */
    Status (*lay_out)(const LayoutPiece *pieces, int64_t count, const float *flat);
    Status (*gather)(const LayoutPiece *pieces, int64_t count, float *flat);

    Status (*noise)(const NoiseArguments *arguments);
    Status (*loss)(const LossArguments *arguments);
    /* sum[i] += round(value[i] * 2^50); *bad is set to 1 if a value is not finite or its magnitude exceeds
     * *limit, else left alone. */
    Status (*accumulate)(int64_t *sum, const float *value, int64_t count, const float *limit, int64_t *bad);
    /* Writes a rank's tail (TAIL_COUNT) from its `count` shards. */
    Status (*collect)(const ShardTotals *shards, int64_t count, const BatchInput *batch, int64_t *tail);

    int64_t piece_elements; /* the most elements of an UpdatePiece */
    /* to[i] = from[i] rounded to bf16, halves to even; NaN stays NaN. */
    Status (*narrow)(uint16_t *to, const float *from, int64_t count);
    /* gradient[i] = sums[i] / 2^50 or bf16[i] in float, where given; squares[p] = sum of the squares of piece
     * p in double, fixed order.
     */
    Status (*finish_gradient)(const UpdateArguments *arguments);
    /* Called with all pieces: norm = sqrt(sum of squares, in order); scale = min(1, clip_norm / (norm +
     * 1e-6)); an update is applied unless the norm is not finite, the tail counts a bad shard or an earlier
     * one failed. Writes *state and records[step->record]. */
    Status (*plan_update)(const UpdateArguments *arguments);
    /* In this order, every operation rounded to float, if the update is applied:
     *   g' = scale g;  m = b1 m + (1 - b1) g';  v = b2 v + (1 - b2) g'^2
     *   p = p keep - (lr / c1) m / (sqrt(v) / c2 + epsilon);  ema = ema + (1 - decay) (p - ema) */
    Status (*adamw)(const UpdateArguments *arguments);
    Status (*residual)(const ResidualArguments *arguments);
    Status (*reverse)(const ReverseArguments *arguments);
} Backend;

/* The named backend ("cpu", "cpu_reference"), or NULL if this build has none of that name. */
const Backend *backend_find(const char *name);

/* Element type of feature maps at a precision: DATA_BF16 for "bf16", else DATA_F32. */
DataType backend_activation_type(const char *precision);

/* The address of host data for the backend's routines: the data itself where the backend's memory is the
 * host's (then *owned is NULL, and it must stay), else a copy, which the caller releases by `*owned`. */
Status backend_place(const Backend *backend, const void *host, size_t bytes, const void **placed,
                     void **owned);

/* Records what `queue` queues; for backends that can. After a failure, the first one that was met, nothing
 * has run, and the same work can still be queued. */
Status backend_record(const Backend *backend, Status (*queue)(void *context), void *context,
                      void **recording);

/* Names of all backends of this build, space-separated. */
const char *backend_names(void);

/* The backend's kernel for an op, or NULL. */
const OpKernel *backend_kernel(const Backend *backend, OpKind kind);

#endif
