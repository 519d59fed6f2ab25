/* ddpm_mpi sweep: ensembles over a grid of masks, images and samplers, spread over the ranks. */
#include "commands/sweep.h"

#include <math.h>
#include <stdlib.h>

#include "commands/commands.h"
#include "core/interrupt.h"
#include "core/log.h"

/* Before the run's directory is touched: everything that can be wrong with the input. Collective. */
static Status prepare(SweepRun *run) {
    Status status = STATUS_OK;
    Session *session = run->session;
    Config *config = &session->arguments.config;
    if (!config_was_set(config, "posterior.observation_noise"))
        config->posterior_observation_noise = true; /* calibration is of truths observed with noise */
    TRY(sweep_find_earlier(run));
    status = source_check(session);
    if (status != STATUS_OK && session->arguments.run && !session->arguments.checkpoint)
        status_context(status, "%s/%s: no sweep to continue there", session->arguments.outputs,
                       session->arguments.run);
    TRY(status);
    TRY(source_load(session, &run->source));
    const TruthChoice choice = {
        .images = &config->sweep_images,
        .label = config->sweep_class,
        .images_key = "sweep.images",
        .label_key = "sweep.class",
    };
    TRY(truths_find(session, &run->source, &choice, &run->truths));
    TRY(source_reader(session, &run->source, &run->reader, &run->reader_owned));
    status = sweep_grid_create(run);
    TRY(comm_agree(session->comm, status));
done:
    return status;
}

static void announce(const SweepRun *run) {
    const SweepGrid *grid = &run->grid;
    const Config *config = &run->session->arguments.config;
    log_info("run %s", run->session->run.path);
    log_info(
        "grid %s: %lld mask seed%s x %lld fraction%s x %lld image%s x %lld sampler%s = %lld unit%s of %lld "
        "draw%s",
        run->origin.grid_hash, (long long)grid->mask_seeds, log_plural(grid->mask_seeds),
        (long long)grid->fractions, log_plural(grid->fractions), (long long)grid->images,
        log_plural(grid->images), (long long)grid->samplers, log_plural(grid->samplers),
        (long long)grid->units, log_plural(grid->units), (long long)run->shape.draws,
        log_plural(run->shape.draws));
    log_info("observations: sigma_y %g, %s", config->posterior_sigma_y,
             config->posterior_observation_noise ? "noise added" : "no noise added");
    for (int64_t i = 0; i < grid->samplers; i++) {
        const SweepSampler *sampler = &grid->sampler[i];
        if (sampler->entry)
            sampler_print_options(config, sampler->entry);
        if (sampler->max_gain > 0)
            log_info("%s: largest guidance gain %.3g, at t = %lld", sampler->name, sampler->max_gain,
                     (long long)sampler->max_gain_t);
    }
    if (run->shape.draws < 2)
        log_info("one draw a unit: no spread, coverage, CRPS or energy score, which take at least 2 "
                 "(sweep.draws)");
    if (run->unfinished_count < grid->units)
        log_info("resumed: %lld of %lld units done, %lld left",
                 (long long)(grid->units - run->unfinished_count), (long long)grid->units,
                 (long long)run->unfinished_count);
}

static void announce_memory(const SweepRun *run) {
    const Generator *generator = &run->generator;
    double model = generator->network ? (double)network_bytes(generator->network)
                                      : (double)prior_denoiser_bytes(&generator->denoiser);
    if (run->reader)
        model += (double)prior_bytes(run->reader);
    char model_text[32], group_text[32], unit_text[32];
    log_info("memory of a rank, whatever the size of the grid: %s for network and prior, %s to draw %lld "
             "unit%s at "
             "a time; on the disk %s a unit",
             log_bytes(model, model_text), log_bytes((double)sweep_group_bytes(run), group_text),
             (long long)run->group, log_plural(run->group),
             log_bytes((double)sweep_unit_bytes(&run->shape), unit_text));
}

static void announce_rate(const SweepRun *run) {
    char text[32];
    double images = (double)(run->unfinished_count * run->shape.draws);
    log_progress(true, "sweep: %lld unit%s in %s (%.4g images/s)", (long long)run->unfinished_count,
                 log_plural(run->unfinished_count), log_duration(run->seconds, text),
                 images / fmax(run->seconds, 1e-9));
}

/* Collective. */
static Status create_generator(SweepRun *run) {
    bool jacobian = false;
    for (int64_t i = 0; i < run->grid.samplers; i++) {
        const Sampler *sampler = run->grid.sampler[i].entry;
        jacobian = jacobian || (sampler && sampler->jacobian);
    }
    return comm_agree(run->session->comm,
                      source_generator(&run->source, run->session, jacobian, &run->generator));
}

/* All ranks' shares; the same outcome on all. Collective. */
static Status work(SweepRun *run) {
    Status status = STATUS_OK;
    Session *session = run->session;
    int64_t interrupted;
    run->group = sweep_group_cells(run);
    announce_memory(run);
    sweep_share(run);
    status = sweep_progress_start(run);
    TRY(comm_agree(session->comm, status));
    TRY(sweep_progress_report(run, RUN_RUNNING, ""));
    status = sweep_work(run);
    if (status != STATUS_OK)
        sweep_stop_others(run);
    status = sweep_wait_for_others(run, status);
    TRY(comm_agree(session->comm, status));
    TRY(comm_allreduce_f64(session->comm, &run->seconds, 1, COMM_MAX));
    interrupted = interrupt_received() && run->progress.stop;
    TRY(comm_allreduce_i64(session->comm, &interrupted, 1, COMM_MAX));
    if (interrupted)
        FAIL(STATUS_INTERRUPTED, "stopped by signal; the finished units are kept");
    if (run->unfinished_count > 0)
        announce_rate(run);
done:
    return status;
}

static Status write_metrics(const SweepRun *run) {
    Status status = STATUS_OK;
    const Session *session = run->session;
    char path[FILE_PATH_BYTES];
    double images = (double)(run->unfinished_count * run->shape.draws), seconds = run->seconds;
    const NamedValue values[] = {
        value_integer("units", run->grid.units),
        value_integer("units_this_session", run->unfinished_count),
        value_integer("draws_per_unit", run->shape.draws),
        value_number("seconds", seconds),
        value_number("images_per_second", seconds > 0 ? images / seconds : NAN),
        value_text("device", session->backend->description),
        value_integer("ranks", comm_size(session->comm)),
        value_integer("threads", session->threads),
        value_text("grid_hash", run->origin.grid_hash),
        value_text("checkpoint", run->source.model.path),
        value_text("checkpoint_checksum", run->source.model.checksum),
        value_json("provenance", run->provenance),
    };
    TRY(session_path(session, "metrics.json", path));
    TRY(metrics_write(path, (int)(sizeof values / sizeof *values), values));
done:
    return status;
}

/* From all parts to the products; what a killed session left undone here is done again. Collective. */
static Status finish(SweepRun *run, bool merged) {
    Status status = STATUS_OK;
    Session *session = run->session;
    if (session->root) {
        if (!merged)
            status = sweep_merge(run);
        if (status == STATUS_OK)
            status = sweep_summarise(run, true);
        if (status == STATUS_OK)
            status = write_metrics(run);
        if (status == STATUS_OK)
            status = sweep_progress_report(run, RUN_COMPLETED, "");
        if (status == STATUS_OK) /* last: the products before it are made from sweep.h5 and the parts */
            status = sweep_parts_remove(session->run.path);
    }
    TRY(comm_agree(session->comm, status));
    log_info("wrote %s/" SWEEP_FILE_NAME ", summary.csv, figures/sweep_metrics.png and others",
             session->run.path);
done:
    return status;
}

/* sweep.h5 is there: only what comes after it can be missing. Collective. */
static Status finish_again(SweepRun *run) {
    Status status = STATUS_OK;
    Session *session = run->session;
    RunStatus earlier;
    int64_t completed = 0;
    if (session->root)
        completed = status_read(session->run.path, &earlier) == STATUS_OK && earlier.state == RUN_COMPLETED;
    TRY(comm_broadcast(session->comm, &completed, sizeof completed, 0));
    if (!completed) {
        status = sweep_progress_start(run); /* of no units: those of before do not count for the rate */
        TRY(comm_agree(session->comm, status));
        TRY(finish(run, true));
        goto done;
    }
    if (session->root) { /* which also shows damage */
        status = sweep_summarise(run, false);
        if (status == STATUS_OK)
            status = sweep_parts_remove(session->run.path);
        if (status == STATUS_OK) /* this run is the latest now */
            session_update_dashboard(session);
    }
    TRY(comm_agree(session->comm, status));
    log_info("run %s has finished already: %lld unit%s in " SWEEP_FILE_NAME
             "; tables and charts were made from it again",
             session->run.name, (long long)run->grid.units, log_plural(run->grid.units));
done:
    return status;
}

static Status report_failure(SweepRun *run, Status failure) {
    char message[1024];
    snprintf(message, sizeof message, "%s", status_message());
    /* a second failure while reporting must not hide the first */
    (void)sweep_progress_report(run, failure == STATUS_INTERRUPTED ? RUN_INTERRUPTED : RUN_FAILED, message);
    if (failure == STATUS_INTERRUPTED)
        log_info("%s: %lld of %lld; the same command with --run %s continues", message,
                 (long long)run->progress.units_done, (long long)run->grid.units, run->session->run.name);
    return status_error(failure, "%s", message);
}

static void release(SweepRun *run) {
    sweep_progress_release(&run->progress);
    generator_release(&run->generator);
    truths_release(&run->truths);
    if (run->reader_owned)
        prior_destroy(run->reader);
    source_release(&run->source);
    free(run->unfinished);
    free(run->provenance);
}

static Status run_sweep(Session *session) {
    Status status = STATUS_OK;
    bool opened = false;
    SweepRun *run = NULL;
    session_announce(session);
    TRY(ALLOCATE(&run, 1));
    run->session = session;
    TRY(prepare(run));
    TRY(sweep_open(run));
    opened = !run->complete;
    if (!run->complete)
        TRY(create_generator(run));
    /* before the work: it warns of unlike ranks */
    TRY(session_provenance(session, run->generator.network, &run->provenance));
    if (run->complete) {
        TRY(finish_again(run));
        goto done;
    }
    TRY(sweep_find_unfinished(run));
    announce(run);
    sweep_warn_of_unused(&session->arguments.config);
    TRY(work(run));
    TRY(finish(run, false));
done:
    if (opened && status != STATUS_OK)
        status = report_failure(run, status);
    if (run)
        release(run);
    free(run);
    return status;
}

static const ArgumentOption sweep_options[] = {
    {"--fractions", "sweep.fractions", "F,...", "observed fractions of the pixels"},
    {"--mask-seeds", "sweep.mask_seeds", "N|M,M,...", "seeds of the masks: 0 to N-1, or these; [M] for one"},
    {"--images", "sweep.images", "N|I,I,...", "images of the test split, or draws of the prior, likewise"},
    {"--class", "sweep.class", "C", "count images of this class only; -1: all"},
    {"--samplers", "sweep.samplers", "NAME,...", "samplers to compare, as posterior --sampler names them"},
    {"--draws", "sweep.draws", "N", "posterior draws of each unit"},
    {"--prior", "prior.name", "NAME", "draw from an exact prior instead of a checkpoint's network"},
    {"--weights", "sample.weights", "ema|raw", "averaged or trained parameters"},
    {"--seed", "seed", "S", "seed of every random number"},
    {"--threads", "threads", "N", "threads per rank"},
    {NULL, NULL, NULL, NULL},
};

const Command command_sweep = {
    .description =
        {
            .name = "sweep",
            .summary = "measure posterior ensembles over masks, images and samplers; resumes its run",
            .options = sweep_options,
            .flags = ARGUMENT_RESUME_RUN | ARGUMENT_CHECKPOINT_OPTIONAL | ARGUMENT_PRIOR,
            .key_groups = "data prior diffusion posterior sweep",
            .example = "mpirun -n 4 ddpm_mpi sweep --checkpoint outputs/first --fractions 0.05,0.2,0.7 "
                       "--images 20 --samplers guided_calibrated,dps_plus",
        },
    .run = run_sweep,
    .stops = true,
};
