/* Units whose exact posterior is known by construction, for tests of the measures: images of 3 x 4 pixels.
 *
 * The first 4 pixels are observed: x ~ N(0, RIG_PRIOR^2), y = x + RIG_NOISE n (or y = x), so the posterior is
 * N(y S / (S + v), S v / (S + v)) with S and v the two variances. The other 8 are missing: the posterior is a
 * mixture of two modes, centre +- separation in all pixels, with weights w and 1 - w that differ from unit to
 * unit, plus RIG_DEVIATION of independent noise. Truth and exact draws are drawn from it alike. */
#ifndef TESTS_ENSEMBLE_RIG_H
#define TESTS_ENSEMBLE_RIG_H

#include <stdbool.h>
#include <stdint.h>

enum { RIG_HEIGHT = 3, RIG_WIDTH = 4, RIG_PIXELS = 12, RIG_OBSERVED = 4, RIG_MOST_DRAWS = 40 };

static const double RIG_PRIOR = 0.5, RIG_NOISE = 0.25, RIG_DEVIATION = 0.3;

typedef enum RigDraws {
    RIG_EXACT,
    RIG_WIDE,        /* standard deviations times 1.5 */
    RIG_NARROW,      /* times 0.6 */
    RIG_BIASED,      /* 0.2 added */
    RIG_WRONG_MODE,  /* weights 1 - w and w */
    RIG_INDEPENDENT, /* every missing pixel has a mode of its own: right in each pixel alone */
    RIG_KINDS,
} RigDraws;

typedef struct RigUnit {
    float truth[RIG_PIXELS], mask[RIG_PIXELS], y[RIG_PIXELS];
    float draws[RIG_MOST_DRAWS * RIG_PIXELS];
    double weights[2];
    int true_label, labels[RIG_MOST_DRAWS]; /* which mode */
} RigUnit;

/* Unit number `index`, the same truth and y for every kind of draws. */
void rig_unit(RigDraws kind, int64_t draw_count, double separation, bool observation_noise, uint32_t index,
              RigUnit *unit);

#endif
