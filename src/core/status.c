#include "core/status.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char message[1024];

Status status_error(Status code, const char *format, ...) {
    va_list arguments;
    char text[sizeof message]; /* the old message may be among the arguments */
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(message, text, sizeof message);
    return code;
}

Status status_context(Status code, const char *format, ...) {
    va_list arguments;
    char context[512], text[sizeof message + sizeof context + 4];
    va_start(arguments, format);
    vsnprintf(context, sizeof context, format, arguments);
    va_end(arguments);
    snprintf(text, sizeof text, "%s: %s", context, message);
    text[sizeof message - 1] = '\0';
    memcpy(message, text, sizeof message);
    return code;
}

const char *status_message(void) {
    return message;
}

Status status_allocate(void **pointer, long long count, unsigned long element_bytes) {
    *pointer = NULL;
    if (count < 0 || (unsigned long long)count > SIZE_MAX / 2 / element_bytes)
        return status_error(STATUS_FAILURE, "out of memory: %lld elements of %lu bytes asked for", count,
                            element_bytes);
    *pointer = calloc(count ? (size_t)count : 1, element_bytes);
    if (!*pointer)
        return status_error(STATUS_FAILURE, "out of memory: %lld elements of %lu bytes asked for", count,
                            element_bytes);
    return STATUS_OK;
}
