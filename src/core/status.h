/* Error handling: every function that can fail returns a Status; the message of the failure that started
 * the unwinding is kept per thread. Only main.c ends the process. */
#ifndef CORE_STATUS_H
#define CORE_STATUS_H

/* The values are the program's exit statuses. */
typedef enum Status {
    STATUS_OK = 0,
    STATUS_FAILURE = 1,      /* the machine, a library or another rank failed */
    STATUS_BAD_INPUT = 2,    /* the user's arguments, configuration or files are wrong */
    STATUS_INTERRUPTED = 75, /* stopped by a signal after a clean checkpoint: requeue */
} Status;

/* Stores a one-line message (what, where, expected, found, what to do) for this thread and returns `code`. */
Status status_error(Status code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "context: " in front of this thread's message; returns `code` unchanged. */
Status status_context(Status code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* This thread's latest message; "" if there was none. Valid until the thread's next status_error. */
const char *status_message(void);

/* Propagates a failure: needs a local `Status status` and a label `done:` that frees zero-initialised
 * handles. */
#define TRY(call)                                                                                            \
    do {                                                                                                     \
        status = (call);                                                                                     \
        if (status != STATUS_OK)                                                                             \
            goto done;                                                                                       \
    } while (0)

/* Sets `status` to a new error and leaves through `done:`. */
#define FAIL(code, ...)                                                                                      \
    do {                                                                                                     \
        status = status_error(code, __VA_ARGS__);                                                            \
        goto done;                                                                                           \
    } while (0)

/* calloc with a message: stores zeroed memory for `count` elements in *pointer (owned by the caller, free()).
 */
#define ALLOCATE(pointer, count) status_allocate((void **)(pointer), (count), sizeof **(pointer))
Status status_allocate(void **pointer, long long count, unsigned long element_bytes);

#endif
