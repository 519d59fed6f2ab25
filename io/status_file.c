#include <cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/file.h"
#include "io/metrics.h"

#define STATUS_NAME "status.json"

static const char *const state_names[] = {
    [RUN_RUNNING] = "running",
    [RUN_COMPLETED] = "completed",
    [RUN_INTERRUPTED] = "interrupted",
    [RUN_FAILED] = "failed",
};

const char *run_state_name(RunState state) {
    return state_names[state];
}

void status_now(char text[32]) {
    struct tm local;
    time_t now = time(NULL);
    text[0] = '\0';
    if (!localtime_r(&now, &local))
        return;
    strftime(text, 32, "%Y-%m-%dT%H:%M:%S%z", &local);
    size_t length = strlen(text);
    if (length >= 2 && length < 31) { /* +0100 -> +01:00 */
        memmove(text + length - 1, text + length - 2, 3);
        text[length - 2] = ':';
    }
}

Status status_write(const char *run_directory, const RunStatus *run_status) {
    char path[FILE_PATH_BYTES], updated[32];
    status_now(updated);
    const NamedValue values[] = {
        value_text("state", run_state_name(run_status->state)),
        value_text("command", run_status->command),
        value_integer("step", run_status->step),
        value_integer("total_steps", run_status->total_steps),
        value_integer("epoch", run_status->epoch),
        value_number("loss", run_status->loss),
        value_number("images_per_s", run_status->images_per_s),
        value_number("eta_s", run_status->eta_s),
        value_integer("ranks", run_status->ranks),
        value_integer("threads", run_status->threads),
        value_text("device", run_status->device),
        value_text("started", run_status->started),
        value_text("updated", updated),
        value_number("gpu_seconds", run_status->gpu_seconds),
        value_text("message", run_status->message),
    };
    Status status = file_join(path, run_directory, STATUS_NAME);
    return status == STATUS_OK ? metrics_write(path, (int)(sizeof values / sizeof *values), values) : status;
}

/* A number, or the string that stands for a non-finite one; NaN if there is neither. */
static double number_of(const cJSON *root, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    if (cJSON_IsNumber(item))
        return item->valuedouble;
    return cJSON_IsString(item) ? strtod(item->valuestring, NULL) : NAN;
}

static int64_t integer_of(const cJSON *root, const char *key) {
    double number = number_of(root, key);
    return fabs(number) < 9e15 ? (int64_t)number : 0;
}

static void copy_text(const cJSON *root, const char *key, char *text, size_t bytes) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    snprintf(text, bytes, "%s", cJSON_IsString(item) ? item->valuestring : "");
}

Status status_read(const char *run_directory, RunStatus *out) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES], state[32];
    char *text = NULL;
    cJSON *root = NULL;
    *out = (RunStatus){0};
    TRY(file_join(path, run_directory, STATUS_NAME));
    TRY(file_read(path, &text, NULL));
    root = cJSON_Parse(text);
    if (!cJSON_IsObject(root))
        FAIL(STATUS_BAD_INPUT, "%s: expected a JSON object, found something else", path);
    copy_text(root, "state", state, sizeof state);
    int known = (int)(sizeof state_names / sizeof *state_names), index = 0;
    while (index < known && strcmp(state, state_names[index]) != 0)
        index++;
    if (index == known)
        FAIL(STATUS_BAD_INPUT, "%s: state: expected running, completed, interrupted or failed, found \"%s\"",
             path, state);
    out->state = (RunState)index;
    copy_text(root, "command", out->command, sizeof out->command);
    out->step = integer_of(root, "step");
    out->total_steps = integer_of(root, "total_steps");
    out->epoch = integer_of(root, "epoch");
    out->loss = number_of(root, "loss");
    out->images_per_s = number_of(root, "images_per_s");
    out->eta_s = number_of(root, "eta_s");
    out->ranks = (int)integer_of(root, "ranks");
    out->threads = (int)integer_of(root, "threads");
    copy_text(root, "device", out->device, sizeof out->device);
    copy_text(root, "started", out->started, sizeof out->started);
    copy_text(root, "updated", out->updated, sizeof out->updated);
    out->gpu_seconds = number_of(root, "gpu_seconds");
    copy_text(root, "message", out->message, sizeof out->message);
done:
    cJSON_Delete(root);
    free(text);
    return status;
}
