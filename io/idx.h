/* The IDX files of MNIST and its relatives (big-endian header, then unsigned bytes), raw or gzip-compressed.
 */
#ifndef IO_IDX_H
#define IO_IDX_H

#include <stdint.h>

#include "core/status.h"

/* Images with one label each. Zero-initialise before the first use. */
typedef struct Dataset {
    int64_t count, height, width;
    uint8_t *pixels; /* (count, height, width), 0..255, owned */
    uint8_t *labels; /* (count), owned */
} Dataset;

/* Reads <split>-images-idx3-ubyte and <split>-labels-idx1-ubyte ("train" or "t10k"; the spellings with a dot
 * before "idx" and with .gz are found too) from `directory`; any image size. Keeps the first `limit` images
 * (0, or more than there are: all), but checks the whole files: magic numbers, equal counts, exact length.
 * Error: STATUS_BAD_INPUT naming the file, what was expected and what was found; *out is then empty. Not
 * collective. */
Status dataset_load(const char *directory, const char *split, int64_t limit, Dataset *out);

/* A 64-bit checksum of the images (count, size and pixels), which tells data sets apart. */
uint64_t dataset_checksum(const Dataset *dataset);

/* Frees the arrays and zeroes the struct. */
void dataset_release(Dataset *dataset);

#endif
