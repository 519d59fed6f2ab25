/* SIGUSR1, SIGTERM, SIGINT and SIGHUP ask for a clean stop: the step in progress is finished, a checkpoint
 * written, exit status 75. */
#ifndef CORE_INTERRUPT_H
#define CORE_INTERRUPT_H

#include <signal.h>

/* Installs the handlers. A second signal changes nothing, but a second SIGINT (Ctrl-C) ends the process.
 * SIGHUP stays ignored where it was (nohup). SIGPIPE is ignored: `train | head` must not end the training. */
void interrupt_install(void);

/* The signal that was received, 0 so far. For code that polls: the address of the flag is interrupt_flag().
 */
int interrupt_received(void);
const volatile sig_atomic_t *interrupt_flag(void);

#endif
