/* Line plots as PNG files: several series over one x axis, linear or logarithmic y. Not collective: one rank
 * draws. */
#ifndef IO_PLOT_H
#define IO_PLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

typedef enum PlotScale { PLOT_LINEAR, PLOT_LOG10 } PlotScale;

/* Colours that stay apart in print and for colour-blind readers, in the order to use them. */
typedef enum PlotColor { PLOT_BLUE, PLOT_ORANGE, PLOT_GREEN, PLOT_RED, PLOT_PURPLE, PLOT_GREY } PlotColor;

typedef enum PlotStyle {
    PLOT_STRONG,   /* the line to read */
    PLOT_LIGHT,    /* raw data behind it: thin and pale */
    PLOT_DASHED,   /* a reference, such as a nominal value */
    PLOT_SCATTERED /* markers without a line */
} PlotStyle;

/* One series; all arrays are the caller's. Points with a non-finite x or y (or y <= 0 on PLOT_LOG10) are gaps
 * in the line. */
typedef struct PlotSeries {
    const char *label; /* in the legend; NULL: none */
    const double *x;   /* (count), not decreasing */
    const double *y;   /* (count) */
    const double *low; /* (count), with `high`: a shaded band between them; both NULL: none */
    const double *high;
    int64_t count; /* may be 0 */
    PlotColor color;
    PlotStyle style;
    bool markers; /* a dot at each point as well */
} PlotSeries;

typedef struct Plot {
    const char *title;    /* NULL or UTF-8, one line; so are the labels */
    const char *subtitle; /* smaller, under the title */
    const char *x_label;  /* with its unit */
    const char *y_label;
    PlotScale y_scale;
    double y_low,
        y_high; /* limits of the y axis; equal (both 0): from the finite data; values beyond are clipped */
    const PlotSeries *series;
    int series_count;
    int width, height; /* logical pixels, at twice the resolution in the file; 0: 720 x 432 */
} Plot;

/* Draws `plot` into the PNG file `path` (temporary name, then rename). A plot without any finite point shows
 * its axes and the words "no data". STATUS_FAILURE when the file cannot be written; STATUS_BAD_INPUT for
 * limits that are not finite, y_low > y_high, or y_low <= 0 on PLOT_LOG10. */
Status plot_write(const char *path, const Plot *plot);

#endif
