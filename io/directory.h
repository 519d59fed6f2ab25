/* The names in a directory. */
#ifndef IO_DIRECTORY_H
#define IO_DIRECTORY_H

#include <stdint.h>

#include "core/status.h"

/* Zero-initialise; free with names_destroy. */
typedef struct Names {
    char **names; /* (count) */
    int64_t count, capacity;
} Names;

/* Appends the names in a directory but those that begin with a dot, in no particular order; none if it is
 * missing or cannot be read. Fails only without memory. */
Status directory_list(const char *directory, Names *names);

void names_destroy(Names *names);

#endif
