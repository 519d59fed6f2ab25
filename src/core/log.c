#include "core/log.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/clock.h"

static struct {
    int rank, rank_count;
    FILE *information;
    bool terminal;  /* information goes to a terminal */
    bool line_open; /* a progress line waits to be overwritten */
    double last_progress;
} logger = {0, 1, NULL, false, false, -1e9};

static FILE *information_stream(void) {
    return logger.information ? logger.information : stdout;
}

static void close_progress_line(void) {
    if (logger.line_open)
        fputs("\r\033[K", information_stream()); /* what follows says more */
    logger.line_open = false;
}

/* Open MPI gives every rank a pseudo-terminal, whatever stands behind mpirun: one without a width is
 * nobody's. */
static bool is_terminal(FILE *stream) {
    struct winsize size;
    return isatty(fileno(stream)) && ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
}

void log_start(int rank, int rank_count, bool information_to_stderr) {
    logger.rank = rank;
    logger.rank_count = rank_count;
    logger.information = information_to_stderr ? stderr : stdout;
    logger.terminal = is_terminal(logger.information);
}

void log_info(const char *format, ...) {
    if (logger.rank != 0)
        return;
    FILE *stream = information_stream();
    va_list arguments;
    flockfile(stream);
    close_progress_line();
    va_start(arguments, format);
    vfprintf(stream, format, arguments);
    va_end(arguments);
    fputc('\n', stream);
    fflush(stream);
    funlockfile(stream);
}

static void print_problem(const char *kind, const char *format, va_list arguments) {
    char text[1400];
    int used = logger.rank_count > 1 ? snprintf(text, 128, "ddpm_mpi: rank %d: %s: ", logger.rank, kind)
                                     : snprintf(text, 128, "ddpm_mpi: %s: ", kind);
    vsnprintf(text + used, sizeof text - (size_t)used - 2, format, arguments);
    flockfile(stderr);
    close_progress_line();
    fprintf(stderr, "%s\n", text); /* one write: lines of several ranks do not mix */
    fflush(stderr);
    funlockfile(stderr);
}

void log_warning(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_problem("warning", format, arguments);
    va_end(arguments);
}

void log_error(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_problem("error", format, arguments);
    va_end(arguments);
}

void log_progress(bool final, const char *format, ...) {
    double now = clock_seconds();
    if (logger.rank != 0 || (!final && now - logger.last_progress < (logger.terminal ? 0.2 : 5.0)))
        return;
    FILE *stream = information_stream();
    va_list arguments;
    logger.last_progress = now;
    flockfile(stream);
    if (logger.terminal)
        fputs("\r\033[K", stream);
    va_start(arguments, format);
    vfprintf(stream, format, arguments);
    va_end(arguments);
    logger.line_open = logger.terminal && !final;
    if (!logger.line_open)
        fputc('\n', stream);
    fflush(stream);
    funlockfile(stream);
}

char *log_duration(double seconds, char text[32]) {
    if (!(seconds >= 0) || seconds > 1e9)
        snprintf(text, 32, "?");
    else if (seconds >= 0.05 && seconds < 9.95)
        snprintf(text, 32, "%.1f s", seconds);
    else if (seconds < 59.5)
        snprintf(text, 32, "%.0f s", seconds);
    else if (seconds < 3570)
        snprintf(text, 32, "%d min %02d s", (int)(lround(seconds) / 60), (int)(lround(seconds) % 60));
    else
        snprintf(text, 32, "%d h %02d min", (int)(lround(seconds / 60) / 60),
                 (int)(lround(seconds / 60) % 60));
    return text;
}

char *log_bytes(double bytes, char text[32]) {
    if (bytes < 1e3)
        snprintf(text, 32, "%.0f B", bytes);
    else
        snprintf(text, 32, "%.1f %s",
                 bytes / (bytes < 1e6   ? 1e3
                          : bytes < 1e9 ? 1e6
                                        : 1e9),
                 bytes < 1e6   ? "kB"
                 : bytes < 1e9 ? "MB"
                               : "GB");
    return text;
}

const char *log_plural(long long count) {
    return count == 1 ? "" : "s";
}
