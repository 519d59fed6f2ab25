/* The metrics of a sweep with a single fraction: panels that share their rows, one a sampler. */
#include <math.h>
#include <string.h>

#include "io/axis.h"
#include "io/sweep_style.h"

#define ROW 18.0
#define TITLE 22.0
#define AXIS_HEIGHT 26.0
#define GAP 30.0
#define TICKS 6
#define TICK_LENGTH 4.0
#define PADDING 0.06     /* of the range, at both ends */
#define LEAST_RANGE 1e-9 /* less is rounding: all measures are of images in [-1, 1], shares or ratios */

static const double dashes[] = {5, 3.5};

typedef struct Rows {
    double left, top, width, height; /* between the axes */
    Axis axis;
    bool has_data;
} Rows;

static double at(const Rows *rows, double value) {
    return rows->left + rows->width * axis_position(&rows->axis, value);
}

static double row_y(const Rows *rows, int sampler) {
    return rows->top + (sampler + 0.5) * ROW;
}

static void find_axis(const SweepSummary *summary, int metric, Rows *rows) {
    bool logarithmic = sweep_is_logarithmic(summary, metric);
    double low = INFINITY, high = -INFINITY, target = sweep_target(summary, metric, 0);
    for (int s = 0; s < summary->sampler_count; s++) {
        const SweepCell *cell = sweep_summary_cell(summary, s, 0, metric);
        double from, to;
        if (!isfinite(cell->mean))
            continue;
        sweep_interval(cell, logarithmic, &from, &to);
        low = fmin(low, from);
        high = fmax(high, to);
    }
    if (isfinite(target) && !(logarithmic && target <= 0)) {
        low = fmin(low, target);
        high = fmax(high, target);
    }
    if (!logarithmic && !(high - low > LEAST_RANGE)) {
        double reach = fabs(low) < LEAST_RANGE ? 1 : 0.1 * fabs(low);
        low -= reach;
        high += reach;
    }
    double factor = pow(high / low, PADDING), padding = PADDING * (high - low);
    rows->axis = (Axis){.low = logarithmic ? low / factor : low - padding,
                        .high = logarithmic ? high * factor : high + padding,
                        .log10 = logarithmic};
}

static void draw_line(Canvas *canvas, double x0, double y0, double x1, double y1) {
    cairo_move_to(canvas->cairo, x0, y0);
    cairo_line_to(canvas->cairo, x1, y1);
    cairo_stroke(canvas->cairo);
}

static void draw_axis(Canvas *canvas, const Rows *rows) {
    AxisTick ticks[AXIS_TICKS_MAX];
    double bottom = sweep_crisp(rows->top + rows->height);
    int count = axis_ticks(&rows->axis, TICKS, ticks);
    canvas_font(canvas, SWEEP_TEXT_SIZE, false);
    for (int i = 0; i < count; i++) {
        if (!ticks[i].labelled)
            continue;
        double x = sweep_crisp(at(rows, ticks[i].value));
        canvas_color(canvas, CANVAS_RULE);
        cairo_set_line_width(canvas->cairo, 0.5);
        draw_line(canvas, x, rows->top, x, bottom);
        canvas_color(canvas, CANVAS_MUTED);
        draw_line(canvas, x, bottom, x, bottom + TICK_LENGTH);
        canvas_text(canvas, x, bottom + TICK_LENGTH + SWEEP_TEXT_SIZE + 1, CANVAS_CENTER, ticks[i].label);
    }
    canvas_color(canvas, CANVAS_MUTED);
    cairo_set_line_width(canvas->cairo, 0.75);
    draw_line(canvas, rows->left, bottom, rows->left + rows->width, bottom);
}

static void draw_panel(Canvas *canvas, const SweepSummary *summary, const SweepPanel *panel, Rows *rows) {
    const SweepMetric *metric = &summary->metrics[panel->metric];
    double target = sweep_target(summary, panel->metric, 0);
    find_axis(summary, panel->metric, rows);
    canvas_color(canvas, CANVAS_INK);
    canvas_font(canvas, SWEEP_TEXT_SIZE, true);
    canvas_text(canvas, rows->left, rows->top - 8, CANVAS_LEFT, panel->title);
    if (sweep_direction_note(metric)) {
        double used = canvas_text_width(canvas, panel->title) + 8;
        canvas_color(canvas, CANVAS_MUTED);
        sweep_draw_fitted(canvas, rows->left + used, rows->top - 8, CANVAS_LEFT, SWEEP_NOTE_SIZE, false,
                          rows->width - used, sweep_direction_note(metric));
    }
    draw_axis(canvas, rows);
    if (isfinite(target)) {
        canvas_color(canvas, CANVAS_INK);
        cairo_set_line_width(canvas->cairo, 1.2);
        cairo_set_dash(canvas->cairo, dashes, 2, 0);
        draw_line(canvas, at(rows, target), rows->top, at(rows, target), rows->top + rows->height);
        cairo_set_dash(canvas->cairo, NULL, 0, 0);
    }
    for (int s = 0; s < summary->sampler_count; s++) {
        const SweepCell *cell = sweep_summary_cell(summary, s, 0, panel->metric);
        double low, high, y = row_y(rows, s);
        if (!isfinite(cell->mean))
            continue;
        sweep_interval(cell, rows->axis.log10, &low, &high);
        canvas_color(canvas, plot_color(sweep_color(summary, s)));
        cairo_set_line_width(canvas->cairo, 1.8);
        draw_line(canvas, at(rows, low), y, at(rows, high), y);
        plot_draw_marker(canvas, sweep_marker(summary, s), sweep_color(summary, s), at(rows, cell->mean), y);
    }
}

static double label_width(Canvas *canvas, const SweepSummary *summary) {
    double widest = 0;
    canvas_font(canvas, SWEEP_TEXT_SIZE, false);
    for (int s = 0; s < summary->sampler_count; s++)
        widest = fmax(widest, canvas_text_width(canvas, summary->samplers[s]));
    return fmin(widest, SWEEP_WIDTH / 4);
}

static void draw_labels(Canvas *canvas, const SweepSummary *summary, double top, double width) {
    for (int s = 0; s < summary->sampler_count; s++) {
        double y = top + (s + 0.5) * ROW;
        if (s % 2 == 0) { /* every other row shaded, to follow it across the panels */
            canvas_color(canvas, (CanvasColor){0.96, 0.965, 0.972, 1});
            cairo_rectangle(canvas->cairo, SWEEP_MARGIN, y - ROW / 2, canvas->width - 2 * SWEEP_MARGIN, ROW);
            cairo_fill(canvas->cairo);
        }
        canvas_color(canvas, CANVAS_INK);
        sweep_draw_fitted(canvas, SWEEP_MARGIN + 4, y + SWEEP_TEXT_SIZE * 0.36, CANVAS_LEFT, SWEEP_TEXT_SIZE,
                          false, width, summary->samplers[s]);
    }
}

double sweep_draw_rows(Canvas *canvas, const SweepSummary *summary, double top) {
    const char *heading = NULL, *group;
    double labels = label_width(canvas, summary), height = ROW * summary->sampler_count;
    double left = SWEEP_MARGIN + labels + GAP;
    double width = (SWEEP_WIDTH - SWEEP_MARGIN - 10 - left - (SWEEP_COLUMNS - 1) * GAP) / SWEEP_COLUMNS;
    for (int g = 0; (group = sweep_group(g, &heading)); g++) {
        SweepPanel panels[SWEEP_PANELS_MAX];
        int count = sweep_panels(summary, group, panels);
        if (count == 0)
            continue;
        top = sweep_draw_heading(canvas, top, heading);
        for (int p = 0; p < count; p++) {
            int column = p % SWEEP_COLUMNS;
            if (column == 0)
                draw_labels(canvas, summary, top + TITLE, labels);
            Rows rows = {
                .left = left + column * (width + GAP), .top = top + TITLE, .width = width, .height = height};
            draw_panel(canvas, summary, &panels[p], &rows);
            if (column == SWEEP_COLUMNS - 1 || p == count - 1)
                top += TITLE + height + AXIS_HEIGHT;
        }
    }
    return top;
}
