#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* environ, pipe2 */
#endif
#include "io/schematic.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "io/file.h"

#define ERROR_BYTES 512
#define SVG_SUFFIX ".svg"

/* Writes path with its ".svg" (if it has that) replaced by `suffix`. */
static Status replace_suffix(const char *path, const char *suffix, char out[FILE_PATH_BYTES]) {
    Status status = STATUS_OK;
    size_t length = strlen(path), tail = strlen(SVG_SUFFIX);
    if (length > tail && strcmp(path + length - tail, SVG_SUFFIX) == 0)
        length -= tail;
    if (length + strlen(suffix) >= FILE_PATH_BYTES)
        FAIL(STATUS_BAD_INPUT, "%s: the path is longer than %d bytes", path, FILE_PATH_BYTES);
    memcpy(out, path, length);
    strcpy(out + length, suffix);
done:
    return status;
}

/* The first line of what comes through the pipe until its end; the rest is read and dropped, so that the
 * writer never blocks. */
static void read_first_line(int descriptor, char line[ERROR_BYTES]) {
    char buffer[ERROR_BYTES];
    size_t used = 0;
    ssize_t bytes;
    while ((bytes = read(descriptor, buffer, sizeof buffer)) != 0) {
        if (bytes < 0 && errno != EINTR)
            break;
        for (ssize_t i = 0; i < bytes && used < ERROR_BYTES - 1; i++)
            line[used++] = buffer[i];
    }
    line[used] = 0;
    line[strcspn(line, "\r\n")] = 0;
}

/* Starts `dot`, its messages going to the pipe's write end. *error_number: why it could not be started, else
 * 0. */
static Status start_dot(const char *dot_path, const char *svg_path, int messages, pid_t *child,
                        int *error_number) {
    Status status = STATUS_OK;
    posix_spawn_file_actions_t actions;
    bool has_actions = posix_spawn_file_actions_init(&actions) == 0;
    if (!has_actions ||
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) != 0 ||
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, messages, STDERR_FILENO) != 0)
        FAIL(STATUS_FAILURE, "%s: no memory to start the program dot", svg_path);
    /* execve's type lacks the const, yet changes nothing */
    const char *arguments[] = {"dot", "-Tsvg", "-o", svg_path, dot_path, NULL};
    *error_number = posix_spawnp(child, arguments[0], &actions, NULL, (char *const *)arguments, environ);
done:
    if (has_actions)
        posix_spawn_file_actions_destroy(&actions);
    return status;
}

static Status run_dot(const char *dot_path, const char *svg_path, bool *found) {
    Status status = STATUS_OK;
    int messages[2] = {-1, -1}, error_number = 0, result = 0;
    pid_t child = -1;
    char line[ERROR_BYTES] = "";
    *found = false;
    if (pipe2(messages, O_CLOEXEC) != 0)
        FAIL(STATUS_FAILURE, "%s: no pipe to the program dot: %s", svg_path, strerror(errno));
    TRY(start_dot(dot_path, svg_path, messages[1], &child, &error_number));
    if (error_number == ENOENT || error_number == EACCES)
        goto done;
    if (error_number != 0)
        FAIL(STATUS_FAILURE, "%s: the program dot does not start: %s", svg_path, strerror(error_number));
    *found = true;
    close(messages[1]);
    messages[1] = -1;
    read_first_line(messages[0], line);
    pid_t waited;
    while ((waited = waitpid(child, &result, 0)) < 0 && errno == EINTR)
        continue;
    if (waited < 0)
        FAIL(STATUS_FAILURE, "%s: the program dot cannot be waited for: %s", svg_path, strerror(errno));
    if (!WIFEXITED(result) || WEXITSTATUS(result) != 0)
        FAIL(STATUS_FAILURE, "%s: the program dot failed on it%s%s", dot_path, line[0] ? ": " : "", line);
done:
    for (int i = 0; i < 2; i++)
        if (messages[i] >= 0)
            close(messages[i]);
    return status;
}

Status schematic_write(const char *dot_text, const char *svg_path) {
    Status status = STATUS_OK;
    char dot_path[FILE_PATH_BYTES], temporary[FILE_PATH_BYTES];
    bool found = false;
    TRY(replace_suffix(svg_path, ".dot", dot_path));
    TRY(replace_suffix(svg_path, SVG_SUFFIX FILE_TEMPORARY_SUFFIX, temporary));
    TRY(file_write(dot_path, dot_text, strlen(dot_text), FILE_REPLACE));
    status = run_dot(dot_path, temporary, &found);
    if (status != STATUS_OK) {
        unlink(temporary);
        goto done;
    }
    if (!found)
        log_info("%s is not drawn: the program dot (package graphviz) is not installed; its text is in %s",
                 svg_path, dot_path);
    else if (rename(temporary, svg_path) != 0)
        FAIL(file_error_status(errno), "%s: cannot be written: %s", svg_path, strerror(errno));
done:
    return status;
}
