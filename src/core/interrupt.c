#include "core/interrupt.h"

#include <stddef.h>

/* A signal handler can reach nothing but static storage. */
static volatile sig_atomic_t received;

static void remember(int signal_number) {
    received = signal_number;
}

void interrupt_install(void) {
    struct sigaction action = {.sa_handler = remember, .sa_flags = SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGUSR1, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup ignores it */
        (void)sigaction(SIGHUP, &action, NULL);
    action.sa_flags |= SA_RESETHAND; /* a second Ctrl-C ends the program at once */
    (void)sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN; /* `train | head` must not end the training */
    (void)sigaction(SIGPIPE, &action, NULL);
    (void)sigaction(SIGXFSZ, &action,
                    NULL); /* a file-size limit is then an error of write(), which is reported */
}

int interrupt_received(void) {
    return received;
}

const volatile sig_atomic_t *interrupt_flag(void) {
    return &received;
}
