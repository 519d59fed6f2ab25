#include "io/checksum.h"

#include <string.h>

static void mix(Checksum *checksum, uint64_t word) {
    uint64_t state = (checksum->state ^ word) * 0xD6E8FEB86659FD93u; /* odd: a bijection modulo 2^64 */
    checksum->state = state ^ (state >> 32);
}

Checksum checksum_start(void) {
    return (Checksum){0x6A09E667F3BCC908u};
}

void checksum_add(Checksum *checksum, const void *data, size_t bytes) {
    const unsigned char *next = data;
    mix(checksum, bytes);
    for (; bytes >= sizeof(uint64_t); bytes -= sizeof(uint64_t), next += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, next, sizeof word);
        mix(checksum, word);
    }
    if (bytes > 0) {
        uint64_t word = 0;
        memcpy(&word, next, bytes);
        mix(checksum, word);
    }
}

uint64_t checksum_value(const Checksum *checksum) {
    Checksum end = *checksum;
    mix(&end, 0);
    mix(&end, 0);
    return end.state;
}
