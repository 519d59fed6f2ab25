#include "io/figures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/canvas.h"
#include "io/image_panel.h"
#include "io/loss_series.h"
#include "io/plot.h"

#define GRID_IMAGE_WIDTH 112 /* device pixels, at least 3 per pixel of a 28 x 28 image */
#define GRID_GAP 4
#define GRID_MARGIN 12
#define TITLE_SIZE 13.0
#define TEXT_SIZE 11.0
#define LABEL_BYTES 160

/* --- loss curves --- */

Status figures_loss_steps(const char *path, const int64_t *steps, const double *loss, int64_t count) {
    Status status = STATUS_OK;
    double *x = NULL, *smooth = NULL;
    LossLimits limits = {0};
    int64_t length = count > 0 ? count : 1, window = loss_series_window(count);
    TRY(ALLOCATE(&x, length));
    TRY(ALLOCATE(&smooth, length));
    for (int64_t i = 0; i < count; i++)
        x[i] = (double)steps[i];
    loss_series_smooth(loss, count, window, smooth);
    TRY(loss_series_limits(loss, count, &limits));
    char label[LABEL_BYTES], subtitle[LABEL_BYTES] = "";
    snprintf(label, sizeof label, "running mean of %lld steps", (long long)window);
    if (limits.above > 0)
        snprintf(subtitle, sizeof subtitle, "%lld value%s above the axis %s not shown (largest %.3g)",
                 (long long)limits.above, limits.above == 1 ? "" : "s", limits.above == 1 ? "is" : "are",
                 limits.largest);
    PlotSeries series[] = {
        {.label = "loss of each step", .x = x, .y = loss, .count = count, .style = PLOT_LIGHT},
        {.label = label, .x = x, .y = smooth, .count = count, .style = PLOT_STRONG},
    };
    Plot plot = {
        .title = "Training loss per step",
        .subtitle = subtitle[0] ? subtitle : NULL,
        .x_label = "optimizer step",
        .y_label = "mean squared error of ε (log scale)",
        .y_scale = PLOT_LOG10,
        .y_low = limits.low,
        .y_high = limits.high,
        .series = series,
        .series_count = 2,
    };
    TRY(plot_write(path, &plot));
done:
    free(x);
    free(smooth);
    return status;
}

Status figures_loss_epochs(const char *path, const int64_t *epochs, const double *train,
                           const double *validation, int64_t count) {
    Status status = STATUS_OK;
    double *x = NULL;
    TRY(ALLOCATE(&x, count > 0 ? count : 1));
    for (int64_t i = 0; i < count; i++)
        x[i] = (double)epochs[i];
    PlotSeries series[] = {
        {.label = "training, mean over the epoch", .x = x, .y = train, .count = count, .markers = true},
        {.label = "validation",
         .x = x,
         .y = validation,
         .count = count,
         .color = PLOT_ORANGE,
         .markers = true},
    };
    Plot plot = {
        .title = "Loss per epoch",
        .x_label = "epoch",
        .y_label = "mean squared error of ε (log scale)",
        .y_scale = PLOT_LOG10,
        .series = series,
        .series_count = validation ? 2 : 1,
    };
    TRY(plot_write(path, &plot));
done:
    free(x);
    return status;
}

/* --- images --- */

static uint32_t color_mask(const void *values, int64_t index) {
    return image_grey(((const uint8_t *)values)[index] ? 1 : -1);
}

static uint32_t color_observed(const void *values, int64_t index) {
    const FiguresPosterior *figure = values;
    return figure->mask[index] ? image_grey(figure->observed[index]) : IMAGE_MISSING;
}

static Status check_images(const char *path, int64_t count, int height, int width, int columns) {
    Status status = STATUS_OK;
    if (count < 1 || height < 1 || width < 1 || columns < 1)
        FAIL(STATUS_BAD_INPUT, "%s: %lld images of %d x %d pixels in %d columns; expected at least 1 of each",
             path, (long long)count, height, width, columns);
    if (height > CANVAS_DEVICE_MAX || width > CANVAS_DEVICE_MAX)
        FAIL(STATUS_BAD_INPUT, "%s: images of %d x %d pixels; at most %d each way can be drawn", path, height,
             width, CANVAS_DEVICE_MAX);
done:
    return status;
}

/* Width in logical pixels of a title, before there is a canvas of the right size to measure it on. */
static Status measure_title(const char *title, double size, double *width) {
    Status status = STATUS_OK;
    Canvas scratch = {0};
    TRY(canvas_create(&scratch, 1, 1));
    canvas_font(&scratch, size, true);
    *width = canvas_text_width(&scratch, title);
done:
    canvas_destroy(&scratch);
    return status;
}

Status figures_image_grid(const char *path, const float *images, int64_t count, int height, int width,
                          int columns, const char *title) {
    Status status = STATUS_OK;
    Canvas canvas = {0};
    TRY(check_images(path, count, height, width, columns));
    if (columns > count)
        columns = (int)count;
    int64_t rows = (count + columns - 1) / columns;
    int side = (GRID_IMAGE_WIDTH + width - 1) / width;
    int64_t step_x = (int64_t)width * side + GRID_GAP, step_y = (int64_t)height * side + GRID_GAP;
    double title_width = 0;
    int top = GRID_MARGIN;
    if (title) {
        TRY(measure_title(title, TITLE_SIZE, &title_width));
        top += (int)(2 * TITLE_SIZE * CANVAS_SCALE) - GRID_MARGIN;
    }
    double device_width = fmax((double)(columns * step_x - GRID_GAP), ceil(title_width * CANVAS_SCALE));
    TRY(canvas_create(&canvas, (device_width + 2 * GRID_MARGIN) / CANVAS_SCALE,
                      (double)(top + rows * step_y - GRID_GAP + GRID_MARGIN) / CANVAS_SCALE));
    if (title) {
        canvas_font(&canvas, TITLE_SIZE, true);
        canvas_color(&canvas, CANVAS_INK);
        canvas_text(&canvas, (double)GRID_MARGIN / CANVAS_SCALE, TITLE_SIZE * 1.35, CANVAS_LEFT, title);
    }
    for (int64_t i = 0; i < count; i++) {
        ImagePlace place = {.left = GRID_MARGIN + (int)(i % columns * step_x),
                            .top = top + (int)(i / columns * step_y),
                            .side = side};
        image_draw(&canvas, place, height, width, image_color_grey, images, i * height * width);
    }
    TRY(canvas_write(&canvas, path));
done:
    canvas_destroy(&canvas);
    return status;
}

Status figures_samples(const char *path, const float *images, int64_t count, int height, int width,
                       const char *title) {
    char text[512];
    const int64_t shown = count < FIGURES_SAMPLES_MAX ? count : FIGURES_SAMPLES_MAX;
    int used = snprintf(text, sizeof text, "%s", title);
    if (shown < count && used > 0 && used < (int)sizeof text)
        snprintf(text + used, sizeof text - (size_t)used, ", the first %lld of %lld", (long long)shown,
                 (long long)count);
    return figures_image_grid(path, images, shown, height, width, (int)ceil(sqrt((double)shown)), text);
}

/* --- the posterior figure: lengths in device pixels unless they say otherwise --- */

#define PANELS 5
#define PANEL_SIZE 280      /* about the longer side of an image in the upper row */
#define PANEL_WIDTH_MIN 240 /* room for its label */
#define PANEL_GAP 32
#define MARGIN 32
#define HEADING 92 /* caption and panel labels above the upper row */
#define NOTES 56   /* explanations under it */
#define SECTION 48 /* label above the draws */
#define DRAW_COLUMNS 8
#define DRAWS_MAX 64
#define DRAW_GAP_MIN 8
#define NOTE_SIZE 10.0 /* logical */

typedef struct Layout {
    int panel_side, cell_width, row_height, width;
    int draw_side, draw_step_x, draw_step_y;
    int64_t draws, draw_rows;
    int draws_top, height;
} Layout;

static Layout lay_out_posterior(const FiguresPosterior *figure) {
    Layout layout = {0};
    int longer = figure->height > figure->width ? figure->height : figure->width;
    layout.panel_side = PANEL_SIZE / longer > 1 ? PANEL_SIZE / longer : 1;
    int panel_width = figure->width * layout.panel_side;
    layout.cell_width = panel_width > PANEL_WIDTH_MIN ? panel_width : PANEL_WIDTH_MIN;
    layout.row_height = figure->height * layout.panel_side;
    layout.width = PANELS * layout.cell_width + (PANELS - 1) * PANEL_GAP;
    int room = (layout.width - (DRAW_COLUMNS - 1) * DRAW_GAP_MIN) / DRAW_COLUMNS;
    layout.draw_side = room / longer > 1 ? room / longer : 1;
    int gap = (layout.width - DRAW_COLUMNS * figure->width * layout.draw_side) / (DRAW_COLUMNS - 1);
    gap = gap < DRAW_GAP_MIN ? DRAW_GAP_MIN : gap > PANEL_GAP ? PANEL_GAP : gap;
    layout.draw_step_x = figure->width * layout.draw_side + gap;
    layout.draw_step_y = figure->height * layout.draw_side + gap;
    layout.draws = figure->count < DRAWS_MAX ? figure->count : DRAWS_MAX;
    layout.draw_rows = (layout.draws + DRAW_COLUMNS - 1) / DRAW_COLUMNS;
    layout.draws_top = MARGIN + HEADING + layout.row_height + NOTES + SECTION;
    layout.height = layout.draws_top + (int)layout.draw_rows * layout.draw_step_y - gap + MARGIN;
    return layout;
}

static double logical(int device) {
    return (double)device / CANVAS_SCALE;
}

/* The row of truth, mask, observation, mean and spread with their labels and notes. */
static void draw_panels(Canvas *canvas, const FiguresPosterior *figure, const Layout *layout) {
    int64_t pixels = (int64_t)figure->height * figure->width, observed = 0;
    ImageSpread spread = {.values = figure->standard_deviation};
    for (int64_t i = 0; i < pixels; i++) {
        observed += figure->mask[i] != 0;
        if (isfinite(spread.values[i]))
            spread.largest = fmax(spread.largest, spread.values[i]);
    }
    char mask_label[LABEL_BYTES];
    snprintf(mask_label, sizeof mask_label, "Observed mask (%.3g %%)",
             100.0 * (double)observed / (double)pixels);
    const struct {
        const char *label;
        ImageColor color;
        const void *values;
    } panels[PANELS] = {
        {"Ground truth", image_color_grey, figure->truth},
        {mask_label, color_mask, figure->mask},
        {"Observed pixels", color_observed, figure},
        {"Posterior mean", image_color_grey, figure->mean},
        {"Standard deviation", image_color_spread, &spread},
    };
    int top = MARGIN + HEADING;
    double baseline = logical(top + layout->row_height) + NOTE_SIZE * 1.5;
    double width = logical(figure->width * layout->panel_side);
    for (int p = 0; p < PANELS; p++) {
        ImagePlace place = {
            .left = MARGIN + p * (layout->cell_width + PANEL_GAP), .top = top, .side = layout->panel_side};
        image_draw(canvas, place, figure->height, figure->width, panels[p].color, panels[p].values, 0);
        if (panels[p].color == color_mask)
            image_frame(canvas, place, figure->height, figure->width);
        canvas_font(canvas, TEXT_SIZE, false);
        canvas_color(canvas, CANVAS_INK);
        canvas_text(canvas, logical(place.left), logical(top) - 6, CANVAS_LEFT, panels[p].label);
        canvas_font(canvas, NOTE_SIZE, false);
        canvas_color(canvas, CANVAS_MUTED);
        if (panels[p].color == color_mask)
            canvas_text(canvas, logical(place.left), baseline, CANVAS_LEFT, "white: observed");
        else if (panels[p].color == color_observed)
            image_draw_missing(canvas, logical(place.left), baseline, NOTE_SIZE);
        else if (panels[p].color == image_color_spread)
            image_draw_scale(canvas, logical(place.left), baseline, width, NOTE_SIZE, spread.largest);
    }
}

static void draw_draws(Canvas *canvas, const FiguresPosterior *figure, const Layout *layout) {
    char label[LABEL_BYTES] = "Posterior draws";
    if (figure->count > layout->draws)
        snprintf(label, sizeof label, "Posterior draws (the first %lld of %lld)", (long long)layout->draws,
                 (long long)figure->count);
    canvas_font(canvas, TEXT_SIZE, false);
    canvas_color(canvas, CANVAS_INK);
    canvas_text(canvas, logical(MARGIN), logical(layout->draws_top) - 6, CANVAS_LEFT, label);
    for (int64_t i = 0; i < layout->draws; i++) {
        ImagePlace place = {.left = MARGIN + (int)(i % DRAW_COLUMNS) * layout->draw_step_x,
                            .top = layout->draws_top + (int)(i / DRAW_COLUMNS) * layout->draw_step_y,
                            .side = layout->draw_side};
        image_draw(canvas, place, figure->height, figure->width, image_color_grey, figure->draws,
                   i * figure->height * figure->width);
    }
}

Status figures_posterior(const char *path, const FiguresPosterior *figure) {
    Status status = STATUS_OK;
    Canvas canvas = {0};
    TRY(check_images(path, figure->count, figure->height, figure->width, DRAW_COLUMNS));
    Layout layout = lay_out_posterior(figure);
    TRY(canvas_create(&canvas, logical(layout.width + 2 * MARGIN), logical(layout.height)));
    if (figure->caption) {
        double size = TITLE_SIZE, width = 0;
        TRY(measure_title(figure->caption, size, &width));
        if (width > logical(layout.width)) /* a long caption becomes smaller rather than cut off */
            size *= logical(layout.width) / width;
        canvas_font(&canvas, size, true);
        canvas_color(&canvas, CANVAS_INK);
        canvas_text(&canvas, logical(MARGIN), logical(MARGIN) + TITLE_SIZE * 0.8, CANVAS_LEFT,
                    figure->caption);
    }
    draw_panels(&canvas, figure, &layout);
    draw_draws(&canvas, figure, &layout);
    TRY(canvas_write(&canvas, path));
done:
    canvas_destroy(&canvas);
    return status;
}
