#include "io/idx.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "io/checksum.h"
#include "io/file.h"

enum {
    IDX_IMAGES_MAGIC = 0x00000803, /* unsigned bytes, three dimensions */
    IDX_LABELS_MAGIC = 0x00000801, /* unsigned bytes, one dimension */
    IDX_MAXIMUM_DIMENSIONS = 3,
    IDX_WORD_BYTES = 4,
    IDX_MAXIMUM_SIDE = 1 << 14, /* pixels; keeps count * height * width far from overflow */
    BLOCK_BYTES = 1 << 20,
};

typedef struct IdxFile {
    gzFile stream; /* reads raw files too */
    char path[FILE_PATH_BYTES];
    int64_t dims[IDX_MAXIMUM_DIMENSIONS];
    int64_t position; /* uncompressed bytes read so far */
} IdxFile;

/* Fills up to `wanted` bytes; *got is smaller only at the end of the file, where a cut-off gzip stream ends
 * too. */
static Status idx_read(IdxFile *file, void *data, int64_t wanted, int64_t *got) {
    int code;
    *got = 0;
    while (*got < wanted) {
        int64_t left = wanted - *got;
        int part =
            gzread(file->stream, (char *)data + *got, (unsigned)(left < BLOCK_BYTES ? left : BLOCK_BYTES));
        if (part <= 0)
            break;
        *got += part;
    }
    file->position += *got;
    const char *reason = gzerror(file->stream, &code);
    if (code == Z_ERRNO)
        return status_error(STATUS_FAILURE, "%s: cannot read: %s", file->path, strerror(errno));
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
        return status_error(STATUS_BAD_INPUT, "%s: damaged gzip file: %s", file->path, reason);
    return STATUS_OK;
}

/* Finds <split>-<kind>-idx<n>-ubyte in its spellings and opens it. */
static Status idx_open(const char *directory, const char *split, const char *kind, int dimensions,
                       IdxFile *file) {
    static const char separators[] = {'-', '.'};
    static const char *const endings[] = {"", ".gz"};
    for (int s = 0; s < (int)sizeof separators; s++) {
        for (int e = 0; e < (int)(sizeof endings / sizeof *endings); e++) {
            char name[128];
            snprintf(name, sizeof name, "%s-%s%cidx%d-ubyte%s", split, kind, separators[s], dimensions,
                     endings[e]);
            Status status = file_join(file->path, directory, name);
            if (status != STATUS_OK)
                return status;
            if (!file_exists(file->path)) {
                if (errno == ENOENT)
                    continue;
                return status_error(file_error_status(errno), "%s: cannot open: %s", file->path,
                                    strerror(errno));
            }
            if (!file_is_regular(file->path))
                return status_error(STATUS_BAD_INPUT, "%s: expected a file, found a %s", file->path,
                                    file_is_directory(file->path) ? "directory" : "special file");
            errno = 0;
            file->stream = gzopen(file->path, "rb");
            if (!file->stream)
                return status_error(file_error_status(errno ? errno : ENOMEM), "%s: cannot open: %s",
                                    file->path, errno ? strerror(errno) : "out of memory");
            if (gzbuffer(file->stream, BLOCK_BYTES) != 0)
                return status_error(STATUS_FAILURE, "%s: cannot set the read buffer", file->path);
            return STATUS_OK;
        }
    }
    return status_error(STATUS_BAD_INPUT,
                        "%s: no %s-%s-idx%d-ubyte or %s-%s.idx%d-ubyte there, raw or .gz; fetch MNIST with "
                        "tools/fetch_mnist.sh, or set data.dir",
                        directory, split, kind, dimensions, split, kind, dimensions);
}

static int64_t big_endian(const unsigned char word[IDX_WORD_BYTES]) {
    return (int64_t)word[0] << 24 | word[1] << 16 | word[2] << 8 | word[3];
}

static Status idx_read_header(IdxFile *file, int64_t magic, int dimensions) {
    Status status = STATUS_OK;
    unsigned char header[IDX_WORD_BYTES * (1 + IDX_MAXIMUM_DIMENSIONS)];
    int64_t wanted = IDX_WORD_BYTES * (1 + dimensions), got;
    TRY(idx_read(file, header, wanted, &got));
    if (got >= IDX_WORD_BYTES && big_endian(header) != magic)
        FAIL(STATUS_BAD_INPUT,
             "%s: wrong magic number: expected 0x%08llx, found 0x%08llx: not an IDX file of its kind",
             file->path, (unsigned long long)magic, (unsigned long long)big_endian(header));
    if (got < wanted)
        FAIL(STATUS_BAD_INPUT, "%s: truncated: expected a header of %lld bytes, found %lld", file->path,
             (long long)wanted, (long long)got);
    for (int d = 0; d < dimensions; d++) {
        file->dims[d] = big_endian(header + IDX_WORD_BYTES * (1 + d));
        if (file->dims[d] < 1 || (d > 0 && file->dims[d] > IDX_MAXIMUM_SIDE))
            FAIL(STATUS_BAD_INPUT, "%s: dimension %d in the header: expected 1 to %lld, found %lld",
                 file->path, d, d > 0 ? (long long)IDX_MAXIMUM_SIDE : (long long)UINT32_MAX,
                 (long long)file->dims[d]);
    }
done:
    return status;
}

/* Reads `kept` of the `total` bytes behind the header and makes sure that there are exactly `total`. */
static Status idx_read_body(IdxFile *file, int64_t total, int64_t kept, uint8_t **out) {
    Status status = STATUS_OK;
    int64_t header_bytes = file->position, capacity = kept < BLOCK_BYTES ? kept : BLOCK_BYTES, used = 0, got;
    uint8_t *data = NULL, *scratch = NULL;
    TRY(ALLOCATE(&scratch, BLOCK_BYTES));
    TRY(ALLOCATE(&data, capacity));
    while (used <
           kept) { /* grows with what is really there: a wrong header must not cause a huge allocation */
        if (used == capacity) {
            capacity = 2 * capacity < kept ? 2 * capacity : kept;
            uint8_t *grown = realloc(data, (size_t)capacity);
            if (!grown)
                FAIL(STATUS_FAILURE, "%s: out of memory: %lld bytes asked for", file->path,
                     (long long)capacity);
            data = grown;
        }
        TRY(idx_read(file, data + used, capacity - used, &got));
        if (got == 0)
            break;
        used += got;
    }
    do
        TRY(idx_read(file, scratch, BLOCK_BYTES, &got));
    while (got > 0);
    if (file->position != header_bytes + total)
        FAIL(STATUS_BAD_INPUT, "%s: %s: expected %lld bytes, found %lld", file->path,
             file->position < header_bytes + total ? "truncated" : "too long",
             (long long)(header_bytes + total), (long long)file->position);
    int code = gzclose_r(file->stream);
    file->stream = NULL;
    if (code != Z_OK)
        FAIL(STATUS_BAD_INPUT, "%s: truncated or damaged gzip file: its end or checksum is missing",
             file->path);
    *out = data;
    data = NULL;
done:
    free(scratch);
    free(data);
    return status;
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

Status dataset_load(const char *directory, const char *split, int64_t limit, Dataset *out) {
    Status status = STATUS_OK;
    IdxFile images = {0}, labels = {0};
    Dataset dataset = {0};
    *out = (Dataset){0};
    if (limit < 0)
        FAIL(STATUS_BAD_INPUT, "data.limit: expected 0 (all) or more, found %lld", (long long)limit);
    if (!file_is_directory(directory))
        FAIL(STATUS_BAD_INPUT, "data.dir: no directory \"%s\"; fetch MNIST with tools/fetch_mnist.sh %s",
             directory, directory);
    TRY(idx_open(directory, split, "images", 3, &images));
    TRY(idx_open(directory, split, "labels", 1, &labels));
    TRY(idx_read_header(&images, IDX_IMAGES_MAGIC, 3));
    TRY(idx_read_header(&labels, IDX_LABELS_MAGIC, 1));
    if (images.dims[0] != labels.dims[0])
        FAIL(STATUS_BAD_INPUT, "%s: expected %lld labels, as many as images in %s, found %lld", labels.path,
             (long long)images.dims[0], images.path, (long long)labels.dims[0]);
    dataset.count = limit > 0 ? smaller(limit, images.dims[0]) : images.dims[0];
    dataset.height = images.dims[1];
    dataset.width = images.dims[2];
    int64_t image_pixels = dataset.height * dataset.width;
    TRY(idx_read_body(&images, images.dims[0] * image_pixels, dataset.count * image_pixels, &dataset.pixels));
    TRY(idx_read_body(&labels, labels.dims[0], dataset.count, &dataset.labels));
    *out = dataset;
    dataset = (Dataset){0};
done:
    if (images.stream)
        gzclose_r(images.stream);
    if (labels.stream)
        gzclose_r(labels.stream);
    dataset_release(&dataset);
    return status;
}

void dataset_release(Dataset *dataset) {
    free(dataset->pixels);
    free(dataset->labels);
    *dataset = (Dataset){0};
}

uint64_t dataset_checksum(const Dataset *dataset) {
    Checksum checksum = checksum_start();
    const int64_t shape[] = {dataset->count, dataset->height, dataset->width};
    checksum_add(&checksum, shape, sizeof shape);
    checksum_add(&checksum, dataset->pixels, (size_t)(shape[0] * shape[1] * shape[2]));
    return checksum_value(&checksum);
}
