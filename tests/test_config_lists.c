/* Configuration: keys that are lists, counts or names. */
#include "core/config.h"
#include "tests/test.h"

static Config fresh(void) {
    Config config;
    config_defaults(&config);
    return config;
}

static void test_selections(void) {
    Config config = fresh();
    char value[CONFIG_VALUE_SIZE];
    CHECK(!config.sweep_images.listed && config.sweep_images.count == 8);
    CHECK(config_selected(&config.sweep_images, 5) == 5);
    CHECK_OK(config_set(&config, "sweep.images=[7, 3, 4294967295]"));
    CHECK(config.sweep_images.listed && config.sweep_images.count == 3);
    CHECK(config_selected(&config.sweep_images, 0) == 7 &&
          config_selected(&config.sweep_images, 2) == 4294967295);
    CHECK(strcmp(config_value_json(&config, CONFIG_KEY_sweep_images, value), "[7, 3, 4294967295]") == 0);
    CHECK_OK(config_set(&config, "sweep.images=1000000"));
    CHECK(strcmp(config_value_json(&config, CONFIG_KEY_sweep_images, value), "1000000") == 0);
    CHECK_OK(config_set(&config, "sweep.mask_seeds=[9007199254740991]"));
    CHECK(config_selected(&config.sweep_mask_seeds, 0) == 9007199254740991);
    /* one of the longest selections survives the round trip */
    config.sweep_mask_seeds = (ConfigSelection){.count = CONFIG_MAX_SELECTION, .listed = true};
    for (int i = 0; i < CONFIG_MAX_SELECTION; i++)
        config.sweep_mask_seeds.values[i] = 9007199254740991 - i;
    Config read = fresh();
    CHECK_OK(config_set_value(&read, "sweep.mask_seeds",
                              config_value_json(&config, CONFIG_KEY_sweep_mask_seeds, value), "long"));
    CHECK(memcmp(&read.sweep_mask_seeds, &config.sweep_mask_seeds, sizeof read.sweep_mask_seeds) == 0);
}

/* A number alone is a list of one, and on the command line a list needs no brackets. */
static void test_lists(void) {
    Config config = fresh();
    CHECK_OK(config_from_json(&config, "{\"sweep\": {\"fractions\": 0.25, \"draws\": 3}}", "text"));
    CHECK(config.sweep_fractions.count == 1 && config.sweep_fractions.values[0] == 0.25);
    CHECK(config.sweep_fractions.values[1] == 0);
    CHECK_OK(config_set_value(&config, "sweep.fractions", "0.5", "--fractions"));
    CHECK(config.sweep_fractions.count == 1 && config.sweep_fractions.values[0] == 0.5);
    CHECK_OK(config_set_value(&config, "sweep.fractions", "0.05, 0.2,1", "--fractions"));
    CHECK(config.sweep_fractions.count == 3 && config.sweep_fractions.values[0] == 0.05);
    CHECK(config.sweep_fractions.values[1] == 0.2 && config.sweep_fractions.values[2] == 1);
    CHECK_OK(config_set(&config, "model.channels=16,32"));
    CHECK(config.model_channels.count == 2 && config.model_channels.values[1] == 32);
    CHECK_OK(config_set(&config, "sweep.images=7,3"));
    CHECK(config.sweep_images.listed && config.sweep_images.count == 2);
    CHECK(config_selected(&config.sweep_images, 1) == 3);
}

static void test_words(void) {
    Config config = fresh();
    char value[CONFIG_VALUE_SIZE];
    CHECK_OK(config_set(&config, "sweep.samplers=guided,dps_plus"));
    CHECK(config.sweep_samplers.count == 2 && strcmp(config.sweep_samplers.words[1], "dps_plus") == 0);
    CHECK(strcmp(config_value_json(&config, CONFIG_KEY_sweep_samplers, value),
                 "[\"guided\", \"dps_plus\"]") == 0);
    CHECK_OK(config_set(&config, "sweep.samplers=[\"exact\"]"));
    CHECK(config.sweep_samplers.count == 1 && strcmp(config.sweep_samplers.words[0], "exact") == 0);
    CHECK(config.sweep_samplers.words[1][0] == '\0');
}

int main(void) {
    test_selections();
    test_lists();
    test_words();
    return test_result();
}
