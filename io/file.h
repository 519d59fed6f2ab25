/* Whole files: atomic replacement, reading, directories, links. Messages name the file and the system's
 * reason; STATUS_BAD_INPUT where the path is the user's mistake (missing, not permitted), else
 * STATUS_FAILURE. */
#ifndef IO_FILE_H
#define IO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum { FILE_PATH_BYTES = 1280 }; /* room for any path this program makes, its NUL included */

/* The suffix of a file that is not finished; such leftovers of a killed run are never read. */
#define FILE_TEMPORARY_SUFFIX ".tmp"

typedef enum FileDurability {
    FILE_REPLACE, /* readers see the old or the new content, never a mixture */
    FILE_SHARED, /* likewise, of a file that several processes replace: each under a temporary name of its own
                  */
    FILE_DURABLE, /* and it is on the disk when the call returns: file and directory are fsynced */
} FileDurability;

/* Replaces the file `path` with `bytes` bytes: temporary name beside it, write, close, rename. On failure
 * (disk full included) the old file is untouched and the temporary one removed. */
Status file_write(const char *path, const void *data, size_t bytes, FileDurability durability);

/* Gives a finished file its name: fsyncs `temporary`, renames it to `path` beside it, fsyncs the directory.
 * On failure the old file is untouched and the temporary one removed. */
Status file_commit(const char *temporary, const char *path);

/* STATUS_FAILURE unless the file system of `path` has this much room, before a long write. */
Status file_check_room(const char *path, uint64_t bytes);

/* Reads a whole file; *data is owned by the caller (free()) and has a NUL behind its last byte. `bytes` may
 * be NULL. */
Status file_read(const char *path, char **data, size_t *bytes);

/* Joins "directory/name" into path; a path that is too long is an error. */
Status file_join(char path[FILE_PATH_BYTES], const char *directory, const char *name);

/* Creates the directory and its parents; those that exist already are fine. */
Status file_make_directories(const char *path);

/* Replaces the symbolic link `path` so that it points to `target` (relative to the link's directory),
 * atomically, also where several processes do. */
Status file_replace_link(const char *path, const char *target);

bool file_exists(const char *path); /* anything of that name; a dangling link does not count */
bool file_is_directory(const char *path);
bool file_is_regular(const char *path); /* opening one does not wait, as for a pipe's other end */
bool file_is_readable(const char *path);
bool file_is_beside(const char *path, const char *other); /* in the same directory, by whatever name */
bool file_is_same(const char *path, const char *other);
bool file_is_temporary(const char *path); /* by its suffix */

/* Status of a failed system call: STATUS_BAD_INPUT for errors that a wrong path causes, else STATUS_FAILURE.
 */
Status file_error_status(int error_number);

#endif
