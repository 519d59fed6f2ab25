#include "commands/generation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "diffusion/network_denoiser.h"
#include "model/weights.h"
#include "training/trainer.h"

/* Rank 0: the checked parameters, in the order of the network's graph. */
static Status take_parameters(Session *session, const Checkpoint *checkpoint, TrainedModel *model) {
    Status status = STATUS_OK;
    const Config *config = &session->arguments.config;
    UnetOptions options = unet_options(config, 1, checkpoint->height, checkpoint->width);
    bool ema = strcmp(config->sample_weights, "ema") == 0;
    Graph *graph = NULL;
    TRY(graph_create(&graph));
    TRY(unet_build_trainable(graph, &options));
    TRY(weights_check(graph, checkpoint, model->path));
    model->parameter_count = graph->parameter_elements;
    TRY(ALLOCATE(&model->parameters, graph->parameter_elements));
    weights_copy(graph, checkpoint, ema ? checkpoint->ema : checkpoint->parameters, model->parameters);
done:
    graph_destroy(graph);
    return status;
}

static Status load_on_root(Session *session, TrainedModel *model) {
    Status status = STATUS_OK;
    Checkpoint checkpoint = {0};
    TRY(checkpoint_read(session->arguments.checkpoint, &checkpoint, model->path));
    TRY(session_take_configuration(session, &checkpoint, model->path));
    model->step = checkpoint.step;
    model->height = checkpoint.height;
    model->width = checkpoint.width;
    snprintf(model->checksum, sizeof model->checksum, "%016llx",
             (unsigned long long)checkpoint_parameters_checksum(&checkpoint));
    TRY(take_parameters(session, &checkpoint, model));
done:
    checkpoint_release(&checkpoint);
    return status;
}

Status trained_model_load(Session *session, TrainedModel *model) {
    Status status = STATUS_OK;
    float *parameters;
    *model = (TrainedModel){0};
    if (session->root)
        status = load_on_root(session, model);
    TRY(comm_agree(session->comm, status));
    TRY(comm_broadcast(session->comm, &session->arguments.config, sizeof session->arguments.config, 0));
    parameters = model->parameters;
    TRY(comm_broadcast(session->comm, model, sizeof *model, 0));
    model->parameters = session->root ? parameters : NULL;
    if (!session->root)
        TRY(ALLOCATE(&model->parameters, model->parameter_count));
    TRY(comm_broadcast(session->comm, model->parameters, (size_t)model->parameter_count * sizeof(float), 0));
    log_info("checkpoint %s: step %lld, %s weights, %lldx%lld images", model->path, (long long)model->step,
             session->arguments.config.sample_weights, (long long)model->height, (long long)model->width);
done:
    return status;
}

void trained_model_release(TrainedModel *model) {
    free(model->parameters);
    *model = (TrainedModel){0};
}

/* Settings that make no schedule are one error of all ranks. */
static Status create_schedule(Generator *generator) {
    const Config *config = &generator->session->arguments.config;
    return comm_agree(generator->session->comm,
                      schedule_create(config->diffusion_schedule, config->diffusion_steps,
                                      config->diffusion_beta_start, config->diffusion_beta_end,
                                      &generator->schedule));
}

Status generator_create(Generator *generator, Session *session, int64_t height, int64_t width,
                        const float *parameters, bool vjp) {
    Status status = STATUS_OK;
    const Config *config = &session->arguments.config;
    NetworkOptions options = {
        .unet = unet_options(config, trainer_shard(config, comm_size(session->comm)), height, width),
        .backend = session->backend,
        .workers = session->threads,
        .gradients = vjp ? NETWORK_INPUT_GRADIENT : NETWORK_FORWARD,
        .record = config->train_record_step,
        .side_stream = config->train_side_stream,
    };
    *generator = (Generator){.session = session, .height = height, .width = width};
    TRY(create_schedule(generator));
    TRY(network_create(&generator->network, &options));
    size_t bytes = (size_t)generator->network->graph->parameter_elements * sizeof(float);
    TRY(session->backend->allocate((void **)&generator->parameters, bytes));
    TRY(session->backend->copy_in(generator->parameters, parameters, bytes));
    TRY(network_load(generator->network, generator->parameters, session->threads));
    generator->denoiser = network_denoiser(generator->network);
done:
    if (status != STATUS_OK)
        generator_release(generator);
    return status;
}

Status generator_create_prior(Generator *generator, Session *session, const Prior *prior) {
    Status status = STATUS_OK;
    const Config *config = &session->arguments.config;
    *generator = (Generator){
        .session = session, .height = prior_height(prior), .width = prior_width(prior), .prior = prior};
    TRY(create_schedule(generator));
    TRY(prior_denoiser_create(prior, generator->schedule, session->backend,
                              trainer_shard(config, comm_size(session->comm)), session->threads,
                              &generator->denoiser));
done:
    if (status != STATUS_OK)
        generator_release(generator);
    return status;
}

void generator_release(Generator *generator) {
    if (generator->prior)
        prior_denoiser_release(&generator->denoiser);
    exact_draws_release(&generator->exact);
    if (generator->session && generator->parameters)
        generator->session->backend->release(generator->parameters);
    network_destroy(generator->network);
    schedule_destroy(generator->schedule);
    *generator = (Generator){0};
}

SamplerOptions sampler_options(const Config *config) {
    int64_t particles = config->posterior_particles, draws = config->posterior_draws_per_run;
    return (SamplerOptions){
        .sigma_y = config->posterior_sigma_y,
        .lambda_max = config->posterior_lambda_max,
        .lambda_min = config->posterior_lambda_min,
        .power = config->posterior_power,
        .c = config->posterior_c,
        .max_gain = config->posterior_max_gain,
        .jumps = config->posterior_jumps,
        .zeta = config->posterior_zeta,
        .calibrated_v = config->posterior_calibrated_v,
        .pigdm_v = config->posterior_pigdm_v,
        .tds_v = config->posterior_tds_v,
        .particles = particles,
        .draws_per_run = draws < particles ? draws : particles,
    };
}

void sampler_print_options(const Config *config, const Sampler *sampler) {
    char text[512] = "", key[64], value[CONFIG_VALUE_SIZE];
    size_t used = 0;
    for (const char *name = sampler->options; name && *name; name += strspn(name, " ")) {
        int length = (int)strcspn(name, " ");
        snprintf(key, sizeof key, "posterior.%.*s", length, name);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%.*s %s", used ? ", " : "", length, name,
                                 config_value_json(config, config_find(key), value));
        name += length;
    }
    if (used > 0)
        log_info("%s: %s", sampler->name, text);
}

typedef struct DrawProgress {
    const GeneratorRequest *request;
    double start;
} DrawProgress;

static void tell_progress(void *context, int64_t done, int64_t total) {
    const DrawProgress *progress = context;
    char text[32];
    double elapsed = clock_seconds() - progress->start, share = (double)done / (double)total;
    if (!progress->request->quiet && done < total)
        log_progress(false, "%s: %3.0f %% of %lld image%s, %s left", progress->request->sampler, 100 * share,
                     (long long)progress->request->count, log_plural(progress->request->count),
                     log_duration(done > 0 ? elapsed * (1 - share) / share : -1, text));
    if (progress->request->progress)
        progress->request->progress(progress->request->progress_context, done, total);
}

/* seeds, rng_samples and observations of draws that all see one observation: owned by the caller. */
typedef struct DrawLists {
    uint64_t *seeds;
    uint32_t *rng_samples;
    const Observation **observations;
} DrawLists;

static Status fill_lists(const GeneratorRequest *request, DrawLists *lists) {
    Status status = STATUS_OK;
    TRY(ALLOCATE(&lists->seeds, request->count));
    TRY(ALLOCATE(&lists->rng_samples, request->count));
    TRY(ALLOCATE(&lists->observations, request->count));
    for (int64_t i = 0; i < request->count; i++) {
        lists->seeds[i] = request->seed;
        lists->rng_samples[i] = (uint32_t)i;
        lists->observations[i] = request->observation;
    }
done:
    return status;
}

static void print_gain(const GeneratorRequest *request, const SamplerPlan *plan) {
    char capped[96] = "";
    if (request->quiet || !(plan->max_gain > 0))
        return;
    if (plan->capped_steps > 0)
        snprintf(capped, sizeof capped, "; posterior.max_gain lowered it in %lld of %lld steps",
                 (long long)plan->capped_steps, (long long)plan->count);
    log_info("%s: largest guidance gain %.3g, at t = %lld%s", request->sampler, plan->max_gain,
             (long long)plan->max_gain_t, capped);
}

static void print_particles(const GeneratorRequest *request, const SamplerPlan *plan,
                            const ParticleStatistics *draws) {
    ParticleSummary mean = particles_summarise(draws, request->count);
    log_info("%s: of %lld particles a run had an effective size of %.3g at least and %.3g in the end, which "
             "descend from %.3g of its starts (means over draws; %lld draws a run)",
             request->sampler, (long long)plan->options.particles, mean.least_effective, mean.last_effective,
             mean.unique_ancestors, (long long)plan->options.draws_per_run);
}

static Status run_plan(Generator *generator, const GeneratorRequest *request, GenerateArguments *arguments) {
    Status status = STATUS_OK;
    SamplerPlan *plan = NULL;
    ParticleStatistics *particles = NULL;
    char text[32];
    double start = clock_seconds();
    const bool root = comm_rank(arguments->comm) == 0;
    TRY(sampler_plan_create(request->sampler, generator->schedule, &request->options, &plan));
    if (!request->quiet)
        sampler_print_options(&generator->session->arguments.config, plan->sampler);
    print_gain(request, plan);
    if (request->max_gain)
        *request->max_gain = plan->max_gain;
    arguments->plan = plan;
    if (plan->sampler->particles && root)
        TRY(ALLOCATE(&particles, request->count));
    arguments->particles = particles;
    TRY(generate_samples(arguments));
    if (particles && request->particles)
        memcpy(request->particles, particles, (size_t)request->count * sizeof *particles);
    if (particles && !request->quiet)
        print_particles(request, plan, particles);
    double seconds = clock_seconds() - start;
    if (!request->quiet)
        log_progress(true, "%s: %lld image%s, %lld steps each, in %s (%.1f images/s)", request->sampler,
                     (long long)request->count, log_plural(request->count), (long long)plan->count,
                     log_duration(seconds, text), (double)request->count / seconds);
done:
    sampler_plan_destroy(plan);
    free(particles);
    return status;
}

Status generator_draw(Generator *generator, const GeneratorRequest *request) {
    Status status = STATUS_OK;
    DrawLists lists = {0};
    DrawProgress progress = {request, clock_seconds()};
    bool listed = request->seeds != NULL, observed = request->observation || request->observations;
    if (!listed)
        TRY(fill_lists(request, &lists));
    GenerateArguments arguments = {
        .comm = request->comm ? request->comm : generator->session->comm,
        .denoiser = &generator->denoiser,
        .count = request->count,
        .seeds = listed ? request->seeds : lists.seeds,
        .rng_samples = listed ? request->rng_samples : lists.rng_samples,
        .observations = !observed ? NULL
                        : listed  ? request->observations
                                  : lists.observations,
        .x_start = request->x_start,
        .samples = request->samples,
        .progress = tell_progress,
        .progress_context = &progress,
        .stop = request->stop ? request->stop : interrupt_flag(),
    };
    if (strcmp(request->sampler, EXACT_SAMPLER) == 0)
        TRY(exact_draws(&generator->exact, generator->prior, request->options.sigma_y, &arguments));
    else
        TRY(run_plan(generator, request, &arguments));
done:
    free(lists.seeds);
    free(lists.rng_samples);
    free(lists.observations);
    return status;
}
