#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "io/file.h"
#include "io/metrics.h"
#include "io/number_text.h"

#define FLUSH_INTERVAL_SECONDS 2.0

enum { LINE_BYTES = 512 };

struct StepsLog {
    FILE *stream;
    double last_flush;
    int error; /* of the first failed write; later ones fail too, since stdio may drop what it could not write
                */
    char path[FILE_PATH_BYTES];
};

/* The number behind "key": in a line, quotes around a non-finite one skipped. */
static bool find_number(const char *line, const char *key, double *value) {
    char pattern[32], *end;
    snprintf(pattern, sizeof pattern, "\"%s\":", key);
    const char *text = strstr(line, pattern);
    if (!text)
        return false;
    text += strlen(pattern);
    text += *text == '"';
    *value = strtod(text, &end);
    return end != text;
}

/* One line without its newline; false for anything that steps_log_append has not written. */
static bool parse_line(const char *line, StepRecord *record) {
    double step, epoch;
    size_t length = strlen(line);
    if (length < 2 || length >= LINE_BYTES || line[0] != '{' || line[length - 1] != '}')
        return false;
    if (!find_number(line, "step", &step) || !find_number(line, "epoch", &epoch) ||
        !(step >= 0 && step < 1e15) || !(epoch >= 0 && epoch < 1e15))
        return false;
    record->step = (int64_t)step;
    record->epoch = (int64_t)epoch;
    if (!find_number(line, "validation_loss", &record->validation_loss))
        record->validation_loss = NAN;
    return find_number(line, "loss", &record->loss) && find_number(line, "grad_norm", &record->grad_norm) &&
           find_number(line, "lr", &record->lr) && find_number(line, "images_per_s", &record->images_per_s);
}

/* Takes the next whole line of *rest, NUL-terminated in place, and advances; NULL at the end or at a torn
 * line. */
static char *next_line(char **rest) {
    char *line = *rest, *end = strchr(line, '\n');
    if (!end)
        return NULL;
    *end = '\0';
    *rest = end + 1;
    return line;
}

/* Bytes to keep: up to the last line of a step that is not after last_step. Lines that are no records stay
 * between those that are; steps_log_read names them. Says which steps are missing at the end: a run writes
 * them before each checkpoint. */
static Status find_cut(const char *path, int64_t last_step, size_t *kept, size_t *bytes) {
    char *text = NULL;
    Status status = file_read(path, &text, bytes);
    if (status == STATUS_OK) {
        StepRecord record;
        char *rest = text, *line;
        int64_t last = 0;
        *kept = 0;
        while ((line = next_line(&rest))) {
            if (!parse_line(line, &record))
                continue;
            if (record.step > last_step)
                break;
            *kept = (size_t)(rest - text);
            last = record.step;
        }
        if (last > 0 && last < last_step) /* of a run that began at another's checkpoint there may be none */
            log_warning("%s: the lines of steps %lld to %lld are missing", path, (long long)(last + 1),
                        (long long)last_step);
    }
    free(text);
    return status;
}

Status steps_log_open(const char *path, int64_t last_step, StepsLog **out) {
    Status status = STATUS_OK;
    StepsLog *log = NULL;
    size_t kept = 0, bytes = 0;
    *out = NULL;
    TRY(ALLOCATE(&log, 1));
    if (snprintf(log->path, sizeof log->path, "%s", path) >= (int)sizeof log->path)
        FAIL(STATUS_BAD_INPUT, "%.80s...: the path is too long", path);
    if (file_exists(path)) {
        TRY(find_cut(path, last_step, &kept, &bytes));
        if (kept < bytes && truncate(path, (off_t)kept) != 0)
            FAIL(file_error_status(errno), "%s: cannot cut back to step %lld: %s", path, (long long)last_step,
                 strerror(errno));
    }
    log->stream = fopen(path, "ae");
    if (!log->stream)
        FAIL(file_error_status(errno), "%s: cannot open for appending: %s", path, strerror(errno));
    log->last_flush = clock_seconds();
    *out = log;
    log = NULL;
done:
    free(log);
    return status;
}

static Status write_out(StepsLog *log) {
    log->last_flush = clock_seconds();
    if (!log->error && (fflush(log->stream) != 0 || ferror(log->stream)))
        log->error = errno;
    if (log->error)
        return status_error(file_error_status(log->error), "%s: cannot write: %s", log->path,
                            strerror(log->error));
    return STATUS_OK;
}

Status steps_log_append(StepsLog *log, const StepRecord *record) {
    char loss[NUMBER_TEXT_BYTES], norm[NUMBER_TEXT_BYTES], lr[NUMBER_TEXT_BYTES], rate[NUMBER_TEXT_BYTES],
        validation[NUMBER_TEXT_BYTES];
    bool validated = !isnan(record->validation_loss);
    int written = fprintf(log->stream,
                          "{\"step\":%" PRId64 ",\"epoch\":%" PRId64
                          ",\"loss\":%s,\"grad_norm\":%s,\"lr\":%s,\"images_per_s\":%s%s%s}\n",
                          record->step, record->epoch, number_text(record->loss, loss),
                          number_text(record->grad_norm, norm), number_text(record->lr, lr),
                          number_text(record->images_per_s, rate), validated ? ",\"validation_loss\":" : "",
                          validated ? number_text(record->validation_loss, validation) : "");
    if (written < 0 && !log->error)
        log->error = errno;
    if (log->error)
        return write_out(log);
    return clock_seconds() - log->last_flush >= FLUSH_INTERVAL_SECONDS ? write_out(log) : STATUS_OK;
}

Status steps_log_flush(StepsLog *log) {
    Status status = write_out(log);
    if (status == STATUS_OK && fsync(fileno(log->stream)) != 0 && errno != EINVAL)
        status = status_error(STATUS_FAILURE, "%s: cannot fsync: %s", log->path, strerror(errno));
    return status;
}

Status steps_log_close(StepsLog *log) {
    if (!log)
        return STATUS_OK;
    Status status = steps_log_flush(log);
    if (fclose(log->stream) != 0 && status == STATUS_OK)
        status = status_error(file_error_status(errno), "%s: cannot close: %s", log->path, strerror(errno));
    free(log);
    return status;
}

Status steps_log_read(const char *path, int64_t *count, StepRecord **records) {
    Status status = STATUS_OK;
    char *text = NULL;
    StepRecord *list = NULL;
    int64_t lines = 0, used = 0, skipped = 0;
    *count = 0;
    *records = NULL;
    TRY(file_read(path, &text, NULL));
    for (const char *c = text; (c = strchr(c, '\n')); c++)
        lines++;
    TRY(ALLOCATE(&list, lines));
    for (char *rest = text, *line; (line = next_line(&rest));) {
        if (parse_line(line, &list[used]))
            used++;
        else
            skipped++;
    }
    if (skipped > 0)
        log_warning("%s: %lld lines are not step records and are left out", path, (long long)skipped);
    *count = used;
    *records = list;
    list = NULL;
done:
    free(list);
    free(text);
    return status;
}
