/* What a loss curve shows of a run's steps, the same in the PNG figure and on the dashboard. */
#ifndef IO_LOSS_SERIES_H
#define IO_LOSS_SERIES_H

#include <stdint.h>

#include "core/status.h"

/* Limits of a logarithmic loss axis. */
typedef struct LossLimits {
    double low, high; /* 0 < low < high; both 0 without any finite positive loss */
    double largest;   /* loss */
    int64_t above;    /* losses that lie above `high` */
} LossLimits;

/* Leaves the few largest values out: a run starts near 1 and then stays near its final loss, where the
 * interest is. loss: (count); non-finite and non-positive values do not count. Fails only without memory. */
Status loss_series_limits(const double *loss, int64_t count, LossLimits *limits);

/* An odd number of steps for the running mean of `count` of them. */
int64_t loss_series_window(int64_t count);

/* smooth[i], (count): mean of the finite values within `window` steps centred on i (fewer at the ends); NaN
 * where there is none. */
void loss_series_smooth(const double *loss, int64_t count, int64_t window, double *smooth);

#endif
