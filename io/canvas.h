/* A white cairo image surface drawn in logical pixels at twice their resolution, text on it, and the PNG file
 * it ends in. Not collective: one rank draws. */
#ifndef IO_CANVAS_H
#define IO_CANVAS_H

#include <cairo.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

#define CANVAS_SCALE 2          /* device pixels per logical pixel */
#define CANVAS_DEVICE_MAX 32767 /* device pixels each way, cairo's limit */

typedef struct CanvasColor {
    double red, green, blue, alpha;
} CanvasColor;

#define CANVAS_INK ((CanvasColor){0.13, 0.14, 0.16, 1.0})
#define CANVAS_MUTED ((CanvasColor){0.38, 0.40, 0.44, 1.0})
#define CANVAS_RULE ((CanvasColor){0.88, 0.89, 0.91, 1.0})

typedef struct Canvas {
    cairo_surface_t *surface;
    cairo_t *cairo;
    double width, height; /* logical pixels */
} Canvas;

/* Where a text's anchor point lies: on its baseline at the left end, the middle or the right end. */
typedef enum CanvasAlign { CANVAS_LEFT, CANVAS_CENTER, CANVAS_RIGHT } CanvasAlign;

/* Makes a white canvas of width x height logical pixels (each at least 1); release with canvas_destroy.
 * STATUS_FAILURE when cairo cannot (memory, or larger than 32767 device pixels). */
Status canvas_create(Canvas *canvas, double width, double height);

/* Frees what canvas_create made; fine on a zeroed canvas and twice. */
void canvas_destroy(Canvas *canvas);

void canvas_color(Canvas *canvas, CanvasColor color);

/* The next texts' size in logical pixels and weight (the system's sans-serif face). */
void canvas_font(Canvas *canvas, double size, bool bold);

/* Width in logical pixels of one line of UTF-8 text. */
double canvas_text_width(Canvas *canvas, const char *text);

/* One line of UTF-8 text, its baseline at y. */
void canvas_text(Canvas *canvas, double x, double y, CanvasAlign align, const char *text);

/* The same, reading upwards, centred on (x, y). */
void canvas_text_upwards(Canvas *canvas, double x, double y, const char *text);

/* The device pixels, 0x00RRGGBB, for drawing them one by one: (height, stride) of which the first `width` of
 * a row count. Call canvas_pixels_done before drawing with cairo again. The canvas's own memory. */
uint32_t *canvas_pixels(Canvas *canvas, int *stride, int *width, int *height);
void canvas_pixels_done(Canvas *canvas);

/* Writes the canvas as an RGB PNG to `path`: to a temporary name first, then renamed, so that a reader never
 * sees half a picture. STATUS_FAILURE naming the file when it cannot be written. */
Status canvas_write(Canvas *canvas, const char *path);

#endif
