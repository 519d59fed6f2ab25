/* Checkpoints: bit-exact round trip, links and retention, and every kind of damage: an error or the same
 * content, never wrong data. An argument N tries every N-th bit of the file instead of a few hundred random
 * ones. */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/rng.h"
#include "io/checkpoint.h"
#include "io/checkpoint_format.h"
#include "io/hdf5_file.h"
#include "io/results.h"
#include "tests/scratch.h"
#include "tests/test.h"

enum { TENSORS = 3, GAP = 5, RANDOM_FLIPS = 500, ARRAYS = 4, STEP_NAME_BYTES = 64 };

/* Read by the leak sanitizer: HDF5 1.10.8 loses the object header (424 bytes) of a damaged object that it
 * refuses. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libhdf5";
}

static double double_of(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Three tensors with gaps between them; the arrays hold every kind of float. Release after use. */
static Checkpoint make_checkpoint(int64_t step) {
    static const TensorInfo shapes[TENSORS] = {
        {.name = "down.0.block.conv1.weight", .rank = 4, .dims = {3, 2, 3, 3}, .count = 54},
        {.name = "out.norm.bias", .rank = 1, .dims = {7}, .count = 7},
        {.name = "a.linear.weight", .rank = 2, .dims = {5, 4}, .count = 20},
    };
    Checkpoint c = {.step = step,
                    .height = 28,
                    .width = 30,
                    .data_checksum = 0xFEEDFACECAFEBEEFu,
                    .epoch = 2,
                    .step_in_epoch = 3,
                    .epoch_loss_sum = 0.1 + (double)step,
                    .epoch_loss_steps = 3,
                    .best_epoch_mean = INFINITY,
                    .last_epoch_mean = double_of(0x7FF8DEADBEEF1234u), /* a NaN with a payload */
                    .seed = 0xFEDCBA9876543210u,
                    .finished = true,
                    .tensor_count = TENSORS};
    CHECK_OK(ALLOCATE(&c.tensors, TENSORS));
    for (int i = 0; i < TENSORS; i++) {
        c.tensors[i] = shapes[i];
        c.tensors[i].offset = c.parameter_count + GAP;
        c.parameter_count = c.tensors[i].offset + c.tensors[i].count;
    }
    float **arrays[ARRAYS] = {&c.parameters, &c.ema, &c.m, &c.v};
    for (int k = 0; k < ARRAYS; k++) {
        CHECK_OK(ALLOCATE(arrays[k], c.parameter_count));
        rng_fill_normal(rng_key((uint64_t)step, RNG_TEST, 0, (uint32_t)k), *arrays[k], c.parameter_count);
        (*arrays[k])[c.tensors[1].offset] = -0.0f;
        (*arrays[k])[c.tensors[1].offset + 1] = 1e-42f; /* subnormal */
    }
    c.config_json = strdup("{\"seed\": \"18364758544493064720\", \"text\": \"\xc3\xa9\"}");
    c.provenance_json = strdup("{}");
    return c;
}

/* Bit for bit, apart from where the tensors lie. */
static bool same(const Checkpoint *a, const Checkpoint *b) {
    if (a->step != b->step || a->epoch != b->epoch || a->step_in_epoch != b->step_in_epoch ||
        a->epoch_loss_steps != b->epoch_loss_steps || a->seed != b->seed || a->height != b->height ||
        a->width != b->width || a->data_checksum != b->data_checksum || a->finished != b->finished ||
        memcmp(&a->epoch_loss_sum, &b->epoch_loss_sum, sizeof(double)) != 0 ||
        memcmp(&a->best_epoch_mean, &b->best_epoch_mean, sizeof(double)) != 0 ||
        memcmp(&a->last_epoch_mean, &b->last_epoch_mean, sizeof(double)) != 0 ||
        strcmp(a->config_json, b->config_json) != 0 || strcmp(a->provenance_json, b->provenance_json) != 0 ||
        a->tensor_count != b->tensor_count)
        return false;
    const float *first[] = {a->parameters, a->ema, a->m, a->v},
                *second[] = {b->parameters, b->ema, b->m, b->v};
    for (int i = 0; i < a->tensor_count; i++) {
        const TensorInfo *s = &a->tensors[i], *t = &b->tensors[i];
        if (strcmp(s->name, t->name) != 0 || s->rank != t->rank || s->count != t->count ||
            memcmp(s->dims, t->dims, sizeof s->dims) != 0)
            return false;
        for (int k = 0; k < ARRAYS; k++)
            if (memcmp(first[k] + s->offset, second[k] + t->offset, (size_t)s->count * sizeof(float)) != 0)
                return false;
    }
    return true;
}

static void write_step(const char *run, int64_t step, int keep) {
    Checkpoint c = make_checkpoint(step);
    CHECK_OK(checkpoint_write(run, &c, keep));
    checkpoint_release(&c);
}

static void step_path(const char *run, int64_t step, const char *suffix, char path[FILE_PATH_BYTES]) {
    snprintf(path, FILE_PATH_BYTES, "%.512s/checkpoints/step-%09" PRId64 ".h5%s", run, step, suffix);
}

static bool has_step(const char *run, int64_t step, const char *suffix) {
    char path[FILE_PATH_BYTES];
    step_path(run, step, suffix, path);
    return file_exists(path);
}

static void check_reads(const char *path, int64_t step) {
    Checkpoint expected = make_checkpoint(step), found = {0};
    CHECK_OK(checkpoint_read(path, &found, NULL));
    CHECK(found.tensor_count == TENSORS && same(&expected, &found));
    checkpoint_release(&expected);
    checkpoint_release(&found);
}

static void test_round_trip(const char *scratch) {
    char run[FILE_PATH_BYTES], path[FILE_PATH_BYTES], link[FILE_PATH_BYTES], target[STEP_NAME_BYTES] = "";
    char *first = NULL, *second = NULL;
    size_t first_bytes = 0, second_bytes = 1;
    bool found = true;
    Checkpoint c = make_checkpoint(37520), read = {0};
    scratch_folder(scratch, "round_trip", run);
    CHECK_OK(checkpoint_read_newest(run, &read, path, &found));
    CHECK(!found);
    CHECK_ERROR(checkpoint_read(run, &read, NULL), STATUS_BAD_INPUT, "without checkpoints/step-*.h5");
    CHECK_OK(checkpoint_write(run, &c, 3));
    step_path(run, 37520, "", path);
    CHECK(strstr(path, "step-000037520.h5") != NULL);
    check_reads(path, 37520);
    check_reads(run, 37520);
    snprintf(link, sizeof link, "%.512s/checkpoints", run);
    check_reads(link, 37520);
    snprintf(link, sizeof link, "%.512s/checkpoints/latest.h5", run);
    check_reads(link, 37520);
    CHECK(readlink(link, target, sizeof target - 1) > 0 && strcmp(target, "step-000037520.h5") == 0);

    CHECK_OK(checkpoint_read_newest(run, &read, link, &found));
    if (!found || read.tensor_count != TENSORS) {
        CHECK(found && read.tensor_count == TENSORS);
        return;
    }
    CHECK(found && strcmp(link, path) == 0);
    CHECK(read.parameter_count == 54 + 7 + 20 && read.tensors[0].offset == 0 && read.tensors[2].offset == 61);
    const TensorInfo *tensor = checkpoint_tensor(&read, "out.norm.bias");
    CHECK(tensor == &read.tensors[1] && !checkpoint_tensor(&read, "out.norm"));
    CHECK(checkpoint_parameters_checksum(&read) == checkpoint_parameters_checksum(&c));
    read.v[80] = nextafterf(read.v[80], 1);
    CHECK(checkpoint_parameters_checksum(&read) != checkpoint_parameters_checksum(&c));

    CHECK_OK(file_read(path, &first, &first_bytes)); /* the same content gives the same bytes */
    CHECK_OK(checkpoint_write(run, &c, 3));
    CHECK_OK(file_read(path, &second, &second_bytes));
    CHECK(first_bytes == second_bytes && first && second && memcmp(first, second, first_bytes) == 0);
    free(first);
    free(second);
    checkpoint_release(&read);
    checkpoint_release(&c);
}

static void test_large_texts(const char *scratch) {
    enum { TEXT_BYTES = 200000 }; /* beyond the 64 KiB of HDF5's compact attributes */
    char run[FILE_PATH_BYTES];
    Checkpoint c = make_checkpoint(1), read = {0};
    scratch_folder(scratch, "large", run);
    free(c.config_json);
    CHECK_OK(ALLOCATE(&c.config_json, TEXT_BYTES));
    memset(c.config_json, 'x', TEXT_BYTES - 1);
    free(c.provenance_json);
    c.provenance_json = NULL;
    CHECK_OK(checkpoint_write(run, &c, 1));
    CHECK_OK(checkpoint_read(run, &read, NULL));
    CHECK(read.config_json && strcmp(read.config_json, c.config_json) == 0);
    CHECK(read.provenance_json && read.provenance_json[0] == '\0');
    checkpoint_release(&read);
    checkpoint_release(&c);
}

static void test_retention(const char *scratch) {
    char run[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    scratch_folder(scratch, "retention", run);
    for (int64_t step = 10; step <= 50; step += 10)
        write_step(run, step, 2);
    CHECK(!has_step(run, 10, "") && !has_step(run, 30, "") && has_step(run, 40, "") && has_step(run, 50, ""));
    step_path(run, 20, FILE_TEMPORARY_SUFFIX, path); /* left by a kill: ignored, then removed */
    CHECK_OK(file_write(path, "half", 4, FILE_REPLACE));
    check_reads(run, 50);
    write_step(run, 45, 2); /* as after a resume from step 40 */
    CHECK(!has_step(run, 20, FILE_TEMPORARY_SUFFIX));
    CHECK(has_step(run, 40, "") && has_step(run, 45, "") && !has_step(run, 50, "") &&
          has_step(run, 50, ".superseded"));
    check_reads(run, 45);
    write_step(run, 60, 1);
    CHECK(has_step(run, 60, "") && !has_step(run, 45, "") && !has_step(run, 40, ""));
    snprintf(path, sizeof path, "%.512s/checkpoints/latest.h5", run);
    check_reads(path, 60);
    write_step(run, INT64_C(12345678901), 1); /* more digits than the name's nine */
    check_reads(run, INT64_C(12345678901));
}

static void overwrite(const char *path, const void *data, size_t bytes) {
    CHECK_OK(file_write(path, data, bytes, FILE_REPLACE));
}

static void test_fallback(const char *scratch) {
    char run[FILE_PATH_BYTES], newest[FILE_PATH_BYTES], middle[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    bool found;
    Checkpoint read = {0};
    scratch_folder(scratch, "fallback", run);
    for (int64_t step = 1; step <= 3; step++)
        write_step(run, step, 3);
    step_path(run, 3, "", newest);
    step_path(run, 2, "", middle);
    overwrite(newest, "damaged", 7);
    check_reads(run, 2);
    CHECK(truncate(middle, 4000) == 0);
    check_reads(run, 1);
    CHECK_OK(checkpoint_read(run, &read, path));
    CHECK(strstr(path, "step-000000001.h5") != NULL);
    checkpoint_release(&read);
    step_path(run, 1, "", path);
    overwrite(path, "", 0);
    CHECK_ERROR(checkpoint_read_newest(run, &read, path, &found), STATUS_BAD_INPUT,
                "no usable checkpoint among the 3");
    CHECK(!found && strstr(status_message(), "step-000000001.h5"));
    CHECK_ERROR(checkpoint_read(run, &read, NULL), STATUS_BAD_INPUT, "no usable checkpoint among the 3");
    CHECK(!read.parameters);
    write_step(run, 3, 1); /* and training goes on from there */
    check_reads(run, 3);
}

/* A refused lock is no damage: it is reported, with the way out, and no older checkpoint is taken instead. */
static void test_file_lock(const char *scratch) {
    char run[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    const char *locking = getenv("HDF5_USE_FILE_LOCKING");
    Checkpoint read = {0};
    scratch_folder(scratch, "locked", run);
    write_step(run, 1, 2);
    write_step(run, 2, 2);
    step_path(run, 2, "", path);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(descriptor >= 0 && flock(descriptor, LOCK_EX | LOCK_NB) == 0);
    if (locking && strcmp(locking, "TRUE") != 0)
        printf("HDF5_USE_FILE_LOCKING is %s: the refused lock is not tested\n", locking);
    else
        CHECK_ERROR(checkpoint_read(run, &read, NULL), STATUS_FAILURE, "HDF5_USE_FILE_LOCKING=FALSE");
    CHECK(close(descriptor) == 0);
    check_reads(run, 2);
}

/* Damage that HDF5 describes with the word "superblock" is no refused lock. */
static void test_damaged_superblock(const char *scratch) {
    char run[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    scratch_folder(scratch, "superblock", run);
    write_step(run, 1, 2);
    write_step(run, 2, 2);
    step_path(run, 2, "", path);
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(descriptor >= 0 && pwrite(descriptor, "\x7f", 1, 8) == 1 && close(descriptor) == 0);
    check_reads(run, 1);
}

/* Nor is one that may not or cannot be opened. */
static void test_unreadable(const char *scratch) {
    char run[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    Checkpoint read = {0};
    bool found;
    scratch_folder(scratch, "unreadable", run);
    write_step(run, 1, 2);
    step_path(run, 2, "", path);
    CHECK(symlink("nowhere", path) == 0);
    CHECK_ERROR(checkpoint_read(run, &read, NULL), STATUS_BAD_INPUT, "step-000000002.h5: cannot open");
    CHECK_ERROR(checkpoint_read_newest(run, &read, path, &found), STATUS_BAD_INPUT,
                "step-000000002.h5: cannot open");
    CHECK(!found && !read.parameters);
}

static void check_refused(const char *path, const char *text) {
    Checkpoint read = {0};
    CHECK_ERROR(checkpoint_read(path, &read, NULL), STATUS_BAD_INPUT, text);
    CHECK(!read.parameters && !read.tensors);
    CHECK(strstr(status_message(), path) && !strchr(status_message(), '\n'));
}

/* A file with the given version and shape of /ema/w, otherwise as far as needed like a checkpoint. */
static void craft(const char *path, int64_t version, int64_t ema_columns, bool second_tensor) {
    static const char *const groups[] = {"/parameters", "/ema", "/optimizer", "/optimizer/m", "/optimizer/v"};
    const int64_t plain[] = {2, 6}, other[] = {2, ema_columns};
    const uint64_t zero = 0; /* as a double too */
    const uint8_t no = 0;
    const float data[24] = {0};
    Hdf5File *file = NULL;
    CHECK_OK(hdf5_create(path, &file));
    CHECK_OK(hdf5_write_scalar(file, "format_version", HDF5_INT64, &version));
    for (int i = 0; i < CHECKPOINT_SCALARS; i++)
        CHECK_OK(hdf5_write_scalar(file, checkpoint_scalars[i].name, checkpoint_scalars[i].type, &zero));
    CHECK_OK(hdf5_write_scalar(file, "finished", HDF5_UINT8, &no));
    CHECK_OK(hdf5_write_text(file, "config", "{}"));
    CHECK_OK(hdf5_write_text(file, "provenance", "{}"));
    CHECK_OK(hdf5_write_scalar(file, "parameters_checksum", HDF5_UINT64, &zero));
    CHECK_OK(hdf5_write_scalar(file, "checksum", HDF5_UINT64, &zero));
    for (int i = 0; i < 5; i++) {
        char name[64];
        CHECK_OK(hdf5_make_group(file, groups[i]));
        snprintf(name, sizeof name, "%s/w", groups[i]);
        if (i != 2)
            CHECK_OK(hdf5_write_array(file, name, HDF5_FLOAT32, 2, i == 1 ? other : plain, data));
    }
    if (second_tensor)
        CHECK_OK(hdf5_write_array(file, "/optimizer/v/x", HDF5_FLOAT32, 2, plain, data));
    CHECK_OK(hdf5_save(file));
    hdf5_close(file);
}

static void test_refusals(const char *scratch) {
    char path[FILE_PATH_BYTES];
    Hdf5File *file = NULL;
    snprintf(path, sizeof path, "%.512s/crafted.h5", scratch);
    check_refused(path, "No such file");
    overwrite(path, "", 0);
    check_refused(path, "found an empty file");
    overwrite(path, "this is text and no HDF5 file", 29);
    check_refused(path, "not an HDF5 file");
    CHECK_OK(hdf5_create(path, &file));
    CHECK_OK(hdf5_save(file));
    hdf5_close(file);
    check_refused(path, "not a checkpoint");
    craft(path, 99, 6, false);
    check_refused(path, "format_version: expected 1, found 99");
    craft(path, 1, 5, false);
    check_refused(path, "dataset /ema/w: its shape differs");
    craft(path, 1, 6, true);
    check_refused(path, "group /optimizer/v: expected 1 tensors as in /parameters, found 2");
    craft(path, 1, 6, false);
    check_refused(path, "checksum of the tensors");
}

static void test_bad_requests(const char *scratch) {
    char path[FILE_PATH_BYTES];
    Checkpoint c = make_checkpoint(1);
    c.tensors[1].offset = c.parameter_count;
    CHECK_ERROR(checkpoint_write(scratch, &c, 1), STATUS_FAILURE, "out.norm.bias");
    c.tensors[1] = c.tensors[0];
    CHECK_ERROR(checkpoint_write(scratch, &c, 1), STATUS_FAILURE, "used twice");
    checkpoint_release(&c);
    c = make_checkpoint(1);
    snprintf(path, sizeof path, "%.512s/plain_file", scratch);
    overwrite(path, "x", 1);
    CHECK_ERROR(checkpoint_write(path, &c, 1), STATUS_BAD_INPUT, "Not a directory");
    checkpoint_release(&c);
}

/* Cut anywhere, flipped anywhere: an error in one line, or exactly the same content. */
static void test_damage(const char *scratch, long stride) {
    char run[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    char *bytes = NULL;
    size_t length = 0;
    long harmless = 0, refused = 0;
    Checkpoint expected = make_checkpoint(7);
    scratch_folder(scratch, "damage", run);
    write_step(run, 7, 1);
    step_path(run, 7, "", path);
    CHECK_OK(file_read(path, &bytes, &length));
    for (size_t kept = 0; kept < length; kept += kept < 1000 ? 1 : 97) {
        overwrite(path, bytes, kept);
        check_refused(path, kept == 0 ? "empty" : kept < 8 ? "not an HDF5 file" : "truncated: expected");
    }
    overwrite(path, bytes, length);
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(descriptor >= 0);
    long flips = stride > 0 ? (long)(8 * length) / stride : RANDOM_FLIPS;
    for (long i = 0; i < flips; i++) {
        Checkpoint read = {0};
        size_t bit = stride > 0
                         ? (size_t)(i * stride)
                         : rng_bounded(rng_key(1, RNG_TEST, 1, 0), (uint32_t)i, (uint32_t)(8 * length));
        char flipped = (char)(bytes[bit / 8] ^ 1 << (bit % 8));
        CHECK(pwrite(descriptor, &flipped, 1, (off_t)(bit / 8)) == 1);
        Status status = checkpoint_read(path, &read, NULL);
        if (status == STATUS_OK) {
            harmless++;
            CHECK(same(&expected, &read));
        } else {
            refused++;
            CHECK(status == STATUS_BAD_INPUT); /* and so the one before is tried */
            CHECK(strstr(status_message(), path) && !strchr(status_message(), '\n'));
        }
        checkpoint_release(&read);
        CHECK(pwrite(descriptor, &bytes[bit / 8], 1, (off_t)(bit / 8)) == 1);
    }
    CHECK(close(descriptor) == 0);
    printf("%ld bits flipped in a file of %zu bytes: %ld refused, %ld in unused space\n", flips, length,
           refused, harmless);
    CHECK(refused > harmless);
    check_reads(path, 7);
    free(bytes);
    checkpoint_release(&expected);
}

static void test_results(const char *scratch) {
    enum { COUNT = 3, HEIGHT = 4, WIDTH = 5, PIXELS = HEIGHT * WIDTH };
    char path[FILE_PATH_BYTES], *text = NULL;
    float start[COUNT * PIXELS], samples[COUNT * PIXELS], found[COUNT * PIXELS];
    uint8_t mask[PIXELS], found_mask[PIXELS], truth = 0;
    uint64_t seed = 0;
    double number = 0;
    int rank = 0;
    int64_t dims[HDF5_MAXIMUM_RANK];
    Hdf5File *file = NULL;
    const NamedValue values[] = {value_text("sampler", "guided"), value_unsigned("seed", UINT64_MAX),
                                 value_number("sigma_y", 0.1),    value_boolean("observation_noise", true),
                                 value_integer("steps", -3),      value_text("empty", "")};
    rng_fill_normal(rng_key(1, RNG_TEST, 0, 0), start, COUNT * PIXELS);
    rng_fill_normal(rng_key(2, RNG_TEST, 0, 0), samples, COUNT * PIXELS);
    for (int i = 0; i < PIXELS; i++)
        mask[i] = (uint8_t)(i % 2);
    snprintf(path, sizeof path, "%.512s/samples.h5", scratch);
    CHECK_OK(samples_write(path, start, samples, COUNT, HEIGHT, WIDTH, 6, values));
    CHECK_OK(hdf5_open(path, &file));
    CHECK_OK(hdf5_array_shape(file, "/samples", HDF5_FLOAT32, &rank, dims));
    CHECK(rank == 4 && dims[0] == COUNT && dims[1] == 1 && dims[2] == HEIGHT && dims[3] == WIDTH);
    CHECK_OK(hdf5_read_array(file, "/x_T", HDF5_FLOAT32, COUNT * PIXELS, found));
    CHECK(memcmp(found, start, sizeof start) == 0);
    CHECK_OK(hdf5_read_array(file, "/samples", HDF5_FLOAT32, COUNT * PIXELS, found));
    CHECK(memcmp(found, samples, sizeof samples) == 0);
    CHECK_ERROR(hdf5_read_array(file, "/samples", HDF5_UINT8, COUNT * PIXELS, found), STATUS_BAD_INPUT,
                "uint8");
    CHECK_ERROR(hdf5_read_array(file, "/samples", HDF5_FLOAT32, 1, found), STATUS_BAD_INPUT,
                "expected 1 elements");
    CHECK_OK(hdf5_read_text(file, "sampler", &text));
    CHECK(text && strcmp(text, "guided") == 0);
    free(text);
    CHECK_OK(hdf5_read_text(file, "empty", &text));
    CHECK(text && text[0] == '\0');
    free(text);
    CHECK_OK(hdf5_read_scalar(file, "seed", HDF5_UINT64, &seed));
    CHECK_OK(hdf5_read_scalar(file, "sigma_y", HDF5_FLOAT64, &number));
    CHECK_OK(hdf5_read_scalar(file, "observation_noise", HDF5_UINT8, &truth));
    CHECK(seed == UINT64_MAX && number == 0.1 && truth == 1);
    CHECK_ERROR(hdf5_read_scalar(file, "absent", HDF5_INT64, &seed), STATUS_BAD_INPUT,
                "attribute absent is missing");
    hdf5_close(file);

    snprintf(path, sizeof path, "%.512s/posterior.h5", scratch);
    CHECK_OK(posterior_write(path, start, mask, start + PIXELS, samples, COUNT, HEIGHT, WIDTH, 6, values));
    CHECK_OK(hdf5_open(path, &file));
    CHECK_OK(hdf5_read_array(file, "/mask", HDF5_UINT8, PIXELS, found_mask));
    CHECK(memcmp(found_mask, mask, sizeof mask) == 0);
    CHECK_OK(hdf5_array_shape(file, "/draws", HDF5_FLOAT32, &rank, dims));
    CHECK(rank == 3 && dims[0] == COUNT && dims[1] == HEIGHT && dims[2] == WIDTH);
    CHECK_OK(hdf5_read_array(file, "/observed", HDF5_FLOAT32, PIXELS, found));
    CHECK(memcmp(found, start + PIXELS, PIXELS * sizeof(float)) == 0);
    hdf5_close(file);
}

int main(int argument_count, char **arguments) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* what failed is seen even if a damaged file brings the program down */
    char scratch[SCRATCH_PATH_BYTES];
    scratch_open(scratch);
    test_round_trip(scratch);
    test_large_texts(scratch);
    test_retention(scratch);
    test_fallback(scratch);
    test_file_lock(scratch);
    test_damaged_superblock(scratch);
    test_unreadable(scratch);
    test_refusals(scratch);
    test_bad_requests(scratch);
    test_damage(scratch, argument_count > 1 ? strtol(arguments[1], NULL, 10) : 0);
    test_results(scratch);
    scratch_remove(scratch);
    return test_result();
}
