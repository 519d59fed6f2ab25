/* Index maps of lay_out and gather (kernels/backend.h): compiled by nvcc for the device and by gcc for the
 * host's tests. A block works on one piece; element e of a piece counts the laid array's, tap after tap. */
#ifndef KERNELS_CUDA_LAYOUT_MATH_H
#define KERNELS_CUDA_LAYOUT_MATH_H

#include "kernels/cuda/ops_math.h"
#include "kernels/parameter_layout.h"

/* In shared memory a piece lies in the plain array's order, with a gap behind each 32 elements: neighbours of
 * the laid array, `taps` apart, are then in different banks also where taps is a power of two. */
enum { LAYOUT_TILE = LAYOUT_PIECE_ELEMENTS + LAYOUT_PIECE_ELEMENTS / OPS_WARP };

OPS_FUNCTION int layout_slot(int plain) {
    return plain + plain / OPS_WARP;
}

OPS_FUNCTION int layout_elements(const LayoutPiece *piece) {
    return piece->width * piece->taps;
}

/* A thread that takes every `step`-th element: its element's tap and place within it, and how far it goes on.
 * One division for all its elements. */
typedef struct LayoutWalk {
    int tap, i, taps_on, on;
} LayoutWalk;

OPS_FUNCTION LayoutWalk layout_walk(const LayoutPiece *piece, int first, int step) {
    LayoutWalk walk;
    walk.tap = first / piece->width;
    walk.i = first - walk.tap * piece->width;
    walk.taps_on = step / piece->width;
    walk.on = step - walk.taps_on * piece->width;
    return walk;
}

OPS_FUNCTION void layout_step(const LayoutPiece *piece, LayoutWalk *walk) {
    walk->tap += walk->taps_on;
    walk->i += walk->on;
    if (walk->i >= piece->width) {
        walk->i -= piece->width;
        walk->tap++;
    }
}

/* From the piece's first element in the plain array. */
OPS_FUNCTION int layout_plain(const LayoutPiece *piece, LayoutWalk walk) {
    return walk.i * piece->taps + walk.tap;
}

/* From the piece's first element in the laid array. */
OPS_FUNCTION int64_t layout_laid(const LayoutPiece *piece, LayoutWalk walk) {
    return walk.tap * piece->inner + walk.i;
}

#endif
