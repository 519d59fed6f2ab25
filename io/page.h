/* A growing HTML text. Running out of memory is remembered and reported once, when the page is written. */
#ifndef IO_PAGE_H
#define IO_PAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

/* Zero-initialise; free with page_destroy. */
typedef struct Page {
    char *text; /* NUL-terminated; NULL while empty */
    size_t bytes, capacity;
    bool out_of_memory;
} Page;

/* Appends formatted text as it is: only markup and numbers of our own. */
void page_add(Page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends text from elsewhere with & < > " ' escaped: safe as an element's content and in a quoted attribute.
 */
void page_add_escaped(Page *page, const char *text);

/* Appends a relative file name as a URL: what is not a letter, a digit or one of -._~/ is percent-encoded. */
void page_add_url(Page *page, const char *path);

/* Replaces the file `path` by the page. STATUS_FAILURE if memory ran out; else as file_write. */
Status page_write(const Page *page, const char *path);

void page_destroy(Page *page);

#endif
