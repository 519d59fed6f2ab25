/* Files of a sweep: RUN/grid.json, which says what the run is made of; one part for each finished unit while
 * it runs, RUN/parts/unit-00000123.h5; and RUN/sweep.h5, the parts in unit order.
 *
 * sweep.h5, U units; a unit's index is its number, its place in the grid:
 *   mask_seed, fraction, image    (U) u64, f64, i64: image is the entry of sweep.images
 *   truth_index, label            (U) i64: in the test split, or number of the prior's draw; -1: not known
 *   sampler                       (U) i64: index into the attribute samplers
 *   metrics                       (U, metrics) f64: names in the attribute metrics
 *   ranks                         (U, statistics) i64: names in the attribute statistics; -1: none
 *   particles                     (U, 3) f64: see SWEEP_PARTICLE_VALUES
 *   draw_labels, label_weights    (U, draws) i64, (U, labels) f64: weights are exact; NaN: not known
 *   mean, spread, truth, observed (U, height, width) f32
 *   mask                          (U, height, width) u8: 1 observed
 *   draws                         (U, draws, height, width) f32
 * Fields without elements (no labels, draws that are not kept) are left out.
 *
 * Parts may be written by any rank, each unit by one; the rest is for rank 0. HDF5 takes one thread. */
#ifndef IO_SWEEP_FILE_H
#define IO_SWEEP_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"
#include "io/file.h"
#include "io/named_value.h"

#define SWEEP_FILE_NAME "sweep.h5"
#define SWEEP_PARTS_NAME "parts"

/* Of a sampler of particles, means over the runs of a unit: smallest effective size, effective size in the
 * end, different ancestors in the end. NaN for other samplers. */
enum { SWEEP_PARTICLE_VALUES = 3 };

/* Extents that all units share. */
typedef struct SweepShape {
    int64_t height, width, draws;
    int64_t metrics, statistics;
    int64_t labels; /* 0: neither draw_labels nor label_weights */
    bool keep_draws;
} SweepShape;

/* One unit; the arrays are its own (sweep_unit_create). */
typedef struct SweepUnit {
    int64_t number;
    uint64_t mask_seed;
    double fraction;
    int64_t image, truth_index, label, sampler;
    double *metrics;                         /* (metrics) */
    int64_t *ranks;                          /* (statistics) */
    double *particles;                       /* (SWEEP_PARTICLE_VALUES) */
    int64_t *draw_labels;                    /* (draws) */
    double *label_weights;                   /* (labels) */
    float *mean, *spread, *truth, *observed; /* (height, width) */
    uint8_t *mask;                           /* (height, width) */
    float *draws;                            /* (draws, height, width); NULL unless they are kept */
} SweepUnit;

/* Zeroed arrays of these extents. */
Status sweep_unit_create(const SweepShape *shape, SweepUnit **unit);
void sweep_unit_destroy(SweepUnit *unit); /* accepts NULL */

/* Bytes of a unit's arrays. */
int64_t sweep_unit_bytes(const SweepShape *shape);

/* ---- grid.json ---- */

/* What all units of a run depend on, besides their place in the grid. */
typedef struct SweepOrigin {
    char grid_hash[17]; /* of every setting that changes results, hexadecimal */
    int64_t units;
    char source[64];                  /* "network", or the prior's name */
    char checkpoint[FILE_PATH_BYTES]; /* "": none */
    char checkpoint_checksum[17];
    char truths_checksum[17]; /* of the images to be observed, and of those that digits are read by */
    char backend[32];
    char libraries[320]; /* and instruction set, or device */
    char build[256];     /* of the program that began the run */
} SweepOrigin;

Status sweep_origin_write(const char *run_directory, const SweepOrigin *origin);
/* *found is false if the run has no grid.json. STATUS_BAD_INPUT: damaged. */
Status sweep_origin_read(const char *run_directory, SweepOrigin *origin, bool *found);

/* ---- parts ---- */

/* Creates RUN/parts and removes what killed writers left behind. */
Status sweep_parts_prepare(const char *run_directory);

/* Temporary name, fsync, rename, fsync of the directory. */
Status sweep_part_write(const char *run_directory, const char *grid_hash, const SweepShape *shape,
                        const SweepUnit *unit);

/* Reads unit `number` and verifies it (HDF5's checksums, a second one over all values, grid and number).
 * STATUS_BAD_INPUT: missing, damaged or another grid's. */
Status sweep_part_read(const char *run_directory, const char *grid_hash, const SweepShape *shape,
                       int64_t number, SweepUnit *unit);

/* present[number] = 1 for each unit of (units) with a part of its name, else 0: by name alone. */
Status sweep_parts_list(const char *run_directory, int64_t units, uint8_t *present);

/* Writes sweep.h5 from the parts of all units, one unit in memory at a time, with these root attributes and
 * the grid hash. The part of a damaged unit is an error that names it. */
Status sweep_parts_merge(const char *run_directory, const char *grid_hash, const SweepShape *shape,
                         int64_t units, int value_count, const NamedValue *values);

/* Removes RUN/parts and all in it: what is left there is in sweep.h5. */
Status sweep_parts_remove(const char *run_directory);

/* ---- sweep.h5 ---- */

/* Reads a whole field of sweep.h5 of `count` elements in all, such as "metrics" or "sampler", into data of
 * its type. */
Status sweep_file_read(const char *run_directory, const char *field, int64_t count, void *data);

#endif
