/* The dashboard's section with the pictures of a run. */
#ifndef IO_GALLERY_H
#define IO_GALLERY_H

#include "core/status.h"
#include "io/page.h"

/* Appends OUTPUTS/RUN_NAME/figures/ *.png and *.svg (finished files only) as links relative to OUTPUTS, each
 * with a caption from its name; nothing if there are none. Fails only without memory. */
Status gallery_add(Page *page, const char *outputs, const char *run_name);

#endif
