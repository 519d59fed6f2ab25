/* A directory of its own for a test program's files. */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCRATCH_PATH_BYTES = 512 };

/* Makes a new directory below TMPDIR (default: the system's) or ends the test. */
static inline void scratch_open(char path[SCRATCH_PATH_BYTES]) {
    const char *base = getenv("TMPDIR");
    snprintf(path, SCRATCH_PATH_BYTES, "%s/ddpm_mpi_test_XXXXXX", base && *base ? base : P_tmpdir);
    if (!mkdtemp(path)) {
        perror(path);
        exit(1);
    }
}

/* Makes the folder scratch/name; its path has FILE_PATH_BYTES of room. */
static inline void scratch_folder(const char *scratch, const char *name, char *path) {
    snprintf(path, SCRATCH_PATH_BYTES + 64, "%s/%.60s", scratch, name);
    if (mkdir(path, 0777) != 0) {
        perror(path);
        exit(1);
    }
}

/* Removes a file, or a folder with all it holds. */
static inline void scratch_remove(const char *path) {
    DIR *directory = remove(path) == 0 ? NULL : opendir(path);
    if (!directory)
        return;
    for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
        char inner[2 * SCRATCH_PATH_BYTES];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) < (int)sizeof inner)
            scratch_remove(inner);
    }
    closedir(directory);
    remove(path);
}

#endif
