/* Numbers as JSON text; private to io. */
#ifndef IO_NUMBER_TEXT_H
#define IO_NUMBER_TEXT_H

enum { NUMBER_TEXT_BYTES = 40 };

/* The shortest of 15 to 17 digits that reads back as the same double; non-finite: "nan", "inf" or "-inf" with
 * the quotes, since JSON has no such numbers. Returns text. */
const char *number_text(double number, char text[NUMBER_TEXT_BYTES]);

#endif
