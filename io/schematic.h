/* The network's schematic: a graph's Graphviz text turned into a picture. */
#ifndef IO_SCHEMATIC_H
#define IO_SCHEMATIC_H

#include "core/status.h"

/* Writes `dot_text` next to `svg_path` (its ".svg" replaced by ".dot") and runs `dot -Tsvg` on it; the SVG
 * appears under its name only when complete. Without the program `dot` it says so in one log_info line
 * (package graphviz, the .dot file kept) and returns STATUS_OK. STATUS_FAILURE when a file cannot be written
 * or `dot` refuses the text. Not collective: one rank calls it. */
Status schematic_write(const char *dot_text, const char *svg_path);

#endif
