#include "kernels/parameter_layout.h"

static int64_t part_elements(const ParameterLayout *layout) {
    return layout->outer * layout->inner * layout->taps;
}

size_t parameter_layout_bytes(const ParameterLayout *layout) {
    return (size_t)(layout->parts * part_elements(layout) * data_type_bytes(layout->type));
}

bool parameter_layout_equal(const ParameterLayout *a, const ParameterLayout *b) {
    return a->parts == b->parts && a->outer == b->outer && a->inner == b->inner && a->taps == b->taps &&
           a->type == b->type;
}

/* Elements of `inner` in a piece: even shares in whole lines of a cache. */
static int64_t piece_width(const ParameterLayout *layout, int64_t inner) {
    enum { LINE = 64 };
    int64_t most = layout->parts > 1 ? LAYOUT_PIECE_SUMS : LAYOUT_PIECE_ELEMENTS / layout->taps;
    int64_t pieces = (inner + most - 1) / most, share = (inner + pieces - 1) / pieces;
    int64_t rounded = (share + LINE - 1) / LINE * LINE;
    return rounded <= most ? rounded : share;
}

int64_t parameter_layout_cut(const ParameterLayout *layout, int64_t first, void *laid, LayoutPiece *pieces) {
    /* without taps the two arrays are the same, of one row */
    const int64_t outer = layout->taps == 1 ? 1 : layout->outer;
    const int64_t inner = layout->taps == 1 ? layout->outer * layout->inner : layout->inner;
    const int64_t width = piece_width(layout, inner);
    int64_t count = 0;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i += width, count++) {
            if (!pieces)
                continue;
            int64_t at = o * layout->taps * inner + i; /* laid; the plain array's is (o inner + i) taps */
            pieces[count] = (LayoutPiece){
                .first = first + (o * inner + i) * layout->taps,
                .laid = (char *)laid + at * data_type_bytes(layout->type),
                .inner = inner,
                .part_elements = part_elements(layout),
                .width = (int32_t)(inner - i < width ? inner - i : width),
                .taps = (int32_t)layout->taps,
                .parts = (int32_t)layout->parts,
                .type = layout->type,
            };
        }
    return count;
}
