/* Console output. Information goes to standard output from rank 0 only; warnings and errors go to standard
 * error from every rank, named. With --json on standard output, information moves to standard error. */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdbool.h>

/* Call once per process, after the rank is known. Not thread-safe; the calls below are. */
void log_start(int rank, int rank_count, bool information_to_stderr);

void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Progress: on a terminal one line that is overwritten; otherwise a plain line at most every 5 seconds
 * (`final` always prints). */
void log_progress(bool final, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes seconds as "4.2 s", "42 s", "3 min 05 s" or "2 h 07 min" into text; returns text. */
char *log_duration(double seconds, char text[32]);

/* Writes bytes as "840 B", "25.7 kB", "3.1 MB" or "1.2 GB" into text; returns text. */
char *log_bytes(double bytes, char text[32]);

/* "" for one, "s" for any other number: "%lld image%s". */
const char *log_plural(long long count);

#endif
