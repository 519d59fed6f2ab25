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

typedef struct PreparedOp PreparedOp;

/* One implementation of one op. */
typedef struct OpKernel {
    OpKind kind;
    const char *name; /* shown in per-op tables, "conv2d_cpu" */

    /* Called once; op->kernel and op->description are set. May set op->state, op->packed, op->scratch_bytes.
     */
    Status (*prepare)(PreparedOp *op);

    /* Optional: re-lays the op's parameters (fp32, PyTorch layout) into op->packed; called after every change
     * of the parameters, before the next run. Without it run receives the parameters as they are. */
    Status (*pack)(PreparedOp *op, const void *const *inputs);

    /* inputs and outputs in ops.def's order, NULL where absent; parameter inputs are NULL for kernels with
     * `pack`. No two of them overlap. Outputs are overwritten. scratch: op->scratch_bytes, 64-byte aligned,
     * contents undefined. The result for a sample depends on nothing but that sample and the parameters. */
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
    const char
        *implementation; /* for per-op tables where the kernel chose one, "winograd"; NULL: it did not */
};

/* ---- fused routines; all pointers are the backend's memory unless stated ---- */

/* x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps for one shard, x0 = pixel / 127.5 - 1. Inputs (images and
 * their pixels, rng_samples, the two tables) are host memory. */
typedef struct NoiseArguments {
    int64_t samples; /* slots of the shard; slots whose image is NULL are padding: x_t = eps = 0, t = 0 */
    int64_t pixels;  /* per sample */
    const uint8_t *const *images; /* (samples) pointers to (pixels) each */
    const uint32_t *rng_samples;  /* (samples) RNG sample numbers */
    uint64_t seed;
    uint32_t rng_step;
    RngStream timestep_stream, noise_stream;
    int64_t steps;                                          /* T */
    const float *sqrt_alpha_bar, *sqrt_one_minus_alpha_bar; /* (T) */
    float *x_t, *eps, *t; /* out: (samples, pixels), (samples, pixels), (samples) */
} NoiseArguments;

/* Loss of one shard: sum over its real samples of the mean over pixels of (eps - eps_hat)^2 (double, fixed
 * order), and the gradient d_eps_hat = 2 (eps_hat - eps) / (pixels * batch) of the mean over the global
 * batch; padding: 0. */
typedef struct LossArguments {
    int64_t samples, real_samples, pixels;
    int64_t batch; /* real samples in the global batch */
    const float *eps, *eps_hat;
    float *d_eps_hat; /* out; may be NULL */
    double *loss_sum; /* out, host */
} LossArguments;

/* Fixed-point sums: values are added as int64 with 2^50 steps per unit, which is associative, so the sum has
 * the same bits in any order, on any number of ranks and threads. */
#define FIXED_POINT_SCALE 1125899906842624.0 /* 2^50 */

/* AdamW (Loshchilov and Hutter, arXiv:1711.05101) as torch.optim.AdamW computes it, with the exponential
 * moving average of the parameters, for elements [0, count). */
typedef struct AdamWArguments {
    int64_t count;
    const float *gradient; /* already averaged over the batch, not yet clipped */
    float *parameter, *m, *v, *ema;
    /* double, since 1 - beta2 of a beta2 rounded to float is wrong by 1e-5 of itself */
    double gradient_scale; /* clipping factor */
    double learning_rate, beta1, beta2, epsilon, weight_decay;
    double bias_correction1, bias_correction2_sqrt; /* 1 - beta1^s, sqrt(1 - beta2^s) */
    double ema_decay;
} AdamWArguments;

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
    const ReverseStep *step;
    const float *x, *eps_hat;     /* (samples, pixels) */
    const float *const *mask;     /* as in ReverseArguments */
    const float *const *observed; /* (samples) pointers to (pixels) of y */
    float *residual;              /* out: u (samples, pixels) */
} ResidualArguments;

typedef struct ReverseArguments {
    int64_t samples, pixels;
    const ReverseStep *step;
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

/* Where a rank computes, for backends that own a device. One rank has one device. */
typedef struct BackendPlace {
    int local_rank, local_size; /* among the ranks of this node: rank i takes the i-th visible device */
    const char *precision;      /* one of the backend's precisions */
} BackendPlace;

typedef struct Backend {
    const char *name;
    const char *description; /* one line: library versions, instruction set; final after `start` */

    /* What train.precision may be, separated by spaces, the default first. */
    const char *precisions;

    /* Optional. Takes the device and creates the libraries' handles: before anything below is called, on the
     * main thread, once. STATUS_FAILURE names what is missing (no device, more ranks than devices, a
     * library). */
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

    const OpKernel *const *kernels; /* NULL-terminated; the first that matches a kind is used */

    bool host_memory; /* the backend's memory is the host's: pointers may be followed on the CPU */
    Status (*allocate)(void **memory, size_t bytes); /* 64-byte aligned or better, zeroed */
    void (*release)(void *memory);
    Status (*copy_in)(void *to, const void *from_host, size_t bytes);
    Status (*copy_out)(void *to_host, const void *from, size_t bytes);
    Status (*copy)(void *to, const void *from, size_t bytes); /* within the backend's memory */
    Status (*clear)(void *memory, size_t bytes);              /* zeroes */

    Status (*noise)(const NoiseArguments *arguments);
    Status (*loss)(const LossArguments *arguments);
    /* sum[i] += round(value[i] * 2^50); *bad is set if a value is not finite or its magnitude exceeds
     * `limit`. */
    Status (*accumulate)(int64_t *sum, const float *value, int64_t count, float limit, bool *bad);
    /* gradient[i] = sum[i] / 2^50 in float; *squares = sum of squares in double, fixed order. */
    Status (*finish_gradient)(float *gradient, const int64_t *sum, int64_t count, double *squares);
    Status (*adamw)(const AdamWArguments *arguments);
    Status (*residual)(const ResidualArguments *arguments);
    Status (*reverse)(const ReverseArguments *arguments);
} Backend;

/* The named backend ("cpu", "cpu_reference"), or NULL if this build has none of that name. */
const Backend *backend_find(const char *name);

/* Element type of feature maps at a precision: DATA_BF16 for "bf16", else DATA_F32. */
DataType backend_activation_type(const char *precision);

/* Names of all backends of this build, space-separated. */
const char *backend_names(void);

/* The backend's kernel for an op, or NULL. */
const OpKernel *backend_kernel(const Backend *backend, OpKind kind);

#endif
