/* Images as parts of figures: values to colours, pixels as squares, and the legends beside them. Not
 * collective: one rank draws. */
#ifndef IO_IMAGE_PANEL_H
#define IO_IMAGE_PANEL_H

#include <stdint.h>

#include "io/canvas.h"

/* Colour of one pixel, 0x00RRGGBB. */
typedef uint32_t (*ImageColor)(const void *values, int64_t index);

#define IMAGE_MISSING UINT32_C(0x7087ad) /* a pixel that is not observed */

/* Black at -1, white at 1, clamped; red where not finite. */
uint32_t image_grey(double value);

/* image_grey of float values. */
uint32_t image_color_grey(const void *values, int64_t index);

/* From black over purple and orange to pale yellow, lightness rising evenly; part in [0, 1], clamped. */
uint32_t image_heat(double part);

typedef struct ImageSpread {
    const float *values;
    double largest; /* where the colour scale ends; 0: everything is at its beginning */
} ImageSpread;

/* image_heat of an ImageSpread; green where not finite. */
uint32_t image_color_spread(const void *values, int64_t index);

/* Where an image goes: its upper left corner and the side of one of its pixels, in device pixels. */
typedef struct ImagePlace {
    int left, top, side;
} ImagePlace;

/* Draws the (height, width) image that starts at `first` of `values`, each pixel a square. */
void image_draw(Canvas *canvas, ImagePlace place, int height, int width, ImageColor color, const void *values,
                int64_t first);

/* A thin line around such an image, for one that may be as white as the paper. */
void image_frame(Canvas *canvas, ImagePlace place, int height, int width);

/* Legends of one line of text in the canvas's font and colour, `size` its height, in logical pixels: the
 * colour scale from 0 to `largest`, `width` wide, and what IMAGE_MISSING means. */
void image_draw_scale(Canvas *canvas, double left, double baseline, double width, double size,
                      double largest);
void image_draw_missing(Canvas *canvas, double left, double baseline, double size);

#endif
