/* The subcommands: argument tables and entry points. Every run function is collective. */
#ifndef COMMANDS_COMMANDS_H
#define COMMANDS_COMMANDS_H

#include "commands/session.h"

typedef struct Command {
    CommandDescription description;
    Status (*run)(Session *session);
    bool stops; /* at a signal, all ranks together and with what is done kept or given up; else it ends it */
} Command;

extern const Command command_train, command_sample, command_posterior, command_sweep, command_inspect,
    command_bench;

#endif
