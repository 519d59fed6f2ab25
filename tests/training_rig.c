#include "tests/training_rig.h"

#include "comm/comm_backend.h" /* comm_create_self: one process among the ranks */
#include "core/rng.h"
#include "io/file.h"
#include "tests/test.h"

static const uint64_t data_seed = 7;

static void require(Status status) {
    if (status == STATUS_OK)
        return;
    printf("FAILED: %s\n", status_message());
    exit(1);
}

static void put_big_endian(uint8_t *to, uint32_t value) {
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Three strokes of 4 to 8 pixels in eight directions. */
static void draw(uint8_t *image, RngKey key) {
    static const int directions[8][2] = {{0, 1},  {1, 0},  {1, 1},   {1, -1},
                                         {0, -1}, {-1, 0}, {-1, -1}, {-1, 1}};
    for (uint32_t stroke = 0; stroke < 3; stroke++) {
        int y = (int)rng_bounded(key, 8 * stroke, RIG_SIDE),
            x = (int)rng_bounded(key, 8 * stroke + 1, RIG_SIDE);
        const int *direction = directions[rng_bounded(key, 8 * stroke + 2, 8)];
        int length = 4 + (int)rng_bounded(key, 8 * stroke + 3, 5);
        for (int i = 0; i < length; i++, y += direction[0], x += direction[1])
            if (y >= 0 && y < RIG_SIDE && x >= 0 && x < RIG_SIDE)
                image[y * RIG_SIDE + x] = (uint8_t)(255 - 20 * i);
    }
}

static void write_split(const char *directory, const char *split, int64_t images, uint64_t seed) {
    enum { IMAGE_HEADER = 16, LABEL_HEADER = 8, PIXELS = RIG_SIDE * RIG_SIDE };
    char path[FILE_PATH_BYTES];
    size_t image_bytes = IMAGE_HEADER + (size_t)images * PIXELS, label_bytes = LABEL_HEADER + (size_t)images;
    uint8_t *image_file = NULL, *label_file = NULL;
    require(ALLOCATE(&image_file, (int64_t)image_bytes));
    require(ALLOCATE(&label_file, (int64_t)label_bytes));
    put_big_endian(image_file, 0x803);
    put_big_endian(image_file + 4, (uint32_t)images);
    put_big_endian(image_file + 8, RIG_SIDE);
    put_big_endian(image_file + 12, RIG_SIDE);
    put_big_endian(label_file, 0x801);
    put_big_endian(label_file + 4, (uint32_t)images);
    for (int64_t i = 0; i < images; i++) {
        draw(image_file + IMAGE_HEADER + i * PIXELS, rng_key(seed, RNG_TEST, 0, (uint32_t)i));
        label_file[LABEL_HEADER + i] = (uint8_t)(i % 10);
    }
    snprintf(path, sizeof path, "%.1000s/%.60s-images-idx3-ubyte", directory, split);
    require(file_write(path, image_file, image_bytes, FILE_REPLACE));
    snprintf(path, sizeof path, "%.1000s/%.60s-labels-idx1-ubyte", directory, split);
    require(file_write(path, label_file, label_bytes, FILE_REPLACE));
    free(image_file);
    free(label_file);
}

void rig_write_data(const char *directory, int64_t images, uint64_t seed) {
    require(file_make_directories(directory));
    write_split(directory, "train", images, seed);
    write_split(directory, "t10k", RIG_VALIDATION_IMAGES, seed + 1);
}

void rig_create(Rig *rig) {
    static const char *const settings[] = {
        "model.channels=[8,16,24]", "model.groups=4",
        "model.time_dim=24",        "diffusion.steps=200",
        "train.batch=16",           "train.shard=4",
        "train.epochs=3",           "train.lr=0.003",
        "train.warmup_steps=3",     "seed=18364758544493064720", /* beyond what a double holds */
        "train.bucket_mib=0.03",                                 /* some 4000 elements: several buckets */
    };
    memset(rig, 0, sizeof *rig);
    require(comm_create(&rig->comm));
    require(comm_create_self(&rig->alone));
    rig->backend = backend_find("cpu");
    CHECK(rig->backend);
    if (comm_rank(rig->comm) == 0)
        scratch_open(rig->scratch);
    require(comm_broadcast(rig->comm, rig->scratch, sizeof rig->scratch, 0));
    snprintf(rig->data, sizeof rig->data, "%s/strokes", rig->scratch);
    if (comm_rank(rig->comm) == 0)
        rig_write_data(rig->data, RIG_IMAGES, data_seed);
    require(comm_barrier(rig->comm));
    config_defaults(&rig->config);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        require(config_set(&rig->config, settings[i]));
    require(config_set_value(&rig->config, "data.dir", rig->data, "test"));
    require(config_check(&rig->config));
}

void rig_destroy(Rig *rig) {
    CHECK_OK(comm_barrier(rig->comm));
    if (comm_rank(rig->comm) == 0)
        scratch_remove(rig->scratch);
    comm_destroy(rig->alone);
    comm_destroy(rig->comm);
}

Trainer *rig_trainer(const Rig *rig, Comm *comm, int threads) {
    Trainer *trainer = NULL;
    require(trainer_create(&trainer, &rig->config, comm, rig->backend, threads));
    return trainer;
}

bool rig_same_state(const Trainer *a, const Trainer *b) {
    const Optimizer *p = &a->optimizer, *q = &b->optimizer;
    const TrainerProgress *s = &a->progress, *t = &b->progress;
    const float *first[] = {p->parameters, p->ema, p->m, p->v},
                *second[] = {q->parameters, q->ema, q->m, q->v};
    if (p->count != q->count)
        return false;
    for (int k = 0; k < 4; k++)
        if (memcmp(first[k], second[k], (size_t)p->count * sizeof(float)) != 0)
            return false;
    return s->step == t->step && s->epoch == t->epoch && s->step_in_epoch == t->step_in_epoch &&
           memcmp(&s->epoch_loss_sum, &t->epoch_loss_sum, sizeof(double)) == 0 &&
           memcmp(&s->best_epoch_mean, &t->best_epoch_mean, sizeof(double)) == 0 &&
           memcmp(&s->last_epoch_mean, &t->last_epoch_mean, sizeof(double)) == 0;
}
