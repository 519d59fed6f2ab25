/* Units of work: which there are, which rank and worker has which, and where their results go. */
#include "diffusion/generate.h"

#include <stdlib.h>
#include <string.h>

#include "core/team.h"
#include "diffusion/generate_worker.h"

/* ---- units ---- */

static bool is_particle_sampler(const Generation *g) {
    return g->arguments->plan->sampler->particles;
}

/* Whether chain i belongs to the same run of particles as chain i - 1. */
static bool continues_run(const GenerateArguments *a, int64_t i) {
    const uint32_t draws = (uint32_t)a->plan->options.draws_per_run;
    return a->seeds[i] == a->seeds[i - 1] && a->observations[i] == a->observations[i - 1] &&
           a->rng_samples[i] == a->rng_samples[i - 1] + 1 &&
           a->rng_samples[i] / draws == a->rng_samples[i - 1] / draws;
}

static Status list_units(Generation *g) {
    Status status = STATUS_OK;
    const GenerateArguments *arguments = g->arguments;
    TRY(ALLOCATE(&g->units, arguments->count));
    for (int64_t i = 0; i < arguments->count; i++) {
        bool same = i > 0 && (is_particle_sampler(g) ? continues_run(arguments, i) : i % g->batch != 0);
        if (!same)
            g->units[g->unit_count++] = (Unit){.first = i};
        g->units[g->unit_count - 1].count++;
    }
    for (int64_t u = g->rank; u < g->unit_count; u += g->ranks)
        g->mine_units++;
    TRY(ALLOCATE(&g->mine_first, g->mine_units));
    for (int64_t i = 0; i < g->mine_units; i++) {
        g->mine_first[i] = g->mine_count;
        g->mine_count += g->units[g->rank + i * g->ranks].count;
    }
done:
    return status;
}

static Status run_unit(void *context, int worker, int64_t mine_unit) {
    Generation *g = context;
    const Unit *unit = &g->units[g->rank + mine_unit * g->ranks];
    const int64_t at = g->mine_first[mine_unit];
    float *samples = g->mine + at * g->pixels;
    return is_particle_sampler(g) ? particle_run(g, worker, unit, samples, g->mine_particles + at)
                                  : chains_run(g, worker, unit, samples);
}

/* ---- memory ---- */

/* Row t of g->t is t in every slot. */
static Status place_timesteps(Generation *g) {
    Status status = STATUS_OK;
    const int64_t rows = g->arguments->plan->t[0] + 1;
    float *host = NULL;
    const size_t bytes = (size_t)(rows * g->batch) * sizeof *host;
    TRY(ALLOCATE(&host, rows * g->batch));
    for (int64_t i = 0; i < rows * g->batch; i++)
        host[i] = (float)(i / g->batch);
    TRY(g->backend->allocate((void **)&g->t, bytes));
    TRY(g->backend->copy_in(g->t, host, bytes));
done:
    free(host);
    return status;
}

static void release_generation(Generation *g) {
    for (int i = 0; g->workers && i < g->arguments->denoiser->workers; i++)
        worker_release(g, &g->workers[i]);
    if (g->t)
        g->backend->release(g->t);
    free(g->workers);
    free(g->units);
    free(g->mine_first);
    free(g->mine);
    free(g->mine_particles);
}

/* ---- checks ---- */

static Status check_observations(const GenerateArguments *arguments) {
    const Denoiser *denoiser = arguments->denoiser;
    const Sampler *sampler = arguments->plan->sampler;
    if (sampler->posterior && !arguments->observations)
        return status_error(STATUS_BAD_INPUT,
                            "sampler %s draws from a posterior: expected an observation, found none",
                            sampler->name);
    if (!sampler->posterior && arguments->observations)
        return status_error(STATUS_BAD_INPUT, "sampler %s takes no observation, and one was given",
                            sampler->name);
    for (int64_t i = 0; arguments->observations && i < arguments->count; i++) {
        const Observation *observation = arguments->observations[i];
        if (observation->height != denoiser->height || observation->width != denoiser->width)
            return status_error(
                STATUS_BAD_INPUT,
                "sampler %s: the network's images are %lld x %lld, observation %lld is %lld x %lld",
                sampler->name, (long long)denoiser->height, (long long)denoiser->width, (long long)i,
                (long long)observation->height, (long long)observation->width);
    }
    return STATUS_OK;
}

/* The largest RNG sample number a particle gets must be one. */
static Status check_particles(const GenerateArguments *arguments) {
    const SamplerOptions *options = &arguments->plan->options;
    for (int64_t i = 0; arguments->plan->sampler->particles && i < arguments->count; i++) {
        const int64_t run = arguments->rng_samples[i] / options->draws_per_run;
        if ((run + 1) * options->particles > (int64_t)UINT32_MAX + 1)
            return status_error(
                STATUS_BAD_INPUT,
                "sampler %s: run %lld of %lld particles: expected particle numbers below 2^32; "
                "take fewer draws or posterior.particles, or more posterior.draws_per_run",
                arguments->plan->sampler->name, (long long)run, (long long)options->particles);
    }
    return STATUS_OK;
}

static Status check_arguments(const GenerateArguments *arguments) {
    Status status = STATUS_OK;
    const Sampler *sampler = arguments->plan->sampler;
    if (arguments->count < 1)
        FAIL(STATUS_BAD_INPUT, "sampler %s: expected 1 sample or more, found %lld", sampler->name,
             (long long)arguments->count);
    if (sampler->jacobian && !arguments->denoiser->vjp)
        FAIL(STATUS_BAD_INPUT,
             "sampler %s needs the vector-Jacobian product of its denoiser, and the one of %s (%lld x %lld "
             "images) has none; samplers without it: guided_calibrated, guided, replace",
             sampler->name, arguments->denoiser->backend->name, (long long)arguments->denoiser->height,
             (long long)arguments->denoiser->width);
    TRY(check_observations(arguments));
    TRY(check_particles(arguments));
done:
    return status;
}

/* ---- the whole ---- */

static Status generate_mine(Generation *g) {
    Status status = STATUS_OK;
    const GenerateArguments *arguments = g->arguments;
    const int workers = arguments->denoiser->workers;
    TRY(check_arguments(arguments));
    TRY(list_units(g));
    g->slots = is_particle_sampler(g) ? arguments->plan->options.particles : g->batch;
    g->slots = (g->slots + g->batch - 1) / g->batch * g->batch;
    TRY(ALLOCATE(&g->workers, workers));
    TRY(ALLOCATE(&g->mine, g->mine_count * g->pixels));
    TRY(ALLOCATE(&g->mine_particles, is_particle_sampler(g) ? g->mine_count : 0));
    TRY(place_timesteps(g));
    for (int i = 0; i < workers; i++)
        TRY(worker_create(g, &g->workers[i]));
    TRY(team_run(workers, g->mine_units, run_unit, g));
    if (arguments->progress)
        arguments->progress(arguments->progress_context, g->done, g->done);
done:
    return status;
}

/* Rows of every rank's chains to rank 0, in the order of the chains; row_bytes each. Collective. */
static Status gather_rows(const Generation *g, const void *mine, size_t row_bytes, void *all) {
    Status status = STATUS_OK;
    Comm *comm = g->arguments->comm;
    char *gathered = NULL, *next;
    const size_t bytes = g->rank == 0 ? (size_t)g->arguments->count * row_bytes : 0;
    Status allocated = g->rank == 0 ? ALLOCATE(&gathered, (long long)bytes) : STATUS_OK;
    TRY(comm_agree(comm, allocated));
    TRY(comm_gather(comm, mine, (size_t)g->mine_count * row_bytes, gathered, bytes));
    next = gathered;
    for (int rank = 0; g->rank == 0 && rank < g->ranks; rank++)
        for (int64_t u = rank; u < g->unit_count; u += g->ranks) {
            const size_t unit_bytes = (size_t)g->units[u].count * row_bytes;
            memcpy((char *)all + (size_t)g->units[u].first * row_bytes, next, unit_bytes);
            next += unit_bytes;
        }
done:
    free(gathered);
    return status;
}

/* Rank 0. particles: (N), NULL unless the sampler has them. */
static void fill_starts(const Generation *g, const ParticleStatistics *particles) {
    const GenerateArguments *a = g->arguments;
    for (int64_t i = 0; a->x_start && i < a->count; i++)
        draw_start(a->seeds[i], particles ? particles[i].ancestor : a->rng_samples[i], g->pixels,
                   a->x_start + i * g->pixels);
}

Status generate_samples(const GenerateArguments *arguments) {
    Status status = STATUS_OK;
    const Denoiser *denoiser = arguments->denoiser;
    ParticleStatistics *particles = NULL;
    Generation g = {
        .arguments = arguments,
        .backend = denoiser->backend,
        .batch = denoiser->batch,
        .pixels = denoiser->height * denoiser->width,
        .rank = comm_rank(arguments->comm),
        .ranks = comm_size(arguments->comm),
    };
    Status mine = generate_mine(&g);
    if (mine == STATUS_OK && g.rank == 0 && is_particle_sampler(&g))
        mine = ALLOCATE(&particles, arguments->count);
    TRY(comm_agree(arguments->comm, mine));
    TRY(gather_rows(&g, g.mine, (size_t)g.pixels * sizeof *g.mine, arguments->samples));
    if (is_particle_sampler(&g))
        TRY(gather_rows(&g, g.mine_particles, sizeof *particles, particles));
    if (g.rank == 0)
        fill_starts(&g, particles);
    if (particles && arguments->particles)
        memcpy(arguments->particles, particles, (size_t)arguments->count * sizeof *particles);
done:
    release_generation(&g);
    free(particles);
    return status;
}
