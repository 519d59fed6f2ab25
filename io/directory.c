#include "io/directory.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

void names_destroy(Names *names) {
    for (int64_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
    *names = (Names){0};
}

static Status names_add(Names *names, const char *name) {
    Status status = STATUS_OK;
    if (names->count == names->capacity) {
        int64_t capacity = names->capacity ? 2 * names->capacity : 16;
        char **grown = realloc(names->names, (size_t)capacity * sizeof *grown);
        if (!grown)
            FAIL(STATUS_FAILURE, "no memory to list %lld names", (long long)capacity);
        names->names = grown;
        names->capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy)
        FAIL(STATUS_FAILURE, "no memory to list the name %s", name);
    names->names[names->count++] = copy;
done:
    return status;
}

Status directory_list(const char *directory, Names *names) {
    Status status = STATUS_OK;
    DIR *stream = opendir(directory);
    if (!stream)
        return STATUS_OK; /* a run that just began has no figures yet */
    for (struct dirent *entry; (entry = readdir(stream));)
        if (entry->d_name[0] != '.')
            TRY(names_add(names, entry->d_name));
done:
    closedir(stream);
    return status;
}
