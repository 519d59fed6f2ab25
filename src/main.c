/* The subcommand table, one teardown path, and the only place that decides to end the job. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands/commands.h"
#include "core/config.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/version.h"

static const Command *const commands[] = {
    &command_train, &command_sample, &command_posterior, &command_sweep, &command_inspect, &command_bench,
};

enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void print_usage(FILE *stream) {
    fprintf(stream,
            "ddpm_mpi %s: train a DDPM U-Net over MPI ranks and draw posterior samples\n\n"
            "usage: ddpm_mpi COMMAND [options]\n\n",
            DDPM_MPI_VERSION);
    for (int i = 0; i < COMMAND_COUNT; i++)
        fprintf(stream, "  %-10s %s\n", commands[i]->description.name, commands[i]->description.summary);
    fprintf(stream,
            "\nddpm_mpi COMMAND --help lists a command's options, ddpm_mpi --keys every configuration key;\n"
            "ddpm_mpi --version prints the version.\n");
}

static const Command *find_command(const char *name) {
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i]->description.name, name) == 0)
            return commands[i];
    return NULL;
}

/* Parses the arguments on every rank; they are the same everywhere, and so is the outcome. */
static Status run_command(Session *session, const Command *command, int argc, char **argv) {
    Status status = arguments_parse(&session->arguments, &command->description, argc, argv);
    TRY(comm_agree(session->comm, status));
    if (session->arguments.help) {
        if (session->root)
            arguments_help(&command->description, stdout);
        return STATUS_OK;
    }
    log_start(comm_rank(session->comm), comm_size(session->comm),
              session->arguments.json || session->arguments.dot);
    TRY(session_choose_device(session));
    TRY(command->run(session));
done:
    return status;
}

/* One message for what all ranks know; a failure of one rank alone ends the job, since the others wait for
 * it. */
static void report_failure(const Session *session, Status status) {
    bool agreed = comm_size(session->comm) == 1 || comm_failure_is_agreed(session->comm) ||
                  status == STATUS_INTERRUPTED; /* only after all ranks decided to stop */
    const char *message = status_message();
    if (agreed && session->root && status != STATUS_INTERRUPTED)
        log_error("%s", message);
    if (!agreed) {
        log_error("%s", message);
        comm_abort(session->comm, status);
    }
}

/* A standard stream that is closed stays so, but no file of ours may get its number: messages would be
 * written into it. */
static void reserve_standard_streams(void) {
    int descriptor;
    do
        descriptor = open("/dev/null", O_RDONLY);
    while (descriptor >= 0 && descriptor <= STDERR_FILENO);
    if (descriptor >= 0)
        close(descriptor);
}

int main(int argc, char **argv) {
    Session session = {.run.lock = -1};
    reserve_standard_streams();
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? STATUS_BAD_INPUT : STATUS_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("ddpm_mpi %s (%s)\n", DDPM_MPI_VERSION, DDPM_MPI_COMMIT);
        return STATUS_OK;
    }
    if (strcmp(argv[1], "--keys") == 0) {
        config_print_table(stdout);
        return STATUS_OK;
    }
    const Command *command = find_command(argv[1]);
    if (!command) {
        fprintf(stderr, "ddpm_mpi: error: unknown command '%s'; expected one of:", argv[1]);
        for (int i = 0; i < COMMAND_COUNT; i++)
            fprintf(stderr, " %s", commands[i]->description.name);
        fprintf(stderr, "\n");
        return STATUS_BAD_INPUT;
    }
    if (command->stops)
        interrupt_install();
    Status status = comm_create(&session.comm);
    if (status != STATUS_OK) {
        fprintf(stderr, "ddpm_mpi: error: %s\n", status_message());
        return status;
    }
    session.command = command->description.name;
    session.root = comm_rank(session.comm) == 0;
    log_start(comm_rank(session.comm), comm_size(session.comm), false);
    status = run_command(&session, command, argc - 2, argv + 2);
    run_directory_close(&session.run); /* before the job may be ended */
    if (status != STATUS_OK)
        report_failure(&session, status);
    comm_detach_device(session.comm);
    if (session.backend && session.backend->stop)
        session.backend->stop();
    comm_destroy(session.comm);
    return status;
}
