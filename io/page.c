#include "io/page.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"

#define FIRST_CAPACITY 16384

/* Makes room for `bytes` more and a NUL. */
static bool reserve(Page *page, size_t bytes) {
    if (page->out_of_memory)
        return false;
    size_t needed = page->bytes + bytes + 1;
    if (needed <= page->capacity)
        return true;
    size_t capacity = page->capacity ? page->capacity : FIRST_CAPACITY;
    while (capacity < needed)
        capacity *= 2;
    char *grown = realloc(page->text, capacity);
    if (!grown) {
        page->out_of_memory = true;
        return false;
    }
    page->text = grown;
    page->capacity = capacity;
    return true;
}

static void add_bytes(Page *page, const char *text, size_t bytes) {
    if (!reserve(page, bytes))
        return;
    memcpy(page->text + page->bytes, text, bytes);
    page->bytes += bytes;
    page->text[page->bytes] = 0;
}

void page_add(Page *page, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (bytes < 0 || !reserve(page, (size_t)bytes))
        return;
    va_start(arguments, format);
    vsnprintf(page->text + page->bytes, (size_t)bytes + 1, format, arguments);
    va_end(arguments);
    page->bytes += (size_t)bytes;
}

void page_add_escaped(Page *page, const char *text) {
    while (*text) {
        size_t plain = strcspn(text, "&<>\"'");
        add_bytes(page, text, plain);
        text += plain;
        if (*text)
            page_add(page, "&#%d;", *text++);
    }
}

void page_add_url(Page *page, const char *path) {
    static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    for (; *path; path++)
        if (strchr(unreserved, *path))
            add_bytes(page, path, 1);
        else
            page_add(page, "%%%02X", (unsigned)(unsigned char)*path);
}

Status page_write(const Page *page, const char *path) {
    if (page->out_of_memory)
        return status_error(STATUS_FAILURE, "%s: no memory for the page", path);
    return file_write(path, page->text ? page->text : "", page->bytes, FILE_SHARED);
}

void page_destroy(Page *page) {
    free(page->text);
    *page = (Page){0};
}
