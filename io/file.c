#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    FILE_MODE = 0666, /* the user's umask decides */
    DIRECTORY_MODE = 0777,
    READ_BLOCK_BYTES = 1 << 16,
    MAXIMUM_WRITE_BYTES = 1 << 30, /* Linux cuts larger writes short anyway */
    TEMPORARY_BYTES = FILE_PATH_BYTES + 64,
    TEMPORARY_ATTEMPTS = 100,
};

Status file_error_status(int error_number) {
    switch (error_number) {
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EEXIST:
    case ELOOP:
    case ENAMETOOLONG:
        return STATUS_BAD_INPUT;
    default:
        return STATUS_FAILURE;
    }
}

Status file_join(char path[FILE_PATH_BYTES], const char *directory, const char *name) {
    int length = snprintf(path, FILE_PATH_BYTES, "%s/%s", directory, name);
    if (length < 0 || length >= FILE_PATH_BYTES)
        return status_error(STATUS_BAD_INPUT, "%.80s.../%.80s: the path is longer than %d characters",
                            directory, name, FILE_PATH_BYTES - 1);
    return STATUS_OK;
}

bool file_exists(const char *path) {
    struct stat information;
    return stat(path, &information) == 0;
}

bool file_is_directory(const char *path) {
    struct stat information;
    return stat(path, &information) == 0 && S_ISDIR(information.st_mode);
}

bool file_is_regular(const char *path) {
    struct stat information;
    return stat(path, &information) == 0 && S_ISREG(information.st_mode);
}

bool file_is_readable(const char *path) {
    return access(path, R_OK) == 0;
}

/* Splits off the directory of a path ("." if it has none). */
static void parent_of(const char *path, char parent[FILE_PATH_BYTES]) {
    snprintf(parent, FILE_PATH_BYTES, "%s", path);
    char *slash = strrchr(parent, '/');
    if (!slash)
        snprintf(parent, FILE_PATH_BYTES, ".");
    else
        slash[slash == parent ? 1 : 0] = '\0';
}

bool file_is_same(const char *path, const char *other) {
    struct stat found[2];
    return stat(path, &found[0]) == 0 && stat(other, &found[1]) == 0 && found[0].st_dev == found[1].st_dev &&
           found[0].st_ino == found[1].st_ino;
}

bool file_is_beside(const char *path, const char *other) {
    char directory[2][FILE_PATH_BYTES];
    parent_of(path, directory[0]);
    parent_of(other, directory[1]);
    return file_is_same(directory[0], directory[1]);
}

bool file_is_temporary(const char *path) {
    const size_t length = strlen(path), suffix = strlen(FILE_TEMPORARY_SUFFIX);
    return length > suffix && strcmp(path + length - suffix, FILE_TEMPORARY_SUFFIX) == 0;
}

static Status write_error(const char *path, const char *action, size_t bytes, int error_number) {
    char parent[FILE_PATH_BYTES];
    struct statvfs space;
    parent_of(path, parent);
    if ((error_number == ENOSPC || error_number == EDQUOT) && statvfs(parent, &space) == 0)
        return status_error(STATUS_FAILURE, "%s: cannot %s: %s: it needs %zu bytes, %llu are free there",
                            path, action, strerror(error_number), bytes,
                            (unsigned long long)space.f_bavail * (unsigned long long)space.f_frsize);
    return status_error(file_error_status(error_number), "%s: cannot %s: %s", path, action,
                        strerror(error_number));
}

static Status sync_parent(const char *path) {
    Status status = STATUS_OK;
    char parent[FILE_PATH_BYTES];
    parent_of(path, parent);
    int descriptor = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        FAIL(file_error_status(errno), "%s: cannot open the directory: %s", parent, strerror(errno));
    /* some network file systems know no fsync of directories; their renames are synchronous */
    if (fsync(descriptor) != 0 && errno != EINVAL && errno != ENOTSUP)
        FAIL(STATUS_FAILURE, "%s: cannot fsync the directory: %s", parent, strerror(errno));
done:
    if (descriptor >= 0)
        close(descriptor);
    return status;
}

/* Writes and closes; the descriptor is closed in every case. */
static Status write_all(const char *path, int descriptor, const void *data, size_t bytes, bool durable) {
    Status status = STATUS_OK;
    const char *next = data;
    size_t left = bytes;
    while (left > 0) {
        ssize_t written = write(descriptor, next, left < MAXIMUM_WRITE_BYTES ? left : MAXIMUM_WRITE_BYTES);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            status = write_error(path, "write", bytes, written < 0 ? errno : ENOSPC);
            goto done;
        }
        next += written;
        left -= (size_t)written;
    }
    if (durable && fsync(descriptor) != 0)
        status = write_error(path, "fsync", bytes, errno);
done:
    /* network file systems report a full disk or quota only here */
    if (close(descriptor) != 0 && status == STATUS_OK && errno != EINTR)
        status = write_error(path, "close", bytes, errno);
    return status;
}

Status file_commit(const char *temporary, const char *path) {
    Status status = STATUS_OK;
    int descriptor = open(temporary, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        FAIL(file_error_status(errno), "%s: cannot open: %s", temporary, strerror(errno));
    if (fsync(descriptor) != 0)
        FAIL(STATUS_FAILURE, "%s: cannot fsync: %s", temporary, strerror(errno));
    if (rename(temporary, path) != 0)
        FAIL(file_error_status(errno), "%s: cannot rename its temporary file: %s", path, strerror(errno));
    TRY(sync_parent(path));
done:
    if (descriptor >= 0)
        close(descriptor);
    if (status != STATUS_OK)
        (void)unlink(temporary);
    return status;
}

Status file_check_room(const char *path, uint64_t bytes) {
    char parent[FILE_PATH_BYTES];
    struct statvfs space;
    parent_of(path, parent);
    if (statvfs(parent, &space) == 0 && (uint64_t)space.f_bavail * space.f_frsize < bytes)
        return status_error(STATUS_FAILURE,
                            "%s: no space left on device: it needs %llu bytes, %llu are free there", path,
                            (unsigned long long)bytes,
                            (unsigned long long)space.f_bavail * (unsigned long long)space.f_frsize);
    return STATUS_OK;
}

/* Temporary name number `attempt` of this process. Ranks of other hosts may have its number, and leftovers
 * too: what is there already is left alone. */
static int own_temporary(char temporary[TEMPORARY_BYTES], const char *path, int attempt) {
    return snprintf(temporary, TEMPORARY_BYTES, "%s.%ld-%d%s", path, (long)getpid(), attempt,
                    FILE_TEMPORARY_SUFFIX);
}

/* Opens a new file for what is to become `path`; -1 with errno. */
static int create_temporary(char temporary[TEMPORARY_BYTES], const char *path, bool shared) {
    int descriptor = -1;
    if (!shared) {
        snprintf(temporary, TEMPORARY_BYTES, "%s%s", path, FILE_TEMPORARY_SUFFIX);
        return open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
    }
    for (int attempt = 0; attempt < TEMPORARY_ATTEMPTS; attempt++) {
        own_temporary(temporary, path, attempt);
        descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
        if (descriptor >= 0 || errno != EEXIST)
            break;
    }
    return descriptor;
}

Status file_write(const char *path, const void *data, size_t bytes, FileDurability durability) {
    Status status = STATUS_OK;
    char temporary[TEMPORARY_BYTES];
    bool created = false;
    if (strlen(path) + strlen(FILE_TEMPORARY_SUFFIX) >= FILE_PATH_BYTES)
        FAIL(STATUS_BAD_INPUT, "%.80s...: the path is longer than %d characters", path, FILE_PATH_BYTES - 1);
    int descriptor = create_temporary(temporary, path, durability == FILE_SHARED);
    if (descriptor < 0) {
        status = write_error(path, "create", bytes, errno);
        goto done;
    }
    created = true;
    TRY(write_all(path, descriptor, data, bytes, durability == FILE_DURABLE));
    if (rename(temporary, path) != 0) {
        status = write_error(path, "rename its temporary file", bytes, errno);
        goto done;
    }
    created = false;
    if (durability == FILE_DURABLE)
        TRY(sync_parent(path));
done:
    if (created)
        unlink(temporary);
    return status;
}

Status file_read(const char *path, char **data, size_t *bytes) {
    Status status = STATUS_OK;
    char *content = NULL;
    size_t capacity = READ_BLOCK_BYTES, used = 0;
    struct stat information;
    *data = NULL;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        FAIL(file_error_status(errno), "%s: cannot open: %s", path, strerror(errno));
    if (fstat(descriptor, &information) == 0 && information.st_size > 0)
        capacity = (size_t)information.st_size + 2; /* the NUL, and room to see the end without growing */
    TRY(ALLOCATE(&content, (long long)capacity));
    for (;;) {
        if (used + 1 >= capacity) {
            char *grown = realloc(content, capacity *= 2);
            if (!grown)
                FAIL(STATUS_FAILURE, "%s: out of memory: %zu bytes asked for", path, capacity);
            content = grown;
        }
        ssize_t got = read(descriptor, content + used, capacity - used - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            FAIL(file_error_status(errno), "%s: cannot read: %s", path, strerror(errno));
        if (got == 0)
            break;
        used += (size_t)got;
    }
    content[used] = '\0';
    *data = content;
    content = NULL;
    if (bytes)
        *bytes = used;
done:
    if (descriptor >= 0)
        close(descriptor);
    free(content);
    return status;
}

Status file_make_directories(const char *path) {
    char partial[FILE_PATH_BYTES];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof partial)
        return status_error(STATUS_BAD_INPUT, "cannot create the directory \"%.80s\": its name is %s", path,
                            length ? "too long" : "empty");
    memcpy(partial, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        partial[i] = '\0';
        int reason = mkdir(partial, DIRECTORY_MODE) == 0 ? 0 : errno;
        if (reason != 0 && !file_is_directory(partial)) {
            reason = reason == EEXIST ? ENOTDIR : reason;
            return status_error(file_error_status(reason), "%s: cannot create the directory: %s", partial,
                                strerror(reason));
        }
        partial[i] = path[i];
    }
    return STATUS_OK;
}

Status file_replace_link(const char *path, const char *target) {
    char temporary[TEMPORARY_BYTES];
    int made = -1;
    for (int attempt = 0; made != 0 && attempt < TEMPORARY_ATTEMPTS; attempt++) {
        own_temporary(temporary, path, attempt);
        made = symlink(target, temporary);
        if (made != 0 && errno != EEXIST)
            break;
    }
    if (made != 0)
        return status_error(file_error_status(errno), "%s: cannot make the link: %s", path, strerror(errno));
    if (rename(temporary, path) != 0) {
        int reason = errno;
        unlink(temporary);
        return status_error(file_error_status(reason), "%s: cannot replace the link: %s", path,
                            strerror(reason));
    }
    return STATUS_OK;
}
