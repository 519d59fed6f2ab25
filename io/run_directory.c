#include "io/run_directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "io/file.h"

#define LOCK_NAME ".lock"
#define STOP_NAME ".stop"
#define LATEST_NAME "LATEST_RUN.txt"
#define CURRENT_NAME "current"

enum {
    LOCK_MODE = 0666,
    LOCK_POLL_NANOSECONDS = 200000000,
    LOCK_TEXT_BYTES = 320,
    JOB_BYTES = 32,
    TIME_CHARACTERS = 15, /* YYYYmmdd-HHMMSS */
    MAXIMUM_SAME_SECOND = 1000,
};

static const char *const run_folders[] = {"checkpoints", "figures"};

Status run_directory_check_name(const char *name) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+=,-";
    size_t length = strlen(name);
    if (length == 0 || length >= RUN_NAME_BYTES)
        return status_error(STATUS_BAD_INPUT, "--run: expected a name of 1 to %d characters, found %zu",
                            RUN_NAME_BYTES - 1, length);
    if (name[0] == '.' || name[0] == '-' || strspn(name, allowed) != length)
        return status_error(
            STATUS_BAD_INPUT,
            "--run: expected a name of letters, digits and ._+=,- that begins with none of . and -, "
            "found \"%s\"",
            name);
    if (strcmp(name, CURRENT_NAME) == 0 || strcmp(name, LATEST_NAME) == 0 ||
        strcmp(name, "dashboard.html") == 0)
        return status_error(STATUS_BAD_INPUT,
                            "--run: \"%s\" is the name of another file of the output directory", name);
    return STATUS_OK;
}

/* The Slurm job this process belongs to, "" if none. */
static void slurm_job(char job[JOB_BYTES]) {
    const char *value = getenv("SLURM_JOB_ID");
    size_t length = value ? strlen(value) : 0;
    bool valid = length > 0 && length < JOB_BYTES && strspn(value, "0123456789") == length;
    snprintf(job, JOB_BYTES, "%s", valid ? value : "");
}

/* COMMAND-YYYYmmdd-HHMMSS-JOB for this command and job */
static bool belongs_to_job(const char *name, const char *command, const char *job) {
    size_t prefix = strlen(command);
    if (strlen(name) != prefix + 1 + TIME_CHARACTERS + 1 + strlen(job) ||
        strncmp(name, command, prefix) != 0 || name[prefix] != '-')
        return false;
    const char *time_text = name + prefix + 1;
    for (int i = 0; i < TIME_CHARACTERS; i++)
        if (i == 8 ? time_text[i] != '-' : time_text[i] < '0' || time_text[i] > '9')
            return false;
    return time_text[TIME_CHARACTERS] == '-' && strcmp(time_text + TIME_CHARACTERS + 1, job) == 0;
}

/* The latest run of this job, if it has one; a directory that cannot be listed yet has none. */
static bool find_run_of_job(const char *outputs, const char *command, const char *job,
                            char name[RUN_NAME_BYTES]) {
    DIR *directory = opendir(outputs);
    name[0] = '\0';
    if (!directory)
        return false;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (belongs_to_job(entry->d_name, command, job) && strcmp(entry->d_name, name) > 0)
            snprintf(name, RUN_NAME_BYTES, "%s", entry->d_name);
    closedir(directory);
    return name[0] != '\0';
}

Status run_directory_name(const char *outputs, const char *command, const char *given, bool resumes,
                          char name[RUN_NAME_BYTES]) {
    char job[JOB_BYTES], path[FILE_PATH_BYTES], stamp[TIME_CHARACTERS + 1];
    struct tm local;
    time_t now = time(NULL);
    if (given) {
        Status status = run_directory_check_name(given);
        snprintf(name, RUN_NAME_BYTES, "%s", status == STATUS_OK ? given : "");
        return status;
    }
    slurm_job(job);
    if (job[0] && resumes && find_run_of_job(outputs, command, job, name))
        return STATUS_OK;
    if (!localtime_r(&now, &local) ||
        strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &local) != TIME_CHARACTERS)
        return status_error(STATUS_FAILURE,
                            "cannot tell the local time for the run's name; give one with --run");
    snprintf(name, RUN_NAME_BYTES, "%s-%s%s%s", command, stamp, job[0] ? "-" : "", job);
    for (int i = 2; i < MAXIMUM_SAME_SECOND; i++) { /* two runs started within a second */
        Status status = file_join(path, outputs, name);
        if (status != STATUS_OK || !file_exists(path))
            return status;
        snprintf(name, RUN_NAME_BYTES, "%s-%s%s%s-%d", command, stamp, job[0] ? "-" : "", job, i);
    }
    return STATUS_OK;
}

static void read_holder(int lock, char holder[LOCK_TEXT_BYTES]) {
    char host[LOCK_TEXT_BYTES / 2] = "an unknown host";
    long long process = 0;
    char text[LOCK_TEXT_BYTES] = "";
    ssize_t got = pread(lock, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    if (sscanf(text, "%159s %lld", host, &process) == 2)
        snprintf(holder, LOCK_TEXT_BYTES, "process %lld on %s", process, host);
    else
        snprintf(holder, LOCK_TEXT_BYTES, "a process that has not written its name");
}

/* Who holds the lock, for the message of the next one. */
static Status write_holder(int lock, const char *path) {
    char host[LOCK_TEXT_BYTES / 2] = "", text[LOCK_TEXT_BYTES];
    if (gethostname(host, sizeof host - 1) != 0)
        snprintf(host, sizeof host, "unknown");
    int length = snprintf(text, sizeof text, "%s %lld\n", host, (long long)getpid());
    if (ftruncate(lock, 0) != 0 || pwrite(lock, text, (size_t)length, 0) != length)
        return status_error(file_error_status(errno), "%s: cannot write: %s", path, strerror(errno));
    return STATUS_OK;
}

/* Length of the longest leading part of a path that is there. */
static size_t existing_characters(const char *path) {
    char part[RUN_PATH_BYTES];
    snprintf(part, sizeof part, "%s", path);
    while (part[0] && !file_exists(part)) {
        char *slash = strrchr(part, '/');
        *(slash ? slash : part) = '\0';
    }
    return strlen(part);
}

/* Makes the directory if need be and opens its lock; another process may just be taking both away. */
static Status open_lock(RunDirectory *run, const char *path) {
    do {
        run->existing_characters = existing_characters(run->path);
        Status status = file_make_directories(run->path);
        if (status != STATUS_OK)
            return status;
        run->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, LOCK_MODE);
    } while (run->lock < 0 && errno == ENOENT && !file_is_directory(run->path));
    if (run->lock < 0)
        return status_error(file_error_status(errno), "%s: cannot create the lock: %s", path,
                            strerror(errno));
    return STATUS_OK;
}

/* flock: released by the kernel however the process ends, and not lost when some other code closes the file.
 */
static Status wait_for_lock(const RunDirectory *run, const char *path, double deadline, double wait_seconds) {
    char holder[LOCK_TEXT_BYTES];
    bool announced = false;
    while (flock(run->lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno == ENOLCK || errno == ENOSYS || errno == EOPNOTSUPP) {
            log_warning(
                "%s: this file system has no locks (%s): make sure that no other run uses this directory",
                path, strerror(errno));
            break;
        }
        if (errno != EWOULDBLOCK && errno != EINTR)
            return status_error(STATUS_FAILURE, "%s: cannot lock: %s", path, strerror(errno));
        read_holder(run->lock, holder);
        if (clock_seconds() >= deadline)
            return status_error(
                STATUS_BAD_INPUT,
                "%s is in use by %s (waited %.0f s): stop it, or choose another name with --run", run->path,
                holder, wait_seconds);
        if (!announced)
            log_info("%s is in use by %s: waiting up to %.0f s", run->path, holder, wait_seconds);
        announced = true;
        nanosleep(&(struct timespec){.tv_nsec = LOCK_POLL_NANOSECONDS}, NULL);
    }
    return STATUS_OK;
}

static void close_lock(RunDirectory *run) {
    close(run->lock);
    run->lock = -1;
}

static Status take_lock(RunDirectory *run, double wait_seconds) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES];
    double deadline = clock_seconds() + wait_seconds;
    struct stat file;
    TRY(file_join(path, run->path, LOCK_NAME));
    for (;;) {
        TRY(open_lock(run, path));
        status = wait_for_lock(run, path, deadline, wait_seconds);
        if (status != STATUS_OK) {
            close_lock(run); /* another's: it stays */
            goto done;
        }
        if (fstat(run->lock, &file) != 0 || file.st_nlink > 0)
            break;
        close_lock(run); /* its holder gave up the run and removed it */
    }
    TRY(write_holder(run->lock, path));
done:
    return status;
}

/* Takes away what was made for a run that never began; what has a file in it stays. */
static void give_up(RunDirectory *run) {
    char path[FILE_PATH_BYTES];
    size_t length = strlen(run->path);
    if (length <= run->existing_characters)
        return;
    for (int i = 0; i < (int)(sizeof run_folders / sizeof *run_folders); i++)
        if (file_join(path, run->path, run_folders[i]) == STATUS_OK)
            (void)rmdir(path);
    if (run->lock >= 0 && file_join(path, run->path, LOCK_NAME) == STATUS_OK) {
        (void)unlink(path);
        close_lock(run); /* before rmdir: network file systems keep a removed file that is open */
    }
    snprintf(path, sizeof path, "%s", run->path);
    for (; length > run->existing_characters; length--)
        if (path[length] == '\0' || path[length] == '/') {
            path[length] = '\0';
            (void)rmdir(path); /* fails where something is in it */
        }
}

/* For people and the dashboard: no reason to stop a run. */
static void publish_as_latest(const RunDirectory *run) {
    char path[FILE_PATH_BYTES], text[RUN_NAME_BYTES + 1];
    snprintf(text, sizeof text, "%s\n", run->name);
    if (file_join(path, run->outputs, LATEST_NAME) != STATUS_OK ||
        file_write(path, text, strlen(text), FILE_SHARED) != STATUS_OK)
        log_warning("%s", status_message());
    if (file_join(path, run->outputs, CURRENT_NAME) != STATUS_OK ||
        file_replace_link(path, run->name) != STATUS_OK)
        log_warning("%s", status_message());
}

Status run_directory_open(const char *outputs, const char *name, double wait_seconds, RunDirectory *out) {
    Status status = STATUS_OK;
    RunDirectory run = {.lock = -1};
    *out = run;
    TRY(run_directory_check_name(name));
    if (strlen(outputs) == 0 || strlen(outputs) >= sizeof run.outputs)
        FAIL(STATUS_BAD_INPUT, "--outputs: expected a path of 1 to %d characters, found %zu",
             RUN_OUTPUTS_BYTES - 1, strlen(outputs));
    snprintf(run.outputs, sizeof run.outputs, "%s", outputs);
    snprintf(run.name, sizeof run.name, "%s", name);
    if (snprintf(run.path, sizeof run.path, "%s/%s", outputs, name) >= (int)sizeof run.path)
        FAIL(STATUS_BAD_INPUT, "--outputs: the path of run \"%s\" is longer than %d characters", name,
             RUN_PATH_BYTES - 1);
    TRY(take_lock(&run, wait_seconds));
    *out = run;
done:
    if (status != STATUS_OK) {
        give_up(&run);
        if (run.lock >= 0)
            close_lock(&run);
        status_context(status, "run directory");
    }
    return status;
}

void run_directory_stop(const RunDirectory *run) {
    char path[FILE_PATH_BYTES];
    if (file_join(path, run->path, STOP_NAME) == STATUS_OK)
        (void)file_write(path, "", 0, FILE_REPLACE); /* the others find out at the end otherwise */
}

bool run_directory_is_stopped(const RunDirectory *run) {
    char path[FILE_PATH_BYTES];
    return file_join(path, run->path, STOP_NAME) == STATUS_OK && file_exists(path);
}

static void forget_stop(const RunDirectory *run) {
    char path[FILE_PATH_BYTES];
    if (file_join(path, run->path, STOP_NAME) == STATUS_OK)
        (void)unlink(path);
}

Status run_directory_begin(RunDirectory *run) {
    Status status = STATUS_OK;
    forget_stop(run); /* of a run that was killed */
    for (int i = 0; i < (int)(sizeof run_folders / sizeof *run_folders); i++) {
        char path[FILE_PATH_BYTES];
        TRY(file_join(path, run->path, run_folders[i]));
        TRY(file_make_directories(path));
    }
    publish_as_latest(run);
    run->existing_characters = strlen(run->path);
done:
    if (status != STATUS_OK)
        status_context(status, "run directory");
    return status;
}

/* True if the directory has an entry that is neither hidden nor one of the run's folders. */
static bool has_products(const char *path) {
    bool found = false;
    DIR *directory = opendir(path);
    if (!directory)
        return false;
    for (struct dirent *entry; !found && (entry = readdir(directory));) {
        found = entry->d_name[0] != '.';
        for (int i = 0; found && i < (int)(sizeof run_folders / sizeof *run_folders); i++)
            found = strcmp(entry->d_name, run_folders[i]) != 0;
    }
    closedir(directory);
    return found;
}

bool run_directory_is_used(const RunDirectory *run) {
    bool used = has_products(run->path);
    for (int i = 0; !used && i < (int)(sizeof run_folders / sizeof *run_folders); i++) {
        char path[FILE_PATH_BYTES];
        used = file_join(path, run->path, run_folders[i]) == STATUS_OK && has_products(path);
    }
    return used;
}

void run_directory_close(RunDirectory *run) {
    if (!run->path[0]) /* zero-initialised: its lock is not descriptor 0 */
        run->lock = -1;
    if (run->lock >= 0) {
        forget_stop(run);
        give_up(run);
    }
    if (run->lock >= 0) {
        if (ftruncate(run->lock, 0) != 0)
            log_warning("%s/%s: cannot clear: %s", run->path, LOCK_NAME, strerror(errno));
        close(run->lock);
    }
    *run = (RunDirectory){.lock = -1};
}
