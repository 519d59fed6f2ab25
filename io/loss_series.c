#include "io/loss_series.h"

#include <math.h>
#include <stdlib.h>

#define WINDOW_PART 40 /* the window is this part of all steps, within the next two limits */
#define WINDOW_MIN 5
#define WINDOW_MAX 501
#define CUT_PART 0.015      /* of the steps may lie above the axis, */
#define CUT_STEPS 20        /* or this many of a short run, */
#define CUT_PART_SHORT 0.04 /* yet no more than this part of it */
#define ROOM_BELOW 0.92
#define ROOM_ABOVE 1.15

static int compare_doubles(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

Status loss_series_limits(const double *loss, int64_t count, LossLimits *limits) {
    Status status = STATUS_OK;
    double *sorted = NULL;
    int64_t finite = 0;
    *limits = (LossLimits){0};
    TRY(ALLOCATE(&sorted, count > 0 ? count : 1));
    for (int64_t i = 0; i < count; i++)
        if (isfinite(loss[i]) && loss[i] > 0)
            sorted[finite++] = loss[i];
    if (finite > 0) {
        qsort(sorted, (size_t)finite, sizeof *sorted, compare_doubles);
        double cut = fmax(CUT_PART * (double)finite, fmin(CUT_STEPS, CUT_PART_SHORT * (double)finite));
        limits->low = sorted[0] * ROOM_BELOW;
        limits->high = sorted[finite - 1 - (int64_t)cut] * ROOM_ABOVE;
        limits->largest = sorted[finite - 1];
        while (limits->above < finite && sorted[finite - 1 - limits->above] > limits->high)
            limits->above++;
    }
done:
    free(sorted);
    return status;
}

int64_t loss_series_window(int64_t count) {
    int64_t window = count / WINDOW_PART | 1;
    return window < WINDOW_MIN ? WINDOW_MIN : window > WINDOW_MAX ? WINDOW_MAX : window;
}

void loss_series_smooth(const double *loss, int64_t count, int64_t window, double *smooth) {
    double sum = 0;
    int64_t finite = 0, begin = 0, end = 0, half = window / 2;
    for (int64_t i = 0; i < count; i++) {
        for (; end < count && end <= i + half; end++)
            if (isfinite(loss[end])) {
                sum += loss[end];
                finite++;
            }
        for (; begin < i - half; begin++)
            if (isfinite(loss[begin])) {
                sum -= loss[begin];
                finite--;
            }
        smooth[i] = finite > 0 ? sum / (double)finite : NAN;
    }
}
