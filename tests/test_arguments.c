/* The command line: every option, precedence, every usage error, help. */
#include <unistd.h>

#include "commands/arguments.h"
#include "tests/test.h"

enum { MAX_WORDS = 16 };

static const ArgumentOption options[] = {
    {"--count", "sample.count", "N", "images to draw"},
    {"--seed", "seed", "S", "seed of all noise"},
    {"--observation-noise", "posterior.observation_noise", NULL, "noisy y"},
    {NULL, NULL, NULL, NULL}};
static const CommandDescription plain = {
    .name = "plain", .summary = "Does little.", .example = "ddpm_mpi plain"};
static const CommandDescription train = {
    .name = "train", .summary = "Trains.", .flags = ARGUMENT_RESUME, .key_groups = "data train"};
static const CommandDescription sample = {
    .name = "sample", .summary = "Draws images.", .options = options, .flags = ARGUMENT_CHECKPOINT};
static const CommandDescription inspect = {
    .name = "inspect", .summary = "Shows.", .flags = ARGUMENT_CHECKPOINT_OPTIONAL | ARGUMENT_DOT};
static const CommandDescription bench = {
    .name = "bench", .summary = "Measures.", .words = "train|sample|allreduce", .flags = ARGUMENT_JSON};

static const CommandDescription drawing = {.name = "drawing",
                                           .summary = "Draws.",
                                           .flags = ARGUMENT_CHECKPOINT_OPTIONAL | ARGUMENT_PRIOR |
                                                    ARGUMENT_RESUME_RUN};

/* Splits at spaces; a word '' is empty. The words stay valid until the next call. */
static Status parse(Arguments *arguments, const CommandDescription *command, const char *line) {
    static char text[1024];
    static char *words[MAX_WORDS];
    int count = 0;
    snprintf(text, sizeof text, "%s", line);
    for (char *word = strtok(text, " "); word && count < MAX_WORDS; word = strtok(NULL, " ")) {
        if (strcmp(word, "''") == 0)
            word[0] = '\0';
        words[count++] = word;
    }
    return arguments_parse(arguments, command, count, words);
}

static void test_values(void) {
    Arguments a;
    CHECK_OK(parse(&a, &train, ""));
    CHECK(!a.config_file && !a.run && !a.checkpoint && !a.word && !a.dot && !a.json && !a.help);
    CHECK(!strcmp(a.device, "auto") && !strcmp(a.outputs, "outputs") && !strcmp(a.resume, "auto"));
    CHECK(a.config.train_batch == 128);

    CHECK_OK(parse(&a, &train, "--device cpu --outputs=o/p --run r1 --resume never --set train.batch=16"));
    CHECK(!strcmp(a.device, "cpu") && !strcmp(a.outputs, "o/p") && !strcmp(a.run, "r1"));
    CHECK(!strcmp(a.resume, "never") && a.config.train_batch == 16);
    CHECK_OK(
        parse(&a, &train, "--resume=some/file.h5 --run=x.. --set=train.batch=32 --device=cpu_reference"));
    CHECK(!strcmp(a.resume, "some/file.h5") && !strcmp(a.run, "x..") && a.config.train_batch == 32);

    CHECK_OK(
        parse(&a, &sample, "--checkpoint c.h5 --count 5 --seed=18446744073709551615 --observation-noise"));
    CHECK(!strcmp(a.checkpoint, "c.h5") && a.config.sample_count == 5 && a.config.seed == UINT64_MAX);
    CHECK(a.config.posterior_observation_noise && config_was_set(&a.config, "sample.count"));

    CHECK_OK(parse(&a, &inspect, "--dot"));
    CHECK(a.dot && !a.checkpoint);
    CHECK_OK(parse(&a, &bench, "--json allreduce --run=x--"));
    CHECK(a.json && !strcmp(a.word, "allreduce") && !strcmp(a.run, "x--"));
}

static void test_exact_prior(void) {
    Arguments a;
    CHECK_OK(parse(&a, &drawing, "--set prior.name=mixture"));
    CHECK(a.exact_prior);
    CHECK_OK(parse(&a, &drawing, "--set prior.name=network --checkpoint c"));
    CHECK(!a.exact_prior);
    CHECK_OK(parse(&a, &train, "--set prior.name=mixture")); /* which draws from no prior */
    CHECK(!a.exact_prior);
}

static void test_precedence(void) {
    char path[] = P_tmpdir "/test_arguments_XXXXXX", line[512];
    static const char text[] = "{\"sample\": {\"count\": 3}, \"seed\": 3, \"train\": {\"batch\": 24}}";
    Arguments a;
    int descriptor = mkstemp(path);
    CHECK(descriptor >= 0 && write(descriptor, text, strlen(text)) == (ssize_t)strlen(text));
    close(descriptor);
    snprintf(line, sizeof line, "--checkpoint c --set sample.count=4 --config %s --set seed=4 --seed 5",
             path);
    CHECK_OK(parse(&a, &sample, line));
    CHECK(a.config_file && !strcmp(a.config_file, path));
    CHECK(a.config.train_batch == 24); /* the file over the default */
    CHECK(a.config.sample_count == 4); /* a setting over the file, also one that stands before it */
    CHECK(a.config.seed == 5);         /* the later of two settings, whichever form it has */
    snprintf(line, sizeof line, "--checkpoint c --seed 5 --set seed=4 --config=%s", path);
    CHECK_OK(parse(&a, &sample, line));
    CHECK(a.config.seed == 4 && a.config.sample_count == 3);
    snprintf(line, sizeof line, "--config %s --config %s", path, path);
    CHECK_ERROR(parse(&a, &plain, line), STATUS_BAD_INPUT, "--config is given twice");
    unlink(path);
    snprintf(line, sizeof line, "--config %s", path);
    CHECK_ERROR(parse(&a, &plain, line), STATUS_BAD_INPUT, "cannot open the configuration");
    snprintf(line, sizeof line, "--config %s --bogus", path); /* usage comes before files */
    CHECK_ERROR(parse(&a, &plain, line), STATUS_BAD_INPUT, "unknown option --bogus");
}

static void test_usage_errors(void) {
    static const struct {
        const CommandDescription *command;
        const char *line, *message;
    } cases[] = {
        {&plain, "--bogus", "plain: unknown option --bogus"},
        {&plain, "-x", "plain: unknown option -x"},
        {&plain, "--runs=3", "plain: unknown option --runs=3"},
        {&plain, "--resume auto", "plain: unknown option --resume"},
        {&plain, "--checkpoint c", "plain: unknown option --checkpoint"},
        {&plain, "--json", "plain: unknown option --json"},
        {&plain, "--dot", "plain: unknown option --dot"},
        {&plain, "surplus", "plain: unexpected argument \"surplus\""},
        {&plain, "--run", "plain: --run needs a value"},
        {&plain, "--run --device cpu", "plain: --run needs a value"},
        {&plain, "--set", "plain: --set needs a value"},
        {&plain, "--device gpu",
         "plain: --device: expected one of auto|cpu|cuda|cpu_reference, found \"gpu\""},
        {&plain, "--device auto|cpu", "plain: --device: expected one of"},
        {&plain, "--outputs ''", "plain: --outputs: expected a value, found an empty one"},
        {&plain, "--run ''", "plain: --run: expected a name of 1 to"},
        {&plain, "--run .", "--run: expected a name of letters"},
        {&plain, "--run ..", "--run: expected a name of letters"},
        {&plain, "--run a/b", "found \"a/b\""},
        {&plain, "--run current", "\"current\" is the name of another file"},
        {&sample, "", "sample: --checkpoint FILE (or a run directory) is missing"},
        {&sample, "--count", "sample: --count needs a value"},
        {&sample, "--checkpoint=", "sample: --checkpoint: expected a value"},
        {&sample, "--checkpoint c --observation-noise=true", "sample: --observation-noise takes no value"},
        {&inspect, "--dot=1", "inspect: --dot takes no value"},
        {&drawing, "--resume file.h5", "drawing: --resume: expected auto or never, found \"file.h5\""},
        {&bench, "", "bench: expected one of train|sample|allreduce"},
        {&bench, "nothing", "bench: expected one of train|sample|allreduce, found \"nothing\""},
        {&bench, "train sample", "bench: unexpected argument \"sample\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Arguments a;
        char ending[64];
        CHECK_ERROR(parse(&a, cases[i].command, cases[i].line), STATUS_BAD_INPUT, cases[i].message);
        snprintf(ending, sizeof ending, ": try: ddpm_mpi %s --help", cases[i].command->name);
        size_t length = strlen(status_message());
        CHECK(length > strlen(ending) && !strcmp(status_message() + length - strlen(ending), ending));
    }
}

static void test_wrong_settings(void) {
    Arguments a;
    CHECK_ERROR(parse(&a, &plain, "--set train.lr=7"), STATUS_BAD_INPUT,
                "--set: train.lr: expected a number in (0, 1]");
    CHECK_ERROR(parse(&a, &plain, "--set trainlr"), STATUS_BAD_INPUT, "--set: expected KEY=VALUE");
    CHECK_ERROR(parse(&a, &sample, "--checkpoint c --count 0"), STATUS_BAD_INPUT,
                "--count: sample.count: expected");
    CHECK_ERROR(parse(&a, &plain, "--set train.batch=4 --set train.shard=8"), STATUS_BAD_INPUT,
                "train.shard: at most train.batch = 4");
    /* T may come from the checkpoint: the command checks after merging it */
    CHECK_OK(parse(&a, &sample, "--checkpoint c --set sample.steps=500"));
    CHECK_OK(parse(&a, &inspect, "--checkpoint c --set sample.steps=500"));
    CHECK_ERROR(parse(&a, &inspect, "--set sample.steps=500"), STATUS_BAD_INPUT, "sample.steps: at most");
}

static void check_help(const CommandDescription *command, const char *const *expected) {
    char *text = NULL;
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    arguments_help(command, stream);
    fclose(stream);
    for (; *expected; expected++)
        if (!strstr(text, *expected)) {
            printf("help of %s: FAILED: no \"%s\" in\n%s\n", command->name, *expected, text);
            test_failures++;
        }
    free(text);
}

static void test_help(void) {
    Arguments a;
    CHECK_OK(parse(&a, &sample, "--bogus --help --config nowhere.json"));
    CHECK(a.help);
    CHECK_OK(parse(&a, &bench, "-h"));
    CHECK(a.help);
    check_help(&plain, (const char *const[]){"usage: ddpm_mpi plain [options]\n", "Does little.\n",
                                             "--set KEY=VALUE", "\nexample:\n  ddpm_mpi plain\n", NULL});
    check_help(&train, (const char *const[]){"--resume auto|never|FILE", "train.batch", "data.dir", NULL});
    check_help(&drawing, (const char *const[]){"--resume auto|never ", NULL});
    check_help(&sample, (const char *const[]){"usage: ddpm_mpi sample --checkpoint FILE [options]\n",
                                              "--count N", "(sample.count, default 64)", NULL});
    check_help(&bench, (const char *const[]){"usage: ddpm_mpi bench train|sample|allreduce", "--json", NULL});
}

int main(void) {
    test_values();
    test_exact_prior();
    test_precedence();
    test_usage_errors();
    test_wrong_settings();
    test_help();
    return test_result();
}
