/* Axis arithmetic of plots: limits to ticks, ticks to words. */
#ifndef IO_AXIS_H
#define IO_AXIS_H

#include <stdbool.h>
#include <stddef.h>

#define AXIS_TICKS_MAX 64
#define AXIS_LABEL_BYTES 48

typedef struct AxisTick {
    double value;
    bool labelled; /* false: a minor grid line without a number */
    char label[AXIS_LABEL_BYTES];
} AxisTick;

typedef struct Axis {
    double low, high; /* low < high */
    bool log10;       /* then low > 0 */
    bool integer;     /* only whole-numbered ticks (epochs, steps); linear axes only */
} Axis;

/* Position of `value` along the axis: 0 at low, 1 at high; NaN where the value has none. */
double axis_position(const Axis *axis, double value);

/* Round-numbered ticks within [low, high], increasing, about `wanted` of them labelled, at most
 * AXIS_TICKS_MAX; returns how many. */
int axis_ticks(const Axis *axis, int wanted, AxisTick ticks[AXIS_TICKS_MAX]);

#endif
