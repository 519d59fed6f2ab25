#include "io/results.h"

#include <stdio.h>

Status results_write_value(Hdf5File *file, const NamedValue *value) {
    uint8_t truth;
    switch (value->type) {
    case VALUE_INTEGER:
        return hdf5_write_scalar(file, value->name, HDF5_INT64, &value->integer);
    case VALUE_UNSIGNED:
        return hdf5_write_scalar(file, value->name, HDF5_UINT64, &value->unsigned_integer);
    case VALUE_NUMBER:
        return hdf5_write_scalar(file, value->name, HDF5_FLOAT64, &value->number);
    case VALUE_BOOLEAN:
        truth = value->boolean;
        return hdf5_write_scalar(file, value->name, HDF5_UINT8, &truth);
    case VALUE_TEXT:
    case VALUE_JSON:
        return hdf5_write_text(file, value->name, value->text);
    }
    return status_error(STATUS_FAILURE, "attribute %s: unknown type %d", value->name, (int)value->type);
}

Status results_write(const char *path, int array_count, const ResultArray *arrays, int value_count,
                     const NamedValue *values) {
    Status status = STATUS_OK;
    Hdf5File *file = NULL;
    TRY(hdf5_create(path, &file));
    for (int i = 0; i < value_count; i++)
        TRY(results_write_value(file, &values[i]));
    for (int i = 0; i < array_count; i++) {
        char name[HDF5_NAME_BYTES];
        snprintf(name, sizeof name, "/%s", arrays[i].name);
        TRY(hdf5_write_array(file, name, arrays[i].type, arrays[i].rank, arrays[i].dims, arrays[i].data));
    }
    TRY(hdf5_save(file));
done:
    hdf5_close(file);
    return status;
}

Status samples_write(const char *path, const float *x_T, const float *samples, int64_t count, int64_t height,
                     int64_t width, int value_count, const NamedValue *values) {
    const ResultArray arrays[] = {
        {"x_T", HDF5_FLOAT32, 4, {count, 1, height, width}, x_T},
        {"samples", HDF5_FLOAT32, 4, {count, 1, height, width}, samples},
    };
    return results_write(path, (int)(sizeof arrays / sizeof *arrays), arrays, value_count, values);
}

Status posterior_write(const char *path, const float *truth, const uint8_t *mask, const float *observed,
                       const float *draws, int64_t count, int64_t height, int64_t width, int value_count,
                       const NamedValue *values) {
    const ResultArray arrays[] = {
        {"truth", HDF5_FLOAT32, 2, {height, width}, truth},
        {"mask", HDF5_UINT8, 2, {height, width}, mask},
        {"observed", HDF5_FLOAT32, 2, {height, width}, observed},
        {"draws", HDF5_FLOAT32, 3, {count, height, width}, draws},
    };
    return results_write(path, (int)(sizeof arrays / sizeof *arrays), arrays, value_count, values);
}
