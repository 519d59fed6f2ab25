/* Configuration from JSON; config_write.c writes it. */
#include <cjson/cJSON.h>
#include <errno.h>
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
    const bool too_large = cJSON_IsNumber(item) && isinf(item->valuedouble); /* cJSON prints it as null */
    int length = snprintf(text, FOUND_SIZE, "%s",
                          too_large ? "a number beyond double's range"
                          : json    ? json
                                    : "?");
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
    return status_error(STATUS_BAD_INPUT, "%s: unknown key %s (ddpm_mpi --keys lists all keys)", where, path);
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

/* A number alone is a list of one. */
static int list_count(const cJSON *item) {
    return cJSON_IsNumber(item) ? 1 : cJSON_IsArray(item) ? cJSON_GetArraySize(item) : -1;
}

static const cJSON *list_element(const cJSON *item, int i) {
    return cJSON_IsNumber(item) ? item : cJSON_GetArrayItem(item, i);
}

static bool is_list(const ConfigKey *key, const cJSON *item, bool integers) {
    int count = list_count(item);
    if (count < key->minimum_count || count > key->maximum_count)
        return false;
    for (int i = 0; i < count; i++)
        if (!in_range(key, list_element(item, i), integers))
            return false;
    return true;
}

static bool parse_integers(const ConfigKey *key, const cJSON *item, ConfigIntegers *list) {
    if (!is_list(key, item, true))
        return false;
    memset(list, 0, sizeof *list);
    list->count = list_count(item);
    for (int i = 0; i < list->count; i++)
        list->values[i] = (int64_t)list_element(item, i)->valuedouble;
    return true;
}

static bool parse_reals(const ConfigKey *key, const cJSON *item, ConfigReals *list) {
    if (!is_list(key, item, false))
        return false;
    memset(list, 0, sizeof *list);
    list->count = list_count(item);
    for (int i = 0; i < list->count; i++)
        list->values[i] = list_element(item, i)->valuedouble;
    return true;
}

/* A number N, or a list of different integers. */
static bool parse_selection(const ConfigKey *key, const cJSON *item, ConfigSelection *selection) {
    const cJSON *element;
    memset(selection, 0, sizeof *selection);
    if (cJSON_IsNumber(item)) {
        double count = item->valuedouble;
        selection->count = (int)fmin(fmax(count, 0), key->maximum_count);
        return count >= key->minimum_count && count == selection->count && count - 1 <= key->maximum;
    }
    if (list_count(item) > CONFIG_MAX_SELECTION || !is_list(key, item, true))
        return false;
    selection->listed = true;
    cJSON_ArrayForEach(element, item) {
        int64_t value = (int64_t)element->valuedouble;
        for (int i = 0; i < selection->count; i++)
            if (selection->values[i] == value)
                return false;
        selection->values[selection->count++] = value;
    }
    return true;
}

/* One more word of letters, digits, _ and -, of `length` bytes. */
static bool add_word(const ConfigKey *key, ConfigWords *words, const char *word, size_t length) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    if (length < 1 || length >= CONFIG_WORD_SIZE || strspn(word, allowed) < length ||
        words->count == key->maximum_count || words->count == CONFIG_MAX_WORDS)
        return false;
    memcpy(words->words[words->count], word, length);
    for (int i = 0; i < words->count; i++)
        if (strcmp(words->words[i], words->words[words->count]) == 0)
            return false;
    words->count++;
    return true;
}

/* ["a", "b"], or "a,b": what the shell passes on without quotes. */
static bool parse_words(const ConfigKey *key, const cJSON *item, ConfigWords *words) {
    const cJSON *element;
    memset(words, 0, sizeof *words);
    if (cJSON_IsString(item)) {
        const char *word = item->valuestring;
        while (add_word(key, words, word, strcspn(word, ","))) {
            word += strcspn(word, ",");
            if (*word == '\0')
                return words->count >= key->minimum_count;
            word++;
        }
        return false;
    }
    if (!cJSON_IsArray(item))
        return false;
    cJSON_ArrayForEach(element, item) {
        if (!cJSON_IsString(element) ||
            !add_word(key, words, element->valuestring, strlen(element->valuestring)))
            return false;
    }
    return words->count >= key->minimum_count;
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
    case CONFIG_SELECTION:
        return parse_selection(key, item, field);
    case CONFIG_WORDS:
        return parse_words(key, item, field);
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

/* "3,7": a list without the brackets that some shells take for a pattern. NULL: it is none. */
static cJSON *bare_list(const char *value) {
    char *text = NULL;
    cJSON *item = NULL;
    size_t size = strlen(value) + 3;
    if (strchr(value, ',') && ALLOCATE(&text, (long long)size) == STATUS_OK) {
        snprintf(text, size, "[%s]", value);
        item = cJSON_ParseWithOpts(text, NULL, true);
    }
    free(text);
    return item;
}

/* Turns the VALUE of a setting into JSON. A bare word is a string; so is anything but quoted JSON text where
 * a seed or a text is expected, for a number there may be a large seed or the name of a folder. */
static cJSON *setting_value(ConfigType type, const char *value) {
    cJSON *item = cJSON_ParseWithOpts(value, NULL, true);
    if (!item && (type == CONFIG_INTEGERS || type == CONFIG_REALS || type == CONFIG_SELECTION))
        item = bare_list(value);
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
