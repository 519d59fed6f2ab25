#include "commands/train_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "io/figures.h"

enum { RECENT_STEPS = 50 };
static const double status_interval = 2, page_interval = 10; /* seconds */

static void write_page(TrainReport *report) {
    report->last_page_seconds = clock_seconds();
    session_update_dashboard(report->session);
}

static Status write_status(TrainReport *report) {
    report->last_status_seconds = clock_seconds();
    return status_write(report->session->run.path, &report->status);
}

/* After a resume: the losses of the steps before it. */
static Status recall_losses(TrainReport *report, const char *path) {
    Status status = STATUS_OK;
    StepRecord *records = NULL;
    int64_t count;
    TRY(steps_log_read(path, &count, &records));
    for (int64_t i = count > RECENT_STEPS ? count - RECENT_STEPS : 0; i < count; i++)
        report->recent_losses[report->recent_count++ % RECENT_STEPS] = records[i].loss;
done:
    free(records);
    return status;
}

Status train_report_open(TrainReport *report, const Session *session, const Trainer *trainer) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES];
    *report = (TrainReport){.session = session, .trainer = trainer, .last_step_seconds = clock_seconds()};
    report->status = (RunStatus){
        .state = RUN_RUNNING,
        .step = trainer->progress.step,
        .total_steps = trainer->total_steps,
        .epoch = trainer->progress.epoch,
        .loss = NAN,
        .images_per_s = NAN,
        .eta_s = NAN,
        .ranks = comm_size(session->comm),
        .threads = session->threads,
    };
    snprintf(report->status.command, sizeof report->status.command, "%s", session->command);
    snprintf(report->status.device, sizeof report->status.device, "%s", session->backend->description);
    snprintf(report->status.started, sizeof report->status.started, "%s", session->started);
    if (!session->root)
        return STATUS_OK;
    TRY(session_path(session, "steps.jsonl", path));
    TRY(steps_log_open(path, trainer->progress.step, &report->steps));
    TRY(recall_losses(report, path));
    TRY(write_status(report));
    write_page(report);
done:
    return status;
}

static double images_per_second(const TrainReport *report) {
    return report->training_seconds > 0 ? (double)report->images / report->training_seconds : NAN;
}

static double recent_mean(const TrainReport *report) {
    int64_t count = report->recent_count < RECENT_STEPS ? report->recent_count : RECENT_STEPS;
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += report->recent_losses[i];
    return count ? sum / (double)count : NAN;
}

static void print_step(TrainReport *report, const TrainerReport *step, double validation_loss) {
    const Trainer *trainer = report->trainer;
    const TrainerProgress *progress = &trainer->progress;
    char eta[32];
    bool scheduled =
        step->step % trainer->config.train_log_every_steps == 0 || step->step == trainer->total_steps;
    log_duration(report->status.eta_s, eta);
    if (scheduled || step->epoch_ended)
        log_info("step %6lld/%lld  epoch %lld  loss %.4f (mean of last %d: %.4f)  |g| %.3f  %.0f images/s  "
                 "%s left",
                 (long long)step->step, (long long)trainer->total_steps, (long long)report->status.epoch + 1,
                 step->loss, (int)(report->recent_count < RECENT_STEPS ? report->recent_count : RECENT_STEPS),
                 recent_mean(report), step->gradient_norm, report->status.images_per_s, eta);
    else
        log_progress(false, "step %lld/%lld  loss %.4f  %.0f images/s  %s left", (long long)step->step,
                     (long long)trainer->total_steps, step->loss, report->status.images_per_s, eta);
    if (step->epoch_ended)
        log_info("epoch %lld done: mean loss %.5f, best %.5f, validation %.5f",
                 (long long)report->status.epoch + 1, step->epoch_mean, progress->best_epoch_mean,
                 validation_loss);
}

static Status report_step(TrainReport *report, const TrainerReport *step, double seconds,
                          double validation_loss) {
    Status status = STATUS_OK;
    report->training_seconds += seconds;
    report->images += step->images;
    report->recent_losses[report->recent_count++ % RECENT_STEPS] = step->loss;
    StepRecord record = {
        .step = step->step,
        .epoch = step->epoch,
        .loss = step->loss,
        .grad_norm = step->gradient_norm,
        .lr = step->learning_rate,
        .images_per_s = (double)step->images / seconds,
        .validation_loss = validation_loss,
    };
    TRY(steps_log_append(report->steps, &record));
    report->status.step = step->step;
    report->status.epoch = step->epoch;
    report->status.loss = step->loss;
    report->status.images_per_s = images_per_second(report);
    report->status.eta_s = (double)(report->trainer->total_steps - step->step) *
                           (double)report->trainer->config.train_batch / report->status.images_per_s;
    print_step(report, step, validation_loss);
done:
    return status;
}

Status train_report_steps(TrainReport *report, const TrainerReport *steps, int64_t count,
                          double validation_loss) {
    Status status = STATUS_OK;
    double now = clock_seconds(), seconds = (now - report->last_step_seconds) / (double)count;
    if (!report->session->root)
        return STATUS_OK;
    report->last_step_seconds = now;
    for (int64_t i = 0; i < count; i++)
        TRY(report_step(report, &steps[i], seconds, i == count - 1 ? validation_loss : NAN));
    if (now - report->last_status_seconds > status_interval)
        TRY(write_status(report));
    if (now - report->last_page_seconds > page_interval) {
        TRY(steps_log_flush(report->steps));
        write_page(report);
    }
done:
    return status;
}

void train_report_progress(void *context, int64_t done, int64_t total) {
    TrainReport *report = context;
    (void)done;
    (void)total;
    if (!report->session->root || clock_seconds() - report->last_page_seconds < page_interval)
        return;
    if (write_status(report) == STATUS_OK) /* for people: no reason to stop */
        write_page(report);
}

void train_report_resume_clock(TrainReport *report) {
    report->last_step_seconds = clock_seconds();
}

Status train_report_flush(TrainReport *report) {
    return report->session->root ? steps_log_flush(report->steps) : STATUS_OK;
}

/* Training mean and validation loss of every whole epoch, of `steps` steps, among the records; returns how
 * many. */
static int64_t gather_epochs(const StepRecord *records, int64_t count, int64_t steps, int64_t *epochs,
                             double *train, double *validation) {
    int64_t found = 0, begin = 0;
    for (int64_t i = 0; i < count; i++) {
        bool last_of_epoch = i + 1 == count || records[i + 1].epoch != records[i].epoch;
        if (!last_of_epoch)
            continue;
        double sum = 0;
        for (int64_t k = begin; k <= i; k++)
            sum += records[k].loss;
        if (i + 1 - begin == steps) {
            epochs[found] = records[i].epoch + 1;
            train[found] = sum / (double)steps;
            validation[found++] = records[i].validation_loss;
        }
        begin = i + 1;
    }
    return found;
}

static Status draw_losses(TrainReport *report, int64_t count, const StepRecord *records) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES];
    int64_t *steps = NULL, *epochs = NULL;
    double *loss = NULL, *train = NULL, *validation = NULL;
    TRY(ALLOCATE(&steps, count));
    TRY(ALLOCATE(&loss, count));
    TRY(ALLOCATE(&epochs, count));
    TRY(ALLOCATE(&train, count));
    TRY(ALLOCATE(&validation, count));
    for (int64_t i = 0; i < count; i++) {
        steps[i] = records[i].step;
        loss[i] = records[i].loss;
    }
    TRY(session_path(report->session, "figures/loss_steps.png", path));
    TRY(figures_loss_steps(path, steps, loss, count));
    count = gather_epochs(records, count, report->trainer->steps_per_epoch, epochs, train, validation);
    TRY(session_path(report->session, "figures/loss_epochs.png", path));
    TRY(figures_loss_epochs(path, epochs, train, validation, count));
done:
    free(steps);
    free(loss);
    free(epochs);
    free(train);
    free(validation);
    return status;
}

Status train_report_figures(TrainReport *report) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES];
    StepRecord *records = NULL;
    int64_t count;
    if (!report->session->root)
        return STATUS_OK;
    TRY(steps_log_flush(report->steps));
    TRY(session_path(report->session, "steps.jsonl", path));
    TRY(steps_log_read(path, &count, &records));
    TRY(draw_losses(report, count, records));
done:
    free(records);
    return status;
}

static Status write_metrics(TrainReport *report, RunState state) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES];
    const Trainer *trainer = report->trainer;
    const TrainerProgress *progress = &trainer->progress;
    const PhaseSeconds *seconds = &trainer->shards.seconds;
    NamedValue values[] = {
        value_text("state", run_state_name(state)),
        value_integer("total_steps", progress->step),
        value_integer("epochs", progress->epoch),
        value_number("final_epoch_mean_loss", progress->last_epoch_mean),
        value_number("best_epoch_mean_loss", progress->best_epoch_mean),
        value_number("last_50_steps_mean_loss", recent_mean(report)),
        value_text("device", report->session->backend->description),
        value_integer("ranks", comm_size(report->session->comm)),
        value_integer("threads", report->session->threads),
        value_integer("parameters", trainer->network->graph->parameter_elements),
        value_number("images_per_second", images_per_second(report)),
        value_number("training_seconds", report->training_seconds),
        value_number("phase_seconds.data", seconds->data),
        value_number("phase_seconds.forward", seconds->forward),
        value_number("phase_seconds.backward", seconds->backward),
        value_number("phase_seconds.reduce", seconds->reduce),
        value_number("phase_seconds.optimizer", seconds->optimizer),
    };
    TRY(session_path(report->session, "metrics.json", path));
    TRY(metrics_write(path, (int)(sizeof values / sizeof *values), values));
done:
    return status;
}

Status train_report_close(TrainReport *report, RunState state, const char *message) {
    Status status = STATUS_OK, closing;
    if (!report->session || !report->session->root || !report->steps)
        return STATUS_OK;
    report->status.state = state;
    report->status.eta_s = state == RUN_COMPLETED ? 0 : NAN;
    snprintf(report->status.message, sizeof report->status.message, "%s", message ? message : "");
    TRY(steps_log_flush(report->steps));
    TRY(write_metrics(report, state));
    TRY(write_status(report));
    write_page(report);
done:
    closing = steps_log_close(report->steps);
    report->steps = NULL;
    return status != STATUS_OK ? status : closing;
}
