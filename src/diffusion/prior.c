#include "diffusion/prior.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diffusion/linear_algebra.h"
#include "diffusion/prior_internal.h"

enum { MAX_DENSE_PIXELS = 1024, MAX_SIDE = 64 };

double prior_tau(const PriorSettings *settings, double fallback) {
    return settings->tau > 0 ? settings->tau : fallback;
}

/* ---- memory ---- */

Status prior_allocate(const char *name, int64_t height, int64_t width, int64_t modes, int64_t labels,
                      bool dense, Prior **out) {
    Status status = STATUS_OK;
    Prior *prior = NULL;
    int64_t pixels = height * width;
    if (dense && pixels > MAX_DENSE_PIXELS)
        FAIL(STATUS_BAD_INPUT,
             "prior %s: images of %lld x %lld, expected at most %d pixels (its covariance is dense)", name,
             (long long)height, (long long)width, MAX_DENSE_PIXELS);
    TRY(ALLOCATE(&prior, 1));
    snprintf(prior->name, sizeof prior->name, "%s", name);
    prior->height = height;
    prior->width = width;
    prior->pixels = pixels;
    prior->modes = modes;
    prior->labels = labels;
    TRY(ALLOCATE(&prior->centre, pixels));
    TRY(ALLOCATE(&prior->means, modes * pixels));
    TRY(ALLOCATE(&prior->variance, pixels));
    TRY(ALLOCATE(&prior->log_weight, modes));
    TRY(ALLOCATE(&prior->label, modes));
    prior->rotated = prior->means;
    if (dense) {
        prior->rotated = NULL;
        TRY(ALLOCATE(&prior->rotated, modes * pixels));
        TRY(ALLOCATE(&prior->basis, pixels * pixels));
        TRY(ALLOCATE(&prior->covariance, pixels * pixels));
    }
    *out = prior;
    prior = NULL;
done:
    prior_destroy(prior);
    return status;
}

void prior_destroy(Prior *prior) {
    if (!prior)
        return;
    if (prior->rotated != prior->means)
        free(prior->rotated);
    free(prior->centre);
    free(prior->means);
    free(prior->basis);
    free(prior->variance);
    free(prior->covariance);
    free(prior->log_weight);
    free(prior->label);
    free(prior);
}

/* basis, variance and rotated from covariance. */
static Status decompose(Prior *prior) {
    Status status = STATUS_OK;
    int64_t pixels = prior->pixels;
    double *basis = NULL, *row = NULL;
    TRY(ALLOCATE(&basis, pixels * pixels));
    TRY(ALLOCATE(&row, pixels));
    memcpy(basis, prior->covariance, (size_t)(pixels * pixels) * sizeof *basis);
    TRY(symmetric_eigen(pixels, basis, prior->variance));
    if (!(prior->variance[0] > 0))
        FAIL(STATUS_BAD_INPUT, "prior %s: its covariance has the eigenvalue %g, expected all above 0",
             prior->name, prior->variance[0]);
    for (int64_t i = 0; i < pixels * pixels; i++)
        prior->basis[i] = (float)basis[i];
    for (int64_t k = 0; k < prior->modes; k++) {
        memset(row, 0, (size_t)pixels * sizeof *row);
        for (int64_t i = 0; i < pixels; i++)
            for (int64_t p = 0; p < pixels; p++)
                row[p] += (double)prior->means[k * pixels + i] * basis[i * pixels + p];
        for (int64_t p = 0; p < pixels; p++)
            prior->rotated[k * pixels + p] = (float)row[p];
    }
done:
    free(basis);
    free(row);
    return status;
}

Status prior_complete(Prior *prior, const double *mean, double tau) {
    Status status = STATUS_OK;
    int64_t pixels = prior->pixels;
    for (int64_t p = 0; p < pixels; p++) {
        double centre = 0;
        for (int64_t k = 0; k < prior->modes; k++)
            centre += exp(prior->log_weight[k]) * mean[k * pixels + p];
        prior->centre[p] = (float)centre;
        prior->variance[p] = tau * tau;
    }
    for (int64_t k = 0; k < prior->modes; k++)
        for (int64_t p = 0; p < pixels; p++)
            prior->means[k * pixels + p] = (float)(mean[k * pixels + p] - prior->centre[p]);
    if (prior->basis)
        TRY(decompose(prior));
done:
    return status;
}

/* ---- priors that need no images ---- */

static Status create_gaussian(const PriorSettings *settings, const PriorImages *images, Prior **out) {
    Status status = STATUS_OK;
    Prior *prior = NULL;
    double *mean = NULL, rho = settings->correlation;
    int64_t pixels = settings->side * settings->side;
    (void)images;
    if (!(fabs(rho) < 1))
        FAIL(STATUS_BAD_INPUT, "prior.correlation: expected above -1 and below 1, found %g", rho);
    TRY(prior_allocate("gaussian", settings->side, settings->side, 1, 1, true, &prior));
    TRY(ALLOCATE(&mean, pixels));
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t q = 0; q < pixels; q++)
            prior->covariance[p * pixels + q] = pow(rho, (double)llabs(p - q));
    TRY(prior_complete(prior, mean, 0));
    *out = prior;
    prior = NULL;
done:
    free(mean);
    prior_destroy(prior);
    return status;
}

static Status create_mixture(const PriorSettings *settings, const PriorImages *images, Prior **out) {
    Status status = STATUS_OK;
    Prior *prior = NULL;
    float *normals = NULL;
    double *mean = NULL, tau = prior_tau(settings, 0.2);
    int64_t modes = settings->modes, pixels = settings->side * settings->side;
    (void)images;
    if (modes < 1 || modes > PRIOR_MAX_LABELS)
        FAIL(STATUS_BAD_INPUT, "prior.modes: expected 1 to %d, found %lld", PRIOR_MAX_LABELS,
             (long long)modes);
    if (!(settings->separation >= 0 && isfinite(settings->separation)))
        FAIL(STATUS_BAD_INPUT, "prior.separation: expected 0 or more, found %g", settings->separation);
    TRY(prior_allocate("mixture", settings->side, settings->side, modes, modes, false, &prior));
    TRY(ALLOCATE(&mean, modes * pixels));
    TRY(ALLOCATE(&normals, pixels));
    for (int64_t k = 0; k < modes; k++) {
        rng_fill_normal(rng_key(settings->seed, RNG_PRIOR_MODES, 0, (uint32_t)k), normals, pixels);
        for (int64_t p = 0; p < pixels; p++)
            mean[k * pixels + p] = settings->separation * tau / sqrt(2.0 * (double)pixels) * normals[p];
        prior->log_weight[k] = -log((double)modes);
        prior->label[k] = (int32_t)k;
    }
    TRY(prior_complete(prior, mean, tau));
    *out = prior;
    prior = NULL;
done:
    free(mean);
    free(normals);
    prior_destroy(prior);
    return status;
}

/* ---- by name ---- */

static const struct PriorKind {
    const char *name;
    bool needs_images;
    Status (*create)(const PriorSettings *settings, const PriorImages *images, Prior **prior);
} kinds[] = {
    {"gaussian", false, create_gaussian},
    {"mixture", false, create_mixture},
    {"class-gaussian", true, prior_fit_classes},
    {"empirical", true, prior_fit_empirical},
};

static const struct PriorKind *find_kind(const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(name, kinds[i].name) == 0)
            return &kinds[i];
    return NULL;
}

bool prior_needs_images(const char *name) {
    const struct PriorKind *kind = find_kind(name);
    return kind && kind->needs_images;
}

static Status check_images(const struct PriorKind *kind, const PriorImages *images) {
    if (!images || images->count < 1)
        return status_error(STATUS_BAD_INPUT, "prior %s: expected training images, found none", kind->name);
    for (int64_t i = 0; i < images->count; i++)
        if (images->labels[i] > 9)
            return status_error(STATUS_BAD_INPUT,
                                "prior %s: label of training image %lld: expected 0 to 9, found %d",
                                kind->name, (long long)i, images->labels[i]);
    return STATUS_OK;
}

Status prior_create(const PriorSettings *settings, const PriorImages *images, Prior **prior) {
    Status status = STATUS_OK;
    const struct PriorKind *kind = find_kind(settings->name);
    *prior = NULL;
    if (!kind)
        FAIL(STATUS_BAD_INPUT,
             "prior.name: expected gaussian, mixture, class-gaussian or empirical, found \"%s\"",
             settings->name);
    if (!(settings->tau >= 0 && isfinite(settings->tau)))
        FAIL(STATUS_BAD_INPUT, "prior.tau: expected 0 or more, found %g", settings->tau);
    if (kind->needs_images)
        TRY(check_images(kind, images));
    else if (settings->side < 1 || settings->side > MAX_SIDE)
        FAIL(STATUS_BAD_INPUT, "prior.side: expected 1 to %d, found %lld", MAX_SIDE,
             (long long)settings->side);
    TRY(kind->create(settings, images, prior));
done:
    return status;
}

Status prior_broadcast(Comm *comm, Prior **prior) {
    struct {
        char name[24];
        int64_t height, width, modes, labels;
        bool dense;
    } header;
    Status status = STATUS_OK;
    memset(&header, 0, sizeof header);
    if (comm_rank(comm) == 0) {
        memcpy(header.name, (*prior)->name, sizeof header.name);
        header.height = (*prior)->height;
        header.width = (*prior)->width;
        header.modes = (*prior)->modes;
        header.labels = (*prior)->labels;
        header.dense = (*prior)->basis != NULL;
    }
    TRY(comm_broadcast(comm, &header, sizeof header, 0));
    if (comm_rank(comm) != 0)
        status = prior_allocate(header.name, header.height, header.width, header.modes, header.labels,
                                header.dense, prior);
    TRY(comm_agree(comm, status));
    Prior *p = *prior;
    size_t pixels = (size_t)p->pixels, modes = (size_t)p->modes;
    TRY(comm_broadcast(comm, p->centre, pixels * sizeof *p->centre, 0));
    TRY(comm_broadcast(comm, p->means, modes * pixels * sizeof *p->means, 0));
    TRY(comm_broadcast(comm, p->variance, pixels * sizeof *p->variance, 0));
    TRY(comm_broadcast(comm, p->log_weight, modes * sizeof *p->log_weight, 0));
    TRY(comm_broadcast(comm, p->label, modes * sizeof *p->label, 0));
    if (header.dense) {
        TRY(comm_broadcast(comm, p->rotated, modes * pixels * sizeof *p->rotated, 0));
        TRY(comm_broadcast(comm, p->basis, pixels * pixels * sizeof *p->basis, 0));
        TRY(comm_broadcast(comm, p->covariance, pixels * pixels * sizeof *p->covariance, 0));
    }
done:
    return status;
}

int64_t prior_height(const Prior *prior) {
    return prior->height;
}

int64_t prior_width(const Prior *prior) {
    return prior->width;
}

int64_t prior_pixels(const Prior *prior) {
    return prior->pixels;
}

int64_t prior_labels(const Prior *prior) {
    return prior->labels;
}

int64_t prior_bytes(const Prior *prior) {
    int64_t pixels = prior->pixels, modes = prior->modes;
    int64_t dense =
        modes * pixels * (int64_t)sizeof(float) + pixels * pixels * (int64_t)(sizeof(float) + sizeof(double));
    return (int64_t)sizeof *prior + modes * pixels * (int64_t)sizeof(float) +
           pixels * (int64_t)(sizeof(float) + sizeof(double)) +
           modes * (int64_t)(sizeof(double) + sizeof(int32_t)) + (prior->basis ? dense : 0);
}

char *prior_describe(const Prior *prior, char text[200]) {
    int64_t last = prior->pixels - 1;
    if (prior->basis)
        snprintf(text, 200, "%s prior: %lld x %lld pixels, %lld mode%s, shared covariance, sd %.3g to %.3g",
                 prior->name, (long long)prior->height, (long long)prior->width, (long long)prior->modes,
                 prior->modes == 1 ? "" : "s", sqrt(prior->variance[0]), sqrt(prior->variance[last]));
    else
        snprintf(text, 200, "%s prior: %lld x %lld pixels, %lld mode%s, tau %.3g", prior->name,
                 (long long)prior->height, (long long)prior->width, (long long)prior->modes,
                 prior->modes == 1 ? "" : "s", sqrt(prior->variance[0]));
    return text;
}

/* ---- draws and labels ---- */

void prior_softmax(int64_t count, double *logits) {
    double largest = -INFINITY, sum = 0;
    for (int64_t k = 0; k < count; k++)
        largest = fmax(largest, logits[k]);
    for (int64_t k = 0; k < count; k++)
        sum += logits[k] = exp(logits[k] - largest);
    for (int64_t k = 0; k < count; k++)
        logits[k] /= sum;
}

double prior_distance(int64_t pixels, const double *x, const float *mean, const double *inverse) {
    enum { LANES = 8 }; /* independent sums, so that the loop may be vectorised without changing its result */
    double sums[LANES] = {0}, tail = 0;
    int64_t p = 0;
    for (; p + LANES <= pixels; p += LANES)
        for (int k = 0; k < LANES; k++)
            sums[k] += inverse[p + k] * (x[p + k] - mean[p + k]) * (x[p + k] - mean[p + k]);
    for (; p < pixels; p++)
        tail += inverse[p] * (x[p] - mean[p]) * (x[p] - mean[p]);
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + tail;
}

int64_t prior_choose_mode(int64_t modes, const double *weights, double uniform) {
    int64_t last = 0; /* where rounding leaves the sum below the uniform number */
    for (int64_t k = 0; k < modes; k++) {
        uniform -= weights[k];
        if (weights[k] > 0)
            last = k;
        if (uniform < 0)
            return k;
    }
    return last;
}

void prior_noise(const Prior *prior, RngKey key, float *normals, double *noise) {
    enum { LANES = 8 }; /* as in prior_distance */
    int64_t pixels = prior->pixels;
    rng_fill_normal(key, normals, pixels);
    for (int64_t p = 0; p < pixels; p++) {
        noise[p] = sqrt(prior->variance[p]) * normals[p];
        normals[p] = (float)noise[p];
    }
    for (int64_t i = 0; prior->basis && i < pixels; i++) {
        const float *row = prior->basis + i * pixels;
        double sums[LANES] = {0};
        int64_t p = 0;
        for (; p + LANES <= pixels; p += LANES)
            for (int k = 0; k < LANES; k++)
                sums[k] += (double)row[p + k] * normals[p + k];
        for (; p < pixels; p++)
            sums[p % LANES] += (double)row[p] * normals[p];
        noise[i] = ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
    }
}

void prior_sum_labels(const Prior *prior, const double *weights, double *sums) {
    memset(sums, 0, (size_t)prior->labels * sizeof *sums);
    for (int64_t k = 0; k < prior->modes; k++)
        sums[prior->label[k]] += weights[k];
}

Status prior_draw(const Prior *prior, uint64_t seed, uint32_t sample, float *x, int *label) {
    Status status = STATUS_OK;
    int64_t pixels = prior->pixels;
    double *noise = NULL, *weights = NULL;
    float *normals = NULL;
    TRY(ALLOCATE(&noise, pixels));
    TRY(ALLOCATE(&normals, pixels));
    TRY(ALLOCATE(&weights, prior->modes));
    for (int64_t k = 0; k < prior->modes; k++)
        weights[k] = exp(prior->log_weight[k]);
    int64_t k = prior_choose_mode(prior->modes, weights,
                                  rng_uniform_of(rng_integer(rng_key(seed, RNG_PRIOR_MODE, 0, sample), 0)));
    prior_noise(prior, rng_key(seed, RNG_PRIOR_DRAW, 0, sample), normals, noise);
    for (int64_t p = 0; p < pixels; p++)
        x[p] = (float)((double)prior->centre[p] + prior->means[k * pixels + p] + noise[p]);
    if (label)
        *label = prior->label[k];
done:
    free(noise);
    free(normals);
    free(weights);
    return status;
}

/* Images read together, so that an image of the prior comes from memory once for all of them. */
enum { READ_TOGETHER = 16 };

/* x' = U^T (x - c). */
static void rotate_image(const Prior *prior, const float *x, double *rotated) {
    int64_t pixels = prior->pixels;
    memset(rotated, 0, (size_t)pixels * sizeof *rotated);
    for (int64_t i = 0; i < pixels; i++) {
        double centred = (double)x[i] - prior->centre[i];
        for (int64_t p = 0; prior->basis && p < pixels; p++)
            rotated[p] += centred * prior->basis[i * pixels + p];
        if (!prior->basis)
            rotated[i] = centred;
    }
}

/* The label with the largest sum, the first of equal ones; logits become weights. */
static int read_label(const Prior *prior, double *logits) {
    double sums[PRIOR_MAX_LABELS];
    int label = 0;
    prior_softmax(prior->modes, logits);
    prior_sum_labels(prior, logits, sums);
    for (int k = 1; k < (int)prior->labels; k++)
        if (sums[k] > sums[label])
            label = k;
    return label;
}

/* log weight_k - 1/2 sum_p (x'_p - mean'_kp)^2 / lambda_p. */
Status prior_classify(const Prior *prior, int64_t count, const float *x, int *labels) {
    Status status = STATUS_OK;
    int64_t pixels = prior->pixels, modes = prior->modes;
    double *rotated = NULL, *logits = NULL, *terms = NULL;
    TRY(ALLOCATE(&rotated, READ_TOGETHER * pixels));
    TRY(ALLOCATE(&terms, pixels));
    TRY(ALLOCATE(&logits, READ_TOGETHER * modes));
    for (int64_t p = 0; p < pixels; p++)
        terms[p] = 1 / prior->variance[p];
    for (int64_t first = 0; first < count; first += READ_TOGETHER) {
        int64_t together = count - first < READ_TOGETHER ? count - first : READ_TOGETHER;
        for (int64_t i = 0; i < together; i++)
            rotate_image(prior, x + (first + i) * pixels, rotated + i * pixels);
        for (int64_t k = 0; k < modes; k++)
            for (int64_t i = 0; i < together; i++)
                logits[i * modes + k] =
                    prior->log_weight[k] -
                    0.5 * prior_distance(pixels, rotated + i * pixels, prior->rotated + k * pixels, terms);
        for (int64_t i = 0; i < together; i++)
            labels[first + i] = read_label(prior, logits + i * modes);
    }
done:
    free(rotated);
    free(terms);
    free(logits);
    return status;
}
