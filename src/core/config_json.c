/* Configuration from and to JSON. cJSON parses; writing is ours, because cJSON rounds doubles. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"

enum {
    PATH_SIZE = 128,             /* longest "group.name" looked at; longer ones are unknown anyway */
    FOUND_SIZE = 80,             /* how much of a wrong value a message shows */
    CONFIG_FILE_BYTES = 1 << 20, /* no configuration is larger: guards against a wrong file */
};

#define EXACT_INTEGERS 9007199254740992.0 /* 2^53: from here on a JSON number may stand for its neighbour */

/* ---- messages ---- */

static void make_printable(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 127)
            *text = '?';
}

/* The value as compact JSON, shortened. */
static char *found_text(const cJSON *item, char text[FOUND_SIZE]) {
    char *json = cJSON_PrintUnformatted(item);
    int length = snprintf(text, FOUND_SIZE, "%s", json ? json : "?");
    if (length >= FOUND_SIZE)
        memcpy(text + FOUND_SIZE - 4, "...", 4);
    make_printable(text);
    cJSON_free(json);
    return text;
}

static Status wrong_value(const char *where, int index, const cJSON *item) {
    char range[CONFIG_RANGE_SIZE], found[FOUND_SIZE];
    return status_error(STATUS_BAD_INPUT, "%s: %s: expected %s, found %s", where, config_key(index)->path,
                        config_range_text(index, range), found_text(item, found));
}

static size_t smallest(size_t a, size_t b, size_t c) {
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Levenshtein's edit distance of texts shorter than PATH_SIZE. */
static size_t edit_distance(const char *a, const char *b) {
    size_t row[PATH_SIZE], length = strlen(b);
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < length; j++) {
            size_t above = row[j + 1];
            row[j + 1] = smallest(above + 1, row[j] + 1, diagonal + (a[i] != b[j]));
            diagonal = above;
        }
    }
    return row[length];
}

/* Writes the key or group nearest to a mistyped path: the same name elsewhere, or within a third of its
 * length. */
static bool find_nearest(const char *path, char nearest[PATH_SIZE]) {
    const char *last_dot = strrchr(path, '.'), *name = last_dot ? last_dot + 1 : path;
    size_t best = strlen(path) / 3 + 2;
    nearest[0] = '\0';
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const char *key = config_key(i)->path, *dot = strchr(key, '.');
        char group[PATH_SIZE];
        snprintf(group, sizeof group, "%.*s", dot ? (int)(dot - key) : 0, key);
        size_t to_group = edit_distance(path, group);
        size_t to_key = strcmp(dot ? dot + 1 : key, name) == 0 ? 0 : edit_distance(path, key);
        if (to_key < best || (dot && to_group < best)) {
            best = to_key < to_group ? to_key : to_group;
            snprintf(nearest, PATH_SIZE, "%s", to_key <= to_group ? key : group);
        }
    }
    return nearest[0] != '\0';
}

static Status unknown_key(const char *where, char *path) {
    char nearest[PATH_SIZE];
    make_printable(path);
    if (config_find(path) >= 0)
        return status_error(STATUS_BAD_INPUT, "%s: %s: expected nested objects, {\"train\": {\"batch\": 64}}",
                            where, path);
    if (find_nearest(path, nearest))
        return status_error(STATUS_BAD_INPUT, "%s: unknown key %s: did you mean %s?", where, path, nearest);
    return status_error(STATUS_BAD_INPUT, "%s: unknown key %s (the README lists all keys)", where, path);
}

static bool is_group(const char *path) {
    size_t length = strlen(path);
    for (int i = 0; i < CONFIG_KEY_COUNT; i++)
        if (strncmp(config_key(i)->path, path, length) == 0 && config_key(i)->path[length] == '.')
            return true;
    return false;
}

/* ---- one value ---- */

static bool in_range(const ConfigKey *key, const cJSON *item, bool integer) {
    double value = item->valuedouble;
    return cJSON_IsNumber(item) && value >= key->minimum && value <= key->maximum &&
           !(key->minimum_excluded && value == key->minimum) &&
           !(key->maximum_excluded && value == key->maximum) && (!integer || value == floor(value));
}

/* Decimal digits only, up to 2^64 - 1. */
static bool parse_seed_text(const char *text, uint64_t *seed) {
    *seed = 0;
    for (const char *c = text; *c; c++) {
        uint64_t digit = (uint64_t)*c - '0';
        if (*c < '0' || *c > '9' || *seed > (UINT64_MAX - digit) / 10)
            return false;
        *seed = *seed * 10 + digit;
    }
    return text[0] != '\0';
}

static bool parse_seed(const cJSON *item, uint64_t *seed) {
    if (cJSON_IsString(item))
        return parse_seed_text(item->valuestring, seed);
    double value = item->valuedouble;
    if (!cJSON_IsNumber(item) || !(value >= 0 && value < EXACT_INTEGERS) || value != floor(value))
        return false;
    *seed = (uint64_t)value;
    return true;
}

static bool parse_text(const ConfigKey *key, const cJSON *item, char text[CONFIG_TEXT_SIZE]) {
    if (!cJSON_IsString(item) || item->valuestring[0] == '\0')
        return false;
    size_t length = strlen(item->valuestring);
    if (length >= CONFIG_TEXT_SIZE || (key->choices && !config_is_choice(key->choices, item->valuestring)))
        return false;
    memset(text, 0, CONFIG_TEXT_SIZE);
    memcpy(text, item->valuestring, length);
    return true;
}

static bool is_list(const ConfigKey *key, const cJSON *item, bool integers) {
    const cJSON *element;
    int count = cJSON_GetArraySize(item);
    if (!cJSON_IsArray(item) || count < key->minimum_count || count > key->maximum_count)
        return false;
    cJSON_ArrayForEach(element, item) {
        if (!in_range(key, element, integers))
            return false;
    }
    return true;
}

static bool parse_integers(const ConfigKey *key, const cJSON *item, ConfigIntegers *list) {
    const cJSON *element;
    if (!is_list(key, item, true))
        return false;
    memset(list, 0, sizeof *list);
    cJSON_ArrayForEach(element, item) {
        list->values[list->count++] = (int64_t)element->valuedouble;
    }
    return true;
}

static bool parse_reals(const ConfigKey *key, const cJSON *item, ConfigReals *list) {
    const cJSON *element;
    if (!is_list(key, item, false))
        return false;
    memset(list, 0, sizeof *list);
    cJSON_ArrayForEach(element, item) {
        list->values[list->count++] = element->valuedouble;
    }
    return true;
}

/* Stores the value in its field; false if the key does not accept it. */
static bool parse_value(Config *config, const ConfigKey *key, const cJSON *item) {
    void *field = (char *)config + key->offset;
    switch (key->type) {
    case CONFIG_INTEGER:
        if (!in_range(key, item, true))
            return false;
        *(int64_t *)field = (int64_t)item->valuedouble;
        return true;
    case CONFIG_REAL:
        if (!in_range(key, item, false))
            return false;
        *(double *)field = item->valuedouble;
        return true;
    case CONFIG_BOOL:
        *(bool *)field = cJSON_IsTrue(item);
        return cJSON_IsBool(item);
    case CONFIG_TEXT:
        return parse_text(key, item, field);
    case CONFIG_SEED:
        return parse_seed(item, field);
    case CONFIG_INTEGERS:
        return parse_integers(key, item, field);
    case CONFIG_REALS:
        return parse_reals(key, item, field);
    }
    return false;
}

/* ---- whole texts ---- */

static bool is_repeated(const cJSON *item) {
    for (const cJSON *later = item->next; later; later = later->next)
        if (strcmp(later->string, item->string) == 0)
            return true;
    return false;
}

/* Reads the members of a group ("" for the whole text). Groups do not nest further, so one level of
 * recursion. */
static Status read_object(Config *config, const cJSON *object, const char *group, const char *where) {
    const cJSON *item;
    Status status = STATUS_OK;
    cJSON_ArrayForEach(item, object) {
        char path[PATH_SIZE];
        snprintf(path, sizeof path, "%s%s%s", group, group[0] ? "." : "", item->string);
        int index = strchr(item->string, '.') ? -1 : config_find(path);
        if (is_repeated(item)) {
            make_printable(path);
            FAIL(STATUS_BAD_INPUT, "%s: duplicated key %s: give it once", where, path);
        }
        if (index >= 0) {
            if (!parse_value(config, config_key(index), item))
                TRY(wrong_value(where, index, item));
            config->explicitly_set[index] = true;
        } else if (!is_group(path)) {
            TRY(unknown_key(where, path));
        } else if (cJSON_IsObject(item)) {
            TRY(read_object(config, item, path, where));
        } else {
            char found[FOUND_SIZE];
            FAIL(STATUS_BAD_INPUT, "%s: %s: expected an object with the keys of this group, found %s", where,
                 path, found_text(item, found));
        }
    }
done:
    return status;
}

static Status syntax_error(const char *json, const char *position, const char *where) {
    char near[24];
    int line = 1;
    const char *line_start = json;
    for (const char *c = json; c < position && *c; c++)
        if (*c == '\n') {
            line++;
            line_start = c + 1;
        }
    snprintf(near, sizeof near, "%.*s", (int)strcspn(position, "\r\n"), position);
    make_printable(near);
    return status_error(STATUS_BAD_INPUT, "%s: line %d, column %d: not valid JSON%s%s", where, line,
                        (int)(position - line_start) + 1, near[0] ? ", near: " : ": ends too early", near);
}

Status config_from_json(Config *config, const char *json, const char *where) {
    Status status = STATUS_OK;
    Config changed = *config;
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithOpts(json, &end, true);
    if (!root)
        return syntax_error(json, end ? end : json, where);
    if (!cJSON_IsObject(root))
        FAIL(STATUS_BAD_INPUT, "%s: expected a JSON object, {\"train\": {\"batch\": 64}}", where);
    TRY(read_object(&changed, root, "", where));
    *config = changed;
done:
    cJSON_Delete(root);
    return status;
}

Status config_load_file(Config *config, const char *path) {
    Status status = STATUS_OK;
    char *text = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        FAIL(STATUS_BAD_INPUT, "%s: cannot open the configuration: %s", path, strerror(errno));
    TRY(ALLOCATE(&text, CONFIG_FILE_BYTES + 1));
    errno = 0;
    size_t bytes = fread(text, 1, CONFIG_FILE_BYTES, file);
    if (ferror(file))
        FAIL(STATUS_BAD_INPUT, "%s: cannot read the configuration: %s", path, strerror(errno));
    if (bytes == CONFIG_FILE_BYTES || memchr(text, '\0', bytes))
        FAIL(STATUS_BAD_INPUT, "%s: expected a JSON text of less than 1 MiB, found %s", path,
             bytes == CONFIG_FILE_BYTES ? "a larger file" : "a binary file");
    TRY(config_from_json(config, text, path));
done:
    if (file)
        fclose(file);
    free(text);
    return status;
}

/* Turns the VALUE of a setting into JSON. A bare word is a string; so is anything but quoted JSON text where
 * a seed or a text is expected, for a number there may be a large seed or the name of a folder. */
static cJSON *setting_value(ConfigType type, const char *value) {
    cJSON *item = cJSON_ParseWithOpts(value, NULL, true);
    bool scalar = cJSON_IsNumber(item) || cJSON_IsBool(item) || cJSON_IsNull(item);
    if (item && !(scalar && (type == CONFIG_SEED || type == CONFIG_TEXT)))
        return item;
    cJSON_Delete(item);
    return cJSON_CreateString(value);
}

Status config_set_value(Config *config, const char *path, const char *value, const char *where) {
    Status status = STATUS_OK;
    Config changed = *config;
    cJSON *item = NULL;
    char shown[PATH_SIZE];
    int index = config_find(path);
    snprintf(shown, sizeof shown, "%s", path);
    if (index < 0 && is_group(shown))
        FAIL(STATUS_BAD_INPUT, "%s: %s is a group of keys: set one of them, as in %s.KEY=VALUE", where, shown,
             shown);
    if (index < 0)
        TRY(unknown_key(where, shown));
    item = setting_value(config_key(index)->type, value);
    if (!item)
        FAIL(STATUS_FAILURE, "%s: %s: out of memory", where, path);
    if (!parse_value(&changed, config_key(index), item))
        TRY(wrong_value(where, index, item));
    changed.explicitly_set[index] = true;
    *config = changed;
done:
    cJSON_Delete(item);
    return status;
}

Status config_set(Config *config, const char *setting) {
    char path[PATH_SIZE];
    const char *equals = strchr(setting, '=');
    if (!equals || equals == setting)
        return status_error(STATUS_BAD_INPUT, "--set: expected KEY=VALUE, found \"%.*s\"", FOUND_SIZE,
                            setting);
    snprintf(path, sizeof path, "%.*s", (int)(equals - setting), setting);
    return config_set_value(config, path, equals + 1, "--set");
}

/* ---- writing ---- */

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

/* Sizes: a text escapes to at most 6 bytes per byte, a list holds 64 numbers of at most 24 characters. */
_Static_assert(CONFIG_VALUE_SIZE > 6 * CONFIG_TEXT_SIZE + 2, "an escaped text fits");
_Static_assert(CONFIG_VALUE_SIZE > CONFIG_MAX_REALS * 26 + 2, "a list fits");

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
    }
    return text;
}

Status config_to_json(const Config *config, char **json) {
    char value[CONFIG_VALUE_SIZE], group[PATH_SIZE] = "";
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
