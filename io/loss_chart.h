/* The dashboard's loss curve: inline SVG in the page's own colours. */
#ifndef IO_LOSS_CHART_H
#define IO_LOSS_CHART_H

#include <stdint.h>

#include "core/status.h"
#include "io/metrics.h"
#include "io/page.h"

/* Appends an <svg> of the losses of `records` (count, steps increasing) over their steps, log y: the raw
 * values (for more than 600 steps the band between the smallest and the largest of each of 300 stretches) and
 * their running mean. Without a finite positive loss it appends nothing. Fails only without memory. */
Status loss_chart_add(Page *page, const StepRecord *records, int64_t count);

#endif
