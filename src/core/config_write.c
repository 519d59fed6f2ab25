/* Configuration to JSON. Writing is ours, because cJSON rounds doubles. */
#include <float.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"

enum { GROUP_SIZE = 128 }; /* longest group name */

/* The shortest decimal text that reads back to the same bits; %g drops trailing zeros. */
static int write_real(char *text, size_t size, double value) {
    int length = 0;
    for (int digits = DBL_DIG; digits <= DBL_DECIMAL_DIG; digits++) {
        length = snprintf(text, size, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return length;
}

static void write_text(char *out, const char *text) {
    *out++ = '"';
    for (; *text; text++) {
        if ((unsigned char)*text < ' ')
            out += sprintf(out, "\\u%04x", (unsigned)*text);
        else {
            if (*text == '"' || *text == '\\')
                *out++ = '\\';
            *out++ = *text;
        }
    }
    *out++ = '"';
    *out = '\0';
}

/* Sizes: a text escapes to at most 6 bytes per byte, a list holds 64 numbers of at most 24 characters, a
 * selection 1024 of at most 16 digits (2^53). */
_Static_assert(CONFIG_VALUE_SIZE > 6 * CONFIG_TEXT_SIZE + 2, "an escaped text fits");
_Static_assert(CONFIG_VALUE_SIZE > CONFIG_MAX_REALS * 26 + 2, "a list fits");
_Static_assert(CONFIG_VALUE_SIZE > CONFIG_MAX_SELECTION * 18 + 2, "a selection fits");
_Static_assert(CONFIG_VALUE_SIZE > CONFIG_MAX_WORDS * (CONFIG_WORD_SIZE + 4) + 2, "words fit");

static void write_selection(char *text, const ConfigSelection *selection) {
    size_t used = 0;
    if (!selection->listed) {
        snprintf(text, CONFIG_VALUE_SIZE, "%d", selection->count);
        return;
    }
    for (int i = 0; i < selection->count; i++)
        used += (size_t)snprintf(text + used, CONFIG_VALUE_SIZE - used, "%s%" PRId64, i ? ", " : "[",
                                 selection->values[i]);
    snprintf(text + used, CONFIG_VALUE_SIZE - used, "]");
}

static void write_words(char *text, const ConfigWords *words) {
    size_t used = 0;
    for (int i = 0; i < words->count; i++)
        used += (size_t)snprintf(text + used, CONFIG_VALUE_SIZE - used, "%s\"%s\"", i ? ", " : "[",
                                 words->words[i]);
    snprintf(text + used, CONFIG_VALUE_SIZE - used, used ? "]" : "[]");
}

char *config_value_json(const Config *config, int index, char text[CONFIG_VALUE_SIZE]) {
    const ConfigKey *key = config_key(index);
    const void *field = (const char *)config + key->offset;
    const ConfigIntegers *integers = field;
    const ConfigReals *reals = field;
    size_t used = 0;
    switch (key->type) {
    case CONFIG_INTEGER:
        snprintf(text, CONFIG_VALUE_SIZE, "%" PRId64, *(const int64_t *)field);
        break;
    case CONFIG_REAL:
        write_real(text, CONFIG_VALUE_SIZE, *(const double *)field);
        break;
    case CONFIG_BOOL:
        snprintf(text, CONFIG_VALUE_SIZE, "%s", *(const bool *)field ? "true" : "false");
        break;
    case CONFIG_TEXT:
        write_text(text, field);
        break;
    case CONFIG_SEED:
        snprintf(text, CONFIG_VALUE_SIZE, "\"%" PRIu64 "\"", *(const uint64_t *)field);
        break;
    case CONFIG_INTEGERS:
        for (int i = 0; i < integers->count; i++)
            used += (size_t)snprintf(text + used, CONFIG_VALUE_SIZE - used, "%s%" PRId64, i ? ", " : "[",
                                     integers->values[i]);
        snprintf(text + used, CONFIG_VALUE_SIZE - used, used ? "]" : "[]");
        break;
    case CONFIG_REALS:
        for (int i = 0; i < reals->count; i++) {
            used += (size_t)snprintf(text + used, CONFIG_VALUE_SIZE - used, i ? ", " : "[");
            used += (size_t)write_real(text + used, CONFIG_VALUE_SIZE - used, reals->values[i]);
        }
        snprintf(text + used, CONFIG_VALUE_SIZE - used, used ? "]" : "[]");
        break;
    case CONFIG_SELECTION:
        write_selection(text, field);
        break;
    case CONFIG_WORDS:
        write_words(text, field);
        break;
    }
    return text;
}

Status config_to_json(const Config *config, char **json) {
    char value[CONFIG_VALUE_SIZE], group[GROUP_SIZE] = "";
    size_t bytes;
    *json = NULL;
    FILE *stream = open_memstream(json, &bytes);
    if (!stream)
        return status_error(STATUS_FAILURE, "out of memory while writing the configuration");
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const char *path = config_key(i)->path, *dot = strchr(path, '.');
        size_t length = dot ? (size_t)(dot - path) : 0;
        bool same = strlen(group) == length && strncmp(group, path, length) == 0;
        fputs(i == 0 ? "{\n" : group[0] && !same ? "\n  },\n" : ",\n", stream);
        if (length > 0 && !same)
            fprintf(stream, "  \"%.*s\": {\n", (int)length, path);
        snprintf(group, sizeof group, "%.*s", (int)length, path);
        fprintf(stream, "%s\"%s\": %s", dot ? "    " : "  ", dot ? dot + 1 : path,
                config_value_json(config, i, value));
    }
    fputs(group[0] ? "\n  }\n}\n" : "\n}\n", stream);
    if (fclose(stream) != 0 || !*json) {
        free(*json);
        *json = NULL;
        return status_error(STATUS_FAILURE, "out of memory while writing the configuration");
    }
    return STATUS_OK;
}
