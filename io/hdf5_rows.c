#include <stdio.h>
#include <stdlib.h>

#include "io/hdf5_internal.h"

enum {
    ROWS_CHUNK_BYTES = 1 << 20, /* a chunk stays in memory until its rows are there */
    CACHE_SLOTS = 101,          /* a prime, as the library advises; far more than chunks in the cache */
};

struct Hdf5Rows {
    Hdf5File *file;
    hid_t set;
    Hdf5Type type;
    int rank;
    hsize_t dims[HDF5_MAXIMUM_RANK];
    char name[HDF5_NAME_BYTES];
};

static Status create_set(Hdf5Rows *rows) {
    Status status = STATUS_OK;
    Hdf5File *file = rows->file;
    const char *name = rows->name;
    hsize_t chunk[HDF5_MAXIMUM_RANK];
    hid_t creation = H5I_INVALID_HID, access = H5I_INVALID_HID, space = H5I_INVALID_HID;
    size_t chunk_bytes = hdf5_type_bytes(rows->type);
    hdf5_choose_chunk(rows->type, rows->rank, rows->dims, ROWS_CHUNK_BYTES, chunk);
    for (int i = 0; i < rows->rank; i++)
        chunk_bytes *= chunk[i];
    TRY_HDF5(creation = H5Pcreate(H5P_DATASET_CREATE), "create properties of", name);
    TRY_HDF5(H5Pset_obj_track_times(creation, false), "switch off time stamps of", name);
    TRY_HDF5(H5Pset_chunk(creation, rows->rank, chunk), "choose the chunks of", name);
    TRY_HDF5(H5Pset_fletcher32(creation), "choose the checksum of", name);
    TRY_HDF5(access = H5Pcreate(H5P_DATASET_ACCESS), "create access properties of", name);
    TRY_HDF5(H5Pset_chunk_cache(access, CACHE_SLOTS, 2 * chunk_bytes, 1.0), "choose the cache of", name);
    TRY_HDF5(space = H5Screate_simple(rows->rank, rows->dims, NULL), "describe", name);
    TRY_HDF5(rows->set =
                 H5Dcreate2(file->id, name, hdf5_file_type(rows->type), space, H5P_DEFAULT, creation, access),
             "create", name);
done:
    hdf5_release(space);
    hdf5_release(access);
    hdf5_release(creation);
    return status;
}

Status hdf5_rows_create(Hdf5File *file, const char *name, Hdf5Type type, int rank, const int64_t *dims,
                        Hdf5Rows **out) {
    Status status = STATUS_OK;
    Hdf5Rows *rows = NULL;
    *out = NULL;
    if (rank < 1 || rank > HDF5_MAXIMUM_RANK)
        FAIL(STATUS_FAILURE, "%s: %s: rank %d, expected 1 to %d", file->path, name, rank, HDF5_MAXIMUM_RANK);
    TRY(ALLOCATE(&rows, 1));
    rows->file = file;
    rows->set = H5I_INVALID_HID;
    rows->type = type;
    rows->rank = rank;
    snprintf(rows->name, sizeof rows->name, "%s", name);
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 1)
            FAIL(STATUS_FAILURE, "%s: %s: dimension %d is %lld, expected at least 1", file->path, name, i,
                 (long long)dims[i]);
        rows->dims[i] = (hsize_t)dims[i];
    }
    TRY(create_set(rows));
    *out = rows;
    rows = NULL;
done:
    if (rows)
        hdf5_release(rows->set);
    free(rows);
    return status;
}

Status hdf5_rows_write(Hdf5Rows *rows, int64_t first, int64_t count, const void *data) {
    Status status = STATUS_OK;
    Hdf5File *file = rows->file;
    hsize_t start[HDF5_MAXIMUM_RANK] = {0}, extent[HDF5_MAXIMUM_RANK];
    hid_t stored = H5I_INVALID_HID, given = H5I_INVALID_HID;
    for (int i = 0; i < rows->rank; i++)
        extent[i] = rows->dims[i];
    if (first < 0 || count < 1 || (hsize_t)(first + count) > rows->dims[0])
        FAIL(STATUS_FAILURE, "%s: %s: rows %lld to %lld, expected below %llu", file->path, rows->name,
             (long long)first, (long long)(first + count - 1), (unsigned long long)rows->dims[0]);
    start[0] = (hsize_t)first;
    extent[0] = (hsize_t)count;
    TRY_HDF5(stored = H5Dget_space(rows->set), "describe", rows->name);
    TRY_HDF5(H5Sselect_hyperslab(stored, H5S_SELECT_SET, start, NULL, extent, NULL), "choose rows of",
             rows->name);
    TRY_HDF5(given = H5Screate_simple(rows->rank, extent, NULL), "describe rows of", rows->name);
    TRY_HDF5(H5Dwrite(rows->set, hdf5_memory_type(rows->type), given, stored, H5P_DEFAULT, data),
             "write rows of", rows->name);
done:
    hdf5_release(given);
    hdf5_release(stored);
    return status;
}

Status hdf5_rows_close(Hdf5Rows *rows) {
    Status status = STATUS_OK;
    if (!rows)
        return STATUS_OK;
    Hdf5File *file = rows->file;
    TRY_HDF5(H5Dclose(rows->set), "complete", rows->name);
done:
    free(rows);
    return status;
}
