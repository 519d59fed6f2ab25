/* Files of a sweep: parts read back as written and refused when damaged; the merged file has every unit in
 * its place whatever the order the parts came in; an interrupted merge leaves nothing. */
#include <math.h>

#include "io/hdf5_file.h"
#include "io/sweep_file.h"
#include "tests/scratch.h"
#include "tests/test.h"

/* Read by the leak sanitizer: HDF5 1.10.8 loses the object header (424 bytes) of a damaged object that it
 * refuses to open. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libhdf5";
}

enum { UNITS = 300 };

static const char hash[] = "0123456789abcdef";

static const SweepShape full = {
    .height = 6, .width = 5, .draws = 7, .metrics = 3, .statistics = 2, .labels = 4, .keep_draws = true};

/* Values of unit `number`, each different and with some that are not finite. */
static void fill_unit(const SweepShape *shape, int64_t number, SweepUnit *unit) {
    int64_t pixels = shape->height * shape->width;
    unit->number = number;
    unit->mask_seed = UINT64_MAX - (uint64_t)number;
    unit->fraction = 1.0 / (double)(number + 3);
    unit->image = number + 1;
    unit->truth_index = number * number;
    unit->label = number % 2 ? -1 : number;
    unit->sampler = number % 3;
    for (int64_t i = 0; i < shape->metrics; i++)
        unit->metrics[i] = i == 1 ? NAN : (double)number + 0.1 * (double)i;
    for (int64_t i = 0; i < shape->statistics; i++)
        unit->ranks[i] = number - i;
    for (int64_t i = 0; i < SWEEP_PARTICLE_VALUES; i++)
        unit->particles[i] = (double)(10 * number + i);
    for (int64_t i = 0; i < (shape->labels ? shape->draws : 0); i++)
        unit->draw_labels[i] = i - number;
    for (int64_t i = 0; i < shape->labels; i++)
        unit->label_weights[i] = (double)i / (double)(number + 1);
    for (int64_t i = 0; i < pixels; i++) {
        unit->mean[i] = (float)(number + i);
        unit->spread[i] = (float)(number * i);
        unit->truth[i] = (float)(number - i);
        unit->observed[i] = (float)i;
        unit->mask[i] = (number + i) % 2 == 0;
    }
    for (int64_t i = 0; i < (shape->keep_draws ? shape->draws * pixels : 0); i++)
        unit->draws[i] = (float)(number * 1000 + i);
}

static void write_unit(const char *run, const SweepShape *shape, int64_t number) {
    SweepUnit *unit = NULL;
    CHECK_OK(sweep_unit_create(shape, &unit));
    fill_unit(shape, number, unit);
    CHECK_OK(sweep_part_write(run, hash, shape, unit));
    sweep_unit_destroy(unit);
}

static void test_part(const char *scratch) {
    char run[FILE_PATH_BYTES], path[FILE_PATH_BYTES], *bytes = NULL;
    uint8_t present[4];
    size_t count;
    SweepUnit *unit = NULL, *expected = NULL;
    scratch_folder(scratch, "part", run);
    CHECK_OK(sweep_parts_prepare(run));
    write_unit(run, &full, 2);
    CHECK_OK(sweep_parts_list(run, 4, present));
    CHECK(!present[0] && !present[1] && present[2] && !present[3]);
    CHECK_OK(sweep_parts_list(run, 2, present)); /* a number beyond the grid is not this grid's */
    CHECK_OK(sweep_unit_create(&full, &unit));
    CHECK_OK(sweep_unit_create(&full, &expected));
    fill_unit(&full, 2, expected);
    CHECK_OK(sweep_part_read(run, hash, &full, 2, unit));
    CHECK(unit->mask_seed == expected->mask_seed && unit->fraction == expected->fraction);
    CHECK(unit->label == 2 && unit->truth_index == 4 && unit->sampler == 2 && unit->image == 3);
    CHECK(memcmp(unit->metrics, expected->metrics, sizeof(double) * 3) == 0);
    CHECK(unit->particles[2] == 22);
    CHECK(memcmp(unit->draws, expected->draws, sizeof(float) * 7 * 30) == 0);
    CHECK(memcmp(unit->mask, expected->mask, 30) == 0);
    CHECK_ERROR(sweep_part_read(run, "fedcba9876543210", &full, 2, unit), STATUS_BAD_INPUT,
                "expected unit 2 of grid fedcba9876543210, found unit 2 of grid 0123456789abcdef");
    CHECK_ERROR(sweep_part_read(run, hash, &full, 1, unit), STATUS_BAD_INPUT, "unit-00000001.h5");
    /* under another number's name */
    CHECK_OK(file_join(path, run, "parts/unit-00000002.h5"));
    CHECK_OK(file_read(path, &bytes, &count));
    CHECK_OK(file_join(path, run, "parts/unit-00000001.h5"));
    CHECK_OK(file_write(path, bytes, count, FILE_REPLACE));
    CHECK_ERROR(sweep_part_read(run, hash, &full, 1, unit), STATUS_BAD_INPUT, "expected unit 1");
    /* every tenth byte flipped, one at a time: refused, or harmless because nothing reads it */
    int64_t harmless = 0, flips = 0;
    for (size_t at = 0; at < count; at += 10, flips++) {
        bytes[at] ^= 0x10;
        CHECK_OK(file_join(path, run, "parts/unit-00000002.h5"));
        CHECK_OK(file_write(path, bytes, count, FILE_REPLACE));
        if (sweep_part_read(run, hash, &full, 2, unit) == STATUS_OK) {
            harmless++;
            CHECK(memcmp(unit->draws, expected->draws, sizeof(float) * 7 * 30) == 0);
            CHECK(memcmp(unit->metrics, expected->metrics, sizeof(double) * 3) == 0);
            CHECK(unit->sampler == expected->sampler && unit->label == expected->label);
        }
        bytes[at] ^= 0x10;
    }
    printf("%lld of %lld flipped bytes were in unused space\n", (long long)harmless, (long long)flips);
    CHECK(harmless < flips);
    CHECK_OK(file_write(path, bytes, count - 100, FILE_REPLACE));
    CHECK_ERROR(sweep_part_read(run, hash, &full, 2, unit), STATUS_BAD_INPUT, "truncated");
    free(bytes);
    sweep_unit_destroy(unit);
    sweep_unit_destroy(expected);
}

static void test_merge(const char *scratch, bool keep_draws) {
    char run[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    SweepShape shape = full;
    shape.keep_draws = keep_draws;
    shape.labels = keep_draws ? shape.labels : 0;
    NamedValue values[] = {value_text("samplers", "a,b,c"), value_integer("draws", 7)};
    int64_t *numbers = calloc(UNITS, sizeof *numbers);
    double *metrics = calloc(UNITS * 3, sizeof *metrics);
    scratch_folder(scratch, keep_draws ? "kept" : "thin", run);
    CHECK_OK(sweep_parts_prepare(run));
    for (int64_t i = 0; i < UNITS - 1; i++) /* in another order than theirs */
        write_unit(run, &shape, (i * 7 + 1) % UNITS == 17 ? 0 : (i * 7 + 1) % UNITS);
    CHECK_ERROR(sweep_parts_merge(run, hash, &shape, UNITS, 2, values), STATUS_BAD_INPUT, "unit-000000");
    CHECK_OK(file_join(path, run, "sweep.h5"));
    CHECK(!file_exists(path));
    CHECK_OK(file_join(path, run, "sweep.h5.tmp"));
    CHECK(!file_exists(path));
    for (int64_t i = 0; i < UNITS; i++)
        write_unit(run, &shape, i);
    CHECK_OK(sweep_parts_merge(run, hash, &shape, UNITS, 2, values));
    CHECK_OK(sweep_file_read(run, "image", UNITS, numbers));
    CHECK_OK(sweep_file_read(run, "metrics", UNITS * 3, metrics));
    for (int64_t i = 0; i < UNITS; i++) {
        CHECK(numbers[i] == i + 1);
        CHECK(metrics[3 * i] == (double)i && isnan(metrics[3 * i + 1]));
    }
    CHECK_ERROR(sweep_file_read(run, "image", UNITS + 1, numbers), STATUS_BAD_INPUT, "expected 301 elements");
    if (keep_draws) {
        int64_t count = UNITS * shape.draws * 30;
        float *draws = calloc((size_t)count, sizeof *draws);
        CHECK_OK(sweep_file_read(run, "draws", count, draws));
        for (int64_t i = 0; i < UNITS; i++)
            CHECK(draws[i * 210] == (float)(i * 1000) && draws[i * 210 + 209] == (float)(i * 1000 + 209));
        free(draws);
    } else
        CHECK_ERROR(sweep_file_read(run, "draws", 1, numbers), STATUS_BAD_INPUT, "draws");
    CHECK_OK(sweep_parts_remove(run));
    CHECK_OK(file_join(path, run, "parts"));
    CHECK(!file_exists(path));
    CHECK_OK(sweep_parts_remove(run));
    free(numbers);
    free(metrics);
}

static void test_origin(const char *scratch) {
    char run[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    SweepOrigin written = {.units = 12,
                           .grid_hash = "00000000000000ff",
                           .source = "network",
                           .backend = "cpu",
                           .libraries = "CPU, oneDNN 1.2.3, AVX2",
                           .build = "0.1; 0123456; compiler \"12\""},
                read;
    bool found = true;
    scratch_folder(scratch, "origin", run);
    snprintf(written.checkpoint, sizeof written.checkpoint, "a \"folder\"/latest.h5");
    snprintf(written.checkpoint_checksum, sizeof written.checkpoint_checksum, "0123456789abcdef");
    CHECK_OK(sweep_origin_read(run, &read, &found));
    CHECK(!found);
    CHECK_OK(sweep_origin_write(run, &written));
    CHECK_OK(sweep_origin_read(run, &read, &found));
    CHECK(found && memcmp(&read, &written, sizeof read) == 0);
    CHECK_OK(file_join(path, run, "grid.json"));
    CHECK_OK(file_write(path, "{\"units\": 3}", 12, FILE_REPLACE));
    CHECK_ERROR(sweep_origin_read(run, &read, &found), STATUS_BAD_INPUT,
                "grid.json: damaged, or another version's: expected a text");
    CHECK_OK(file_write(path, "{\"unit", 6, FILE_REPLACE));
    CHECK_ERROR(sweep_origin_read(run, &read, &found), STATUS_BAD_INPUT, "grid.json: damaged");
}

static void test_leftovers(const char *scratch) {
    char run[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    uint8_t present[2];
    scratch_folder(scratch, "leftovers", run);
    CHECK_OK(sweep_parts_prepare(run));
    CHECK_OK(file_join(path, run, "parts/unit-00000001.h5.tmp"));
    CHECK_OK(file_write(path, "x", 1, FILE_REPLACE));
    CHECK_OK(sweep_parts_list(run, 2, present));
    CHECK(!present[0] && !present[1]);
    CHECK_OK(sweep_parts_prepare(run));
    CHECK(!file_exists(path));
}

int main(void) {
    char scratch[SCRATCH_PATH_BYTES];
    scratch_open(scratch);
    test_part(scratch);
    test_merge(scratch, true);
    test_merge(scratch, false);
    test_origin(scratch);
    test_leftovers(scratch);
    scratch_remove(scratch);
    return test_result();
}
