/* The figures of a run: loss curves, grids of images, the posterior figure. All write a PNG to `path`
 * (temporary name, then rename) and fail with STATUS_FAILURE naming the file when it cannot be written. Not
 * collective. */
#ifndef IO_FIGURES_H
#define IO_FIGURES_H

#include <stdint.h>

#include "core/status.h"

/* Training loss of each step: the raw values pale, their running mean strong, log y. The first steps' values
 * above the rest may be cut off by the axis. steps, loss: (count), steps increasing; count may be 0;
 * non-finite losses are gaps. */
Status figures_loss_steps(const char *path, const int64_t *steps, const double *loss, int64_t count);

/* Mean training loss and validation loss of each epoch, log y. epochs, train, validation: (count); validation
 * may be NULL; non-finite values are gaps. */
Status figures_loss_epochs(const char *path, const int64_t *epochs, const double *train,
                           const double *validation, int64_t count);

/* images: (count, height, width) in [-1, 1] (clamped; -1 black, 1 white; non-finite values red), drawn row by
 * row in `columns` columns (at most `count` are used), each pixel enlarged to a square so that an image is at
 * least 84 device pixels wide. title: NULL or one line above the grid. STATUS_BAD_INPUT when count, height,
 * width or columns is below 1. */
Status figures_image_grid(const char *path, const float *images, int64_t count, int height, int width,
                          int columns, const char *title);

/* Such a grid, about square, of at most the first FIGURES_SAMPLES_MAX images; then the title says so. */
enum { FIGURES_SAMPLES_MAX = 4096 };
Status figures_samples(const char *path, const float *images, int64_t count, int height, int width,
                       const char *title);

/* What figures_posterior shows; all arrays are the caller's. */
typedef struct FiguresPosterior {
    const float *truth;              /* (height, width) in [-1, 1] */
    const uint8_t *mask;             /* (height, width), 1 observed, 0 missing */
    const float *observed;           /* (height, width) in [-1, 1]; read where mask is 1 */
    const float *mean;               /* (height, width), over the draws */
    const float *standard_deviation; /* (height, width), over the draws, >= 0 */
    const float *draws;              /* (count, height, width) in [-1, 1] */
    int64_t count;                   /* draws, at least 1; the first 64 are shown */
    int height, width;               /* pixels, at least 1 */
    const char *caption; /* one line, e.g. "guided, 20 % observed, class 7, test image 0, 16 draws" */
} FiguresPosterior;

/* The posterior figure: truth, mask, observed pixels (missing ones blue-grey), posterior mean and pixelwise
 * standard deviation in one row, the draws in a grid below. STATUS_BAD_INPUT when count, height or width is
 * below 1. */
Status figures_posterior(const char *path, const FiguresPosterior *figure);

#endif
