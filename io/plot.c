#include "io/plot.h"

#include <float.h>
#include <math.h>

#include "io/axis.h"

#define DEFAULT_WIDTH 720
#define DEFAULT_HEIGHT 432
#define MARGIN 16.0
#define PANEL_MARGIN 4.0
#define TITLE_SIZE 14.0
#define PANEL_TITLE_SIZE 11.5
#define TEXT_SIZE 11.0
#define LINE_HEIGHT 18.0
#define LEGEND_LINE 22.0 /* length of a legend's sample */
#define TICK_LENGTH 4.0
#define Y_TICKS 6
#define PANEL_Y_TICKS 5
#define X_TICK_SPACING 90.0
#define PANEL_X_TICK_SPACING 60.0
#define PADDING 0.05 /* of the data's range, above and below it */
#define MARKER_RADIUS 2.6
#define MARKER_PADDING 0.02 /* of the x range, so that the first and last markers are whole */
#define FAR_AWAY 1e5        /* logical pixels: far outside, yet within cairo's fixed-point coordinates */
#define STROKE_POINTS 512   /* points per stroke: stroking one very long path is slow */
#define DOT_RADIUS 2.0
#define BAND_OPACITY 0.18
#define NEAR_ZERO 0.05 /* of the x range: a first step or epoch that near makes the axis begin at 0 */

static const CanvasColor colors[] = {
    [PLOT_BLUE] = {0.10, 0.38, 0.68, 1},   [PLOT_ORANGE] = {0.85, 0.42, 0.05, 1},
    [PLOT_GREEN] = {0.10, 0.52, 0.36, 1},  [PLOT_RED] = {0.75, 0.15, 0.20, 1},
    [PLOT_PURPLE] = {0.48, 0.30, 0.62, 1}, [PLOT_GREY] = {0.45, 0.47, 0.50, 1},
    [PLOT_SKY] = {0.33, 0.66, 0.86, 1},    [PLOT_SAND] = {0.76, 0.63, 0.22, 1},
    [PLOT_WINE] = {0.55, 0.12, 0.38, 1},   [PLOT_INK] = {0.13, 0.14, 0.16, 1},
};

static const double dashes[] = {5, 3.5};

typedef struct Frame {
    double left, top, right, bottom; /* between the axes, logical pixels */
    PlotArea area;                   /* with labels and margins */
    double margin;
    Axis x, y;
    AxisTick x_ticks[AXIS_TICKS_MAX], y_ticks[AXIS_TICKS_MAX];
    int x_tick_count, y_tick_count;
    bool has_data;
} Frame;

/* Mixed with white rather than transparent: overlapping strokes of one series stay even. */
static CanvasColor tint(CanvasColor color, double amount) {
    return (CanvasColor){1 - amount * (1 - color.red), 1 - amount * (1 - color.green),
                         1 - amount * (1 - color.blue), 1};
}

static CanvasColor series_color(const PlotSeries *series) {
    return series->style == PLOT_LIGHT ? tint(colors[series->color], 0.38) : colors[series->color];
}

static double marker_radius(const PlotSeries *series) {
    return series->style == PLOT_SCATTERED ? DOT_RADIUS : MARKER_RADIUS;
}

static bool is_drawn(const Plot *plot, double x, double y) {
    return isfinite(x) && isfinite(y) && (plot->x_scale == PLOT_LINEAR || x > 0) &&
           (plot->y_scale == PLOT_LINEAR || y > 0);
}

static void widen(double *low, double *high, double value) {
    *low = fmin(*low, value);
    *high = fmax(*high, value);
}

/* Equal ends become a range around them. */
static void separate(double *low, double *high) {
    if (*low < *high)
        return;
    double reach = *low == 0 ? 1 : 0.1 * fabs(*low);
    *low -= reach;
    *high += reach;
}

/* The data's limits [low, high] with some room beyond, on the axis's scale. */
static void pad(PlotScale scale, double part, double *low, double *high) {
    if (scale == PLOT_LOG10) {
        /* the quotient of the ends may be beyond a double, and so may the padded ends */
        double factor = pow(10, part * (log10(*high) - log10(*low)));
        *low = fmax(*low / factor, DBL_MIN);
        *high = fmin(*high * factor, DBL_MAX);
    } else {
        double padding = part * (*high - *low);
        *low -= padding;
        *high += padding;
    }
}

static void pad_x(const Plot *plot, bool markers, double *low, double *high) {
    if (!(*low < *high)) {
        double reach = plot->x_scale == PLOT_LOG10 ? 0.5 * *low : 1;
        *low -= reach;
        *high += reach;
        return;
    }
    if (plot->x_scale == PLOT_LINEAR && *low > 0 && *low < NEAR_ZERO * *high)
        *low = 0;
    if (markers)
        pad(plot->x_scale, MARKER_PADDING, low, high);
}

static void find_limits(const Plot *plot, Frame *frame) {
    double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
    bool integer = plot->x_scale == PLOT_LINEAR, markers = false;
    for (int s = 0; s < plot->series_count; s++) {
        const PlotSeries *series = &plot->series[s];
        markers |= series->markers || series->style == PLOT_SCATTERED;
        for (int64_t i = 0; i < series->count; i++) {
            if (!is_drawn(plot, series->x[i], series->y[i]))
                continue;
            integer &= series->x[i] == floor(series->x[i]);
            widen(&x_low, &x_high, series->x[i]);
            widen(&y_low, &y_high, series->y[i]);
            if (series->low && series->high && is_drawn(plot, series->x[i], series->high[i]) &&
                isfinite(series->low[i])) {
                widen(&y_low, &y_high, series->high[i]);
                if (plot->y_scale == PLOT_LINEAR || series->low[i] > 0)
                    widen(&y_low, &y_high, series->low[i]);
            }
        }
    }
    frame->has_data = x_low <= x_high;
    if (!frame->has_data) {
        x_low = plot->x_scale == PLOT_LOG10 ? 0.1 : 0;
        y_low = plot->y_scale == PLOT_LOG10 ? 0.1 : 0;
        x_high = y_high = 1;
    }
    pad_x(plot, markers, &x_low, &x_high);
    if (plot->y_low < plot->y_high) {
        y_low = plot->y_low;
        y_high = plot->y_high;
    } else {
        separate(&y_low, &y_high);
        pad(plot->y_scale, PADDING, &y_low, &y_high);
    }
    frame->x = (Axis){.low = x_low,
                      .high = x_high,
                      .log10 = plot->x_scale == PLOT_LOG10,
                      .integer = integer && frame->has_data};
    frame->y = (Axis){.low = y_low, .high = y_high, .log10 = plot->y_scale == PLOT_LOG10};
}

static double pixel(double start, double end, double position) {
    return fmax(-FAR_AWAY, fmin(FAR_AWAY, start + (end - start) * position));
}

static double x_pixel(const Frame *frame, double x) {
    return pixel(frame->left, frame->right, axis_position(&frame->x, x));
}

static double y_pixel(const Frame *frame, double y) {
    return pixel(frame->bottom, frame->top, axis_position(&frame->y, y));
}

static void polygon(cairo_t *cairo, int count, const double (*corners)[2], double x, double y, double size) {
    for (int i = 0; i < count; i++)
        cairo_line_to(cairo, x + size * corners[i][0], y + size * corners[i][1]);
    cairo_close_path(cairo);
    cairo_fill(cairo);
}

/* Sizes beside the circle's radius give the shapes about equal areas. */
static void draw_shape(cairo_t *cairo, PlotMarker marker, double x, double y, double radius) {
    static const double square[][2] = {{-0.9, -0.9}, {0.9, -0.9}, {0.9, 0.9}, {-0.9, 0.9}};
    static const double triangle[][2] = {{0, -1.45}, {1.25, 0.85}, {-1.25, 0.85}};
    static const double down[][2] = {{0, 1.45}, {1.25, -0.85}, {-1.25, -0.85}};
    static const double diamond[][2] = {{0, -1.45}, {1.2, 0}, {0, 1.45}, {-1.2, 0}};
    switch (marker) {
    case PLOT_SQUARE:
        polygon(cairo, 4, square, x, y, radius);
        return;
    case PLOT_TRIANGLE:
        polygon(cairo, 3, triangle, x, y, radius);
        return;
    case PLOT_TRIANGLE_DOWN:
        polygon(cairo, 3, down, x, y, radius);
        return;
    case PLOT_DIAMOND:
        polygon(cairo, 4, diamond, x, y, radius);
        return;
    case PLOT_CIRCLE:
    case PLOT_RING:
    case PLOT_MARKERS:
        break;
    }
    cairo_new_sub_path(cairo);
    cairo_arc(cairo, x, y, radius, 0, 2 * M_PI);
    if (marker != PLOT_RING) {
        cairo_fill(cairo);
        return;
    }
    cairo_save(cairo);
    cairo_set_line_width(cairo, 1.3);
    cairo_stroke_preserve(cairo);
    cairo_set_source_rgb(cairo, 1, 1, 1);
    cairo_fill(cairo);
    cairo_restore(cairo);
}

CanvasColor plot_color(PlotColor color) {
    return colors[color];
}

void plot_draw_marker(Canvas *canvas, PlotMarker marker, PlotColor color, double x, double y) {
    canvas_color(canvas, colors[color]);
    draw_shape(canvas->cairo, marker, x, y, MARKER_RADIUS);
}

static void draw_legend_sample(Canvas *canvas, const PlotSeries *series, double x, double y) {
    canvas_color(canvas, series_color(series));
    if (series->style != PLOT_SCATTERED) {
        if (series->style == PLOT_DASHED)
            cairo_set_dash(canvas->cairo, dashes, 2, 0);
        cairo_set_line_width(canvas->cairo, series->style == PLOT_LIGHT ? 1.2 : 2);
        cairo_move_to(canvas->cairo, x, y);
        cairo_line_to(canvas->cairo, x + LEGEND_LINE, y);
        cairo_stroke(canvas->cairo);
        cairo_set_dash(canvas->cairo, NULL, 0, 0);
    }
    if (series->markers || series->style == PLOT_SCATTERED)
        draw_shape(canvas->cairo, series->marker, x + LEGEND_LINE / 2, y, marker_radius(series));
}

double plot_draw_legend(Canvas *canvas, PlotArea area, const PlotSeries *series, int count) {
    double x = area.left, baseline = area.top + LINE_HEIGHT * 0.7;
    bool any = false;
    canvas_font(canvas, TEXT_SIZE, false);
    for (int s = 0; s < count; s++) {
        if (!series[s].label)
            continue;
        double width = LEGEND_LINE + 6 + canvas_text_width(canvas, series[s].label) + 18;
        if (any && x + width > area.left + area.width) {
            x = area.left;
            baseline += LINE_HEIGHT;
        }
        any = true;
        draw_legend_sample(canvas, &series[s], x, baseline - TEXT_SIZE * 0.33);
        canvas_color(canvas, CANVAS_INK);
        canvas_text(canvas, x + LEGEND_LINE + 6, baseline, CANVAS_LEFT, series[s].label);
        x += width;
    }
    return any ? baseline + LINE_HEIGHT * 0.5 : area.top;
}

/* Title, subtitle and legend from the top down; returns where the plotting area may begin. */
static double draw_heading(Canvas *canvas, const Plot *plot, const Frame *frame) {
    double y = frame->area.top + frame->margin, size = plot->panel ? PANEL_TITLE_SIZE : TITLE_SIZE;
    if (plot->title) {
        canvas_font(canvas, size, true);
        canvas_color(canvas, CANVAS_INK);
        canvas_text(canvas, frame->left, y + size * 0.8, CANVAS_LEFT, plot->title);
        y += plot->panel ? size * 1.1 : LINE_HEIGHT * 1.15;
    }
    if (plot->subtitle && plot->panel) { /* behind the title */
        double used = plot->title ? canvas_text_width(canvas, plot->title) + 8 : 0;
        canvas_font(canvas, TEXT_SIZE - 1, false);
        canvas_color(canvas, CANVAS_MUTED);
        canvas_text(canvas, frame->left + used, frame->area.top + frame->margin + size * 0.8, CANVAS_LEFT,
                    plot->subtitle);
    } else if (plot->subtitle) {
        canvas_font(canvas, TEXT_SIZE, false);
        canvas_color(canvas, CANVAS_MUTED);
        canvas_text(canvas, frame->left, y + TEXT_SIZE * 0.8, CANVAS_LEFT, plot->subtitle);
        y += LINE_HEIGHT;
    }
    PlotArea legend = {
        .left = frame->left, .top = y, .width = frame->area.left + frame->area.width - MARGIN - frame->left};
    return plot_draw_legend(canvas, legend, plot->series, plot->series_count) + 8;
}

static void lay_out(Canvas *canvas, const Plot *plot, Frame *frame) {
    PlotArea area = frame->area;
    find_limits(plot, frame);
    frame->margin = plot->panel ? PANEL_MARGIN : MARGIN;
    canvas_font(canvas, TEXT_SIZE, false);
    frame->y_tick_count = axis_ticks(&frame->y, plot->panel ? PANEL_Y_TICKS : Y_TICKS, frame->y_ticks);
    double widest = 0;
    for (int i = 0; i < frame->y_tick_count; i++)
        if (frame->y_ticks[i].labelled)
            widest = fmax(widest, canvas_text_width(canvas, frame->y_ticks[i].label));
    frame->left =
        area.left + frame->margin + (plot->y_label ? LINE_HEIGHT + 4 : 0) + widest + TICK_LENGTH + 4;
    frame->right = area.left + area.width - frame->margin - 12; /* half of the last tick's label */
    frame->bottom = area.top + area.height - frame->margin -
                    (plot->x_label ? LINE_HEIGHT + (plot->panel ? -2 : 4) : 0) - LINE_HEIGHT;
    double spacing = plot->panel ? PANEL_X_TICK_SPACING : X_TICK_SPACING;
    int x_wanted = (int)fmax(2, (frame->right - frame->left) / spacing);
    frame->x_tick_count = axis_ticks(&frame->x, x_wanted, frame->x_ticks);
    if (!frame->has_data) /* numbers on empty axes would mean nothing */
        frame->x_tick_count = frame->y_tick_count = 0;
    frame->top = draw_heading(canvas, plot, frame);
}

/* On the middle of a device pixel, so that thin lines are sharp. */
static double crisp(double position) {
    return (floor(position * CANVAS_SCALE) + 0.5) / CANVAS_SCALE;
}

static void draw_rule(Canvas *canvas, double x0, double y0, double x1, double y1) {
    cairo_move_to(canvas->cairo, crisp(x0), crisp(y0));
    cairo_line_to(canvas->cairo, crisp(x1), crisp(y1));
    cairo_stroke(canvas->cairo);
}

static void draw_grid(Canvas *canvas, const Frame *frame) {
    cairo_set_line_width(canvas->cairo, 0.5);
    for (int pass = 0; pass < 2; pass++) { /* faint minor lines first, under the major ones */
        canvas_color(canvas, pass ? CANVAS_RULE : tint(CANVAS_RULE, 0.5));
        for (int i = 0; i < frame->y_tick_count; i++)
            if (frame->y_ticks[i].labelled == (pass == 1))
                draw_rule(canvas, frame->left, y_pixel(frame, frame->y_ticks[i].value), frame->right,
                          y_pixel(frame, frame->y_ticks[i].value));
    }
    for (int i = 0; i < frame->x_tick_count; i++)
        if (frame->x_ticks[i].labelled)
            draw_rule(canvas, x_pixel(frame, frame->x_ticks[i].value), frame->top,
                      x_pixel(frame, frame->x_ticks[i].value), frame->bottom);
}

static void draw_axes(Canvas *canvas, const Plot *plot, const Frame *frame) {
    canvas_color(canvas, CANVAS_MUTED);
    cairo_set_line_width(canvas->cairo, 0.75);
    draw_rule(canvas, frame->left, frame->top, frame->left, frame->bottom);
    draw_rule(canvas, frame->left, frame->bottom, frame->right, frame->bottom);
    canvas_font(canvas, TEXT_SIZE, false);
    for (int i = 0; i < frame->y_tick_count; i++) {
        double y = y_pixel(frame, frame->y_ticks[i].value);
        if (!frame->y_ticks[i].labelled)
            continue;
        draw_rule(canvas, frame->left - TICK_LENGTH, y, frame->left, y);
        canvas_text(canvas, frame->left - TICK_LENGTH - 4, y + TEXT_SIZE * 0.36, CANVAS_RIGHT,
                    frame->y_ticks[i].label);
    }
    for (int i = 0; i < frame->x_tick_count; i++) {
        double x = x_pixel(frame, frame->x_ticks[i].value);
        if (!frame->x_ticks[i].labelled)
            continue;
        draw_rule(canvas, x, frame->bottom, x, frame->bottom + TICK_LENGTH);
        canvas_text(canvas, x, frame->bottom + TICK_LENGTH + TEXT_SIZE + 2, CANVAS_CENTER,
                    frame->x_ticks[i].label);
    }
    canvas_color(canvas, CANVAS_INK);
    if (plot->x_label)
        canvas_text(canvas, (frame->left + frame->right) / 2,
                    frame->area.top + frame->area.height - frame->margin, CANVAS_CENTER, plot->x_label);
    if (plot->y_label)
        canvas_text_upwards(canvas, frame->area.left + frame->margin + TEXT_SIZE * 0.5,
                            (frame->top + frame->bottom) / 2, plot->y_label);
}

static void draw_band(Canvas *canvas, const Plot *plot, const Frame *frame, const PlotSeries *series) {
    CanvasColor color = colors[series->color];
    color.alpha = series->band > 0 ? series->band : BAND_OPACITY;
    canvas_color(canvas, color);
    for (int64_t start = 0; start < series->count;) {
        int64_t end = start; /* one unbroken piece: [start, end) */
        while (end < series->count && is_drawn(plot, series->x[end], series->low[end]) &&
               is_drawn(plot, series->x[end], series->high[end]))
            end++;
        for (int64_t i = start; i < end; i++)
            cairo_line_to(canvas->cairo, x_pixel(frame, series->x[i]), y_pixel(frame, series->high[i]));
        for (int64_t i = end - 1; i >= start; i--)
            cairo_line_to(canvas->cairo, x_pixel(frame, series->x[i]), y_pixel(frame, series->low[i]));
        cairo_fill(canvas->cairo);
        start = end + 1;
    }
}

static void draw_line(Canvas *canvas, const Plot *plot, const Frame *frame, const PlotSeries *series) {
    cairo_t *cairo = canvas->cairo;
    cairo_set_line_width(cairo, series->style == PLOT_LIGHT ? 0.7 : 1.6);
    cairo_set_line_join(cairo, CAIRO_LINE_JOIN_ROUND);
    cairo_set_line_cap(cairo, series->style == PLOT_DASHED ? CAIRO_LINE_CAP_BUTT : CAIRO_LINE_CAP_ROUND);
    if (series->style == PLOT_DASHED)
        cairo_set_dash(cairo, dashes, 2, 0);
    int points = 0;
    for (int64_t i = 0; i < series->count; i++) {
        if (!is_drawn(plot, series->x[i], series->y[i])) {
            points = 0;
            cairo_stroke(cairo);
            continue;
        }
        double x = x_pixel(frame, series->x[i]), y = y_pixel(frame, series->y[i]);
        cairo_line_to(cairo, x, y);
        if (++points == 1)
            cairo_line_to(cairo, x, y); /* a lone point between gaps shows as a dot */
        if (points >= STROKE_POINTS && series->style != PLOT_DASHED) {
            cairo_stroke(cairo);
            cairo_move_to(cairo, x, y);
            points = 2;
        }
    }
    cairo_stroke(cairo);
    cairo_set_dash(cairo, NULL, 0, 0);
}

static void draw_markers(Canvas *canvas, const Plot *plot, const Frame *frame, const PlotSeries *series) {
    for (int64_t i = 0; i < series->count; i++)
        if (is_drawn(plot, series->x[i], series->y[i]))
            draw_shape(canvas->cairo, series->marker, x_pixel(frame, series->x[i]),
                       y_pixel(frame, series->y[i]), marker_radius(series));
}

static void draw_series(Canvas *canvas, const Plot *plot, const Frame *frame) {
    cairo_save(canvas->cairo);
    /* a little beyond the area: a line or marker on its edge is drawn whole */
    cairo_rectangle(canvas->cairo, frame->left - 3, frame->top, frame->right - frame->left + 6,
                    frame->bottom - frame->top + 3);
    cairo_clip(canvas->cairo);
    for (int s = 0; s < plot->series_count; s++)
        if (plot->series[s].low && plot->series[s].high)
            draw_band(canvas, plot, frame, &plot->series[s]);
    for (int s = 0; s < plot->series_count; s++) {
        const PlotSeries *series = &plot->series[s];
        canvas_color(canvas, series_color(series));
        if (series->style != PLOT_SCATTERED)
            draw_line(canvas, plot, frame, series);
        if (series->markers || series->style == PLOT_SCATTERED)
            draw_markers(canvas, plot, frame, series);
    }
    cairo_restore(canvas->cairo);
}

static Status check_plot(const char *path, const Plot *plot) {
    Status status = STATUS_OK;
    bool automatic = plot->y_low == plot->y_high;
    if (!automatic && !(isfinite(plot->y_low) && isfinite(plot->y_high) && plot->y_low < plot->y_high))
        FAIL(STATUS_BAD_INPUT,
             "%s: the y axis's limits are %g and %g; expected two finite numbers, the lower first", path,
             plot->y_low, plot->y_high);
    if (!automatic && plot->y_scale == PLOT_LOG10 && plot->y_low <= 0)
        FAIL(STATUS_BAD_INPUT, "%s: a logarithmic y axis begins at %g; expected a positive number", path,
             plot->y_low);
done:
    return status;
}

void plot_draw(Canvas *canvas, PlotArea area, const Plot *plot) {
    Frame frame = {.area = area};
    lay_out(canvas, plot, &frame);
    draw_grid(canvas, &frame);
    draw_series(canvas, plot, &frame);
    draw_axes(canvas, plot, &frame);
    if (frame.has_data)
        return;
    canvas_font(canvas, plot->panel ? TEXT_SIZE : TITLE_SIZE, false);
    canvas_color(canvas, CANVAS_MUTED);
    canvas_text(canvas, (frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2, CANVAS_CENTER,
                "no data");
}

Status plot_write(const char *path, const Plot *plot) {
    Status status = STATUS_OK;
    Canvas canvas = {0};
    TRY(check_plot(path, plot));
    TRY(canvas_create(&canvas, plot->width > 0 ? plot->width : DEFAULT_WIDTH,
                      plot->height > 0 ? plot->height : DEFAULT_HEIGHT));
    plot_draw(&canvas, (PlotArea){.width = canvas.width, .height = canvas.height}, plot);
    TRY(canvas_write(&canvas, path));
done:
    canvas_destroy(&canvas);
    return status;
}
