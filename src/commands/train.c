/* ddpm_mpi train: orchestration of one run, from arguments to the last checkpoint. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/commands.h"
#include "commands/generation.h"
#include "commands/train_report.h"
#include "core/clock.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "io/figures.h"
#include "io/schematic.h"
#include "model/describe.h"
#include "training/checkpointer.h"

typedef struct TrainRun {
    Session *session;
    Trainer *trainer;
    Checkpointer checkpointer;
    TrainReport report;
    char *provenance;
    double last_checkpoint_seconds;
    char last_checkpoint[FILE_PATH_BYTES]; /* "": none yet */
} TrainRun;

/* Rank 0: settings that must stay as they were are compared, the others' changes printed. */
static Status compare_configuration(const Session *session, const Checkpoint *checkpoint, const char *path) {
    Status status = STATUS_OK;
    Config stored;
    char text[1024];
    config_defaults(&stored);
    TRY(config_from_json(&stored, checkpoint->config_json, path));
    TRY(trainer_choose_sums(&stored, session->backend)); /* a file from before there was a choice */
    if (config_difference(&stored, &session->arguments.config, CONFIG_RESUME_EQUAL | CONFIG_CHECKPOINT, text,
                          sizeof text) > 0)
        FAIL(STATUS_BAD_INPUT,
             "%s: cannot resume with other settings: %s; keep them, or start another run with --run", path,
             text);
    if (config_difference(&stored, &session->arguments.config, CONFIG_FREE, text, sizeof text) > 0)
        log_info("resuming with changed settings: %s", text);
done:
    return status;
}

/* Rank 0: --resume FILE begins a run. One that has checkpoints of its own goes on from them, whatever has
 * become of FILE: the same command, started again by hand or by a scheduler, must not begin again. A run does
 * not go back to an earlier own checkpoint: what came after it would be lost from the run. */
static Status choose_file_or_own(const Session *session, const char *resume, Checkpoint *checkpoint,
                                 char path[FILE_PATH_BYTES]) {
    Status status = STATUS_OK;
    bool found;
    TRY(checkpoint_read_newest(session->run.path, checkpoint, path, &found));
    if (!found) {
        if (!file_exists(resume))
            FAIL(STATUS_BAD_INPUT, "--resume: expected auto, never or a checkpoint, found no file %s",
                 resume);
        TRY(checkpoint_read(resume, checkpoint, path));
    } else if (file_is_beside(resume, path) && !file_is_same(resume, path)) {
        FAIL(STATUS_BAD_INPUT,
             "%s: --resume: this run has gone on to step %lld; to begin at an earlier step, give another "
             "run's name with --run",
             resume, (long long)checkpoint->step);
    } else if (!file_is_same(resume, path)) {
        log_warning(
            "--resume %s is not read again: this run has checkpoints of its own, the newest of step %lld",
            resume, (long long)checkpoint->step);
    }
done:
    if (status != STATUS_OK)
        checkpoint_release(checkpoint);
    return status;
}

/* Rank 0: finds what to resume from; *found is false for a fresh start. */
static Status find_checkpoint(const Session *session, Checkpoint *checkpoint, char path[FILE_PATH_BYTES],
                              bool *found) {
    Status status = STATUS_OK;
    const char *resume = session->arguments.resume;
    *found = false;
    if (strcmp(resume, "never") == 0) {
        if (run_directory_is_used(&session->run))
            FAIL(STATUS_BAD_INPUT, "%s: --resume never, but this run has files already; choose another --run",
                 session->run.path);
    } else if (strcmp(resume, "auto") == 0) {
        TRY(checkpoint_read_newest(session->run.path, checkpoint, path, found));
    } else {
        TRY(choose_file_or_own(session, resume, checkpoint, path));
        *found = true;
    }
    if (*found)
        TRY(compare_configuration(session, checkpoint, path));
done:
    return status;
}

/* Collective. */
static Status resume(TrainRun *run) {
    Status status = STATUS_OK;
    Session *session = run->session;
    Checkpoint checkpoint = {0};
    char path[FILE_PATH_BYTES] = "";
    bool found = false;
    if (session->root)
        status = find_checkpoint(session, &checkpoint, path, &found);
    TRY(comm_agree(session->comm, status));
    TRY(comm_broadcast(session->comm, &found, sizeof found, 0));
    if (!found)
        goto done;
    TRY(trainer_restore(run->trainer, session->root ? &checkpoint : NULL, path));
    log_info("resumed from %s: %lld steps, %lld whole epochs done", path,
             (long long)run->trainer->progress.step, (long long)run->trainer->progress.epoch);
    snprintf(run->last_checkpoint, sizeof run->last_checkpoint, "%s", path);
    if (session->root && !trainer_is_finished(run->trainer))
        session_compare_provenance(session, run->trainer->network, checkpoint.provenance_json, path);
done:
    checkpoint_release(&checkpoint);
    return status;
}

static const char *describe_sums(const Trainer *trainer) {
    static char text[512];
    if (!trainer->shards.gradient)
        return "sums in fixed point: the same bits on any number of ranks and threads";
    snprintf(text, sizeof text,
             "one shard per rank, sums in %s: the fastest; other numbers of ranks differ by rounding (a "
             "train.shard of its own gives the same bits)",
             trainer->config.train_gradient_sum);
    return text;
}

static void announce(const TrainRun *run) {
    const Trainer *trainer = run->trainer;
    const Config *config = &trainer->config;
    const Schedule *schedule = trainer->schedule;
    log_info("run %s", run->session->run.path);
    log_info("data: %lld training images of %lldx%lld from %s, %lld for validation",
             (long long)trainer->train.count, (long long)trainer->train.height,
             (long long)trainer->train.width, config->data_dir, (long long)trainer->validation_count);
    log_info("network: %lld parameters, %.0f MB on this rank",
             (long long)trainer->network->graph->parameter_elements, (double)trainer_bytes(trainer) / 1e6);
    log_info("diffusion: %s, T = %lld, sqrt(alpha_bar) of the last step = %.4f", config->diffusion_schedule,
             (long long)schedule->steps, schedule->sqrt_alpha_bar[schedule->steps - 1]);
    log_info("training: %lld steps in %lld epochs, global batch %lld in shards of %lld, %s, %s",
             (long long)trainer->total_steps,
             (long long)((trainer->total_steps + trainer->steps_per_epoch - 1) / trainer->steps_per_epoch),
             (long long)config->train_batch, (long long)trainer->shards.samples, config->train_precision,
             describe_sums(trainer));
}

static Status write_schematic(const TrainRun *run) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES], *dot = NULL;
    if (!run->session->root)
        return STATUS_OK;
    TRY(session_path(run->session, "figures/unet.svg", path));
    TRY(describe_dot(run->trainer->network->graph, &dot));
    TRY(schematic_write(dot, path));
done:
    free(dot);
    return status;
}

static Status start_checkpoint(TrainRun *run) {
    Status status = STATUS_OK;
    run->last_checkpoint_seconds = clock_seconds();
    snprintf(run->last_checkpoint, sizeof run->last_checkpoint, "%s/checkpoints/step-%09lld.h5",
             run->session->run.path, (long long)run->trainer->progress.step);
    if (!run->session->root)
        return STATUS_OK;
    TRY(train_report_flush(&run->report));
    TRY(checkpointer_start(&run->checkpointer, run->trainer));
done:
    return status;
}

/* Draws sample.count images with the averaged parameters. Collective. */
static Status draw_samples(TrainRun *run) {
    Status status = STATUS_OK;
    Session *session = run->session;
    const Trainer *trainer = run->trainer;
    const Config *config = &trainer->config;
    Generator generator = {0};
    float *images = NULL, *parameters = NULL;
    char path[FILE_PATH_BYTES], title[320];
    int64_t pixels = trainer->train.height * trainer->train.width;
    bool ema = strcmp(config->sample_weights, "ema") == 0;
    TRY(ALLOCATE(&parameters, trainer->optimizer.count));
    TRY(session->backend->copy_out(parameters, ema ? trainer->optimizer.ema : trainer->optimizer.parameters,
                                   (size_t)trainer->optimizer.count * sizeof(float)));
    TRY(generator_create(&generator, session, trainer->train.height, trainer->train.width, parameters,
                         false));
    if (session->root)
        TRY(ALLOCATE(&images, config->sample_count * pixels));
    GeneratorRequest request = {
        .sampler = config->sample_sampler,
        .options.steps = config->sample_steps,
        .count = config->sample_count,
        .seed = config->seed,
        .samples = images,
        .progress = train_report_progress,
        .progress_context = &run->report,
    };
    TRY(generator_draw(&generator, &request));
    if (session->root) {
        TRY(session_path(session, "figures/samples.png", path));
        snprintf(title, sizeof title, "%s samples after %lld steps", config->sample_sampler,
                 (long long)trainer->progress.step);
        TRY(figures_samples(path, images, config->sample_count, (int)trainer->train.height,
                            (int)trainer->train.width, title));
    }
done:
    generator_release(&generator);
    free(images);
    free(parameters);
    return status;
}

static Status write_figures(TrainRun *run) {
    Status status = STATUS_OK;
    TRY(train_report_figures(&run->report));
    TRY(draw_samples(run));
    train_report_resume_clock(&run->report);
done:
    return status;
}

static bool checkpoint_is_due(const TrainRun *run) {
    const Config *config = &run->trainer->config;
    int64_t steps = run->trainer->progress.step;
    double minutes = (clock_seconds() - run->last_checkpoint_seconds) / 60;
    return (config->train_checkpoint_every_steps > 0 && steps % config->train_checkpoint_every_steps == 0) ||
           (config->train_checkpoint_every_minutes > 0 && minutes >= config->train_checkpoint_every_minutes);
}

static bool figures_are_due(const TrainRun *run, const TrainerReport *step) {
    int64_t every = run->trainer->config.train_sample_every_epochs;
    return step->epoch_ended && every > 0 && run->trainer->progress.epoch % every == 0 &&
           !trainer_is_finished(run->trainer);
}

/* The same failure on all ranks, with the checkpoint to go back to. */
static Status name_last_checkpoint(const TrainRun *run, Status failure) {
    if (!run->last_checkpoint[0])
        return status_context(failure, "training stopped, there is no checkpoint yet");
    return status_context(failure, "training stopped, the last checkpoint is %s", run->last_checkpoint);
}

/* Reports are collected where the trainer asks for it and before a checkpoint: on all ranks at the same
 * steps, which then stop together. */
static bool must_collect(const Trainer *trainer) {
    int64_t next = trainer->progress.step + trainer->queued,
            every = trainer->config.train_checkpoint_every_steps;
    return trainer_must_collect(trainer) || (every > 0 && next % every == 0);
}

/* Steps until the end or a signal. Collective. */
static Status train(TrainRun *run, bool *interrupted) {
    Status status = STATUS_OK;
    Trainer *trainer = run->trainer;
    TrainerReport steps[TRAINER_QUEUE];
    int64_t count;
    *interrupted = false;
    while (!trainer_is_finished(trainer) && !*interrupted) {
        double validation = NAN;
        status = trainer_queue(trainer, interrupt_received() != 0);
        if (status == STATUS_OK && !must_collect(trainer))
            continue;
        if (status == STATUS_OK)
            status = trainer_collect(trainer, steps, &count);
        if (status != STATUS_OK)
            return name_last_checkpoint(run, status);
        const TrainerReport step = steps[count - 1];
        if (step.epoch_ended || trainer_is_finished(trainer))
            TRY(trainer_validate(trainer, &validation));
        TRY(train_report_steps(&run->report, steps, count, validation));
        for (int64_t i = 0; i < count; i++)
            *interrupted = *interrupted || steps[i].stop;
        /* By time: rank 0 decides alone, since writing is not collective. */
        if (checkpoint_is_due(run) && !trainer_is_finished(trainer))
            TRY(start_checkpoint(run));
        if (figures_are_due(run, &step) && !*interrupted) {
            status = write_figures(run);
            if (status == STATUS_INTERRUPTED) { /* by all ranks: the figure can wait, the checkpoint cannot */
                *interrupted = true;
                status = STATUS_OK;
            }
            TRY(status);
        }
    }
done:
    return status;
}

static Status finish(TrainRun *run, bool interrupted) {
    Status status = STATUS_OK;
    const TrainerProgress *progress = &run->trainer->progress;
    TRY(start_checkpoint(run));
    if (run->session->root)
        TRY(checkpointer_wait(&run->checkpointer));
    if (interrupted)
        TRY(train_report_figures(&run->report));
    else
        status = write_figures(run);
    if (interrupted || status == STATUS_INTERRUPTED) {
        char message[96];
        snprintf(message, sizeof message, "stopped by signal after step %lld%s", (long long)progress->step,
                 interrupted ? "" : ", before its figures were drawn");
        TRY(train_report_close(&run->report, RUN_INTERRUPTED, message));
        log_info("%s; checkpoint written; the same command with --run %s continues", message,
                 run->session->run.name);
        return status_error(STATUS_INTERRUPTED, "%s", message);
    }
    TRY(status);
    TRY(train_report_close(&run->report, RUN_COMPLETED, NULL));
    log_info("done: %lld steps; %s", (long long)progress->step, run->session->run.path);
done:
    return status;
}

static Status print_checksum(const TrainRun *run) {
    Status status = STATUS_OK;
    Checkpoint snapshot = {0};
    if (!run->session->root)
        return STATUS_OK;
    TRY(trainer_snapshot(run->trainer, run->provenance, &snapshot));
    log_info("parameters' checksum %016llx%s", (unsigned long long)checkpoint_parameters_checksum(&snapshot),
             run->trainer->shards.gradient ? "" : " (equal on any number of ranks and threads)");
done:
    checkpoint_release(&snapshot);
    return status;
}

/* What the figures of the end need, before hours of training. */
static Status check_samples(const Trainer *trainer, bool root) {
    Status status = STATUS_OK;
    const Config *config = &trainer->config;
    const SamplerOptions options = {.steps = config->sample_steps};
    SamplerPlan *plan = NULL;
    float *images = NULL;
    TRY(sampler_plan_create(config->sample_sampler, trainer->schedule, &options, &plan));
    if (root &&
        ALLOCATE(&images, config->sample_count * trainer->train.height * trainer->train.width) != STATUS_OK)
        status = status_context(STATUS_FAILURE, "sample.count %lld", (long long)config->sample_count);
done:
    sampler_plan_destroy(plan);
    free(images);
    return status;
}

static Status prepare(TrainRun *run) {
    Status status = STATUS_OK;
    Session *session = run->session;
    TRY(trainer_create(&run->trainer, &session->arguments.config, session->comm, session->backend,
                       session->threads));
    TRY(comm_agree(session->comm, check_samples(run->trainer, session->root)));
    TRY(session_open_run(session, true));
    TRY(session_provenance(session, run->trainer->network, &run->provenance));
    TRY(resume(run));
    announce(run);
    TRY(session_begin_run(session));
    TRY(session_write_config(session));
    TRY(write_schematic(run));
    run->checkpointer = (Checkpointer){
        .run_directory = session->run.path,
        .provenance_json = run->provenance,
        .keep = (int)session->arguments.config.train_checkpoint_keep,
    };
    run->last_checkpoint_seconds = clock_seconds();
done:
    return status;
}

/* Trained to its last step, and its figures and metrics were written after it. Collective. */
static Status is_complete(const TrainRun *run, bool *complete) {
    RunStatus earlier;
    *complete = run->session->root && trainer_is_finished(run->trainer) &&
                status_read(run->session->run.path, &earlier) == STATUS_OK &&
                earlier.state == RUN_COMPLETED && earlier.step == run->trainer->progress.step;
    return comm_broadcast(run->session->comm, complete, sizeof *complete, 0);
}

static Status run_train(Session *session) {
    Status status = STATUS_OK;
    TrainRun run = {.session = session};
    bool interrupted, complete;
    session_announce(session);
    TRY(prepare(&run));
    TRY(is_complete(&run, &complete));
    if (complete) {
        log_info(
            "run %s has finished already: %lld of %lld steps; raise train.epochs or train.max_steps to go on",
            session->run.name, (long long)run.trainer->progress.step, (long long)run.trainer->total_steps);
        if (session->root) /* this run is the latest now: the page must show it */
            session_update_dashboard(session);
        goto done;
    }
    TRY(train_report_open(&run.report, session, run.trainer));
    TRY(train(&run, &interrupted));
    TRY(print_checksum(&run));
    TRY(finish(&run, interrupted));
done:
    if (status != STATUS_OK) {
        char message[1024];
        snprintf(message, sizeof message, "%s", status_message());
        /* the first failure is the one to tell */
        (void)train_report_close(&run.report, status == STATUS_INTERRUPTED ? RUN_INTERRUPTED : RUN_FAILED,
                                 message);
        (void)checkpointer_wait(&run.checkpointer);
        status_error(status, "%s", message);
    }
    trainer_destroy(run.trainer);
    free(run.provenance);
    return status;
}

static const ArgumentOption train_options[] = {
    {"--epochs", "train.epochs", "N", "passes over the training images"},
    {"--max-steps", "train.max_steps", "N", "stop after N steps"},
    {"--batch", "train.batch", "N", "global batch"},
    {"--lr", "train.lr", "R", "learning rate"},
    {"--seed", "seed", "S", "seed of every random number"},
    {"--threads", "threads", "N", "threads per rank"},
    {NULL, NULL, NULL, NULL},
};

const Command command_train = {
    .description =
        {
            .name = "train",
            .summary = "train the denoiser, data-parallel over the ranks; resumes its run",
            .options = train_options,
            .flags = ARGUMENT_RESUME,
            .key_groups = "data model diffusion train sample",
            .example = "mpirun -n 2 ddpm_mpi train --config configs/quickstart.json --run first",
        },
    .run = run_train,
    .stops = true,
};
