#include "io/dashboard.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/log.h"
#include "io/dashboard_style.h"
#include "io/directory.h"
#include "io/file.h"
#include "io/gallery.h"
#include "io/loss_chart.h"
#include "io/metrics.h"
#include "io/page.h"

#define DASHBOARD_NAME "dashboard.html"
#define CURRENT_LINK "current" /* leads to a run that is listed by its own name */
#define REFRESH_SECONDS 5
#define RUNS_MAX 40 /* other runs listed */
#define NUMBER_BYTES 64
#define PROBLEM_BYTES 512
#define TIME_BYTES 32
#define DASH "–" /* stands for a number that is not known */

/* --- the run's state --- */

typedef struct Run {
    const char *outputs, *name;
    char directory[FILE_PATH_BYTES];
    bool has_status;
    RunStatus status;            /* valid if has_status */
    char problem[PROBLEM_BYTES]; /* why a status.json that is there cannot be read; else "" */
} Run;

static Status run_load(Run *run, const char *outputs, const char *name) {
    Status status = STATUS_OK;
    *run = (Run){.outputs = outputs, .name = name};
    char path[FILE_PATH_BYTES];
    TRY(file_join(run->directory, outputs, name));
    TRY(file_join(path, run->directory, "status.json"));
    run->has_status = status_read(run->directory, &run->status) == STATUS_OK;
    if (!run->has_status && file_exists(path)) /* without one the run has just begun */
        snprintf(run->problem, sizeof run->problem, "%s", status_message());
done:
    return status;
}

static const char *run_state(const Run *run) {
    return run->has_status ? run_state_name(run->status.state) : run->problem[0] ? "unknown" : "starting";
}

static bool run_is_active(const Run *run) {
    return run->has_status ? run->status.state == RUN_RUNNING : !run->problem[0];
}

/* What a step of the progress bar is. */
static const char *progress_unit(const char *command) {
    static const char *const units[][2] = {
        {"train", "steps"}, {"sample", "samples"}, {"posterior", "draws"}, {"sweep", "draws"}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(command, units[i][0]) == 0)
            return units[i][1];
    return "steps";
}

/* 37520 -> "37,520". */
static char *format_count(int64_t value, char text[NUMBER_BYTES]) {
    char digits[NUMBER_BYTES];
    size_t length = (size_t)snprintf(digits, sizeof digits, "%" PRId64, value), used = 0;
    for (size_t i = 0; i < length; i++) {
        text[used++] = digits[i];
        if ((length - i) % 3 == 1 && i + 1 < length && digits[i] != '-')
            text[used++] = ',';
    }
    text[used] = 0;
    return text;
}

/* "2026-01-31T13:59:59+01:00" -> "2026-01-31 13:59:59", the zone's own time. */
static char *format_time(const char *iso, char text[TIME_BYTES]) {
    snprintf(text, TIME_BYTES, "%.19s", iso);
    char *separator = strchr(text, 'T');
    if (separator)
        *separator = ' ';
    return text;
}

/* Share done in [0, 1]; NaN if it is not known. */
static double run_progress(const Run *run) {
    if (!run->has_status || run->status.total_steps <= 0)
        return NAN;
    return fmax(0, fmin(1, (double)run->status.step / (double)run->status.total_steps));
}

static void add_head(Page *page, const Run *run) {
    page_add(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                   "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                   "<link rel=\"icon\" href=\"data:,\">\n"); /* or the browser would ask for one */
    if (run_is_active(run))
        page_add(page, "<meta http-equiv=\"refresh\" content=\"%d\">\n", REFRESH_SECONDS);
    page_add(page, "<title>");
    page_add_escaped(page, run->name);
    double progress = run_progress(run);
    if (run_is_active(run) && isfinite(progress))
        page_add(page, " %.0f %%", floor(100 * progress));
    else
        page_add(page, " %s", run_state(run));
    page_add(page, "</title>\n%s</head>\n<body>\n<main>\n", dashboard_style());
}

/* The state of an active run carries the time of its last news: the page shows when there are none for long.
 */
static void add_state(Page *page, const Run *run) {
    page_add(page, "<span class=\"state %s\"", run_state(run));
    if (run->has_status && run_is_active(run)) {
        page_add(page, " data-news=\"");
        page_add_escaped(page, run->status.updated);
        page_add(page, "\"");
    }
    page_add(page, ">%s</span>", run_state(run));
}

/* Shown by the page's script. */
static void add_silence(Page *page, const Run *run) {
    char time[TIME_BYTES];
    const char *command = run->status.command;
    page_add(page, "<p id=\"silent\" class=\"message unknown\" hidden><span>No news for "
                   "<b id=\"silence\"></b> (last update ");
    page_add_escaped(page, format_time(run->status.updated, time));
    page_add(page, "): the run may have been killed");
    if (strcmp(command, "train") == 0 || strcmp(command, "sweep") == 0) {
        page_add(page, "; the same command with --run ");
        page_add_escaped(page, run->name);
        page_add(page, " continues it");
    }
    page_add(page, ". What is shown below is of then.</span></p>\n");
}

static void add_title(Page *page, const Run *run) {
    char time[TIME_BYTES];
    page_add(page, "<div class=\"top\"><h1>");
    page_add_escaped(page, run->name);
    page_add(page, "</h1>");
    add_state(page, run);
    page_add(page, "</div>\n<p class=\"note\">");
    if (run->has_status && run->status.command[0]) {
        page_add(page, "ddpm_mpi ");
        page_add_escaped(page, run->status.command);
        page_add(page, " · ");
    }
    page_add(page, "files in <a href=\"");
    page_add_url(page, run->name);
    page_add(page, "/\">");
    page_add_escaped(page, run->name);
    page_add(page, "/</a>");
    if (run->has_status && run->status.updated[0]) {
        page_add(page, " · updated <time id=\"age\" data-time=\"");
        page_add_escaped(page, run->status.updated);
        page_add(page, "\" title=\"");
        page_add_escaped(page, run->status.updated);
        page_add(page, "\">");
        page_add_escaped(page, format_time(run->status.updated, time));
        page_add(page, "</time>");
    }
    page_add(page, "</p>\n");
    const char *message = run->has_status ? run->status.message : run->problem;
    if (message[0]) {
        page_add(page, "<p class=\"message %s\"><span>", run_state(run));
        page_add_escaped(page, message);
        page_add(page, "</span></p>\n");
    }
    if (run->has_status && run_is_active(run))
        add_silence(page, run);
}

static void add_progress(Page *page, const Run *run) {
    char done[NUMBER_BYTES], total[NUMBER_BYTES], duration[32];
    const RunStatus *now = &run->status;
    double progress = run_progress(run);
    if (!run->has_status)
        return;
    page_add(page,
             "<div class=\"bar %s\" role=\"progressbar\" aria-valuemin=\"0\" aria-valuemax=\"100\" "
             "aria-valuenow=\"%.0f\"><i style=\"width:%.2f%%\"></i></div>\n<div class=\"under\"><span>%s",
             run_state(run), isfinite(progress) ? 100 * progress : 0, isfinite(progress) ? 100 * progress : 0,
             format_count(now->step, done));
    if (now->total_steps > 0)
        page_add(page, " of %s", format_count(now->total_steps, total));
    page_add(page, " %s", progress_unit(now->command));
    if (isfinite(progress))
        page_add(page, " (%.0f %%)", floor(100 * progress));
    page_add(page, "</span>");
    if (run_is_active(run) && isfinite(now->eta_s) && now->eta_s > 0)
        page_add(page, "<span id=\"left\">%s left</span>", log_duration(now->eta_s, duration));
    page_add(page, "</div>\n");
}

static void add_fact(Page *page, const char *label, const char *value) {
    page_add(page, "<div><dt>%s</dt><dd>", label);
    page_add_escaped(page, value[0] ? value : DASH);
    page_add(page, "</dd></div>\n");
}

static char *format_rate(double images_per_s, char text[NUMBER_BYTES]) {
    char count[NUMBER_BYTES];
    if (images_per_s < 100)
        snprintf(text, NUMBER_BYTES, "%.2f images/s", images_per_s);
    else if (images_per_s < 1e15)
        snprintf(text, NUMBER_BYTES, "%.40s images/s", format_count(llround(images_per_s), count));
    return text;
}

static void add_facts(Page *page, const Run *run) {
    char text[NUMBER_BYTES] = "", duration[32], time[TIME_BYTES];
    const RunStatus *now = &run->status;
    if (!run->has_status)
        return;
    page_add(page, "<dl>\n");
    if (isfinite(now->loss)) {
        snprintf(text, sizeof text, "%.5g", now->loss);
        add_fact(page, "Last loss", text);
    }
    if (isfinite(now->images_per_s) && now->images_per_s > 0)
        add_fact(page, "Rate", format_rate(now->images_per_s, text));
    if (strcmp(now->command, "train") == 0)
        add_fact(page, "Epoch", format_count(now->epoch + 1, text)); /* counted from 1 for people */
    snprintf(text, sizeof text, "%d × %d", now->ranks, now->threads);
    add_fact(page, "Ranks × threads", text);
    add_fact(page, "Device", now->device);
    add_fact(page, "Started", format_time(now->started, time));
    if (isfinite(now->gpu_seconds) && now->gpu_seconds > 0)
        add_fact(page, "GPU time", log_duration(now->gpu_seconds, duration));
    page_add(page, "</dl>\n");
}

/* --- sections --- */

static Status add_loss(Page *page, const Run *run) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES];
    StepRecord *records = NULL;
    int64_t count = 0;
    TRY(file_join(path, run->directory, "steps.jsonl"));
    if (!file_exists(path))
        goto done; /* only training has one */
    if (steps_log_read(path, &count, &records) != STATUS_OK) {
        page_add(page, "<h2>Loss</h2>\n<p class=\"note\">");
        page_add_escaped(page, status_message());
        page_add(page, "</p>\n");
        goto done;
    }
    if (count > 0) {
        page_add(page, "<h2>Loss <small>mean squared error of ε, log scale</small></h2>\n");
        TRY(loss_chart_add(page, records, count));
    }
done:
    free(records);
    return status;
}

/* Table rows of a JSON value; objects nest as "missing.rmse". */
static void add_metric_rows(Page *page, const cJSON *value, const char *prefix) {
    for (const cJSON *item = value->child; item; item = item->next) {
        char name[2 * NUMBER_BYTES];
        snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] ? "." : "", item->string ? item->string : "");
        if (cJSON_IsObject(item) && strlen(name) < NUMBER_BYTES) { /* deeper names would be cut */
            add_metric_rows(page, item, name);
            continue;
        }
        page_add(page, "<tr><th scope=\"row\">");
        page_add_escaped(page, name);
        page_add(page, "</th><td>");
        char *text = cJSON_IsString(item) ? NULL : cJSON_PrintUnformatted(item);
        if (cJSON_IsNumber(item))
            page_add(page, "%.*g", item->valuedouble == floor(item->valuedouble) ? 15 : 6, item->valuedouble);
        else
            page_add_escaped(page, cJSON_IsString(item) ? item->valuestring : text ? text : "");
        cJSON_free(text);
        page_add(page, "</td></tr>\n");
    }
}

static Status add_metrics(Page *page, const Run *run) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    cJSON *metrics = NULL;
    TRY(file_join(path, run->directory, "metrics.json"));
    if (!file_exists(path))
        goto done;
    if (file_read(path, &text, NULL) == STATUS_OK)
        metrics = cJSON_Parse(text);
    page_add(page, "<h2>Results</h2>\n");
    if (!cJSON_IsObject(metrics)) {
        page_add(page, "<p class=\"note\">metrics.json cannot be read: expected a JSON object</p>\n");
        goto done;
    }
    page_add(page, "<div class=\"table\"><table>\n");
    add_metric_rows(page, metrics, "");
    page_add(page, "</table></div>\n");
done:
    cJSON_Delete(metrics);
    free(text);
    return status;
}

static Status add_config(Page *page, const Run *run) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    TRY(file_join(path, run->directory, "config.json"));
    if (!file_exists(path) || file_read(path, &text, NULL) != STATUS_OK)
        goto done;
    page_add(page, "<details id=\"configuration\"><summary>Configuration</summary>\n<pre>");
    page_add_escaped(page, text);
    page_add(page, "</pre></details>\n");
done:
    free(text);
    return status;
}

/* A run in the list of others, by the time its directory's status last changed. */
typedef struct Listed {
    const char *name;
    time_t changed;
} Listed;

/* Newest first; the name settles equal times, so that the order is the same on every reload. */
static int compare_listed(const void *left, const void *right) {
    const Listed *a = left, *b = right;
    return a->changed != b->changed ? (a->changed < b->changed) - (a->changed > b->changed)
                                    : strcmp(a->name, b->name);
}

/* Whether outputs/NAME is another run (a directory with a status or a configuration), and when it last
 * changed. */
static bool find_run(const Run *shown, const char *name, time_t *changed) {
    static const char *const marks[] = {"status.json", "config.json"};
    char directory[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct stat file;
    if (strcmp(name, shown->name) == 0 || strcmp(name, CURRENT_LINK) == 0 || file_is_temporary(name) ||
        file_join(directory, shown->outputs, name) != STATUS_OK)
        return false;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (file_join(path, directory, marks[i]) == STATUS_OK && stat(path, &file) == 0) {
            *changed = file.st_mtime;
            return true;
        }
    return false;
}

static Status add_listed_run(Page *page, const char *outputs, const char *name) {
    Status status = STATUS_OK;
    Run run;
    char done_text[NUMBER_BYTES], time[TIME_BYTES];
    TRY(run_load(&run, outputs, name));
    page_add(page, "<tr><td><a href=\"");
    page_add_url(page, name);
    page_add(page, "/\">");
    page_add_escaped(page, name);
    page_add(page, "</a></td><td>");
    add_state(page, &run);
    page_add(page, "</td><td>");
    if (run.has_status) {
        page_add(page, "%s %s</td><td>", format_count(run.status.step, done_text),
                 progress_unit(run.status.command));
        page_add_escaped(page, format_time(run.status.updated, time));
    }
    page_add(page, "</td></tr>\n");
done:
    return status;
}

static Status add_other_runs(Page *page, const Run *shown) {
    Status status = STATUS_OK;
    Names names = {0};
    Listed *runs = NULL;
    int64_t count = 0;
    TRY(directory_list(shown->outputs, &names));
    TRY(ALLOCATE(&runs, names.count + 1));
    for (int64_t i = 0; i < names.count; i++) {
        runs[count].name = names.names[i];
        count += find_run(shown, names.names[i], &runs[count].changed);
    }
    if (count == 0)
        goto done;
    qsort(runs, (size_t)count, sizeof *runs, compare_listed);
    page_add(page, "<h2>Other runs</h2>\n<div class=\"table\"><table>\n");
    for (int64_t i = 0; i < count && i < RUNS_MAX; i++)
        TRY(add_listed_run(page, shown->outputs, runs[i].name));
    page_add(page, "</table></div>\n");
    if (count > RUNS_MAX)
        page_add(page, "<p class=\"note\">and %lld older ones</p>\n", (long long)(count - RUNS_MAX));
done:
    free(runs);
    names_destroy(&names);
    return status;
}

Status dashboard_write(const char *outputs, const char *run_name) {
    Status status = STATUS_OK;
    Page page = {0};
    Run run;
    char path[FILE_PATH_BYTES];
    TRY(file_join(path, outputs, DASHBOARD_NAME));
    TRY(run_load(&run, outputs, run_name));
    add_head(&page, &run);
    add_title(&page, &run);
    add_progress(&page, &run);
    add_facts(&page, &run);
    TRY(add_loss(&page, &run));
    TRY(gallery_add(&page, outputs, run_name));
    TRY(add_metrics(&page, &run));
    TRY(add_config(&page, &run));
    TRY(add_other_runs(&page, &run));
    page_add(&page, "</main>\n%s</body>\n</html>\n", dashboard_script());
    TRY(page_write(&page, path));
done:
    page_destroy(&page);
    return status;
}
