/* The gallery of a sweep: what the samplers made of one unit. */
#ifndef IO_SWEEP_GALLERY_H
#define IO_SWEEP_GALLERY_H

#include <stdint.h>

#include "core/status.h"

#define SWEEP_GALLERY_DRAWS 8 /* draws shown of each sampler */

/* One unit: one image under one mask. All borrowed. */
typedef struct SweepGallery {
    const char *title;     /* one line, or NULL: "20 % observed, class 7, image 0, mask seed 1" */
    int height, width;     /* pixels, at least 1 */
    const float *truth;    /* (height, width) */
    const uint8_t *mask;   /* (height, width), 1 observed, 0 missing */
    const float *observed; /* (height, width), read where mask is 1 */
    double scale;          /* -scale is black, scale white; 0: 1 */
    int sampler_count;     /* at least 1 */
    int draw_count;        /* 0: they were not kept; the first SWEEP_GALLERY_DRAWS are shown */
    const char *const *samplers;
    const float *mean;               /* (sampler_count, height, width), over all draws of the unit */
    const float *standard_deviation; /* likewise */
    const float *draws;              /* (sampler_count, draw_count, height, width) */
} SweepGallery;

/* Truth, mask and observation in the first row, below it mean, pixelwise standard deviation (one colour scale
 * for all) and draws of each sampler. Writes a PNG to `path` (temporary name, then rename). STATUS_BAD_INPUT:
 * a count or a size below 1; STATUS_FAILURE naming the file when it cannot be written. Not collective. */
Status sweep_gallery_write(const char *path, const SweepGallery *gallery);

#endif
