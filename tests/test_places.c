/* Which device and how many threads each rank takes, for what launchers and schedulers show to ranks. */
#include <string.h>

#include "commands/places.h"
#include "tests/test.h"

enum { MAX_RANKS = 8 };

static RankPlace places[MAX_RANKS];

/* Place of a rank: its host, the devices it sees as letters ("abc"), its cores as a range. */
static void put(int rank, const char *host, const char *devices, int first_core, int cores) {
    RankPlace *place = &places[rank];
    memset(place, 0, sizeof *place);
    snprintf(place->host, sizeof place->host, "%s", host);
    for (; devices[place->device_count]; place->device_count++)
        memset(&place->devices[place->device_count], devices[place->device_count], sizeof(DeviceIdentity));
    for (int core = first_core; core < first_core + cores; core++)
        place->cores.bits[core / 8] |= (unsigned char)(1 << core % 8);
}

/* The device that a rank takes, as a letter; '!' where it is refused. */
static char device_of(int rank, bool share) {
    int device = -1;
    if (places_device(places, rank, share, &device) != STATUS_OK)
        return '!';
    CHECK(device >= 0 && device < places[rank].device_count);
    return (char)places[rank].devices[device].bytes[0];
}

/* Ranks of one host that see these devices (separated by spaces) take those of `expected`, one letter each.
 */
static void check_devices(const char *seen, const char *expected, bool share) {
    char text[128], took[MAX_RANKS + 1] = "";
    int ranks = 0;
    snprintf(text, sizeof text, "%s", seen);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
        put(ranks++, "a", word, 0, 1);
    for (int rank = 0; rank < ranks; rank++)
        took[rank] = device_of(rank, share);
    printf("see %s: take %s\n", seen, took);
    CHECK(strcmp(took, expected) == 0);
}

static void test_devices(void) {
    check_devices("abcd abcd abcd abcd", "abcd", false); /* all see all: srun --gpus-per-node */
    check_devices("a b c d", "abcd", false);             /* each its own: srun --gpus-per-task=1 */
    check_devices("ab ab cd cd", "abcd", false);         /* those of its socket */
    check_devices("ab cd ab cd", "acbd", false);         /* likewise, ranks dealt out in turn */
    check_devices("ba ba", "ba", false);                 /* in the order of CUDA_VISIBLE_DEVICES */
    check_devices("ab", "a", false);
    check_devices("ab ab ab", "ab!", false); /* more ranks than devices */
    check_devices("a a", "a!", false);
    check_devices("a b a", "ab!", false);
    check_devices("a a a", "aaa", true);
    check_devices("ab ab ab ab ab", "ababa", true);
}

static void test_several_hosts(void) {
    put(0, "a", "xy", 0, 1);
    put(1, "a", "xy", 0, 1);
    put(2, "b", "uv", 0, 1);
    put(3, "b", "uv", 0, 1);
    CHECK(device_of(2, false) == 'u' && device_of(3, false) == 'v');
    put(2, "b", "xy", 0, 1); /* two containers on one machine: other names, the same devices */
    CHECK(device_of(2, false) == '!');
    CHECK(strstr(status_message(), "no GPU is left on b: this rank sees 2, taken by lower ranks"));
}

static void test_no_devices(void) {
    int device = -1;
    put(0, "a", "", 0, 1);
    put(1, "a", "", 0, 1);
    CHECK_OK(places_device(places, 1, false, &device));
    CHECK(device == 0);
}

static void test_threads(void) {
    put(0, "a", "", 0, 8);
    put(1, "a", "", 0, 8);
    put(2, "b", "", 0, 8);
    CHECK(places_threads(places, 3, 0) == 4 && places_threads(places, 3, 2) == 8);
    put(1, "a", "", 8, 3); /* bound to its own */
    CHECK(places_threads(places, 3, 0) == 8 && places_threads(places, 3, 1) == 3);
    put(0, "a", "", 0, 1);
    put(1, "a", "", 0, 1);
    CHECK(places_threads(places, 3, 1) == 1); /* not 0 */
    put(0, "a", "", 0, 0);
    CHECK(places_threads(places, 3, 0) == 1); /* the system does not say */
}

int main(void) {
    test_devices();
    test_several_hosts();
    test_no_devices();
    test_threads();
    return test_result();
}
