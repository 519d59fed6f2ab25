#include "kernels/cuda/engine_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MODE = 0644, FOLDER_MODE = 0755, LINE_BYTES = 2048, NAME_BYTES = 256, MAX_FILE_BYTES = 64 << 20 };

static const char line_start[] = "{\"convolution\": \"", line_middle[] = "\", \"engine\": \"",
                  line_end[] = "\"}";

/* Makes one folder; one that is there is fine. */
static Status make_folder(const char *path) {
    if (mkdir(path, FOLDER_MODE) != 0 && errno != EEXIST)
        return status_error(STATUS_FAILURE, "%s: cannot make this folder: %s", path, strerror(errno));
    return STATUS_OK;
}

Status engine_file_path(const char *device_name, size_t cudnn_version, char path[ENGINE_FILE_PATH_BYTES]) {
    Status status = STATUS_OK;
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char name[NAME_BYTES], folder[ENGINE_FILE_PATH_BYTES];
    size_t length = 0;
    int written;
    for (; device_name[length] && length < sizeof name - 1; length++)
        name[length] = isalnum((unsigned char)device_name[length]) ? device_name[length] : '_';
    name[length] = '\0';
    if (cache && cache[0] == '/')
        written = snprintf(folder, sizeof folder, "%s", cache);
    else if (home && home[0] == '/')
        written = snprintf(folder, sizeof folder, "%s/.cache", home);
    else
        FAIL(STATUS_FAILURE, "neither XDG_CACHE_HOME nor HOME is an absolute path");
    if (written >= (int)sizeof folder)
        FAIL(STATUS_FAILURE, "the path of the cache folder is too long");
    TRY(make_folder(folder));
    written = snprintf(path, ENGINE_FILE_PATH_BYTES, "%s/ddpm_mpi", folder);
    if (written < ENGINE_FILE_PATH_BYTES)
        TRY(make_folder(path));
    written =
        snprintf(path, ENGINE_FILE_PATH_BYTES, "%s/ddpm_mpi/cudnn-%zu-%s.jsonl", folder, cudnn_version, name);
    if (written >= ENGINE_FILE_PATH_BYTES)
        FAIL(STATUS_FAILURE, "the path of the cache folder is too long");
done:
    return status;
}

Status engine_file_open(const char *path, int *descriptor) {
    Status status = STATUS_OK;
    *descriptor = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, FILE_MODE);
    if (*descriptor < 0)
        FAIL(STATUS_FAILURE, "%s: cannot open it for writing: %s", path, strerror(errno));
    while (flock(*descriptor, LOCK_EX) != 0)
        if (errno != EINTR)
            FAIL(STATUS_FAILURE, "%s: cannot lock it: %s", path, strerror(errno));
done:
    if (status != STATUS_OK && *descriptor >= 0) {
        close(*descriptor);
        *descriptor = -1;
    }
    return status;
}

void engine_file_close(int descriptor) {
    if (descriptor >= 0)
        close(descriptor);
}

/* The whole file as text, the caller's to free. */
static Status read_all(int descriptor, char **text) {
    Status status = STATUS_OK;
    struct stat information;
    size_t used = 0;
    *text = NULL;
    if (fstat(descriptor, &information) != 0 || information.st_size > MAX_FILE_BYTES)
        FAIL(STATUS_FAILURE, "the file of cuDNN engines cannot be read or is too large: delete it");
    TRY(ALLOCATE(text, information.st_size + 1));
    while (used < (size_t)information.st_size) {
        ssize_t got = pread(descriptor, *text + used, (size_t)information.st_size - used, (off_t)used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            FAIL(STATUS_FAILURE, "the file of cuDNN engines: %s", strerror(errno));
        if (got == 0)
            break;
        used += (size_t)got;
    }
done:
    if (status != STATUS_OK) {
        free(*text);
        *text = NULL;
    }
    return status;
}

/* The engine in a line, if it is a line for this convolution and ends as it should. */
static bool match_line(const char *line, const char *convolution, size_t engine_bytes, char *engine) {
    size_t length = strlen(convolution), engine_length;
    const char *end;
    if (strncmp(line, line_start, strlen(line_start)) != 0)
        return false;
    line += strlen(line_start);
    if (strncmp(line, convolution, length) != 0 ||
        strncmp(line + length, line_middle, strlen(line_middle)) != 0)
        return false;
    line += length + strlen(line_middle);
    end = strchr(line, '"');
    if (!end || strcmp(end, line_end) != 0)
        return false;
    engine_length = (size_t)(end - line);
    if (engine_length >= engine_bytes)
        return false;
    memcpy(engine, line, engine_length);
    engine[engine_length] = '\0';
    return true;
}

Status engine_file_find(int descriptor, const char *convolution, size_t engine_bytes, char *engine,
                        bool *found) {
    Status status = STATUS_OK;
    char *text = NULL, *next = NULL;
    *found = false;
    TRY(read_all(descriptor, &text));
    for (char *line = strtok_r(text, "\n", &next); line; line = strtok_r(NULL, "\n", &next))
        *found |= match_line(line, convolution, engine_bytes, engine);
done:
    free(text);
    return status;
}

Status engine_file_add(int descriptor, const char *convolution, const char *engine) {
    char line[LINE_BYTES];
    /* Begins with an end of line: what a killed process left half written stays a line of its own. */
    int length =
        snprintf(line, sizeof line, "\n%s%s%s%s%s\n", line_start, convolution, line_middle, engine, line_end);
    if (length >= (int)sizeof line)
        return status_error(STATUS_FAILURE, "the line for %s is too long", convolution);
    if (write(descriptor, line, (size_t)length) != length)
        return status_error(STATUS_FAILURE, "the file of cuDNN engines: %s", strerror(errno));
    return STATUS_OK;
}
