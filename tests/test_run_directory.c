/* Run directories (names, lock, links) and the files of numbers in them. */
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "io/file.h"
#include "io/metrics.h"
#include "io/run_directory.h"
#include "tests/scratch.h"
#include "tests/test.h"

static void check_text(const char *path, const char *expected) {
    char *text = NULL;
    CHECK_OK(file_read(path, &text, NULL));
    if (!text || strcmp(text, expected) != 0)
        printf("found:\n%s\nexpected:\n%s\n", text ? text : "(nothing)", expected);
    CHECK(text && strcmp(text, expected) == 0);
    free(text);
}

static void join(char path[FILE_PATH_BYTES], const char *directory, const char *name) {
    CHECK_OK(file_join(path, directory, name));
}

static void check_bad_name(const char *outputs, const char *name) {
    char found[RUN_NAME_BYTES];
    RunDirectory run;
    CHECK_ERROR(run_directory_name(outputs, "train", name, true, found), STATUS_BAD_INPUT, "--run");
    CHECK_ERROR(run_directory_open(outputs, name, 0, &run), STATUS_BAD_INPUT, "--run");
}

static void test_names(const char *scratch) {
    char outputs[FILE_PATH_BYTES], path[FILE_PATH_BYTES], name[RUN_NAME_BYTES], again[RUN_NAME_BYTES];
    int year, second, length = 0;
    scratch_folder(scratch, "names", outputs);
    CHECK(unsetenv("SLURM_JOB_ID") == 0);
    CHECK_OK(run_directory_name(outputs, "train", "my-run_1.2", true, name));
    CHECK(strcmp(name, "my-run_1.2") == 0);
    static const char *const bad[] = {
        "", ".", "..", ".lock", "-x", "a/b", "a b", "a\nb", "current", "LATEST_RUN.txt", "dashboard.html"};
    for (int i = 0; i < (int)(sizeof bad / sizeof *bad); i++)
        check_bad_name(outputs, bad[i]);
    char longest[RUN_NAME_BYTES + 1];
    memset(longest, 'a', RUN_NAME_BYTES);
    longest[RUN_NAME_BYTES] = '\0';
    check_bad_name(outputs, longest);

    CHECK_OK(run_directory_name(outputs, "train", NULL, true, name));
    CHECK(sscanf(name, "train-%8d-%6d%n", &year, &second, &length) == 2 && length == 21 &&
          name[length] == '\0');
    join(path, outputs, name);
    CHECK_OK(file_make_directories(path));
    CHECK_OK(run_directory_name(outputs, "train", NULL, true, again));
    CHECK(strcmp(name, again) != 0 && !file_exists(again)); /* taken, even within the same second */

    CHECK(setenv("SLURM_JOB_ID", "4711", 1) == 0);
    CHECK_OK(run_directory_name(outputs, "sample", NULL, true, name));
    CHECK(strncmp(name, "sample-", 7) == 0 && strcmp(name + strlen(name) - 5, "-4711") == 0);
    static const char *const others[] = {"train-20200101-000000-4711", "sample-20200101-000000-47110",
                                         "sample-x-4711", "sample-2020010100-0000-4711"};
    for (int i = 0; i < (int)(sizeof others / sizeof *others); i++) {
        join(path, outputs, others[i]);
        CHECK_OK(file_make_directories(path));
    }
    CHECK_OK(run_directory_name(outputs, "sample", NULL, true, name));
    CHECK(strncmp(name, "sample-2020", 11) != 0);
    join(path, outputs, "sample-20200101-000000-4711");
    CHECK_OK(file_make_directories(path));
    join(path, outputs, "sample-20200102-000000-4711");
    CHECK_OK(file_make_directories(path));
    CHECK_OK(run_directory_name(outputs, "sample", NULL, true, name));
    CHECK(strcmp(name, "sample-20200102-000000-4711") == 0);
    CHECK_OK(run_directory_name(outputs, "sample", NULL, false, name)); /* nothing to resume: a new one */
    CHECK(strncmp(name, "sample-2020", 11) != 0 && strcmp(name + strlen(name) - 5, "-4711") == 0);
    join(path, outputs, name);
    CHECK_OK(file_make_directories(path));
    CHECK_OK(run_directory_name(outputs, "sample", NULL, false, again));
    CHECK(strcmp(name, again) != 0);
    CHECK_OK(run_directory_name(outputs, "sample", "given", true, name));
    CHECK(strcmp(name, "given") == 0);
    CHECK(setenv("SLURM_JOB_ID", "../x", 1) == 0); /* not a job: ignored */
    CHECK_OK(run_directory_name(outputs, "posterior", NULL, true, name));
    CHECK(strlen(name) == strlen("posterior-YYYYmmdd-HHMMSS"));
    CHECK(unsetenv("SLURM_JOB_ID") == 0);
}

static void begin(const char *outputs, const char *name, RunDirectory *run) {
    CHECK_OK(run_directory_open(outputs, name, 0, run));
    CHECK_OK(run_directory_begin(run));
}

static void test_layout(const char *scratch) {
    char outputs[FILE_PATH_BYTES], path[FILE_PATH_BYTES], target[RUN_NAME_BYTES] = "";
    RunDirectory run = {0}, second = {0};
    snprintf(outputs, sizeof outputs, "%.512s/deep/er/outputs", scratch);
    run_directory_close(&run); /* zero-initialised: nothing happens */
    begin(outputs, "first", &run);
    CHECK(run.lock >= 0 && strcmp(run.name, "first") == 0 && strcmp(run.outputs, outputs) == 0);
    join(path, outputs, "first/checkpoints");
    CHECK(file_is_directory(path));
    join(path, outputs, "first/figures");
    CHECK(file_is_directory(path));
    CHECK(!run_directory_is_used(&run));
    begin(outputs, "second", &second);
    join(path, outputs, "LATEST_RUN.txt");
    check_text(path, "second\n");
    join(path, outputs, "current");
    CHECK(readlink(path, target, sizeof target - 1) == 6 && strcmp(target, "second") == 0);
    join(path, second.path, "config.json");
    CHECK_OK(file_write(path, "{}", 2, FILE_DURABLE));
    CHECK(run_directory_is_used(&second) && !run_directory_is_used(&run));
    join(path, run.path, "checkpoints/step-000000001.h5");
    CHECK_OK(file_write(path, "", 0, FILE_REPLACE));
    CHECK(run_directory_is_used(&run));
    run_directory_close(&run);
    CHECK(run.lock == -1);
    run_directory_close(&run);
    run_directory_close(&second);
    CHECK_OK(run_directory_open(outputs, "first", 0, &run)); /* a second time: fine */
    run_directory_close(&run);
    join(path, outputs, "LATEST_RUN.txt"); /* it did not begin */
    check_text(path, "second\n");
    join(path, outputs, "first/.lock");
    CHECK(file_exists(path));
}

/* Several runs under one folder: each replaces the page and the link to the latest, and none is in another's
 * way. */
static void test_shared_files(const char *scratch) {
    enum { PROCESSES = 4, ROUNDS = 200 };
    char outputs[FILE_PATH_BYTES], page[FILE_PATH_BYTES], link[FILE_PATH_BYTES], name[16];
    RunDirectory run = {0};
    pid_t children[PROCESSES];
    scratch_folder(scratch, "shared", outputs);
    join(page, outputs, "dashboard.html");
    join(link, outputs, "current");
    for (int p = 0; p < PROCESSES; p++) {
        children[p] = fork();
        for (int i = 0; children[p] == 0 && i < ROUNDS; i++)
            if (file_write(page, "page\n", 5, FILE_SHARED) != STATUS_OK ||
                file_replace_link(link, "x") != STATUS_OK)
                _exit(1);
        if (children[p] == 0)
            _exit(0);
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status = -1;
        CHECK(waitpid(children[p], &status, 0) == children[p] && status == 0);
    }
    check_text(page, "page\n");
    DIR *directory = opendir(outputs);
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        CHECK(!strstr(entry->d_name, FILE_TEMPORARY_SUFFIX));
    CHECK(directory && closedir(directory) == 0);
    /* what cannot be published is no reason to stop */
    join(page, outputs, "LATEST_RUN.txt");
    CHECK_OK(file_make_directories(page));
    snprintf(name, sizeof name, "goes-on");
    begin(outputs, name, &run);
    CHECK(file_is_directory(page));
    run_directory_close(&run);
}

/* What is closed before it has begun leaves nothing that was not there, however the path is written. */
static void test_given_up(const char *scratch) {
    static const char *const written[] = {"given/up", "given//up/", "given/./up"};
    char outputs[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    RunDirectory run;
    for (int i = 0; i < (int)(sizeof written / sizeof *written); i++) {
        join(outputs, scratch, written[i]);
        CHECK_OK(run_directory_open(outputs, "run", 0, &run));
        CHECK(file_is_directory(run.path));
        run_directory_close(&run);
        join(path, scratch, "given");
        CHECK(!file_exists(path));
    }
    scratch_folder(scratch, "kept", outputs);
    CHECK_OK(run_directory_open(outputs, "run", 0, &run));
    join(path, run.path, "notes.txt");
    CHECK_OK(file_write(path, "x", 1, FILE_REPLACE)); /* somebody's */
    run_directory_close(&run);
    check_text(path, "x");
}

static void test_unwritable(const char *scratch) {
    char path[FILE_PATH_BYTES], below[FILE_PATH_BYTES];
    RunDirectory run;
    join(path, scratch, "plain_file");
    CHECK_OK(file_write(path, "x", 1, FILE_REPLACE));
    CHECK_ERROR(run_directory_open(path, "run", 0, &run), STATUS_BAD_INPUT, "Not a directory");
    CHECK(run.lock == -1 && strstr(status_message(), path) && !strchr(status_message(), '\n'));
    join(below, path, "outputs");
    CHECK_ERROR(run_directory_open(below, "run", 0, &run), STATUS_BAD_INPUT, "Not a directory");
    CHECK_ERROR(run_directory_open("/proc/ddpm_mpi", "run", 0, &run), STATUS_BAD_INPUT, "/proc/ddpm_mpi");
    CHECK_ERROR(run_directory_open("", "run", 0, &run), STATUS_BAD_INPUT, "--outputs");
    scratch_folder(scratch, "read_only", path);
    CHECK(chmod(path, 0555) == 0);
    if (geteuid() != 0) /* root may write everywhere */
        CHECK_ERROR(run_directory_open(path, "run", 0, &run), STATUS_BAD_INPUT, "Permission denied");
    CHECK(chmod(path, 0755) == 0);
}

/* A process that holds the run's lock for `seconds` after it has told the pipe that it has it, and then gives
 * the run up unless it `begins`. */
static pid_t start_holder(const char *outputs, double seconds, bool begins) {
    int channel[2];
    char ready = 0;
    CHECK(pipe(channel) == 0);
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        RunDirectory run;
        ready = run_directory_open(outputs, "contended", 0, &run) == STATUS_OK ? 'y' : 'n';
        if (begins && run_directory_begin(&run) != STATUS_OK)
            _exit(1);
        if (write(channel[1], &ready, 1) != 1)
            _exit(1);
        usleep((useconds_t)(seconds * 1e6));
        run_directory_close(&run);
        _exit(0);
    }
    CHECK(read(channel[0], &ready, 1) == 1 && ready == 'y');
    CHECK(close(channel[0]) == 0 && close(channel[1]) == 0);
    return child;
}

static void test_lock(const char *scratch) {
    char outputs[FILE_PATH_BYTES], holder[64], latest[FILE_PATH_BYTES];
    RunDirectory run, other;
    double start;
    scratch_folder(scratch, "lock", outputs);
    pid_t child = start_holder(outputs, 30, true);
    begin(outputs, "free", &other);
    start = clock_seconds();
    snprintf(holder, sizeof holder, "contended is in use by process %lld on ", (long long)child);
    CHECK_ERROR(run_directory_open(outputs, "contended", 0.5, &run), STATUS_BAD_INPUT, holder);
    CHECK(clock_seconds() - start >= 0.5 && run.lock == -1);
    join(latest, outputs, "LATEST_RUN.txt"); /* a refused run is not the latest */
    check_text(latest, "free\n");
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    CHECK_OK(run_directory_open(outputs, "contended", 0, &run)); /* the kernel has released it */
    snprintf(holder, sizeof holder, "process %lld on", (long long)getpid());
    CHECK_ERROR(run_directory_open(outputs, "contended", 0, &other), STATUS_BAD_INPUT, holder);
    run_directory_close(&run);

    child = start_holder(outputs, 0.7, true);
    start = clock_seconds();
    CHECK_OK(run_directory_open(outputs, "contended", 20, &run)); /* waits until it is given back */
    CHECK(clock_seconds() - start >= 0.3);
    CHECK(waitpid(child, NULL, 0) == child);
    run_directory_close(&run);

    scratch_folder(scratch, "removed", outputs); /* given up by its holder: made again for the next */
    child = start_holder(outputs, 0.7, false);
    CHECK_OK(run_directory_open(outputs, "contended", 20, &run));
    CHECK(waitpid(child, NULL, 0) == child && file_is_directory(run.path));
    CHECK_ERROR(run_directory_open(outputs, "contended", 0, &other), STATUS_BAD_INPUT, "is in use");
    run_directory_close(&run);
    join(latest, outputs, "contended");
    CHECK(!file_exists(latest));
}

static StepRecord record_of(int64_t step) {
    return (StepRecord){.step = step,
                        .epoch = step / 3,
                        .loss = 1.0 / 3 + (double)step,
                        .grad_norm = 0.1,
                        .lr = 2e-4,
                        .images_per_s = 812.5,
                        .validation_loss = step % 3 == 0 ? 0.07 : NAN};
}

static bool same_number(double a, double b) {
    return (isnan(a) && isnan(b)) || a == b;
}

static bool same_record(const StepRecord *a, const StepRecord *b) {
    return a->step == b->step && a->epoch == b->epoch && same_number(a->loss, b->loss) &&
           same_number(a->grad_norm, b->grad_norm) && same_number(a->lr, b->lr) &&
           same_number(a->images_per_s, b->images_per_s) &&
           same_number(a->validation_loss, b->validation_loss);
}

static void append_steps(const char *path, int64_t last_step, int64_t first, int64_t last) {
    StepsLog *log = NULL;
    CHECK_OK(steps_log_open(path, last_step, &log));
    for (int64_t step = first; log && step <= last; step++) {
        StepRecord record = record_of(step);
        CHECK_OK(steps_log_append(log, &record));
    }
    CHECK_OK(steps_log_close(log));
}

static void check_steps(const char *path, int64_t expected) {
    StepRecord *records = NULL;
    int64_t count = -1;
    CHECK_OK(steps_log_read(path, &count, &records));
    CHECK(count == expected);
    for (int64_t i = 0; records && i < count; i++) {
        StepRecord wanted = record_of(i + 1);
        CHECK(same_record(&records[i], &wanted));
    }
    free(records);
}

static void add_bytes(const char *path, const char *bytes, size_t count) {
    FILE *stream = fopen(path, "a");
    CHECK(stream && fwrite(bytes, 1, count, stream) == count);
    CHECK(stream && fclose(stream) == 0);
}

static void test_steps_log(const char *scratch) {
    char path[FILE_PATH_BYTES], expected[FILE_PATH_BYTES];
    StepsLog *log = NULL;
    StepRecord *records = NULL;
    int64_t count;
    char *whole = NULL;
    size_t bytes = 0;
    join(path, scratch, "steps.jsonl");
    join(expected, scratch, "expected.jsonl");
    CHECK_ERROR(steps_log_read(path, &count, &records), STATUS_BAD_INPUT, "steps.jsonl");
    CHECK_OK(steps_log_close(NULL));
    append_steps(path, 0, 1, 12);
    check_steps(path, 12);
    CHECK_OK(file_read(path, &whole, &bytes));
    static const char first_line[] = "{\"step\":1,\"epoch\":0,\"loss\":1.3333333333333333,\"grad_norm\":0.1,"
                                     "\"lr\":0.0002,\"images_per_s\":812.5}\n";
    CHECK(whole && strncmp(whole, first_line, strlen(first_line)) == 0);
    append_steps(path, 7, 8, 12); /* resume: the same bytes as without */
    CHECK_OK(file_write(expected, whole, bytes, FILE_REPLACE));
    check_text(path, whole);
    static const char zeros[4] = {0};
    for (size_t torn = 0; torn < 50;
         torn++) { /* a line torn at any place, or a tail of zeros after a crash */
        add_bytes(path, "{\"step\":13,\"epoch\":4,\"loss\":0.5,\"grad_norm\":0.1,\"lr\":", torn);
        add_bytes(path, zeros, torn % 4);
        check_steps(path, 12);
        append_steps(path, 12, 1, 0);
        check_text(path, whole);
    }
    free(whole);
    append_steps(path, 4, 1, 0); /* a damaged line in between takes no others along */
    add_bytes(path, "damaged\n", 8);
    append_steps(path, 4, 5, 12);
    append_steps(path, 9, 10, 12);
    check_steps(path, 12);
    append_steps(path, 0, 1, 2); /* afresh */
    check_steps(path, 2);

    const double special[] = {NAN, INFINITY, -INFINITY, -0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2};
    CHECK_OK(steps_log_open(path, 0, &log));
    for (int i = 0; i < 7; i++) {
        StepRecord record = {i + 1, 0, special[i], special[i], special[6 - i], 1, special[i]};
        CHECK_OK(steps_log_append(log, &record));
    }
    CHECK_OK(steps_log_flush(log));
    CHECK_OK(steps_log_read(path, &count, &records)); /* flushed: visible while it is open */
    CHECK(count == 7);
    for (int i = 0; records && i < count; i++) {
        StepRecord record = {i + 1, 0, special[i], special[i], special[6 - i], 1, special[i]};
        CHECK(same_record(&records[i], &record));
    }
    free(records);
    CHECK_OK(steps_log_close(log));
    CHECK_ERROR(steps_log_open("/proc/ddpm_mpi/steps.jsonl", 0, &log), STATUS_BAD_INPUT, "/proc/ddpm_mpi");
}

static void test_metrics(const char *scratch) {
    char path[FILE_PATH_BYTES];
    const NamedValue values[] = {
        value_integer("total_steps", 37520), value_integer("big", INT64_MAX),
        value_unsigned("seed", UINT64_MAX),  value_number("loss", 0.1),
        value_number("best", INFINITY),      value_number("nothing", NAN),
        value_boolean("finished", true),     value_text("device", "a \"quoted\" name\n"),
        value_number("missing.rmse", 0.25),  value_number("missing.coverage", 0.9),
        value_json("sizes", "[1, 2]")};
    join(path, scratch, "metrics.json");
    CHECK_OK(metrics_write(path, 11, values));
    check_text(
        path,
        "{\n\t\"total_steps\":\t37520,\n\t\"big\":\t\"9223372036854775807\",\n"
        "\t\"seed\":\t\"18446744073709551615\",\n\t\"loss\":\t0.1,\n\t\"best\":\t\"inf\",\n"
        "\t\"nothing\":\t\"nan\",\n\t\"finished\":\ttrue,\n\t\"device\":\t\"a \\\"quoted\\\" name\\n\",\n"
        "\t\"missing\":\t{\n\t\t\"rmse\":\t0.25,\n\t\t\"coverage\":\t0.9\n\t},\n"
        "\t\"sizes\":\t[1, 2]\n}\n");
    const NamedValue broken = value_json("sizes", "[1,");
    CHECK_ERROR(metrics_write(path, 1, &broken), STATUS_FAILURE, "sizes");
    CHECK_ERROR(metrics_write("/proc/ddpm_mpi/metrics.json", 1, values), STATUS_BAD_INPUT,
                "/proc/ddpm_mpi/metrics.json");
}

static void test_status(const char *scratch) {
    char path[FILE_PATH_BYTES];
    RunStatus written = {.state = RUN_INTERRUPTED,
                         .command = "train",
                         .step = 12,
                         .total_steps = 37520,
                         .epoch = 3,
                         .loss = NAN,
                         .images_per_s = 1e3 / 3,
                         .eta_s = INFINITY,
                         .ranks = 8,
                         .threads = 2,
                         .device = "cpu",
                         .gpu_seconds = 0.5,
                         .message = "signal 15"},
              read = {0};
    CHECK_ERROR(status_read(scratch, &read), STATUS_BAD_INPUT, "status.json");
    status_now(written.started);
    CHECK(strlen(written.started) == strlen("2026-01-31T13:59:59+01:00"));
    for (int state = RUN_RUNNING; state <= RUN_FAILED; state++) {
        written.state = (RunState)state;
        CHECK_OK(status_write(scratch, &written));
        CHECK_OK(status_read(scratch, &read));
        CHECK(read.state == written.state && read.step == 12 && read.total_steps == 37520 && read.epoch == 3);
    }
    CHECK(isnan(read.loss) && read.images_per_s == 1e3 / 3 && isinf(read.eta_s) && read.gpu_seconds == 0.5);
    CHECK(read.ranks == 8 && read.threads == 2);
    CHECK(strcmp(read.command, "train") == 0 && strcmp(read.device, "cpu") == 0);
    CHECK(strcmp(read.message, "signal 15") == 0 && strcmp(read.started, written.started) == 0);
    CHECK(strcmp(read.updated, written.started) >= 0);
    join(path, scratch, "status.json");
    CHECK_OK(file_write(path, "{\"state\":", 9, FILE_REPLACE));
    CHECK_ERROR(status_read(scratch, &read), STATUS_BAD_INPUT, "expected a JSON object");
    CHECK_OK(file_write(path, "{\"state\":\"asleep\"}", 18, FILE_REPLACE));
    CHECK_ERROR(status_read(scratch, &read), STATUS_BAD_INPUT, "found \"asleep\"");
}

int main(void) {
    char scratch[SCRATCH_PATH_BYTES];
    scratch_open(scratch);
    test_names(scratch);
    test_layout(scratch);
    test_shared_files(scratch);
    test_given_up(scratch);
    test_unwritable(scratch);
    test_lock(scratch);
    test_steps_log(scratch);
    test_metrics(scratch);
    test_status(scratch);
    scratch_remove(scratch);
    return test_result();
}
