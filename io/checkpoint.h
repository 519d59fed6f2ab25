/* Checkpoints: the state of a training run in one HDF5 file, readable by h5py under PyTorch's parameter
 * names.
 *
 *   /parameters/<name> /ema/<name> /optimizer/m/<name> /optimizer/v/<name>: float32, the tensor's own shape
 *
 *   attributes: format_version step epoch step_in_epoch height width data_checksum epoch_loss_sum
 * epoch_loss_steps best_epoch_mean last_epoch_mean seed finished config provenance parameters_checksum
 * checksum
 *
 * Every dataset carries a Fletcher-32 checksum, HDF5's own metadata (1.10 format) is checksummed, and the two
 * checksum attributes cover all values a second time. All calls here use HDF5, which takes one thread at a
 * time. Not collective: rank 0 only. */
#ifndef IO_CHECKPOINT_H
#define IO_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"
#include "io/file.h"

enum { CHECKPOINT_FORMAT_VERSION = 1, CHECKPOINT_NAME_BYTES = 96, CHECKPOINT_MAXIMUM_RANK = 4 };

/* Where a tensor lies in the flat arrays. */
typedef struct TensorInfo {
    char name[CHECKPOINT_NAME_BYTES]; /* as in PyTorch's state_dict: "down.0.block.conv1.weight" */
    int rank;                         /* 1..4 */
    int64_t dims[CHECKPOINT_MAXIMUM_RANK];
    int64_t offset, count; /* in elements */
} TensorInfo;

/* For writing every pointer is borrowed; one filled by checkpoint_read owns them all. Zero-initialise. */
typedef struct Checkpoint {
    int64_t height, width;              /* of the images in pixels */
    uint64_t data_checksum;             /* of the training images' pixels: dataset_checksum */
    int64_t step, epoch, step_in_epoch; /* steps done; the epoch in progress and the steps done in it */
    double epoch_loss_sum;              /* of the epoch in progress, over epoch_loss_steps steps */
    int64_t epoch_loss_steps;
    double best_epoch_mean, last_epoch_mean; /* may be infinite or NaN before the first epoch ends */
    uint64_t seed;
    bool finished;
    char *config_json, *provenance_json;
    int tensor_count;
    TensorInfo *tensors;
    int64_t parameter_count;         /* elements of each flat array; tensors may leave gaps when written */
    float *parameters, *ema, *m, *v; /* (parameter_count) */
} Checkpoint;

/* Writes RUN/checkpoints/step-<9 digits>.h5 (temporary name, fsync, rename, fsync of the directory), points
 * latest.h5 to it, then removes leftover temporary files and the checkpoints of earlier steps beyond `keep`
 * (>= 1, this one included). Checkpoints of later steps, damaged ones that were gone back from, are renamed
 * to *.superseded with a warning. On failure the earlier checkpoints are untouched. May run on a background
 * thread as long as no other thread uses HDF5. */
Status checkpoint_write(const char *run_directory, const Checkpoint *checkpoint, int keep);

/* Reads and verifies a checkpoint file, or the newest good one of a run's folder (or of its checkpoints/): a
 * damaged newer one is named with its reason in a warning. path: of the file read; may be NULL. Tensors come
 * in the order they were written, packed without gaps. Errors (missing, not HDF5, truncated, damaged, another
 * format version): STATUS_BAD_INPUT. Release after use. */
Status checkpoint_read(const char *where, Checkpoint *out, char path[FILE_PATH_BYTES]);

/* The same of a run that may have no checkpoint yet: then *found is false. If there are some but every one is
 * damaged, that is an error. */
Status checkpoint_read_newest(const char *run_directory, Checkpoint *out, char path[FILE_PATH_BYTES],
                              bool *found);

/* The tensor of that name, NULL if there is none. */
const TensorInfo *checkpoint_tensor(const Checkpoint *checkpoint, const char *name);

/* A 64-bit checksum of the tensors' names, shapes and the four arrays, independent of their offsets, of
 * configuration and of provenance: equal on any number of ranks. Printed as %016llx it identifies a
 * checkpoint in samples.h5. */
uint64_t checkpoint_parameters_checksum(const Checkpoint *checkpoint);

/* Frees what checkpoint_read allocated and zeroes the struct. */
void checkpoint_release(Checkpoint *checkpoint);

#endif
