#include "io/loss_chart.h"

#include <math.h>
#include <stdlib.h>

#include "io/axis.h"
#include "io/loss_series.h"

/* Lengths in the SVG's own units. */
#define WIDTH 760.0
#define HEIGHT 280.0
#define LEFT 56.0
#define RIGHT (WIDTH - 20.0)
#define TOP 10.0
#define BOTTOM (HEIGHT - 44.0)
#define X_TICKS 6
#define Y_TICKS 5
#define STRETCHES 300 /* each gives its smallest and largest loss: at most 600 points */

typedef struct Chart {
    Axis x, y;
    const StepRecord *records;
    int64_t count;
} Chart;

static double x_position(const Chart *chart, double step) {
    return LEFT + (RIGHT - LEFT) * axis_position(&chart->x, step);
}

/* Values beyond the axis stay just outside the clipped area. */
static double y_position(const Chart *chart, double loss) {
    return BOTTOM - (BOTTOM - TOP) * fmax(-1, fmin(2, axis_position(&chart->y, loss)));
}

static void add_point(Page *page, const Chart *chart, double step, double loss, bool *pen_down) {
    page_add(page, "%s%.1f %.1f", *pen_down ? "L" : "M", x_position(chart, step), y_position(chart, loss));
    *pen_down = true;
}

static double loss_at(const Chart *chart, int64_t index) {
    double loss = chart->records[index].loss;
    return isfinite(loss) && loss > 0 ? loss : NAN;
}

static void add_raw_line(Page *page, const Chart *chart) {
    bool pen_down = false;
    page_add(page, "<path class=\"raw\" d=\"");
    for (int64_t i = 0; i < chart->count; i++)
        if (isnan(loss_at(chart, i)))
            pen_down = false;
        else
            add_point(page, chart, (double)chart->records[i].step, loss_at(chart, i), &pen_down);
    page_add(page, "\"/>\n");
}

/* One edge of the band: each stretch's largest loss from left to right, or its smallest from right to left.
 * Stretches without any loss are passed over. */
static void add_edge(Page *page, const Chart *chart, bool upper, bool *pen_down) {
    for (int64_t s = 0; s < STRETCHES; s++) {
        int64_t stretch = upper ? s : STRETCHES - 1 - s;
        int64_t begin = chart->count * stretch / STRETCHES, end = chart->count * (stretch + 1) / STRETCHES;
        double extreme = NAN;
        for (int64_t i = begin; i < end; i++) /* fmax and fmin drop NaNs */
            extreme = upper ? fmax(extreme, loss_at(chart, i)) : fmin(extreme, loss_at(chart, i));
        if (!isnan(extreme))
            add_point(page, chart, (double)chart->records[begin + (end - begin) / 2].step, extreme, pen_down);
    }
}

static void add_band(Page *page, const Chart *chart) {
    bool pen_down = false;
    page_add(page, "<path class=\"band\" d=\"");
    add_edge(page, chart, true, &pen_down);
    add_edge(page, chart, false, &pen_down);
    page_add(page, "Z\"/>\n");
}

static void add_smooth(Page *page, const Chart *chart, const double *smooth) {
    int64_t points = chart->count < STRETCHES ? chart->count : STRETCHES;
    bool pen_down = false;
    page_add(page, "<path class=\"smooth\" d=\"");
    for (int64_t p = 0; p < points; p++) {
        int64_t i = points > 1 ? (chart->count - 1) * p / (points - 1) : 0;
        if (isfinite(smooth[i]) && smooth[i] > 0)
            add_point(page, chart, (double)chart->records[i].step, smooth[i], &pen_down);
        else
            pen_down = false;
    }
    page_add(page, "\"/>\n");
}

static void add_axes(Page *page, const Chart *chart) {
    AxisTick ticks[AXIS_TICKS_MAX];
    int count = axis_ticks(&chart->y, Y_TICKS, ticks);
    for (int i = 0; i < count; i++) {
        double y = y_position(chart, ticks[i].value);
        page_add(page, "<path class=\"%s\" d=\"M%.0f %.1fH%.0f\"/>",
                 ticks[i].labelled ? "grid" : "grid minor", LEFT, y, RIGHT);
        if (ticks[i].labelled)
            page_add(page, "<text x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", LEFT - 8, y + 4,
                     ticks[i].label);
    }
    count = axis_ticks(&chart->x, X_TICKS, ticks);
    for (int i = 0; i < count; i++) {
        double x = x_position(chart, ticks[i].value);
        page_add(
            page,
            "<path class=\"grid\" d=\"M%.1f %.0fV%.0f\"/><text x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">"
            "%s</text>\n",
            x, TOP, BOTTOM, x, BOTTOM + 18, ticks[i].label);
    }
    page_add(page, "<path class=\"axis\" d=\"M%.0f %.0fV%.0fH%.0f\"/>", LEFT, TOP, BOTTOM, RIGHT);
    page_add(page, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"middle\">step</text>\n", (LEFT + RIGHT) / 2,
             HEIGHT - 6);
}

static void add_chart(Page *page, const Chart *chart, const double *smooth, int64_t window) {
    page_add(page,
             "<p class=\"key\"><span class=\"line raw\"></span>%s<span class=\"line smooth\"></span>running "
             "mean of "
             "%lld steps</p>\n",
             chart->count > 2 * STRETCHES ? "range of the steps" : "loss of each step", (long long)window);
    page_add(page,
             "<div class=\"chart\"><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"Training loss "
             "per step, "
             "logarithmic\">\n",
             WIDTH, HEIGHT);
    page_add(page, "<clipPath id=\"area\"><path d=\"M%.0f %.0fH%.0fV%.0fH%.0fZ\"/></clipPath>\n", LEFT,
             TOP - 1, RIGHT + 2, BOTTOM, LEFT);
    add_axes(page, chart);
    page_add(page, "<g clip-path=\"url(#area)\">\n");
    if (chart->count > 2 * STRETCHES)
        add_band(page, chart);
    else
        add_raw_line(page, chart);
    add_smooth(page, chart, smooth);
    page_add(page, "</g></svg></div>\n");
}

Status loss_chart_add(Page *page, const StepRecord *records, int64_t count) {
    Status status = STATUS_OK;
    double *loss = NULL, *smooth = NULL;
    LossLimits limits = {0};
    TRY(ALLOCATE(&loss, count > 0 ? count : 1));
    TRY(ALLOCATE(&smooth, count > 0 ? count : 1));
    for (int64_t i = 0; i < count; i++)
        loss[i] = records[i].loss;
    TRY(loss_series_limits(loss, count, &limits));
    if (limits.high > 0) {
        int64_t window = loss_series_window(count);
        double last = (double)records[count - 1].step;
        loss_series_smooth(loss, count, window, smooth);
        Chart chart = {.x = {.low = 0, .high = last > 0 ? last : 1, .integer = true},
                       .y = {.low = limits.low, .high = limits.high, .log10 = true},
                       .records = records,
                       .count = count};
        add_chart(page, &chart, smooth, window);
    }
done:
    free(loss);
    free(smooth);
    return status;
}
