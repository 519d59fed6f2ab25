/* What posterior and sweep draw from, a checkpoint's network or an exact prior (prior.name), and the images
 * they observe: of the test split, or drawn from the exact prior. */
#ifndef COMMANDS_SOURCE_H
#define COMMANDS_SOURCE_H

#include "commands/generation.h"
#include "diffusion/prior.h"

typedef struct Source {
    TrainedModel model; /* the network's; zero for an exact prior */
    Prior *prior;       /* the exact prior; NULL: the network */
    char name[32];      /* "network", or the prior's */
    int64_t height, width;
} Source;

/* Usage errors that need no file: --checkpoint together with --prior, or neither. Collective. */
Status source_check(const Session *session);

/* Loads the network, or makes the prior on rank 0 (class-gaussian and empirical from the training images in
 * data.dir) and sends it to all; then the configuration is complete. Collective. */
Status source_load(Session *session, Source *source);
void source_release(Source *source); /* accepts a zeroed struct */

/* Generator of the source's images; jacobian: some sampler needs vector-Jacobian products. Collective in that
 * all ranks need one. */
Status source_generator(const Source *source, Session *session, bool jacobian, Generator *generator);

/* What reads the digit in an image: the exact prior itself; for the network the empirical prior of the first
 * prior.images training images, where data.dir has some of the network's size, else *reader is NULL and a
 * line says so. `owned`: to be destroyed by the caller. Collective. */
Status source_reader(Session *session, const Source *source, Prior **reader, bool *owned);

/* ---- images to observe ---- */

/* Which images; the names are for messages. */
typedef struct TruthChoice {
    const ConfigSelection *images;
    int64_t label; /* count images of this label only; -1: all */
    const char *images_key, *label_key;
} TruthChoice;

typedef struct Truths {
    bool drawn; /* truths_are_drawn */
    int64_t count, height, width;
    int64_t *index;  /* (count) in the test split, or number of the prior's draw */
    int64_t *label;  /* (count) */
    uint8_t *pixels; /* (count, height, width) of the test split; NULL if drawn */
    const Prior *prior;
    uint64_t seed; /* of the prior's draws */
} Truths;

/* Whether truths are the exact prior's draws (posterior.truth); else they are images of the test split. */
bool truths_are_drawn(const Source *source, const Config *config);

/* STATUS_BAD_INPUT: an image the split does not have (with the valid range), an unknown label, images of
 * another size, posterior.truth = prior with a network. Collective. */
Status truths_find(Session *session, const Source *source, const TruthChoice *choice, Truths *truths);
void truths_release(Truths *truths); /* accepts a zeroed struct */

/* Image i (height, width) in [-1, 1]. */
Status truths_image(const Truths *truths, int64_t i, float *image);

/* A checksum of all images and labels, the same on every rank. */
Status truths_checksum(const Truths *truths, uint64_t *checksum);

/* ---- random numbers of a unit ---- */

/* Of the observation noise: the same for all fractions and samplers of a mask seed and image. */
uint64_t unit_noise_seed(uint64_t seed, uint64_t mask_seed);

/* Of the draws: the same for all samplers. Depends on nothing but these, so a unit of a sweep is what the
 * command posterior draws. */
uint64_t unit_draw_seed(uint64_t seed, uint64_t mask_seed, int64_t observed_count, int64_t truth_index);

#endif
