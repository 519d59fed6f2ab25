#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/hdf5_internal.h"

enum {
    CHUNK_BYTES = 4 << 20,         /* a chunk is checksummed and moved as one piece */
    MAXIMUM_TEXT_BYTES = 16 << 20, /* far above any configuration; guards the allocation */
};

static const struct {
    const char *name;
    size_t bytes;
} hdf5_types[] = {
    [HDF5_FLOAT32] = {"float32", 4}, [HDF5_FLOAT64] = {"float64", 8}, [HDF5_INT64] = {"int64", 8},
    [HDF5_UINT64] = {"uint64", 8},   [HDF5_UINT8] = {"uint8", 1},
};

/* The little-endian type of the files; HDF5 converts from and to the native one, which takes a run-time
 * identifier. */
hid_t hdf5_file_type(Hdf5Type type) {
    switch (type) {
    case HDF5_FLOAT32:
        return H5T_IEEE_F32LE;
    case HDF5_FLOAT64:
        return H5T_IEEE_F64LE;
    case HDF5_INT64:
        return H5T_STD_I64LE;
    case HDF5_UINT64:
        return H5T_STD_U64LE;
    case HDF5_UINT8:
        return H5T_STD_U8LE;
    }
    return H5I_INVALID_HID;
}

hid_t hdf5_memory_type(Hdf5Type type) {
    switch (type) {
    case HDF5_FLOAT32:
        return H5T_NATIVE_FLOAT;
    case HDF5_FLOAT64:
        return H5T_NATIVE_DOUBLE;
    case HDF5_INT64:
        return H5T_NATIVE_INT64;
    case HDF5_UINT64:
        return H5T_NATIVE_UINT64;
    case HDF5_UINT8:
        return H5T_NATIVE_UINT8;
    }
    return H5I_INVALID_HID;
}

Status hdf5_make_group(Hdf5File *file, const char *name) {
    Status status = STATUS_OK;
    hid_t creation = H5I_INVALID_HID, group = H5I_INVALID_HID;
    TRY_HDF5(creation = H5Pcreate(H5P_GROUP_CREATE), "create properties of", name);
    TRY_HDF5(H5Pset_obj_track_times(creation, false), "switch off time stamps of", name);
    TRY_HDF5(H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED),
             "keep the member order of", name);
    TRY_HDF5(group = H5Gcreate2(file->id, name, H5P_DEFAULT, creation, H5P_DEFAULT), "create", name);
done:
    hdf5_release(group);
    hdf5_release(creation);
    return status;
}

size_t hdf5_type_bytes(Hdf5Type type) {
    return hdf5_types[type].bytes;
}

void hdf5_choose_chunk(Hdf5Type type, int rank, const hsize_t *dims, size_t most_bytes, hsize_t *chunk) {
    hsize_t row_bytes = hdf5_types[type].bytes;
    for (int i = 1; i < rank; i++)
        row_bytes *= chunk[i] = dims[i];
    hsize_t rows = most_bytes / row_bytes;
    chunk[0] = rows < 1 ? 1 : rows < dims[0] ? rows : dims[0];
}

Status hdf5_write_array(Hdf5File *file, const char *name, Hdf5Type type, int rank, const int64_t *dims,
                        const void *data) {
    Status status = STATUS_OK;
    hsize_t shape[HDF5_MAXIMUM_RANK], chunk[HDF5_MAXIMUM_RANK];
    hid_t creation = H5I_INVALID_HID, space = H5I_INVALID_HID, set = H5I_INVALID_HID;
    if (rank < 1 || rank > HDF5_MAXIMUM_RANK)
        FAIL(STATUS_FAILURE, "%s: %s: rank %d, expected 1 to %d", file->path, name, rank, HDF5_MAXIMUM_RANK);
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 1)
            FAIL(STATUS_FAILURE, "%s: %s: dimension %d is %lld, expected at least 1", file->path, name, i,
                 (long long)dims[i]);
        shape[i] = (hsize_t)dims[i];
    }
    hdf5_choose_chunk(type, rank, shape, CHUNK_BYTES, chunk);
    TRY_HDF5(creation = H5Pcreate(H5P_DATASET_CREATE), "create properties of", name);
    TRY_HDF5(H5Pset_obj_track_times(creation, false), "switch off time stamps of", name);
    TRY_HDF5(H5Pset_chunk(creation, rank, chunk), "choose the chunks of", name);
    TRY_HDF5(H5Pset_fletcher32(creation), "choose the checksum of", name);
    TRY_HDF5(space = H5Screate_simple(rank, shape, NULL), "describe", name);
    TRY_HDF5(set =
                 H5Dcreate2(file->id, name, hdf5_file_type(type), space, H5P_DEFAULT, creation, H5P_DEFAULT),
             "create", name);
    TRY_HDF5(H5Dwrite(set, hdf5_memory_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, data), "write", name);
done:
    hdf5_release(set);
    hdf5_release(space);
    hdf5_release(creation);
    return status;
}

static Status write_attribute(Hdf5File *file, const char *name, hid_t stored, hid_t given,
                              const void *value) {
    Status status = STATUS_OK;
    hid_t space = H5I_INVALID_HID, attribute = H5I_INVALID_HID;
    TRY_HDF5(space = H5Screate(H5S_SCALAR), "describe attribute", name);
    TRY_HDF5(attribute = H5Acreate2(file->id, name, stored, space, H5P_DEFAULT, H5P_DEFAULT),
             "create attribute", name);
    TRY_HDF5(H5Awrite(attribute, given, value), "write attribute", name);
done:
    hdf5_release(attribute);
    hdf5_release(space);
    return status;
}

Status hdf5_write_scalar(Hdf5File *file, const char *name, Hdf5Type type, const void *value) {
    return write_attribute(file, name, hdf5_file_type(type), hdf5_memory_type(type), value);
}

/* The fixed-length string type of `bytes` bytes, NUL included. */
static Status text_type(Hdf5File *file, const char *name, size_t bytes, hid_t *type) {
    Status status = STATUS_OK;
    TRY_HDF5(*type = H5Tcopy(H5T_C_S1), "describe attribute", name);
    TRY_HDF5(H5Tset_size(*type, bytes), "size attribute", name);
    TRY_HDF5(H5Tset_cset(*type, H5T_CSET_UTF8), "encode attribute", name);
done:
    return status;
}

Status hdf5_write_text(Hdf5File *file, const char *name, const char *text) {
    Status status = STATUS_OK;
    hid_t type = H5I_INVALID_HID;
    TRY(text_type(file, name, strlen(text) + 1, &type));
    TRY(write_attribute(file, name, type, type, text));
done:
    hdf5_release(type);
    return status;
}

Status hdf5_list(Hdf5File *file, const char *group_name, int *count, char (**names)[HDF5_NAME_BYTES]) {
    Status status = STATUS_OK;
    hid_t group = H5I_INVALID_HID, creation = H5I_INVALID_HID;
    H5G_info_t information;
    unsigned order;
    char(*list)[HDF5_NAME_BYTES] = NULL;
    *names = NULL;
    TRY_HDF5(group = H5Gopen2(file->id, group_name, H5P_DEFAULT), "open group", group_name);
    TRY_HDF5(H5Gget_info(group, &information), "count the members of", group_name);
    TRY_HDF5(creation = H5Gget_create_plist(group), "read the properties of", group_name);
    TRY_HDF5(H5Pget_link_creation_order(creation, &order), "read the member order of", group_name);
    if (information.nlinks > INT32_MAX)
        FAIL(STATUS_BAD_INPUT, "%s: damaged: group %s has too many members", file->path, group_name);
    TRY(ALLOCATE(&list, (long long)information.nlinks));
    for (hsize_t i = 0; i < information.nlinks; i++) {
        ssize_t length =
            H5Lget_name_by_idx(group, ".", order & H5P_CRT_ORDER_TRACKED ? H5_INDEX_CRT_ORDER : H5_INDEX_NAME,
                               H5_ITER_INC, i, list[i], HDF5_NAME_BYTES, H5P_DEFAULT);
        TRY_HDF5(length, "list group", group_name);
        if (length >= HDF5_NAME_BYTES)
            FAIL(STATUS_BAD_INPUT, "%s: %s/%s...: the name has %zd characters, expected at most %d",
                 file->path, group_name, list[i], length, HDF5_NAME_BYTES - 1);
    }
    *count = (int)information.nlinks;
    *names = list;
    list = NULL;
done:
    free(list);
    hdf5_release(creation);
    hdf5_release(group);
    return status;
}

/* Opens a dataset and reads its shape; the caller releases *set. */
static Status open_array(Hdf5File *file, const char *name, Hdf5Type type, hid_t *set, int *rank,
                         int64_t dims[HDF5_MAXIMUM_RANK]) {
    Status status = STATUS_OK;
    hid_t space = H5I_INVALID_HID, stored = H5I_INVALID_HID;
    hsize_t shape[HDF5_MAXIMUM_RANK];
    htri_t equal;
    TRY_HDF5(*set = H5Dopen2(file->id, name, H5P_DEFAULT), "open dataset", name);
    TRY_HDF5(stored = H5Dget_type(*set), "read the type of", name);
    TRY_HDF5(equal = H5Tequal(stored, hdf5_file_type(type)), "compare the type of", name);
    if (!equal)
        FAIL(STATUS_BAD_INPUT, "%s: dataset %s: expected type %s, found another", file->path, name,
             hdf5_types[type].name);
    TRY_HDF5(space = H5Dget_space(*set), "read the shape of", name);
    TRY_HDF5(*rank = H5Sget_simple_extent_ndims(space), "read the rank of", name);
    if (*rank < 1 || *rank > HDF5_MAXIMUM_RANK)
        FAIL(STATUS_BAD_INPUT, "%s: dataset %s: expected 1 to %d dimensions, found %d", file->path, name,
             HDF5_MAXIMUM_RANK, *rank);
    TRY_HDF5(H5Sget_simple_extent_dims(space, shape, NULL), "read the shape of", name);
    int64_t room = INT64_MAX / 8;
    for (int i = 0; i < *rank; i++) {
        if (shape[i] < 1 || shape[i] > (hsize_t)room)
            FAIL(STATUS_BAD_INPUT, "%s: dataset %s: dimension %d is %llu, expected 1 to %lld", file->path,
                 name, i, (unsigned long long)shape[i], (long long)room);
        dims[i] = (int64_t)shape[i];
        room /= dims[i];
    }
done:
    hdf5_release(space);
    hdf5_release(stored);
    return status;
}

Status hdf5_array_shape(Hdf5File *file, const char *name, Hdf5Type type, int *rank,
                        int64_t dims[HDF5_MAXIMUM_RANK]) {
    hid_t set = H5I_INVALID_HID;
    Status status = open_array(file, name, type, &set, rank, dims);
    hdf5_release(set);
    return status;
}

Status hdf5_read_array(Hdf5File *file, const char *name, Hdf5Type type, int64_t count, void *data) {
    Status status = STATUS_OK;
    hid_t set = H5I_INVALID_HID;
    int rank;
    int64_t dims[HDF5_MAXIMUM_RANK], found = 1;
    TRY(open_array(file, name, type, &set, &rank, dims));
    for (int i = 0; i < rank; i++)
        found *= dims[i];
    if (found != count)
        FAIL(STATUS_BAD_INPUT, "%s: dataset %s: expected %lld elements, found %lld", file->path, name,
             (long long)count, (long long)found);
    TRY_HDF5(H5Dread(set, hdf5_memory_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, data), "read dataset", name);
done:
    hdf5_release(set);
    return status;
}

Status hdf5_has_attribute(Hdf5File *file, const char *name, bool *found) {
    Status status = STATUS_OK;
    htri_t exists;
    TRY_HDF5(exists = H5Aexists(file->id, name), "look for attribute", name);
    *found = exists > 0;
done:
    return status;
}

/* Opens a scalar root attribute and its type; the caller releases both. */
static Status open_attribute(Hdf5File *file, const char *name, hid_t *attribute, hid_t *type) {
    Status status = STATUS_OK;
    hid_t space = H5I_INVALID_HID;
    bool found = false;
    TRY(hdf5_has_attribute(file, name, &found));
    if (!found)
        FAIL(STATUS_BAD_INPUT, "%s: attribute %s is missing", file->path, name);
    TRY_HDF5(*attribute = H5Aopen(file->id, name, H5P_DEFAULT), "open attribute", name);
    TRY_HDF5(*type = H5Aget_type(*attribute), "read the type of attribute", name);
    TRY_HDF5(space = H5Aget_space(*attribute), "read the shape of attribute", name);
    if (H5Sget_simple_extent_type(space) != H5S_SCALAR)
        FAIL(STATUS_BAD_INPUT, "%s: attribute %s: expected one value, found an array", file->path, name);
done:
    hdf5_release(space);
    return status;
}

Status hdf5_read_scalar(Hdf5File *file, const char *name, Hdf5Type type, void *value) {
    Status status = STATUS_OK;
    hid_t attribute = H5I_INVALID_HID, stored = H5I_INVALID_HID;
    htri_t equal;
    TRY(open_attribute(file, name, &attribute, &stored));
    TRY_HDF5(equal = H5Tequal(stored, hdf5_file_type(type)), "compare the type of attribute", name);
    if (!equal)
        FAIL(STATUS_BAD_INPUT, "%s: attribute %s: expected type %s, found another", file->path, name,
             hdf5_types[type].name);
    TRY_HDF5(H5Aread(attribute, hdf5_memory_type(type), value), "read attribute", name);
done:
    hdf5_release(stored);
    hdf5_release(attribute);
    return status;
}

Status hdf5_read_text(Hdf5File *file, const char *name, char **text) {
    Status status = STATUS_OK;
    hid_t attribute = H5I_INVALID_HID, stored = H5I_INVALID_HID, wanted = H5I_INVALID_HID;
    char *content = NULL;
    htri_t variable = 1;
    *text = NULL;
    TRY(open_attribute(file, name, &attribute, &stored));
    if (H5Tget_class(stored) == H5T_STRING)
        TRY_HDF5(variable = H5Tis_variable_str(stored), "read the type of attribute", name);
    size_t bytes = variable ? 0 : H5Tget_size(stored);
    if (bytes < 1 || bytes > MAXIMUM_TEXT_BYTES)
        FAIL(STATUS_BAD_INPUT,
             "%s: attribute %s: expected fixed-length text of at most %d bytes, found something else",
             file->path, name, MAXIMUM_TEXT_BYTES);
    TRY(ALLOCATE(&content, (long long)bytes + 1));
    TRY(text_type(file, name, bytes, &wanted));
    TRY_HDF5(H5Aread(attribute, wanted, content), "read attribute", name);
    *text = content;
    content = NULL;
done:
    free(content);
    hdf5_release(wanted);
    hdf5_release(stored);
    hdf5_release(attribute);
    return status;
}
