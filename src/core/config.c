#include "core/config.h"

#include <string.h>

/* The vocabulary of config_keys.def. */
#define LIST(count, ...)                                                                                     \
    {                                                                                                        \
        count, {                                                                                             \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }
#define COUNT(number)                                                                                        \
    { .count = number }
#define WORD(word)                                                                                           \
    {                                                                                                        \
        1, {                                                                                                 \
            word                                                                                             \
        }                                                                                                    \
    }
#define RANGE(low, high) .minimum = low, .maximum = high
#define ABOVE(low, high) .minimum = low, .maximum = high, .minimum_excluded = true
#define BELOW(low, high) .minimum = low, .maximum = high, .maximum_excluded = true
#define BETWEEN(low, high) .minimum = low, .maximum = high, .minimum_excluded = true, .maximum_excluded = true
#define LIST_RANGE(fewest, most, low, high)                                                                  \
    .minimum_count = fewest, .maximum_count = most, .minimum = low, .maximum = high
#define LIST_ABOVE(fewest, most, low, high) LIST_RANGE(fewest, most, low, high), .minimum_excluded = true
#define CHOICES(list) .choices = list
#define ANY .choices = NULL
#define MODEL (CONFIG_RESUME_EQUAL | CONFIG_CHECKPOINT)
#define EQUAL CONFIG_RESUME_EQUAL
#define FREE CONFIG_FREE

static const Config defaults = {
#define KEY(path_, field, type_, default_value, range, flags_, meaning_) .field = default_value,
#include "core/config_keys.def"
#undef KEY
};

static const ConfigKey keys[CONFIG_KEY_COUNT] = {
#define KEY(path_, field, type_, default_value, range, flags_, meaning_)                                     \
    {.path = path_,                                                                                          \
     .type = CONFIG_##type_,                                                                                 \
     .offset = offsetof(Config, field),                                                                      \
     .flags = flags_,                                                                                        \
     .meaning = meaning_,                                                                                    \
     range},
#include "core/config_keys.def"
#undef KEY
};

const ConfigKey *config_key(int index) {
    return &keys[index];
}

int config_find(const char *path) {
    for (int i = 0; i < CONFIG_KEY_COUNT; i++)
        if (strcmp(keys[i].path, path) == 0)
            return i;
    return -1;
}

bool config_is_choice(const char *choices, const char *word) {
    size_t length = strcspn(word, "|");
    if (length == 0 || word[length] == '|')
        return false;
    for (const char *choice = choices; choice;
         choice = strchr(choice, '|'), choice = choice ? choice + 1 : NULL)
        if (strncmp(choice, word, length) == 0 && (choice[length] == '|' || choice[length] == '\0'))
            return true;
    return false;
}

void config_defaults(Config *config) {
    *config = defaults;
}

bool config_was_set(const Config *config, const char *path) {
    int index = config_find(path);
    return index >= 0 && config->explicitly_set[index];
}

int64_t config_selected(const ConfigSelection *selection, int64_t i) {
    return selection->listed ? selection->values[i] : i;
}

static size_t field_bytes(ConfigType type) {
    switch (type) {
    case CONFIG_INTEGER:
        return sizeof(int64_t);
    case CONFIG_REAL:
        return sizeof(double);
    case CONFIG_BOOL:
        return sizeof(bool);
    case CONFIG_TEXT:
        return CONFIG_TEXT_SIZE;
    case CONFIG_SEED:
        return sizeof(uint64_t);
    case CONFIG_INTEGERS:
        return sizeof(ConfigIntegers);
    case CONFIG_REALS:
        return sizeof(ConfigReals);
    case CONFIG_SELECTION:
        return sizeof(ConfigSelection);
    case CONFIG_WORDS:
        return sizeof(ConfigWords);
    }
    return 0;
}

void config_copy_flagged(Config *to, const Config *from, unsigned flag_mask) {
    for (int i = 0; i < CONFIG_KEY_COUNT; i++)
        if (keys[i].flags & flag_mask)
            memcpy((char *)to + keys[i].offset, (const char *)from + keys[i].offset,
                   field_bytes(keys[i].type));
}

/* ---- differences ---- */

const char *config_value_plain(const Config *config, int index, char text[CONFIG_VALUE_SIZE]) {
    size_t length = strlen(config_value_json(config, index, text));
    if (text[0] != '"')
        return text;
    text[length - 1] = '\0';
    return text + 1;
}

/* Appends to a text of limited size; what does not fit is replaced by "..." at the end. */
static void append(char *text, size_t size, const char *addition) {
    static const char cut[] = "...";
    size_t used = strlen(text), length = strlen(addition);
    if (size <= sizeof cut)
        return;
    if (used + length < size)
        memcpy(text + used, addition, length + 1);
    else {
        if (used < size - 1)
            memcpy(text + used, addition, size - 1 - used);
        memcpy(text + size - sizeof cut, cut, sizeof cut);
    }
}

static int list_differences(const Config *checkpoint, const Config *asked, unsigned flag_mask,
                            bool only_explicit, char *text, size_t size) {
    int count = 0;
    if (size > 0)
        text[0] = '\0';
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        char old_text[CONFIG_VALUE_SIZE], new_text[CONFIG_VALUE_SIZE], entry[2 * CONFIG_VALUE_SIZE + 128];
        if (!(keys[i].flags & flag_mask) || (only_explicit && !asked->explicitly_set[i]))
            continue;
        /* the JSON is exact, so equal text means equal values */
        if (strcmp(config_value_json(checkpoint, i, old_text), config_value_json(asked, i, new_text)) == 0)
            continue;
        snprintf(entry, sizeof entry, "%s%s (%s in the checkpoint, %s asked for)", count ? ", " : "",
                 keys[i].path, config_value_plain(checkpoint, i, old_text),
                 config_value_plain(asked, i, new_text));
        if (size > 0)
            append(text, size, entry);
        count++;
    }
    return count;
}

int config_difference(const Config *a, const Config *b, unsigned flag_mask, char *text, size_t size) {
    return list_differences(a, b, flag_mask, false, text, size);
}

int config_conflicts(const Config *asked, const Config *checkpoint, unsigned flag_mask, char *text,
                     size_t size) {
    return list_differences(checkpoint, asked, flag_mask, true, text, size);
}

/* ---- rules between keys ---- */

static Status check_model(const Config *config) {
    for (int i = 0; i < config->model_channels.count; i++)
        if (config->model_channels.values[i] % config->model_groups != 0)
            return status_error(STATUS_BAD_INPUT,
                                "model.channels: each must be a multiple of model.groups = %lld, found %lld",
                                (long long)config->model_groups, (long long)config->model_channels.values[i]);
    if (config->model_channels.values[0] % 2 != 0)
        return status_error(STATUS_BAD_INPUT,
                            "model.channels: the first must be even (sines and cosines of t), found %lld",
                            (long long)config->model_channels.values[0]);
    return STATUS_OK;
}

static Status check_sampler(const Config *config) {
    long long steps = config->sample_steps, all = config->diffusion_steps;
    if (steps > all)
        return status_error(STATUS_BAD_INPUT, "sample.steps: at most diffusion.steps = %lld, found %lld", all,
                            steps);
    if (steps == 1)
        return status_error(STATUS_BAD_INPUT, "sample.steps: expected 0 (all) or at least 2, found 1");
    if (steps != 0 && steps != all && strcmp(config->sample_sampler, "ddim") != 0)
        return status_error(STATUS_BAD_INPUT,
                            "sample.steps: sampler %s takes all %lld steps, found %lld; fewer steps need "
                            "sample.sampler = ddim",
                            config->sample_sampler, all, steps);
    return STATUS_OK;
}

Status config_check(const Config *config) {
    if (config->train_shard > config->train_batch)
        return status_error(STATUS_BAD_INPUT, "train.shard: at most train.batch = %lld, found %lld",
                            (long long)config->train_batch, (long long)config->train_shard);
    if (config->diffusion_beta_start > config->diffusion_beta_end)
        return status_error(STATUS_BAD_INPUT,
                            "diffusion.beta_start: at most diffusion.beta_end = %g, found %g",
                            config->diffusion_beta_end, config->diffusion_beta_start);
    Status status = check_model(config);
    return status == STATUS_OK ? check_sampler(config) : status;
}

/* ---- what a key accepts, in words ---- */

static void interval_text(const ConfigKey *key, char *text, size_t size) {
    snprintf(text, size, "%s%.16g, %.16g%s", key->minimum_excluded ? "(" : "[", key->minimum, key->maximum,
             key->maximum_excluded ? ")" : "]");
}

static void choices_text(const char *choices, char *text, size_t size) {
    size_t used = 0;
    for (; *choices && used + 3 < size; choices++) {
        text[used++] = *choices == '|' ? ',' : *choices;
        if (*choices == '|')
            text[used++] = ' ';
    }
    text[used] = '\0';
}

static void list_text(const ConfigKey *key, const char *one, const char *many, const char *range,
                      char text[CONFIG_RANGE_SIZE]) {
    if (key->minimum_count == 1)
        snprintf(text, CONFIG_RANGE_SIZE, "%s, or a list of 1 to %d %s, in %s", one, key->maximum_count, many,
                 range);
    else
        snprintf(text, CONFIG_RANGE_SIZE, "a list of %d to %d %s in %s", key->minimum_count,
                 key->maximum_count, many, range);
}

char *config_range_text(int index, char text[CONFIG_RANGE_SIZE]) {
    const ConfigKey *key = &keys[index];
    char range[CONFIG_RANGE_SIZE / 2];
    interval_text(key, range, sizeof range);
    switch (key->type) {
    case CONFIG_INTEGER:
        snprintf(text, CONFIG_RANGE_SIZE, "an integer in %s", range);
        break;
    case CONFIG_REAL:
        snprintf(text, CONFIG_RANGE_SIZE, "a number in %s", range);
        break;
    case CONFIG_BOOL:
        snprintf(text, CONFIG_RANGE_SIZE, "true or false");
        break;
    case CONFIG_TEXT:
        if (key->choices) {
            choices_text(key->choices, range, sizeof range);
            snprintf(text, CONFIG_RANGE_SIZE, "one of %s", range);
        } else
            snprintf(text, CONFIG_RANGE_SIZE, "a text of 1 to %d bytes", CONFIG_TEXT_SIZE - 1);
        break;
    case CONFIG_SEED:
        snprintf(text, CONFIG_RANGE_SIZE, "a seed from 0 to 18446744073709551615 (from 2^53 on in quotes)");
        break;
    case CONFIG_INTEGERS:
        list_text(key, "an integer", "integers", range, text);
        break;
    case CONFIG_REALS:
        list_text(key, "a number", "numbers", range, text);
        break;
    case CONFIG_SELECTION:
        snprintf(text, CONFIG_RANGE_SIZE,
                 "a count from %d to %d (0 to N-1), or a list of at most %d different integers in %s",
                 key->minimum_count, key->maximum_count, CONFIG_MAX_SELECTION, range);
        break;
    case CONFIG_WORDS:
        snprintf(text, CONFIG_RANGE_SIZE, "a list of %d to %d different names", key->minimum_count,
                 key->maximum_count);
        break;
    }
    return text;
}

void config_print_table(FILE *stream) {
    fprintf(stream, "| Key | Default | Accepts | Meaning |\n|---|---|---|---|\n");
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        char value[CONFIG_VALUE_SIZE], range[CONFIG_RANGE_SIZE];
        fprintf(stream, "| `%s` | `%s` | %s | %s |\n", keys[i].path, config_value_json(&defaults, i, value),
                config_range_text(i, range), keys[i].meaning);
    }
}
