/* Where the ranks of a run compute: hosts, processor cores, devices. Every rank sees all places, so all
 * decide alike. */
#ifndef COMMANDS_PLACES_H
#define COMMANDS_PLACES_H

#include "comm/comm.h"
#include "core/team.h"
#include "kernels/backend.h"

enum { HOST_BYTES = 64, PLACE_BACKEND_BYTES = 32 };

typedef struct RankPlace {
    char host[HOST_BYTES];
    char backend[PLACE_BACKEND_BYTES];
    TeamCores cores;
    int32_t device_count; /* that the rank sees; 0 with a backend without devices */
    DeviceIdentity devices[BACKEND_MAX_DEVICES];
} RankPlace;

/* This process's host; "unknown" where the system does not say. */
void place_host(char host[HOST_BYTES]);

/* All ranks' places in the order of ranks, on every rank; the caller frees them. STATUS_FAILURE: a rank's
 * backend has no device, or the ranks have different backends, as --device auto gives where only some of them
 * see a device. Collective. */
Status places_gather(Comm *comm, const Backend *backend, RankPlace **places);

/* A rank's share of its cores: divided among the ranks of its host that may run on them too. All of them take
 * part where ranks are not bound, none but the rank itself where the launcher gave each its own. At least 1.
 */
int places_threads(const RankPlace *places, int size, int rank);

/* The number of the device that a rank takes: the first that it sees and no lower rank took. So the i-th rank
 * of a node takes the i-th device where all see the same ones, and its own where a launcher or scheduler
 * shows each rank some. `share` (for tests): where none is free, the one with the fewest ranks, and a
 * warning; without it STATUS_FAILURE. 0 with a backend without devices. */
Status places_device(const RankPlace *places, int rank, bool share, int *device);

#endif
