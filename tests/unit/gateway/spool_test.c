/* spool_test.c: nothing that was recorded is lost or doubled, wherever the process or the disk stops. */
#include "base/config.h"
#include "base/log.h"
#include "gateway/spool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static Arena *arena;
static Str dir;

static void remove_dir(Str path)
{
    DIR *open_dir = opendir(arena_c(arena, path));
    if (open_dir == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(open_dir)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(open_dir), entry->d_name, 0);
    closedir(open_dir);
    rmdir(arena_c(arena, path));
}

static int setup(void **state)
{
    (void)state;
    arena = arena_new();
    char path[] = "/tmp/reeve-spool-XXXXXX";
    dir = arena_str(arena, str_from_c(mkdtemp(path)));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_dir(dir);
    arena_free(&arena);
    return 0;
}

static SpoolOptions options_small(void)
{
    return (SpoolOptions){ .dir = dir, .bytes_max = 1 << 20, .segment_bytes = 4096, .sync_every_us = 5000 };
}

static Spool *open_good(const SpoolOptions *options)
{
    Spool *spool = NULL;
    Err err = spool_open(arena, options, &spool);
    if (err.kind != ERR_NONE)
        fail_msg("%.*s: %.*s", STR_ARG(err.code), STR_ARG(err.detail));
    return spool;
}

static Str payload(uint32_t epoch, uint64_t sequence, const char *what)
{
    return arena_fmt(arena, "%u/%llu %s %0200d", epoch, (unsigned long long)sequence, what, 0);
}

/* One call: an intent, and its event unless it stays open. */
static uint64_t record_call(Spool *spool, SpoolWriter *writer, bool ends)
{
    uint64_t sequence = spool_next(spool);
    spool_intent(writer, sequence, payload(spool_epoch(spool), sequence, "indeterminate"));
    assert_int_equal(spool_flush(writer).kind, ERR_NONE);
    if (ends)
        spool_event(writer, sequence, payload(spool_epoch(spool), sequence, "ok"));
    assert_int_equal(spool_flush(writer).kind, ERR_NONE);
    return sequence;
}

/* Reads and acknowledges everything; returns the count, and the last one's text. */
static size_t drain(Spool *spool, Str *ret_all)
{
    size_t count = 0;
    *ret_all = STR("");
    for (;;) {
        SpoolBatch batch;
        assert_int_equal(spool_read(spool, arena, 7, 100000, &batch).kind, ERR_NONE);
        SpoolStats stats = spool_stats(spool);
        if (batch.count == 0 && stats.events_acknowledged == stats.events_written) {
            spool_acknowledge(spool, &batch);
            return count;
        }
        for (size_t i = 0; i < batch.count; i++)
            *ret_all = arena_fmt(arena, STR_FMT "%.30s\n", STR_ARG(*ret_all), batch.events[i].ptr);
        count += batch.count;
        spool_acknowledge(spool, &batch);
    }
}

static size_t count_of(Str text, const char *needle)
{
    size_t count = 0;
    const char *at = arena_c(arena, text);
    while ((at = strstr(at, needle)) != NULL) {
        count++;
        at++;
    }
    return count;
}

static void test_events_come_back_in_order_and_once(void **state)
{
    (void)state;
    SpoolOptions options = options_small();
    Spool *spool = open_good(&options);
    SpoolWriter *writer = spool_writer_new(spool);
    for (int i = 0; i < 100; i++)
        record_call(spool, writer, true);
    assert_true(spool_stats(spool).segments > 3);
    Str all;
    assert_int_equal(drain(spool, &all), 100);
    assert_int_equal(drain(spool, &all), 0);
    assert_int_equal(spool_stats(spool).segments, 1);
    spool_writer_free(&writer);
    spool_close(&spool);
    spool = open_good(&options);
    assert_int_equal(drain(spool, &all), 0);
    spool_close(&spool);
}

static void test_the_epoch_rises_at_every_start(void **state)
{
    (void)state;
    SpoolOptions options = options_small();
    for (uint32_t epoch = 1; epoch <= 3; epoch++) {
        Spool *spool = open_good(&options);
        assert_int_equal(spool_epoch(spool), epoch);
        assert_int_equal(spool_next(spool), 1);
        spool_close(&spool);
    }
    /* A lost counter does not bring an epoch back that has records. */
    Spool *spool = open_good(&options);
    SpoolWriter *writer = spool_writer_new(spool);
    record_call(spool, writer, true);
    spool_writer_free(&writer);
    spool_close(&spool);
    unlink(arena_c(arena, arena_fmt(arena, STR_FMT "/epoch", STR_ARG(dir))));
    spool = open_good(&options);
    assert_int_equal(spool_epoch(spool), 5);
    spool_close(&spool);
}

static void test_two_gateways_on_one_directory_are_refused(void **state)
{
    (void)state;
    SpoolOptions options = options_small();
    Spool *spool = open_good(&options), *second = NULL;
    Err err = spool_open(arena, &options, &second);
    assert_int_equal(err.kind, ERR_CONFLICT);
    assert_true(err_is(err, "state-in-use"));
    spool_close(&spool);
}

static void test_an_unfinished_intent_becomes_its_event_once(void **state)
{
    (void)state;
    SpoolOptions options = options_small();
    Spool *spool = open_good(&options);
    SpoolWriter *writer = spool_writer_new(spool);
    record_call(spool, writer, true);
    uint64_t open_sequence = record_call(spool, writer, false);
    spool_intent(writer, open_sequence, payload(1, open_sequence, "second try"));
    spool_writer_free(&writer);
    spool_close(&spool);
    Str all;
    spool = open_good(&options);
    assert_int_equal(spool_stats(spool).events_recovered, 1);
    assert_int_equal(drain(spool, &all), 2);
    assert_string_equal(arena_c(arena, str_first(all, 7)), "1/1 ok ");
    assert_int_equal(count_of(all, "1/2 second try"), 1);
    spool_close(&spool);
    spool = open_good(&options);
    assert_int_equal(drain(spool, &all), 0);
    spool_close(&spool);
}

static void test_a_long_call_does_not_keep_old_segments(void **state)
{
    (void)state;
    SpoolOptions options = options_small();
    Spool *spool = open_good(&options);
    SpoolWriter *writer = spool_writer_new(spool);
    uint64_t open_sequence = record_call(spool, writer, false);
    Str all;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 50; i++)
            record_call(spool, writer, true);
        assert_int_equal(drain(spool, &all), 50);
        assert_true(spool_stats(spool).segments <= 2);
        assert_int_equal(spool_stats(spool).open_intents, 1);
    }
    spool_event(writer, open_sequence, payload(1, open_sequence, "ok at last"));
    spool_writer_free(&writer);
    assert_int_equal(drain(spool, &all), 1);
    assert_int_equal(spool_stats(spool).open_intents, 0);
    spool_close(&spool);
}

static Str newest_segment(void)
{
    Str newest = STR("");
    DIR *open_dir = opendir(arena_c(arena, dir));
    for (struct dirent *entry; (entry = readdir(open_dir)) != NULL;) {
        Str name = str_from_c(entry->d_name);
        if (str_ends_with(name, STR(".seg")) && str_compare(name, newest) > 0)
            newest = arena_str(arena, name);
    }
    closedir(open_dir);
    return arena_fmt(arena, STR_FMT "/" STR_FMT, STR_ARG(dir), STR_ARG(newest));
}

static void test_a_torn_tail_at_every_byte_loses_only_itself(void **state)
{
    (void)state;
    SpoolOptions options = options_small();
    Spool *spool = open_good(&options);
    SpoolWriter *writer = spool_writer_new(spool);
    for (int i = 0; i < 2; i++)
        record_call(spool, writer, true);
    spool_writer_free(&writer);
    spool_close(&spool);
    Str path = newest_segment(), whole;
    assert_int_equal(file_read(arena, path, 1 << 20, &whole).kind, ERR_NONE);
    size_t quarter = whole.len / 4; /* intent, event, intent, event: nearly of one size */
    for (size_t len = 0; len <= whole.len; len++) {
        remove_dir(dir);
        mkdir(arena_c(arena, dir), 0700);
        assert_int_equal(file_write_atomic(path, str_first(whole, len), 0600).kind, ERR_NONE);
        spool = open_good(&options);
        Str all;
        size_t events = drain(spool, &all);
        size_t records = len == whole.len ? 4 : len / quarter;
        if (len % quarter < quarter - 8 && len % quarter > 8) /* away from the borders */
            assert_int_equal(events, (records + 1) / 2);
        assert_int_equal(count_of(all, "1/1 ok") + count_of(all, "1/1 indeterminate"), events >= 1);
        assert_int_equal(count_of(all, "1/2 ok") + count_of(all, "1/2 indeterminate"), events >= 2);
        spool_close(&spool);
    }
}

static void test_a_flipped_bit_is_noticed(void **state)
{
    (void)state;
    SpoolOptions options = options_small();
    Spool *spool = open_good(&options);
    SpoolWriter *writer = spool_writer_new(spool);
    record_call(spool, writer, true);
    spool_writer_free(&writer);
    spool_close(&spool);
    Str path = newest_segment(), whole;
    assert_int_equal(file_read(arena, path, 1 << 20, &whole).kind, ERR_NONE);
    char *bytes = NEW(arena, char, whole.len);
    for (size_t i = 0; i < whole.len; i += 3) {
        memcpy(bytes, whole.ptr, whole.len);
        bytes[i] ^= 0x10;
        remove_dir(dir);
        mkdir(arena_c(arena, dir), 0700);
        assert_int_equal(file_write_atomic(path, str_n(bytes, whole.len), 0600).kind, ERR_NONE);
        spool = open_good(&options);
        Str all;
        assert_true(drain(spool, &all) <= 1);
        assert_int_equal(count_of(all, "1/1 ok"), 0);
        spool_close(&spool);
    }
}

/* --- a crash before every change of the disk --- */

typedef struct Crash {
    int left; /* steps until it */
} Crash;

static void crash_at(void *arg, const char *name)
{
    Crash *crash = arg;
    (void)name;
    if (crash->left-- == 0)
        kill(getpid(), SIGKILL);
}

/* The life of a gateway: calls, some open for long, acknowledgements in between. What ended is told over the pipe
 * (8 bytes each, only when the spool has it); what was acknowledged likewise with the top bit. */
static void live(Crash *crash, int fd, int calls)
{
    SpoolOptions options = options_small();
    options.on_step = crash_at;
    options.step_arg = crash;
    Spool *spool = NULL;
    if (spool_open(arena, &options, &spool).kind != ERR_NONE)
        _exit(3);
    SpoolWriter *writer = spool_writer_new(spool);
    uint64_t epoch = (uint64_t)spool_epoch(spool) << 32;
    for (int i = 0; i < calls; i++) {
        uint64_t sequence = spool_next(spool);
        spool_intent(writer, sequence, payload(spool_epoch(spool), sequence, "indeterminate"));
        if (spool_flush(writer).kind != ERR_NONE)
            _exit(4);
        uint64_t told = epoch | sequence; /* dispatched */
        if (write(fd, &told, sizeof told) != sizeof told)
            _exit(5);
        if (i % 10 != 3)
            spool_event(writer, sequence, payload(spool_epoch(spool), sequence, "ok"));
        if (spool_flush(writer).kind != ERR_NONE)
            _exit(4);
        if (i % 16 != 15)
            continue;
        SpoolBatch batch;
        if (spool_read(spool, arena, 10, 100000, &batch).kind != ERR_NONE)
            _exit(6);
        for (size_t e = 0; e < batch.count; e++) {
            uint64_t seen =
                UINT64_C(1) << 63 | epoch | strtoull(strchr(arena_c(arena, batch.events[e]), '/') + 1, NULL, 10);
            seen = (seen & ~(UINT64_C(0x7fffffff) << 32)) | strtoull(arena_c(arena, batch.events[e]), NULL, 10) << 32;
            if (write(fd, &seen, sizeof seen) != sizeof seen)
                _exit(5);
        }
        spool_acknowledge(spool, &batch);
    }
    kill(getpid(), SIGKILL); /* never a clean end */
}

/* Runs a life that crashes at the given step; appends what it told. Returns false when it lived through. */
static void run_life(int crash_step, int calls, Buf *told)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    fcntl(fds[1], F_SETPIPE_SZ, 1 << 20);
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        Crash crash = { .left = crash_step };
        live(&crash, fds[1], calls);
        _exit(0);
    }
    close(fds[1]);
    char bytes[4096];
    for (ssize_t got; (got = read(fds[0], bytes, sizeof bytes)) > 0;)
        buf_add_bytes(told, bytes, (size_t)got);
    close(fds[0]);
    int status;
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("crash step %d: the child ended with status %x", crash_step, status);
}

static void test_after_a_kill_at_any_step_every_dispatched_call_has_exactly_one_end(void **state)
{
    (void)state;
    enum { CALLS = 60, EPOCHS = 8 };
    for (int crash_step = 0; crash_step < 190; crash_step += 1) {
        remove_dir(dir);
        mkdir(arena_c(arena, dir), 0700);
        _cleanup_(buf_release) Buf told = buf_new(1 << 20);
        run_life(crash_step, CALLS, &told);
        run_life(crash_step / 3, CALLS, &told); /* and once more, in recovery for small steps */
        SpoolOptions options = options_small();
        Spool *spool = open_good(&options);
        assert_true(spool_epoch(spool) < EPOCHS);
        int dispatched[EPOCHS][CALLS + 1] = { 0 }, ended[EPOCHS][CALLS + 1] = { 0 };
        for (size_t at = 0; at + 8 <= told.len; at += 8) {
            uint64_t word;
            memcpy(&word, told.ptr + at, 8);
            int(*table)[CALLS + 1] = word >> 63 ? ended : dispatched;
            table[word >> 32 & 0x7fffffff][word & 0xffffffff] = 1; /* told twice: sent again before its ack was kept */
        }
        SpoolBatch batch;
        int again[EPOCHS][CALLS + 1] = { 0 };
        do {
            assert_int_equal(spool_read(spool, arena, 100, 100000, &batch).kind, ERR_NONE);
            for (size_t i = 0; i < batch.count; i++) {
                unsigned epoch, sequence;
                assert_int_equal(sscanf(arena_c(arena, batch.events[i]), "%u/%u", &epoch, &sequence), 2);
                again[epoch][sequence]++;
                ended[epoch][sequence] = 1;
            }
            spool_acknowledge(spool, &batch);
        } while (spool_stats(spool).events_acknowledged < spool_stats(spool).events_written);
        for (int epoch = 1; epoch < EPOCHS; epoch++)
            for (int i = 1; i <= CALLS; i++) {
                if (dispatched[epoch][i] && !ended[epoch][i])
                    fail_msg("crash step %d: call %d/%d was dispatched and has no event", crash_step, epoch, i);
                if (again[epoch][i] > 1)
                    fail_msg("crash step %d: call %d/%d has %d events", crash_step, epoch, i, again[epoch][i]);
            }
        spool_close(&spool);
        arena_clear(arena);
        char path[64];
        snprintf(path, sizeof path, "/tmp/reeve-spool-crash-%d", (int)getpid());
        mkdir(path, 0700);
        dir = arena_str(arena, str_from_c(path));
    }
}

static void test_past_its_limit_intents_are_refused_and_events_still_taken(void **state)
{
    (void)state;
    SpoolOptions options = options_small();
    options.bytes_max = 8192;
    Spool *spool = open_good(&options);
    SpoolWriter *writer = spool_writer_new(spool);
    uint64_t open_sequence = record_call(spool, writer, false);
    Err err = OK;
    int calls = 0;
    while (err.kind == ERR_NONE && calls++ < 1000) {
        uint64_t sequence = spool_next(spool);
        spool_intent(writer, sequence, payload(1, sequence, "indeterminate"));
        err = spool_flush(writer);
        if (err.kind == ERR_NONE)
            spool_event(writer, sequence, payload(1, sequence, "ok"));
    }
    assert_true(err_is(err, "spool-full"));
    assert_string_equal(spool_stats(spool).trouble, "full");
    spool_event(writer, open_sequence, payload(1, open_sequence, "ok"));
    assert_int_equal(spool_flush(writer).kind, ERR_UNAVAILABLE);
    assert_int_equal(spool_stats(spool).open_intents, 0);
    Str all;
    assert_int_equal(drain(spool, &all), (size_t)calls);
    options.bytes_max = 1 << 20;
    spool_writer_free(&writer);
    spool_close(&spool);
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

static void test_a_full_disk_refuses_and_heals(void **state)
{
    (void)state;
    SpoolOptions options = options_small();
    options.segment_bytes = 64 * 1024;
    Spool *spool = open_good(&options);
    SpoolWriter *writer = spool_writer_new(spool);
    record_call(spool, writer, true);
    struct rlimit before, tight = { 0 };
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    tight.rlim_max = before.rlim_max;
    tight.rlim_cur = spool_stats(spool).bytes + 100; /* a write ends in its middle */
    setrlimit(RLIMIT_FSIZE, &tight);
    uint64_t sequence = spool_next(spool);
    spool_intent(writer, sequence, payload(1, sequence, "never"));
    assert_true(err_is(spool_flush(writer), "spool-failed"));
    assert_string_equal(spool_stats(spool).trouble, "disk");
    setrlimit(RLIMIT_FSIZE, &before);
    for (int i = 0; i < 500 && spool_stats(spool).trouble != NULL; i++)
        sleep_ms(2);
    assert_null(spool_stats(spool).trouble);
    record_call(spool, writer, true);
    spool_writer_free(&writer);
    Str all;
    assert_int_equal(drain(spool, &all), 2);
    assert_int_equal(count_of(all, "never"), 0);
    spool_close(&spool);
}

static void test_a_refused_event_is_set_aside(void **state)
{
    (void)state;
    SpoolOptions options = options_small();
    Spool *spool = open_good(&options);
    spool_set_aside(spool, STR("{\"a\":1}"));
    spool_set_aside(spool, STR("{\"a\":2}"));
    Str text;
    Str path = arena_fmt(arena, STR_FMT "/refused.jsonl", STR_ARG(dir));
    assert_int_equal(file_read(arena, path, 100, &text).kind, ERR_NONE);
    assert_string_equal(arena_c(arena, text), "{\"a\":1}\n{\"a\":2}\n");
    spool_close(&spool);
}

int main(void)
{
#define SPOOL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(test_events_come_back_in_order_and_once),
        SPOOL_TEST(test_the_epoch_rises_at_every_start),
        SPOOL_TEST(test_two_gateways_on_one_directory_are_refused),
        SPOOL_TEST(test_an_unfinished_intent_becomes_its_event_once),
        SPOOL_TEST(test_a_long_call_does_not_keep_old_segments),
        SPOOL_TEST(test_a_torn_tail_at_every_byte_loses_only_itself),
        SPOOL_TEST(test_a_flipped_bit_is_noticed),
        SPOOL_TEST(test_after_a_kill_at_any_step_every_dispatched_call_has_exactly_one_end),
        SPOOL_TEST(test_past_its_limit_intents_are_refused_and_events_still_taken),
        SPOOL_TEST(test_a_full_disk_refuses_and_heals),
        SPOOL_TEST(test_a_refused_event_is_set_aside),
    };
    log_start("spool_test", LOG_ERROR, true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
