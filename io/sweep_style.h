/* What the figures of a sweep share; private to io/sweep_*.c. */
#ifndef IO_SWEEP_STYLE_H
#define IO_SWEEP_STYLE_H

#include <stdbool.h>

#include "io/plot.h"
#include "io/sweep_summary.h"

#define SWEEP_WIDTH 960.0 /* of every figure, logical pixels */
#define SWEEP_MARGIN 16.0
#define SWEEP_TITLE_SIZE 14.0
#define SWEEP_HEADING_SIZE 12.5
#define SWEEP_TEXT_SIZE 11.0
#define SWEEP_NOTE_SIZE 10.0
#define SWEEP_COLUMNS 3 /* of panels */

/* STATUS_BAD_INPUT naming the file: the summary has no sampler or no fraction. */
Status sweep_check(const char *path, const SweepSummary *summary);

/* The groups in the order shown, with their headings; NULL past the last. */
const char *sweep_group(int index, const char **heading);

/* A measure to show, under this title. */
typedef struct SweepPanel {
    int metric;
    const char *title;
} SweepPanel;

#define SWEEP_PANELS_MAX 16

/* The measures of the group to show, in order; returns how many. */
int sweep_panels(const SweepSummary *summary, const char *group, SweepPanel panels[SWEEP_PANELS_MAX]);

/* What exact draws have: the measure's target, or, for tv, the mean of tv_exact; NaN: not known. */
double sweep_target(const SweepSummary *summary, int metric, int fraction);

/* "lower is better", ...; NULL where there is nothing to say. */
const char *sweep_direction_note(const SweepMetric *metric);

/* Whether the measure is better shown on a logarithmic axis: no share (coverage, right, tv), only positive
 * means, the largest over ten times the smallest. */
bool sweep_is_logarithmic(const SweepSummary *summary, int metric);

/* [low, high] of the cell as an axis can show it: both the mean if one is not finite; low within a factor of
 * ten of the mean on a logarithmic one. */
void sweep_interval(const SweepCell *cell, bool logarithmic, double *low, double *high);

PlotColor sweep_color(const SweepSummary *summary, int sampler);
PlotMarker sweep_marker(const SweepSummary *summary, int sampler);

/* One line of text at the font's current size, or smaller if it would be wider than `width`. */
void sweep_draw_fitted(Canvas *canvas, double x, double y, CanvasAlign align, double size, bool bold,
                       double width, const char *text);

/* Title and note (either may be NULL) at the top of a figure; returns the y below them. */
double sweep_draw_title(Canvas *canvas, const char *title, const char *note);

/* A section's heading under `top` with a rule; returns the y below it. */
double sweep_draw_heading(Canvas *canvas, double top, const char *heading);

/* The metrics of a single fraction, a row for each sampler; returns the lower edge. */
double sweep_draw_rows(Canvas *canvas, const SweepSummary *summary, double top);

/* On the middle of a device pixel, so that thin lines are sharp. */
double sweep_crisp(double position);

#endif
