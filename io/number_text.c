#include "io/number_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { FEWEST_DIGITS = 15, MOST_DIGITS = 17 }; /* 17 always identify a double */

const char *number_text(double number, char text[NUMBER_TEXT_BYTES]) {
    if (!isfinite(number)) {
        snprintf(text, NUMBER_TEXT_BYTES, "\"%s\"", isnan(number) ? "nan" : number > 0 ? "inf" : "-inf");
        return text;
    }
    for (int digits = FEWEST_DIGITS; digits <= MOST_DIGITS; digits++) {
        snprintf(text, NUMBER_TEXT_BYTES, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    return text;
}
