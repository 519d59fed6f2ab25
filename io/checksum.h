/* A running 64-bit checksum: each 8-byte word is xored in, multiplied by an odd constant and folded. Every
 * step is a bijection of the state, so two inputs of equal length that differ in one word never collide. Not
 * cryptographic. */
#ifndef IO_CHECKSUM_H
#define IO_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

typedef struct Checksum {
    uint64_t state;
} Checksum;

Checksum checksum_start(void);
/* Adds the byte count, then the bytes, so that neighbouring fields cannot run into each other. */
void checksum_add(Checksum *checksum, const void *data, size_t bytes);
/* The checksum of all that was added so far. */
uint64_t checksum_value(const Checksum *checksum);

#endif
