/* The IDX reader: every spelling, raw and gzip, the limit, and each kind of damage with its message. */
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "io/file.h"
#include "io/idx.h"
#include "tests/scratch.h"
#include "tests/test.h"

enum {
    COUNT = 5,
    HEIGHT = 3,
    WIDTH = 4,
    PIXELS = COUNT * HEIGHT * WIDTH,
    IMAGE_BYTES = 16 + PIXELS,
    LABEL_BYTES = 8 + COUNT
};

typedef struct IdxPair {
    unsigned char images[IMAGE_BYTES], labels[LABEL_BYTES];
} IdxPair;

static void put_word(unsigned char *at, uint32_t word) {
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(word >> (24 - 8 * i));
}

static IdxPair make_pair(void) {
    IdxPair pair;
    put_word(pair.images, 0x803);
    put_word(pair.images + 4, COUNT);
    put_word(pair.images + 8, HEIGHT);
    put_word(pair.images + 12, WIDTH);
    put_word(pair.labels, 0x801);
    put_word(pair.labels + 4, COUNT);
    for (int i = 0; i < PIXELS; i++)
        pair.images[16 + i] = (unsigned char)(7 * i + 3);
    for (int i = 0; i < COUNT; i++)
        pair.labels[8 + i] = (unsigned char)(255 - i);
    return pair;
}

static void write_gzip(const char *path, const void *data, unsigned bytes) {
    gzFile stream = gzopen(path, "wb");
    CHECK(stream && gzwrite(stream, data, bytes) == (int)bytes);
    CHECK(stream && gzclose(stream) == Z_OK);
}

static void store(const char *directory, const char *images_name, const char *labels_name,
                  const IdxPair *pair) {
    char path[FILE_PATH_BYTES];
    CHECK_OK(file_join(path, directory, images_name));
    CHECK_OK(file_write(path, pair->images, IMAGE_BYTES, FILE_REPLACE));
    CHECK_OK(file_join(path, directory, labels_name));
    CHECK_OK(file_write(path, pair->labels, LABEL_BYTES, FILE_REPLACE));
}

static void check_content(const Dataset *data, int64_t count) {
    IdxPair pair = make_pair();
    CHECK(data->count == count && data->height == HEIGHT && data->width == WIDTH);
    CHECK(data->pixels && memcmp(data->pixels, pair.images + 16, (size_t)count * HEIGHT * WIDTH) == 0);
    CHECK(data->labels && memcmp(data->labels, pair.labels + 8, (size_t)count) == 0);
}

static void check_loads(const char *directory, const char *split, int64_t limit, int64_t expected) {
    Dataset data = {0};
    CHECK_OK(dataset_load(directory, split, limit, &data));
    check_content(&data, expected);
    dataset_release(&data);
    CHECK(!data.pixels && !data.labels && data.count == 0);
}

static void test_spellings(const char *scratch) {
    IdxPair pair = make_pair();
    char raw[FILE_PATH_BYTES], dotted[FILE_PATH_BYTES], packed[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    scratch_folder(scratch, "raw", raw);
    store(raw, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", &pair);
    check_loads(raw, "train", 0, COUNT);
    check_loads(raw, "train", 2, 2);
    check_loads(raw, "train", COUNT, COUNT);
    check_loads(raw, "train", 1000, COUNT);
    scratch_folder(scratch, "dotted", dotted);
    store(dotted, "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte", &pair);
    check_loads(dotted, "t10k", 0, COUNT);
    scratch_folder(scratch, "packed", packed);
    CHECK_OK(file_join(path, packed, "train-images-idx3-ubyte.gz"));
    write_gzip(path, pair.images, IMAGE_BYTES);
    CHECK_OK(file_join(path, packed, "train-labels.idx1-ubyte.gz"));
    write_gzip(path, pair.labels, LABEL_BYTES);
    check_loads(packed, "train", 0, COUNT);
    check_loads(packed, "train", 3, 3);
}

static void check_refused(const char *directory, const char *text) {
    Dataset data = {0};
    CHECK_ERROR(dataset_load(directory, "train", 0, &data), STATUS_BAD_INPUT, text);
    CHECK(!data.pixels && !data.labels && data.count == 0);
    CHECK(!strchr(status_message(), '\n'));
}

static void test_damage(const char *scratch) {
    const char *images_name = "train-images-idx3-ubyte", *labels_name = "train-labels-idx1-ubyte";
    char folder[FILE_PATH_BYTES], images[FILE_PATH_BYTES], labels[FILE_PATH_BYTES];
    IdxPair pair = make_pair();
    Dataset data = {0};
    scratch_folder(scratch, "damaged", folder);
    CHECK_OK(file_join(images, folder, images_name));
    CHECK_OK(file_join(labels, folder, labels_name));
    check_refused("/no/such/directory", "tools/fetch_mnist.sh");
    check_refused(folder, "train-images-idx3-ubyte");
    CHECK_OK(file_write(images, pair.images, IMAGE_BYTES, FILE_REPLACE));
    check_refused(folder, "train-labels-idx1-ubyte");
    CHECK_ERROR(dataset_load(folder, "train", -1, &data), STATUS_BAD_INPUT, "data.limit");
    CHECK_OK(file_write(labels, pair.labels, LABEL_BYTES, FILE_REPLACE));
    check_loads(folder, "train", 0, COUNT);

    for (size_t bytes = 0; bytes < IMAGE_BYTES; bytes++) { /* every truncation */
        CHECK_OK(file_write(images, pair.images, bytes, FILE_REPLACE));
        check_refused(folder, "truncated: expected");
    }
    char expected[64];
    snprintf(expected, sizeof expected, "expected %d bytes, found %d", IMAGE_BYTES, IMAGE_BYTES - 1);
    check_refused(folder, expected);
    CHECK_ERROR(dataset_load(folder, "train", 1, &data), STATUS_BAD_INPUT,
                expected); /* the limit hides no damage */
    unsigned char longer[IMAGE_BYTES + 1] = {0};
    memcpy(longer, pair.images, IMAGE_BYTES);
    CHECK_OK(file_write(images, longer, sizeof longer, FILE_REPLACE));
    check_refused(folder, "too long: expected");

    IdxPair wrong = pair;
    put_word(wrong.images, 0x801);
    store(folder, images_name, labels_name, &wrong);
    check_refused(folder, "wrong magic number: expected 0x00000803, found 0x00000801");
    wrong = pair;
    put_word(wrong.labels, 0x803);
    store(folder, images_name, labels_name, &wrong);
    check_refused(folder, "wrong magic number: expected 0x00000801, found 0x00000803");
    wrong = pair;
    put_word(wrong.labels + 4, COUNT - 1);
    store(folder, images_name, labels_name, &wrong);
    check_refused(folder, "expected 5 labels");
    for (int dimension = 0; dimension < 3; dimension++) {
        wrong = pair;
        put_word(wrong.images + 4 + 4 * dimension, 0);
        store(folder, images_name, labels_name, &wrong);
        check_refused(folder, "expected 1 to");
    }
    wrong = pair;
    put_word(wrong.images + 8, 0xFFFFFFFFu);
    store(folder, images_name, labels_name, &wrong);
    check_refused(folder, "found 4294967295");
    wrong = pair; /* a wrong count must give an error, not a huge allocation */
    put_word(wrong.images + 4, 0xFFFFFFFFu);
    put_word(wrong.labels + 4, 0xFFFFFFFFu);
    store(folder, images_name, labels_name, &wrong);
    check_refused(folder, "truncated: expected 51539607556 bytes");
    store(folder, images_name, labels_name, &pair);
    CHECK_OK(file_write(labels, pair.labels, LABEL_BYTES - 1, FILE_REPLACE));
    check_refused(folder, "truncated: expected 13 bytes, found 12");

    CHECK(unlink(images) == 0 && mkdir(images, 0777) == 0);
    check_refused(folder, "found a directory");
    CHECK(rmdir(images) == 0);
}

/* Truncation and a flipped bit in a gzip file are noticed wherever they are. */
static void test_damaged_gzip(const char *scratch) {
    char folder[FILE_PATH_BYTES], images[FILE_PATH_BYTES], labels[FILE_PATH_BYTES];
    IdxPair pair = make_pair();
    char *packed = NULL;
    size_t bytes = 0;
    scratch_folder(scratch, "damaged_gzip", folder);
    CHECK_OK(file_join(images, folder, "train-images-idx3-ubyte.gz"));
    CHECK_OK(file_join(labels, folder, "train-labels-idx1-ubyte"));
    CHECK_OK(file_write(labels, pair.labels, LABEL_BYTES, FILE_REPLACE));
    write_gzip(images, pair.images, IMAGE_BYTES);
    CHECK_OK(file_read(images, &packed, &bytes));
    for (size_t kept = 0; kept < bytes; kept++) {
        CHECK_OK(file_write(images, packed, kept, FILE_REPLACE));
        check_refused(folder, images);
    }
    for (size_t bit = 0; bit < 8 * bytes; bit++) {
        Dataset data = {0};
        packed[bit / 8] = (char)(packed[bit / 8] ^ 1 << (bit % 8));
        CHECK_OK(file_write(images, packed, bytes, FILE_REPLACE));
        if (dataset_load(folder, "train", 0, &data) == STATUS_OK)
            check_content(&data, COUNT); /* the header has bits without meaning, its time for one */
        dataset_release(&data);
        packed[bit / 8] = (char)(packed[bit / 8] ^ 1 << (bit % 8));
    }
    free(packed);
}

int main(void) {
    char scratch[SCRATCH_PATH_BYTES];
    scratch_open(scratch);
    test_spellings(scratch);
    test_damage(scratch);
    test_damaged_gzip(scratch);
    scratch_remove(scratch);
    return test_result();
}
