#include "io/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint_format.h"
#include "io/checksum.h"

const CheckpointArray checkpoint_arrays[CHECKPOINT_ARRAYS] = {
    {"/parameters", offsetof(Checkpoint, parameters)},
    {"/ema", offsetof(Checkpoint, ema)},
    {"/optimizer/m", offsetof(Checkpoint, m)},
    {"/optimizer/v", offsetof(Checkpoint, v)},
};

const CheckpointScalar checkpoint_scalars[CHECKPOINT_SCALARS] = {
    {"step", HDF5_INT64, offsetof(Checkpoint, step)},
    {"epoch", HDF5_INT64, offsetof(Checkpoint, epoch)},
    {"step_in_epoch", HDF5_INT64, offsetof(Checkpoint, step_in_epoch)},
    {"height", HDF5_INT64, offsetof(Checkpoint, height)},
    {"width", HDF5_INT64, offsetof(Checkpoint, width)},
    {"data_checksum", HDF5_UINT64, offsetof(Checkpoint, data_checksum)},
    {"epoch_loss_sum", HDF5_FLOAT64, offsetof(Checkpoint, epoch_loss_sum)},
    {"epoch_loss_steps", HDF5_INT64, offsetof(Checkpoint, epoch_loss_steps)},
    {"best_epoch_mean", HDF5_FLOAT64, offsetof(Checkpoint, best_epoch_mean)},
    {"last_epoch_mean", HDF5_FLOAT64, offsetof(Checkpoint, last_epoch_mean)},
    {"seed", HDF5_UINT64, offsetof(Checkpoint, seed)},
};

void checkpoint_file_name(int64_t step, char name[CHECKPOINT_FILE_NAME_BYTES]) {
    snprintf(name, CHECKPOINT_FILE_NAME_BYTES, "step-%09" PRId64 ".h5", step);
}

static int compare_descending(const void *a, const void *b) {
    int64_t first = *(const int64_t *)a, second = *(const int64_t *)b;
    return (first < second) - (first > second);
}

/* The step in a checkpoint's file name, -1 for any other name. */
static int64_t step_of(const char *name) {
    char expected[CHECKPOINT_FILE_NAME_BYTES];
    int64_t step;
    if (sscanf(name, "step-%18" SCNd64, &step) != 1 || step < 0)
        return -1;
    checkpoint_file_name(step, expected);
    return strcmp(name, expected) == 0 ? step : -1;
}

Status checkpoint_list(const char *folder, int *count, int64_t **steps) {
    Status status = STATUS_OK;
    int64_t *list = NULL;
    int used = 0, capacity = 0;
    *count = 0;
    *steps = NULL;
    DIR *directory = opendir(folder);
    if (!directory && errno == ENOENT)
        return STATUS_OK;
    if (!directory)
        FAIL(file_error_status(errno), "%s: cannot list the checkpoints: %s", folder, strerror(errno));
    for (struct dirent *entry; (entry = readdir(directory));) {
        int64_t step = step_of(entry->d_name);
        if (step < 0)
            continue;
        if (used == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            int64_t *grown = realloc(list, (size_t)capacity * sizeof *list);
            if (!grown)
                FAIL(STATUS_FAILURE, "%s: out of memory for the list of checkpoints", folder);
            list = grown;
        }
        list[used++] = step;
    }
    if (used > 0)
        qsort(list, (size_t)used, sizeof *list, compare_descending);
    *count = used;
    *steps = list;
    list = NULL;
done:
    free(list);
    if (directory)
        closedir(directory);
    return status;
}

const TensorInfo *checkpoint_tensor(const Checkpoint *checkpoint, const char *name) {
    for (int i = 0; i < checkpoint->tensor_count; i++)
        if (strcmp(checkpoint->tensors[i].name, name) == 0)
            return &checkpoint->tensors[i];
    return NULL;
}

uint64_t checkpoint_parameters_checksum(const Checkpoint *checkpoint) {
    Checksum checksum = checksum_start();
    for (int i = 0; i < checkpoint->tensor_count; i++) {
        const TensorInfo *tensor = &checkpoint->tensors[i];
        checksum_add(&checksum, tensor->name, strlen(tensor->name));
        checksum_add(&checksum, tensor->dims, (size_t)tensor->rank * sizeof *tensor->dims);
        for (int k = 0; k < CHECKPOINT_ARRAYS; k++) {
            const float *array = *(float *const *)((const char *)checkpoint + checkpoint_arrays[k].member);
            checksum_add(&checksum, array + tensor->offset, (size_t)tensor->count * sizeof *array);
        }
    }
    return checksum_value(&checksum);
}

uint64_t checkpoint_checksum(const Checkpoint *checkpoint, uint64_t parameters_checksum) {
    Checksum checksum = checksum_start();
    const char *texts[] = {checkpoint->config_json, checkpoint->provenance_json};
    uint64_t finished = checkpoint->finished, format_version = CHECKPOINT_FORMAT_VERSION;
    checksum_add(&checksum, &format_version, sizeof format_version);
    for (int i = 0; i < CHECKPOINT_SCALARS; i++)
        checksum_add(&checksum, (const char *)checkpoint + checkpoint_scalars[i].member, sizeof(uint64_t));
    checksum_add(&checksum, &finished, sizeof finished);
    for (int i = 0; i < (int)(sizeof texts / sizeof *texts); i++)
        checksum_add(&checksum, texts[i] ? texts[i] : "", texts[i] ? strlen(texts[i]) : 0);
    checksum_add(&checksum, &parameters_checksum, sizeof parameters_checksum);
    return checksum_value(&checksum);
}

void checkpoint_release(Checkpoint *checkpoint) {
    free(checkpoint->config_json);
    free(checkpoint->provenance_json);
    free(checkpoint->tensors);
    free(checkpoint->parameters);
    free(checkpoint->ema);
    free(checkpoint->m);
    free(checkpoint->v);
    *checkpoint = (Checkpoint){0};
}
