/* sweep.h5 from the parts of a sweep. */
#include <stdio.h>
#include <string.h>

#include "io/results.h"
#include "io/sweep_fields.h"

typedef struct Merge {
    Hdf5File *file;
    Hdf5Rows *rows[SWEEP_FIELD_COUNT]; /* NULL where these units have no such field */
    SweepUnit *unit;
} Merge;

static Status open_rows(Merge *merge, const SweepShape *shape, int64_t units) {
    Status status = STATUS_OK;
    for (int i = 0; i < SWEEP_FIELD_COUNT; i++) {
        const SweepField *field = &sweep_fields[i];
        int rank;
        int64_t dims[HDF5_MAXIMUM_RANK] = {units}, *unit_dims = dims + 1;
        if (sweep_field_shape(field, shape, &rank, unit_dims) > 0)
            TRY(hdf5_rows_create(merge->file, field->name, field->type, rank + 1, dims, &merge->rows[i]));
    }
done:
    return status;
}

static Status copy_unit(Merge *merge, const char *run_directory, const char *grid_hash,
                        const SweepShape *shape, int64_t number) {
    Status status = STATUS_OK;
    TRY(sweep_part_read(run_directory, grid_hash, shape, number, merge->unit));
    for (int i = 0; i < SWEEP_FIELD_COUNT; i++)
        if (merge->rows[i])
            TRY(hdf5_rows_write(merge->rows[i], number, 1, sweep_field_data(&sweep_fields[i], merge->unit)));
done:
    return status;
}

static Status close_rows(Merge *merge) {
    Status status = STATUS_OK;
    for (int i = 0; i < SWEEP_FIELD_COUNT; i++) {
        Status closed = hdf5_rows_close(merge->rows[i]);
        merge->rows[i] = NULL;
        if (status == STATUS_OK)
            status = closed;
    }
    return status;
}

Status sweep_parts_merge(const char *run_directory, const char *grid_hash, const SweepShape *shape,
                         int64_t units, int value_count, const NamedValue *values) {
    Status status = STATUS_OK;
    Merge merge = {0};
    char path[FILE_PATH_BYTES];
    TRY(file_join(path, run_directory, SWEEP_FILE_NAME));
    TRY(file_check_room(path, (uint64_t)units * (uint64_t)sweep_unit_bytes(shape)));
    TRY(sweep_unit_create(shape, &merge.unit));
    TRY(hdf5_create_on_disk(path, &merge.file));
    TRY(hdf5_write_text(merge.file, "grid_hash", grid_hash));
    for (int i = 0; i < value_count; i++)
        TRY(results_write_value(merge.file, &values[i]));
    TRY(open_rows(&merge, shape, units));
    for (int64_t number = 0; number < units; number++)
        TRY(copy_unit(&merge, run_directory, grid_hash, shape, number));
    TRY(close_rows(&merge));
    TRY(hdf5_save(merge.file));
done:
    (void)close_rows(&merge);
    hdf5_close(merge.file);
    sweep_unit_destroy(merge.unit);
    return status;
}

Status sweep_file_read(const char *run_directory, const char *name, int64_t count, void *data) {
    Status status = STATUS_OK;
    Hdf5File *file = NULL;
    char path[FILE_PATH_BYTES], dataset[HDF5_NAME_BYTES];
    const SweepField *field = NULL;
    snprintf(dataset, sizeof dataset, "/%s", name);
    for (int i = 0; i < SWEEP_FIELD_COUNT; i++)
        if (strcmp(sweep_fields[i].name, dataset) == 0)
            field = &sweep_fields[i];
    if (!field)
        FAIL(STATUS_FAILURE, "sweep field %s: there is none of that name", name);
    TRY(file_join(path, run_directory, SWEEP_FILE_NAME));
    TRY(hdf5_open(path, &file));
    TRY(hdf5_read_array(file, field->name, field->type, count, data));
done:
    hdf5_close(file);
    return status;
}
