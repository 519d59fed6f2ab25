/* Layouts in which kernels want parameters, or leave gradients, instead of the flat array's plain floats: all
 * that differ are converted by one call of the backend (kernels/backend.h, lay_out and gather) that works
 * through a table of pieces. */
#ifndef KERNELS_PARAMETER_LAYOUT_H
#define KERNELS_PARAMETER_LAYOUT_H

#include <stddef.h>

#include "kernels/op.h"

/* `parts` arrays (outer, taps, inner) of `type`, one behind the other, for the (outer, inner, taps) floats of
 * a parameter, such as the (O,I,KH,KW) of a convolution's weight. A parameter has one part. A gradient is the
 * sum of its parts, of which there may be several where taps is 1. parts = 0: no layout, plain floats. */
typedef struct ParameterLayout {
    int64_t parts, outer, inner, taps;
    DataType type;
} ParameterLayout;

/* The largest pieces, in elements of the plain array: what a block of a GPU keeps, and the sums it forms. */
enum { LAYOUT_PIECE_ELEMENTS = 4096, LAYOUT_PIECE_SUMS = 32 };

/* The order of sums over parts, in double: part k is added to row k % LAYOUT_SUM_ROWS, then the rows in
 * order. */
enum { LAYOUT_SUM_ROWS = 8 };

/* width * taps consecutive elements of the plain array, all of one `outer`:
 *   plain[first + i taps + tap] <-> laid[part part_elements + tap inner + i] */
typedef struct LayoutPiece {
    int64_t first; /* in the flat array */
    void *laid;    /* backend memory */
    int64_t inner, part_elements;
    int32_t width, taps, parts;
    DataType type;
} LayoutPiece;

size_t parameter_layout_bytes(const ParameterLayout *layout);

/* Whether two ops can share one copy of a parameter. */
bool parameter_layout_equal(const ParameterLayout *a, const ParameterLayout *b);

/* Cuts an array at `first` of the flat array and at `laid` into pieces and returns how many; `pieces` NULL:
 * counts only. taps must be at most LAYOUT_PIECE_ELEMENTS. */
int64_t parameter_layout_cut(const ParameterLayout *layout, int64_t first, void *laid, LayoutPiece *pieces);

#endif
