#include "io/sweep_figures.h"

#include <math.h>
#include <stdlib.h>

#include "io/sweep_style.h"

#define PANEL_HEIGHT 172.0
#define PANEL_GAP 10.0
#define CROWD 4 /* more samplers than this have paler bands */
#define CROWDED_BAND 0.07
#define LOGARITHMIC_FROM 10.0 /* largest over smallest fraction */

/* The lines of one panel and their numbers, freed together. */
typedef struct Lines {
    PlotSeries *series;        /* (samplers + 1): the last is what exact draws have */
    double *target;            /* (fractions) */
    double *mean, *low, *high; /* (samplers, fractions) */
} Lines;

static void lines_destroy(Lines *lines) {
    free(lines->series);
    free(lines->target);
    free(lines->mean);
    free(lines->low);
    free(lines->high);
}

static Status lines_create(Lines *lines, const SweepSummary *summary) {
    Status status = STATUS_OK;
    int64_t cells = (int64_t)summary->sampler_count * summary->fraction_count;
    TRY(ALLOCATE(&lines->series, summary->sampler_count + 1));
    TRY(ALLOCATE(&lines->target, summary->fraction_count));
    TRY(ALLOCATE(&lines->mean, cells));
    TRY(ALLOCATE(&lines->low, cells));
    TRY(ALLOCATE(&lines->high, cells));
done:
    return status;
}

/* Fills the lines for a measure; returns how many there are. */
static int lines_fill(Lines *lines, const SweepSummary *summary, int metric, bool logarithmic) {
    int fractions = summary->fraction_count;
    bool target = false;
    for (int s = 0; s < summary->sampler_count; s++) {
        int64_t first = (int64_t)s * fractions;
        for (int f = 0; f < fractions; f++) {
            const SweepCell *cell = sweep_summary_cell(summary, s, f, metric);
            lines->mean[first + f] = cell->mean;
            sweep_interval(cell, logarithmic, &lines->low[first + f], &lines->high[first + f]);
        }
        lines->series[s] = (PlotSeries){.x = summary->fractions,
                                        .y = lines->mean + first,
                                        .low = lines->low + first,
                                        .high = lines->high + first,
                                        .count = fractions,
                                        .color = sweep_color(summary, s),
                                        .band = summary->sampler_count > CROWD ? CROWDED_BAND : 0,
                                        .markers = true,
                                        .marker = sweep_marker(summary, s)};
    }
    for (int f = 0; f < fractions; f++) {
        lines->target[f] = sweep_target(summary, metric, f);
        target |= isfinite(lines->target[f]);
    }
    lines->series[summary->sampler_count] = (PlotSeries){.x = summary->fractions,
                                                         .y = lines->target,
                                                         .count = fractions,
                                                         .color = PLOT_INK,
                                                         .style = PLOT_DASHED};
    return summary->sampler_count + target;
}

static void draw_panel(Canvas *canvas, PlotArea area, const SweepSummary *summary, const SweepPanel *panel,
                       Lines *lines) {
    bool logarithmic = sweep_is_logarithmic(summary, panel->metric);
    const double *fractions = summary->fractions;
    bool wide = fractions[summary->fraction_count - 1] > LOGARITHMIC_FROM * fractions[0];
    Plot plot = {
        .title = panel->title,
        .subtitle = sweep_direction_note(&summary->metrics[panel->metric]),
        .x_label = "observed fraction of the pixels",
        .x_scale = wide ? PLOT_LOG10 : PLOT_LINEAR,
        .y_scale = logarithmic ? PLOT_LOG10 : PLOT_LINEAR,
        .series = lines->series,
        .series_count = lines_fill(lines, summary, panel->metric, logarithmic),
        .panel = true,
    };
    plot_draw(canvas, area, &plot);
}

/* The legend of the samplers' lines and the dashed one. */
static Status draw_legend(Canvas *canvas, const SweepSummary *summary, double top, double *bottom) {
    Status status = STATUS_OK;
    PlotSeries *series = NULL;
    int count = summary->sampler_count;
    TRY(ALLOCATE(&series, count + 1));
    for (int s = 0; s < count; s++)
        series[s] = (PlotSeries){.label = summary->samplers[s],
                                 .color = sweep_color(summary, s),
                                 .markers = true,
                                 .marker = sweep_marker(summary, s)};
    series[count] =
        (PlotSeries){.label = "what exact draws have on average", .color = PLOT_INK, .style = PLOT_DASHED};
    PlotArea area = {.left = SWEEP_MARGIN, .top = top, .width = SWEEP_WIDTH - 2 * SWEEP_MARGIN};
    *bottom = plot_draw_legend(canvas, area, series, count + 1);
done:
    free(series);
    return status;
}

static double draw_sections(Canvas *canvas, const SweepSummary *summary, Lines *lines, double top) {
    const char *heading = NULL, *group;
    double width = (SWEEP_WIDTH - 2 * SWEEP_MARGIN - (SWEEP_COLUMNS - 1) * PANEL_GAP) / SWEEP_COLUMNS;
    for (int g = 0; (group = sweep_group(g, &heading)); g++) {
        SweepPanel panels[SWEEP_PANELS_MAX];
        int count = sweep_panels(summary, group, panels);
        if (count == 0)
            continue;
        top = sweep_draw_heading(canvas, top, heading);
        for (int p = 0; p < count; p++) {
            PlotArea area = {.left = SWEEP_MARGIN + p % SWEEP_COLUMNS * (width + PANEL_GAP),
                             .top = top,
                             .width = width,
                             .height = PANEL_HEIGHT};
            draw_panel(canvas, area, summary, &panels[p], lines);
            if (p % SWEEP_COLUMNS == SWEEP_COLUMNS - 1 || p == count - 1)
                top += PANEL_HEIGHT + PANEL_GAP;
        }
    }
    return top;
}

/* Everything on the canvas; *bottom: the height it takes. */
static Status draw_metrics(Canvas *canvas, const SweepSummary *summary, double *bottom) {
    Status status = STATUS_OK;
    Lines lines = {0};
    bool single = summary->fraction_count == 1;
    TRY(lines_create(&lines, summary));
    double top =
        sweep_draw_title(canvas, summary->title,
                         single ? "Mean over the units with its 95 % confidence interval; dashed: what "
                                  "exact draws have on average."
                                : "Mean over the units with its 95 % confidence band.");
    if (single) {
        top = sweep_draw_rows(canvas, summary, top);
    } else {
        TRY(draw_legend(canvas, summary, top + 4, &top));
        top = draw_sections(canvas, summary, &lines, top);
    }
    *bottom = top + SWEEP_MARGIN;
done:
    lines_destroy(&lines);
    return status;
}

Status sweep_figures_metrics(const char *path, const SweepSummary *summary) {
    Status status = STATUS_OK;
    Canvas canvas = {0};
    double height = 1;
    TRY(sweep_check(path, summary));
    for (int pass = 0; pass < 2; pass++) { /* the first, on a canvas of one row, finds the height */
        canvas_destroy(&canvas);
        TRY(canvas_create(&canvas, SWEEP_WIDTH, height));
        TRY(draw_metrics(&canvas, summary, &height));
    }
    TRY(canvas_write(&canvas, path));
done:
    canvas_destroy(&canvas);
    return status;
}
