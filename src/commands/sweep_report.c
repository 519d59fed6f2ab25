#include "commands/sweep_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "diffusion/ensemble.h"
#include "diffusion/ensemble_summary.h"
#include "diffusion/rank_histogram.h"
#include "diffusion/rank_statistics.h"
#include "io/sweep_figures.h"
#include "io/sweep_gallery.h"
#include "io/sweep_summary.h"

enum { METRICS = ENSEMBLE_METRIC_COUNT, STATISTICS = RANK_STATISTIC_COUNT, TITLE_BYTES = 256 };

/* Truths that go beyond this are no images with black at -1 and white at 1. */
static const double image_limit = 1.5;

/* What sweep.h5 holds but for images, and what is made of it. */
typedef struct Table {
    uint64_t *mask_seed;                  /* (units) */
    double *fraction, *values;            /* (units), (units, METRICS) */
    int64_t *image, *truth_index, *label; /* (units) */
    int64_t *sampler, *ranks;             /* (units), (units, STATISTICS) */
    double *fractions;                    /* (fraction_count), increasing */
    int fraction_count;
    double *column, *divisor;  /* (units), scratch */
    int64_t *clusters;         /* likewise */
    int32_t *rank_column;      /* likewise */
    SweepCell *cells;          /* (samplers, fractions, METRICS) */
    RankHistogram *histograms; /* (samplers, STATISTICS) */
    SweepRanks *sweep_ranks;   /* (samplers, STATISTICS) */
    SweepMetric metrics[METRICS];
    const char *metric_names[METRICS], *statistics[STATISTICS];
} Table;

static void table_destroy(Table *table) {
    free(table->mask_seed);
    free(table->fraction);
    free(table->values);
    free(table->image);
    free(table->truth_index);
    free(table->label);
    free(table->sampler);
    free(table->ranks);
    free(table->fractions);
    free(table->column);
    free(table->divisor);
    free(table->clusters);
    free(table->rank_column);
    free(table->cells);
    free(table->histograms);
    free(table->sweep_ranks);
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The distinct fractions. */
static Status find_fractions(Table *table, int64_t units) {
    Status status = STATUS_OK;
    TRY(ALLOCATE(&table->fractions, units));
    memcpy(table->fractions, table->fraction, (size_t)units * sizeof *table->fractions);
    qsort(table->fractions, (size_t)units, sizeof *table->fractions, compare_doubles);
    for (int64_t u = 0; u < units; u++)
        if (u == 0 || table->fractions[u] > table->fractions[u - 1])
            table->fractions[table->fraction_count++] = table->fractions[u];
done:
    return status;
}

static void name_rows(Table *table, int64_t draws) {
    static const char *const groups[] = {
        [ENSEMBLE_MISSING] = "missing", [ENSEMBLE_OBSERVED] = "observed", [ENSEMBLE_IMAGE] = "image"};
    static const SweepDirection directions[] = {[ENSEMBLE_NONE] = SWEEP_NONE,
                                                [ENSEMBLE_LOWER] = SWEEP_LOWER,
                                                [ENSEMBLE_HIGHER] = SWEEP_HIGHER,
                                                [ENSEMBLE_TARGET] = SWEEP_TARGET};
    for (int m = 0; m < METRICS; m++) {
        const EnsembleMetricRow *row = ensemble_metric((EnsembleMetric)m);
        table->metric_names[m] = row->name;
        table->metrics[m] = (SweepMetric){.name = row->name,
                                          .group = groups[row->group],
                                          .description = row->description,
                                          .direction = directions[row->direction],
                                          .target = ensemble_target((EnsembleMetric)m, draws)};
    }
    for (int i = 0; i < STATISTICS; i++)
        table->statistics[i] = rank_statistic_name((RankStatistic)i);
}

static Status table_read(Table *table, const SweepReport *report) {
    Status status = STATUS_OK;
    int64_t units = report->units;
    const char *run = report->run_directory;
    if (report->shape->metrics != METRICS || report->shape->statistics != STATISTICS)
        FAIL(STATUS_FAILURE, "%s: units of %lld metrics and %lld rank statistics; expected %d and %d", run,
             (long long)report->shape->metrics, (long long)report->shape->statistics, METRICS, STATISTICS);
    TRY(ALLOCATE(&table->mask_seed, units));
    TRY(ALLOCATE(&table->fraction, units));
    TRY(ALLOCATE(&table->values, units * METRICS));
    TRY(ALLOCATE(&table->image, units));
    TRY(ALLOCATE(&table->truth_index, units));
    TRY(ALLOCATE(&table->label, units));
    TRY(ALLOCATE(&table->sampler, units));
    TRY(ALLOCATE(&table->ranks, units * STATISTICS));
    TRY(ALLOCATE(&table->column, units));
    TRY(ALLOCATE(&table->divisor, units));
    TRY(ALLOCATE(&table->clusters, units));
    TRY(ALLOCATE(&table->rank_column, units));
    TRY(sweep_file_read(run, "mask_seed", units, table->mask_seed));
    TRY(sweep_file_read(run, "fraction", units, table->fraction));
    TRY(sweep_file_read(run, "metrics", units * METRICS, table->values));
    TRY(sweep_file_read(run, "image", units, table->image));
    TRY(sweep_file_read(run, "truth_index", units, table->truth_index));
    TRY(sweep_file_read(run, "label", units, table->label));
    TRY(sweep_file_read(run, "sampler", units, table->sampler));
    TRY(sweep_file_read(run, "ranks", units * STATISTICS, table->ranks));
    TRY(find_fractions(table, units));
    name_rows(table, report->shape->draws);
    int64_t rows = (int64_t)report->sampler_count * STATISTICS;
    TRY(ALLOCATE(&table->cells, (int64_t)report->sampler_count * table->fraction_count * METRICS));
    TRY(ALLOCATE(&table->histograms, rows));
    TRY(ALLOCATE(&table->sweep_ranks, rows));
done:
    return status;
}

/* ---- means ---- */

/* The row of the measure's own group, by the place of one of the missing pixels' rows. */
static int row_of_group(int metric, EnsembleMetric missing) {
    return ensemble_metric((EnsembleMetric)metric)->group == ENSEMBLE_MISSING
               ? (int)missing
               : (int)missing + (ENSEMBLE_OBSERVED_RMSE - ENSEMBLE_MISSING_RMSE);
}

/* One measure over the units of a sampler and a fraction. */
static Status fill_cell(Table *table, const SweepReport *report, int sampler, double fraction, int metric,
                        SweepCell *cell) {
    Status status = STATUS_OK;
    EnsembleSummary summary;
    bool ratio = metric == ENSEMBLE_MISSING_SPREAD_SKILL || metric == ENSEMBLE_OBSERVED_SPREAD_SKILL;
    double draws = (double)report->shape->draws;
    int64_t count = 0;
    for (int64_t u = 0; u < report->units; u++) {
        const double *values = table->values + u * METRICS;
        if (table->sampler[u] != sampler || table->fraction[u] != fraction)
            continue;
        table->column[count] = values[metric];
        if (ratio) {
            double spread = values[row_of_group(metric, ENSEMBLE_MISSING_SPREAD)];
            double rmse = values[row_of_group(metric, ENSEMBLE_MISSING_RMSE)];
            table->column[count] = (draws + 1) / draws * spread * spread;
            table->divisor[count] = rmse * rmse;
        }
        table->clusters[count++] = table->truth_index[u];
    }
    if (ratio)
        TRY(summary_root_ratio(table->column, table->divisor, table->clusters, count, &summary));
    else
        TRY(summary_mean(table->column, table->clusters, count, &summary));
    *cell = (SweepCell){.mean = summary.mean,
                        .standard_error = summary.standard_error,
                        .low = summary.low,
                        .high = summary.high,
                        .count = summary.units};
done:
    return status;
}

static Status fill_cells(Table *table, const SweepReport *report) {
    Status status = STATUS_OK;
    SweepCell *cell = table->cells;
    for (int s = 0; s < report->sampler_count; s++)
        for (int f = 0; f < table->fraction_count; f++)
            for (int m = 0; m < METRICS; m++)
                TRY(fill_cell(table, report, s, table->fractions[f], m, cell++));
done:
    return status;
}

/* ---- ranks ---- */

typedef struct TruthUnit {
    int64_t truth, unit;
} TruthUnit;

static int compare_truths(const void *a, const void *b) {
    const TruthUnit *x = a, *y = b;
    if (x->truth != y->truth)
        return x->truth > y->truth ? 1 : -1;
    return (x->unit > y->unit) - (x->unit < y->unit);
}

/* One unit of each truth among those of a sampler: the k-th truth's k-th unit, counted round. Returns how
 * many. */
static int64_t choose_units(const Table *table, const SweepReport *report, int sampler, TruthUnit *chosen) {
    int64_t count = 0, truths = 0;
    for (int64_t u = 0; u < report->units; u++)
        if (table->sampler[u] == sampler)
            chosen[count++] = (TruthUnit){table->truth_index[u], u};
    qsort(chosen, (size_t)count, sizeof *chosen, compare_truths);
    for (int64_t first = 0, next; first < count; first = next) {
        for (next = first; next < count && chosen[next].truth == chosen[first].truth;)
            next++;
        chosen[truths] = chosen[first + truths % (next - first)];
        truths++;
    }
    return truths;
}

static Status fill_ranks(Table *table, const SweepReport *report) {
    Status status = STATUS_OK;
    TruthUnit *chosen = NULL;
    TRY(ALLOCATE(&chosen, report->units));
    for (int s = 0; s < report->sampler_count; s++) {
        int64_t count = choose_units(table, report, s, chosen);
        for (int i = 0; i < STATISTICS; i++) {
            int64_t place = (int64_t)s * STATISTICS + i;
            RankHistogram *histogram = &table->histograms[place];
            for (int64_t k = 0; k < count; k++)
                table->rank_column[k] = (int32_t)table->ranks[chosen[k].unit * STATISTICS + i];
            *histogram = rank_histogram(table->rank_column, count, report->shape->draws);
            table->sweep_ranks[place] = (SweepRanks){.bins = histogram->units > 0 ? histogram->bins : 0,
                                                     .counts = histogram->counts,
                                                     .expected = histogram->expected,
                                                     .low = histogram->low,
                                                     .high = histogram->high,
                                                     .p_value = histogram->p_value};
        }
    }
done:
    free(chosen);
    return status;
}

/* ---- gallery ---- */

/* The unit of this sampler and fraction with the first image and mask of all; -1: there is none. */
static int64_t find_unit(const Table *table, const SweepReport *report, int sampler, double fraction) {
    for (int64_t u = 0; u < report->units; u++)
        if (table->sampler[u] == sampler && table->fraction[u] == fraction &&
            table->image[u] == table->image[0] && table->mask_seed[u] == table->mask_seed[0])
            return u;
    return -1;
}

/* Reads what the gallery shows of every sampler; `first` keeps the first one's part. */
static Status read_gallery(const Table *table, const SweepReport *report, double fraction, SweepUnit *first,
                           float *mean, float *spread, float *draws) {
    Status status = STATUS_OK;
    const SweepShape *shape = report->shape;
    SweepUnit *unit = NULL;
    int64_t pixels = shape->height * shape->width, drawn = shape->keep_draws ? shape->draws * pixels : 0;
    TRY(sweep_unit_create(shape, &unit));
    for (int s = 0; s < report->sampler_count; s++) {
        int64_t number = find_unit(table, report, s, fraction);
        SweepUnit *target = s == 0 ? first : unit;
        if (number < 0)
            FAIL(STATUS_FAILURE, "%s: no unit of sampler %s at fraction %g", report->run_directory,
                 report->samplers[s], fraction);
        TRY(sweep_part_read(report->run_directory, report->grid_hash, shape, number, target));
        memcpy(mean + s * pixels, target->mean, (size_t)pixels * sizeof *mean);
        memcpy(spread + s * pixels, target->spread, (size_t)pixels * sizeof *spread);
        if (drawn > 0)
            memcpy(draws + s * drawn, target->draws, (size_t)drawn * sizeof *draws);
    }
done:
    sweep_unit_destroy(unit);
    return status;
}

/* 1 for images proper, which have black and white; else twice the root mean square. */
static double grey_scale(const SweepUnit *unit, int64_t pixels) {
    double largest = 0, squares = 0;
    for (int64_t i = 0; i < pixels; i++) {
        largest = fmax(largest, fabs(unit->truth[i]));
        squares += (double)unit->truth[i] * unit->truth[i];
    }
    return largest > image_limit ? 2 * sqrt(squares / (double)pixels) : 1;
}

static Status write_gallery(const Table *table, const SweepReport *report, double fraction) {
    Status status = STATUS_OK;
    const SweepShape *shape = report->shape;
    int64_t pixels = shape->height * shape->width;
    SweepUnit *unit = NULL;
    float *mean = NULL, *spread = NULL, *draws = NULL;
    char title[TITLE_BYTES], name[64], path[FILE_PATH_BYTES];
    TRY(ALLOCATE(&mean, report->sampler_count * pixels));
    TRY(ALLOCATE(&spread, report->sampler_count * pixels));
    TRY(ALLOCATE(&draws, report->sampler_count * pixels * (shape->keep_draws ? shape->draws : 1)));
    TRY(sweep_unit_create(shape, &unit));
    TRY(read_gallery(table, report, fraction, unit, mean, spread, draws));
    snprintf(title, sizeof title, "%.4g %% of the pixels observed, image %lld, mask seed %llu",
             100 * fraction, (long long)unit->truth_index, (unsigned long long)unit->mask_seed);
    if (unit->label >= 0)
        snprintf(title + strlen(title), sizeof title - strlen(title), ", class %lld", (long long)unit->label);
    SweepGallery gallery = {.title = title,
                            .height = (int)shape->height,
                            .width = (int)shape->width,
                            .truth = unit->truth,
                            .mask = unit->mask,
                            .observed = unit->observed,
                            .scale = grey_scale(unit, pixels),
                            .sampler_count = report->sampler_count,
                            .draw_count = shape->keep_draws ? (int)shape->draws : 0,
                            .samplers = report->samplers,
                            .mean = mean,
                            .standard_deviation = spread,
                            .draws = draws};
    snprintf(name, sizeof name, "figures/sweep_gallery_%.4g.png", 100 * fraction);
    TRY(file_join(path, report->run_directory, name));
    TRY(sweep_gallery_write(path, &gallery));
done:
    sweep_unit_destroy(unit);
    free(mean);
    free(spread);
    free(draws);
    return status;
}

/* ---- all of it ---- */

static Status write_tables(const Table *table, const SweepReport *report, const SweepSummary *summary) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES];
    SweepUnits units = {.count = report->units,
                        .sampler_count = report->sampler_count,
                        .metric_count = METRICS,
                        .statistic_count = STATISTICS,
                        .samplers = report->samplers,
                        .metrics = table->metric_names,
                        .statistics = table->statistics,
                        .mask_seed = table->mask_seed,
                        .fraction = table->fraction,
                        .image = table->image,
                        .truth_index = table->truth_index,
                        .label = table->label,
                        .sampler = table->sampler,
                        .values = table->values,
                        .ranks = table->ranks};
    TRY(file_join(path, report->run_directory, "summary.json"));
    TRY(sweep_summary_write_json(path, summary));
    TRY(file_join(path, report->run_directory, "summary.csv"));
    TRY(sweep_summary_write_csv(path, summary));
    TRY(file_join(path, report->run_directory, "units.csv"));
    TRY(sweep_units_write_csv(path, &units));
done:
    return status;
}

static Status write_figures(const Table *table, const SweepReport *report, const SweepSummary *summary) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES];
    TRY(file_join(path, report->run_directory, "figures"));
    TRY(file_make_directories(path));
    TRY(file_join(path, report->run_directory, "figures/sweep_metrics.png"));
    TRY(sweep_figures_metrics(path, summary));
    TRY(file_join(path, report->run_directory, "figures/sweep_ranks.png"));
    TRY(sweep_figures_ranks(path, summary));
    for (int f = 0; report->galleries && f < table->fraction_count; f++)
        TRY(write_gallery(table, report, table->fractions[f]));
done:
    return status;
}

enum { ESTIMATE_BYTES = 48 };

/* "0.912 +- 0.011", without the error where one image says nothing of it, "-" where nothing is known. */
static char *estimate_text(const SweepCell *cell, int decimals, char text[ESTIMATE_BYTES]) {
    if (!isfinite(cell->mean))
        snprintf(text, ESTIMATE_BYTES, "-");
    else if (!isfinite(cell->standard_error))
        snprintf(text, ESTIMATE_BYTES, "%.*f", decimals, cell->mean);
    else
        snprintf(text, ESTIMATE_BYTES, "%.*f +- %.*f", decimals, cell->mean, decimals, cell->standard_error);
    return text;
}

static bool is_known(const SweepSummary *summary, EnsembleMetric metric) {
    int cells = summary->sampler_count * summary->fraction_count;
    for (int i = 0; i < cells; i++)
        if (isfinite(summary->cells[i * METRICS + (int)metric].mean))
            return true;
    return false;
}

/* The few numbers to look at first; of the labels what is known: TV, else the share of right ones. */
static void print_summary(const SweepSummary *summary) {
    static const char line[] = "%-17s  %8s  %-16s  %-17s  %s%s", column[] = "%-16s  ";
    static const char *const titles[] = {
        [ENSEMBLE_IMAGE_TV] = "TV of labels", [ENSEMBLE_IMAGE_RIGHT] = "right label"};
    EnsembleMetric labels = is_known(summary, ENSEMBLE_IMAGE_TV) ? ENSEMBLE_IMAGE_TV : ENSEMBLE_IMAGE_RIGHT;
    bool labelled = is_known(summary, labels);
    double nominal = summary->metrics[ENSEMBLE_MISSING_COVERAGE90].target;
    char label[2 * ESTIMATE_BYTES] = "", text[4][ESTIMATE_BYTES];
    if (!isfinite(nominal)) /* of one draw */
        log_info("means +- standard errors; -: it takes at least 2 draws (sweep.draws)");
    else
        log_info("means +- standard errors; coverage by 90 %% intervals, of which exact draws have %.3f",
                 nominal);
    if (labelled)
        snprintf(label, sizeof label, column, titles[labels]);
    log_info(line, "sampler", "fraction", "missing coverage", "observed coverage", label, "missing CRPS");
    for (int sampler = 0; sampler < summary->sampler_count; sampler++)
        for (int fraction = 0; fraction < summary->fraction_count; fraction++) {
            const SweepCell *cells = sweep_summary_cell(summary, sampler, fraction, 0);
            char observed[16];
            snprintf(observed, sizeof observed, "%.3g %%", 100 * summary->fractions[fraction]);
            if (labelled)
                snprintf(label, sizeof label, column, estimate_text(&cells[labels], 3, text[3]));
            log_info(line, summary->samplers[sampler], observed,
                     estimate_text(&cells[ENSEMBLE_MISSING_COVERAGE90], 3, text[0]),
                     estimate_text(&cells[ENSEMBLE_OBSERVED_COVERAGE90], 3, text[1]), label,
                     estimate_text(&cells[ENSEMBLE_MISSING_CRPS], 4, text[2]));
        }
}

Status sweep_report_write(const SweepReport *report) {
    Status status = STATUS_OK;
    Table table = {0};
    TRY(table_read(&table, report));
    TRY(fill_cells(&table, report));
    TRY(fill_ranks(&table, report));
    SweepSummary summary = {.title = report->title,
                            .sampler_count = report->sampler_count,
                            .fraction_count = table.fraction_count,
                            .metric_count = METRICS,
                            .statistic_count = STATISTICS,
                            .setting_count = report->setting_count,
                            .samplers = report->samplers,
                            .fractions = table.fractions,
                            .metrics = table.metrics,
                            .cells = table.cells,
                            .statistics = table.statistics,
                            .ranks = table.sweep_ranks,
                            .settings = report->settings};
    TRY(write_tables(&table, report, &summary));
    TRY(write_figures(&table, report, &summary));
    print_summary(&summary);
done:
    table_destroy(&table);
    return status;
}
