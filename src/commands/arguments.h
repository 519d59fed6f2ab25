/* The command line after `ddpm_mpi COMMAND`: options, settings and the resulting configuration.
 * Both "--key value" and "--key=value" are read; a value that begins with "--" needs the second form. */
#ifndef COMMANDS_ARGUMENTS_H
#define COMMANDS_ARGUMENTS_H

#include <stdbool.h>
#include <stdio.h>

#include "core/config.h"
#include "core/status.h"

/* A command's own option: a short form of --set KEY=VALUE. */
typedef struct ArgumentOption {
    const char *option;     /* "--count" */
    const char *key;        /* "sample.count" */
    const char *value_name; /* "N"; NULL: the option takes no value and sets the key to true */
    const char *help;       /* "images to draw" */
} ArgumentOption;

/* Options that only some commands have; --config --set --device --outputs --run --help are always there. */
typedef enum ArgumentFlag {
    ARGUMENT_RESUME = 1,              /* --resume auto|never|FILE */
    ARGUMENT_CHECKPOINT = 2,          /* --checkpoint F, required */
    ARGUMENT_CHECKPOINT_OPTIONAL = 4, /* --checkpoint F */
    ARGUMENT_DOT = 8,                 /* --dot */
    ARGUMENT_JSON = 16,               /* --json */
    ARGUMENT_PRIOR = 32,              /* draws from an exact prior where prior.name names one */
    ARGUMENT_RESUME_RUN = 64,         /* --resume auto|never */
} ArgumentFlag;

typedef struct CommandDescription {
    const char *name;              /* "sample" */
    const char *summary;           /* what it does and writes, one or two sentences */
    const char *words;             /* required positional word: "train|sample|allreduce"; NULL: none */
    const ArgumentOption *options; /* ends with an entry whose option is NULL; NULL: none */
    unsigned flags;                /* of ArgumentFlag */
    const char *key_groups;        /* groups whose keys --help lists: "sample posterior"; NULL: none */
    const char *example;           /* a full command line */
} CommandDescription;

/* The strings point into argv or are constants. */
typedef struct Arguments {
    const char *config_file; /* NULL: not given */
    const char *device;      /* "auto", "cpu", "cuda", "cpu_reference" */
    const char *outputs;     /* default "outputs" */
    const char *run;         /* NULL: not given; a plain file name otherwise */
    const char *resume;      /* "auto", "never" or a file; "auto" by default */
    const char *checkpoint;  /* NULL: not given */
    const char *word;        /* NULL: the command has none */
    bool dot, json, help;
    bool exact_prior; /* the command draws from an exact prior, which is computed on the CPU */
    Config config;    /* defaults, then --config, then --set and the command's options in their order */
} Arguments;

/* Parses argv[0..argc), the words after the command's name. No file but --config is opened, and that one only
 * after all options are known to be well-formed. Cross-key rules (config_check) are applied unless a
 * checkpoint is given, whose keys the command merges first. With --help only `help` is set and nothing else
 * is looked at. Errors: STATUS_BAD_INPUT; usage errors end in "try: ddpm_mpi COMMAND --help". Not collective.
 */
Status arguments_parse(Arguments *arguments, const CommandDescription *command, int argc, char *const *argv);

/* Prints the command's --help. */
void arguments_help(const CommandDescription *command, FILE *stream);

#endif
