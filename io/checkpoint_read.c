#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "io/checkpoint.h"
#include "io/checkpoint_format.h"

static Status read_attributes(Hdf5File *file, const char *path, Checkpoint *out) {
    Status status = STATUS_OK;
    uint8_t finished;
    bool found = false;
    int64_t format_version;
    TRY(hdf5_has_attribute(file, "format_version", &found));
    if (!found)
        FAIL(STATUS_BAD_INPUT, "%s: an HDF5 file, but not a checkpoint: attribute format_version is missing",
             path);
    TRY(hdf5_read_scalar(file, "format_version", HDF5_INT64, &format_version));
    if (format_version != CHECKPOINT_FORMAT_VERSION)
        FAIL(STATUS_BAD_INPUT,
             "%s: format_version: expected %d, found %lld: written by another version of ddpm_mpi", path,
             CHECKPOINT_FORMAT_VERSION, (long long)format_version);
    for (int i = 0; i < CHECKPOINT_SCALARS; i++)
        TRY(hdf5_read_scalar(file, checkpoint_scalars[i].name, checkpoint_scalars[i].type,
                             (char *)out + checkpoint_scalars[i].member));
    if (out->step < 0 || out->epoch < 0 || out->step_in_epoch < 0 || out->epoch_loss_steps < 0)
        FAIL(STATUS_BAD_INPUT,
             "%s: damaged: step, epoch, step_in_epoch and epoch_loss_steps must not be negative", path);
    if (out->height < 0 || out->width < 0 || out->height > INT16_MAX || out->width > INT16_MAX)
        FAIL(STATUS_BAD_INPUT, "%s: damaged: images of %lldx%lld pixels", path, (long long)out->height,
             (long long)out->width);
    TRY(hdf5_read_scalar(file, "finished", HDF5_UINT8, &finished));
    out->finished = finished != 0;
    TRY(hdf5_read_text(file, "config", &out->config_json));
    TRY(hdf5_read_text(file, "provenance", &out->provenance_json));
done:
    return status;
}

/* Names, shapes and packed offsets of /parameters; the other groups must have the same members. */
static Status read_tensor_table(Hdf5File *file, const char *path, Checkpoint *out) {
    Status status = STATUS_OK;
    char(*names)[HDF5_NAME_BYTES] = NULL;
    TRY(hdf5_list(file, checkpoint_arrays[0].group, &out->tensor_count, &names));
    TRY(ALLOCATE(&out->tensors, out->tensor_count));
    for (int i = 0; i < out->tensor_count; i++) {
        TensorInfo *tensor = &out->tensors[i];
        char name[2 * HDF5_NAME_BYTES];
        if (strlen(names[i]) >= sizeof tensor->name)
            FAIL(STATUS_BAD_INPUT, "%s: tensor %s: the name has more than %d characters", path, names[i],
                 CHECKPOINT_NAME_BYTES - 1);
        memcpy(tensor->name, names[i], strlen(names[i]));
        snprintf(name, sizeof name, "%s/%s", checkpoint_arrays[0].group, names[i]);
        TRY(hdf5_array_shape(file, name, HDF5_FLOAT32, &tensor->rank, tensor->dims));
        tensor->offset = out->parameter_count;
        tensor->count = 1;
        for (int d = 0; d < tensor->rank; d++)
            tensor->count *= tensor->dims[d];
        if (tensor->count > INT64_MAX / 8 - out->parameter_count)
            FAIL(STATUS_BAD_INPUT, "%s: damaged: more parameters than can be counted", path);
        out->parameter_count += tensor->count;
    }
    if (out->tensor_count == 0)
        FAIL(STATUS_BAD_INPUT, "%s: group %s: expected tensors, found none", path,
             checkpoint_arrays[0].group);
done:
    free(names);
    return status;
}

static Status read_array_group(Hdf5File *file, const char *path, const Checkpoint *checkpoint,
                               const char *group, float *array) {
    Status status = STATUS_OK;
    char(*names)[HDF5_NAME_BYTES] = NULL;
    int count;
    TRY(hdf5_list(file, group, &count, &names));
    if (count != checkpoint->tensor_count)
        FAIL(STATUS_BAD_INPUT, "%s: group %s: expected %d tensors as in %s, found %d", path, group,
             checkpoint->tensor_count, checkpoint_arrays[0].group, count);
    for (int i = 0; i < checkpoint->tensor_count; i++) {
        const TensorInfo *tensor = &checkpoint->tensors[i];
        char name[HDF5_NAME_BYTES];
        int rank;
        int64_t dims[HDF5_MAXIMUM_RANK];
        snprintf(name, sizeof name, "%s/%s", group, tensor->name);
        TRY(hdf5_array_shape(file, name, HDF5_FLOAT32, &rank, dims));
        if (rank != tensor->rank || memcmp(dims, tensor->dims, (size_t)rank * sizeof *dims) != 0)
            FAIL(STATUS_BAD_INPUT, "%s: dataset %s: its shape differs from that in %s", path, name,
                 checkpoint_arrays[0].group);
        TRY(hdf5_read_array(file, name, HDF5_FLOAT32, tensor->count, array + tensor->offset));
    }
done:
    free(names);
    return status;
}

/* The second guard, over values rather than bytes. */
static Status verify_checksums(Hdf5File *file, const char *path, const Checkpoint *checkpoint) {
    Status status = STATUS_OK;
    uint64_t parameters_stored, stored;
    uint64_t parameters_found = checkpoint_parameters_checksum(checkpoint);
    uint64_t found = checkpoint_checksum(checkpoint, parameters_found);
    TRY(hdf5_read_scalar(file, "parameters_checksum", HDF5_UINT64, &parameters_stored));
    TRY(hdf5_read_scalar(file, "checksum", HDF5_UINT64, &stored));
    if (parameters_found != parameters_stored)
        FAIL(STATUS_BAD_INPUT,
             "%s: damaged: checksum of the tensors: expected %016" PRIx64 ", found %016" PRIx64, path,
             parameters_stored, parameters_found);
    if (found != stored)
        FAIL(STATUS_BAD_INPUT,
             "%s: damaged: checksum of the attributes: expected %016" PRIx64 ", found %016" PRIx64, path,
             stored, found);
done:
    return status;
}

static Status read_file(const char *path, Checkpoint *out) {
    Status status = STATUS_OK;
    Hdf5File *file = NULL;
    Checkpoint checkpoint = {0};
    TRY(hdf5_open(path, &file));
    TRY(read_attributes(file, path, &checkpoint));
    TRY(read_tensor_table(file, path, &checkpoint));
    for (int k = 0; k < CHECKPOINT_ARRAYS; k++) {
        float **array = (float **)((char *)&checkpoint + checkpoint_arrays[k].member);
        TRY(ALLOCATE(array, checkpoint.parameter_count));
        TRY(read_array_group(file, path, &checkpoint, checkpoint_arrays[k].group, *array));
    }
    TRY(verify_checksums(file, path, &checkpoint));
    *out = checkpoint;
    checkpoint = (Checkpoint){0};
done:
    checkpoint_release(&checkpoint);
    hdf5_close(file);
    return status;
}

/* Newest first; only damage leads on to the one before: trouble of the machine (locks, memory) would repeat,
 * and a file that may not be read is not damaged. */
static Status read_newest_in(const char *folder, Checkpoint *out, char path[FILE_PATH_BYTES], bool *found) {
    Status status = STATUS_OK;
    int64_t *steps = NULL;
    int count;
    *found = false;
    *out = (Checkpoint){0};
    TRY(checkpoint_list(folder, &count, &steps));
    for (int i = 0; i < count && !*found; i++) {
        char name[CHECKPOINT_FILE_NAME_BYTES];
        checkpoint_file_name(steps[i], name);
        TRY(file_join(path, folder, name));
        status = read_file(path, out);
        if (status == STATUS_OK)
            *found = true;
        else if (status != STATUS_BAD_INPUT || !file_is_readable(path))
            goto done;
        else if (i + 1 < count)
            log_warning("%s; trying the checkpoint before it", status_message());
        else
            status_context(status, "no usable checkpoint among the %d in %s; the last one tried", count,
                           folder);
    }
done:
    free(steps);
    return status;
}

Status checkpoint_read_newest(const char *run_directory, Checkpoint *out, char path[FILE_PATH_BYTES],
                              bool *found) {
    char folder[FILE_PATH_BYTES];
    *found = false;
    *out = (Checkpoint){0};
    Status status = file_join(folder, run_directory, CHECKPOINT_FOLDER);
    return status == STATUS_OK ? read_newest_in(folder, out, path, found) : status;
}

Status checkpoint_read(const char *where, Checkpoint *out, char path[FILE_PATH_BYTES]) {
    Status status = STATUS_OK;
    char folder[FILE_PATH_BYTES], chosen[FILE_PATH_BYTES];
    bool found;
    *out = (Checkpoint){0};
    path = path ? path : chosen;
    if (!file_is_directory(where)) {
        snprintf(path, FILE_PATH_BYTES, "%s", where);
        return read_file(where, out);
    }
    TRY(file_join(folder, where, CHECKPOINT_FOLDER));
    TRY(read_newest_in(file_is_directory(folder) ? folder : where, out, path, &found));
    if (!found)
        FAIL(STATUS_BAD_INPUT,
             "%s: expected a checkpoint, or a run's folder that has one, found a folder without "
             "%s/step-*.h5",
             where, CHECKPOINT_FOLDER);
done:
    return status;
}
