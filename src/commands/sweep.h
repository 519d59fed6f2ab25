/* What the parts of the command sweep share. A sweep is a grid of units, (mask seed, fraction, image,
 * sampler), mask seed outermost: an ensemble of draws each. A unit's number is its place in the grid; its
 * results depend on its own coordinates alone, so neither on the number nor on who computes it next to what.
 *
 * A cell is what the samplers of one (mask seed, fraction, image) share: the observation and all random
 * numbers. */
#ifndef COMMANDS_SWEEP_H
#define COMMANDS_SWEEP_H

#include <signal.h>

#include "commands/source.h"
#include "io/metrics.h"
#include "io/sweep_file.h"

typedef struct SweepSampler {
    const char *name;
    const Sampler *entry; /* of the registry; NULL: exact draws */
    int64_t particles;    /* of one run; 0: a sampler of single chains */
    double cost;          /* of a unit, in network evaluations */
    double max_gain;      /* of guidance, at the step max_gain_t; 0: not guided */
    int64_t max_gain_t;
} SweepSampler;

typedef struct SweepGrid {
    int64_t mask_seeds, fractions, images, samplers; /* extents */
    int64_t cells, units;
    SweepSampler sampler[CONFIG_MAX_WORDS];
} SweepGrid;

/* Coordinates as indices into the lists of the configuration. */
typedef struct SweepPlace {
    int64_t mask_seed, fraction, image, sampler;
} SweepPlace;

/* What this rank shows of the work of all, and how it learns that it must stop. */
typedef struct SweepProgress {
    double start, last_look, last_report; /* seconds */
    int64_t units_before;                 /* finished when this session began */
    double cost, cost_done, others_done;  /* of the units to do now; this rank's, and the other ranks' */
    double call_cost;                     /* of the draws being made */
    int64_t units_done;                   /* now, by all ranks: as last counted */
    uint8_t *present;                     /* (units) scratch, rank 0 */
    volatile sig_atomic_t stop;           /* polled by the samplers */
} SweepProgress;

typedef struct SweepRun {
    Session *session;
    char checkpoint[FILE_PATH_BYTES]; /* of the earlier session, if it is not given again */
    SweepOrigin origin;
    bool resumes;  /* the run has results of this grid */
    bool complete; /* sweep.h5 is there: only what is made from it can be missing */
    Source source;
    Truths truths;
    Prior *reader; /* of digits; NULL: none */
    bool reader_owned;
    SweepGrid grid;
    SweepShape shape;
    Generator generator;
    int64_t unfinished_count;
    int64_t *unfinished;  /* (unfinished_count) unit numbers, rising */
    int64_t first, count; /* this rank's share of them */
    int64_t group;        /* cells whose draws are made together */
    char *provenance;     /* JSON, rank 0 */
    SweepProgress progress;
    double seconds; /* from the first draw to the last part; after the work, of the slowest rank */
} SweepRun;

/* ---- sweep_grid.c ---- */

/* Extents, samplers with their costs, shape of a unit. STATUS_BAD_INPUT: unknown samplers, equal fractions or
 * ones that observe no pixel, settings of samplers out of range. Not collective, the same on every rank. */
Status sweep_grid_create(SweepRun *run);

SweepPlace sweep_place(const SweepGrid *grid, int64_t unit);

/* Checksum of all settings that change results, hexadecimal. */
void sweep_grid_hash(const Config *config, bool network, char hash[17]);

/* Whether a setting changes the results of a sweep; network: from a network, else from an exact prior. */
bool sweep_setting_counts(const char *path, bool network);

/* Warns of settings of posterior alone that are not the defaults. */
void sweep_warn_of_unused(const Config *config);

/* Divides the unfinished units among the ranks: contiguous shares of about equal cost. Sets first and count.
 */
void sweep_share(SweepRun *run);

/* Cells that fill the batches of all workers. */
int64_t sweep_group_cells(const SweepRun *run);

/* About how many bytes drawing and measuring a group of cells takes, beside network and prior. */
int64_t sweep_group_bytes(const SweepRun *run);

/* ---- sweep_resume.c ---- */

/* Before anything is loaded: where --run names a run with results, its settings become this session's; one
 * that was given and contradicts them is refused. Collective. */
Status sweep_find_earlier(SweepRun *run);

/* Opens the run's directory and compares what is there with this grid and its origin: all of it where units
 * are to be added. Collective. */
Status sweep_open(SweepRun *run);

/* Looks through the parts on all ranks; damaged ones are named, and to be done again. Collective. */
Status sweep_find_unfinished(SweepRun *run);

/* ---- sweep_work.c ---- */

/* This rank's share: draws, measures, writes parts; stops early if it must. Not collective. */
Status sweep_work(SweepRun *run);

/* ---- sweep_progress.c ---- */

Status sweep_progress_start(SweepRun *run);
void sweep_progress_release(SweepProgress *progress);

/* Called between and during draws: `share` of the draws being made is done. Looks for a signal here or a
 * failure or signal elsewhere, at most once a second; rank 0 prints and writes status.json. */
void sweep_progress_update(SweepRun *run, double share);

/* Makes the other ranks stop soon. */
void sweep_stop_others(SweepRun *run);

/* Returns once every rank has ended its share, with this rank's `mine` and its message; asleep most of the
 * time, but for what sweep_progress_update does. Collective. */
Status sweep_wait_for_others(SweepRun *run, Status mine);

/* Counts the finished units; status.json and the dashboard. Rank 0; other ranks do nothing. */
Status sweep_progress_report(SweepRun *run, RunState state, const char *message);

/* ---- sweep_results.c ---- */

/* Rank 0: sweep.h5 from the parts. */
Status sweep_merge(const SweepRun *run);

/* Rank 0: tables and figures (sweep_report.h) from sweep.h5 and, for the galleries, the parts. */
Status sweep_summarise(const SweepRun *run, bool galleries);

#endif
