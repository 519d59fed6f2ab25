#include "io/axis.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDING 1e-9 /* of a step: keeps a tick that falls on a limit up to floating-point error */
#define SCIENTIFIC_BELOW 1e-4
#define SCIENTIFIC_FROM 1e7
#define GROUPING_FROM 1000

double axis_position(const Axis *axis, double value) {
    if (axis->log10) {
        if (!(value > 0))
            return NAN;
        return (log10(value) - log10(axis->low)) / (log10(axis->high) - log10(axis->low));
    }
    return (value - axis->low) / (axis->high - axis->low);
}

/* The number 1, 2 or 5 times a power of ten that is at least `step`. */
static double nice_step(double step) {
    double power = pow(10, floor(log10(step)));
    double mantissa = step / power;
    double nice = mantissa <= 1 + ROUNDING   ? 1
                  : mantissa <= 2 + ROUNDING ? 2
                  : mantissa <= 5 + ROUNDING ? 5
                                             : 10;
    return nice * power;
}

static void append(char label[AXIS_LABEL_BYTES], const char *text) {
    size_t used = strlen(label);
    snprintf(label + used, AXIS_LABEL_BYTES - used, "%s", text);
}

static void append_superscript(char label[AXIS_LABEL_BYTES], int exponent) {
    static const char *const digit_text[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    char digits[16];
    snprintf(digits, sizeof digits, "%d", abs(exponent));
    if (exponent < 0)
        append(label, "⁻");
    for (const char *digit = digits; *digit; digit++)
        append(label, digit_text[*digit - '0']);
}

static void label_scientific(char label[AXIS_LABEL_BYTES], double value) {
    char text[AXIS_LABEL_BYTES];
    snprintf(text, sizeof text, "%.2e", value);
    char *exponent = strchr(text, 'e');
    if (!exponent) { /* not a number: shown as it prints */
        append(label, text);
        return;
    }
    *exponent = 0;
    for (char *end = exponent; end > text && strchr("0.", end[-1]) && strchr(text, '.');)
        *--end = 0;
    append(label, text);
    append(label, "×10");
    append_superscript(label, (int)strtol(exponent + 1, NULL, 10));
}

static void label_grouped(char label[AXIS_LABEL_BYTES], int64_t value) {
    char digits[32];
    snprintf(digits, sizeof digits, "%lld", (long long)llabs(value));
    if (value < 0)
        append(label, "−");
    size_t length = strlen(digits);
    for (size_t i = 0; i < length; i++) {
        char digit[2] = {digits[i], 0};
        append(label, digit);
        if ((length - i) % 3 == 1 && i + 1 < length)
            append(label, ",");
    }
}

/* `step`: the distance of neighbouring ticks, which decides how many decimals tell them apart. */
static void write_label(AxisTick *tick, double step) {
    double magnitude = fabs(tick->value);
    tick->label[0] = 0;
    if (magnitude > 0 && (magnitude >= SCIENTIFIC_FROM || magnitude < SCIENTIFIC_BELOW)) {
        label_scientific(tick->label, tick->value);
    } else if (step >= 1 && magnitude >= GROUPING_FROM) {
        label_grouped(tick->label, llround(tick->value));
    } else {
        int decimals = step >= 1 ? 0 : (int)-floor(log10(step) + ROUNDING);
        snprintf(tick->label, sizeof tick->label, "%s%.*f", tick->value < 0 ? "−" : "", decimals, magnitude);
    }
}

static int linear_ticks(const Axis *axis, int wanted, AxisTick *ticks) {
    double step = nice_step((axis->high - axis->low) / wanted);
    if (axis->integer && step < 1)
        step = 1;
    double slack = step * ROUNDING;
    double first = ceil((axis->low - slack) / step), last = floor((axis->high + slack) / step);
    int count = 0;
    for (double multiple = first; multiple <= last && count < AXIS_TICKS_MAX; multiple++) {
        double value = multiple * step;
        ticks[count] = (AxisTick){.value = value == 0 ? 0 : value, .labelled = true};
        write_label(&ticks[count++], step);
    }
    return count;
}

static bool is_inside(const Axis *axis, double value) {
    double position = axis_position(axis, value);
    return position >= -ROUNDING && position <= 1 + ROUNDING;
}

/* Which multiples of powers of ten carry a number, a bit for each: the most that leave about `wanted`, and at
 * least two numbers where that can be. */
static unsigned choose_multiples(const Axis *axis, int first, int last, int wanted) {
    static const unsigned choices[] = {0x3fe, 1 << 1 | 1 << 2 | 1 << 5, 1 << 1 | 1 << 3, 1 << 1};
    unsigned chosen = choices[0];
    for (size_t c = 0; c < sizeof choices / sizeof *choices; c++) {
        int count = 0;
        for (int exponent = first; exponent <= last; exponent++)
            for (int multiple = 1; multiple <= 9; multiple++)
                count += (choices[c] >> multiple & 1) && is_inside(axis, multiple * pow(10, exponent));
        if (count < 2)
            break;
        chosen = choices[c];
        if (count <= wanted + 1)
            break;
    }
    return chosen;
}

static int log_ticks(const Axis *axis, int wanted, AxisTick *ticks) {
    double low = log10(axis->low), high = log10(axis->high), decades = high - low;
    if (decades < 0.35) /* fewer than about four multiples of a power of ten: even steps say more */
        return linear_ticks(axis, wanted, ticks);
    const int first = (int)floor(low), last = (int)ceil(high), stride = (int)ceil(decades / wanted);
    const unsigned numbered = choose_multiples(axis, first, last, wanted);
    int count = 0;
    for (int exponent = first; exponent <= last; exponent++)
        for (int multiple = 1; multiple <= 9 && count < AXIS_TICKS_MAX; multiple++) {
            double value = multiple * pow(10, exponent);
            bool labelled = (numbered >> multiple & 1) && (numbered != 1 << 1 || exponent % stride == 0);
            if (!is_inside(axis, value) || (!labelled && decades > 4))
                continue;
            ticks[count] = (AxisTick){.value = value, .labelled = labelled};
            write_label(&ticks[count++], pow(10, exponent));
        }
    return count;
}

int axis_ticks(const Axis *axis, int wanted, AxisTick ticks[AXIS_TICKS_MAX]) {
    return axis->log10 ? log_ticks(axis, wanted, ticks) : linear_ticks(axis, wanted, ticks);
}
