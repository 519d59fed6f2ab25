/* Monotonic wall-clock time in seconds; the origin is arbitrary. */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

double clock_seconds(void);

#endif
