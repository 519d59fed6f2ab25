/* A directory of its own for a test program's files. */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCRATCH_PATH_BYTES = 512, SCRATCH_OPEN_DIRECTORIES = 16 };

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

static inline int scratch_remove_entry(const char *path, const struct stat *information, int kind,
                                       struct FTW *where) {
    (void)information, (void)kind, (void)where;
    return remove(path);
}

static inline void scratch_remove(const char *path) {
    nftw(path, scratch_remove_entry, SCRATCH_OPEN_DIRECTORIES, FTW_DEPTH | FTW_PHYS);
}

#endif
