/* What rank 0 tells the world while training: console, steps.jsonl, status.json, figures, dashboard,
 * metrics.json. Every call does nothing on other ranks. Not collective. */
#ifndef COMMANDS_TRAIN_REPORT_H
#define COMMANDS_TRAIN_REPORT_H

#include "commands/session.h"
#include "io/metrics.h"
#include "training/trainer.h"

typedef struct TrainReport {
    const Session *session;
    const Trainer *trainer;
    StepsLog *steps;
    RunStatus status;
    double last_step_seconds;   /* clock when the last step ended */
    double last_status_seconds; /* clock of the last status.json */
    double last_page_seconds;   /* clock of the last dashboard */
    double training_seconds;    /* of this process, steps only */
    int64_t images;             /* of this process */
    double recent_losses[50];   /* ring */
    int64_t recent_count;       /* losses ever put into the ring */
} TrainReport;

/* Opens steps.jsonl, cut back to the trainer's step. */
Status train_report_open(TrainReport *report, const Session *session, const Trainer *trainer);

/* After every step, or several: they share the time since the last call. validation_loss, of the last one:
 * NaN if there was none. */
Status train_report_steps(TrainReport *report, const TrainerReport *steps, int64_t count,
                          double validation_loss);

/* During other work than training: a GenerateProgress, of the TrainReport `context`, that shows that the run
 * is alive. */
void train_report_progress(void *context, int64_t done, int64_t total);

/* Restarts the rate's clock after something other than training took time. */
void train_report_resume_clock(TrainReport *report);

/* Writes steps.jsonl out: before every checkpoint. */
Status train_report_flush(TrainReport *report);

/* Loss figures from steps.jsonl. */
Status train_report_figures(TrainReport *report);

/* status.json and the dashboard in their final state, metrics.json; message NULL or why it ended. */
Status train_report_close(TrainReport *report, RunState state, const char *message);

#endif
