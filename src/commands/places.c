#include "commands/places.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"

void place_host(char host[HOST_BYTES]) {
    memset(host, 0, HOST_BYTES);
    if (gethostname(host, HOST_BYTES - 1) != 0)
        snprintf(host, HOST_BYTES, "unknown");
}

static Status place_of_this_rank(const Backend *backend, RankPlace *place) {
    int count = 0;
    Status status = STATUS_OK;
    memset(place, 0, sizeof *place);
    place_host(place->host);
    snprintf(place->backend, sizeof place->backend, "%s", backend->name);
    team_cores(&place->cores);
    if (backend->devices)
        status = backend->devices(place->devices, &count);
    place->device_count = count;
    return status;
}

/* The same answer on every rank. */
static Status check_backends(const RankPlace *places, int size) {
    for (int rank = 1; rank < size; rank++)
        if (strcmp(places[rank].backend, places[0].backend) != 0)
            return status_error(
                STATUS_FAILURE,
                "rank 0 on %s would compute on %s but rank %d on %s on %s: do all of them see a "
                "GPU? Otherwise --device cpu",
                places[0].host, places[0].backend, rank, places[rank].host, places[rank].backend);
    return STATUS_OK;
}

Status places_gather(Comm *comm, const Backend *backend, RankPlace **places) {
    int size = comm_size(comm);
    const size_t bytes = (size_t)size * sizeof **places;
    RankPlace mine, *all = NULL;
    Status status = place_of_this_rank(backend, &mine);
    *places = NULL;
    TRY(comm_agree(comm, status));
    TRY(ALLOCATE(&all, size));
    TRY(comm_gather(comm, &mine, sizeof mine, all, comm_rank(comm) == 0 ? bytes : 0));
    TRY(comm_broadcast(comm, all, bytes, 0));
    TRY(comm_agree(comm, check_backends(all, size)));
    *places = all;
    all = NULL;
done:
    free(all);
    return status;
}

static bool same_host(const RankPlace *a, const RankPlace *b) {
    return strcmp(a->host, b->host) == 0;
}

int places_threads(const RankPlace *places, int size, int rank) {
    const RankPlace *mine = &places[rank];
    int sharing = 0, threads;
    for (int other = 0; other < size; other++)
        if (same_host(&places[other], mine) && team_cores_overlap(&places[other].cores, &mine->cores))
            sharing++;
    threads = sharing > 0 ? team_cores_count(&mine->cores) / sharing : 1;
    return threads < 1 ? 1 : threads;
}

/* ---- devices ---- */

static int ranks_on(const DeviceIdentity *taken, int count, const DeviceIdentity *device) {
    int ranks = 0;
    for (int i = 0; i < count; i++)
        ranks += memcmp(&taken[i], device, sizeof *device) == 0;
    return ranks;
}

/* The first of a place's devices that the fewest of the ranks before it took; *ranks is how many did. */
static int least_taken(const RankPlace *place, const DeviceIdentity *taken, int count, int *ranks) {
    int device = 0, least = ranks_on(taken, count, &place->devices[0]);
    for (int i = 1; i < place->device_count; i++) {
        int here = ranks_on(taken, count, &place->devices[i]);
        if (here < least) {
            device = i;
            least = here;
        }
    }
    *ranks = least;
    return device;
}

Status places_device(const RankPlace *places, int rank, bool share, int *device) {
    Status status = STATUS_OK;
    DeviceIdentity *taken = NULL; /* (rank + 1) by each rank up to this one */
    int ranks = 0, sees = places[rank].device_count;
    *device = 0;
    if (sees == 0)
        return STATUS_OK;
    TRY(ALLOCATE(&taken, rank + 1));
    for (int r = 0; r <= rank; r++) {
        *device = least_taken(&places[r], taken, r, &ranks);
        taken[r] = places[r].devices[*device];
    }
    if (ranks > 0 && share)
        log_warning("this rank shares its GPU with %d of the lower ranks", ranks);
    else if (ranks > 0)
        FAIL(STATUS_FAILURE,
             "no GPU is left on %s: this rank sees %d, taken by lower ranks; start at most one rank per GPU, "
             "and let each rank see its own GPU or all of the node's (CUDA_VISIBLE_DEVICES)",
             places[rank].host, sees);
done:
    free(taken);
    return status;
}
