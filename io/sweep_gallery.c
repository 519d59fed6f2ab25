#include "io/sweep_gallery.h"

#include <math.h>
#include <stdio.h>

#include "io/image_panel.h"
#include "io/sweep_style.h"

/* device pixels */
#define IMAGE_SIZE 140 /* about the longer side of an image */
#define IMAGE_GAP 12
#define BLOCK_GAP 28 /* between mean, standard deviation and draws */
#define FIRST_ROW_GAP 76
#define LABEL_HEIGHT 24
#define COLUMNS_MIN 4 /* room for the first row and its notes */

#define PIXELS_MAX 512 /* of an image each way */

typedef struct Layout {
    int side, step_x, step_y;
    int labels, left, width, height;
    int draws, draws_left;
    int truth_top, rows_top;
} Layout;

typedef struct Greys {
    const float *values;
    const uint8_t *mask; /* NULL: everything is shown */
    double scale;
} Greys;

static uint32_t color_greys(const void *values, int64_t index) {
    const Greys *greys = values;
    if (greys->mask && !greys->mask[index])
        return IMAGE_MISSING;
    return image_grey(greys->values[index] / greys->scale);
}

static uint32_t color_mask(const void *values, int64_t index) {
    return image_grey(((const uint8_t *)values)[index] ? 1 : -1);
}

static double logical(int device) {
    return (double)device / CANVAS_SCALE;
}

static Status check(const char *path, const SweepGallery *gallery) {
    Status status = STATUS_OK;
    if (gallery->height < 1 || gallery->width < 1 || gallery->sampler_count < 1)
        FAIL(STATUS_BAD_INPUT, "%s: %d samplers, images of %d x %d pixels; expected at least 1 of each", path,
             gallery->sampler_count, gallery->height, gallery->width);
    if (gallery->height > PIXELS_MAX || gallery->width > PIXELS_MAX)
        FAIL(STATUS_BAD_INPUT, "%s: images of %d x %d pixels; at most %d each way can be drawn", path,
             gallery->height, gallery->width, PIXELS_MAX);
done:
    return status;
}

static Status find_labels(const SweepGallery *gallery, int *width) {
    Status status = STATUS_OK;
    Canvas scratch = {0};
    double widest = 0;
    TRY(canvas_create(&scratch, 1, 1));
    canvas_font(&scratch, SWEEP_TEXT_SIZE, false);
    for (int s = 0; s < gallery->sampler_count; s++)
        widest = fmax(widest, canvas_text_width(&scratch, gallery->samplers[s]));
    *width = (int)ceil(fmin(widest, SWEEP_WIDTH / 4) * CANVAS_SCALE) + BLOCK_GAP;
done:
    canvas_destroy(&scratch);
    return status;
}

static Layout lay_out(const SweepGallery *gallery, int labels) {
    int longer = gallery->height > gallery->width ? gallery->height : gallery->width;
    Layout layout = {.side = IMAGE_SIZE / longer > 1 ? IMAGE_SIZE / longer : 1, .labels = labels};
    int margin = (int)(SWEEP_MARGIN * CANVAS_SCALE);
    layout.step_x = gallery->width * layout.side + IMAGE_GAP;
    layout.step_y = gallery->height * layout.side + IMAGE_GAP;
    layout.left = margin + labels;
    layout.draws = gallery->draw_count < SWEEP_GALLERY_DRAWS ? gallery->draw_count : SWEEP_GALLERY_DRAWS;
    layout.draws_left = layout.left + 2 * (layout.step_x - IMAGE_GAP + BLOCK_GAP);
    int columns = layout.draws > COLUMNS_MIN ? layout.draws : COLUMNS_MIN;
    layout.width = layout.draws_left + columns * layout.step_x - IMAGE_GAP + margin;
    layout.truth_top =
        margin + (gallery->title ? (int)(SWEEP_TITLE_SIZE * 2.0 * CANVAS_SCALE) : 0) + LABEL_HEIGHT;
    layout.rows_top = layout.truth_top + layout.step_y - IMAGE_GAP + FIRST_ROW_GAP;
    layout.height = layout.rows_top + gallery->sampler_count * layout.step_y - IMAGE_GAP + margin;
    return layout;
}

static void draw_label(Canvas *canvas, int left, int top, int width, const char *text) {
    canvas_color(canvas, CANVAS_INK);
    sweep_draw_fitted(canvas, logical(left), logical(top) - 5, CANVAS_LEFT, SWEEP_TEXT_SIZE, false,
                      logical(width), text);
}

static void draw_first_row(Canvas *canvas, const SweepGallery *gallery, const Layout *layout, double scale,
                           double largest) {
    Greys truth = {.values = gallery->truth, .scale = scale};
    Greys observed = {.values = gallery->observed, .mask = gallery->mask, .scale = scale};
    const struct {
        const char *label;
        ImageColor color;
        const void *values;
        int left;
    } images[] = {
        {"truth", color_greys, &truth, layout->left},
        {"mask", color_mask, gallery->mask, layout->left + layout->step_x - IMAGE_GAP + BLOCK_GAP},
        {"observed", color_greys, &observed, layout->draws_left},
    };
    int width = layout->step_x - IMAGE_GAP, notes = layout->draws_left + layout->step_x;
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
        ImagePlace place = {.left = images[i].left, .top = layout->truth_top, .side = layout->side};
        draw_label(canvas, place.left, place.top, width, images[i].label);
        image_draw(canvas, place, gallery->height, gallery->width, images[i].color, images[i].values, 0);
        if (images[i].color == color_mask)
            image_frame(canvas, place, gallery->height, gallery->width);
    }
    double left = logical(notes + IMAGE_GAP), top = logical(layout->truth_top), size = SWEEP_NOTE_SIZE;
    double room = logical(layout->width) - SWEEP_MARGIN - left;
    canvas_font(canvas, size, false);
    canvas_color(canvas, CANVAS_MUTED);
    image_draw_missing(canvas, left, top + size, size);
    canvas_color(canvas, CANVAS_MUTED);
    sweep_draw_fitted(canvas, left, top + 2.7 * size, CANVAS_LEFT, size, false, room,
                      "white in the mask: observed");
    sweep_draw_fitted(canvas, left, top + 4.6 * size, CANVAS_LEFT, size, false, room, "standard deviation:");
    canvas_font(canvas, size, false);
    image_draw_scale(canvas, left, top + 6.0 * size, fmin(room, 110), size, largest);
}

static void draw_rows(Canvas *canvas, const SweepGallery *gallery, const Layout *layout, double scale,
                      double largest) {
    int64_t pixels = (int64_t)gallery->height * gallery->width;
    Greys mean = {.values = gallery->mean, .scale = scale},
          draws = {.values = gallery->draws, .scale = scale};
    ImageSpread spread = {.values = gallery->standard_deviation, .largest = largest};
    int width = layout->step_x - IMAGE_GAP, spread_left = layout->left + width + BLOCK_GAP;
    char label[64] = "draws";
    if (gallery->draw_count == 0)
        snprintf(label, sizeof label, "draws: not kept");
    else if (gallery->draw_count > layout->draws)
        snprintf(label, sizeof label, "draws (the first %d of %d)", layout->draws, gallery->draw_count);
    draw_label(canvas, layout->left, layout->rows_top, width, "mean");
    draw_label(canvas, spread_left, layout->rows_top, width, "st. dev.");
    draw_label(canvas, layout->draws_left, layout->rows_top, COLUMNS_MIN * layout->step_x, label);
    for (int s = 0; s < gallery->sampler_count; s++) {
        ImagePlace place = {
            .left = layout->left, .top = layout->rows_top + s * layout->step_y, .side = layout->side};
        canvas_color(canvas, CANVAS_INK);
        sweep_draw_fitted(canvas, SWEEP_MARGIN, logical(place.top + (layout->step_y - IMAGE_GAP) / 2) + 4,
                          CANVAS_LEFT, SWEEP_TEXT_SIZE, false, logical(layout->labels - BLOCK_GAP),
                          gallery->samplers[s]);
        image_draw(canvas, place, gallery->height, gallery->width, color_greys, &mean, s * pixels);
        place.left = spread_left;
        image_draw(canvas, place, gallery->height, gallery->width, image_color_spread, &spread, s * pixels);
        for (int d = 0; d < layout->draws; d++) {
            place.left = layout->draws_left + d * layout->step_x;
            image_draw(canvas, place, gallery->height, gallery->width, color_greys, &draws,
                       ((int64_t)s * gallery->draw_count + d) * pixels);
        }
    }
}

Status sweep_gallery_write(const char *path, const SweepGallery *gallery) {
    Status status = STATUS_OK;
    Canvas canvas = {0};
    int labels = 0;
    double largest = 0, scale = gallery->scale > 0 ? gallery->scale : 1;
    TRY(check(path, gallery));
    TRY(find_labels(gallery, &labels));
    for (int64_t i = 0; i < (int64_t)gallery->sampler_count * gallery->height * gallery->width; i++)
        if (isfinite(gallery->standard_deviation[i]))
            largest = fmax(largest, gallery->standard_deviation[i]);
    Layout layout = lay_out(gallery, labels);
    TRY(canvas_create(&canvas, logical(layout.width), logical(layout.height)));
    sweep_draw_title(&canvas, gallery->title, NULL);
    draw_first_row(&canvas, gallery, &layout, scale, largest);
    draw_rows(&canvas, gallery, &layout, scale, largest);
    TRY(canvas_write(&canvas, path));
done:
    canvas_destroy(&canvas);
    return status;
}
