/* The images to observe. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/source.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "io/checksum.h"
#include "io/idx.h"

/* Draws of the prior looked at for one of a label: labels that are rarer are refused. */
enum { DRAWS_PER_IMAGE = 10000 };

/* ---- of the test split ---- */

/* (number of matching images) their indices, in order. */
static Status matching(const Dataset *test, int64_t label, int64_t *count, int64_t **indices) {
    Status status = STATUS_OK;
    TRY(ALLOCATE(indices, test->count));
    *count = 0;
    for (int64_t i = 0; i < test->count; i++)
        if (label < 0 || test->labels[i] == label)
            (*indices)[(*count)++] = i;
done:
    return status;
}

static Status check_image(const TruthChoice *choice, int64_t image, int64_t count) {
    char which[64] = "images";
    if (image < count)
        return STATUS_OK;
    if (choice->label >= 0)
        snprintf(which, sizeof which, "images of class %lld", (long long)choice->label);
    if (count == 0)
        return status_error(STATUS_BAD_INPUT,
                            "%s: expected a class of the test split, found %lld: it has no %s",
                            choice->label_key, (long long)choice->label, which);
    return status_error(STATUS_BAD_INPUT, "%s: expected 0 to %lld (the test split has %lld %s), found %lld",
                        choice->images_key, (long long)count - 1, (long long)count, which, (long long)image);
}

static Status allocate(Truths *truths) {
    Status status = STATUS_OK;
    TRY(ALLOCATE(&truths->index, truths->count));
    TRY(ALLOCATE(&truths->label, truths->count));
    if (!truths->drawn)
        TRY(ALLOCATE(&truths->pixels, truths->count * truths->height * truths->width));
done:
    return status;
}

/* Rank 0. */
static Status take_images(const char *directory, const TruthChoice *choice, Truths *truths) {
    Status status = STATUS_OK;
    Dataset test = {0};
    int64_t *indices = NULL, count, pixels = truths->height * truths->width;
    TRY(dataset_load(directory, "t10k", 0, &test));
    if (test.height != truths->height || test.width != truths->width)
        FAIL(STATUS_BAD_INPUT,
             "%s: expected test images of %lldx%lld pixels, as the prior or network draws them, found "
             "%lldx%lld",
             directory, (long long)truths->height, (long long)truths->width, (long long)test.height,
             (long long)test.width);
    TRY(matching(&test, choice->label, &count, &indices));
    TRY(allocate(truths));
    for (int64_t i = 0; i < truths->count; i++) {
        int64_t image = config_selected(choice->images, i);
        TRY(check_image(choice, image, count));
        truths->index[i] = indices[image];
        truths->label[i] = test.labels[indices[image]];
        memcpy(truths->pixels + i * pixels, test.pixels + indices[image] * pixels, (size_t)pixels);
    }
done:
    dataset_release(&test);
    free(indices);
    return status;
}

/* ---- of an exact prior ---- */

static int64_t largest_image(const TruthChoice *choice) {
    int64_t largest = 0;
    for (int64_t i = 0; i < choice->images->count; i++)
        if (config_selected(choice->images, i) > largest)
            largest = config_selected(choice->images, i);
    return largest;
}

static Status draw_label(const Truths *truths, int64_t draw, float *image, int64_t *label) {
    Status status = STATUS_OK;
    int found;
    TRY(prior_draw(truths->prior, truths->seed, (uint32_t)draw, image, &found));
    *label = found;
done:
    return status;
}

/* numbers (count): the first draws of this label. */
static Status find_draws(const Truths *truths, const TruthChoice *choice, int64_t count, int64_t *numbers,
                         float *image) {
    Status status = STATUS_OK;
    int64_t seen = 0, limit = count * DRAWS_PER_IMAGE, label;
    for (int64_t draw = 0; seen < count && draw < limit; draw++) {
        if (interrupt_received()) {
            log_info("stopped by signal: %lld of the %lld images of label %lld were found, nothing is kept",
                     (long long)seen, (long long)count, (long long)choice->label);
            FAIL(STATUS_INTERRUPTED, "stopped by signal");
        }
        TRY(draw_label(truths, draw, image, &label));
        if (label == choice->label)
            numbers[seen++] = draw;
    }
    if (seen < count)
        FAIL(STATUS_BAD_INPUT, "%s: only %lld of the prior's first %lld draws have label %lld, expected %lld",
             choice->label_key, (long long)seen, (long long)limit, (long long)choice->label,
             (long long)count);
done:
    return status;
}

static Status number_draws(const TruthChoice *choice, Truths *truths) {
    Status status = STATUS_OK;
    float *image = NULL;
    int64_t *numbers = NULL, largest = largest_image(choice);
    if (choice->label >= prior_labels(truths->prior))
        FAIL(STATUS_BAD_INPUT, "%s: expected a label of the prior, 0 to %lld, found %lld", choice->label_key,
             (long long)prior_labels(truths->prior) - 1, (long long)choice->label);
    TRY(allocate(truths));
    TRY(ALLOCATE(&image, truths->height * truths->width));
    if (choice->label >= 0) {
        TRY(ALLOCATE(&numbers, largest + 1));
        TRY(find_draws(truths, choice, largest + 1, numbers, image));
    }
    for (int64_t i = 0; i < truths->count; i++) {
        int64_t number = config_selected(choice->images, i);
        truths->index[i] = numbers ? numbers[number] : number;
        TRY(draw_label(truths, truths->index[i], image, &truths->label[i]));
    }
done:
    free(image);
    free(numbers);
    return status;
}

/* ---- both ---- */

static Status find_on_root(const Config *config, const TruthChoice *choice, Truths *truths) {
    return truths->drawn ? number_draws(choice, truths) : take_images(config->data_dir, choice, truths);
}

bool truths_are_drawn(const Source *source, const Config *config) {
    return source->prior && strcmp(config->posterior_truth, "test") != 0;
}

Status truths_find(Session *session, const Source *source, const TruthChoice *choice, Truths *truths) {
    Status status = STATUS_OK;
    const Config *config = &session->arguments.config;
    *truths = (Truths){
        .drawn = truths_are_drawn(source, config),
        .count = choice->images->count,
        .height = source->height,
        .width = source->width,
        .prior = source->prior,
        .seed = config->seed,
    };
    if (session->root)
        status = find_on_root(config, choice, truths);
    TRY(comm_agree(session->comm, status));
    if (!session->root)
        status = allocate(truths);
    TRY(comm_agree(session->comm, status));
    size_t bytes = (size_t)truths->count * sizeof(int64_t);
    TRY(comm_broadcast(session->comm, truths->index, bytes, 0));
    TRY(comm_broadcast(session->comm, truths->label, bytes, 0));
    if (!truths->drawn)
        TRY(comm_broadcast(session->comm, truths->pixels,
                           (size_t)(truths->count * truths->height * truths->width), 0));
done:
    return status;
}

void truths_release(Truths *truths) {
    free(truths->index);
    free(truths->label);
    free(truths->pixels);
    *truths = (Truths){0};
}

Status truths_image(const Truths *truths, int64_t i, float *image) {
    int64_t pixels = truths->height * truths->width;
    if (truths->drawn)
        return prior_draw(truths->prior, truths->seed, (uint32_t)truths->index[i], image, NULL);
    for (int64_t p = 0; p < pixels; p++)
        image[p] = (float)truths->pixels[i * pixels + p] / 127.5f - 1.0f;
    return STATUS_OK;
}

Status truths_checksum(const Truths *truths, uint64_t *value) {
    Status status = STATUS_OK;
    Checksum checksum = checksum_start();
    float *image = NULL;
    int64_t pixels = truths->height * truths->width;
    TRY(ALLOCATE(&image, pixels));
    for (int64_t i = 0; i < truths->count; i++) {
        TRY(truths_image(truths, i, image));
        checksum_add(&checksum, &truths->index[i], sizeof truths->index[i]);
        checksum_add(&checksum, &truths->label[i], sizeof truths->label[i]);
        checksum_add(&checksum, image, (size_t)pixels * sizeof *image);
    }
    *value = checksum_value(&checksum);
done:
    free(image);
    return status;
}
