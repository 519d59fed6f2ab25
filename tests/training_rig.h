/* A small training problem for the tests: strokes in IDX files, a configuration, trainers on it. */
#ifndef TESTS_TRAINING_RIG_H
#define TESTS_TRAINING_RIG_H

#include "comm/comm.h"
#include "tests/scratch.h"
#include "training/trainer.h"

/* 3 steps of 4, 4 and 2 shards in an epoch; the last shard holds one image and three slots of padding. */
enum {
    RIG_SIDE = 12,
    RIG_IMAGES = 37,
    RIG_VALIDATION_IMAGES = 25, /* more than a batch */
    RIG_BATCH = 16,
    RIG_SHARD = 4,
    RIG_STEPS_PER_EPOCH = 3
};

typedef struct Rig {
    Comm *comm;  /* all ranks */
    Comm *alone; /* this rank as one process of its own */
    const Backend *backend;
    char scratch[SCRATCH_PATH_BYTES]; /* one folder for all ranks */
    char data[FILE_PATH_BYTES];       /* in it: the strokes */
    Config config;                    /* of a network of 20,000 parameters on them */
} Rig;

/* Ends the program with a message on failure. Collective. */
void rig_create(Rig *rig);
void rig_destroy(Rig *rig);

/* Writes the two splits of a data set of images with a few straight strokes. */
void rig_write_data(const char *directory, int64_t images, uint64_t seed);

/* A trainer with rig->config on `comm` (rig->comm or rig->alone). */
Trainer *rig_trainer(const Rig *rig, Comm *comm, int threads);

/* Parameters, moving average, moments and progress have the same bits. */
bool rig_same_state(const Trainer *a, const Trainer *b);

#endif
