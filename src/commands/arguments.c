#include "commands/arguments.h"

#include <string.h>

#include "io/run_directory.h"

static const char device_choices[] = "auto|cpu|cuda|cpu_reference", resume_choices[] = "auto|never";

/* One pass over argv; the first finds mistakes and plain options, the second applies the settings. */
typedef struct Parser {
    const CommandDescription *command;
    Arguments *arguments;
    int argc;
    char *const *argv;
    int next;
    bool apply_settings;
} Parser;

/* ---- errors ---- */

#define USAGE_ERROR(command, format, ...)                                                                    \
    status_error(STATUS_BAD_INPUT, "%s: " format ": try: ddpm_mpi %s --help", (command)->name, __VA_ARGS__,  \
                 (command)->name)

static Status check_run_name(const CommandDescription *command, const char *name) {
    Status status = run_directory_check_name(name);
    return status == STATUS_OK ? status : USAGE_ERROR(command, "%s", status_message());
}

static Status check_device(const CommandDescription *command, const char *device) {
    if (config_is_choice(device_choices, device))
        return STATUS_OK;
    return USAGE_ERROR(command, "--device: expected one of %s, found \"%.80s\"", device_choices, device);
}

/* ---- one option ---- */

/* Whether the word at `next` is this option; if so steps over it and its value. `value` NULL: takes none. */
static Status take_option(Parser *parser, const char *option, const char **value, bool *taken) {
    const char *word = parser->argv[parser->next];
    size_t length = strlen(option);
    *taken = strncmp(word, option, length) == 0 && (word[length] == '\0' || word[length] == '=');
    if (!*taken)
        return STATUS_OK;
    parser->next++;
    if (!value) {
        if (word[length] == '=')
            return USAGE_ERROR(parser->command, "%s takes no value", option);
        return STATUS_OK;
    }
    if (word[length] == '=') {
        *value = word + length + 1;
        return STATUS_OK;
    }
    if (parser->next >= parser->argc || strncmp(parser->argv[parser->next], "--", 2) == 0)
        return USAGE_ERROR(parser->command, "%s needs a value", option);
    *value = parser->argv[parser->next++];
    return STATUS_OK;
}

static Status take_text(Parser *parser, const char *option, const char **field, bool *taken) {
    Status status = take_option(parser, option, field, taken);
    if (status == STATUS_OK && *taken && (*field)[0] == '\0')
        return USAGE_ERROR(parser->command, "%s: expected a value, found an empty one", option);
    return status;
}

static Status take_flag(Parser *parser, const char *option, bool *field, bool *taken) {
    Status status = take_option(parser, option, NULL, taken);
    if (status == STATUS_OK && *taken)
        *field = true;
    return status;
}

static Status take_plain_option(Parser *parser, bool *taken) {
    Arguments *arguments = parser->arguments;
    unsigned flags = parser->command->flags;
    Status status = STATUS_OK;
    const char *config_file = NULL;
    TRY(take_text(parser, "--config", &config_file, taken));
    if (*taken && arguments->config_file && !parser->apply_settings)
        FAIL(STATUS_BAD_INPUT, "%s: --config is given twice (%s, %s): try: ddpm_mpi %s --help",
             parser->command->name, arguments->config_file, config_file, parser->command->name);
    if (*taken)
        arguments->config_file = config_file;
    if (!*taken)
        TRY(take_text(parser, "--device", &arguments->device, taken));
    if (!*taken)
        TRY(take_text(parser, "--outputs", &arguments->outputs, taken));
    if (!*taken)
        TRY(take_option(parser, "--run", &arguments->run, taken));
    if (!*taken && (flags & (ARGUMENT_RESUME | ARGUMENT_RESUME_RUN)))
        TRY(take_text(parser, "--resume", &arguments->resume, taken));
    if (!*taken && (flags & (ARGUMENT_CHECKPOINT | ARGUMENT_CHECKPOINT_OPTIONAL)))
        TRY(take_text(parser, "--checkpoint", &arguments->checkpoint, taken));
    if (!*taken && (flags & ARGUMENT_DOT))
        TRY(take_flag(parser, "--dot", &arguments->dot, taken));
    if (!*taken && (flags & ARGUMENT_JSON))
        TRY(take_flag(parser, "--json", &arguments->json, taken));
done:
    return status;
}

/* --set and the command's own options. */
static Status take_setting(Parser *parser, bool *taken) {
    Config *config = &parser->arguments->config;
    Status status = STATUS_OK;
    const char *value = NULL;
    TRY(take_text(parser, "--set", &value, taken));
    if (*taken && parser->apply_settings)
        TRY(config_set(config, value));
    for (const ArgumentOption *o = parser->command->options; o && o->option && !*taken; o++) {
        value = "true";
        TRY(take_option(parser, o->option, o->value_name ? &value : NULL, taken));
        if (*taken && parser->apply_settings)
            TRY(config_set_value(config, o->key, value, o->option));
    }
done:
    return status;
}

static Status take_word(Parser *parser) {
    const CommandDescription *command = parser->command;
    const char *word = parser->argv[parser->next++];
    if (word[0] == '-' && word[1] != '\0')
        return USAGE_ERROR(command, "unknown option %.80s", word);
    if (!command->words || (parser->arguments->word && !parser->apply_settings))
        return USAGE_ERROR(command, "unexpected argument \"%.80s\"", word);
    if (!config_is_choice(command->words, word))
        return USAGE_ERROR(command, "expected one of %s, found \"%.80s\"", command->words, word);
    parser->arguments->word = word;
    return STATUS_OK;
}

/* ---- all of them ---- */

static Status parse_pass(Parser *parser, bool apply_settings) {
    Status status = STATUS_OK;
    parser->next = 0;
    parser->apply_settings = apply_settings;
    while (parser->next < parser->argc) {
        bool taken = false;
        TRY(take_setting(parser, &taken));
        if (!taken)
            TRY(take_plain_option(parser, &taken));
        if (!taken)
            TRY(take_word(parser));
    }
done:
    return status;
}

static Status check_arguments(const CommandDescription *command, const Arguments *arguments) {
    Status status = STATUS_OK;
    TRY(check_device(command, arguments->device));
    if (arguments->run)
        TRY(check_run_name(command, arguments->run));
    if ((command->flags & ARGUMENT_RESUME_RUN) && !config_is_choice(resume_choices, arguments->resume))
        TRY(USAGE_ERROR(command, "--resume: expected auto or never, found \"%.80s\"", arguments->resume));
    if ((command->flags & ARGUMENT_CHECKPOINT) && !arguments->checkpoint)
        TRY(USAGE_ERROR(command, "%s is missing", "--checkpoint FILE (or a run directory)"));
    if (command->words && !arguments->word)
        TRY(USAGE_ERROR(command, "expected one of %s", command->words));
done:
    return status;
}

static bool asks_for_help(int argc, char *const *argv) {
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

Status arguments_parse(Arguments *arguments, const CommandDescription *command, int argc, char *const *argv) {
    Parser parser = {.command = command, .arguments = arguments, .argc = argc, .argv = argv};
    Status status = STATUS_OK;
    *arguments = (Arguments){.device = "auto", .outputs = "outputs", .resume = "auto"};
    config_defaults(&arguments->config);
    arguments->help = asks_for_help(argc, argv);
    if (arguments->help)
        return STATUS_OK;
    TRY(parse_pass(&parser, false));
    TRY(check_arguments(command, arguments));
    if (arguments->config_file)
        TRY(config_load_file(&arguments->config, arguments->config_file));
    TRY(parse_pass(&parser, true));
    arguments->exact_prior =
        (command->flags & ARGUMENT_PRIOR) && strcmp(arguments->config.prior_name, "network") != 0;
    if (!arguments->checkpoint)
        TRY(config_check(&arguments->config));
done:
    return status;
}

/* ---- help ---- */

enum { HELP_COLUMN = 34, HELP_WIDTH = 100 };

/* Prints `text` from `column` on, broken between words. */
static void print_wrapped(FILE *stream, const char *text, int column) {
    int at = column;
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (at > column && at + 1 + length > HELP_WIDTH) {
            fprintf(stream, "\n%*s", column, "");
            at = column;
        }
        at += fprintf(stream, "%s%.*s", at > column ? " " : "", length, text);
        text += length + (text[length] == ' ');
    }
    fputc('\n', stream);
}

static void print_option(FILE *stream, const char *option, const char *value_name, const char *help) {
    int at = fprintf(stream, "  %s%s%s", option, value_name ? " " : "", value_name ? value_name : "");
    if (at + 1 >= HELP_COLUMN) {
        fputc('\n', stream);
        at = 0;
    }
    fprintf(stream, "%*s", HELP_COLUMN - at, "");
    print_wrapped(stream, help, HELP_COLUMN);
}

static void print_key(FILE *stream, int index) {
    char value[CONFIG_VALUE_SIZE], range[CONFIG_RANGE_SIZE], text[CONFIG_VALUE_SIZE + 512];
    Config defaults;
    config_defaults(&defaults);
    snprintf(text, sizeof text, "%s; %s, default %s", config_key(index)->meaning,
             config_range_text(index, range), config_value_json(&defaults, index, value));
    print_option(stream, config_key(index)->path, NULL, text);
}

static bool in_groups(const char *path, const char *groups) {
    size_t length = strcspn(path, ".");
    for (const char *group = groups; *group; group += strspn(group, " ")) {
        size_t group_length = strcspn(group, " ");
        if (group_length == length && strncmp(group, path, length) == 0)
            return true;
        group += group_length;
    }
    return false;
}

static void print_own_options(const CommandDescription *command, FILE *stream) {
    for (const ArgumentOption *o = command->options; o && o->option; o++) {
        char text[CONFIG_VALUE_SIZE + 256], value[CONFIG_VALUE_SIZE];
        Config defaults;
        config_defaults(&defaults);
        snprintf(text, sizeof text, "%s (%s, default %s)", o->help, o->key,
                 config_value_json(&defaults, config_find(o->key), value));
        print_option(stream, o->option, o->value_name, text);
    }
}

static void print_common_options(const CommandDescription *command, FILE *stream) {
    if (command->flags & ARGUMENT_DOT)
        print_option(stream, "--dot", NULL, "print the network as a Graphviz graph");
    if (command->flags & ARGUMENT_JSON)
        print_option(stream, "--json", NULL, "print one JSON object on standard output");
    if (command->flags & ARGUMENT_RESUME)
        print_option(stream, "--resume", "auto|never|FILE",
                     "continue this run's newest checkpoint, refuse a run that has files, or begin at the "
                     "checkpoint FILE (default auto)");
    if (command->flags & ARGUMENT_RESUME_RUN)
        print_option(stream, "--resume", resume_choices,
                     "continue the run of this name, or refuse one that has files (default auto)");
    print_option(stream, "--config", "FILE", "JSON file of configuration keys");
    print_option(stream, "--set", "KEY=VALUE", "set one key; repeatable, later ones win, over --config");
    print_option(stream, "--device", device_choices, "where to compute (default auto)");
    print_option(stream, "--outputs", "DIR", "folder of all runs (default outputs)");
    print_option(stream, "--run", "NAME", "name of the run's folder (default: the command and the time)");
    print_option(stream, "--help", NULL, "print this text");
}

void arguments_help(const CommandDescription *command, FILE *stream) {
    fprintf(stream, "usage: ddpm_mpi %s%s%s", command->name, command->words ? " " : "",
            command->words ? command->words : "");
    if (command->flags & ARGUMENT_CHECKPOINT)
        fprintf(stream, " --checkpoint FILE");
    fprintf(stream, " [options]\n\n");
    print_wrapped(stream, command->summary, 0);
    fprintf(stream, "\noptions:\n");
    if (command->flags & (ARGUMENT_CHECKPOINT | ARGUMENT_CHECKPOINT_OPTIONAL))
        print_option(stream, "--checkpoint", "FILE",
                     command->flags & ARGUMENT_CHECKPOINT
                         ? "checkpoint, or a run directory for its latest (required)"
                         : "checkpoint, or a run directory for its latest");
    print_own_options(command, stream);
    print_common_options(command, stream);
    if (command->key_groups) {
        fprintf(stream, "\nkeys for --set and --config (ddpm_mpi --keys lists all):\n");
        for (int i = 0; i < CONFIG_KEY_COUNT; i++)
            if (in_groups(config_key(i)->path, command->key_groups))
                print_key(stream, i);
    }
    if (command->example)
        fprintf(stream, "\nexample:\n  %s\n", command->example);
}
