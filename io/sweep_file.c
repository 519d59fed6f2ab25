#include "io/sweep_file.h"

#include <cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/checksum.h"
#include "io/directory.h"
#include "io/metrics.h"
#include "io/sweep_fields.h"

#define GRID_NAME "grid.json"

/* ---- fields ---- */

static void extent_single(const SweepShape *shape, int *rank, int64_t *dims) {
    (void)shape, (void)dims;
    *rank = 0;
}

static void extent_metrics(const SweepShape *shape, int *rank, int64_t *dims) {
    *rank = 1;
    dims[0] = shape->metrics;
}

static void extent_statistics(const SweepShape *shape, int *rank, int64_t *dims) {
    *rank = 1;
    dims[0] = shape->statistics;
}

static void extent_particles(const SweepShape *shape, int *rank, int64_t *dims) {
    (void)shape;
    *rank = 1;
    dims[0] = SWEEP_PARTICLE_VALUES;
}

static void extent_draw_labels(const SweepShape *shape, int *rank, int64_t *dims) {
    *rank = 1;
    dims[0] = shape->labels > 0 ? shape->draws : 0;
}

static void extent_labels(const SweepShape *shape, int *rank, int64_t *dims) {
    *rank = 1;
    dims[0] = shape->labels;
}

static void extent_image(const SweepShape *shape, int *rank, int64_t *dims) {
    *rank = 2;
    dims[0] = shape->height;
    dims[1] = shape->width;
}

static void extent_draws(const SweepShape *shape, int *rank, int64_t *dims) {
    *rank = 3;
    dims[0] = shape->keep_draws ? shape->draws : 0;
    dims[1] = shape->height;
    dims[2] = shape->width;
}

#define SINGLE(name, type)                                                                                   \
    { "/" #name, type, offsetof(SweepUnit, name), false, extent_single }
#define ARRAY(name, type, extent)                                                                            \
    { "/" #name, type, offsetof(SweepUnit, name), true, extent }

const SweepField sweep_fields[SWEEP_FIELD_COUNT] = {
    SINGLE(mask_seed, HDF5_UINT64),
    SINGLE(fraction, HDF5_FLOAT64),
    SINGLE(image, HDF5_INT64),
    SINGLE(truth_index, HDF5_INT64),
    SINGLE(label, HDF5_INT64),
    SINGLE(sampler, HDF5_INT64),
    ARRAY(metrics, HDF5_FLOAT64, extent_metrics),
    ARRAY(ranks, HDF5_INT64, extent_statistics),
    ARRAY(particles, HDF5_FLOAT64, extent_particles),
    ARRAY(draw_labels, HDF5_INT64, extent_draw_labels),
    ARRAY(label_weights, HDF5_FLOAT64, extent_labels),
    ARRAY(mean, HDF5_FLOAT32, extent_image),
    ARRAY(spread, HDF5_FLOAT32, extent_image),
    ARRAY(truth, HDF5_FLOAT32, extent_image),
    ARRAY(observed, HDF5_FLOAT32, extent_image),
    ARRAY(mask, HDF5_UINT8, extent_image),
    ARRAY(draws, HDF5_FLOAT32, extent_draws),
};

int64_t sweep_field_shape(const SweepField *field, const SweepShape *shape, int *rank,
                          int64_t dims[SWEEP_FIELD_RANK]) {
    int64_t count = 1;
    field->extent(shape, rank, dims);
    for (int i = 0; i < *rank; i++)
        count *= dims[i];
    return count;
}

size_t sweep_field_bytes(const SweepField *field, const SweepShape *shape) {
    static const size_t bytes[] = {
        [HDF5_FLOAT32] = 4, [HDF5_FLOAT64] = 8, [HDF5_INT64] = 8, [HDF5_UINT64] = 8, [HDF5_UINT8] = 1};
    int rank;
    int64_t dims[HDF5_MAXIMUM_RANK];
    return (size_t)sweep_field_shape(field, shape, &rank, dims) * bytes[field->type];
}

void *sweep_field_data(const SweepField *field, SweepUnit *unit) {
    void *member = (char *)unit + field->member;
    return field->array ? *(void **)member : member;
}

Status sweep_unit_create(const SweepShape *shape, SweepUnit **out) {
    Status status = STATUS_OK;
    SweepUnit *unit = NULL;
    TRY(ALLOCATE(&unit, 1));
    for (int i = 0; i < SWEEP_FIELD_COUNT; i++) {
        const SweepField *field = &sweep_fields[i];
        size_t bytes = sweep_field_bytes(field, shape);
        if (field->array && bytes > 0)
            TRY(status_allocate((void **)((char *)unit + field->member), (long long)bytes, 1));
    }
    *out = unit;
    unit = NULL;
done:
    sweep_unit_destroy(unit);
    return status;
}

void sweep_unit_destroy(SweepUnit *unit) {
    if (!unit)
        return;
    for (int i = 0; i < SWEEP_FIELD_COUNT; i++)
        if (sweep_fields[i].array)
            free(sweep_field_data(&sweep_fields[i], unit));
    free(unit);
}

int64_t sweep_unit_bytes(const SweepShape *shape) {
    int64_t bytes = 0;
    for (int i = 0; i < SWEEP_FIELD_COUNT; i++)
        bytes += (int64_t)sweep_field_bytes(&sweep_fields[i], shape);
    return bytes;
}

/* ---- grid.json ---- */

Status sweep_origin_write(const char *run_directory, const SweepOrigin *origin) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES], *json = NULL;
    const NamedValue values[] = {
        value_text("grid_hash", origin->grid_hash),
        value_integer("units", origin->units),
        value_text("source", origin->source),
        value_text("checkpoint", origin->checkpoint),
        value_text("checkpoint_checksum", origin->checkpoint_checksum),
        value_text("truths_checksum", origin->truths_checksum),
        value_text("backend", origin->backend),
        value_text("libraries", origin->libraries),
        value_text("build", origin->build),
    };
    TRY(file_join(path, run_directory, GRID_NAME));
    TRY(named_values_json((int)(sizeof values / sizeof *values), values, &json));
    TRY(file_write(path, json, strlen(json), FILE_DURABLE));
done:
    free(json);
    return status;
}

static Status take_text(const char *path, const cJSON *root, const char *name, char *text, size_t bytes) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, name);
    if (!cJSON_IsString(item) || strlen(item->valuestring) >= bytes)
        return status_error(
            STATUS_BAD_INPUT,
            "%s: damaged, or another version's: expected a text \"%s\" of less than %zu bytes", path, name,
            bytes);
    snprintf(text, bytes, "%s", item->valuestring);
    return STATUS_OK;
}

Status sweep_origin_read(const char *run_directory, SweepOrigin *origin, bool *found) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES], *text = NULL;
    cJSON *root = NULL;
    *origin = (SweepOrigin){0};
    TRY(file_join(path, run_directory, GRID_NAME));
    *found = file_exists(path);
    if (!*found)
        goto done;
    TRY(file_read(path, &text, NULL));
    root = cJSON_Parse(text);
    const cJSON *units = cJSON_GetObjectItemCaseSensitive(root, "units");
    if (!cJSON_IsNumber(units) || !(units->valuedouble >= 1 && units->valuedouble < 9e15))
        FAIL(STATUS_BAD_INPUT, "%s: damaged: expected an object with a number of \"units\"", path);
    origin->units = (int64_t)units->valuedouble;
    TRY(take_text(path, root, "grid_hash", origin->grid_hash, sizeof origin->grid_hash));
    TRY(take_text(path, root, "source", origin->source, sizeof origin->source));
    TRY(take_text(path, root, "checkpoint", origin->checkpoint, sizeof origin->checkpoint));
    TRY(take_text(path, root, "checkpoint_checksum", origin->checkpoint_checksum,
                  sizeof origin->checkpoint_checksum));
    TRY(take_text(path, root, "truths_checksum", origin->truths_checksum, sizeof origin->truths_checksum));
    TRY(take_text(path, root, "backend", origin->backend, sizeof origin->backend));
    TRY(take_text(path, root, "libraries", origin->libraries, sizeof origin->libraries));
    TRY(take_text(path, root, "build", origin->build, sizeof origin->build));
done:
    cJSON_Delete(root);
    free(text);
    return status;
}

/* ---- parts ---- */

static Status parts_folder(const char *run_directory, char folder[FILE_PATH_BYTES]) {
    return file_join(folder, run_directory, SWEEP_PARTS_NAME);
}

static Status part_path(const char *run_directory, int64_t number, char path[FILE_PATH_BYTES]) {
    char name[64];
    snprintf(name, sizeof name, SWEEP_PARTS_NAME "/unit-%08" PRId64 ".h5", number);
    return file_join(path, run_directory, name);
}

/* The number in "unit-00000123.h5"; -1 if it is no part's name. */
static int64_t part_number(const char *name) {
    long long number;
    int end = 0;
    if (sscanf(name, "unit-%lld.h5%n", &number, &end) != 1 || end == 0 || name[end] != '\0')
        return -1;
    return number;
}

Status sweep_parts_prepare(const char *run_directory) {
    Status status = STATUS_OK;
    char folder[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    Names names = {0};
    TRY(parts_folder(run_directory, folder));
    TRY(file_make_directories(folder));
    TRY(directory_list(folder, &names));
    for (int64_t i = 0; i < names.count;
         i++) { /* temporary files; the run's lock says that nobody writes now */
        if (part_number(names.names[i]) >= 0)
            continue;
        TRY(file_join(path, folder, names.names[i]));
        if (unlink(path) != 0)
            FAIL(file_error_status(errno), "%s: cannot remove the leftover: %s", path, strerror(errno));
    }
done:
    names_destroy(&names);
    return status;
}

Status sweep_parts_list(const char *run_directory, int64_t units, uint8_t *present) {
    Status status = STATUS_OK;
    char folder[FILE_PATH_BYTES];
    Names names = {0};
    memset(present, 0, (size_t)units);
    TRY(parts_folder(run_directory, folder));
    TRY(directory_list(folder, &names));
    for (int64_t i = 0; i < names.count; i++) {
        int64_t number = part_number(names.names[i]);
        if (number >= 0 && number < units)
            present[number] = 1;
    }
done:
    names_destroy(&names);
    return status;
}

/* Over names and values, so that a part cannot pass for another's. */
static uint64_t unit_checksum(const char *grid_hash, const SweepShape *shape, SweepUnit *unit) {
    Checksum checksum = checksum_start();
    checksum_add(&checksum, grid_hash, strlen(grid_hash));
    checksum_add(&checksum, &unit->number, sizeof unit->number);
    for (int i = 0; i < SWEEP_FIELD_COUNT; i++) {
        size_t bytes = sweep_field_bytes(&sweep_fields[i], shape);
        if (bytes > 0)
            checksum_add(&checksum, sweep_field_data(&sweep_fields[i], unit), bytes);
    }
    return checksum_value(&checksum);
}

Status sweep_part_write(const char *run_directory, const char *grid_hash, const SweepShape *shape,
                        const SweepUnit *given) {
    Status status = STATUS_OK;
    Hdf5File *file = NULL;
    char path[FILE_PATH_BYTES];
    SweepUnit unit = *given;
    uint64_t checksum = unit_checksum(grid_hash, shape, &unit);
    TRY(part_path(run_directory, unit.number, path));
    TRY(hdf5_create(path, &file));
    TRY(hdf5_write_text(file, "grid_hash", grid_hash));
    TRY(hdf5_write_scalar(file, "unit", HDF5_INT64, &unit.number));
    TRY(hdf5_write_scalar(file, "checksum", HDF5_UINT64, &checksum));
    for (int i = 0; i < SWEEP_FIELD_COUNT; i++) {
        const SweepField *field = &sweep_fields[i];
        int rank;
        int64_t dims[HDF5_MAXIMUM_RANK] = {1};
        if (sweep_field_shape(field, shape, &rank, dims) > 0)
            TRY(hdf5_write_array(file, field->name, field->type, rank > 0 ? rank : 1, dims,
                                 sweep_field_data(field, &unit)));
    }
    TRY(hdf5_save(file));
done:
    hdf5_close(file);
    return status;
}

Status sweep_part_read(const char *run_directory, const char *grid_hash, const SweepShape *shape,
                       int64_t number, SweepUnit *unit) {
    Status status = STATUS_OK;
    Hdf5File *file = NULL;
    char path[FILE_PATH_BYTES], *found_hash = NULL;
    uint64_t checksum;
    TRY(part_path(run_directory, number, path));
    TRY(hdf5_open(path, &file));
    TRY(hdf5_read_text(file, "grid_hash", &found_hash));
    TRY(hdf5_read_scalar(file, "unit", HDF5_INT64, &unit->number));
    TRY(hdf5_read_scalar(file, "checksum", HDF5_UINT64, &checksum));
    if (strcmp(found_hash, grid_hash) != 0 || unit->number != number)
        FAIL(STATUS_BAD_INPUT, "%s: expected unit %lld of grid %s, found unit %lld of grid %s", path,
             (long long)number, grid_hash, (long long)unit->number, found_hash);
    for (int i = 0; i < SWEEP_FIELD_COUNT; i++) {
        const SweepField *field = &sweep_fields[i];
        int rank;
        int64_t dims[HDF5_MAXIMUM_RANK], count = sweep_field_shape(field, shape, &rank, dims);
        if (count > 0)
            TRY(hdf5_read_array(file, field->name, field->type, count, sweep_field_data(field, unit)));
    }
    if (unit_checksum(grid_hash, shape, unit) != checksum)
        FAIL(STATUS_BAD_INPUT,
             "%s: damaged: its values do not have the checksum %016" PRIx64 " that it names", path, checksum);
done:
    hdf5_close(file);
    free(found_hash);
    return status;
}

Status sweep_parts_remove(const char *run_directory) {
    Status status = STATUS_OK;
    char folder[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    Names names = {0};
    TRY(parts_folder(run_directory, folder));
    if (!file_exists(folder))
        goto done;
    TRY(directory_list(folder, &names));
    for (int64_t i = 0; i < names.count; i++) {
        TRY(file_join(path, folder, names.names[i]));
        if (unlink(path) != 0)
            FAIL(file_error_status(errno), "%s: cannot remove: %s", path, strerror(errno));
    }
    if (rmdir(folder) != 0)
        FAIL(file_error_status(errno), "%s: cannot remove: %s", folder, strerror(errno));
done:
    names_destroy(&names);
    return status;
}
