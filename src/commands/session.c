#include "commands/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/places.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/version.h"
#include "io/dashboard.h"
#include "io/metrics.h"
#include "training/trainer.h"

/* auto: the GPU if this build has the backend and the node a device, else the CPU, which exact priors need.
 */
static Status find_backend(const Arguments *arguments, const Backend **backend) {
    const char *device = arguments->device;
    if (strcmp(device, "auto") == 0 && arguments->exact_prior)
        device = "cpu";
    if (strcmp(device, "auto") == 0) { /* only then is the driver asked: it costs start-up time */
        const Backend *cuda = backend_find("cuda");
        bool has_device = cuda && (!cuda->is_available || cuda->is_available());
        device = has_device ? "cuda" : "cpu";
    }
    *backend = backend_find(device);
    if (arguments->exact_prior && strcmp(device, "cuda") == 0)
        return status_error(
            STATUS_BAD_INPUT,
            "--device cuda: exact priors (--prior %s) are computed on the CPU: use --device cpu",
            arguments->config.prior_name);
    if (!*backend)
        return status_error(STATUS_FAILURE, "--device %s: this build has no such backend; it has: %s", device,
                            backend_names());
    return STATUS_OK;
}

/* Whether a space-separated list has this word. */
static bool is_listed(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += length)
        if ((at == list || at[-1] == ' ') && (at[length] == '\0' || at[length] == ' '))
            return true;
    return false;
}

/* train.precision becomes a word of the backend, auto its default: so it is stored with the run. */
static Status choose_precision(Session *session) {
    Config *config = &session->arguments.config;
    const char *offered = session->backend->precisions;
    if (strcmp(config->train_precision, "auto") == 0)
        snprintf(config->train_precision, sizeof config->train_precision, "%.*s", (int)strcspn(offered, " "),
                 offered);
    if (is_listed(offered, config->train_precision))
        return STATUS_OK;
    return status_error(STATUS_BAD_INPUT, "train.precision: the %s backend offers %s, found %s",
                        session->backend->name, offered, config->train_precision);
}

enum { KERNELS_BYTES = 17, BUILD_BYTES = SESSION_BUILD_BYTES + 384 + KERNELS_BYTES };

/* The key threads, else OMP_NUM_THREADS, else this rank's share of the cores. */
static Status choose_threads(const Session *session, int *threads) {
    const char *variable = getenv("OMP_NUM_THREADS");
    char *end;
    *threads = (int)session->arguments.config.threads;
    if (*threads > 0)
        return STATUS_OK;
    if (variable && *variable) {
        long asked = strtol(variable, &end, 10);
        if ((*end != '\0' && *end != ',') || asked < 1 || asked > 4096)
            return status_error(STATUS_BAD_INPUT, "OMP_NUM_THREADS: expected 1 to 4096, found '%s'",
                                variable);
        *threads = (int)asked;
    }
    return STATUS_OK;
}

/* What this rank decides without the others. */
static Status choose_alone(Session *session) {
    Status status = STATUS_OK;
    TRY(find_backend(&session->arguments, &session->backend));
    TRY(choose_precision(session));
    TRY(trainer_choose_sums(&session->arguments.config, session->backend));
    TRY(choose_threads(session, &session->threads));
done:
    return status;
}

/* Takes this rank's device. DDPM_MPI_SHARE_DEVICES=1 lets ranks share one, for tests. Collective. */
static Status take_device(const Session *session, const RankPlace *places) {
    Status status = STATUS_OK;
    const char *variable = getenv("DDPM_MPI_SHARE_DEVICES");
    const bool share = variable && strcmp(variable, "1") == 0;
    BackendPlace place = {.precision = session->arguments.config.train_precision};
    status = places_device(places, comm_rank(session->comm), share, &place.device);
    TRY(comm_agree(session->comm, status));
    if (session->backend->start)
        status = session->backend->start(&place);
    TRY(comm_agree(session->comm, status));
done:
    return status;
}

Status session_choose_device(Session *session) {
    Status status = STATUS_OK;
    const Config *config = &session->arguments.config;
    RankPlace *places = NULL;
    status_now(session->started);
    session->start_seconds = clock_seconds();
    status = choose_alone(session);
    TRY(comm_agree(session->comm, status));
    TRY(places_gather(session->comm, session->backend, &places));
    if (session->threads == 0)
        session->threads = places_threads(places, comm_size(session->comm), comm_rank(session->comm));
    if (session->backend->max_workers && session->threads > session->backend->max_workers())
        session->threads = session->backend->max_workers();
    TRY(take_device(session, places));
    CommDeviceOptions options = {.max_ctas = (int)config->train_nccl_max_ctas,
                                 .timeout_seconds = config->train_nccl_timeout_s};
    if (session->backend->stream)
        TRY(comm_attach_device(session->comm, session->backend->stream(), &options));
done:
    free(places);
    return status;
}

/* The command whose run this is, "" if none: by its status.json, else (lost in a crash, say) by its products.
 */
static void find_owner(const Session *session, char *command, size_t bytes) {
    static const struct {
        const char *command, *product;
    } owners[] = {{"train", "steps.jsonl"},
                  {"sample", "samples.h5"},
                  {"posterior", "posterior.h5"},
                  {"sweep", "grid.json"}};
    RunStatus earlier = {0};
    char path[FILE_PATH_BYTES];
    const char *owner = status_read(session->run.path, &earlier) == STATUS_OK ? earlier.command : "";
    for (size_t i = 0; !owner[0] && i < sizeof owners / sizeof *owners; i++)
        if (session_path(session, owners[i].product, path) == STATUS_OK && file_exists(path))
            owner = owners[i].command;
    snprintf(command, bytes, "%s", owner);
}

/* A run keeps to one command: the products of two would overwrite each other. */
static Status check_owner(const Session *session) {
    char owner[32];
    find_owner(session, owner, sizeof owner);
    if (!owner[0] || strcmp(owner, session->command) == 0)
        return STATUS_OK;
    return status_error(STATUS_BAD_INPUT, "%s: expected a run of %s, found one of %s; choose another --run",
                        session->run.path, session->command, owner);
}

Status session_open_run(Session *session, bool resumes) {
    Status status = STATUS_OK;
    RunDirectory *run = &session->run;
    const Arguments *arguments = &session->arguments;
    char name[RUN_NAME_BYTES] = "";
    if (session->root) {
        status = run_directory_name(arguments->outputs, session->command, arguments->run, resumes, name);
        if (status == STATUS_OK)
            status = run_directory_open(arguments->outputs, name, RUN_LOCK_WAIT_SECONDS, run);
        if (status == STATUS_OK)
            status = check_owner(session);
    }
    TRY(comm_agree(session->comm, status));
    int lock = run->lock;
    TRY(comm_broadcast(session->comm, run, sizeof *run, 0));
    run->lock = session->root ? lock : -1;
done:
    return status;
}

Status session_begin_run(Session *session) {
    return session->root ? run_directory_begin(&session->run) : STATUS_OK;
}

Status session_path(const Session *session, const char *name, char path[FILE_PATH_BYTES]) {
    return file_join(path, session->run.path, name);
}

void session_update_dashboard(const Session *session) {
    static bool warned; /* there is one session in a process */
    if (dashboard_write(session->run.outputs, session->run.name) == STATUS_OK || warned)
        return;
    warned = true;
    log_warning("%s; the run goes on without the page", status_message());
}

Status session_write_config(const Session *session) {
    Status status = STATUS_OK;
    char path[FILE_PATH_BYTES], *json = NULL;
    if (!session->root)
        return STATUS_OK;
    TRY(session_path(session, "config.json", path));
    TRY(config_to_json(&session->arguments.config, &json));
    TRY(file_write(path, json, strlen(json), FILE_REPLACE));
done:
    free(json);
    return status;
}

void session_announce(const Session *session) {
    log_info("ddpm_mpi %s: %d rank%s x %d thread%s, %s, %s", DDPM_MPI_VERSION, comm_size(session->comm),
             comm_size(session->comm) == 1 ? "" : "s", session->threads, session->threads == 1 ? "" : "s",
             session->backend->description, comm_description(session->comm));
}

void session_build(char text[SESSION_BUILD_BYTES]) {
    snprintf(text, SESSION_BUILD_BYTES, "%s; %s; compiler %s", DDPM_MPI_VERSION, DDPM_MPI_COMMIT,
             __VERSION__);
}

/* The network's kernels, "" without one. */
static void describe_kernels(const Network *network, char kernels[KERNELS_BYTES]) {
    kernels[0] = '\0';
    if (network)
        snprintf(kernels, KERNELS_BYTES, "%016llx", (unsigned long long)network_kernels_checksum(network));
}

/* What must be equal on all ranks for equal bits. */
static void describe_build(const Session *session, const char *kernels, char build[BUILD_BYTES]) {
    char program[SESSION_BUILD_BYTES];
    session_build(program);
    snprintf(build, BUILD_BYTES, "%s; %s%s%s", program, session->backend->description,
             kernels[0] ? "; kernels " : "", kernels);
}

Status session_take_configuration(Session *session, const Checkpoint *checkpoint, const char *path) {
    Status status = STATUS_OK;
    Config stored, *asked = &session->arguments.config;
    char text[512];
    config_defaults(&stored);
    TRY(config_from_json(&stored, checkpoint->config_json, path));
    if (config_conflicts(asked, &stored, CONFIG_CHECKPOINT, text, sizeof text) > 0)
        FAIL(STATUS_BAD_INPUT,
             "%s: settings contradict the checkpoint: %s; leave them out to use the checkpoint's", path,
             text);
    config_copy_flagged(asked, &stored, CONFIG_CHECKPOINT);
    TRY(config_check(asked));
done:
    return status;
}

void session_compare_provenance(const Session *session, const Network *network, const char *provenance_json,
                                const char *path) {
    char kernels[KERNELS_BYTES];
    describe_kernels(network, kernels);
    const struct {
        const char *name, *now;
    } entries[] = {
        {"version", DDPM_MPI_VERSION}, {"commit", DDPM_MPI_COMMIT},
        {"compiler", __VERSION__},     {"libraries", session->backend->description},
        {"kernels", kernels},
    };
    char text[1024] = "", then[BUILD_BYTES];
    size_t used = 0;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        named_value_text(provenance_json, entries[i].name, then, sizeof then);
        bool known = then[0] != '\0'; /* a file of an earlier version has no kernels */
        if (known && strcmp(then, entries[i].now) != 0 && used < sizeof text)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s was \"%s\", is \"%s\"",
                                     used ? "; " : "", entries[i].name, then, entries[i].now);
    }
    if (used > 0)
        log_warning(
            "%s was written by another build or on another machine: %s; from here on the run may differ "
            "in its last bits from one left alone",
            path, text);
}

Status session_provenance(const Session *session, const Network *network, char **json) {
    Status status = STATUS_OK;
    int size = comm_size(session->comm);
    char build[BUILD_BYTES] = "", kernels[KERNELS_BYTES], host[HOST_BYTES] = "", *builds = NULL,
         *hosts = NULL, *host_list = NULL;
    *json = NULL;
    describe_kernels(network, kernels);
    describe_build(session, kernels, build);
    place_host(host);
    if (session->root) {
        TRY(ALLOCATE(&builds, (int64_t)size * BUILD_BYTES));
        TRY(ALLOCATE(&hosts, (int64_t)size * HOST_BYTES));
        TRY(ALLOCATE(&host_list, (int64_t)size * HOST_BYTES + 1));
    }
    TRY(comm_gather(session->comm, build, sizeof build, builds, (size_t)size * BUILD_BYTES));
    TRY(comm_gather(session->comm, host, sizeof host, hosts, (size_t)size * HOST_BYTES));
    if (!session->root)
        goto done;
    for (int rank = 0; rank < size; rank++) {
        const char *other = builds + (int64_t)rank * BUILD_BYTES, *name = hosts + (int64_t)rank * HOST_BYTES;
        if (strcmp(other, build) != 0)
            log_warning(
                "rank %d on %s differs from rank 0 on %s, results may depend on the ranks: \"%s\", \"%s\"",
                rank, name, host, other, build);
        if (!is_listed(host_list, name)) {
            strcat(host_list, *host_list ? " " : "");
            strcat(host_list, name);
        }
    }
    NamedValue values[] = {
        value_text("version", DDPM_MPI_VERSION),
        value_text("commit", DDPM_MPI_COMMIT),
        value_text("compiler", __VERSION__),
        value_text("backend", session->backend->name),
        value_text("libraries", session->backend->description),
        value_text("kernels", kernels),
        value_text("communication", comm_description(session->comm)),
        value_integer("ranks", size),
        value_integer("threads", session->threads),
        value_text("hosts", host_list),
    };
    TRY(named_values_json((int)(sizeof values / sizeof *values), values, json));
done:
    free(builds);
    free(hosts);
    free(host_list);
    return status;
}
