#include "io/sweep_style.h"

#include <math.h>
#include <string.h>

#define LOGARITHMIC_FROM 10.0

static const struct {
    const char *group, *heading;
} groups[] = {{"missing", "Missing pixels"}, {"observed", "Observed pixels"}, {"image", "Whole image"}};

/* What is shown, in this order; other measures are in the tables. */
static const struct {
    const char *group, *name, *title;
} shown[] = {
    {"missing", "coverage90", "Coverage of 90 % intervals"},
    {"missing", "crps", "CRPS"},
    {"missing", "energy", "Energy score"},
    {"missing", "rmse", "RMSE of the mean"},
    {"missing", "spread_skill", "Spread / skill"},
    {"missing", "coverage50", "Coverage of 50 % intervals"},
    {"observed", "coverage90", "Coverage of 90 % intervals"},
    {"observed", "crps", "CRPS"},
    {"observed", "chi_square", "Chi-square of the observation"},
    {"image", "tv", "TV of label weights"},
    {"image", "right", "Share with the right label"},
    {"image", "ssim", "SSIM of the mean"},
};

Status sweep_check(const char *path, const SweepSummary *summary) {
    Status status = STATUS_OK;
    if (summary->sampler_count < 1 || summary->fraction_count < 1)
        FAIL(STATUS_BAD_INPUT, "%s: a sweep of %d samplers and %d fractions; expected at least 1 of each",
             path, summary->sampler_count, summary->fraction_count);
done:
    return status;
}

const char *sweep_group(int index, const char **heading) {
    if (index >= (int)(sizeof groups / sizeof *groups))
        return NULL;
    *heading = groups[index].heading;
    return groups[index].group;
}

static bool has_number(const SweepSummary *summary, int metric) {
    for (int s = 0; s < summary->sampler_count; s++)
        for (int f = 0; f < summary->fraction_count; f++)
            if (isfinite(sweep_summary_cell(summary, s, f, metric)->mean))
                return true;
    return false;
}

int sweep_panels(const SweepSummary *summary, const char *group, SweepPanel panels[SWEEP_PANELS_MAX]) {
    int count = 0;
    for (size_t i = 0; i < sizeof shown / sizeof *shown && count < SWEEP_PANELS_MAX; i++) {
        if (strcmp(shown[i].group, group) != 0)
            continue;
        int metric = sweep_summary_find(summary, group, shown[i].name);
        if (metric >= 0 && has_number(summary, metric))
            panels[count++] = (SweepPanel){.metric = metric, .title = shown[i].title};
    }
    return count;
}

double sweep_target(const SweepSummary *summary, int metric, int fraction) {
    const SweepMetric *row = &summary->metrics[metric];
    if (strcmp(sweep_metric_name(row), "tv") != 0)
        return row->target;
    int exact = sweep_summary_find(summary, row->group, "tv_exact");
    return exact < 0 ? row->target : sweep_summary_cell(summary, 0, fraction, exact)->mean;
}

const char *sweep_direction_note(const SweepMetric *metric) {
    static const char *const notes[] = {[SWEEP_NONE] = NULL,
                                        [SWEEP_LOWER] = "lower is better",
                                        [SWEEP_HIGHER] = "higher is better",
                                        [SWEEP_TARGET] = NULL};
    return notes[metric->direction];
}

bool sweep_is_logarithmic(const SweepSummary *summary, int metric) {
    double low = INFINITY, high = 0;
    for (int s = 0; s < summary->sampler_count; s++)
        for (int f = 0; f < summary->fraction_count; f++) {
            double mean = sweep_summary_cell(summary, s, f, metric)->mean;
            if (!isfinite(mean))
                continue;
            low = fmin(low, mean);
            high = fmax(high, mean);
        }
    const SweepMetric *row = &summary->metrics[metric];
    bool lower = row->direction == SWEEP_LOWER && strcmp(sweep_metric_name(row), "tv") != 0;
    bool unbounded = lower || (row->direction == SWEEP_TARGET && row->target >= 1);
    return unbounded && low > 0 && high > LOGARITHMIC_FROM * low;
}

void sweep_interval(const SweepCell *cell, bool logarithmic, double *low, double *high) {
    bool known = isfinite(cell->low) && isfinite(cell->high);
    *low = known ? cell->low : cell->mean;
    *high = known ? cell->high : cell->mean;
    if (logarithmic)
        *low = fmax(*low, cell->mean / 10);
}

static bool is_exact(const SweepSummary *summary, int sampler) {
    return strcmp(summary->samplers[sampler], "exact") == 0;
}

/* Place among the samplers that are not exact draws, which have a colour of their own. */
static int place(const SweepSummary *summary, int sampler) {
    int before = 0;
    for (int s = 0; s < sampler; s++)
        before += !is_exact(summary, s);
    return before;
}

PlotColor sweep_color(const SweepSummary *summary, int sampler) {
    static const PlotColor order[] = {PLOT_BLUE, PLOT_ORANGE, PLOT_GREEN, PLOT_PURPLE, PLOT_SKY,
                                      PLOT_RED,  PLOT_SAND,   PLOT_WINE,  PLOT_GREY};
    return is_exact(summary, sampler) ? PLOT_INK
                                      : order[place(summary, sampler) % (int)(sizeof order / sizeof *order)];
}

PlotMarker sweep_marker(const SweepSummary *summary, int sampler) {
    return is_exact(summary, sampler) ? PLOT_RING
                                      : (PlotMarker)(place(summary, sampler) % (PLOT_MARKERS - 1));
}

void sweep_draw_fitted(Canvas *canvas, double x, double y, CanvasAlign align, double size, bool bold,
                       double width, const char *text) {
    canvas_font(canvas, size, bold);
    double wanted = canvas_text_width(canvas, text);
    if (wanted > width)
        canvas_font(canvas, size * width / wanted, bold);
    canvas_text(canvas, x, y, align, text);
}

double sweep_draw_title(Canvas *canvas, const char *title, const char *note) {
    double y = SWEEP_MARGIN, width = canvas->width - 2 * SWEEP_MARGIN;
    canvas_color(canvas, CANVAS_INK);
    if (title) {
        sweep_draw_fitted(canvas, SWEEP_MARGIN, y + SWEEP_TITLE_SIZE * 0.8, CANVAS_LEFT, SWEEP_TITLE_SIZE,
                          true, width, title);
        y += SWEEP_TITLE_SIZE * 1.5;
    }
    if (note) {
        canvas_color(canvas, CANVAS_MUTED);
        sweep_draw_fitted(canvas, SWEEP_MARGIN, y + SWEEP_TEXT_SIZE * 0.8, CANVAS_LEFT, SWEEP_TEXT_SIZE,
                          false, width, note);
        y += SWEEP_TEXT_SIZE * 1.6;
    }
    return y;
}

double sweep_crisp(double position) {
    return (floor(position * CANVAS_SCALE) + 0.5) / CANVAS_SCALE;
}

double sweep_draw_heading(Canvas *canvas, double top, const char *heading) {
    double baseline = top + 20;
    canvas_color(canvas, CANVAS_INK);
    canvas_font(canvas, SWEEP_HEADING_SIZE, true);
    canvas_text(canvas, SWEEP_MARGIN, baseline, CANVAS_LEFT, heading);
    canvas_color(canvas, CANVAS_RULE);
    cairo_set_line_width(canvas->cairo, 1);
    cairo_move_to(canvas->cairo, SWEEP_MARGIN, sweep_crisp(baseline + 6));
    cairo_line_to(canvas->cairo, canvas->width - SWEEP_MARGIN, sweep_crisp(baseline + 6));
    cairo_stroke(canvas->cairo);
    return baseline + 12;
}
