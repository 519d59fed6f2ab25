#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "io/checkpoint.h"
#include "io/checkpoint_format.h"

/* A mistake of the program, not of the user: caught here rather than in the file. */
static Status check_tensors(const Checkpoint *checkpoint) {
    if (checkpoint->tensor_count < 1)
        return status_error(STATUS_FAILURE, "checkpoint of step %lld: no tensors",
                            (long long)checkpoint->step);
    for (int i = 0; i < checkpoint->tensor_count; i++) {
        const TensorInfo *tensor = &checkpoint->tensors[i];
        int64_t count = tensor->rank >= 1 && tensor->rank <= CHECKPOINT_MAXIMUM_RANK;
        for (int d = 0; count > 0 && d < tensor->rank; d++)
            count *= tensor->dims[d];
        if (count < 1 || count != tensor->count || tensor->offset < 0 ||
            tensor->offset > checkpoint->parameter_count - count)
            return status_error(
                STATUS_FAILURE,
                "checkpoint tensor %s: %lld elements at offset %lld do not fit its shape or the %lld "
                "elements of the arrays",
                tensor->name, (long long)tensor->count, (long long)tensor->offset,
                (long long)checkpoint->parameter_count);
        if (!tensor->name[0] || strchr(tensor->name, '/') ||
            checkpoint_tensor(checkpoint, tensor->name) != tensor)
            return status_error(STATUS_FAILURE,
                                "checkpoint tensor \"%s\": the name is empty, used twice or has a /",
                                tensor->name);
    }
    return STATUS_OK;
}

static Status write_attributes(Hdf5File *file, const Checkpoint *checkpoint) {
    Status status = STATUS_OK;
    int64_t format_version = CHECKPOINT_FORMAT_VERSION;
    uint64_t parameters_checksum = checkpoint_parameters_checksum(checkpoint);
    uint64_t checksum = checkpoint_checksum(checkpoint, parameters_checksum);
    uint8_t finished = checkpoint->finished;
    TRY(hdf5_write_scalar(file, "format_version", HDF5_INT64, &format_version));
    for (int i = 0; i < CHECKPOINT_SCALARS; i++)
        TRY(hdf5_write_scalar(file, checkpoint_scalars[i].name, checkpoint_scalars[i].type,
                              (const char *)checkpoint + checkpoint_scalars[i].member));
    TRY(hdf5_write_scalar(file, "finished", HDF5_UINT8, &finished));
    TRY(hdf5_write_text(file, "config", checkpoint->config_json ? checkpoint->config_json : ""));
    TRY(hdf5_write_text(file, "provenance", checkpoint->provenance_json ? checkpoint->provenance_json : ""));
    TRY(hdf5_write_scalar(file, "parameters_checksum", HDF5_UINT64, &parameters_checksum));
    TRY(hdf5_write_scalar(file, "checksum", HDF5_UINT64, &checksum));
done:
    return status;
}

static Status write_file(const char *path, const Checkpoint *checkpoint) {
    Status status = STATUS_OK;
    Hdf5File *file = NULL;
    TRY(hdf5_create(path, &file));
    TRY(write_attributes(file, checkpoint));
    TRY(hdf5_make_group(file, "/optimizer"));
    for (int k = 0; k < CHECKPOINT_ARRAYS; k++) {
        const float *array = *(float *const *)((const char *)checkpoint + checkpoint_arrays[k].member);
        TRY(hdf5_make_group(file, checkpoint_arrays[k].group));
        for (int i = 0; i < checkpoint->tensor_count; i++) {
            const TensorInfo *tensor = &checkpoint->tensors[i];
            char name[HDF5_NAME_BYTES];
            snprintf(name, sizeof name, "%s/%s", checkpoint_arrays[k].group, tensor->name);
            TRY(hdf5_write_array(file, name, HDF5_FLOAT32, tensor->rank, tensor->dims,
                                 array + tensor->offset));
        }
    }
    TRY(hdf5_save(file));
done:
    hdf5_close(file);
    return status;
}

static void warn_failed(const char *action, const char *path) {
    log_warning("%s: cannot %s: %s", path, action, strerror(errno));
}

/* The new checkpoint is safe when this is called: whatever goes wrong now is only worth a warning. */
static void tidy_checkpoints(const char *folder, int64_t written, int keep, int count, const int64_t *steps) {
    int kept = 1;
    for (int i = 0; i < count; i++) { /* latest first */
        char name[CHECKPOINT_FILE_NAME_BYTES], path[FILE_PATH_BYTES], aside[FILE_PATH_BYTES + 16];
        checkpoint_file_name(steps[i], name);
        if (steps[i] == written || file_join(path, folder, name) != STATUS_OK)
            continue;
        if (steps[i] > written) {
            snprintf(aside, sizeof aside, "%s.superseded", path);
            if (rename(path, aside) != 0)
                warn_failed("rename", path);
            else
                log_warning(
                    "%s belongs to a later step than this run's new checkpoint (step %lld); renamed to "
                    "%s.superseded",
                    path, (long long)written, name);
        } else if (kept < keep) {
            kept++;
        } else if (unlink(path) != 0) {
            warn_failed("remove", path);
        }
    }
}

/* Temporary files of a run that was killed while writing: the lock says that nobody is writing them now. */
static void remove_leftovers(const char *folder) {
    DIR *directory = opendir(folder);
    if (!directory)
        return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        char path[FILE_PATH_BYTES];
        if (file_is_temporary(entry->d_name) && file_join(path, folder, entry->d_name) == STATUS_OK &&
            unlink(path) != 0)
            warn_failed("remove the leftover", path);
    }
    closedir(directory);
}

Status checkpoint_write(const char *run_directory, const Checkpoint *checkpoint, int keep) {
    Status status = STATUS_OK;
    char folder[FILE_PATH_BYTES], path[FILE_PATH_BYTES], link[FILE_PATH_BYTES],
        name[CHECKPOINT_FILE_NAME_BYTES];
    int64_t *steps = NULL;
    int count;
    TRY(check_tensors(checkpoint));
    TRY(file_join(folder, run_directory, CHECKPOINT_FOLDER));
    TRY(file_make_directories(folder));
    remove_leftovers(folder); /* first: on a full disk they may be in the way */
    checkpoint_file_name(checkpoint->step, name);
    TRY(file_join(path, folder, name));
    TRY(file_join(link, folder, CHECKPOINT_LATEST));
    TRY(write_file(path, checkpoint));
    if (file_replace_link(link, name) != STATUS_OK) /* nothing reads it but people */
        log_warning("%s", status_message());
    if (checkpoint_list(folder, &count, &steps) != STATUS_OK)
        log_warning("%s", status_message());
    tidy_checkpoints(folder, checkpoint->step, keep, count, steps);
done:
    free(steps);
    return status;
}
