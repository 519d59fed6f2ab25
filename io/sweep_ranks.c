/* Rank histograms of a sweep. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "io/sweep_figures.h"
#include "io/sweep_style.h"

#define HEADING 32.0 /* from the title to the columns' names */
#define ROW 84.0
#define BARS 56.0 /* height of the bars within a row */
#define GAP 14.0
#define WIDEST 260.0
#define TALLEST 2.6           /* times the uniform height; taller bars are cut off */
#define DOUBTFUL 0.01         /* p-values below are set in red */
#define TWO_SIDED_95 1.959964 /* standard normal quantile at 0.975 */
#define LABEL_BYTES 64

typedef struct Layout {
    double labels, column, left;
} Layout;

/* Heights of a bar and of its band, in multiples of the uniform histogram's. */
typedef struct Bar {
    double height, low, high;
} Bar;

static Bar find_bar(const SweepRanks *ranks, double total, int bin) {
    double share = 1.0 / ranks->bins, expected = ranks->expected ? ranks->expected[bin] : total * share;
    double reach = TWO_SIDED_95 * sqrt(total * share * (1 - share));
    return (Bar){
        .height = (double)ranks->counts[bin] / expected,
        .low = (ranks->low ? ranks->low[bin] : fmax(0, expected - reach)) / expected,
        .high = (ranks->high ? ranks->high[bin] : expected + reach) / expected,
    };
}

static void draw_box(Canvas *canvas, double left, double top, double width, double height) {
    cairo_rectangle(canvas->cairo, left, top, width, height);
    cairo_fill(canvas->cairo);
}

/* Above the bars: how tall the tallest is if it was cut off, and the p-value. */
static void draw_notes(Canvas *canvas, const SweepRanks *ranks, double tallest, double left, double width,
                       double y) {
    char text[LABEL_BYTES] = "not tested";
    bool doubtful = ranks->p_value < DOUBTFUL;
    if (ranks->p_value < 1e-3)
        snprintf(text, sizeof text, "p < 0.001");
    else if (isfinite(ranks->p_value))
        snprintf(text, sizeof text, "p = %.*f", ranks->p_value < 0.1 ? 3 : 2, ranks->p_value);
    canvas_font(canvas, SWEEP_NOTE_SIZE, doubtful);
    canvas_color(canvas, doubtful ? plot_color(PLOT_RED) : CANVAS_MUTED);
    canvas_text(canvas, left + width, y, CANVAS_RIGHT, text);
    if (!(tallest > TALLEST))
        return;
    double room = width - canvas_text_width(canvas, text) - 4;
    snprintf(text, sizeof text, "up to %.1f×", tallest);
    canvas_color(canvas, CANVAS_MUTED);
    sweep_draw_fitted(canvas, left, y, CANVAS_LEFT, SWEEP_NOTE_SIZE, false, room, text);
}

/* bottom: of the bars. */
static void draw_histogram(Canvas *canvas, const SweepRanks *ranks, PlotColor color, double left,
                           double width, double bottom) {
    double total = 0, tallest = 0, top = 0, unit = BARS / TALLEST;
    for (int b = 0; b < ranks->bins; b++)
        total += (double)ranks->counts[b];
    if (!(total > 0) || ranks->bins < 2) {
        canvas_color(canvas, CANVAS_MUTED);
        sweep_draw_fitted(canvas, left + width / 2, bottom - BARS / 2, CANVAS_CENTER, SWEEP_NOTE_SIZE, false,
                          width, total > 0 ? "too few images" : "no data");
        return;
    }
    double step = width / ranks->bins, gap = fmin(1, step / 5);
    for (int b = 0; b < ranks->bins; b++) {
        Bar bar = find_bar(ranks, total, b);
        double height = unit * fmin(bar.height, TALLEST), high = unit * fmin(bar.high, TALLEST);
        tallest = fmax(tallest, bar.height);
        top = fmax(top, fmax(height, high));
        canvas_color(canvas, plot_color(color));
        draw_box(canvas, left + b * step + gap / 2, bottom - height, step - gap, height);
        canvas_color(canvas, (CanvasColor){0.13, 0.14, 0.16, 0.20});
        draw_box(canvas, left + b * step, bottom - high, step, high - unit * bar.low);
    }
    canvas_color(canvas, CANVAS_INK);
    cairo_set_line_width(canvas->cairo, 0.75);
    cairo_move_to(canvas->cairo, left, sweep_crisp(bottom - unit));
    cairo_line_to(canvas->cairo, left + width, sweep_crisp(bottom - unit));
    cairo_stroke(canvas->cairo);
    canvas_color(canvas, CANVAS_MUTED);
    cairo_move_to(canvas->cairo, left, sweep_crisp(bottom));
    cairo_line_to(canvas->cairo, left + width, sweep_crisp(bottom));
    cairo_stroke(canvas->cairo);
    draw_notes(canvas, ranks, tallest, left, width,
               bottom - top - 4); /* close to its own bars, not those above */
}

/* "missing.certain_pixel" over a column: the group small above the rest. */
static void draw_heading(Canvas *canvas, double left, double baseline, double width, const char *name) {
    char text[LABEL_BYTES];
    const char *dot = strchr(name, '.'), *rest = dot ? dot + 1 : name;
    snprintf(text, sizeof text, "%.*s", (int)(rest - name > 0 ? rest - name - 1 : 0), name);
    canvas_color(canvas, CANVAS_MUTED);
    sweep_draw_fitted(canvas, left, baseline - 14, CANVAS_LEFT, SWEEP_NOTE_SIZE, false, width, text);
    snprintf(text, sizeof text, "%s", rest);
    for (char *c = text; *c; c++)
        if (*c == '_')
            *c = ' ';
    canvas_color(canvas, CANVAS_INK);
    sweep_draw_fitted(canvas, left, baseline, CANVAS_LEFT, SWEEP_TEXT_SIZE, true, width, text);
}

static Layout lay_out(Canvas *canvas, const SweepSummary *summary) {
    Layout layout = {0};
    canvas_font(canvas, SWEEP_TEXT_SIZE, false);
    for (int s = 0; s < summary->sampler_count; s++)
        layout.labels = fmax(layout.labels, canvas_text_width(canvas, summary->samplers[s]));
    layout.labels = fmin(layout.labels, SWEEP_WIDTH / 4);
    layout.left = SWEEP_MARGIN + layout.labels + GAP;
    int columns = summary->statistic_count > 0 ? summary->statistic_count : 1;
    layout.column = fmin(WIDEST, (SWEEP_WIDTH - SWEEP_MARGIN - layout.left + GAP) / columns);
    return layout;
}

Status sweep_figures_ranks(const char *path, const SweepSummary *summary) {
    Status status = STATUS_OK;
    Canvas canvas = {0};
    const double head = SWEEP_MARGIN + SWEEP_TITLE_SIZE * 1.5 + SWEEP_TEXT_SIZE * 1.6 + HEADING + 4;
    TRY(sweep_check(path, summary));
    TRY(canvas_create(&canvas, SWEEP_WIDTH, head + ROW * summary->sampler_count + SWEEP_MARGIN));
    double top = sweep_draw_title(
        &canvas, summary->title,
        "Rank of the truth among the draws, one unit of each truth. Line: uniform, as for exact draws; "
        "grey: 95 % of the bins of such a histogram; p: of uniformity.");
    Layout layout = lay_out(&canvas, summary);
    double baseline = top + HEADING;
    for (int i = 0; i < summary->statistic_count; i++)
        draw_heading(&canvas, layout.left + i * layout.column, baseline, layout.column - GAP,
                     summary->statistics[i]);
    for (int s = 0; s < summary->sampler_count; s++) {
        double bottom = baseline + 4 + (s + 1) * ROW;
        canvas_color(&canvas, CANVAS_INK);
        sweep_draw_fitted(&canvas, SWEEP_MARGIN, bottom - BARS / 2, CANVAS_LEFT, SWEEP_TEXT_SIZE, false,
                          layout.labels, summary->samplers[s]);
        for (int i = 0; i < summary->statistic_count; i++)
            draw_histogram(&canvas, &summary->ranks[(int64_t)s * summary->statistic_count + i],
                           sweep_color(summary, s), layout.left + i * layout.column, layout.column - GAP,
                           bottom);
    }
    if (summary->statistic_count == 0) {
        canvas_color(&canvas, CANVAS_MUTED);
        canvas_text(&canvas, layout.left, baseline, CANVAS_LEFT, "no ranks were collected");
    }
    TRY(canvas_write(&canvas, path));
done:
    canvas_destroy(&canvas);
    return status;
}
