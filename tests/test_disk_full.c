/* A full disk: each write is an error that says so, and what was there before is untouched. The disk is a
 * small tmpfs in a mount namespace of this process; where that cannot be had, the test is skipped. */
#define _GNU_SOURCE /* unshare */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "io/metrics.h"
#include "io/results.h"
#include "io/run_directory.h"
#include "tests/scratch.h"
#include "tests/test.h"

enum { SKIPPED = 77, PAGE = 4096, PARAMETERS = 2000, CHECKPOINT_BYTES = 4 * 4 * PARAMETERS };

#define DISK_OPTIONS "size=1m"

static bool write_line(const char *path, const char *line) {
    FILE *stream = fopen(path, "w");
    bool written = stream && fputs(line, stream) >= 0;
    return stream && fclose(stream) == 0 && written;
}

/* A mount namespace of its own; who is not root becomes root of a user namespace for it. False where the
 * system does not let it. */
static bool enter_namespace(void) {
    char users[64], groups[64];
    snprintf(users, sizeof users, "0 %u 1\n", (unsigned)geteuid());
    snprintf(groups, sizeof groups, "0 %u 1\n", (unsigned)getegid());
    if (geteuid() == 0
            ? unshare(CLONE_NEWNS) != 0
            : unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 || !write_line("/proc/self/setgroups", "deny") ||
                  !write_line("/proc/self/uid_map", users) || !write_line("/proc/self/gid_map", groups))
        return false;
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* Writes zeros until the disk is full, then gives `left` bytes back. */
static void fill_disk(const char *filler, off_t left) {
    static const char page[PAGE];
    int descriptor = open(filler, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    off_t used = 0;
    CHECK(descriptor >= 0);
    while (write(descriptor, page, PAGE) == PAGE)
        used += PAGE;
    CHECK(errno == ENOSPC);
    CHECK(used > left && ftruncate(descriptor, used - left) == 0);
    CHECK(close(descriptor) == 0);
}

static Checkpoint make_checkpoint(int64_t step, float *values, TensorInfo *tensor) {
    *tensor = (TensorInfo){.name = "weight", .rank = 1, .dims = {PARAMETERS}, .count = PARAMETERS};
    for (int i = 0; i < PARAMETERS; i++)
        values[i] = (float)(i + step);
    return (Checkpoint){.step = step,
                        .tensor_count = 1,
                        .tensors = tensor,
                        .parameter_count = PARAMETERS,
                        .parameters = values,
                        .ema = values,
                        .m = values,
                        .v = values};
}

static void check_newest(const char *run, int64_t step) {
    Checkpoint read = {0};
    CHECK_OK(checkpoint_read(run, &read, NULL));
    CHECK(read.step == step && read.parameters && read.parameters[1] == (float)(1 + step));
    checkpoint_release(&read);
}

static void test_checkpoint(const char *disk, const char *filler) {
    static float values[PARAMETERS];
    TensorInfo tensor;
    char run[FILE_PATH_BYTES], temporary[FILE_PATH_BYTES], next[FILE_PATH_BYTES];
    Checkpoint c = make_checkpoint(1, values, &tensor);
    CHECK_OK(file_join(run, disk, "run"));
    CHECK_OK(file_join(next, run, "checkpoints/step-000000002.h5"));
    CHECK_OK(file_join(temporary, run, "checkpoints/step-000000002.h5" FILE_TEMPORARY_SUFFIX));
    CHECK_OK(checkpoint_write(run, &c, 1));
    check_newest(run, 1);
    c = make_checkpoint(2, values, &tensor);
    for (off_t left = 0; left < CHECKPOINT_BYTES; left += PAGE) {
        fill_disk(filler, left);
        CHECK_ERROR(checkpoint_write(run, &c, 1), STATUS_FAILURE, "No space left on device");
        CHECK(strstr(status_message(), "step-000000002.h5") && !strchr(status_message(), '\n'));
        CHECK(!file_exists(temporary) && !file_exists(next));
        check_newest(run, 1);
    }
    CHECK(unlink(filler) == 0);
    CHECK_OK(checkpoint_write(run, &c, 1));
    check_newest(run, 2);
}

static void test_small_files(const char *disk, const char *filler) {
    char path[FILE_PATH_BYTES], steps[FILE_PATH_BYTES], *text = NULL;
    const NamedValue before = value_text("before", "kept"), after = value_text("after", "lost");
    static const float pixels[PARAMETERS];
    StepRecord record = {.step = 1, .loss = 1, .validation_loss = NAN};
    StepsLog *log = NULL;
    RunDirectory run;
    CHECK_OK(file_join(path, disk, "metrics.json"));
    CHECK_OK(metrics_write(path, 1, &before));
    CHECK_OK(file_join(steps, disk, "steps.jsonl"));
    CHECK_OK(steps_log_open(steps, 0, &log));
    fill_disk(filler, 0);
    CHECK_ERROR(metrics_write(path, 1, &after), STATUS_FAILURE, "No space left on device");
    CHECK_OK(file_read(path, &text, NULL));
    CHECK(text && strstr(text, "kept"));
    free(text);
    CHECK_OK(steps_log_append(log, &record)); /* only buffered */
    CHECK_ERROR(steps_log_flush(log), STATUS_FAILURE, "No space left on device");
    CHECK(steps_log_close(log) != STATUS_OK);
    CHECK_OK(file_join(path, disk, "samples.h5"));
    CHECK_ERROR(samples_write(path, pixels, pixels, 5, 20, 20, 1, &before), STATUS_FAILURE,
                "No space left on device");
    CHECK(!file_exists(path));
    CHECK_ERROR(run_directory_open(disk, "another", 0, &run), STATUS_FAILURE, "No space left on device");
    CHECK_OK(file_join(path, disk, "another"));
    CHECK(!file_exists(path));
    CHECK(unlink(filler) == 0);
}

int main(void) {
    char scratch[SCRATCH_PATH_BYTES], disk[FILE_PATH_BYTES], filler[FILE_PATH_BYTES];
    scratch_open(scratch);
    scratch_folder(scratch, "disk", disk);
    bool mounted = enter_namespace() && mount("none", disk, "tmpfs", 0, DISK_OPTIONS) == 0;
    if (mounted) {
        CHECK_OK(file_join(filler, disk, "filler"));
        test_checkpoint(disk, filler);
        test_small_files(disk, filler);
        CHECK(umount(disk) == 0);
    }
    scratch_remove(scratch);
    if (!mounted) {
        printf("skipped: cannot mount a small tmpfs here\n");
        return SKIPPED;
    }
    return test_result();
}
