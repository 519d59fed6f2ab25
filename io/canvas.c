#include "io/canvas.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"

Status canvas_create(Canvas *canvas, double width, double height) {
    Status status = STATUS_OK;
    *canvas = (Canvas){.width = width, .height = height};
    double device_width = ceil(width * CANVAS_SCALE), device_height = ceil(height * CANVAS_SCALE);
    if (!(width >= 1 && height >= 1 && device_width <= CANVAS_DEVICE_MAX &&
          device_height <= CANVAS_DEVICE_MAX))
        FAIL(STATUS_FAILURE, "a picture of %.0f x %.0f pixels was asked for; 1 to %d each way can be drawn",
             device_width, device_height, CANVAS_DEVICE_MAX);
    canvas->surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)device_width, (int)device_height);
    canvas->cairo = cairo_create(canvas->surface);
    if (cairo_status(canvas->cairo) != CAIRO_STATUS_SUCCESS)
        FAIL(STATUS_FAILURE, "cairo cannot make a picture of %.0f x %.0f pixels: %s", device_width,
             device_height, cairo_status_to_string(cairo_status(canvas->cairo)));
    cairo_set_source_rgb(canvas->cairo, 1, 1, 1);
    cairo_paint(canvas->cairo);
    cairo_scale(canvas->cairo, CANVAS_SCALE, CANVAS_SCALE);
    cairo_font_options_t *options = cairo_font_options_create();
    cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
    cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
    cairo_set_font_options(canvas->cairo, options);
    cairo_font_options_destroy(options);
done:
    if (status != STATUS_OK)
        canvas_destroy(canvas);
    return status;
}

void canvas_destroy(Canvas *canvas) {
    if (canvas->cairo)
        cairo_destroy(canvas->cairo);
    if (canvas->surface)
        cairo_surface_destroy(canvas->surface);
    *canvas = (Canvas){0};
}

void canvas_color(Canvas *canvas, CanvasColor color) {
    cairo_set_source_rgba(canvas->cairo, color.red, color.green, color.blue, color.alpha);
}

void canvas_font(Canvas *canvas, double size, bool bold) {
    cairo_select_font_face(canvas->cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(canvas->cairo, size);
}

double canvas_text_width(Canvas *canvas, const char *text) {
    cairo_text_extents_t extents = {0};
    cairo_text_extents(canvas->cairo, text, &extents);
    return extents.x_advance;
}

void canvas_text(Canvas *canvas, double x, double y, CanvasAlign align, const char *text) {
    double width = canvas_text_width(canvas, text);
    cairo_move_to(canvas->cairo,
                  align == CANVAS_LEFT     ? x
                  : align == CANVAS_CENTER ? x - width / 2
                                           : x - width,
                  y);
    cairo_show_text(canvas->cairo, text);
    cairo_new_path(canvas->cairo);
}

void canvas_text_upwards(Canvas *canvas, double x, double y, const char *text) {
    cairo_font_extents_t extents = {0};
    cairo_font_extents(canvas->cairo, &extents);
    cairo_save(canvas->cairo);
    cairo_translate(canvas->cairo, x, y);
    cairo_rotate(canvas->cairo, -M_PI / 2);
    canvas_text(canvas, 0, (extents.ascent - extents.descent) / 2, CANVAS_CENTER, text);
    cairo_restore(canvas->cairo);
}

uint32_t *canvas_pixels(Canvas *canvas, int *stride, int *width, int *height) {
    cairo_surface_flush(canvas->surface);
    *stride = cairo_image_surface_get_stride(canvas->surface) / (int)sizeof(uint32_t);
    *width = cairo_image_surface_get_width(canvas->surface);
    *height = cairo_image_surface_get_height(canvas->surface);
    return (uint32_t *)(void *)cairo_image_surface_get_data(canvas->surface);
}

void canvas_pixels_done(Canvas *canvas) {
    cairo_surface_mark_dirty(canvas->surface);
}

typedef struct Bytes {
    unsigned char *data;
    size_t bytes, capacity;
} Bytes;

static cairo_status_t append_bytes(void *closure, const unsigned char *data, unsigned int bytes) {
    Bytes *png = closure;
    if (png->bytes + bytes > png->capacity) {
        size_t capacity = 2 * (png->bytes + bytes);
        unsigned char *grown = realloc(png->data, capacity);
        if (!grown)
            return CAIRO_STATUS_NO_MEMORY;
        png->data = grown;
        png->capacity = capacity;
    }
    memcpy(png->data + png->bytes, data, bytes);
    png->bytes += bytes;
    return CAIRO_STATUS_SUCCESS;
}

Status canvas_write(Canvas *canvas, const char *path) {
    Status status = STATUS_OK;
    Bytes png = {0};
    cairo_status_t drawn = cairo_status(canvas->cairo); /* sticky: the first error of any drawing call */
    if (drawn == CAIRO_STATUS_SUCCESS)
        drawn = cairo_surface_write_to_png_stream(canvas->surface, append_bytes, &png);
    if (drawn != CAIRO_STATUS_SUCCESS)
        FAIL(STATUS_FAILURE, "%s: cairo cannot draw it: %s", path, cairo_status_to_string(drawn));
    TRY(file_write(path, png.data, png.bytes, FILE_REPLACE));
done:
    free(png.data);
    return status;
}
