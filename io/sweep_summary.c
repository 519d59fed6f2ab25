#include "io/sweep_summary.h"

#include <cJSON.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "io/metrics.h"
#include "io/number_text.h"
#include "io/page.h"

const SweepCell *sweep_summary_cell(const SweepSummary *summary, int sampler, int fraction, int metric) {
    return &summary->cells[((int64_t)sampler * summary->fraction_count + fraction) * summary->metric_count +
                           metric];
}

const char *sweep_metric_name(const SweepMetric *metric) {
    size_t length = strlen(metric->group);
    bool prefixed = strncmp(metric->name, metric->group, length) == 0 && metric->name[length] == '.';
    return prefixed ? metric->name + length + 1 : metric->name;
}

int sweep_summary_find(const SweepSummary *summary, const char *group, const char *name) {
    for (int m = 0; m < summary->metric_count; m++)
        if (strcmp(summary->metrics[m].group, group) == 0 &&
            strcmp(sweep_metric_name(&summary->metrics[m]), name) == 0)
            return m;
    return -1;
}

/* --- JSON. Functions that add return what they added, owned by `to`; NULL: out of memory, which NULL for
 * `to` passes on. --- */

static cJSON *add(cJSON *to, const char *name, cJSON *item) {
    if (to && item && (name ? cJSON_AddItemToObject(to, name, item) : cJSON_AddItemToArray(to, item)))
        return item;
    cJSON_Delete(item);
    return NULL;
}

static cJSON *add_object(cJSON *to, const char *name) {
    return add(to, name, cJSON_CreateObject());
}

static cJSON *add_text(cJSON *to, const char *name, const char *text) {
    return add(to, name, text ? cJSON_CreateString(text) : cJSON_CreateNull());
}

static cJSON *add_number(cJSON *to, const char *name, double number) {
    char text[NUMBER_TEXT_BYTES];
    return add(to, name, isfinite(number) ? cJSON_CreateRaw(number_text(number, text)) : cJSON_CreateNull());
}

static cJSON *add_numbers(cJSON *to, const char *name, int count, const double *numbers) {
    cJSON *array = add(to, name, cJSON_CreateArray());
    bool whole = array != NULL;
    for (int i = 0; i < count; i++)
        whole = add_number(array, NULL, numbers[i]) && whole;
    return whole ? array : NULL;
}

static bool add_metrics(cJSON *root, const SweepSummary *summary) {
    static const char *const directions[] = {
        [SWEEP_NONE] = "none", [SWEEP_LOWER] = "lower", [SWEEP_HIGHER] = "higher", [SWEEP_TARGET] = "target"};
    cJSON *array = add(root, "metrics", cJSON_CreateArray());
    bool whole = array != NULL;
    for (int m = 0; m < summary->metric_count; m++) {
        const SweepMetric *metric = &summary->metrics[m];
        cJSON *object = add_object(array, NULL);
        whole = add_text(object, "group", metric->group) &&
                add_text(object, "name", sweep_metric_name(metric)) &&
                add_text(object, "description", metric->description) &&
                add_text(object, "direction", directions[metric->direction]) &&
                add_number(object, "target", metric->target) && whole;
    }
    return whole;
}

static bool add_cells(cJSON *to, const SweepSummary *summary, int sampler, int fraction) {
    bool whole = to != NULL;
    for (int m = 0; m < summary->metric_count; m++) {
        const SweepMetric *metric = &summary->metrics[m];
        const SweepCell *cell = sweep_summary_cell(summary, sampler, fraction, m);
        cJSON *group = cJSON_GetObjectItemCaseSensitive(to, metric->group);
        if (!group)
            group = add_object(to, metric->group);
        cJSON *object = add_object(group, sweep_metric_name(metric));
        whole = add_number(object, "mean", cell->mean) &&
                add_number(object, "standard_error", cell->standard_error) &&
                add_number(object, "low", cell->low) && add_number(object, "high", cell->high) &&
                add_number(object, "count", (double)cell->count) && whole;
    }
    return whole;
}

static bool add_results(cJSON *root, const SweepSummary *summary) {
    cJSON *results = add_object(root, "results");
    bool whole = results != NULL;
    for (int s = 0; s < summary->sampler_count; s++) {
        cJSON *sampler = add_object(results, summary->samplers[s]);
        for (int f = 0; f < summary->fraction_count; f++) {
            char key[NUMBER_TEXT_BYTES];
            number_text(summary->fractions[f], key);
            whole = add_cells(add_object(sampler, key), summary, s, f) && whole;
        }
    }
    return whole;
}

static bool add_ranks(cJSON *root, const SweepSummary *summary) {
    cJSON *all = add_object(root, "ranks");
    bool whole = all != NULL;
    for (int s = 0; s < summary->sampler_count; s++) {
        cJSON *sampler = add_object(all, summary->samplers[s]);
        whole = sampler && whole;
        for (int i = 0; i < summary->statistic_count; i++) {
            const SweepRanks *ranks = &summary->ranks[(int64_t)s * summary->statistic_count + i];
            cJSON *object = add_object(sampler, summary->statistics[i]);
            whole = add_number(object, "p_value", ranks->p_value) && whole;
            cJSON *counts = add(object, "counts", cJSON_CreateArray());
            whole = counts && whole;
            for (int b = 0; b < ranks->bins; b++)
                whole = add_number(counts, NULL, (double)ranks->counts[b]) && whole;
            if (ranks->expected)
                whole = add_numbers(object, "expected", ranks->bins, ranks->expected) && whole;
        }
    }
    return whole;
}

static bool add_samplers(cJSON *root, const SweepSummary *summary) {
    cJSON *array = add(root, "samplers", cJSON_CreateArray());
    bool whole = array != NULL;
    for (int s = 0; s < summary->sampler_count; s++)
        whole = add_text(array, NULL, summary->samplers[s]) && whole;
    return whole;
}

Status sweep_summary_write_json(const char *path, const SweepSummary *summary) {
    Status status = STATUS_OK;
    char *settings = NULL, *text = NULL;
    cJSON *root = cJSON_CreateObject();
    Page page = {0};
    TRY(named_values_json(summary->setting_count, summary->settings, &settings));
    bool whole = add(root, "settings", cJSON_Parse(settings)) && add_samplers(root, summary) &&
                 add_numbers(root, "fractions", summary->fraction_count, summary->fractions) &&
                 add_metrics(root, summary) && add_results(root, summary) && add_ranks(root, summary);
    text = whole ? cJSON_Print(root) : NULL;
    if (!text)
        FAIL(STATUS_FAILURE, "%s: out of memory", path);
    page_add(&page, "%s\n", text);
    TRY(page_write(&page, path));
done:
    page_destroy(&page);
    cJSON_free(text);
    cJSON_Delete(root);
    free(settings);
    return status;
}

/* --- CSV --- */

/* A field, in quotes where a comma, a quote or a line's end would break it (RFC 4180). */
static void add_field(Page *page, const char *text) {
    if (!strpbrk(text, ",\"\r\n")) {
        page_add(page, "%s,", text);
        return;
    }
    page_add(page, "\"");
    for (const char *c = text; *c; c++)
        page_add(page, "%s%c", *c == '"' ? "\"" : "", *c);
    page_add(page, "\",");
}

static void add_value(Page *page, double number) {
    char text[NUMBER_TEXT_BYTES];
    page_add(page, "%s,", isfinite(number) ? number_text(number, text) : "");
}

Status sweep_summary_write_csv(const char *path, const SweepSummary *summary) {
    Status status = STATUS_OK;
    Page page = {0};
    page_add(&page, "sampler,fraction,group,metric,mean,standard_error,low,high,count\n");
    for (int s = 0; s < summary->sampler_count; s++)
        for (int f = 0; f < summary->fraction_count; f++)
            for (int m = 0; m < summary->metric_count; m++) {
                const SweepCell *cell = sweep_summary_cell(summary, s, f, m);
                add_field(&page, summary->samplers[s]);
                add_value(&page, summary->fractions[f]);
                add_field(&page, summary->metrics[m].group);
                add_field(&page, sweep_metric_name(&summary->metrics[m]));
                add_value(&page, cell->mean);
                add_value(&page, cell->standard_error);
                add_value(&page, cell->low);
                add_value(&page, cell->high);
                page_add(&page, "%lld\n", (long long)cell->count);
            }
    TRY(page_write(&page, path));
done:
    page_destroy(&page);
    return status;
}

Status sweep_units_write_csv(const char *path, const SweepUnits *units) {
    Status status = STATUS_OK;
    Page page = {0};
    page_add(&page, "unit,mask_seed,fraction,image,truth_index,label,sampler");
    for (int m = 0; m < units->metric_count; m++)
        page_add(&page, ",%s", units->metrics[m]);
    for (int i = 0; i < units->statistic_count; i++)
        page_add(&page, ",rank.%s", units->statistics[i]);
    page_add(&page, "\n");
    for (int64_t u = 0; u < units->count; u++) {
        if (units->sampler[u] < 0 || units->sampler[u] >= units->sampler_count)
            FAIL(STATUS_FAILURE, "%s: unit %lld has sampler %lld; expected 0 to %d", path, (long long)u,
                 (long long)units->sampler[u], units->sampler_count - 1);
        page_add(&page, "%lld,%llu,", (long long)u, (unsigned long long)units->mask_seed[u]);
        add_value(&page, units->fraction[u]);
        page_add(&page, "%lld,%lld,%lld,%s", (long long)units->image[u], (long long)units->truth_index[u],
                 (long long)units->label[u], units->samplers[units->sampler[u]]);
        for (int m = 0; m < units->metric_count; m++) {
            double value = units->values[u * units->metric_count + m];
            char text[NUMBER_TEXT_BYTES];
            page_add(&page, ",%s", isfinite(value) ? number_text(value, text) : "");
        }
        for (int i = 0; i < units->statistic_count; i++)
            page_add(&page, ",%lld", (long long)units->ranks[u * units->statistic_count + i]);
        page_add(&page, "\n");
    }
    TRY(page_write(&page, path));
done:
    page_destroy(&page);
    return status;
}
