/* Configuration: the keys of config_keys.def as one plain struct, read from JSON files and KEY=VALUE
 * settings. A key's field is its path with '.' replaced by '_': config->train_batch,
 * config->model_channels.values[0].
 *
 * All errors are STATUS_BAD_INPUT with one line that names where (file or option), key, what is accepted and
 * what was found; a call that fails leaves the Config as it was. Nothing here is collective. */
#ifndef CORE_CONFIG_H
#define CORE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/status.h"

enum {
    CONFIG_TEXT_SIZE = 256,
    CONFIG_MAX_INTEGERS = 16,
    CONFIG_MAX_REALS = 64,
    CONFIG_MAX_SELECTION = 1024,
    CONFIG_MAX_WORDS = 16,
    CONFIG_WORD_SIZE = 32,
};

typedef struct ConfigIntegers {
    int count;
    int64_t values[CONFIG_MAX_INTEGERS]; /* zero beyond count */
} ConfigIntegers;

/* A list of numbers; one of them alone, without brackets, is a list of one. */
typedef struct ConfigReals {
    int count;
    double values[CONFIG_MAX_REALS]; /* zero beyond count */
} ConfigReals;

/* "Count or list": written as the number N it means 0 .. N-1, as a list exactly its entries, all different.
 */
typedef struct ConfigSelection {
    int count;
    bool listed;
    int64_t values[CONFIG_MAX_SELECTION]; /* if listed; zero beyond count */
} ConfigSelection;

/* A list of different names, written as a JSON list or as one word with commas: "guided,pigdm". */
typedef struct ConfigWords {
    int count;
    char words[CONFIG_MAX_WORDS][CONFIG_WORD_SIZE]; /* zero beyond count */
} ConfigWords;

/* Index of each key in config_keys.def: CONFIG_KEY_train_batch. */
typedef enum ConfigIndex {
#define KEY(path, field, type, default_value, range, flags, meaning) CONFIG_KEY_##field,
#include "core/config_keys.def"
#undef KEY
    CONFIG_KEY_COUNT
} ConfigIndex;

#define CONFIG_FIELD_INTEGER(field) int64_t field
#define CONFIG_FIELD_REAL(field) double field
#define CONFIG_FIELD_BOOL(field) bool field
#define CONFIG_FIELD_TEXT(field) char field[CONFIG_TEXT_SIZE]
#define CONFIG_FIELD_SEED(field) uint64_t field
#define CONFIG_FIELD_INTEGERS(field) ConfigIntegers field
#define CONFIG_FIELD_REALS(field) ConfigReals field
#define CONFIG_FIELD_SELECTION(field) ConfigSelection field
#define CONFIG_FIELD_WORDS(field) ConfigWords field

typedef struct Config {
#define KEY(path, field, type, default_value, range, flags, meaning) CONFIG_FIELD_##type(field);
#include "core/config_keys.def"
#undef KEY
    bool explicitly_set[CONFIG_KEY_COUNT]; /* by a file or a setting, even to the default */
} Config;

typedef enum ConfigType {
    CONFIG_INTEGER,
    CONFIG_REAL,
    CONFIG_BOOL,
    CONFIG_TEXT,
    CONFIG_SEED,
    CONFIG_INTEGERS,
    CONFIG_REALS,
    CONFIG_SELECTION,
    CONFIG_WORDS,
} ConfigType;

/* Every key has at least one of these. */
typedef enum ConfigFlag {
    CONFIG_RESUME_EQUAL = 1, /* must be equal when a run is resumed */
    CONFIG_CHECKPOINT = 2,   /* comes from the checkpoint where one is given: model.*, diffusion.* */
    CONFIG_FREE = 4,         /* may change when a run is resumed */
    CONFIG_ANY = 7,
} ConfigFlag;

/* One row of config_keys.def. */
typedef struct ConfigKey {
    const char *path; /* "train.batch" */
    ConfigType type;
    size_t offset;           /* of the field in Config */
    double minimum, maximum; /* of a number or of each list element */
    bool minimum_excluded, maximum_excluded;
    int minimum_count, maximum_count; /* of a list, or of a count */
    const char *choices;              /* "a|b|c", or NULL */
    unsigned flags;                   /* of ConfigFlag */
    const char *meaning;              /* one line */
} ConfigKey;

/* The row of a key, 0 <= index < CONFIG_KEY_COUNT. */
const ConfigKey *config_key(int index);

/* Index of a key given as "train.batch"; -1 if there is none. */
int config_find(const char *path);

/* Whether `word` is one of "a|b|c". */
bool config_is_choice(const char *choices, const char *word);

/* All keys at their defaults, none explicitly set. */
void config_defaults(Config *config);

/* Reads a JSON file of nested objects, {"train": {"batch": 64}}, over `config`; keys it does not name stay.
 * Wrong JSON (with its line), unknown and duplicated keys, wrong types and values out of range are errors. */
Status config_load_file(Config *config, const char *path);

/* The same from text; `where` ("checkpoint step-000000100.h5") begins every message. */
Status config_from_json(Config *config, const char *json, const char *where);

/* Applies one "KEY=VALUE" of --set: VALUE is JSON, a bare word counts as a string, numbers with commas (3,7)
 * as a list of them. */
Status config_set(Config *config, const char *setting);

/* The same for a key and a value apart; `where` ("--count") begins every message. */
Status config_set_value(Config *config, const char *path, const char *value, const char *where);

/* The rules between keys: shard and batch, channels and groups, betas, sampler and steps. Call it once all
 * sources, a checkpoint included, have been merged. */
Status config_check(const Config *config);

/* Pretty-printed nested JSON of every key, in table order, ending in a newline; *json is the caller's
 * (free()). Doubles are the shortest text that reads back to the same bits; seeds are strings.
 * STATUS_FAILURE: no memory. */
Status config_to_json(const Config *config, char **json);

/* Number of keys with a flag of `flag_mask` whose values differ. Writes "train.batch (128 in the checkpoint,
 * 64 asked for), ..." with `a` as the checkpoint and `b` as what is asked for; "" if none, cut with "..." if
 * long. */
int config_difference(const Config *a, const Config *b, unsigned flag_mask, char *text, size_t size);

/* The same, counting only keys that were explicitly set in `asked`: settings that contradict a checkpoint. */
int config_conflicts(const Config *asked, const Config *checkpoint, unsigned flag_mask, char *text,
                     size_t size);

/* Copies the values of all keys with a flag of `flag_mask`; what was explicitly set in `to` stays recorded.
 */
void config_copy_flagged(Config *to, const Config *from, unsigned flag_mask);

/* Entry `i` of a selection, 0 <= i < count. */
int64_t config_selected(const ConfigSelection *selection, int64_t i);

/* Whether a file or setting named this key ("train.batch"); false for a key that does not exist. */
bool config_was_set(const Config *config, const char *path);

/* The value as JSON ("linear" with its quotes, [64, 128, 256]); returns text. */
enum { CONFIG_VALUE_SIZE = 20480 };
char *config_value_json(const Config *config, int index, char text[CONFIG_VALUE_SIZE]);

/* The same without the quotes of a string, for messages; points into text. */
const char *config_value_plain(const Config *config, int index, char text[CONFIG_VALUE_SIZE]);

/* What the key accepts, in words: "a number in (0, 1]"; returns text. */
enum { CONFIG_RANGE_SIZE = 160 };
char *config_range_text(int index, char text[CONFIG_RANGE_SIZE]);

/* The table of docs/configuration.md: | Key | Default | Accepts | Meaning |. */
void config_print_table(FILE *stream);

#endif
