/* The report of a sweep from parts made here: means, standard errors and ranks against sums by hand, and the
 * files that should be there. */
#include <cJSON.h>

#include "commands/sweep_report.h"
#include "diffusion/ensemble.h"
#include "diffusion/rank_statistics.h"
#include "io/file.h"
#include "tests/scratch.h"
#include "tests/test.h"

/* fontconfig keeps its tables until the process ends; the leak checker's own hook, unused without it. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libfontconfig\n";
}

enum { SAMPLERS = 2, FRACTIONS = 2, IMAGES = 12, UNITS = SAMPLERS * FRACTIONS * IMAGES, DRAWS = 4, SIDE = 4 };

static const char *const samplers[SAMPLERS] = {"exact", "guided"};
static const double fractions[FRACTIONS] = {0.5, 0.25}; /* not in order: the report sorts */
static const SweepShape shape = {.height = SIDE,
                                 .width = SIDE,
                                 .draws = DRAWS,
                                 .metrics = ENSEMBLE_METRIC_COUNT,
                                 .statistics = RANK_STATISTIC_COUNT,
                                 .labels = 0,
                                 .keep_draws = true};

/* The value of every measure of a unit, but for spread and RMSE. */
static double score(int sampler, int fraction, int image) {
    return 1 + sampler + 10 * fraction + 0.1 * image * image;
}

static void fill_unit(SweepUnit *unit, int64_t number) {
    int sampler = (int)(number % SAMPLERS), image = (int)(number / SAMPLERS % IMAGES);
    int fraction = (int)(number / SAMPLERS / IMAGES);
    unit->number = number;
    unit->mask_seed = 5;
    unit->fraction = fractions[fraction];
    unit->image = image;
    unit->truth_index = 100 + image;
    unit->label = -1;
    unit->sampler = sampler;
    for (int m = 0; m < ENSEMBLE_METRIC_COUNT; m++)
        unit->metrics[m] = score(sampler, fraction, image);
    unit->metrics[ENSEMBLE_MISSING_SPREAD] = image % 2 ? 3 : 1;
    unit->metrics[ENSEMBLE_MISSING_RMSE] = image % 2 ? 1 : 2;
    unit->metrics[ENSEMBLE_IMAGE_TV] = sampler == 1 && image == 3 ? NAN : 0.5;
    for (int i = 0; i < RANK_STATISTIC_COUNT; i++)
        unit->ranks[i] = image % (DRAWS + 1);
    for (int p = 0; p < SIDE * SIDE; p++) {
        unit->truth[p] = (float)(p - 8);
        unit->mask[p] = p % 2;
    }
}

static void write_parts(const char *run) {
    SweepUnit *unit = NULL;
    CHECK_OK(sweep_parts_prepare(run));
    CHECK_OK(sweep_unit_create(&shape, &unit));
    for (int64_t u = 0; u < UNITS; u++) {
        fill_unit(unit, u);
        CHECK_OK(sweep_part_write(run, "0123456789abcdef", &shape, unit));
    }
    sweep_unit_destroy(unit);
    CHECK_OK(sweep_parts_merge(run, "0123456789abcdef", &shape, UNITS, 0, NULL));
}

static const cJSON *find(const cJSON *from, const char *const *keys) {
    for (; *keys; keys++)
        from = cJSON_GetObjectItemCaseSensitive(from, *keys);
    return from;
}
#define FIND(from, ...) find(from, (const char *const[]){__VA_ARGS__, NULL})

static double value(const cJSON *item) {
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static void check_summary(const char *run) {
    char path[FILE_PATH_BYTES], *text = NULL;
    CHECK_OK(file_join(path, run, "summary.json"));
    CHECK_OK(file_read(path, &text, NULL));
    cJSON *root = cJSON_Parse(text);
    CHECK_NEAR(value(cJSON_GetArrayItem(FIND(root, "fractions"), 0)), 0.25, 0);
    const double rounding = 1e-12; /* sums of 12 numbers below 30 in double precision */
    for (int s = 0; s < SAMPLERS; s++)
        for (int f = 0; f < FRACTIONS; f++) {
            double sum = 0, squares = 0;
            for (int i = 0; i < IMAGES; i++)
                sum += score(s, f, i);
            for (int i = 0; i < IMAGES; i++)
                squares += pow(score(s, f, i) - sum / IMAGES, 2);
            double error = sqrt(squares / (IMAGES - 1) / IMAGES);
            const cJSON *missing = FIND(root, "results", samplers[s], f == 0 ? "0.5" : "0.25", "missing");
            CHECK_NEAR(value(FIND(missing, "crps", "mean")), sum / IMAGES, rounding);
            CHECK_NEAR(value(FIND(missing, "crps", "standard_error")), error, rounding);
            /* t of 11 degrees of freedom at 0.975; student_quantile has its three decimals */
            CHECK_NEAR(value(FIND(missing, "crps", "high")), sum / IMAGES + 2.201 * error, 5e-4 * error);
            /* (5/4) mean(9, 1) / mean(1, 4), not the mean of 3 and 1/2 */
            CHECK_NEAR(value(FIND(missing, "spread_skill", "mean")), sqrt(1.25 * 5 / 2.5), rounding);
        }
    CHECK_NEAR(value(FIND(root, "results", "guided", "0.5", "image", "tv", "count")), IMAGES - 1, 0);
    /* one unit of each truth, though there are two: 12 ranks, in two bins that hold three and two of the five
     */
    const cJSON *counts = FIND(root, "ranks", "exact", "missing.mean", "counts");
    double total = 0;
    for (int b = 0; b < cJSON_GetArraySize(counts); b++)
        total += value(cJSON_GetArrayItem(counts, b));
    CHECK_NEAR(total, IMAGES, 0);
    cJSON_Delete(root);
    free(text);
}

int main(void) {
    char scratch[SCRATCH_PATH_BYTES], run[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    static const char *const files[] = {"summary.csv",
                                        "units.csv",
                                        "figures/sweep_metrics.png",
                                        "figures/sweep_ranks.png",
                                        "figures/sweep_gallery_25.png",
                                        "figures/sweep_gallery_50.png"};
    scratch_open(scratch);
    scratch_folder(scratch, "run", run);
    write_parts(run);
    SweepReport report = {.run_directory = run,
                          .grid_hash = "0123456789abcdef",
                          .shape = &shape,
                          .units = UNITS,
                          .samplers = samplers,
                          .sampler_count = SAMPLERS,
                          .title = "made up",
                          .galleries = true};
    CHECK_OK(sweep_report_write(&report));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        CHECK_OK(file_join(path, run, files[i]));
        CHECK(file_exists(path));
    }
    check_summary(run);
    SweepShape other = shape;
    other.metrics--;
    report.shape = &other;
    CHECK_ERROR(sweep_report_write(&report), STATUS_FAILURE, "metrics");
    scratch_remove(scratch);
    return test_result();
}
