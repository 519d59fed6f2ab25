/* Line plots: several series over one x axis, linear or logarithmic axes, as a PNG file of their own or as a
 * panel of a larger figure. Not collective: one rank draws. */
#ifndef IO_PLOT_H
#define IO_PLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"
#include "io/canvas.h"

typedef enum PlotScale { PLOT_LINEAR, PLOT_LOG10 } PlotScale;

/* Colours that stay apart in print and for colour-blind readers, in the order to use them. */
typedef enum PlotColor {
    PLOT_BLUE,
    PLOT_ORANGE,
    PLOT_GREEN,
    PLOT_RED,
    PLOT_PURPLE,
    PLOT_GREY,
    PLOT_SKY,
    PLOT_SAND,
    PLOT_WINE,
    PLOT_INK,
    PLOT_COLORS
} PlotColor;

typedef enum PlotMarker {
    PLOT_CIRCLE,
    PLOT_SQUARE,
    PLOT_TRIANGLE,
    PLOT_DIAMOND,
    PLOT_TRIANGLE_DOWN,
    PLOT_RING,
    PLOT_MARKERS
} PlotMarker;

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
    bool markers; /* one at each point as well */
    PlotMarker marker;
    double band; /* opacity of the band in (0, 1]; 0: 0.18 */
} PlotSeries;

typedef struct Plot {
    const char *title;    /* NULL or UTF-8, one line; so are the labels */
    const char *subtitle; /* smaller, under the title; behind it in a panel */
    const char *x_label;  /* with its unit */
    const char *y_label;
    PlotScale x_scale, y_scale;
    double y_low,
        y_high; /* limits of the y axis; equal (both 0): from the finite data; values beyond are clipped */
    bool panel; /* part of a larger figure: narrow margins, a small title */
    const PlotSeries *series;
    int series_count;
    int width, height; /* logical pixels, at twice the resolution in the file; 0: 720 x 432 */
} Plot;

/* Draws `plot` into the PNG file `path` (temporary name, then rename). A plot without any finite point shows
 * its axes and the words "no data". STATUS_FAILURE when the file cannot be written; STATUS_BAD_INPUT for
 * limits that are not finite, y_low > y_high, or y_low <= 0 on PLOT_LOG10. */
Status plot_write(const char *path, const Plot *plot);

/* The rectangle of a canvas that a plot or a legend may use, in logical pixels. */
typedef struct PlotArea {
    double left, top, width, height;
} PlotArea;

/* Draws `plot` into a part of the canvas; its own width and height are not read. Limits as for plot_write,
 * but not checked. */
void plot_draw(Canvas *canvas, PlotArea area, const Plot *plot);

/* Draws the labels of these series with a sample of each from the area's top down, wrapped to its width, and
 * returns their lower edge; its height is not read. */
double plot_draw_legend(Canvas *canvas, PlotArea area, const PlotSeries *series, int count);

/* A marker of this shape and colour at (x, y). */
void plot_draw_marker(Canvas *canvas, PlotMarker marker, PlotColor color, double x, double y);

CanvasColor plot_color(PlotColor color);

#endif
