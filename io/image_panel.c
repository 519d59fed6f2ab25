#include "io/image_panel.h"

#include <math.h>
#include <stdio.h>

#define LABEL_BYTES 32
#define BAR_STEPS 64

static uint32_t rgb(double red, double green, double blue) {
    return (uint32_t)lround(255 * red) << 16 | (uint32_t)lround(255 * green) << 8 |
           (uint32_t)lround(255 * blue);
}

uint32_t image_grey(double value) {
    if (!isfinite(value))
        return rgb(0.85, 0.10, 0.10);
    double grey = (fmax(-1, fmin(1, value)) + 1) / 2;
    return rgb(grey, grey, grey);
}

uint32_t image_color_grey(const void *values, int64_t index) {
    return image_grey(((const float *)values)[index]);
}

uint32_t image_heat(double part) {
    static const double stops[][3] = {
        {0.00, 0.00, 0.02}, {0.24, 0.06, 0.42}, {0.58, 0.15, 0.40},
        {0.87, 0.32, 0.23}, {0.98, 0.65, 0.04}, {0.99, 1.00, 0.72},
    };
    const int last = sizeof stops / sizeof *stops - 1;
    double at = fmax(0, fmin(1, part)) * last;
    int stop = at >= last ? last - 1 : (int)at;
    double mix = at - stop, mixed[3];
    for (int c = 0; c < 3; c++)
        mixed[c] = (1 - mix) * stops[stop][c] + mix * stops[stop + 1][c];
    return rgb(mixed[0], mixed[1], mixed[2]);
}

uint32_t image_color_spread(const void *values, int64_t index) {
    const ImageSpread *spread = values;
    double value = spread->values[index];
    if (!isfinite(value))
        return rgb(0.10, 0.60, 0.10);
    return image_heat(spread->largest > 0 ? value / spread->largest : 0);
}

void image_draw(Canvas *canvas, ImagePlace place, int height, int width, ImageColor color, const void *values,
                int64_t first) {
    int stride, canvas_width, canvas_height;
    uint32_t *pixels = canvas_pixels(canvas, &stride, &canvas_width, &canvas_height);
    for (int y = 0; y < height * place.side && place.top + y < canvas_height; y++)
        for (int x = 0; x < width * place.side && place.left + x < canvas_width; x++)
            pixels[(int64_t)(place.top + y) * stride + place.left + x] =
                color(values, first + (int64_t)(y / place.side) * width + x / place.side);
    canvas_pixels_done(canvas);
}

void image_frame(Canvas *canvas, ImagePlace place, int height, int width) {
    const double pixel = 1.0 / CANVAS_SCALE; /* the line is one device pixel wide, outside the image */
    canvas_color(canvas, CANVAS_MUTED);
    cairo_set_line_width(canvas->cairo, pixel);
    cairo_rectangle(canvas->cairo, (place.left - 0.5) * pixel, (place.top - 0.5) * pixel,
                    (width * place.side + 1) * pixel, (height * place.side + 1) * pixel);
    cairo_stroke(canvas->cairo);
}

static void set_color(Canvas *canvas, uint32_t color) {
    canvas_color(canvas, (CanvasColor){(color >> 16 & 255) / 255.0, (color >> 8 & 255) / 255.0,
                                       (color & 255) / 255.0, 1});
}

void image_draw_scale(Canvas *canvas, double left, double baseline, double width, double size,
                      double largest) {
    char label[LABEL_BYTES];
    snprintf(label, sizeof label, "%.2f", largest);
    canvas_text(canvas, left, baseline, CANVAS_LEFT, "0");
    canvas_text(canvas, left + width, baseline, CANVAS_RIGHT, label);
    double start = left + canvas_text_width(canvas, "0") + 5;
    double length = left + width - canvas_text_width(canvas, label) - 5 - start;
    for (int i = 0; i < BAR_STEPS; i++) {
        set_color(canvas, image_heat((i + 0.5) / BAR_STEPS));
        /* each step reaches under the next one, so that no seams show */
        cairo_rectangle(canvas->cairo, start + length * i / BAR_STEPS, baseline - size * 0.75,
                        fmin(length * 2 / BAR_STEPS, length - length * i / BAR_STEPS), size * 0.75);
        cairo_fill(canvas->cairo);
    }
}

void image_draw_missing(Canvas *canvas, double left, double baseline, double size) {
    double side = size * 0.8;
    canvas_text(canvas, left + side + 5, baseline, CANVAS_LEFT, "not observed");
    set_color(canvas, IMAGE_MISSING);
    cairo_rectangle(canvas->cairo, left, baseline - side, side, side);
    cairo_fill(canvas->cairo);
}
