/* What the HDF5 files of io share; private to them. */
#ifndef IO_HDF5_INTERNAL_H
#define IO_HDF5_INTERNAL_H

#include <hdf5.h>
#include <stddef.h>

#include "io/file.h"
#include "io/hdf5_file.h"

enum { HDF5_MESSAGE_BYTES = 256 };

struct Hdf5File {
    hid_t id;
    bool saving;
    bool on_disk; /* a new file under its temporary name, not in memory */
    char path[FILE_PATH_BYTES];
    /* Memory that the library builds a new file in, given to us when it closes the file: H5Fget_file_image
     * (1.10.8) clears a superblock flag without renewing the superblock's checksum, so that its copy cannot
     * be opened. */
    unsigned char *image;
    size_t image_capacity; /* bytes */
    bool image_closed;
};

/* Fails with HDF5's own reason if the call's value is negative. */
#define TRY_HDF5(call, action, name)                                                                         \
    do {                                                                                                     \
        if ((call) < 0) {                                                                                    \
            status = hdf5_error(file, (action), (name));                                                     \
            goto done;                                                                                       \
        }                                                                                                    \
    } while (0)

/* The innermost message of the call that failed just now, in one line: the next HDF5 call clears it. */
void hdf5_library_message(char text[HDF5_MESSAGE_BYTES]);

/* "FILE: cannot ACTION NAME: REASON": STATUS_FAILURE for a file that is being made and for a failed system
 * call, else STATUS_BAD_INPUT. */
Status hdf5_error(const Hdf5File *file, const char *action, const char *name);

/* What the files hold and what the library hands over, and bytes of an element. */
hid_t hdf5_file_type(Hdf5Type type);
hid_t hdf5_memory_type(Hdf5Type type);
size_t hdf5_type_bytes(Hdf5Type type);

/* Chunks of whole rows (of the first dimension) up to `most_bytes`; a single row may be larger. */
void hdf5_choose_chunk(Hdf5Type type, int rank, const hsize_t *dims, size_t most_bytes, hsize_t *chunk);

/* Releases an identifier of any kind but a file; a negative one is fine. */
void hdf5_release(hid_t id);

#endif
