/* The fields of a unit as the files of a sweep have them; private to sweep_file.c and sweep_merge.c. */
#ifndef IO_SWEEP_FIELDS_H
#define IO_SWEEP_FIELDS_H

#include "io/hdf5_file.h"
#include "io/sweep_file.h"

enum { SWEEP_FIELD_COUNT = 17, SWEEP_FIELD_RANK = 3 }; /* a merged file adds the units' dimension */

typedef struct SweepField {
    const char *name; /* "/metrics" */
    Hdf5Type type;
    size_t member; /* of SweepUnit: the value itself, or the pointer to its array */
    bool array;
    void (*extent)(const SweepShape *shape, int *rank, int64_t dims[SWEEP_FIELD_RANK]);
} SweepField;

extern const SweepField sweep_fields[SWEEP_FIELD_COUNT];

/* Shape of one unit's value (a single one: rank 0); returns its elements, 0 if these units have none. */
int64_t sweep_field_shape(const SweepField *field, const SweepShape *shape, int *rank,
                          int64_t dims[SWEEP_FIELD_RANK]);

size_t sweep_field_bytes(const SweepField *field, const SweepShape *shape);
void *sweep_field_data(const SweepField *field, SweepUnit *unit);

#endif
