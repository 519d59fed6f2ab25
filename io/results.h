/* Products of sampling as HDF5 files, written atomically, every dataset with a Fletcher-32 checksum. HDF5
 * takes one thread at a time. Not collective: rank 0 only. */
#ifndef IO_RESULTS_H
#define IO_RESULTS_H

#include <stdint.h>

#include "core/status.h"
#include "io/hdf5_file.h"
#include "io/named_value.h"

/* One dataset; everything is borrowed. */
typedef struct ResultArray {
    const char *name; /* "draws" */
    Hdf5Type type;
    int rank;
    int64_t dims[HDF5_MAXIMUM_RANK];
    const void *data; /* row-major */
} ResultArray;

/* One root attribute of a file that is being created. */
Status results_write_value(Hdf5File *file, const NamedValue *value);

/* Writes any arrays and root attributes. */
Status results_write(const char *path, int array_count, const ResultArray *arrays, int value_count,
                     const NamedValue *values);

/* samples.h5: /x_T and /samples (count, 1, height, width) f32, in the [-1, 1] scale. Attributes by
 * convention: sampler, steps, seed, weights, checkpoint (path), checkpoint_checksum. */
Status samples_write(const char *path, const float *x_T, const float *samples, int64_t count, int64_t height,
                     int64_t width, int value_count, const NamedValue *values);

/* posterior.h5: /truth, /observed (height, width) f32, /mask (height, width) u8 (1 = observed),
 * /draws (count, height, width) f32; attributes: every setting. */
Status posterior_write(const char *path, const float *truth, const uint8_t *mask, const float *observed,
                       const float *draws, int64_t count, int64_t height, int64_t width, int value_count,
                       const NamedValue *values);

#endif
