#include "io/hdf5_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/hdf5_internal.h"

/* H5Fcreate loads a file of its name into memory first if there is one; below this there is none. */
#define NOWHERE "/dev/null/"

enum {
    IMAGE_GROWTH_BYTES = 1 << 20,
    /* Layout of an HDF5 superblock of version 2 or 3 (HDF5 file format specification, II.A) */
    SIGNATURE_BYTES = 8,
    SUPERBLOCK_VERSION_BYTE = 8,
    SUPERBLOCK_OFFSET_SIZE_BYTE = 9,
    SUPERBLOCK_END_BYTE = 28,
    SUPERBLOCK_READ_BYTES = 36,
};

/* H5Ewalk2 callback: keeps the first (innermost) description. */
static herr_t keep_innermost(unsigned index, const H5E_error2_t *error, void *text) {
    if (index == 0 && error->desc)
        snprintf(text, HDF5_MESSAGE_BYTES, "%s", error->desc);
    return 0;
}

void hdf5_library_message(char text[HDF5_MESSAGE_BYTES]) {
    snprintf(text, HDF5_MESSAGE_BYTES, "no reason given by HDF5");
    if (H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, text) < 0)
        return;
    for (char *c = text; *c; c++)
        if (*c == '\n')
            *c = ' ';
}

/* A failed system call, which the library's message names by its number, is the machine's trouble. */
static bool is_system_error(const char *reason) {
    static const char mark[] = "errno = ";
    const char *number = strstr(reason, mark);
    return number && strtol(number + strlen(mark), NULL, 10) != 0;
}

Status hdf5_error(const Hdf5File *file, const char *action, const char *name) {
    char reason[HDF5_MESSAGE_BYTES];
    hdf5_library_message(reason);
    bool damaged = !file->saving && !is_system_error(reason);
    return status_error(damaged ? STATUS_BAD_INPUT : STATUS_FAILURE, "%s: %scannot %s %s: %s", file->path,
                        damaged ? "damaged: " : "", action, name, reason);
}

void hdf5_release(hid_t id) {
    if (id >= 0 && H5Idec_ref(id) < 0)
        (void)H5Eclear2(H5E_DEFAULT);
}

static Status file_new(const char *path, bool saving, Hdf5File **out) {
    Hdf5File *file;
    Status status = ALLOCATE(&file, 1);
    *out = NULL;
    if (status != STATUS_OK)
        return status;
    file->id = H5I_INVALID_HID;
    file->saving = saving;
    snprintf(file->path, sizeof file->path, "%s", path);
    *out = file;
    if (H5Eset_auto2(H5E_DEFAULT, NULL, NULL) < 0) /* no stack traces on the terminal */
        return status_error(STATUS_FAILURE, "%s: cannot switch HDF5's error printing off", path);
    return STATUS_OK;
}

/* The callbacks of H5Pset_file_image_callbacks; their last argument is the Hdf5File. */
static void *image_grow(void *image, size_t bytes, H5FD_file_image_op_t operation, void *data) {
    Hdf5File *file = data;
    (void)operation;
    unsigned char *grown = realloc(image, bytes);
    if (!grown)
        return NULL;
    if (bytes > file->image_capacity) /* unused space has defined content */
        memset(grown + file->image_capacity, 0, bytes - file->image_capacity);
    file->image = grown;
    file->image_capacity = bytes;
    return grown;
}

static void *image_allocate(size_t bytes, H5FD_file_image_op_t operation, void *data) {
    ((Hdf5File *)data)->image_capacity = 0;
    return image_grow(NULL, bytes, operation, data);
}

static herr_t image_keep(void *image, H5FD_file_image_op_t operation, void *data) {
    (void)image; /* freed by hdf5_close */
    if (operation == H5FD_FILE_IMAGE_OP_FILE_CLOSE)
        ((Hdf5File *)data)->image_closed = true;
    return 0;
}

static void *image_share_data(void *data) {
    return data;
}

static herr_t image_forget_data(void *data) {
    (void)data;
    return 0;
}

enum { TEMPORARY_PATH_BYTES = FILE_PATH_BYTES + sizeof FILE_TEMPORARY_SUFFIX };

static void temporary_path(const Hdf5File *file, char path[TEMPORARY_PATH_BYTES]) {
    snprintf(path, TEMPORARY_PATH_BYTES, "%s%s", file->path, FILE_TEMPORARY_SUFFIX);
}

void hdf5_close(Hdf5File *file) {
    if (!file)
        return;
    if (file->id >= 0 && H5Fclose(file->id) < 0)
        (void)H5Eclear2(H5E_DEFAULT);
    if (file->on_disk && file->saving) { /* not saved */
        char temporary[TEMPORARY_PATH_BYTES];
        temporary_path(file, temporary);
        (void)unlink(temporary);
    }
    free(file->image);
    free(file);
}

/* Creates the file by this name with `access`, in the 1.10 format and without time stamps. */
static Status create_file(Hdf5File *file, const char *name, hid_t access) {
    Status status = STATUS_OK;
    hid_t creation = H5I_INVALID_HID;
    TRY_HDF5(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110), "choose", "the 1.10 format");
    TRY_HDF5(creation = H5Pcreate(H5P_FILE_CREATE), "create", "the file's creation properties");
    TRY_HDF5(H5Pset_obj_track_times(creation, false), "switch off", "time stamps");
    TRY_HDF5(file->id = H5Fcreate(name, H5F_ACC_TRUNC, creation, access), "create",
             file->on_disk ? "the file" : "the file in memory");
done:
    hdf5_release(creation);
    return status;
}

Status hdf5_create(const char *path, Hdf5File **out) {
    Status status = STATUS_OK;
    Hdf5File *file = NULL;
    hid_t access = H5I_INVALID_HID;
    char nowhere[FILE_PATH_BYTES + sizeof NOWHERE];
    *out = NULL;
    TRY(file_new(path, true, &file));
    snprintf(nowhere, sizeof nowhere, "%s%s", NOWHERE, file->path);
    H5FD_file_image_callbacks_t callbacks = {.image_malloc = image_allocate,
                                             .image_realloc = image_grow,
                                             .image_free = image_keep,
                                             .udata_copy = image_share_data,
                                             .udata_free = image_forget_data,
                                             .udata = file};
    TRY_HDF5(access = H5Pcreate(H5P_FILE_ACCESS), "create", "the file's access properties");
    TRY_HDF5(H5Pset_fapl_core(access, IMAGE_GROWTH_BYTES, false), "choose", "a file in memory");
    TRY_HDF5(H5Pset_file_image_callbacks(access, &callbacks), "choose", "the memory of the file");
    TRY(create_file(file, nowhere, access));
    *out = file;
    file = NULL;
done:
    hdf5_release(access);
    hdf5_close(file);
    return status;
}

Status hdf5_create_on_disk(const char *path, Hdf5File **out) {
    Status status = STATUS_OK;
    Hdf5File *file = NULL;
    hid_t access = H5I_INVALID_HID;
    char temporary[TEMPORARY_PATH_BYTES];
    *out = NULL;
    TRY(file_new(path, true, &file));
    file->on_disk = true;
    temporary_path(file, temporary);
    TRY_HDF5(access = H5Pcreate(H5P_FILE_ACCESS), "create", "the file's access properties");
    TRY(create_file(file, temporary, access));
    *out = file;
    file = NULL;
done:
    hdf5_release(access);
    hdf5_close(file);
    return status;
}

/* The file's length as its superblock says it. */
static uint64_t stored_length(const unsigned char *superblock) {
    uint64_t length = 0;
    for (int i = 0; i < (int)sizeof length; i++)
        length |= (uint64_t)superblock[SUPERBLOCK_END_BYTE + i] << (8 * i);
    return length;
}

static Status save_on_disk(Hdf5File *file) {
    Status status = STATUS_OK;
    char temporary[TEMPORARY_PATH_BYTES];
    hid_t id = file->id;
    TRY_HDF5(H5Fflush(id, H5F_SCOPE_GLOBAL), "write", "what is in memory yet");
    file->id = H5I_INVALID_HID;
    TRY_HDF5(H5Fclose(id), "complete", "the file");
    temporary_path(file, temporary);
    TRY(file_commit(temporary, file->path));
    file->saving = false;
done:
    return status;
}

Status hdf5_save(Hdf5File *file) {
    Status status = STATUS_OK;
    hid_t id = file->id;
    if (file->on_disk)
        return save_on_disk(file);
    file->id = H5I_INVALID_HID; /* also when closing fails: it must not be tried again */
    TRY_HDF5(H5Fclose(id), "complete", "the file in memory");
    if (!file->image_closed || file->image_capacity < SUPERBLOCK_READ_BYTES ||
        stored_length(file->image) > file->image_capacity)
        FAIL(STATUS_FAILURE, "%s: HDF5 did not complete the file in memory", file->path);
    TRY(file_write(file->path, file->image, (size_t)stored_length(file->image), FILE_DURABLE));
done:
    return status;
}

/* What can be told without the library, in words that it does not have: no file, no HDF5 file, truncated. */
static Status check_superblock(const char *path) {
    static const unsigned char signature[SIGNATURE_BYTES] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    Status status = STATUS_OK;
    unsigned char head[SUPERBLOCK_READ_BYTES];
    struct stat information;
    FILE *stream = NULL;
    if (stat(path, &information) != 0)
        FAIL(file_error_status(errno), "%s: cannot open: %s", path, strerror(errno));
    if (!S_ISREG(information.st_mode)) /* seen before it is opened: opening a pipe would wait for a writer */
        FAIL(STATUS_BAD_INPUT, "%s: expected an HDF5 file, found a %s", path,
             S_ISDIR(information.st_mode) ? "directory" : "special file");
    stream = fopen(path, "rbe");
    if (!stream)
        FAIL(file_error_status(errno), "%s: cannot open: %s", path, strerror(errno));
    if (information.st_size == 0)
        FAIL(STATUS_BAD_INPUT, "%s: expected an HDF5 file, found an empty file", path);
    size_t got = fread(head, 1, sizeof head, stream);
    if (ferror(stream))
        FAIL(STATUS_FAILURE, "%s: cannot read: %s", path, strerror(errno));
    if (got < SIGNATURE_BYTES || memcmp(head, signature, SIGNATURE_BYTES) != 0)
        FAIL(STATUS_BAD_INPUT, "%s: not an HDF5 file: expected its signature in the first %d bytes of %lld",
             path, SIGNATURE_BYTES, (long long)information.st_size);
    if (got < sizeof head)
        FAIL(STATUS_BAD_INPUT, "%s: truncated: expected an HDF5 header, found %zu bytes", path, got);
    if (head[SUPERBLOCK_VERSION_BYTE] >= 2 && head[SUPERBLOCK_OFFSET_SIZE_BYTE] == sizeof(uint64_t)) {
        uint64_t expected = stored_length(head);
        if ((uint64_t)information.st_size < expected)
            FAIL(STATUS_BAD_INPUT, "%s: truncated: expected %llu bytes, found %lld", path,
                 (unsigned long long)expected, (long long)information.st_size);
    }
done:
    if (stream)
        fclose(stream);
    return status;
}

Status hdf5_open(const char *path, Hdf5File **out) {
    Status status = STATUS_OK;
    Hdf5File *file = NULL;
    *out = NULL;
    TRY(check_superblock(path));
    TRY(file_new(path, false, &file));
    file->id = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file->id < 0) {
        char reason[HDF5_MESSAGE_BYTES];
        hdf5_library_message(reason);
        if (strstr(reason, "lock file"))
            FAIL(STATUS_FAILURE,
                 "%s: cannot lock the file: %s; another program has it open for writing, or this file system "
                 "has no "
                 "locks: then set HDF5_USE_FILE_LOCKING=FALSE in the environment",
                 path, reason);
        if (is_system_error(reason))
            FAIL(STATUS_FAILURE, "%s: cannot open: %s", path, reason);
        FAIL(STATUS_BAD_INPUT, "%s: damaged: cannot open: %s", path, reason);
    }
    *out = file;
    file = NULL;
done:
    hdf5_close(file);
    return status;
}
