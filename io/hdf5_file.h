/* The only module of the project that calls HDF5 (hdf5_file.c: files; hdf5_data.c, hdf5_rows.c: their
 * content): checked helpers whose errors name file, object and HDF5's innermost message. A file is built in
 * memory and written in one piece, so that a full disk can neither confuse the library nor harm the file
 * before it. One thread at a time. */
#ifndef IO_HDF5_FILE_H
#define IO_HDF5_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum { HDF5_MAXIMUM_RANK = 4, HDF5_NAME_BYTES = 128 };

typedef enum Hdf5Type {
    HDF5_FLOAT32,
    HDF5_FLOAT64,
    HDF5_INT64,
    HDF5_UINT64,
    HDF5_UINT8,
} Hdf5Type;

typedef struct Hdf5File Hdf5File;

/* Starts a new file in memory (1.10 format, no time stamps: equal content gives equal bytes). */
Status hdf5_create(const char *path, Hdf5File **out);
/* The same on the disk, under a temporary name beside `path`, for content larger than memory. */
Status hdf5_create_on_disk(const char *path, Hdf5File **out);
/* Completes what was created and writes it to its path, durably and atomically (file_write); only hdf5_close
 * may follow. */
Status hdf5_save(Hdf5File *file);
/* Opens for reading. Errors: missing, not HDF5, truncated (expected and found bytes), damaged:
 * STATUS_BAD_INPUT; a refused file lock, with what to do: STATUS_FAILURE. */
Status hdf5_open(const char *path, Hdf5File **out);
/* Releases the file; one that was created and not saved vanishes. NULL is fine. */
void hdf5_close(Hdf5File *file);

/* Groups and datasets are named by absolute path ("/optimizer/m"); a group's parent must exist. */
Status hdf5_make_group(Hdf5File *file, const char *name);
/* Chunked, with a Fletcher-32 checksum. rank 1..4, all dims >= 1, data row-major. */
Status hdf5_write_array(Hdf5File *file, const char *name, Hdf5Type type, int rank, const int64_t *dims,
                        const void *data);

/* A dataset of a file that is being created, written a few rows (of the first dimension) at a time, best in
 * order; shape and checksum as hdf5_write_array's. Rows that are never written are zero. Close it before the
 * file; accepts NULL. */
typedef struct Hdf5Rows Hdf5Rows;
Status hdf5_rows_create(Hdf5File *file, const char *name, Hdf5Type type, int rank, const int64_t *dims,
                        Hdf5Rows **out);
Status hdf5_rows_write(Hdf5Rows *rows, int64_t first, int64_t count, const void *data);
Status hdf5_rows_close(Hdf5Rows *rows);

/* Root attributes; text is stored with a fixed length. */
Status hdf5_write_scalar(Hdf5File *file, const char *name, Hdf5Type type, const void *value);
Status hdf5_write_text(Hdf5File *file, const char *name, const char *text);

/* Names of a group's members in the order of their creation; *names (count, HDF5_NAME_BYTES each) is the
 * caller's to free. */
Status hdf5_list(Hdf5File *file, const char *group, int *count, char (**names)[HDF5_NAME_BYTES]);
/* Shape of a dataset; its type must be `type`. */
Status hdf5_array_shape(Hdf5File *file, const char *name, Hdf5Type type, int *rank,
                        int64_t dims[HDF5_MAXIMUM_RANK]);
/* Reads a whole dataset, which must have exactly `count` elements of `type`. */
Status hdf5_read_array(Hdf5File *file, const char *name, Hdf5Type type, int64_t count, void *data);

Status hdf5_has_attribute(Hdf5File *file, const char *name, bool *found);
Status hdf5_read_scalar(Hdf5File *file, const char *name, Hdf5Type type, void *value);
Status hdf5_read_text(Hdf5File *file, const char *name, char **text); /* *text: the caller's to free */

#endif
