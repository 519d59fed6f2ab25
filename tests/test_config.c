/* Configuration: defaults, every error, round trips, differences. Argument: the folder of the shipped
 * configs. */
#include <float.h>
#include <unistd.h>

#include "core/config.h"
#include "tests/test.h"

static Config fresh(void) {
    Config config;
    config_defaults(&config);
    return config;
}

static void test_table(void) {
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const ConfigKey *key = config_key(i);
        char value[CONFIG_VALUE_SIZE], range[CONFIG_RANGE_SIZE];
        Config config = fresh(), before = config;
        CHECK(config_find(key->path) == i);
        CHECK((key->flags & CONFIG_ANY) != 0);
        bool of_checkpoint =
            strncmp(key->path, "model.", 6) == 0 || strncmp(key->path, "diffusion.", 10) == 0;
        CHECK(((key->flags & CONFIG_CHECKPOINT) != 0) == of_checkpoint);
        CHECK(!(key->flags & CONFIG_CHECKPOINT) || (key->flags & CONFIG_RESUME_EQUAL));
        CHECK(!(key->flags & CONFIG_FREE) == !!(key->flags & CONFIG_RESUME_EQUAL));
        /* every default is a value that the key itself accepts */
        CHECK_OK(config_set_value(&config, key->path, config_value_json(&before, i, value), "default"));
        CHECK(config_difference(&config, &before, CONFIG_ANY, value, sizeof value) == 0);
        CHECK(strlen(config_range_text(i, range)) < CONFIG_RANGE_SIZE - 1);
        CHECK(config_was_set(&config, key->path) && !config_was_set(&before, key->path));
    }
    CHECK(config_find("train.nothing") == -1 && config_find("train") == -1);
}

/* Fields are named after paths; the macro compares them as the compiler saw them. */
static void test_field_names(void) {
    static const char *const paths[] = {
#define KEY(path, field, type, default_value, range, flags, meaning) path, #field,
#include "core/config_keys.def"
#undef KEY
    };
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s", paths[2 * i]);
        for (char *c = name; *c; c++)
            if (*c == '.')
                *c = '_';
        CHECK(strcmp(name, paths[2 * i + 1]) == 0);
    }
}

static void test_defaults(void) {
    Config config = fresh();
    CHECK_OK(config_check(&config));
    CHECK(config.seed == 0 && config.train_epochs == 80 && config.train_batch == 128 &&
          config.train_shard == 0);
    CHECK(config.diffusion_steps == 300 && config.diffusion_beta_start == 1e-4);
    CHECK(config.diffusion_beta_end == 2e-2 && strcmp(config.diffusion_schedule, "linear") == 0);
    CHECK(config.model_channels.count == 3 && config.model_channels.values[0] == 64);
    CHECK(config.model_channels.values[1] == 128 && config.model_channels.values[2] == 256);
    CHECK(config.train_lr == 2e-4 && config.train_clip_norm == 1.0 && config.posterior_mask_seed == 1);
    CHECK(config.posterior_class == 7 && config.posterior_observation_noise == false);
    CHECK(config.posterior_particles == 64 && config.posterior_draws_per_run == 4);
    CHECK(strcmp(config.posterior_sampler, "guided_calibrated") == 0 && config.sweep_samplers.count == 1);
    CHECK(strcmp(config.sweep_samplers.words[0], "guided_calibrated") == 0);
}

static void test_read(void) {
    Config config = fresh();
    CHECK_OK(config_from_json(
        &config,
        "{\"seed\": 9007199254740991, \"data\": {\"dir\": \"a b\"},\n"
        " \"model\": {\"channels\": [16, 32]},\n"
        " \"train\": {\"batch\": 64, \"lr\": 1e-3, \"clip_norm\": 0},\n"
        " \"posterior\": {\"observation_noise\": true, \"mask_seed\": \"18446744073709551615\"}}",
        "text"));
    CHECK(config.seed == 9007199254740991u && strcmp(config.data_dir, "a b") == 0);
    CHECK(config.model_channels.count == 2 && config.model_channels.values[1] == 32);
    CHECK(config.model_channels.values[2] == 0);
    CHECK(config.train_batch == 64 && config.train_lr == 1e-3 && config.train_clip_norm == 0);
    CHECK(config.posterior_observation_noise && config.posterior_mask_seed == UINT64_MAX);
    CHECK(config_was_set(&config, "train.batch") && !config_was_set(&config, "train.shard"));
    CHECK(!config_was_set(&config, "no.key"));
    CHECK_OK(config_from_json(&config, "{\"train\": {\"shard\": 4}}", "text"));
    CHECK(config.train_batch == 64 && config.train_shard == 4);
    CHECK_OK(config_from_json(&config, " {} \n", "text"));
}

typedef struct Wrong {
    const char *input, *message;
} Wrong;

static void test_wrong_json(void) {
    static const Wrong cases[] = {
        {"", "F: line 1, column 1: not valid JSON"},
        {"{\n  \"train\": {\n    \"lr\": 1e\n  }\n}", "F: line 3, column"},
        {"{\n  \"train\": {\n    \"lr\": 1,\n  }\n}", "F: line 4, column"},
        {"{\n  \"seed\": 1\n", "F: line"},
        {"{} x", "F: line 1, column 4: not valid JSON, near: x"},
        {"[1]", "F: expected a JSON object"},
        {"{\"sed\": 1}", "F: unknown key sed: did you mean seed?"},
        {"{\"trian\": {\"lr\": 1}}", "F: unknown key trian: did you mean train?"},
        {"{\"train\": {\"lrr\": 1}}", "F: unknown key train.lrr: did you mean train.lr?"},
        {"{\"train\": {\"bach\": 1}}", "F: unknown key train.bach: did you mean train.batch?"},
        {"{\"lr\": 1}", "F: unknown key lr: did you mean train.lr?"},
        {"{\"train\": {\"xylophone\": 1}}", "F: unknown key train.xylophone (ddpm_mpi --keys"},
        {"{\"train\": {\"a\\nb\": 1}}", "F: unknown key train.a?b"},
        {"{\"\": 1}", "F: unknown key"},
        {"{\"train.batch\": 1}", "F: train.batch: expected nested objects"},
        {"{\"train\": 3}", "F: train: expected an object with the keys of this group, found 3"},
        {"{\"seed\": 1, \"seed\": 2}", "F: duplicated key seed"},
        {"{\"train\": {\"lr\": 0.1, \"lr\": 0.1}}", "F: duplicated key train.lr"},
        {"{\"train\": {\"lr\": 0.1}, \"train\": {\"batch\": 8}}", "F: duplicated key train"},
        {"{\"train\": {\"batch\": 0}}", "F: train.batch: expected an integer in [1, 1048576], found 0"},
        {"{\"train\": {\"batch\": 1.5}}", "an integer in [1, 1048576], found 1.5"},
        {"{\"train\": {\"batch\": \"64\"}}", "found \"64\""},
        {"{\"train\": {\"batch\": null}}", "found null"},
        {"{\"train\": {\"batch\": 1e400}}", "F: train.batch: expected an integer"},
        {"{\"train\": {\"lr\": 1e400}}", "found a number beyond double's range"},
        {"{\"train\": {\"batch\": {}}}", "found {}"},
        {"{\"train\": {\"lr\": 0}}", "F: train.lr: expected a number in (0, 1], found 0"},
        {"{\"train\": {\"ema_decay\": 1}}", "a number in [0, 1), found 1"},
        {"{\"diffusion\": {\"beta_end\": 1}}", "a number in (0, 1), found 1"},
        {"{\"diffusion\": {\"beta_end\": 0}}", "a number in (0, 1), found 0"},
        {"{\"diffusion\": {\"schedule\": \"lin\"}}", "one of linear, linear_scaled, cosine, found \"lin\""},
        {"{\"diffusion\": {\"schedule\": \"linear|linear_scaled\"}}", "one of linear,"},
        {"{\"diffusion\": {\"schedule\": \"\"}}", "one of linear,"},
        {"{\"diffusion\": {\"schedule\": 3}}", "found 3"},
        {"{\"posterior\": {\"observation_noise\": 1}}", "expected true or false, found 1"},
        {"{\"posterior\": {\"fraction\": 0}}", "a number in (0, 1], found 0"},
        {"{\"model\": {\"channels\": [16]}}",
         "F: model.channels: expected a list of 2 to 4 integers in [1, 4096]"},
        {"{\"model\": {\"channels\": [16, 32, 64, 64, 64]}}", "found [16,32,64,64,64]"},
        {"{\"model\": {\"channels\": [16, 0]}}", "found [16,0]"},
        {"{\"model\": {\"channels\": [16, \"x\"]}}", "found [16,\"x\"]"},
        {"{\"model\": {\"channels\": 16}}", "found 16"},
        {"{\"model\": {\"channels\": {\"a\": 16, \"b\": 16}}}", "found {"},
        {"{\"seed\": -1}", "F: seed: expected a seed from 0 to 18446744073709551615"},
        {"{\"seed\": 9007199254740992}", "F: seed: expected a seed"},
        {"{\"seed\": 0.5}", "found 0.5"},
        {"{\"seed\": \"18446744073709551616\"}", "found \"18446744073709551616\""},
        {"{\"seed\": \"99999999999999999999999\"}", "F: seed: expected a seed"},
        {"{\"seed\": \"-1\"}", "found \"-1\""},
        {"{\"seed\": \"\"}", "found \"\""},
        {"{\"seed\": true}", "found true"},
        {"{\"data\": {\"dir\": \"\"}}", "F: data.dir: expected a text of 1 to 255 bytes, found \"\""},
        {"{\"data\": {\"dir\": 5}}", "found 5"},
        {"{\"sweep\": {\"fractions\": [0.5, 0]}}",
         "a number, or a list of 1 to 64 numbers, in (0, 1], found [0.5,0]"},
        {"{\"sweep\": {\"fractions\": [0.5, 1.1]}}", "numbers, in (0, 1], found [0.5,1.1]"},
        {"{\"sweep\": {\"fractions\": []}}", "found []"},
        {"{\"sweep\": {\"fractions\": 1.5}}", "found 1.5"},
        {"{\"sweep\": {\"fractions\": \"0.5,0.2\"}}", "found \"0.5,0.2\""},
        {"{\"sweep\": {\"fractions\": true}}", "found true"},
        {"{\"sweep\": {\"images\": 0}}",
         "F: sweep.images: expected a count from 1 to 1000000 (0 to N-1), or a "
         "list of at most 1024 different integers in [0, 4294967295], found 0"},
        {"{\"sweep\": {\"images\": 2.5}}", "found 2.5"},
        {"{\"sweep\": {\"images\": 1000001}}", "found 1000001"},
        {"{\"sweep\": {\"images\": [1, 2, 1]}}", "found [1,2,1]"},
        {"{\"sweep\": {\"images\": [-1]}}", "found [-1]"},
        {"{\"sweep\": {\"images\": \"three\"}}", "found \"three\""},
        {"{\"sweep\": {\"mask_seeds\": [9007199254740992]}}", "F: sweep.mask_seeds: expected a count"},
        {"{\"sweep\": {\"samplers\": []}}", "F: sweep.samplers: expected a list of 1 to 16 different names"},
        {"{\"sweep\": {\"samplers\": \"guided,\"}}", "found \"guided,\""},
        {"{\"sweep\": {\"samplers\": \"guided, pigdm\"}}", "found \"guided, pigdm\""},
        {"{\"sweep\": {\"samplers\": [\"guided\", \"guided\"]}}", "found [\"guided\",\"guided\"]"},
        {"{\"sweep\": {\"samplers\": [\"guided\", 3]}}", "found [\"guided\",3]"},
        {"{\"sweep\": {\"samplers\": 3}}", "found 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Config config = fresh(), before = config;
        CHECK_ERROR(config_from_json(&config, cases[i].input, "F"), STATUS_BAD_INPUT, cases[i].message);
        CHECK(memcmp(&config, &before, sizeof config) == 0);
        CHECK(!strchr(status_message(), '\n'));
    }
}

/* A failure late in a text leaves nothing of its beginning. */
static void test_all_or_nothing(void) {
    Config config = fresh();
    CHECK_ERROR(config_from_json(&config, "{\"train\": {\"batch\": 64, \"lr\": 7}}", "F"), STATUS_BAD_INPUT,
                "train.lr");
    CHECK(config.train_batch == 128 && !config_was_set(&config, "train.batch"));
}

static void test_long_text(void) {
    char json[400], setting[300];
    for (size_t length = 255; length <= 256; length++) {
        Config config = fresh();
        snprintf(setting, sizeof setting, "%0*d", (int)length, 7);
        snprintf(json, sizeof json, "{\"data\": {\"dir\": \"%s\"}}", setting);
        if (length == 255) {
            CHECK_OK(config_from_json(&config, json, "F"));
            CHECK(strcmp(config.data_dir, setting) == 0);
        } else
            CHECK_ERROR(config_from_json(&config, json, "F"), STATUS_BAD_INPUT, "1 to 255 bytes");
    }
}

static void test_set(void) {
    static const Wrong wrong[] = {
        {"train.lr", "--set: expected KEY=VALUE, found \"train.lr\""},
        {"=3", "--set: expected KEY=VALUE"},
        {"", "--set: expected KEY=VALUE"},
        {"train.lr=", "--set: train.lr: expected a number in (0, 1], found \"\""},
        {"train.lr=fast", "found \"fast\""},
        {"train.lr=2", "--set: train.lr: expected a number in (0, 1], found 2"},
        {"train.lr=nan", "found \"nan\""},
        {"train.lr=0x1", "found \"0x1\""},
        {"train={\"lr\":1}", "--set: train is a group of keys"},
        {"trian.lr=1", "--set: unknown key trian.lr: did you mean train.lr?"},
        {"seed=-3", "--set: seed: expected a seed"},
        {"seed=1e3", "--set: seed: expected a seed"},
        {"seed=18446744073709551616", "--set: seed: expected a seed"},
        {"model.channels=[16,32", "found \"[16,32\""},
        {"posterior.observation_noise=yes", "expected true or false, found \"yes\""},
        {"data.dir=[1]", "found [1]"},
        {"sweep.fractions=0.5,", "found \"0.5,\""},
        {"sweep.fractions=0.5,x", "found \"0.5,x\""},
        {"sweep.fractions=0.5,1.5", "found [0.5,1.5]"},
        {"sweep.fractions=[0.5],[0.2]", "found [[0.5],[0.2]]"},
        {"sweep.fractions=", "found \"\""},
        {"sweep.images=3,3", "found [3,3]"},
        {"model.channels=16", "found 16"},
    };
    Config config = fresh();
    CHECK_OK(config_set(&config, "train.lr=0.5"));
    CHECK_OK(config_set(&config, "train.lr=0.25"));
    CHECK_OK(config_set(&config, "model.channels=[8, 16, 24, 32]"));
    CHECK_OK(config_set(&config, "diffusion.schedule=cosine"));
    CHECK_OK(config_set(&config, "train.precision=\"bf16\""));
    CHECK_OK(config_set(&config, "posterior.observation_noise=true"));
    CHECK_OK(config_set(&config, "seed=18446744073709551615"));
    CHECK_OK(config_set(&config, "posterior.mask_seed=\"12\""));
    CHECK(config.train_lr == 0.25 && config.model_channels.count == 4 &&
          config.model_channels.values[3] == 32);
    CHECK(strcmp(config.diffusion_schedule, "cosine") == 0 && strcmp(config.train_precision, "bf16") == 0);
    CHECK(config.posterior_observation_noise && config.seed == UINT64_MAX &&
          config.posterior_mask_seed == 12);
    CHECK_OK(config_set(&config, "data.dir=a=b"));
    CHECK(strcmp(config.data_dir, "a=b") == 0);
    CHECK_OK(config_set(&config, "data.dir=2024"));
    CHECK(strcmp(config.data_dir, "2024") == 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        Config before = config;
        CHECK_ERROR(config_set(&config, wrong[i].input), STATUS_BAD_INPUT, wrong[i].message);
        CHECK(memcmp(&config, &before, sizeof config) == 0);
    }
    CHECK_ERROR(config_set_value(&config, "sample.count", "none", "--count"), STATUS_BAD_INPUT,
                "--count: sample.count: expected an integer in");
}

static void test_rules(void) {
    static const struct {
        const char *settings[2], *message; /* NULL: accepted */
    } cases[] = {
        {{"train.batch=4", "train.shard=8"}, "train.shard: at most train.batch = 4, found 8"},
        {{"train.batch=4", "train.shard=4"}, NULL},
        {{"model.channels=[16,20]", NULL},
         "model.channels: each must be a multiple of model.groups = 8, found 20"},
        {{"model.groups=16", "model.channels=[8,16]"}, "model.channels: each must be a multiple of"},
        {{"model.groups=1", "model.channels=[3,4]"}, "model.channels: the first must be even"},
        {{"model.groups=1", "model.channels=[2,3]"}, NULL},
        {{"diffusion.beta_start=0.5", NULL},
         "diffusion.beta_start: at most diffusion.beta_end = 0.02, found 0.5"},
        {{"diffusion.beta_start=0.02", NULL}, NULL},
        {{"sample.steps=301", "sample.sampler=ddim"},
         "sample.steps: at most diffusion.steps = 300, found 301"},
        {{"sample.steps=1", "sample.sampler=ddim"}, "sample.steps: expected 0 (all) or at least 2, found 1"},
        {{"sample.steps=50", NULL}, "sample.steps: sampler ddpm takes all 300 steps, found 50"},
        {{"sample.steps=50", "sample.sampler=ddim"}, NULL},
        {{"sample.steps=300", NULL}, NULL},
        {{"posterior.draws_per_run=65", NULL}, NULL}, /* all 64 */
        {{"posterior.particles=2", NULL}, NULL},      /* fewer than draws_per_run */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Config config = fresh();
        for (int s = 0; s < 2; s++)
            if (cases[i].settings[s])
                CHECK_OK(config_set(&config, cases[i].settings[s]));
        if (cases[i].message)
            CHECK_ERROR(config_check(&config), STATUS_BAD_INPUT, cases[i].message);
        else
            CHECK_OK(config_check(&config));
    }
}

static void check_round_trip(const Config *config) {
    Config back = fresh();
    char *json = NULL, *again = NULL, text[256];
    CHECK_OK(config_to_json(config, &json));
    CHECK_OK(config_from_json(&back, json, "written"));
    CHECK(config_difference(config, &back, CONFIG_ANY, text, sizeof text) == 0);
    CHECK_OK(config_to_json(&back, &again));
    CHECK(json && again && strcmp(json, again) == 0);
    CHECK(json && json[0] == '{' && json[strlen(json) - 1] == '\n');
    free(json);
    free(again);
}

static void test_round_trip(void) {
    static const double awkward[] = {0.1,  1.0 / 3, 2e-4, 0.1 + 0.2, 5e-324, DBL_MIN, 1 - DBL_EPSILON / 2,
                                     0.999};
    Config config = fresh();
    char *json = NULL;
    check_round_trip(&config);
    CHECK_OK(config_to_json(&config, &json));
    CHECK(json &&
          strstr(json, "{\n  \"seed\": \"0\",\n  \"threads\": 0,\n  \"data\": {\n    \"dir\": ") == json);
    CHECK(json && strstr(json, "    \"channels\": [64, 128, 256],\n") && strstr(json, "\"lr\": 0.0002,\n"));
    CHECK(json && strstr(json, "\"checkpoint_every_minutes\": 10,\n"));
    free(json);
    for (size_t i = 0; i < sizeof awkward / sizeof *awkward; i++) {
        Config back = fresh();
        config.train_ema_decay = config.train_lr = awkward[i];
        check_round_trip(&config);
        CHECK_OK(config_to_json(&config, &json));
        CHECK_OK(config_from_json(&back, json, "written"));
        CHECK(memcmp(&back.train_lr, &awkward[i], sizeof(double)) == 0);
        free(json);
    }
    config.seed = UINT64_MAX;
    config.posterior_mask_seed = (1ull << 53) + 1;
    memset(config.data_dir, '\x01', CONFIG_TEXT_SIZE - 1);
    check_round_trip(&config);
    snprintf(config.data_dir, sizeof config.data_dir, "a\"b\\c\n\t/\xc3\xa9");
    check_round_trip(&config);
}

static void test_differences(void) {
    Config checkpoint = fresh(), asked = fresh();
    char text[512], tiny[24];
    CHECK(config_difference(&checkpoint, &asked, CONFIG_ANY, text, sizeof text) == 0 && text[0] == '\0');
    asked.train_batch = 64;
    snprintf(asked.train_precision, sizeof asked.train_precision, "bf16");
    asked.train_lr = 1e-3;
    asked.seed = 5;
    CHECK(config_difference(&checkpoint, &asked, CONFIG_RESUME_EQUAL, text, sizeof text) == 3);
    CHECK(strcmp(text,
                 "seed (0 in the checkpoint, 5 asked for), train.batch (128 in the checkpoint, 64 asked "
                 "for), train.precision (auto in the checkpoint, bf16 asked for)") == 0);
    CHECK(config_difference(&checkpoint, &asked, CONFIG_FREE, text, sizeof text) == 1);
    CHECK(strcmp(text, "train.lr (0.0002 in the checkpoint, 0.001 asked for)") == 0);
    CHECK(config_difference(&checkpoint, &asked, CONFIG_CHECKPOINT, text, sizeof text) == 0);
    memset(tiny, 'x', sizeof tiny);
    CHECK(config_difference(&checkpoint, &asked, CONFIG_ANY, tiny, sizeof tiny) == 4);
    CHECK(strcmp(tiny, "seed (0 in the check...") == 0);
    CHECK(config_difference(&checkpoint, &asked, CONFIG_ANY, NULL, 0) == 4);
}

static void test_conflicts(void) {
    Config checkpoint = fresh(), asked = fresh();
    char text[512];
    CHECK_OK(config_set(&checkpoint, "model.channels=[16,32,64]"));
    CHECK_OK(config_set(&checkpoint, "diffusion.steps=100"));
    CHECK_OK(config_set(&checkpoint, "train.batch=32"));
    CHECK(config_conflicts(&asked, &checkpoint, CONFIG_CHECKPOINT, text, sizeof text) == 0);
    CHECK_OK(config_set(&asked, "diffusion.steps=100")); /* agrees */
    CHECK_OK(config_set(&asked, "train.batch=64"));      /* not the checkpoint's to say */
    CHECK(config_conflicts(&asked, &checkpoint, CONFIG_CHECKPOINT, text, sizeof text) == 0);
    CHECK_OK(config_set(&asked, "model.channels=[64,128,256]")); /* the default, but asked for */
    CHECK(config_conflicts(&asked, &checkpoint, CONFIG_CHECKPOINT, text, sizeof text) == 1);
    CHECK(strcmp(text, "model.channels ([16, 32, 64] in the checkpoint, [64, 128, 256] asked for)") == 0);

    config_copy_flagged(&asked, &checkpoint, CONFIG_CHECKPOINT);
    CHECK(config_difference(&asked, &checkpoint, CONFIG_CHECKPOINT, text, sizeof text) == 0);
    CHECK(asked.model_channels.values[0] == 16 && asked.diffusion_steps == 100 && asked.train_batch == 64);
}

static void write_file(const char *path, const char *text, size_t bytes) {
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(text, 1, bytes, file) == bytes);
    if (file)
        fclose(file);
}

static void test_files(void) {
    char path[] = P_tmpdir "/test_config_XXXXXX", expected[256];
    Config config = fresh();
    int descriptor = mkstemp(path);
    CHECK(descriptor >= 0);
    close(descriptor);
    write_file(path, "{\"train\": {\n\"batch\": 64}}\n", 26);
    CHECK_OK(config_load_file(&config, path));
    CHECK(config.train_batch == 64);
    write_file(path, "{\"train\": {\n\"batch\": -64}}\n", 27);
    snprintf(expected, sizeof expected, "%s: train.batch: expected an integer in [1, 1048576], found -64",
             path);
    CHECK_ERROR(config_load_file(&config, path), STATUS_BAD_INPUT, expected);
    write_file(path, "{\"train\": {\n\"batch\": 64}", 24);
    snprintf(expected, sizeof expected, "%s: line 2, column", path);
    CHECK_ERROR(config_load_file(&config, path), STATUS_BAD_INPUT, expected);
    write_file(path, "{}\0{}", 5);
    CHECK_ERROR(config_load_file(&config, path), STATUS_BAD_INPUT, "found a binary file");
    CHECK(truncate(path, 2 << 20) == 0);
    CHECK_ERROR(config_load_file(&config, path), STATUS_BAD_INPUT, "found a larger file");
    unlink(path);
    CHECK_ERROR(config_load_file(&config, path), STATUS_BAD_INPUT,
                "cannot open the configuration: No such file");
    CHECK_ERROR(config_load_file(&config, P_tmpdir), STATUS_BAD_INPUT, "cannot read the configuration");
    CHECK(config.train_batch == 64);
}

static Config shipped(const char *folder, const char *name) {
    char path[1024];
    Config config = fresh();
    snprintf(path, sizeof path, "%s/%s.json", folder, name);
    CHECK_OK(config_load_file(&config, path));
    CHECK_OK(config_check(&config));
    return config;
}

static void test_shipped(const char *folder) {
    Config defaults = fresh(), report = shipped(folder, "report"), quick = shipped(folder, "quickstart");
    Config a = shipped(folder, "experiment_a"), b = shipped(folder, "experiment_b");
    CHECK(config_difference(&defaults, &report, CONFIG_ANY, NULL, 0) ==
          0); /* the defaults are the report's */
    CHECK(quick.model_channels.values[0] == 16 && quick.train_max_steps == 1500 && quick.train_lr == 1e-3);
    CHECK(a.posterior_fraction == 0.7 && b.posterior_fraction == 0.2);
    CHECK(config_difference(&a, &b, CONFIG_ANY, NULL, 0) == 1);
    /* the report's sampler, which knows no cap; its other values are the defaults */
    CHECK(strcmp(a.posterior_sampler, "dps_plus") == 0 && strcmp(b.posterior_sampler, "dps_plus") == 0);
    CHECK(a.posterior_max_gain == 0 && config_difference(&defaults, &b, CONFIG_ANY, NULL, 0) == 2);
}

static void test_print_table(void) {
    char *text = NULL;
    size_t bytes;
    int lines = 0;
    FILE *stream = open_memstream(&text, &bytes);
    config_print_table(stream);
    fclose(stream);
    CHECK(strstr(text, "| `train.lr` | `0.0002` | a number in (0, 1] | learning rate of AdamW |\n"));
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    CHECK(lines == CONFIG_KEY_COUNT + 2);
    free(text);
}

int main(int argc, char **argv) {
    test_table();
    test_field_names();
    test_defaults();
    test_read();
    test_wrong_json();
    test_all_or_nothing();
    test_long_text();
    test_set();
    test_rules();
    test_round_trip();
    test_differences();
    test_conflicts();
    test_files();
    test_shipped(argc > 1 ? argv[1] : "configs");
    test_print_table();
    return test_result();
}
