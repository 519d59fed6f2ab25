/* SIGUSR1, SIGTERM and SIGINT ask for a clean stop: the step in progress is finished, a checkpoint written,
 * exit status 75. */
#ifndef CORE_INTERRUPT_H
#define CORE_INTERRUPT_H

#include <signal.h>

/* Installs the handlers. A second SIGUSR1 or SIGTERM changes nothing, a second SIGINT (Ctrl-C) ends the
 * process. SIGPIPE is ignored: `train | head` must not end the training. */
void interrupt_install(void);

/* The signal that was received, 0 so far. For code that polls: the address of the flag is interrupt_flag().
 */
int interrupt_received(void);
const volatile sig_atomic_t *interrupt_flag(void);

#endif
