/* Every call of comm.h and buckets.h, as one process and on any number of ranks. Expected values are computed
 * without communication, from sums that are exact.
 *
 *   test_comm          all calls
 *   test_comm abort    the last rank ends the job while the others wait: must exit with status 2 */
#include <time.h>

#include "comm/buckets.h"
#include "comm/comm.h"
#include "tests/test.h"

enum { SENTINEL = 0x5A, TEXT_BYTES = 96 };

/* Byte i of what `rank` sends in message `message`. */
static uint8_t pattern(int rank, int message, int64_t i) {
    return (uint8_t)((uint64_t)(i + 1) * 2654435761u >> 13 ^ (uint64_t)(rank * 31 + message * 7 + 1));
}

static void fill(uint8_t *data, int64_t bytes, int rank, int message) {
    for (int64_t i = 0; i < bytes; i++)
        data[i] = pattern(rank, message, i);
}

static int64_t mismatches(const uint8_t *data, int64_t bytes, int rank, int message) {
    int64_t wrong = 0;
    for (int64_t i = 0; i < bytes; i++)
        wrong += data[i] != pattern(rank, message, i);
    return wrong;
}

static void test_description(Comm *comm) {
    int rank = comm_rank(comm), size = comm_size(comm);
    CHECK(size >= 1 && rank >= 0 && rank < size);
    CHECK(strstr(comm_description(comm), getenv("OMPI_COMM_WORLD_SIZE") ? "MPI (" : "single process"));
    CHECK_OK(comm_barrier(comm));
}

static void test_broadcast(Comm *comm) {
    static const int64_t sizes[] = {0, 1, 7, 4096, 1000003}; /* the last is beyond MPI's eager messages */
    int rank = comm_rank(comm);
    for (int s = 0; s < 5; s++) {
        uint8_t *data = NULL;
        CHECK_OK(ALLOCATE(&data, sizes[s] + 1));
        for (int root = 0; root < comm_size(comm); root++) {
            fill(data, sizes[s], rank, s);
            data[sizes[s]] = SENTINEL;
            CHECK_OK(comm_broadcast(comm, data, (size_t)sizes[s], root));
            CHECK(mismatches(data, sizes[s], root, s) == 0);
            CHECK(data[sizes[s]] == SENTINEL);
        }
        free(data);
    }
    CHECK_OK(comm_broadcast(comm, NULL, 0, 0));
}

/* Element i of rank r is sign(i) (i + 1) (r + 1) scale: sum, minimum and maximum over the ranks in closed
 * form. */
static int64_t element(int rank, int64_t i, int64_t scale) {
    return (i % 2 ? -1 : 1) * (i + 1) * (rank + 1) * scale;
}

static int64_t reduced(int size, int64_t i, int64_t scale, CommReduction reduction) {
    bool largest = (reduction == COMM_MAX) == (i % 2 == 0);
    if (reduction == COMM_SUM)
        return (i % 2 ? -1 : 1) * (i + 1) * (size * (size + 1) / 2) * scale;
    return element(largest ? size - 1 : 0, i, scale);
}

static void test_allreduce(Comm *comm) {
    /* (1 << 44) + 1: sums need more than the 53 bits of a double, so they must be made as integers */
    static const int64_t counts[] = {0, 1, 33, 20011}, scale = (INT64_C(1) << 44) + 1;
    static const CommReduction reductions[] = {COMM_SUM, COMM_MIN, COMM_MAX};
    int rank = comm_rank(comm), size = comm_size(comm);
    for (int c = 0; c < 4; c++)
        for (int r = 0; r < 3; r++) {
            int64_t count = counts[c], *integers = NULL, wrong = 0;
            double *reals = NULL;
            CHECK_OK(ALLOCATE(&integers, count + 1));
            CHECK_OK(ALLOCATE(&reals, count + 1));
            for (int64_t i = 0; i <= count; i++) {
                integers[i] = element(rank, i, scale);
                reals[i] = (double)element(rank, i, 1) / 4;
            }
            CHECK_OK(comm_allreduce_i64(comm, integers, count, reductions[r]));
            CHECK_OK(comm_allreduce_f64(comm, reals, count, reductions[r]));
            for (int64_t i = 0; i < count; i++) {
                wrong += integers[i] != reduced(size, i, scale, reductions[r]);
                wrong += !(reals[i] == (double)reduced(size, i, 1, reductions[r]) / 4);
            }
            CHECK(wrong == 0);
            CHECK(integers[count] == element(rank, count, scale));
            CHECK(reals[count] == (double)element(rank, count, 1) / 4);
            free(integers);
            free(reals);
        }
}

/* Two sums under way at once; an element behind each must stay. */
static void test_nonblocking(Comm *comm) {
    enum { COUNT = 5003 };
    int rank = comm_rank(comm), size = comm_size(comm);
    int64_t *first = NULL, *second = NULL, wrong = 0;
    CommRequest *requests[3] = {NULL, NULL, NULL};
    CHECK_OK(ALLOCATE(&first, COUNT + 1));
    CHECK_OK(ALLOCATE(&second, COUNT + 1));
    for (int64_t i = 0; i <= COUNT; i++) {
        first[i] = element(rank, i, 1);
        second[i] = element(rank, i, 3);
    }
    CHECK_OK(comm_allreduce_start(comm, first, COUNT, COMM_INT64, &requests[0]));
    CHECK_OK(comm_allreduce_start(comm, second, COUNT, COMM_INT64, &requests[1]));
    CHECK_OK(comm_allreduce_start(comm, second, 0, COMM_INT64, &requests[2]));
    for (int r = 0; r < 3; r++) {
        CHECK_OK(comm_wait(comm, &requests[r]));
        CHECK(requests[r] == NULL);
    }
    for (int64_t i = 0; i < COUNT; i++) {
        wrong += first[i] != reduced(size, i, 1, COMM_SUM);
        wrong += second[i] != reduced(size, i, 3, COMM_SUM);
    }
    CHECK(wrong == 0);
    CHECK(first[COUNT] == element(rank, COUNT, 1) && second[COUNT] == element(rank, COUNT, 3));
    free(first);
    free(second);
}

/* The last rank starts its sum half a second after the others, which must not wait for it when they look. */
static void test_looking(Comm *comm) {
    int rank = comm_rank(comm), size = comm_size(comm);
    int64_t value = element(rank, 0, 1), looks = 0;
    bool finished = false;
    CommRequest *request = NULL;
    CHECK_OK(comm_barrier(comm));
    if (rank == size - 1)
        (void)nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
    CHECK_OK(comm_allreduce_start(comm, &value, 1, COMM_INT64, &request));
    for (; !finished; looks++) {
        CHECK_OK(comm_test(comm, &request, &finished));
        CHECK(finished == (request == NULL));
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    CHECK(value == reduced(size, 0, 1, COMM_SUM));
    CHECK(looks > 1 || rank == size - 1);
    CHECK_OK(comm_test(comm, &request, &finished)); /* nothing left to look at */
    CHECK(finished && request == NULL);
}

/* Elements that do not hold the sum (below `summed`) or the own value (from there on). */
static int64_t wrong_elements(const Comm *comm, const int64_t *data, int64_t summed, int64_t total,
                              int64_t scale) {
    int64_t wrong = 0;
    for (int64_t i = 0; i < total; i++)
        wrong += data[i] != (i < summed ? reduced(comm_size(comm), i, scale, COMM_SUM)
                                        : element(comm_rank(comm), i, scale));
    return wrong;
}

static int ends_until(const Buckets *buckets, int64_t ready) {
    int count = 0;
    for (int b = 0; b < buckets->count; b++)
        count += buckets->begin[b + 1] <= ready;
    return count;
}

static void test_buckets_of(Comm *comm, int64_t total, int64_t bucket_elements) {
    int64_t *data = NULL, summed, half = total / 2;
    int rank = comm_rank(comm);
    Buckets buckets = {0};
    CHECK_OK(ALLOCATE(&data, total + 1));
    CHECK_OK(buckets_create(&buckets, comm, (BucketData){data, COMM_INT64, false}, total, bucket_elements));
    CHECK(buckets.count == (total + bucket_elements - 1) / bucket_elements);
    CHECK(buckets.begin[0] == 0 && buckets.begin[buckets.count] == total);
    for (int b = 0; b < buckets.count; b++)
        CHECK(buckets.begin[b] < buckets.begin[b + 1] &&
              buckets.begin[b + 1] - buckets.begin[b] <= bucket_elements);
    for (int64_t round = 1; round <= 2; round++) {
        /* the second half is computed while the first travels */
        for (int64_t i = 0; i < half; i++)
            data[i] = element(rank, i, round);
        CHECK_OK(buckets_start(&buckets, 0));
        CHECK(buckets.started == 0);
        CHECK_OK(buckets_start(&buckets, half));
        CHECK(buckets.started == ends_until(&buckets, half));
        CHECK_OK(buckets_start(&buckets, half)); /* nothing twice */
        for (int64_t i = half; i <= total; i++)
            data[i] = element(rank, i, round);
        CHECK_OK(buckets_start(&buckets, total - 1));
        CHECK(buckets.started == ends_until(&buckets, total - 1));
        CHECK_OK(buckets_start(&buckets, total));
        CHECK(buckets.started == buckets.count);
        CHECK_OK(buckets_finish(&buckets));
        CHECK(buckets.started == 0);
        CHECK(wrong_elements(comm, data, total, total + 1, round) == 0);
    }
    /* a round may end early: what was not started keeps its own values */
    for (int64_t i = 0; i <= total; i++)
        data[i] = element(rank, i, 5);
    CHECK_OK(buckets_start(&buckets, half));
    summed = buckets.begin[buckets.started];
    CHECK_OK(buckets_finish(&buckets));
    CHECK(wrong_elements(comm, data, summed, total + 1, 5) == 0);
    buckets_release(&buckets);
    CHECK(!buckets.begin && !buckets.requests);
    buckets_release(&buckets);
    free(data);
}

static void test_bucket_elements(void) {
    CHECK(buckets_elements(8, COMM_INT64) == 1 << 20 && buckets_elements(8, COMM_FLOAT32) == 2 << 20);
    CHECK(buckets_elements(0.03, COMM_BFLOAT16) == 15680); /* 15728.6 */
    CHECK(buckets_elements(1e-9, COMM_FLOAT32) == 64);
}

/* Small whole numbers: exact in any order. */
static void test_float_buckets(Comm *comm) {
    enum { TOTAL = 10007, BUCKET = 3000 };
    int rank = comm_rank(comm), size = comm_size(comm);
    float *data = NULL;
    int64_t wrong = 0;
    Buckets buckets = {0};
    CHECK_OK(ALLOCATE(&data, TOTAL));
    for (int64_t i = 0; i < TOTAL; i++)
        data[i] = (float)(i % 1000 + rank) + 0.5f;
    CHECK_OK(buckets_create(&buckets, comm, (BucketData){data, COMM_FLOAT32, false}, TOTAL, BUCKET));
    CHECK_OK(buckets_start(&buckets, TOTAL / 2));
    CHECK_OK(buckets_start(&buckets, TOTAL));
    CHECK_OK(buckets_finish(&buckets));
    for (int64_t i = 0; i < TOTAL; i++) {
        double expected = size * ((double)(i % 1000) + 0.5) + size * (size - 1) / 2.0;
        wrong += (double)data[i] != expected;
    }
    CHECK(wrong == 0);
    buckets_release(&buckets);
    free(data);
}

static void test_buckets(Comm *comm) {
    test_bucket_elements();
    test_float_buckets(comm);
    test_buckets_of(comm, 41, 1);
    test_buckets_of(comm, 1000, 7);      /* does not divide */
    test_buckets_of(comm, 1000, 250);    /* divides */
    test_buckets_of(comm, 1000, 1000);   /* one bucket */
    test_buckets_of(comm, 1000, 100000); /* larger than the array */
    test_buckets_of(comm, 1, 1);
    test_buckets_of(comm, 300001, 100000); /* beyond eager messages, last bucket of one element */
}

enum { GATHER_RANKS = 4, GATHER_CASES = 4 };

static void test_gather(Comm *comm) {
    static const int64_t sizes[GATHER_CASES][GATHER_RANKS] = {
        {5, 0, 100003, 7}, {0, 3, 0, 70001}, {0, 0, 0, 0}, {8, 8, 8, 8}};
    int rank = comm_rank(comm), size = comm_size(comm);
    for (int c = 0; c < GATHER_CASES; c++) {
        int64_t bytes = sizes[c][rank % GATHER_RANKS], total = 0, at = 0;
        uint8_t *mine = NULL, *all = NULL;
        for (int r = 0; r < size; r++)
            total += sizes[c][r % GATHER_RANKS];
        if (bytes > 0)
            CHECK_OK(ALLOCATE(&mine, bytes));
        fill(mine, bytes, rank, c);
        if (rank == 0) {
            CHECK_OK(ALLOCATE(&all, total + 1));
            all[total] = SENTINEL;
        }
        CHECK_OK(comm_gather(comm, mine, (size_t)bytes, all, rank == 0 ? (size_t)total : 0));
        for (int r = 0; rank == 0 && r < size; r++) {
            CHECK(mismatches(all + at, sizes[c][r % GATHER_RANKS], r, c) == 0);
            at += sizes[c][r % GATHER_RANKS];
        }
        CHECK(rank != 0 || all[total] == SENTINEL);

        /* A buffer of another size is refused on every rank, nothing is written, and later calls still fit.
         */
        if (rank == 0)
            memset(all, SENTINEL, (size_t)total + 1);
        CHECK_ERROR(comm_gather(comm, mine, (size_t)bytes, all, rank == 0 ? (size_t)total + 1 : 0),
                    STATUS_FAILURE, "comm_gather");
        for (int64_t i = 0; rank == 0 && i <= total; i++)
            CHECK(all[i] == SENTINEL);
        free(mine);
        free(all);
    }
}

/* Rank r brings codes[r]; all must return the highest, with the message of the lowest rank that brought it.
 */
static void check_agreement(Comm *comm, const Status *codes, bool expect_failure) {
    int rank = comm_rank(comm), size = comm_size(comm), where = -1;
    Status mine = codes[rank], worst = STATUS_OK;
    char expected[TEXT_BYTES];
    for (int r = 0; r < size; r++)
        if (codes[r] > worst) {
            worst = codes[r];
            where = r;
        }
    CHECK((worst != STATUS_OK) == expect_failure);
    status_error(mine, "failure of status %d with number %d", (int)mine, 100 + rank);
    CHECK(comm_agree(comm, mine) == worst);
    if (worst == STATUS_OK)
        return;
    snprintf(expected, sizeof expected, "failure of status %d with number %d", (int)worst, 100 + where);
    if (where != rank)
        snprintf(expected, sizeof expected, "rank %d: failure of status %d with number %d", where, (int)worst,
                 100 + where);
    if (strcmp(status_message(), expected) != 0)
        printf("rank %d: found \"%s\", expected \"%s\"\n", rank, status_message(), expected);
    CHECK(strcmp(status_message(), expected) == 0);
    CHECK(comm_failure_is_agreed(comm) || worst == STATUS_INTERRUPTED);
}

static void test_agreement(Comm *comm) {
    enum { MOST_RANKS = 64 };
    int size = comm_size(comm);
    Status codes[MOST_RANKS] = {STATUS_OK};
    CHECK(size <= MOST_RANKS);
    CHECK(!comm_failure_is_agreed(comm));
    check_agreement(comm, codes, false);
    CHECK(!comm_failure_is_agreed(comm));
    codes[size - 1] = STATUS_INTERRUPTED; /* what comes after it can still fail on one rank alone */
    check_agreement(comm, codes, true);
    CHECK(!comm_failure_is_agreed(comm));
    codes[size - 1] = STATUS_OK;
    for (int r = 0; r < size; r++) { /* one fails */
        codes[r] = r % 2 ? STATUS_BAD_INPUT : STATUS_FAILURE;
        check_agreement(comm, codes, true);
        codes[r] = STATUS_OK;
    }
    check_agreement(comm, codes, false);
    codes[0] = STATUS_FAILURE; /* two fail: the worse one is not the first */
    codes[size - 1] = STATUS_BAD_INPUT;
    check_agreement(comm, codes, true);
    codes[0] = codes[size - 1] = STATUS_INTERRUPTED; /* two with the same code */
    check_agreement(comm, codes, true);
    for (int r = 0; r < size; r++)
        codes[r] = STATUS_FAILURE; /* all fail */
    check_agreement(comm, codes, true);
}

/* A task of srun whose MPI does not know of the others would train alone. */
static void test_slurm(void) {
    Comm *comm = NULL;
    setenv("SLURM_NTASKS", "4", 1);
    setenv("SLURM_STEP_ID", "0", 1);
    setenv("SLURM_PROCID", "0", 1);
    CHECK_ERROR(comm_create(&comm), STATUS_BAD_INPUT, "--mpi=pmix");
    CHECK(strstr(status_message(), "4 tasks"));
    CHECK(comm == NULL);
    setenv("SLURM_STEP_NUM_TASKS", "1", 1); /* srun -n 1 inside an allocation of 4 tasks */
    CHECK_OK(comm_create(&comm));
    comm_destroy(comm);
    unsetenv("SLURM_STEP_NUM_TASKS");
    unsetenv("SLURM_STEP_ID"); /* a batch script: one process by intention */
    CHECK_OK(comm_create(&comm));
    CHECK(comm && comm_size(comm) == 1);
    comm_destroy(comm);
    setenv("SLURM_STEP_ID", "0", 1);
    setenv("SLURM_NTASKS", "1", 1);
    CHECK_OK(comm_create(&comm));
    comm_destroy(comm);
    unsetenv("SLURM_NTASKS");
    unsetenv("SLURM_STEP_ID");
    unsetenv("SLURM_PROCID");
    comm_destroy(NULL);
    comm_abort(NULL, STATUS_FAILURE);
}

static int run_abort(Comm *comm) {
    if (comm_rank(comm) == comm_size(comm) - 1)
        comm_abort(comm, STATUS_BAD_INPUT);
    Status status = comm_barrier(comm);
    printf("rank %d: the job goes on, status %d\n", comm_rank(comm), (int)status);
    return 1;
}

int main(int argc, char **argv) {
    Comm *comm = NULL;
    const char *slurm[] = {"SLURM_NTASKS", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"};
    for (int i = 0; i < 4; i++) /* the test may itself be a task of a job */
        unsetenv(slurm[i]);
    if (!getenv("OMPI_COMM_WORLD_SIZE"))
        test_slurm();
    CHECK_OK(comm_create(&comm));
    if (!comm)
        return test_result();
    if (argc > 1 && strcmp(argv[1], "abort") == 0)
        return run_abort(comm);
    test_description(comm);
    test_broadcast(comm);
    test_allreduce(comm);
    test_nonblocking(comm);
    test_looking(comm);
    test_buckets(comm);
    test_gather(comm);
    test_agreement(comm);
    if (comm_size(comm) == 1 && strcmp(comm_description(comm), "single process") == 0)
        comm_abort(comm, STATUS_FAILURE); /* nobody else waits: returns */
    comm_destroy(comm);
    return test_result();
}
