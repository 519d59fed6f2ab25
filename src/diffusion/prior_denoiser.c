/* eps_hat of a mixture of Gaussians with one covariance. With a = abar_t, v_p = a lambda_p + 1 - a, means m_k
 * relative to the centre c, and x' = U^T (x_t - sqrt(a) c), all in the basis U:
 *   log w_k = log weight_k + sqrt(a) sum_p (x'_p / v_p) m_kp - a/2 sum_p m_kp^2 / v_p
 *             (plus a term that is the same for all k)
 *   eps_hat' = sqrt(1 - a) (x' - sqrt(a) sum_k w_k m_k) / v,   eps_hat = U eps_hat'
 * and the vector-Jacobian product, whose matrix is symmetric:
 *   b_k = sqrt(a) sum_p m_kp u'_p / v_p,   c_k = w_k (b_k - sum_j w_j b_j)
 *   product' = sqrt(1 - a) (u' - sqrt(a) sum_k c_k m_k) / v
 * Products with U and with the means are linear ops of the backend, each row in a fixed order. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "diffusion/prior_internal.h"

/* Products of rows with one matrix W (out, in): x W^T and y W. */
typedef struct Matrix {
    const float *weight;
    float *zero; /* (out): the linear op wants a bias */
    PreparedOp forward, transposed;
} Matrix;

typedef struct Worker {
    int64_t *t;                      /* (batch) of the last eps_hat */
    float *weights;                  /* (batch, modes) w of the last eps_hat */
    float *logits;                   /* (batch, modes) */
    float *rotated, *scaled, *mixed; /* (batch, pixels) */
    void *scratch;
} Worker;

typedef struct PriorDenoiser {
    const Prior *prior;
    const Schedule *schedule;
    double *half_norms; /* (T, modes) sum_p m_kp^2 / v_p / 2; where U = 1 (modes) sum_p m_kp^2 / 2 */
    Matrix basis, means;
    int workers;
    Worker *worker;
} PriorDenoiser;

/* ---- products ---- */

static Status prepare_op(PreparedOp *op, const Backend *backend, const OpDescription *description) {
    op->kernel = backend_kernel(backend, description->kind);
    if (!op->kernel)
        return status_error(STATUS_FAILURE, "backend %s has no kernel for %s, which exact priors need",
                            backend->name, op_name(description->kind));
    op->description = *description;
    return op->kernel->prepare(op);
}

static Status matrix_create(Matrix *matrix, const Backend *backend, const float *weight, int64_t batch,
                            int64_t out, int64_t in) {
    Status status = STATUS_OK;
    Shape x = {{batch, 1, 1, in}}, y = {{batch, 1, 1, out}}, w = {{out, in, 1, 1}}, bias = {{out, 1, 1, 1}};
    const OpDescription forward = {.kind = OP_LINEAR, .inputs = {x, w, bias}, .outputs = {y}};
    const OpDescription transposed = {.kind = OP_LINEAR_BACKWARD_DATA, .inputs = {y, w}, .outputs = {x}};
    matrix->weight = weight;
    TRY(ALLOCATE(&matrix->zero, out));
    TRY(prepare_op(&matrix->forward, backend, &forward));
    TRY(prepare_op(&matrix->transposed, backend, &transposed));
    const void *parameters[OP_MAX_INPUTS] = {NULL, weight, matrix->zero};
    if (matrix->forward.kernel->pack)
        TRY(matrix->forward.kernel->pack(&matrix->forward, parameters));
    if (matrix->transposed.kernel->pack)
        TRY(matrix->transposed.kernel->pack(&matrix->transposed, parameters));
done:
    return status;
}

static void matrix_release(Matrix *matrix) {
    if (matrix->forward.kernel)
        matrix->forward.kernel->release(&matrix->forward);
    if (matrix->transposed.kernel)
        matrix->transposed.kernel->release(&matrix->transposed);
    free(matrix->zero);
}

static size_t matrix_scratch_bytes(const Matrix *matrix) {
    size_t forward = matrix->forward.scratch_bytes, transposed = matrix->transposed.scratch_bytes;
    return forward > transposed ? forward : transposed;
}

static size_t matrix_packed_bytes(const Matrix *matrix) {
    return matrix->forward.packed_bytes + matrix->transposed.packed_bytes;
}

/* y (batch, out) = x (batch, in) W^T */
static Status multiply(const Matrix *matrix, const float *x, float *y, void *scratch) {
    const PreparedOp *op = &matrix->forward;
    const void *inputs[OP_MAX_INPUTS] = {x, matrix->weight, matrix->zero};
    void *outputs[OP_MAX_OUTPUTS] = {y};
    if (op->kernel->pack)
        inputs[1] = inputs[2] = NULL;
    return op->kernel->run(op, inputs, outputs, scratch);
}

/* x (batch, in) = y (batch, out) W */
static Status multiply_transposed(const Matrix *matrix, const float *y, float *x, void *scratch) {
    const PreparedOp *op = &matrix->transposed;
    const void *inputs[OP_MAX_INPUTS] = {y, matrix->weight};
    void *outputs[OP_MAX_OUTPUTS] = {x};
    if (op->kernel->pack)
        inputs[1] = NULL;
    return op->kernel->run(op, inputs, outputs, scratch);
}

/* ---- one sample ---- */

static double diffused_variance(const PriorDenoiser *d, int64_t t, int64_t p) {
    double a = d->schedule->alpha_bar[t];
    return a * d->prior->variance[p] + 1 - a;
}

/* scaled = sqrt(a) x / v, whose products with the means are the terms of the logits that depend on x. */
static void scale(const PriorDenoiser *d, int64_t t, const float *x, float *scaled) {
    double root = sqrt(d->schedule->alpha_bar[t]);
    for (int64_t p = 0; p < d->prior->pixels; p++)
        scaled[p] = (float)(root * x[p] / diffused_variance(d, t, p));
}

/* result = sqrt(1 - a) (x - sqrt(a) mixed) / v */
static void finish(const PriorDenoiser *d, int64_t t, const float *x, const float *mixed, float *result) {
    double a = d->schedule->alpha_bar[t], root = sqrt(a), noise = sqrt(1 - a);
    for (int64_t p = 0; p < d->prior->pixels; p++)
        result[p] = (float)(noise * (x[p] - root * mixed[p]) / diffused_variance(d, t, p));
}

/* w from the products of the scaled sample with the means. */
static void weigh(const PriorDenoiser *d, int64_t t, const float *products, float *weights) {
    /* exp(-80) = 2e-35 of the largest weight is nothing, and larger than the smallest normal float */
    const float negligible = -80;
    int64_t modes = d->prior->modes;
    bool shared = !d->prior->basis;
    double a = d->schedule->alpha_bar[t], largest = -INFINITY, sum = 0;
    double factor = shared ? a / diffused_variance(d, t, 0) : a;
    const double *half_norm = d->half_norms + (shared ? 0 : t * modes), *log_weight = d->prior->log_weight;
    for (int64_t k = 0; k < modes; k++) {
        double logit = log_weight[k] + products[k] - factor * half_norm[k];
        largest = logit > largest ? logit : largest;
    }
    for (int64_t k = 0; k < modes; k++) {
        float logit = (float)(log_weight[k] + products[k] - factor * half_norm[k] - largest);
        weights[k] = logit > negligible ? expf(logit) : logit <= negligible ? 0 : NAN;
        sum += weights[k];
    }
    for (int64_t k = 0; k < modes; k++)
        weights[k] = (float)(weights[k] / sum);
}

/* c_k = w_k (b_k - sum_j w_j b_j), in place. */
static void centre_products(int64_t modes, const float *weights, float *products) {
    double mean = 0;
    for (int64_t k = 0; k < modes; k++)
        mean += (double)weights[k] * products[k];
    for (int64_t k = 0; k < modes; k++)
        products[k] = (float)(weights[k] * (products[k] - mean));
}

/* ---- the denoiser ---- */

/* sqrt(1 - a) (x' - sqrt(a) sum_k coefficient_k m_k) / v, out of the basis; x' is worker->rotated. */
static Status assemble(const PriorDenoiser *d, int64_t batch, Worker *worker, const float *coefficients,
                       float *result) {
    Status status = STATUS_OK;
    int64_t pixels = d->prior->pixels;
    float *to = d->prior->basis ? worker->scaled : result;
    TRY(multiply_transposed(&d->means, coefficients, worker->mixed, worker->scratch));
    for (int64_t n = 0; n < batch; n++)
        finish(d, worker->t[n], worker->rotated + n * pixels, worker->mixed + n * pixels, to + n * pixels);
    if (d->prior->basis)
        TRY(multiply(&d->basis, worker->scaled, result, worker->scratch));
done:
    return status;
}

/* rotated = U^T x; products[n, k] = sqrt(a) sum_p m_kp rotated[n, p] / v_p. */
static Status project(const PriorDenoiser *d, int64_t batch, Worker *worker, const float *x) {
    Status status = STATUS_OK;
    int64_t pixels = d->prior->pixels;
    if (d->prior->basis)
        TRY(multiply_transposed(&d->basis, x, worker->rotated, worker->scratch));
    else
        memcpy(worker->rotated, x, (size_t)(batch * pixels) * sizeof *x);
    for (int64_t n = 0; n < batch; n++)
        scale(d, worker->t[n], worker->rotated + n * pixels, worker->scaled + n * pixels);
    TRY(multiply(&d->means, worker->scaled, worker->logits, worker->scratch));
done:
    return status;
}

static Status prior_eps_hat(Denoiser *self, int index, const float *x_t, const float *t, float *eps_hat) {
    Status status = STATUS_OK;
    PriorDenoiser *d = self->context;
    Worker *worker = &d->worker[index];
    int64_t pixels = d->prior->pixels, modes = d->prior->modes;
    for (int64_t n = 0; n < self->batch; n++) {
        if (!(t[n] >= 0 && t[n] < (float)d->schedule->steps))
            FAIL(STATUS_FAILURE, "prior %s: t of sample %lld: expected 0 to %lld, found %g", d->prior->name,
                 (long long)n, (long long)d->schedule->steps - 1, (double)t[n]);
        worker->t[n] = (int64_t)t[n];
        double root = sqrt(d->schedule->alpha_bar[worker->t[n]]);
        for (int64_t p = 0; p < pixels; p++)
            worker->mixed[n * pixels + p] = (float)(x_t[n * pixels + p] - root * d->prior->centre[p]);
    }
    TRY(project(d, self->batch, worker, worker->mixed));
    for (int64_t n = 0; n < self->batch; n++)
        weigh(d, worker->t[n], worker->logits + n * modes, worker->weights + n * modes);
    TRY(assemble(d, self->batch, worker, worker->weights, eps_hat));
done:
    return status;
}

static Status prior_vjp(Denoiser *self, int index, const float *v, float *product) {
    Status status = STATUS_OK;
    PriorDenoiser *d = self->context;
    Worker *worker = &d->worker[index];
    int64_t modes = d->prior->modes;
    TRY(project(d, self->batch, worker, v));
    for (int64_t n = 0; n < self->batch; n++)
        centre_products(modes, worker->weights + n * modes, worker->logits + n * modes);
    TRY(assemble(d, self->batch, worker, worker->logits, product));
done:
    return status;
}

/* ---- creation ---- */

static int64_t half_norm_steps(const PriorDenoiser *d) {
    return d->prior->basis ? d->schedule->steps : 1;
}

static Status fill_half_norms(PriorDenoiser *d) {
    Status status = STATUS_OK;
    const Prior *prior = d->prior;
    bool shared = !prior->basis;
    int64_t pixels = prior->pixels, modes = prior->modes, steps = half_norm_steps(d);
    TRY(ALLOCATE(&d->half_norms, steps * modes));
    for (int64_t t = 0; t < steps; t++)
        for (int64_t k = 0; k < modes; k++)
            for (int64_t p = 0; p < pixels; p++) {
                double m = prior->rotated[k * pixels + p];
                d->half_norms[t * modes + k] += m * m / 2 / (shared ? 1 : diffused_variance(d, t, p));
            }
done:
    return status;
}

static Status worker_create(const PriorDenoiser *d, int64_t batch, const Backend *backend, Worker *worker) {
    Status status = STATUS_OK;
    int64_t pixels = d->prior->pixels, modes = d->prior->modes;
    size_t means = matrix_scratch_bytes(&d->means);
    size_t basis = d->prior->basis ? matrix_scratch_bytes(&d->basis) : 0;
    TRY(ALLOCATE(&worker->t, batch));
    TRY(ALLOCATE(&worker->weights, batch * modes));
    TRY(ALLOCATE(&worker->logits, batch * modes));
    TRY(ALLOCATE(&worker->rotated, batch * pixels));
    TRY(ALLOCATE(&worker->scaled, batch * pixels));
    TRY(ALLOCATE(&worker->mixed, batch * pixels));
    TRY(backend->allocate(&worker->scratch, (means > basis ? means : basis) + 64));
done:
    return status;
}

Status prior_denoiser_create(const Prior *prior, const Schedule *schedule, const Backend *backend,
                             int64_t batch, int workers, Denoiser *denoiser) {
    Status status = STATUS_OK;
    PriorDenoiser *d = NULL;
    int64_t pixels = prior->pixels;
    memset(denoiser, 0, sizeof *denoiser);
    if (!backend->host_memory)
        FAIL(STATUS_BAD_INPUT, "prior %s: exact priors run on the CPU, found backend %s: use --device cpu",
             prior->name, backend->name);
    TRY(ALLOCATE(&d, 1));
    *denoiser = (Denoiser){
        .backend = backend,
        .workers = workers,
        .batch = batch,
        .height = prior->height,
        .width = prior->width,
        .eps_hat = prior_eps_hat,
        .vjp = prior_vjp,
        .context = d,
    };
    d->prior = prior;
    d->schedule = schedule;
    d->workers = workers;
    if (prior->basis)
        TRY(matrix_create(&d->basis, backend, prior->basis, batch, pixels, pixels));
    TRY(matrix_create(&d->means, backend, prior->rotated, batch, prior->modes, pixels));
    TRY(fill_half_norms(d));
    TRY(ALLOCATE(&d->worker, workers));
    for (int w = 0; w < workers; w++)
        TRY(worker_create(d, batch, backend, &d->worker[w]));
done:
    if (status != STATUS_OK)
        prior_denoiser_release(denoiser);
    return status;
}

void prior_denoiser_release(Denoiser *denoiser) {
    PriorDenoiser *d = denoiser->context;
    for (int w = 0; d && d->worker && w < d->workers; w++) {
        Worker *worker = &d->worker[w];
        free(worker->t);
        free(worker->weights);
        free(worker->logits);
        free(worker->rotated);
        free(worker->scaled);
        free(worker->mixed);
        denoiser->backend->release(worker->scratch);
    }
    if (d) {
        matrix_release(&d->basis);
        matrix_release(&d->means);
        free(d->half_norms);
        free(d->worker);
    }
    free(d);
    memset(denoiser, 0, sizeof *denoiser);
}

int64_t prior_denoiser_bytes(const Denoiser *denoiser) {
    const PriorDenoiser *d = denoiser->context;
    const int64_t pixels = d->prior->pixels, modes = d->prior->modes;
    const int64_t of_sample = (int64_t)sizeof(int64_t) + (2 * modes + 3 * pixels) * (int64_t)sizeof(float);
    return (int64_t)(matrix_packed_bytes(&d->basis) + matrix_packed_bytes(&d->means)) +
           half_norm_steps(d) * modes * (int64_t)sizeof(double) + d->workers * denoiser->batch * of_sample;
}
