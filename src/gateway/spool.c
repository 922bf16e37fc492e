/* spool.c: see gateway/spool.h. One lock guards segments, cursor and open intents; no lock is held while syncing. */
#include "gateway/spool.h"

#include "base/config.h"
#include "base/encode.h"
#include "base/log.h"
#include "intents.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <dirent.h>
#include <unistd.h>

#define SEGMENTS_MAX 4096
#define HEADER_LEN 24
#define CURSOR_LEN 20
#define WRITER_BYTES_MAX ((size_t)256 * 1024 * 1024)
#define READ_BYTES ((size_t)384 * 1024)
#define SET_ASIDE_MAX ((off_t)64 * 1024 * 1024)
/* Room behind a segment's end for the outcomes of calls that run when no next segment can be made. */
#define OUTCOME_ROOM ((uint64_t)1024 * 1024)

enum { RECORD_INTENT = 1, RECORD_EVENT = 2 };

typedef struct Segment {
    uint64_t id, size, synced, events;
    uint32_t open; /* intents in it that have not ended */
    int fd;
} Segment;

typedef enum Trouble { TROUBLE_NONE, TROUBLE_FULL, TROUBLE_DISK, TROUBLE_SYNC, TROUBLE_COUNT } Trouble;

struct Spool {
    Arena *arena;
    SpoolOptions options;
    int dir_fd, lock_fd, cursor_fd;
    uint32_t epoch;
    _Atomic uint64_t next_sequence;

    pthread_mutex_t mutex;
    Segment segments[SEGMENTS_MAX]; /* oldest first; the last is the active one */
    size_t count;
    uint64_t bytes;
    Intents intents;
    uint64_t cursor_segment, cursor_offset;
    _Atomic Trouble trouble;
    SpoolStats stats;

    pthread_t syncer;
    pthread_cond_t wake;
    bool dirty, stopping;
};

struct SpoolWriter {
    Spool *spool;
    Arena *arena;
    Buf intents, events;
};

static const char *const trouble_names[TROUBLE_COUNT] = { NULL, "full", "disk", "sync" };

static void step(Spool *spool, const char *name)
{
    if (spool->options.on_step != NULL)
        spool->options.on_step(spool->options.step_arg, name);
}

/* --- records --- */

typedef struct SpoolRecord {
    uint32_t epoch, kind;
    uint64_t sequence, offset; /* where it begins */
    Str payload;
} SpoolRecord;

static uint32_t record_crc(const char *behind_crc, size_t len)
{
    return crc32_of((Bytes){ .ptr = (const uint8_t *)behind_crc, .len = len });
}

static void record_add(Buf *buf, uint32_t epoch, uint32_t kind, uint64_t sequence, Str payload)
{
    if (payload.len > SPOOL_RECORD_MAX)
        die("a spool record of %zu bytes", payload.len);
    size_t start = buf->len;
    if (buf_reserve(buf, HEADER_LEN + payload.len) == NULL)
        return; /* remembered by the buffer */
    buf_u32(buf, (uint32_t)payload.len);
    buf_u32(buf, 0);
    buf_u32(buf, epoch);
    buf_u32(buf, kind);
    buf_u64(buf, sequence);
    buf_add(buf, payload);
    uint32_t crc = record_crc(buf->ptr + start + 8, HEADER_LEN - 8 + payload.len);
    for (int i = 0; i < 4; i++)
        buf->ptr[start + 4 + (size_t)i] = (char)(crc >> (24 - 8 * i));
}

/* Whose sum is looked at: nobody's of what was just made, events' when they are about to be sent. */
typedef enum Check { CHECK_NONE, CHECK_EVENTS, CHECK_ALL } Check;

/* Reads the record at *at and moves behind it; false at the end of whole records. */
static bool record_read(Str text, size_t *at, Check check, SpoolRecord *ret_record)
{
    Str rest = str_skip(text, *at);
    if (rest.len < HEADER_LEN)
        return false;
    Reader reader = reader_of(str_bytes(rest));
    uint32_t len = read_u32(&reader), crc = read_u32(&reader);
    SpoolRecord record = { .offset = *at };
    record.epoch = read_u32(&reader);
    record.kind = read_u32(&reader);
    record.sequence = read_u64(&reader);
    if (len > SPOOL_RECORD_MAX || rest.len - HEADER_LEN < len || record.sequence == 0)
        return false;
    bool is_checked = check == CHECK_ALL || (check == CHECK_EVENTS && record.kind != RECORD_INTENT);
    if (is_checked && record_crc(rest.ptr + 8, HEADER_LEN - 8 + len) != crc)
        return false;
    record.payload = str_n(rest.ptr + HEADER_LEN, len);
    *at += HEADER_LEN + len;
    *ret_record = record;
    return true;
}

/* The same, false at a torn or altered one too. */
static bool record_next(Str text, size_t *at, SpoolRecord *ret_record)
{
    return record_read(text, at, CHECK_ALL, ret_record);
}

/* --- segments --- */

static Segment *active(Spool *spool)
{
    return &spool->segments[spool->count - 1];
}

static Segment *segment_find(Spool *spool, uint64_t id)
{
    for (size_t i = 0; i < spool->count; i++)
        if (spool->segments[i].id == id)
            return &spool->segments[i];
    return NULL;
}

static Err disk_error(Spool *spool, const char *what)
{
    spool->trouble = TROUBLE_DISK;
    return FAIL_STR(ERR_UNAVAILABLE, "spool-failed", str_from_c(what));
}

static void segment_name(char name[32], uint64_t id)
{
    snprintf(name, 32, "%016" PRIx64 ".seg", id);
}

static Err segment_begin(Spool *spool)
{
    char name[32];
    Segment segment = { .id = spool->count == 0 ? 1 : active(spool)->id + 1 };
    if (spool->count == SEGMENTS_MAX)
        return FAIL(ERR_UNAVAILABLE, "spool-full", "The spool has as many segments as it may.");
    segment_name(name, segment.id);
    step(spool, "segment-create");
    segment.fd = openat(spool->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (segment.fd < 0)
        return disk_error(spool, "could not create a segment of the spool");
    off_t room = (off_t)(spool->options.segment_bytes + OUTCOME_ROOM);
    step(spool, "segment-allocate");
    if (fallocate(segment.fd, FALLOC_FL_KEEP_SIZE, 0, room) != 0 && errno != EOPNOTSUPP) {
        close(segment.fd);
        unlinkat(spool->dir_fd, name, 0);
        return disk_error(spool, "no room for a segment of the spool");
    }
    step(spool, "segment-sync-dir");
    if (fsync(spool->dir_fd) != 0) {
        close(segment.fd);
        unlinkat(spool->dir_fd, name, 0);
        return disk_error(spool, "could not sync the spool's directory");
    }
    spool->segments[spool->count++] = segment;
    return OK;
}

static void segment_drop_first(Spool *spool)
{
    char name[32];
    Segment *first = &spool->segments[0];
    segment_name(name, first->id);
    step(spool, "segment-unlink");
    unlinkat(spool->dir_fd, name, 0);
    close(first->fd);
    spool->bytes -= first->size;
    spool->count--;
    memmove(&spool->segments[0], &spool->segments[1], spool->count * sizeof(Segment));
}

/* Brings the table of open intents up to date with whole records that lie at `base` of the segment. */
static void note_records(Spool *spool, Segment *segment, Str text, uint64_t base)
{
    SpoolRecord record;
    for (size_t at = 0; record_read(text, &at, CHECK_NONE, &record);) {
        Intent gone;
        if (record.kind == RECORD_INTENT) {
            gone = intents_put(&spool->intents, (Intent){ .sequence = record.sequence,
                                                    .epoch = record.epoch,
                                                    .len = (uint32_t)(HEADER_LEN + record.payload.len),
                                                    .segment = segment->id,
                                                    .offset = base + record.offset });
            segment->open++;
        } else {
            gone = intents_take(&spool->intents, record.epoch, record.sequence);
            spool->stats.events_written++;
            segment->events++;
        }
        Segment *before = gone.sequence == 0 ? NULL : segment_find(spool, gone.segment);
        if (before != NULL)
            before->open--;
    }
}

/* Appends to the active segment, whole or not at all. The lock is held. */
static Err append(Spool *spool, Str first, Str second)
{
    Segment *segment = active(spool);
    struct iovec parts[] = { { .iov_base = (void *)(uintptr_t)first.ptr, .iov_len = first.len },
        { .iov_base = (void *)(uintptr_t)second.ptr, .iov_len = second.len } };
    step(spool, "append");
    ssize_t put = pwritev(segment->fd, parts, 2, (off_t)segment->size);
    if (put != (ssize_t)(first.len + second.len)) {
        step(spool, "append-undo");
        if (put > 0 && ftruncate(segment->fd, (off_t)segment->size) != 0)
            spool->trouble = TROUBLE_SYNC; /* a torn record we cannot take back: nothing may follow it */
        return disk_error(spool, "could not write to the spool");
    }
    note_records(spool, segment, first, segment->size);
    note_records(spool, segment, second, segment->size + first.len);
    segment->size += (uint64_t)put;
    spool->bytes += (uint64_t)put;
    spool->dirty = true;
    return OK;
}

/* Begins the next segment when the active one is full. */
static Err rotate_if_full(Spool *spool)
{
    return active(spool)->size < spool->options.segment_bytes ? OK : segment_begin(spool);
}

/* --- writers --- */

uint32_t spool_epoch(const Spool *spool)
{
    return spool->epoch;
}

uint64_t spool_next(Spool *spool)
{
    return atomic_fetch_add_explicit(&spool->next_sequence, 1, memory_order_relaxed);
}

bool spool_refuses(const Spool *spool)
{
    return atomic_load_explicit(&spool->trouble, memory_order_relaxed) != TROUBLE_NONE;
}

SpoolWriter *spool_writer_new(Spool *spool)
{
    Arena *arena = arena_new();
    SpoolWriter *writer = NEW(arena, SpoolWriter, 1);
    *writer = (SpoolWriter){
        .spool = spool, .arena = arena, .intents = buf_new(WRITER_BYTES_MAX), .events = buf_new(WRITER_BYTES_MAX)
    };
    return writer;
}

void spool_writer_free(SpoolWriter **writer)
{
    if (*writer == NULL)
        return;
    Err err = spool_flush(*writer);
    if (err.kind != ERR_NONE)
        log_err("events were left out of the spool", err);
    buf_release(&(*writer)->intents);
    buf_release(&(*writer)->events);
    Arena *arena = (*writer)->arena;
    *writer = NULL;
    arena_free(&arena);
}

void spool_intent(SpoolWriter *writer, uint64_t sequence, Str event)
{
    record_add(&writer->intents, writer->spool->epoch, RECORD_INTENT, sequence, event);
}

void spool_event(SpoolWriter *writer, uint64_t sequence, Str event)
{
    record_add(&writer->events, writer->spool->epoch, RECORD_EVENT, sequence, event);
}

/* Whether intents may be taken: a limit passed, or a disk that failed, and whether it still does. */
static Err admit_intents(Spool *spool, size_t len)
{
    if (spool->trouble == TROUBLE_SYNC)
        return FAIL(ERR_UNAVAILABLE, "spool-failed", "The spool could not be made durable.");
    if (spool->bytes + len > spool->options.bytes_max) {
        spool->trouble = TROUBLE_FULL;
        return FAIL(ERR_UNAVAILABLE, "spool-full", "The spool has reached its limit.");
    }
    return rotate_if_full(spool);
}

static Err flush_locked(Spool *spool, SpoolWriter *writer)
{
    Err refused = admit_intents(spool, writer->intents.len);
    if (buf_overflowed(&writer->intents) || buf_overflowed(&writer->events))
        die("a writer of the spool holds more than %zu bytes", WRITER_BYTES_MAX);
    if (refused.kind == ERR_NONE) {
        refused = append(spool, buf_str(&writer->intents), buf_str(&writer->events));
        if (refused.kind == ERR_NONE) {
            spool->trouble = TROUBLE_NONE;
            buf_clear(&writer->events);
            return OK;
        }
    }
    Trouble trouble = spool->trouble;
    if (writer->events.len > 0 && trouble != TROUBLE_SYNC &&
        append(spool, STR(""), buf_str(&writer->events)).kind == ERR_NONE)
        buf_clear(&writer->events);
    spool->trouble = trouble;
    return refused;
}

Err spool_flush(SpoolWriter *writer)
{
    Spool *spool = writer->spool;
    if (writer->intents.len == 0 && writer->events.len == 0)
        return OK;
    pthread_mutex_lock(&spool->mutex);
    Err err = flush_locked(spool, writer);
    pthread_mutex_unlock(&spool->mutex);
    buf_clear(&writer->intents);
    return err;
}

SpoolStats spool_stats(Spool *spool)
{
    pthread_mutex_lock(&spool->mutex);
    SpoolStats stats = spool->stats;
    stats.trouble = trouble_names[spool->trouble];
    stats.bytes = spool->bytes;
    stats.segments = spool->count;
    stats.open_intents = spool->intents.count;
    pthread_mutex_unlock(&spool->mutex);
    return stats;
}

/* --- making it durable --- */

typedef struct Unsynced {
    int fd;
    uint64_t id, size;
} Unsynced;

#define UNSYNCED_MAX 16

/* Copies of the descriptors of segments that have bytes which are not on the disk; the lock is held. */
static size_t collect_unsynced(Spool *spool, Unsynced unsynced[UNSYNCED_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < spool->count && count < UNSYNCED_MAX; i++) {
        Segment *segment = &spool->segments[i];
        if (segment->synced == segment->size)
            continue;
        unsynced[count++] =
            (Unsynced){ .fd = fcntl(segment->fd, F_DUPFD_CLOEXEC, 0), .id = segment->id, .size = segment->size };
    }
    return count;
}

static void sync_once(Spool *spool)
{
    Unsynced unsynced[UNSYNCED_MAX];
    size_t count = collect_unsynced(spool, unsynced);
    spool->dirty = count == UNSYNCED_MAX;
    pthread_mutex_unlock(&spool->mutex);
    bool failed = false;
    for (size_t i = 0; i < count; i++)
        failed = (unsynced[i].fd < 0 || fdatasync(unsynced[i].fd) != 0) || failed;
    for (size_t i = 0; i < count; i++)
        if (unsynced[i].fd >= 0)
            close(unsynced[i].fd);
    pthread_mutex_lock(&spool->mutex);
    if (failed) { /* the kernel may have dropped the pages: no later sync can be believed */
        spool->trouble = TROUBLE_SYNC;
        log_error("the spool could not be synced", LOG_INT("errno", errno));
    }
    for (size_t i = 0; i < count && !failed; i++) {
        Segment *segment = segment_find(spool, unsynced[i].id);
        if (segment != NULL)
            segment->synced = unsynced[i].size;
    }
}

static struct timespec realtime_in(int64_t us)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    int64_t ns = at.tv_nsec + us * 1000;
    at.tv_sec += ns / 1000000000;
    at.tv_nsec = ns % 1000000000;
    return at;
}

/* After trouble: whether there is room again. Nobody may be asking, so this thread finds out. */
static void look_for_room(Spool *spool)
{
    const Segment *segment = active(spool);
    bool room = spool->bytes + SPOOL_RECORD_MAX <= spool->options.bytes_max;
    if (spool->trouble == TROUBLE_DISK && room)
        room = segment->size >= spool->options.segment_bytes
                   ? segment_begin(spool).kind == ERR_NONE
                   : fallocate(segment->fd, FALLOC_FL_KEEP_SIZE, (off_t)segment->size, SPOOL_RECORD_MAX) == 0;
    if (room && spool->trouble != TROUBLE_SYNC)
        spool->trouble = TROUBLE_NONE;
}

static void *sync_run(void *arg)
{
    Spool *spool = arg;
    pthread_mutex_lock(&spool->mutex);
    while (!spool->stopping) {
        struct timespec until = realtime_in(spool->options.sync_every_us);
        while (!spool->stopping && pthread_cond_timedwait(&spool->wake, &spool->mutex, &until) == 0)
            continue;
        if (spool->dirty)
            sync_once(spool);
        if (spool->trouble != TROUBLE_NONE)
            look_for_room(spool);
    }
    while (spool->dirty)
        sync_once(spool);
    pthread_mutex_unlock(&spool->mutex);
    return NULL;
}

static void sync_start(Spool *spool)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&spool->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&spool->syncer, NULL, sync_run, spool) != 0)
        die("could not start a thread");
}

/* --- opening --- */

static Err read_segment(Arena *arena, const Segment *segment, Str *ret_text)
{
    struct stat info;
    if (fstat(segment->fd, &info) != 0)
        return FAIL(ERR_UNAVAILABLE, "spool-failed", "could not read a segment of the spool");
    char *text = NEW(arena, char, (size_t)info.st_size + 1);
    size_t len = 0;
    while (len < (size_t)info.st_size) {
        ssize_t got = pread(segment->fd, text + len, (size_t)info.st_size - len, (off_t)len);
        if (got <= 0)
            return FAIL(ERR_UNAVAILABLE, "spool-failed", "could not read a segment of the spool");
        len += (size_t)got;
    }
    *ret_text = str_n(text, len);
    return OK;
}

/* Adds a segment that an earlier run left: its open intents are noted, its torn tail is cut off. */
static Err load_segment(Spool *spool, uint64_t id)
{
    char name[32];
    _cleanup_(arena_free) Arena *arena = arena_new();
    if (spool->count == SEGMENTS_MAX)
        return FAIL(ERR_UNAVAILABLE, "spool-full", "The spool has more segments than it may.");
    Segment *segment = &spool->segments[spool->count];
    segment_name(name, id);
    *segment = (Segment){ .id = id, .fd = openat(spool->dir_fd, name, O_RDWR | O_CLOEXEC) };
    if (segment->fd < 0)
        return FAIL(ERR_UNAVAILABLE, "spool-failed", "could not open a segment of the spool");
    spool->count++;
    Str text;
    TRY(read_segment(arena, segment, &text));
    size_t whole = 0;
    SpoolRecord record;
    while (record_next(text, &whole, &record))
        if (record.epoch > spool->epoch)
            spool->epoch = record.epoch;
    note_records(spool, segment, str_first(text, whole), 0);
    segment->size = segment->synced = whole;
    spool->bytes += whole;
    if (whole == text.len)
        return OK;
    log_warn("a torn record ends a segment of the spool", LOG_INT("segment", id), LOG_INT("bytes", text.len - whole));
    step(spool, "segment-cut");
    return ftruncate(segment->fd, (off_t)whole) == 0
               ? OK
               : FAIL(ERR_UNAVAILABLE, "spool-failed", "could not cut a torn record off the spool");
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static Err load_segments(Spool *spool)
{
    uint64_t ids[SEGMENTS_MAX];
    size_t count = 0;
    int fd = openat(spool->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL)
        return FAIL(ERR_UNAVAILABLE, "spool-failed", "could not list the spool's directory");
    for (struct dirent *entry; (entry = readdir(dir)) != NULL && count < SEGMENTS_MAX;) {
        int end = 0;
        uint64_t id;
        if (sscanf(entry->d_name, "%16" SCNx64 ".seg%n", &id, &end) == 1 && end == 20 && entry->d_name[20] == '\0')
            ids[count++] = id;
    }
    closedir(dir);
    qsort(ids, count, sizeof ids[0], compare_ids);
    for (size_t i = 0; i < count; i++)
        TRY(load_segment(spool, ids[i]));
    return OK;
}

/* The counter never falls behind what the segments say, even when its file was lost. */
static Err next_epoch(Spool *spool, Arena *arena)
{
    Str path = arena_fmt(arena, STR_FMT "/epoch", STR_ARG(spool->options.dir)), text;
    int64_t stored = 0;
    if (file_read(arena, path, 32, &text).kind == ERR_NONE && !str_to_i64(text, &stored))
        return FAIL(ERR_INVALID, "spool-epoch", "The spool's epoch file does not hold a number.");
    if (stored > spool->epoch)
        spool->epoch = (uint32_t)stored;
    spool->epoch++;
    step(spool, "epoch-write");
    return file_write_atomic(path, arena_fmt(arena, "%u", spool->epoch), 0600);
}

/* How many of the events on disk lie before the cursor. */
static void count_acknowledged(Spool *spool)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    for (const Segment *segment = spool->segments; segment->id < spool->cursor_segment; segment++)
        spool->stats.events_acknowledged += segment->events;
    Str text;
    SpoolRecord record;
    if (read_segment(arena, segment_find(spool, spool->cursor_segment), &text).kind != ERR_NONE)
        return;
    text = str_first(text, spool->cursor_offset);
    for (size_t at = 0; record_next(text, &at, &record);)
        spool->stats.events_acknowledged += record.kind == RECORD_EVENT;
}

static void load_cursor(Spool *spool)
{
    uint8_t bytes[CURSOR_LEN];
    spool->cursor_segment = spool->segments[0].id;
    spool->cursor_offset = 0;
    if (pread(spool->cursor_fd, bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return;
    Reader reader = reader_of(BYTES_OF(bytes));
    uint64_t segment = read_u64(&reader), offset = read_u64(&reader);
    const Segment *there = segment_find(spool, segment);
    if (read_u32(&reader) != crc32_of((Bytes){ .ptr = bytes, .len = 16 }) || there == NULL || offset > there->size)
        return; /* from the oldest: the ledger knows an event it has */
    spool->cursor_segment = segment;
    spool->cursor_offset = offset;
    count_acknowledged(spool);
}

/* Every intent without an event becomes its event, word for word. */
static Err recover(Spool *spool)
{
    _cleanup_(buf_release) Buf events = buf_new(WRITER_BYTES_MAX);
    _cleanup_(arena_free) Arena *arena = arena_new();
    for (size_t i = 0; i < spool->intents.capacity; i++) {
        const Intent *intent = &spool->intents.slots[i];
        if (intent->sequence == 0)
            continue;
        SpoolRecord record;
        size_t at = 0;
        char *text = NEW(arena, char, intent->len);
        const Segment *segment = segment_find(spool, intent->segment);
        if (pread(segment->fd, text, intent->len, (off_t)intent->offset) != (ssize_t)intent->len ||
            !record_next(str_n(text, intent->len), &at, &record))
            return FAIL(ERR_UNAVAILABLE, "spool-failed", "could not read an intent of the spool");
        record_add(&events, record.epoch, RECORD_EVENT, record.sequence, record.payload);
        spool->stats.events_recovered++;
    }
    if (buf_overflowed(&events))
        return FAIL(ERR_UNAVAILABLE, "spool-failed", "The spool has more unfinished calls than can be recovered.");
    if (events.len == 0)
        return OK;
    TRY(append(spool, buf_str(&events), STR("")));
    step(spool, "recover-sync");
    if (fdatasync(active(spool)->fd) != 0)
        return FAIL(ERR_UNAVAILABLE, "spool-failed", "could not sync the spool");
    return OK;
}

static Err open_files(Spool *spool, Arena *arena)
{
    const char *dir = arena_c(spool->arena, spool->options.dir);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return FAIL_FMT(arena, ERR_UNAVAILABLE, "spool-failed", "could not make %s: %s", dir, strerrordesc_np(errno));
    spool->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool->dir_fd < 0)
        return FAIL_FMT(arena, ERR_UNAVAILABLE, "spool-failed", "could not open %s: %s", dir, strerrordesc_np(errno));
    spool->lock_fd = openat(spool->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (spool->lock_fd < 0 || flock(spool->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return FAIL_FMT(arena, ERR_CONFLICT, "state-in-use", "%s is in use by another gateway", dir);
    spool->cursor_fd = openat(spool->dir_fd, "cursor", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (spool->cursor_fd < 0)
        return FAIL_FMT(arena, ERR_UNAVAILABLE, "spool-failed", "could not open %s/cursor", dir);
    return OK;
}

static Err open_spool(Spool *spool, Arena *arena)
{
    TRY(open_files(spool, arena));
    TRY(load_segments(spool));
    TRY(next_epoch(spool, arena));
    TRY(segment_begin(spool));
    load_cursor(spool);
    return recover(spool);
}

static void free_files(Spool *spool)
{
    for (size_t i = 0; i < spool->count; i++)
        close(spool->segments[i].fd);
    const int fds[] = { spool->cursor_fd, spool->lock_fd, spool->dir_fd };
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    intents_release(&spool->intents);
    pthread_mutex_destroy(&spool->mutex);
    Arena *arena = spool->arena;
    arena_free(&arena);
}

Err spool_open(Arena *arena, const SpoolOptions *options, Spool **ret_spool)
{
    Arena *own = arena_new();
    Spool *spool = NEW(own, Spool, 1);
    spool->arena = own;
    spool->options = *options;
    spool->options.dir = arena_str(own, options->dir);
    spool->dir_fd = spool->lock_fd = spool->cursor_fd = -1;
    spool->next_sequence = 1;
    pthread_mutex_init(&spool->mutex, NULL);
    Err err = open_spool(spool, arena);
    if (err.kind != ERR_NONE) {
        free_files(spool);
        return err;
    }
    sync_start(spool);
    *ret_spool = spool;
    return OK;
}

void spool_close(Spool **spool)
{
    Spool *closing = *spool;
    if (closing == NULL)
        return;
    *spool = NULL;
    pthread_mutex_lock(&closing->mutex);
    closing->stopping = true;
    pthread_cond_signal(&closing->wake);
    pthread_mutex_unlock(&closing->mutex);
    pthread_join(closing->syncer, NULL);
    pthread_cond_destroy(&closing->wake);
    free_files(closing);
}

/* --- reading and acknowledging --- */

/* Moves a cursor that stands at the end of a finished segment to the next one. The lock is held. */
static Segment *cursor_segment(Spool *spool)
{
    Segment *segment = segment_find(spool, spool->cursor_segment);
    while (segment != active(spool) && spool->cursor_offset >= segment->size) {
        segment++;
        spool->cursor_segment = segment->id;
        spool->cursor_offset = 0;
    }
    return segment;
}

typedef struct Window {
    int fd;
    uint64_t segment, offset, end;
} Window;

static void window_close(Window *window)
{
    if (window->fd >= 0)
        close(window->fd);
}

static Window window_open(Spool *spool)
{
    pthread_mutex_lock(&spool->mutex);
    const Segment *segment = cursor_segment(spool);
    Window window = { .fd = fcntl(segment->fd, F_DUPFD_CLOEXEC, 0),
        .segment = segment->id,
        .offset = spool->cursor_offset,
        .end = segment->size };
    pthread_mutex_unlock(&spool->mutex);
    return window;
}

/* Takes events from the text of a window; returns how much of it was passed. */
static size_t take_events(Str text, Str *events, size_t *count, size_t events_max, size_t *room)
{
    size_t at = 0;
    SpoolRecord record;
    while (*count < events_max) {
        size_t next = at;
        if (!record_read(text, &next, CHECK_EVENTS, &record))
            break;
        if (record.kind == RECORD_EVENT) {
            if (record.payload.len > *room)
                break;
            *room -= record.payload.len;
            events[(*count)++] = record.payload;
        }
        at = next;
    }
    return at;
}

Err spool_read(Spool *spool, Arena *arena, size_t events_max, size_t bytes_max, SpoolBatch *ret_batch)
{
    _cleanup_(window_close) Window window = window_open(spool);
    SpoolBatch batch = { .segment = window.segment, .offset = window.offset };
    size_t room = bytes_max;
    if (window.fd < 0)
        return FAIL(ERR_UNAVAILABLE, "spool-failed", "could not read the spool");
    batch.events = NEW(arena, Str, events_max);
    while (batch.offset < window.end && batch.count < events_max) {
        size_t want = window.end - batch.offset < READ_BYTES ? (size_t)(window.end - batch.offset) : READ_BYTES;
        char *text = NEW(arena, char, want);
        if (pread(window.fd, text, want, (off_t)batch.offset) != (ssize_t)want)
            return FAIL(ERR_UNAVAILABLE, "spool-failed", "could not read the spool");
        size_t passed = take_events(str_n(text, want), batch.events, &batch.count, events_max, &room);
        batch.offset += passed;
        if (passed == 0 || room < bytes_max / 2)
            break;
    }
    *ret_batch = batch;
    return OK;
}

static void store_cursor(Spool *spool)
{
    Buf bytes = buf_new(CURSOR_LEN);
    buf_u64(&bytes, spool->cursor_segment);
    buf_u64(&bytes, spool->cursor_offset);
    buf_u32(&bytes, crc32_of(str_bytes(buf_str(&bytes))));
    step(spool, "cursor-write");
    if (pwrite(spool->cursor_fd, bytes.ptr, CURSOR_LEN, 0) != CURSOR_LEN)
        log_warn("could not store the spool's cursor", LOG_INT("errno", errno));
    buf_release(&bytes);
}

/* Writes the open intents of the oldest segment again, at the end, so that it can go. */
static Err carry_forward(Spool *spool)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(buf_release) Buf again = buf_new(WRITER_BYTES_MAX);
    const Segment *first = &spool->segments[0];
    for (size_t i = 0; i < spool->intents.capacity; i++) {
        const Intent *intent = &spool->intents.slots[i];
        if (intent->sequence == 0 || intent->segment != first->id)
            continue;
        char *text = NEW(arena, char, intent->len);
        if (pread(first->fd, text, intent->len, (off_t)intent->offset) != (ssize_t)intent->len)
            return FAIL(ERR_UNAVAILABLE, "spool-failed", "could not read the spool");
        buf_add(&again, str_n(text, intent->len));
    }
    TRY(append(spool, buf_str(&again), STR("")));
    step(spool, "carry-sync");
    if (fdatasync(active(spool)->fd) != 0)
        return FAIL(ERR_UNAVAILABLE, "spool-failed", "could not sync the spool");
    return OK;
}

void spool_acknowledge(Spool *spool, const SpoolBatch *batch)
{
    pthread_mutex_lock(&spool->mutex);
    spool->stats.events_acknowledged += batch->count;
    spool->cursor_segment = batch->segment;
    spool->cursor_offset = batch->offset;
    (void)cursor_segment(spool);
    store_cursor(spool);
    while (spool->segments[0].id < spool->cursor_segment) {
        if (spool->segments[0].open > 0 && carry_forward(spool).kind != ERR_NONE)
            break;
        segment_drop_first(spool);
    }
    pthread_mutex_unlock(&spool->mutex);
}

void spool_set_aside(Spool *spool, Str event)
{
    struct stat info;
    int fd = openat(spool->dir_fd, "refused.jsonl", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct iovec parts[] = { { .iov_base = (void *)(uintptr_t)event.ptr, .iov_len = event.len },
        { .iov_base = "\n", .iov_len = 1 } };
    bool kept = fd >= 0 && fstat(fd, &info) == 0 && info.st_size < SET_ASIDE_MAX && writev(fd, parts, 2) > 0;
    if (fd >= 0)
        close(fd);
    if (!kept)
        log_error("an event that the control plane refused could not be set aside", LOG_INT("bytes", event.len));
    pthread_mutex_lock(&spool->mutex);
    spool->stats.events_set_aside++;
    pthread_mutex_unlock(&spool->mutex);
}
