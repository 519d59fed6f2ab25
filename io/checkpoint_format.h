/* What writing and reading checkpoints share; private to io/checkpoint*.c. */
#ifndef IO_CHECKPOINT_FORMAT_H
#define IO_CHECKPOINT_FORMAT_H

#include "io/checkpoint.h"
#include "io/hdf5_file.h"

#define CHECKPOINT_FOLDER "checkpoints"
#define CHECKPOINT_LATEST "latest.h5"

enum { CHECKPOINT_FILE_NAME_BYTES = 40, CHECKPOINT_ARRAYS = 4, CHECKPOINT_SCALARS = 11 };

/* A flat array of the struct and the group its tensors are stored in. */
typedef struct CheckpointArray {
    const char *group;
    size_t member; /* offset of the float * in Checkpoint */
} CheckpointArray;

/* A numeric attribute of the struct; all are 8 bytes long. */
typedef struct CheckpointScalar {
    const char *name;
    Hdf5Type type;
    size_t member;
} CheckpointScalar;

extern const CheckpointArray checkpoint_arrays[CHECKPOINT_ARRAYS];
extern const CheckpointScalar checkpoint_scalars[CHECKPOINT_SCALARS];

/* "step-000037520.h5" */
void checkpoint_file_name(int64_t step, char name[CHECKPOINT_FILE_NAME_BYTES]);

/* Steps of all checkpoint files of a folder, latest first, whatever state they are in; *steps is the caller's
 * to free. A missing folder has none. */
Status checkpoint_list(const char *folder, int *count, int64_t **steps);

/* Covers every value of the checkpoint but the arrays, and the arrays' checksum. */
uint64_t checkpoint_checksum(const Checkpoint *checkpoint, uint64_t parameters_checksum);

#endif
