#include "io/gallery.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/directory.h"
#include "io/file.h"

#define FIGURES "figures"
#define RESOLUTION 2 /* our PNGs have twice the resolution they are shown at */
#define SHOWN_HEIGHT_MAX 520
#define PNG_SIDE_MAX 100000 /* larger numbers are not a picture's size */

/* Captions by the beginning of the file's name, in the order of the page. */
static const struct {
    const char *prefix, *caption;
    bool wide; /* takes the page's whole width */
} kinds[] = {
    {"posterior", "Posterior draws", true},
    {"samples", "Samples", false},
    {"sweep", "Sweep", true},
    {"loss_epochs", "Loss per epoch", false},
    {"loss_steps", "Training loss per step", false},
    {"unet", "The network", true},
    {"", "", false}, /* anything else: its name says what it is */
};

static size_t kind_of(const char *name) {
    size_t kind = 0;
    while (strncmp(name, kinds[kind].prefix, strlen(kinds[kind].prefix)) != 0)
        kind++;
    return kind;
}

static int compare_figures(const void *left, const void *right) {
    const char *a = *(char *const *)left, *b = *(char *const *)right;
    size_t kind_a = kind_of(a), kind_b = kind_of(b);
    return kind_a != kind_b ? (kind_a > kind_b) - (kind_a < kind_b) : strcmp(a, b);
}

static bool has_suffix(const char *name, const char *suffix) {
    size_t length = strlen(name), tail = strlen(suffix);
    return length > tail && strcmp(name + length - tail, suffix) == 0;
}

static bool is_figure(const char *name) {
    return has_suffix(name, ".png") || has_suffix(name, ".svg");
}

static uint32_t big_endian(const unsigned char bytes[4]) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Size of a PNG from its header, in pixels; false if the file does not begin like one. */
static bool read_png_size(const char *path, double *width, double *height) {
    enum { HEADER = 24, WIDTH_AT = 16, HEIGHT_AT = 20 };
    static const unsigned char signature[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    unsigned char header[HEADER];
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    bool whole = fread(header, 1, sizeof header, file) == sizeof header;
    fclose(file);
    if (!whole || memcmp(header, signature, sizeof signature) != 0)
        return false;
    *width = big_endian(header + WIDTH_AT);
    *height = big_endian(header + HEIGHT_AT);
    return *width > 0 && *height > 0 && *width < PNG_SIDE_MAX && *height < PNG_SIDE_MAX;
}

/* width= and height= let the browser keep the place of a picture that it has not loaded yet. */
static void add_size(Page *page, const char *path, bool wide) {
    double width = 0, height = 0;
    if (!read_png_size(path, &width, &height))
        return;
    width /= RESOLUTION;
    height /= RESOLUTION;
    double scale = !wide && height > SHOWN_HEIGHT_MAX ? SHOWN_HEIGHT_MAX / height : 1;
    page_add(page, " width=\"%.0f\" height=\"%.0f\"", width * scale, height * scale);
}

/* "posterior_guided_20.png" -> "Posterior draws: guided 20". */
static void add_caption(Page *page, const char *name) {
    char rest[FILE_PATH_BYTES];
    size_t kind = kind_of(name);
    snprintf(rest, sizeof rest, "%s", name + strlen(kinds[kind].prefix));
    char *dot = strrchr(rest, '.');
    if (dot)
        *dot = 0;
    for (char *c = rest; *c; c++)
        if (*c == '_')
            *c = ' ';
    page_add(page, "%s", kinds[kind].caption);
    if (rest[0] && kinds[kind].caption[0])
        page_add(page, ":%s", rest[0] == ' ' ? "" : " ");
    page_add_escaped(page, rest);
}

static void add_url(Page *page, const char *run_name, const char *name, long long changed) {
    page_add_url(page, run_name);
    page_add(page, "/" FIGURES "/");
    page_add_url(page, name);
    page_add(page, "?%lld", changed); /* a redrawn picture is not taken from the browser's cache */
}

static Status add_figure(Page *page, const char *directory, const char *run_name, const char *name) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES];
    struct stat file;
    TRY(file_join(path, directory, name));
    if (stat(path, &file) != 0)
        goto done; /* gone since it was listed */
    page_add(page, "<figure%s><a href=\"", kinds[kind_of(name)].wide ? " class=\"wide\"" : "");
    add_url(page, run_name, name, (long long)file.st_mtime);
    page_add(page, "\" target=\"_blank\"><img loading=\"lazy\" src=\"");
    add_url(page, run_name, name, (long long)file.st_mtime);
    page_add(page, "\"");
    add_size(page, path, kinds[kind_of(name)].wide);
    page_add(page, " alt=\"");
    add_caption(page, name);
    page_add(page, "\"></a><figcaption>");
    add_caption(page, name);
    page_add(page, "</figcaption></figure>\n");
done:
    return status;
}

Status gallery_add(Page *page, const char *outputs, const char *run_name) {
    Status status = STATUS_OK;
    char run[FILE_PATH_BYTES], directory[FILE_PATH_BYTES];
    Names names = {0};
    int64_t shown = 0;
    TRY(file_join(run, outputs, run_name));
    TRY(file_join(directory, run, FIGURES));
    TRY(directory_list(directory, &names));
    if (names.count > 0)
        qsort(names.names, (size_t)names.count, sizeof *names.names, compare_figures);
    for (int64_t i = 0; i < names.count; i++)
        if (is_figure(names.names[i])) {
            if (shown++ == 0)
                page_add(page, "<h2>Figures</h2>\n<div class=\"figures\">\n");
            TRY(add_figure(page, directory, run_name, names.names[i]));
        }
    if (shown > 0)
        page_add(page, "</div>\n");
done:
    names_destroy(&names);
    return status;
}
