/* Summary files and figures of a sweep: files that read back exactly, pictures with what they should show,
 * and odd data. Numbers are made like a sweep's: scores that fall with the observed fraction, with gaps. */
#include <cJSON.h>
#include <cairo.h>
#include <stdint.h>

#include "io/file.h"
#include "io/sweep_figures.h"
#include "io/sweep_gallery.h"
#include "io/sweep_summary.h"
#include "tests/scratch.h"
#include "tests/test.h"

/* fontconfig keeps its tables until the process ends; the leak checker's own hook, unused without it. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libfontconfig\n";
}

enum { SAMPLERS = 9, FRACTIONS = 6, STATISTICS = 6, BINS = 20, WHITE = 0xffffff, MISSING = 0x7087ad };

static const char *const samplers[SAMPLERS] = {
    "exact", "dps_plus", "replace", "repaint", "guided", "guided_calibrated", "dps", "pigdm", "tds"};
static const double fractions[FRACTIONS] = {0.05, 0.1, 0.2, 0.3, 0.5, 0.7};
static const char *const statistics[STATISTICS] = {
    "missing.uncertain_pixel", "missing.certain_pixel", "missing.mean",
    "missing.projection",      "missing.squares",       "observed.pixel"};

static const SweepMetric metrics[] = {
    {"missing.pixels", "missing", "pixels of the group", SWEEP_NONE, NAN},
    {"missing.rmse", "missing", "RMSE of the mean of the draws", SWEEP_LOWER, NAN},
    {"missing.spread_skill", "missing", "spread, corrected for n, over RMSE", SWEEP_TARGET, 1},
    {"missing.coverage50", "missing", "truths inside the central 50 % interval", SWEEP_TARGET, 0.5},
    {"missing.coverage90", "missing", "truths inside the central 90 % interval", SWEEP_TARGET, 0.9},
    {"missing.crps", "missing", "continuous ranked probability score, fair", SWEEP_LOWER, NAN},
    {"missing.energy", "missing", "energy score per root pixel, fair", SWEEP_LOWER, NAN},
    {"observed.coverage90", "observed", "truths inside the central 90 % interval", SWEEP_TARGET, 0.9},
    {"observed.crps", "observed", "continuous ranked probability score, fair", SWEEP_LOWER, NAN},
    {"observed.chi_square", "observed", "mean ((y - draw) / sigma_y)^2", SWEEP_TARGET, 1},
    {"ssim", "image", "SSIM of the mean of the draws", SWEEP_HIGHER, NAN},
    {"tv", "image", "total variation: labels of the draws to exact weights", SWEEP_LOWER, NAN},
    {"tv_exact", "image", "what tv is for n exact draws, on average", SWEEP_NONE, NAN},
    {"right", "image", "share of the draws with the truth's label", SWEEP_HIGHER, NAN},
};
enum { METRICS = sizeof metrics / sizeof *metrics };

typedef struct Sweep { /* a summary and all it points to */
    SweepSummary summary;
    SweepCell cells[SAMPLERS * FRACTIONS * METRICS];
    SweepRanks ranks[SAMPLERS * STATISTICS];
    int64_t counts[SAMPLERS * STATISTICS][BINS];
    NamedValue settings[2];
} Sweep;

static Sweep sweep;
static char directory[SCRATCH_PATH_BYTES]; /* of this test */

static const char *in_directory(const char *name) {
    static char paths[4][FILE_PATH_BYTES];
    static int next;
    char *path = paths[next++ % 4];
    CHECK_OK(file_join(path, directory, name));
    return path;
}

/* In (-1, 1), the same on every run. */
static double wiggle(int a, int b, int c) {
    return sin(1.7 * a + 2.9 * b + 4.3 * c + 0.4);
}

/* A sampler's error: 0 for exact draws, 1 for the worst. */
static double badness(int sampler) {
    static const double values[SAMPLERS] = {0, 1, 0.95, 0.6, 0.1, 0.05, 0.25, 0.35, 0.15};
    return values[sampler];
}

static SweepCell make_cell(int s, int f, int m) {
    double bad = badness(s), fraction = fractions[f], noise = 0.012 * wiggle(s, f, m), mean = NAN;
    double difficulty = 0.35 * (1 - fraction) + 0.02;
    const char *name = sweep_metric_name(&metrics[m]);
    bool observed = metrics[m].group[0] == 'o';
    if (strcmp(name, "pixels") == 0)
        mean = floor(784 * (1 - fraction));
    else if (strcmp(name, "rmse") == 0)
        mean = difficulty * (1 + 0.4 * bad);
    else if (strcmp(name, "crps") == 0)
        mean = (observed ? 0.05 : 0.5 * difficulty) * (1 + 0.5 * bad);
    else if (strcmp(name, "energy") == 0)
        mean = 0.6 * difficulty * (1 + 0.6 * bad);
    else if (strcmp(name, "coverage90") == 0)
        mean = observed ? 0.9 * (1 - bad) : 0.9 - 0.03 * bad;
    else if (strcmp(name, "coverage50") == 0)
        mean = 0.5 - 0.05 * bad;
    else if (strcmp(name, "spread_skill") == 0)
        mean = 1 - 0.3 * bad;
    else if (strcmp(name, "chi_square") == 0)
        mean = pow(10, -2.2 * bad);
    else if (strcmp(name, "ssim") == 0)
        mean = 0.95 - difficulty * (0.6 + 0.5 * bad);
    else if (strcmp(name, "tv") == 0)
        mean = (0.12 + 0.75 * bad) * (1 - 0.5 * fraction);
    else if (strcmp(name, "tv_exact") == 0)
        mean = 0.12 * (1 - 0.5 * fraction);
    else if (strcmp(name, "right") == 0)
        mean = 0.9 - 0.6 * bad * (1 - 0.5 * fraction);
    mean *= 1 + noise;
    double error = 0.02 * fabs(mean) * (1.5 + wiggle(f, m, s));
    return (SweepCell){mean, error, mean - 2.02 * error, mean + 2.02 * error, 40};
}

static void make_ranks(int s, int i) {
    double bad = i == 5 || s == 1 ? badness(s) : 0.15 * badness(s);
    int64_t *counts = sweep.counts[s * STATISTICS + i];
    for (int b = 0; b < BINS; b++)
        counts[b] =
            (int64_t)(10 + 3 * wiggle(s, i, 7 * b)) + (b == 0 || b == BINS - 1 ? (int64_t)(150 * bad) : 0);
    sweep.ranks[s * STATISTICS + i] = (SweepRanks){.bins = BINS,
                                                   .counts = counts,
                                                   .p_value = bad > 0.1 ? 1e-9
                                                              : bad > 0 ? 0.004
                                                                        : 0.5 + 0.4 * wiggle(s, i, 1)};
}

/* The first so many samplers and fractions. */
static void make_sweep(int sampler_count, int fraction_count) {
    sweep.settings[0] = value_integer("sweep.draws", 19);
    sweep.settings[1] = value_text("prior", "class-gaussian");
    for (int s = 0; s < sampler_count; s++) {
        for (int f = 0; f < fraction_count; f++)
            for (int m = 0; m < METRICS; m++)
                sweep.cells[(s * fraction_count + f) * METRICS + m] = make_cell(s, f, m);
        for (int i = 0; i < STATISTICS; i++)
            make_ranks(s, i);
    }
    sweep.summary = (SweepSummary){.title = "class-Gaussian prior, 40 units of 19 draws, sigma_y = 0.1",
                                   .sampler_count = sampler_count,
                                   .fraction_count = fraction_count,
                                   .metric_count = METRICS,
                                   .statistic_count = STATISTICS,
                                   .setting_count = 2,
                                   .samplers = samplers,
                                   .fractions = fractions,
                                   .metrics = metrics,
                                   .cells = sweep.cells,
                                   .statistics = statistics,
                                   .ranks = sweep.ranks,
                                   .settings = sweep.settings};
}

/* Nine samplers, six fractions and what a sweep can lack: no exact weights for one fraction, one sampler
 * without any number, single units without an interval. */
static void make_gaps(void) {
    make_sweep(SAMPLERS, FRACTIONS);
    const SweepCell none = {NAN, NAN, NAN, NAN, 0};
    int tv = sweep_summary_find(&sweep.summary, "image", "tv");
    for (int s = 0; s < SAMPLERS; s++)
        sweep.cells[(s * FRACTIONS + 2) * METRICS + tv] = none;
    for (int f = 0; f < FRACTIONS; f++)
        for (int m = 0; m < METRICS; m++)
            sweep.cells[(3 * FRACTIONS + f) * METRICS + m] = none;
    for (int m = 0; m < METRICS; m++) {
        SweepCell *cell = &sweep.cells[(4 * FRACTIONS + 1) * METRICS + m];
        cell->standard_error = cell->low = cell->high = NAN;
    }
    sweep.cells[(5 * FRACTIONS + 5) * METRICS + 1].mean = INFINITY;
    sweep.ranks[3 * STATISTICS] = (SweepRanks){.p_value = NAN};
}

/* --- files --- */

/* The next field of a line of CSV without quotes; NaN if it is empty. */
static double next_number(char **at) {
    char *end = *at + strcspn(*at, ",\n");
    double value = end == *at ? NAN : strtod(*at, NULL);
    *at = *end ? end + 1 : end;
    return value;
}

static bool next_is(char **at, const char *text) {
    char *end = *at + strcspn(*at, ",\n");
    bool same = (size_t)(end - *at) == strlen(text) && strncmp(*at, text, strlen(text)) == 0;
    *at = *end ? end + 1 : end;
    return same;
}

/* Equal bits of a finite number; nothing for the others. */
static bool same_number(double read, double written) {
    return isfinite(written) ? read == written : isnan(read);
}

static void test_csv(void) {
    char *text = NULL, *at;
    make_gaps();
    const char *path = in_directory("summary.csv");
    CHECK_OK(sweep_summary_write_csv(path, &sweep.summary));
    CHECK_OK(file_read(path, &text, NULL));
    const char *header = "sampler,fraction,group,metric,mean,standard_error,low,high,count\n";
    CHECK(text && strncmp(text, header, strlen(header)) == 0);
    at = text + strlen(header);
    int wrong = 0;
    for (int s = 0; s < SAMPLERS; s++)
        for (int f = 0; f < FRACTIONS; f++)
            for (int m = 0; m < METRICS; m++) {
                const SweepCell *cell = sweep_summary_cell(&sweep.summary, s, f, m);
                wrong += !next_is(&at, samplers[s]);
                wrong += !same_number(next_number(&at), fractions[f]);
                wrong += !next_is(&at, metrics[m].group);
                wrong += !next_is(&at, sweep_metric_name(&metrics[m]));
                wrong += !same_number(next_number(&at), cell->mean);
                wrong += !same_number(next_number(&at), cell->standard_error);
                wrong += !same_number(next_number(&at), cell->low);
                wrong += !same_number(next_number(&at), cell->high);
                wrong += !same_number(next_number(&at), (double)cell->count);
            }
    CHECK(wrong == 0);
    CHECK(*at == 0);
    free(text);
    static const char *const awkward[] = {"a,b", "say \"x\""};
    make_sweep(2, 1);
    sweep.summary.samplers = awkward;
    CHECK_OK(sweep_summary_write_csv(path, &sweep.summary));
    CHECK_OK(file_read(path, &text, NULL));
    CHECK(text && strstr(text, "\n\"a,b\",0.05,missing,") &&
          strstr(text, "\n\"say \"\"x\"\"\",0.05,missing,"));
    free(text);
}

static void test_units(void) {
    static const char *const names[] = {"missing.crps", "tv"}, *const statistic[] = {"missing.mean"};
    const uint64_t mask_seed[] = {1, UINT64_MAX};
    const double fraction[] = {0.1, 1.0 / 3}, values[] = {0.1 + 0.2, NAN, 1e-300, 0.5};
    const int64_t image[] = {0, 1}, truth_index[] = {17, 61}, label[] = {-1, 7}, sampler[] = {1, 0},
                  ranks[] = {19, -1};
    SweepUnits units = {.count = 2,
                        .sampler_count = 2,
                        .metric_count = 2,
                        .statistic_count = 1,
                        .samplers = samplers,
                        .metrics = names,
                        .statistics = statistic,
                        .mask_seed = mask_seed,
                        .fraction = fraction,
                        .image = image,
                        .truth_index = truth_index,
                        .label = label,
                        .sampler = sampler,
                        .values = values,
                        .ranks = ranks};
    char *text = NULL;
    const char *path = in_directory("units.csv");
    CHECK_OK(sweep_units_write_csv(path, &units));
    CHECK_OK(file_read(path, &text, NULL));
    CHECK(text &&
          strcmp(text,
                 "unit,mask_seed,fraction,image,truth_index,label,sampler,missing.crps,tv,rank.missing.mean\n"
                 "0,1,0.1,0,17,-1,dps_plus,0.30000000000000004,,19\n"
                 "1,18446744073709551615,0.3333333333333333,1,61,7,exact,1e-300,0.5,-1\n") == 0);
    free(text);
    units.sampler_count = 1;
    CHECK_ERROR(sweep_units_write_csv(path, &units), STATUS_FAILURE, "unit 0 has sampler 1");
}

static const cJSON *find(const cJSON *from, const char *const *keys) {
    for (; *keys; keys++)
        from = cJSON_GetObjectItemCaseSensitive(from, *keys);
    return from;
}
#define FIND(from, ...) find(from, (const char *const[]){__VA_ARGS__, NULL})

static bool same_item(const cJSON *item, double written) {
    return isfinite(written) ? cJSON_IsNumber(item) && item->valuedouble == written : cJSON_IsNull(item);
}

static void test_json(void) {
    static const char *const keys[FRACTIONS] = {"0.05", "0.1", "0.2", "0.3", "0.5", "0.7"};
    char *text = NULL;
    make_gaps();
    const char *path = in_directory("summary.json");
    CHECK_OK(sweep_summary_write_json(path, &sweep.summary));
    CHECK_OK(file_read(path, &text, NULL));
    cJSON *root = cJSON_Parse(text);
    CHECK(cJSON_IsObject(root));
    CHECK(cJSON_GetArraySize(FIND(root, "samplers")) == SAMPLERS);
    CHECK(cJSON_GetArraySize(FIND(root, "fractions")) == FRACTIONS);
    CHECK(cJSON_GetArraySize(FIND(root, "metrics")) == METRICS);
    CHECK(same_item(FIND(root, "settings", "sweep", "draws"), 19));
    int wrong = 0;
    for (int s = 0; s < SAMPLERS; s++)
        for (int f = 0; f < FRACTIONS; f++)
            for (int m = 0; m < METRICS; m++) {
                const SweepCell *cell = sweep_summary_cell(&sweep.summary, s, f, m);
                const cJSON *item = FIND(root, "results", samplers[s], keys[f], metrics[m].group,
                                         sweep_metric_name(&metrics[m]));
                wrong += !same_item(FIND(item, "mean"), cell->mean);
                wrong += !same_item(FIND(item, "standard_error"), cell->standard_error);
                wrong += !same_item(FIND(item, "low"), cell->low);
                wrong += !same_item(FIND(item, "high"), cell->high);
                wrong += !same_item(FIND(item, "count"), (double)cell->count);
            }
    CHECK(wrong == 0);
    CHECK(same_item(FIND(root, "ranks", "dps_plus", "missing.mean", "p_value"), 1e-9));
    CHECK(cJSON_GetArraySize(FIND(root, "ranks", "dps_plus", "missing.mean", "counts")) == BINS);
    CHECK(cJSON_IsNull(FIND(root, "ranks", "repaint", "missing.uncertain_pixel", "p_value")));
    cJSON_Delete(root);
    free(text);
    CHECK_ERROR(sweep_summary_write_json(in_directory("no_folder/summary.json"), &sweep.summary),
                STATUS_BAD_INPUT, "no_folder/summary.json");
}

/* --- pictures --- */

typedef struct Picture {
    cairo_surface_t *surface;
    int width, height;
} Picture;

static Picture open_picture(const char *path) {
    Picture picture = {.surface = cairo_image_surface_create_from_png(path)};
    CHECK(cairo_surface_status(picture.surface) == CAIRO_STATUS_SUCCESS);
    picture.width = cairo_image_surface_get_width(picture.surface);
    picture.height = cairo_image_surface_get_height(picture.surface);
    return picture;
}

static uint32_t pixel_at(const Picture *picture, int x, int y) {
    const unsigned char *row = cairo_image_surface_get_data(picture->surface) +
                               (ptrdiff_t)y * cairo_image_surface_get_stride(picture->surface);
    return ((const uint32_t *)(const void *)row)[x] & WHITE;
}

/* Pixels whose red, green and blue are within 2 of the colour's: edges of rectangles need not be whole. */
static int64_t count_pixels(const Picture *picture, uint32_t color) {
    int64_t count = 0;
    for (int y = 0; y < picture->height; y++)
        for (int x = 0; x < picture->width; x++) {
            uint32_t found = pixel_at(picture, x, y);
            bool near = true;
            for (int shift = 0; shift <= 16; shift += 8)
                near &= abs((int)(found >> shift & 255) - (int)(color >> shift & 255)) <= 2;
            count += near;
        }
    return count;
}

/* Nothing touches the picture's edge: text and marks are whole. */
static bool has_white_edge(const Picture *picture) {
    bool white = true;
    for (int x = 0; x < picture->width; x++)
        white &= pixel_at(picture, x, 0) == WHITE && pixel_at(picture, x, picture->height - 1) == WHITE;
    for (int y = 0; y < picture->height; y++)
        white &= pixel_at(picture, 0, y) == WHITE && pixel_at(picture, picture->width - 1, y) == WHITE;
    return white;
}

/* Draws both figures of `sweep`, checks them and returns the height of the first. */
static int check_figures(const char *metrics_name, const char *ranks_name) {
    const char *path = in_directory(metrics_name);
    CHECK_OK(sweep_figures_metrics(path, &sweep.summary));
    Picture picture = open_picture(path);
    int height = picture.height;
    CHECK(picture.width == 1920 && has_white_edge(&picture));
    cairo_surface_destroy(picture.surface);
    path = in_directory(ranks_name);
    CHECK_OK(sweep_figures_ranks(path, &sweep.summary));
    picture = open_picture(path);
    CHECK(picture.width == 1920 && has_white_edge(&picture));
    cairo_surface_destroy(picture.surface);
    return height;
}

static void test_figures(void) {
    make_gaps();
    check_figures("metrics_9x6.png", "ranks_9x6.png");
    make_sweep(SAMPLERS, 1);
    int many = check_figures("metrics_9x1.png", "ranks_9x1.png");
    make_sweep(3, 3);
    sweep.summary.title = NULL;
    check_figures("metrics_3x3.png", "ranks_3x3.png");
    make_sweep(1, FRACTIONS);
    check_figures("metrics_1x6.png", "ranks_1x6.png");
    make_sweep(1, 1);
    sweep.summary.statistic_count = 0;
    CHECK(check_figures("metrics_1x1.png", "ranks_1x1.png") < many); /* fewer rows */
    for (int m = 0; m < METRICS; m++)
        sweep.cells[m] = (SweepCell){NAN, NAN, NAN, NAN, 0};
    sweep.summary.statistic_count = 1;
    sweep.ranks[0] = (SweepRanks){.p_value = NAN};
    CHECK(check_figures("metrics_none.png", "ranks_none.png") < many); /* nothing to show is no error */
    for (int m = 0; m < METRICS; m++)                                  /* a score that is 0 everywhere */
        sweep.cells[m] = (SweepCell){.count = 1};
    check_figures("metrics_zero.png", "ranks_zero.png");
    sweep.summary.sampler_count = 0;
    CHECK_ERROR(sweep_figures_metrics(in_directory("x.png"), &sweep.summary), STATUS_BAD_INPUT, "at least 1");
    CHECK_ERROR(sweep_figures_ranks(in_directory("x.png"), &sweep.summary), STATUS_BAD_INPUT, "at least 1");
    CHECK(!file_exists(in_directory("x.png")));
}

static void test_histogram_bars(void) {
    static int64_t flat[BINS], peaked[BINS]; /* drawn in blue, (0.10, 0.38, 0.68) */
    int64_t found[2];
    for (int b = 0; b < BINS; b++) {
        flat[b] = 20;
        peaked[b] = b < 10 ? 40 : 0;
    }
    for (int peak = 0; peak < 2; peak++) {
        make_sweep(2, 1);
        sweep.summary.samplers = samplers + 4;
        sweep.summary.sampler_count = sweep.summary.statistic_count = 1;
        sweep.ranks[0] = (SweepRanks){.bins = BINS, .counts = peak ? peaked : flat, .p_value = 0.5};
        const char *path = in_directory("bars.png");
        CHECK_OK(sweep_figures_ranks(path, &sweep.summary));
        Picture picture = open_picture(path);
        found[peak] = count_pixels(&picture, 0x1961ad);
        cairo_surface_destroy(picture.surface);
    }
    /* bars of height 2 on half of the bins stand out of the band (1 -+ 0.43) by 0.57 more, on half the width;
     * below the band, 0.57, they have half the flat ones' area: in all 0.57 / 2 + 0.57 / 2 against 0.57 */
    CHECK(found[0] > 1000);
    CHECK_NEAR((double)found[1] / (double)found[0], 1, 0.1); /* edges of bars and bands: a few percent */
}

static void make_image(float *image, int height, int width, double row, double column, double scale) {
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            double distance = hypot((y - row) / height, (x - column) / width);
            image[y * width + x] = (float)(scale * (2 * exp(-40 * pow(distance - 0.25, 2)) - 1));
        }
}

static void test_gallery(void) {
    enum { SIZE = 28, PIXELS = SIZE * SIZE, DRAWS = 19, SIDE = 5 };
    static float truth[PIXELS], mean[SAMPLERS * PIXELS], deviation[SAMPLERS * PIXELS];
    static float draws[SAMPLERS * DRAWS * PIXELS];
    static uint8_t mask[PIXELS];
    make_image(truth, SIZE, SIZE, 13.5, 13.5, 1);
    int missing = 0;
    for (int i = 0; i < PIXELS; i++) {
        mask[i] = i * 37 % 100 < 20;
        missing += !mask[i];
    }
    for (int s = 0; s < SAMPLERS; s++) {
        make_image(mean + s * PIXELS, SIZE, SIZE, 13.5 + badness(s) * 3, 13.5, 1);
        for (int i = 0; i < PIXELS; i++)
            deviation[s * PIXELS + i] =
                mask[i] ? 0 : (float)(0.2 + 0.2 * wiggle(i % SIZE / 4, i / SIZE / 4, s));
        for (int d = 0; d < DRAWS; d++)
            make_image(draws + (s * DRAWS + d) * PIXELS, SIZE, SIZE, 13.5 + 2 * wiggle(s, d, 0),
                       13.5 + 2 * wiggle(d, s, 3), 1);
    }
    SweepGallery gallery = {.title = "20 % observed, test image 7 of class 3, mask seed 1",
                            .height = SIZE,
                            .width = SIZE,
                            .truth = truth,
                            .mask = mask,
                            .observed = truth,
                            .sampler_count = SAMPLERS,
                            .draw_count = DRAWS,
                            .samplers = samplers,
                            .mean = mean,
                            .standard_deviation = deviation,
                            .draws = draws};
    const char *path = in_directory("gallery_9.png");
    CHECK_OK(sweep_gallery_write(path, &gallery));
    Picture picture = open_picture(path);
    CHECK(has_white_edge(&picture));
    int64_t found = count_pixels(&picture, MISSING), expected = (int64_t)missing * SIDE * SIDE;
    CHECK(found >= expected && found < expected + 400); /* and the legend's square of 16 x 16 */
    cairo_surface_destroy(picture.surface);
    gallery.sampler_count = gallery.draw_count = 1; /* small images, one draw, values beyond [-1, 1] */
    gallery.height = gallery.width = 4;
    gallery.scale = 2.5;
    gallery.title = NULL;
    path = in_directory("gallery_1.png");
    CHECK_OK(sweep_gallery_write(path, &gallery));
    picture = open_picture(path);
    CHECK(has_white_edge(&picture));
    cairo_surface_destroy(picture.surface);
    gallery.draw_count = 0;
    gallery.draws = NULL;
    CHECK_OK(sweep_gallery_write(path, &gallery)); /* draws that were not kept */
    gallery.sampler_count = 0;
    CHECK_ERROR(sweep_gallery_write(path, &gallery), STATUS_BAD_INPUT, "at least 1");
}

/* With an argument: leaves the files in that folder, to be looked at. */
int main(int count, char **arguments) {
    if (count > 1)
        snprintf(directory, sizeof directory, "%s", arguments[1]);
    else
        scratch_open(directory);
    test_csv();
    test_units();
    test_json();
    test_figures();
    test_histogram_bars();
    test_gallery();
    if (count <= 1)
        scratch_remove(directory);
    return test_result();
}
