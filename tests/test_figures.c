/* Plots, image grids, the posterior figure, the schematic and the dashboard: files that can be read back,
 * pixels where they belong, and odd input. */
#define _GNU_SOURCE /* nftw */
#include <cairo.h>
#include <limits.h>
#include <stdint.h>

#include "core/log.h"
#include "io/axis.h"
#include "io/canvas.h"
#include "io/dashboard.h"
#include "io/figures.h"
#include "io/file.h"
#include "io/loss_series.h"
#include "io/metrics.h"
#include "io/plot.h"
#include "io/schematic.h"
#include "tests/scratch.h"
#include "tests/test.h"

enum {
    WHITE = 0xffffff,
    BLACK = 0,
    MISSING = 0x7087ad
}; /* the last: blue-grey, as the figure's legend says */

/* fontconfig keeps its tables until the process ends; the leak checker's own hook, unused without it. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libfontconfig\n";
}

typedef struct Picture {
    cairo_surface_t *surface;
    int width, height;
} Picture;

static char directory[SCRATCH_PATH_BYTES], outputs[FILE_PATH_BYTES], page[FILE_PATH_BYTES]; /* of this test */

static const char *in_directory(const char *name) {
    static char paths[4][FILE_PATH_BYTES];
    static int next;
    char *path = paths[next++ % 4];
    CHECK_OK(file_join(path, directory, name));
    return path;
}

/* Decodes a PNG, which checks its signature, chunks and checksums. */
static Picture open_picture(const char *path) {
    Picture picture = {.surface = cairo_image_surface_create_from_png(path)};
    CHECK(cairo_surface_status(picture.surface) == CAIRO_STATUS_SUCCESS);
    picture.width = cairo_image_surface_get_width(picture.surface);
    picture.height = cairo_image_surface_get_height(picture.surface);
    return picture;
}

static void close_picture(Picture *picture) {
    cairo_surface_destroy(picture->surface);
}

static uint32_t pixel_at(const Picture *picture, int x, int y) {
    if (x < 0 || y < 0 || x >= picture->width || y >= picture->height)
        return UINT32_MAX;
    const unsigned char *row = cairo_image_surface_get_data(picture->surface) +
                               (ptrdiff_t)y * cairo_image_surface_get_stride(picture->surface);
    return ((const uint32_t *)(const void *)row)[x] & WHITE;
}

static int64_t count_pixels(const Picture *picture, int x0, int y0, int x1, int y1, uint32_t color) {
    int64_t count = 0;
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++)
            count += pixel_at(picture, x, y) == color;
    return count;
}

static bool is_dark_blue(uint32_t color) {
    return (color >> 16 & 255) < 60 && (color & 255) > 120;
}

/* Rows of the strong line in the column x; -1 if it is not there. */
static int line_row(const Picture *picture, int x) {
    for (int y = 0; y < picture->height; y++)
        if (is_dark_blue(pixel_at(picture, x, y)) && y > picture->height / 4) /* below the legend */
            return y;
    return -1;
}

static void test_axis(void) {
    AxisTick ticks[AXIS_TICKS_MAX];
    Axis axis = {.low = 0, .high = 37520, .integer = true};
    int count = axis_ticks(&axis, 6, ticks);
    CHECK(count == 4);
    CHECK(strcmp(ticks[0].label, "0") == 0 && strcmp(ticks[3].label, "30,000") == 0);
    axis = (Axis){.low = 1, .high = 3, .integer = true};
    CHECK(axis_ticks(&axis, 6, ticks) == 3); /* no epoch 1.5 */
    axis = (Axis){.low = -0.1, .high = 0.1};
    count = axis_ticks(&axis, 4, ticks);
    CHECK(count == 5 && strcmp(ticks[0].label, "−0.10") == 0 && strcmp(ticks[2].label, "0.00") == 0);
    axis = (Axis){.low = 0.02, .high = 1.2, .log10 = true};
    count = axis_ticks(&axis, 6, ticks);
    int labelled = 0;
    for (int i = 0; i < count; i++) {
        labelled += ticks[i].labelled;
        CHECK(ticks[i].value >= 0.02 * (1 - 1e-6) && ticks[i].value <= 1.2);
        CHECK(i == 0 || ticks[i].value > ticks[i - 1].value);
    }
    CHECK(labelled >= 3 && labelled <= 8);
    axis = (Axis){.low = 1e-12, .high = 1e12, .log10 = true};
    count = axis_ticks(&axis, 6, ticks);
    CHECK(count >= 4 && count <= 8 && strstr(ticks[0].label, "×10⁻"));
    CHECK_NEAR(axis_position(&axis, 1), 0.5, 1e-12); /* double rounding of two logarithms */
    CHECK(isnan(axis_position(&axis, -1)));
}

static void test_line_position(void) {
    enum { COUNT = 101 };
    double x[COUNT], y[COUNT];
    for (int i = 0; i < COUNT; i++) {
        x[i] = i;
        y[i] = i == 50 ? NAN : i == 51 ? INFINITY : i;
    }
    PlotSeries series = {.x = x, .y = y, .count = COUNT, .style = PLOT_STRONG};
    Plot plot = {
        .series = &series, .series_count = 1, .y_low = 0, .y_high = 100, .width = 400, .height = 300};
    const char *path = in_directory("line.png");
    CHECK_OK(plot_write(path, &plot));
    Picture picture = open_picture(path);
    CHECK(picture.width == 800 && picture.height == 600);
    CHECK(pixel_at(&picture, 0, 0) == WHITE);
    int early = line_row(&picture, 250), late = line_row(&picture, 600);
    CHECK(early > 0 && late > 0 && late < early); /* rises to the right */
    int gaps = 0, columns = 0;
    for (int column = 250; column < 600; column++) {
        columns++;
        gaps += line_row(&picture, column) < 0;
    }
    CHECK(gaps >= 10 && gaps < columns / 5); /* 49 to 52 of 100 are missing on some 720 columns */
    close_picture(&picture);
}

static void test_plots_of_odd_data(void) {
    double x[4] = {1, 2, 3, 4}, equal[4] = {0.5, 0.5, 0.5, 0.5}, none[4] = {NAN, NAN, INFINITY, -INFINITY};
    double zero[4] = {0, 0, 0, 0}, huge[4] = {1e-300, 1e300, 1, -1e300};
    double *values[] = {equal, none, zero, huge};
    for (int v = 0; v < 4; v++)
        for (int scale = PLOT_LINEAR; scale <= PLOT_LOG10; scale++)
            for (int count = 0; count <= 4; count += count == 1 ? 3 : 1) {
                PlotSeries series = {.label = "ε",
                                     .x = x,
                                     .y = values[v],
                                     .low = values[v],
                                     .high = values[v],
                                     .count = count,
                                     .markers = true};
                Plot plot = {.title = "title",
                             .x_label = "x",
                             .y_label = "y",
                             .y_scale = (PlotScale)scale,
                             .series = &series,
                             .series_count = 1,
                             .width = 200,
                             .height = 150};
                const char *path = in_directory("odd.png");
                CHECK_OK(plot_write(path, &plot));
                Picture picture = open_picture(path);
                CHECK(picture.width == 400 && picture.height == 300);
                close_picture(&picture);
            }
    Plot wrong = {.y_low = 2, .y_high = 1};
    CHECK_ERROR(plot_write(in_directory("wrong.png"), &wrong), STATUS_BAD_INPUT, "limits");
    wrong = (Plot){.y_low = 0, .y_high = 1, .y_scale = PLOT_LOG10};
    CHECK_ERROR(plot_write(in_directory("wrong.png"), &wrong), STATUS_BAD_INPUT, "logarithmic");
    CHECK(!file_exists(in_directory("wrong.png")));
}

static void test_loss_steps(void) {
    enum { COUNT = 2000 };
    static int64_t steps[COUNT];
    static double loss[COUNT];
    double largest = 0;
    for (int i = 0; i < COUNT; i++) {
        steps[i] = i + 1;
        loss[i] = (0.05 + 0.95 * exp(-i / 18.0)) * (1 + 0.1 * sin(i * 1.7));
        largest = fmax(largest, loss[i]);
    }
    loss[1000] = NAN;
    LossLimits limits; /* the first steps' loss of 1 must not squash the rest */
    CHECK_OK(loss_series_limits(loss, COUNT, &limits));
    CHECK(limits.low > 0.03 && limits.low < 0.045 && limits.high > 0.1 && limits.high < 0.3);
    CHECK_NEAR(limits.largest, largest, 0);
    CHECK(limits.above > 10 && limits.above <= 30); /* at most 1.5 % of the steps */
    double smooth[5], rough[5] = {1, 2, NAN, 4, 5};
    loss_series_smooth(rough, 5, 3, smooth);
    CHECK_NEAR(smooth[0], 1.5, 0);
    CHECK_NEAR(smooth[1], 1.5, 0);
    CHECK_NEAR(smooth[2], 3, 0);
    CHECK_NEAR(smooth[4], 4.5, 0);
    const char *path = in_directory("loss_steps.png");
    CHECK_OK(figures_loss_steps(path, steps, loss, COUNT));
    Picture picture = open_picture(path);
    CHECK(picture.width == 1440 && picture.height == 864);
    CHECK(line_row(&picture, picture.width / 2) > picture.height / 2); /* at its final level by then */
    close_picture(&picture);
    CHECK_OK(figures_loss_steps(path, steps, loss, 1));
    CHECK_OK(figures_loss_steps(path, NULL, NULL, 0));
    int64_t epochs[2] = {1, 2};
    double train[2] = {0.1, 0.05}, validation[2] = {NAN, 0.06};
    path = in_directory("loss_epochs.png");
    CHECK_OK(figures_loss_epochs(path, epochs, train, validation, 2));
    CHECK_OK(figures_loss_epochs(path, epochs, train, NULL, 1));
    CHECK_OK(figures_loss_epochs(path, NULL, NULL, NULL, 0));
    picture = open_picture(path);
    close_picture(&picture);
}

enum { MARGIN_PIXELS = 12, GAP = 4 }; /* of an image grid */

static void test_image_grid(void) {
    enum { COUNT = 7, HEIGHT = 28, WIDTH = 28, SIDE = 4, COLUMNS = 3 };
    static float images[COUNT * HEIGHT * WIDTH];
    for (int i = 0; i < COUNT * HEIGHT * WIDTH; i++)
        images[i] = i / (HEIGHT * WIDTH) % 2 ? 1.7F : -3.0F; /* clamped: even black, odd white */
    images[0] = 0;                                           /* (0, 0) of the first: mid-grey */
    images[WIDTH + 2] = NAN;
    const char *path = in_directory("grid.png");
    CHECK_OK(figures_image_grid(path, images, COUNT, HEIGHT, WIDTH, COLUMNS, NULL));
    Picture picture = open_picture(path);
    int step = WIDTH * SIDE + GAP;
    CHECK(picture.width == 2 * MARGIN_PIXELS + COLUMNS * step - GAP);
    CHECK(picture.height == 2 * MARGIN_PIXELS + 3 * step - GAP);
    for (int i = 0; i < COUNT; i++) {
        int x = MARGIN_PIXELS + i % COLUMNS * step, y = MARGIN_PIXELS + i / COLUMNS * step;
        int64_t odd_ones = i == 0 ? 2 * SIDE * SIDE : 0;
        CHECK(count_pixels(&picture, x, y, x + WIDTH * SIDE, y + HEIGHT * SIDE, i % 2 ? WHITE : BLACK) ==
              (int64_t)WIDTH * HEIGHT * SIDE * SIDE - odd_ones);
    }
    CHECK(count_pixels(&picture, MARGIN_PIXELS, MARGIN_PIXELS, MARGIN_PIXELS + SIDE, MARGIN_PIXELS + SIDE,
                       0x808080) == SIDE * SIDE);
    uint32_t not_finite = pixel_at(&picture, MARGIN_PIXELS + 2 * SIDE, MARGIN_PIXELS + SIDE);
    CHECK((not_finite >> 16) > 200 && (not_finite & 255) < 60);
    CHECK(pixel_at(&picture, MARGIN_PIXELS + WIDTH * SIDE, MARGIN_PIXELS) == WHITE); /* the gap */
    CHECK(pixel_at(&picture, MARGIN_PIXELS + step, MARGIN_PIXELS + 2 * step) ==
          WHITE); /* the eighth place is empty */
    close_picture(&picture);
}

static void test_image_grid_sizes(void) {
    static const int sizes[][4] = {
        {1, 28, 28, 8}, {1, 1, 1, 1}, {3, 5, 13, 2}, {2, 200, 3, 100}, {1, 3, 300, 1}};
    static float images[2 * 28 * 28];
    const char *path = in_directory("sizes.png");
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int count = sizes[s][0], height = sizes[s][1], width = sizes[s][2];
        CHECK_OK(
            figures_image_grid(path, images, count, height, width, sizes[s][3], s % 2 ? NULL : "a title"));
        Picture picture = open_picture(path);
        int side = (112 + width - 1) / width, columns = sizes[s][3] < count ? sizes[s][3] : count;
        int grid_width = columns * (width * side + GAP) - GAP + 2 * MARGIN_PIXELS;
        CHECK(picture.width >= grid_width);
        close_picture(&picture);
    }
    CHECK_ERROR(figures_image_grid(path, images, 0, 28, 28, 8, NULL), STATUS_BAD_INPUT, "at least 1");
    CHECK_ERROR(figures_image_grid(path, images, 1, 0, 28, 8, NULL), STATUS_BAD_INPUT, "at least 1");
    CHECK_ERROR(figures_image_grid(path, images, 1, 28, 28, 0, NULL), STATUS_BAD_INPUT, "at least 1");
    float *many = NULL; /* more than are drawn */
    CHECK_OK(ALLOCATE(&many, FIGURES_SAMPLES_MAX + 1));
    CHECK_OK(figures_samples(path, many, FIGURES_SAMPLES_MAX + 1, 1, 1, "samples"));
    free(many);
    CHECK_ERROR(figures_image_grid(path, images, INT_MAX, 28, 28, 1, NULL), STATUS_FAILURE, "can be drawn");
}

static void test_posterior(void) {
    enum { SIZE = 28, PIXELS = SIZE * SIZE, DRAWS = 70, SIDE = 10, LEFT = 32, TOP = 124, STEP = 312 };
    static float image[PIXELS], spread[PIXELS], draws[DRAWS * PIXELS];
    static uint8_t mask[PIXELS];
    for (int i = 0; i < PIXELS; i++) {
        image[i] = -1;
        mask[i] = i % SIZE < SIZE / 2; /* the left half is observed, and black */
        spread[i] = mask[i] ? 0 : 0.5F;
    }
    FiguresPosterior figure = {.truth = image,
                               .mask = mask,
                               .observed = image,
                               .mean = image,
                               .standard_deviation = spread,
                               .draws = draws,
                               .count = 1,
                               .height = SIZE,
                               .width = SIZE,
                               .caption = "guided, 50 % observed"};
    const char *path = in_directory("posterior.png");
    CHECK_OK(figures_posterior(path, &figure));
    Picture picture = open_picture(path);
    int64_t half = (int64_t)PIXELS * SIDE * SIDE / 2;
    int mask_x = LEFT + STEP, observed_x = LEFT + 2 * STEP, bottom = TOP + SIZE * SIDE, width = SIZE * SIDE;
    CHECK(count_pixels(&picture, LEFT, TOP, LEFT + width, bottom, BLACK) == 2 * half);
    CHECK(count_pixels(&picture, mask_x, TOP, mask_x + width / 2, bottom, WHITE) == half);
    CHECK(count_pixels(&picture, mask_x + width / 2, TOP, mask_x + width, bottom, BLACK) == half);
    CHECK(count_pixels(&picture, observed_x, TOP, observed_x + width / 2, bottom, BLACK) == half);
    CHECK(count_pixels(&picture, observed_x + width / 2, TOP, observed_x + width, bottom, MISSING) == half);
    uint32_t largest = pixel_at(&picture, LEFT + 4 * STEP + width - 1, TOP);
    CHECK((largest >> 16) > 240 && (largest >> 8 & 255) > 240); /* the colour scale's pale end */
    int one_row = picture.height;
    close_picture(&picture);

    figure.count = DRAWS; /* more than are shown; and nothing finite to scale by */
    for (int i = 0; i < PIXELS; i++)
        spread[i] = NAN;
    CHECK_OK(figures_posterior(path, &figure));
    picture = open_picture(path);
    CHECK(picture.height > one_row);
    close_picture(&picture);
    figure.height = 3;
    figure.width = 7;
    figure.caption = NULL;
    CHECK_OK(figures_posterior(path, &figure));
    figure.count = 0;
    CHECK_ERROR(figures_posterior(path, &figure), STATUS_BAD_INPUT, "at least 1");
}

static void test_unwritable(void) {
    float image = 0;
    Plot plot = {0};
    const char *file = in_directory("a_file"), *path = in_directory("missing_directory/x.png");
    char below_file[FILE_PATH_BYTES];
    CHECK_OK(file_write(file, "x", 1, FILE_REPLACE));
    CHECK_OK(file_join(below_file, file, "x.png"));
    CHECK_ERROR(figures_image_grid(path, &image, 1, 1, 1, 1, NULL), STATUS_BAD_INPUT,
                "missing_directory/x.png");
    CHECK_ERROR(plot_write(below_file, &plot), STATUS_BAD_INPUT, "a_file/x.png");
    CHECK_ERROR(schematic_write("digraph {}", path), STATUS_BAD_INPUT, "missing_directory/x");
    CHECK_ERROR(dashboard_write(in_directory("missing_directory"), "run"), STATUS_BAD_INPUT,
                "dashboard.html");
}

static bool text_has(const char *path, const char *part) {
    char *text = NULL;
    CHECK_OK(file_read(path, &text, NULL));
    bool has = text && strstr(text, part);
    free(text);
    return has;
}

static void test_schematic(void) {
    const char *svg = in_directory("unet.svg");
    char *search_path = strdup(getenv("PATH") ? getenv("PATH") : "");
    CHECK_OK(setenv("PATH", directory, 1) == 0 ? STATUS_OK : STATUS_FAILURE);
    CHECK_OK(schematic_write("digraph { a -> b }", svg)); /* no program dot: said, not failed */
    CHECK(text_has(in_directory("unet.dot"), "a -> b"));
    CHECK(!file_exists(svg));
    setenv("PATH", search_path, 1);
    free(search_path);
    CHECK_OK(schematic_write("digraph { a -> c }", svg));
    CHECK(text_has(in_directory("unet.dot"), "a -> c"));
    if (!file_exists(svg)) {
        printf("skipped: what dot draws, because it is not installed\n");
        return;
    }
    CHECK(text_has(svg, "<svg"));
    CHECK_ERROR(schematic_write("digraph { a -> ", svg), STATUS_FAILURE, "syntax error");
    CHECK(text_has(svg, "</svg>") && !file_exists(in_directory("unet.svg.tmp"))); /* the good one is kept */
}

static void make_run(const char *name, RunState state, const char *message) {
    char run[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    CHECK_OK(file_join(run, outputs, name));
    CHECK_OK(file_join(path, run, "figures"));
    CHECK_OK(file_make_directories(path));
    RunStatus status = {.state = state,
                        .command = "train",
                        .step = 1234,
                        .total_steps = 2468,
                        .loss = 0.0625,
                        .images_per_s = 1500,
                        .eta_s = 61,
                        .ranks = 2,
                        .threads = 3,
                        .device = "cpu <b>",
                        .gpu_seconds = NAN};
    snprintf(status.message, sizeof status.message, "%s", message);
    CHECK_OK(status_write(run, &status));
}

static void write_in_run(const char *run, const char *name, const char *text) {
    char directory_path[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    CHECK_OK(file_join(directory_path, outputs, run));
    CHECK_OK(file_join(path, directory_path, name));
    CHECK_OK(file_write(path, text, strlen(text), FILE_REPLACE));
}

static void write_steps(const char *run, int64_t count) {
    StepsLog *log = NULL;
    char directory_path[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    CHECK_OK(file_join(directory_path, outputs, run));
    CHECK_OK(file_join(path, directory_path, "steps.jsonl"));
    CHECK_OK(steps_log_open(path, 0, &log));
    for (int64_t i = 1; i <= count; i++) {
        StepRecord record = {.step = i, .loss = i % 97 == 0 ? NAN : 0.05 + 1.0 / (double)i};
        CHECK_OK(steps_log_append(log, &record));
    }
    CHECK_OK(steps_log_close(log));
}

static void test_dashboard_running(void) {
    make_run("run-1", RUN_RUNNING, "");
    write_steps("run-1", 5000);
    write_in_run("run-1", "config.json", "{\"data.dir\": \"</pre><script>alert('x')</script>&\"}");
    float image = 1;
    char path[FILE_PATH_BYTES];
    CHECK_OK(file_join(path, outputs, "run-1/figures/samples.png"));
    CHECK_OK(figures_image_grid(path, &image, 1, 1, 1, 1, NULL));
    write_in_run("run-1", "figures/a\"b<c>#?.png", "not a picture");
    write_in_run("run-1", "figures/half.png.tmp", "");
    CHECK_OK(dashboard_write(outputs, "run-1"));
    CHECK(text_has(page, "http-equiv=\"refresh\" content=\"5\""));
    CHECK(text_has(page, "class=\"state running\" data-news=\"2") && text_has(page, "<title>run-1 50 %"));
    CHECK(text_has(page, "No news for") && text_has(page, "the same command with --run run-1 continues it"));
    CHECK(text_has(page, "1,234 of 2,468 steps (50 %)") && text_has(page, "1 min 01 s left"));
    CHECK(text_has(page, "width:50.00%") && text_has(page, "0.0625") && text_has(page, "1,500 images/s"));
    CHECK(text_has(page, "2 × 3") && text_has(page, "cpu &#60;b&#62;"));
    CHECK(text_has(page, "<svg") && text_has(page, "class=\"smooth\" d=\"M"));
    CHECK(!text_has(page, "nan") && !text_has(page, "inf"));
    CHECK(!text_has(page, "<script>alert") &&
          text_has(page, "&#60;/pre&#62;&#60;script&#62;alert(&#39;x&#39;)"));
    CHECK(text_has(page, "src=\"run-1/figures/samples.png?") && text_has(page, "loading=\"lazy\""));
    CHECK(text_has(page, "run-1/figures/a%22b%3Cc%3E%23%3F.png?") && text_has(page, "a&#34;b&#60;c&#62;#?"));
    CHECK(!text_has(page, "half.png") && !text_has(page, "Other runs"));
    CHECK(!text_has(page, "http:") && !text_has(page, "https:")); /* nothing over a network */
    char *text = NULL;
    size_t bytes = 0;
    CHECK_OK(file_read(page, &text, &bytes));
    CHECK(bytes < 60000); /* 5,000 steps are drawn by some 900 points of about 12 bytes */
    free(text);
}

static void test_dashboard_ended(void) {
    make_run("run-2", RUN_COMPLETED, "");
    write_in_run("run-2", "metrics.json",
                 "{\"total_steps\": 37520, \"missing\": {\"rmse\": 0.25}, \"<i>\": \"<u>\"}");
    CHECK_OK(dashboard_write(outputs, "run-2"));
    CHECK(text_has(page, "class=\"state completed\">") && !text_has(page, "http-equiv=\"refresh\""));
    CHECK(!text_has(page, "No news") &&
          text_has(page, "class=\"state running\" data-news=\"2")); /* run-1's */
    CHECK(text_has(page, "missing.rmse</th><td>0.25<") && text_has(page, "<td>37520<"));
    CHECK(text_has(page, "&#60;i&#62;") && !text_has(page, "<u>"));
    CHECK(text_has(page, "Other runs") && text_has(page, "href=\"run-1/\"") && !text_has(page, "<svg"));
    make_run("run-3", RUN_FAILED, "rank 1: loss is <nan> & gone");
    CHECK_OK(dashboard_write(outputs, "run-3"));
    CHECK(text_has(page, "class=\"state failed\"") && !text_has(page, "http-equiv=\"refresh\""));
    CHECK(text_has(page, "rank 1: loss is &#60;nan&#62; &#38; gone"));
    make_run("run-4", RUN_INTERRUPTED, "SIGUSR1");
    CHECK_OK(dashboard_write(outputs, "run-4"));
    CHECK(text_has(page, "class=\"state interrupted\"") && !text_has(page, "http-equiv=\"refresh\""));
}

static void test_dashboard_missing_and_damaged(void) {
    CHECK_OK(dashboard_write(outputs, "just-begun")); /* not even its directory is there */
    CHECK(text_has(page, "starting") && text_has(page, "http-equiv=\"refresh\""));
    make_run("run-5", RUN_RUNNING, "");
    write_in_run("run-5", "steps.jsonl", "");
    write_in_run("run-5", "metrics.json", "{\"torn");
    CHECK_OK(dashboard_write(outputs, "run-5"));
    CHECK(!text_has(page, "<svg") && text_has(page, "metrics.json cannot be read"));
    write_in_run("run-5", "status.json", "{\"state\": \"<odd>\"}");
    CHECK_OK(dashboard_write(outputs, "run-5"));
    CHECK(text_has(page, "class=\"state unknown\"") && text_has(page, "&#60;odd&#62;"));
    CHECK(!text_has(page, "http-equiv=\"refresh\""));
    write_steps("run-4", 1);
    CHECK_OK(dashboard_write(outputs, "run-4"));
    CHECK(text_has(page, "class=\"smooth\" d=\"M") && !text_has(page, "nan"));
}

int main(void) {
    log_start(0, 1, false);
    scratch_open(directory);
    CHECK_OK(file_join(outputs, directory, "outputs"));
    CHECK_OK(file_join(page, outputs, "dashboard.html"));
    CHECK_OK(file_make_directories(outputs));
    test_axis();
    test_line_position();
    test_plots_of_odd_data();
    test_loss_steps();
    test_image_grid();
    test_image_grid_sizes();
    test_posterior();
    test_unwritable();
    test_schematic();
    test_dashboard_running();
    test_dashboard_ended();
    test_dashboard_missing_and_damaged();
    if (test_failures)
        printf("the files are kept in %s\n", directory);
    else
        scratch_remove(directory);
    return test_result();
}
