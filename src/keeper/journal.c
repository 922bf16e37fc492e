/*
 * journal.c: writing, replaying and asking the journal.
 */
#include "journal.h"

#include "base/encode.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FRAME_HEAD_BYTES 8
#define FRAME_BYTES_MAX (64 * 1024)
#define PENDING_BYTES_MAX (8 * 1024 * 1024)
#define KEPT_RECEIPTS 8192 /* that can still be asked for */

typedef enum FrameType { FRAME_BOOT = 1, FRAME_RECEIPT, FRAME_REVOKED, FRAME_SIGNED_HEAD } FrameType;

static const char boot_label[] = "reeve-boot-1";

typedef struct FleetMark {
    Uuid fleet;
    int64_t generation;
    Uuids revoked;
    size_t capacity;
} FleetMark;

typedef struct CertificateMark {
    Uuid fleet;
    Uuid data_plane;
    Digest certificate;
    Digest keys;
} CertificateMark;

typedef struct Chain {
    Uuid boot;
    int64_t count;
    Digest head;
} Chain;

struct Journal {
    Arena *arena;
    pthread_mutex_t lock;
    pthread_cond_t flushed;
    Uuid installation;
    const KeyPair *signer;
    int fd;
    bool flushing;
    bool broken; /* a write failed: nothing is done any more */
    Buf pending; /* frames that are not written yet */
    Chain chain; /* with what is pending */
    Chain durable;
    int64_t position;
    int64_t durable_position;
    Str signed_head;
    char signed_head_text[2048];
    Bytes kept[KEPT_RECEIPTS]; /* a ring by position, over kept_bytes */
    uint8_t (*kept_bytes)[512];
    FleetMark *fleets;
    size_t fleet_count, fleet_capacity;
    CertificateMark *certificates;
    size_t certificate_count, certificate_capacity;
};

/* --- what follows from receipts --- */

static FleetMark *fleet_mark(Journal *j, Uuid fleet)
{
    for (size_t i = 0; i < j->fleet_count; i++)
        if (uuid_eq(j->fleets[i].fleet, fleet))
            return &j->fleets[i];
    return NULL;
}

static FleetMark *fleet_mark_new(Journal *j, Uuid fleet)
{
    if (j->fleet_count == j->fleet_capacity) {
        size_t capacity = j->fleet_capacity * 2 + 16;
        FleetMark *grown = NEW(j->arena, FleetMark, capacity);
        if (j->fleet_count > 0)
            memcpy(grown, j->fleets, j->fleet_count * sizeof(FleetMark));
        j->fleets = grown;
        j->fleet_capacity = capacity;
    }
    j->fleets[j->fleet_count] = (FleetMark){ .fleet = fleet };
    return &j->fleets[j->fleet_count++];
}

static bool uuids_has(Uuids list, Uuid id)
{
    for (size_t i = 0; i < list.count; i++)
        if (uuid_eq(list.items[i], id))
            return true;
    return false;
}

static void mark_generation(Journal *j, Uuid fleet, int64_t generation)
{
    FleetMark *mark = fleet_mark(j, fleet);
    if (mark == NULL)
        mark = fleet_mark_new(j, fleet);
    if (generation > mark->generation)
        mark->generation = generation;
}

static void mark_revoked(Journal *j, Uuid fleet, Uuids revoked)
{
    FleetMark *mark = fleet_mark(j, fleet);
    if (mark == NULL)
        mark = fleet_mark_new(j, fleet);
    for (size_t i = 0; i < revoked.count; i++) {
        if (uuids_has(mark->revoked, revoked.items[i]))
            continue;
        if (mark->revoked.count == mark->capacity) {
            size_t capacity = mark->capacity * 2 + 16;
            Uuid *grown = NEW(j->arena, Uuid, capacity);
            if (mark->revoked.count > 0)
                memcpy(grown, mark->revoked.items, mark->revoked.count * sizeof(Uuid));
            mark->revoked.items = grown;
            mark->capacity = capacity;
        }
        mark->revoked.items[mark->revoked.count++] = revoked.items[i];
    }
}

static CertificateMark *certificate_mark(Journal *j, Uuid fleet, Digest certificate)
{
    for (size_t i = 0; i < j->certificate_count; i++)
        if (uuid_eq(j->certificates[i].fleet, fleet) && digest_eq(j->certificates[i].certificate, certificate))
            return &j->certificates[i];
    return NULL;
}

static void mark_certificate(Journal *j, Uuid fleet, Uuid data_plane, Digest certificate, Digest keys)
{
    if (certificate_mark(j, fleet, certificate) != NULL)
        return;
    if (j->certificate_count == j->certificate_capacity) {
        size_t capacity = j->certificate_capacity * 2 + 64;
        CertificateMark *grown = NEW(j->arena, CertificateMark, capacity);
        if (j->certificate_count > 0)
            memcpy(grown, j->certificates, j->certificate_count * sizeof(CertificateMark));
        j->certificates = grown;
        j->certificate_capacity = capacity;
    }
    j->certificates[j->certificate_count++] =
        (CertificateMark){ .fleet = fleet, .data_plane = data_plane, .certificate = certificate, .keys = keys };
}

static void keep(Journal *j, int64_t position, Bytes bytes)
{
    size_t slot = (size_t)(position % KEPT_RECEIPTS);
    if (bytes.len > sizeof(j->kept_bytes[0]))
        die("a receipt is larger than its limit");
    memcpy(j->kept_bytes[slot], bytes.ptr, bytes.len);
    j->kept[slot] = (Bytes){ .ptr = j->kept_bytes[slot], .len = bytes.len };
}

/* The chain and all marks move by one receipt. */
static void apply(Journal *j, const Receipt *receipt, Bytes bytes)
{
    j->chain.count = receipt->number;
    j->chain.head = receipt_head(bytes);
    j->position = receipt->position;
    keep(j, receipt->position, bytes);
    if (receipt->outcome != ERR_NONE)
        return;
    if (receipt->operation == MESSAGE_FLEET_KEY_NEW)
        mark_generation(j, receipt->fleet, receipt->generation);
    if (receipt->operation == MESSAGE_KEYRING)
        mark_certificate(j, receipt->fleet, receipt->data_plane, receipt->subject, receipt->keys);
}

/* --- frames --- */

static void frame_add(Buf *out, FrameType type, Bytes payload)
{
    uint8_t kind = (uint8_t)type;
    uint32_t crc = crc32_add(crc32_of((Bytes){ .ptr = &kind, .len = 1 }), payload);
    buf_u32(out, (uint32_t)payload.len + 1);
    buf_u32(out, crc);
    buf_add_char(out, (char)kind);
    buf_add_bytes(out, payload.ptr, payload.len);
}

/* boot(16) | at(8) | last boot(16) | its count(8) | its head(32) */
static void boot_payload(const Chain *last, Uuid boot, Time at, Buf *out)
{
    buf_add_bytes(out, boot.b, sizeof(boot.b));
    buf_u64(out, (uint64_t)at.us);
    buf_add_bytes(out, last->boot.b, sizeof(last->boot.b));
    buf_u64(out, (uint64_t)last->count);
    buf_add_bytes(out, last->head.b, sizeof(last->head.b));
}

static void chain_start(Chain *chain, Uuid boot, Bytes payload)
{
    *chain = (Chain){ .boot = boot, .head = digest_of_two(BYTES_OF(boot_label), payload) };
}

static Err corrupt(void)
{
    return FAIL(ERR_INTERNAL, "journal-corrupt",
        "The keeper's journal is not the one it wrote; find out who changed it before starting from a copy.");
}

static Err replay_boot(Journal *j, Bytes payload)
{
    Reader r = reader_of(payload);
    Uuid boot, last;
    Digest head;
    Bytes boot_bytes = read_bytes(&r, 16);
    read_u64(&r);
    Bytes last_bytes = read_bytes(&r, 16);
    int64_t count = (int64_t)read_u64(&r);
    Bytes head_bytes = read_bytes(&r, 32);
    if (!reader_done(&r))
        return corrupt();
    memcpy(boot.b, boot_bytes.ptr, 16);
    memcpy(last.b, last_bytes.ptr, 16);
    memcpy(head.b, head_bytes.ptr, 32);
    if (!uuid_eq(last, j->chain.boot) || count != j->chain.count || !digest_eq(head, j->chain.head))
        return corrupt();
    chain_start(&j->chain, boot, payload);
    return OK;
}

static Err replay_receipt(Journal *j, Arena *scratch, Bytes payload)
{
    Receipt receipt;
    if (receipt_parse(scratch, payload, &receipt).kind != ERR_NONE || !uuid_eq(receipt.boot, j->chain.boot) ||
        receipt.number != j->chain.count + 1 || receipt.position != j->position + 1 ||
        !digest_eq(receipt.prev, j->chain.head))
        return corrupt();
    apply(j, &receipt, payload);
    return OK;
}

/* fleet(16) | data planes(16 each) */
static Err replay_revoked(Journal *j, Bytes payload)
{
    if (payload.len < 16 || payload.len % 16 != 0)
        return corrupt();
    Uuid fleet;
    memcpy(fleet.b, payload.ptr, 16);
    Uuid *ids = NEW(j->arena, Uuid, payload.len / 16);
    memcpy(ids, payload.ptr + 16, payload.len - 16);
    mark_revoked(j, fleet, (Uuids){ .items = ids, .count = payload.len / 16 - 1 });
    return OK;
}

static Err replay_signed_head(Journal *j, Bytes payload)
{
    if (payload.len >= sizeof(j->signed_head_text))
        return corrupt();
    memcpy(j->signed_head_text, payload.ptr, payload.len);
    j->signed_head = str_n(j->signed_head_text, payload.len);
    return OK;
}

static Err replay_frame(Journal *j, Arena *scratch, Bytes frame)
{
    Bytes payload = { .ptr = frame.ptr + 1, .len = frame.len - 1 };
    switch (frame.ptr[0]) {
    case FRAME_BOOT:
        return replay_boot(j, payload);
    case FRAME_RECEIPT:
        return replay_receipt(j, scratch, payload);
    case FRAME_REVOKED:
        return replay_revoked(j, payload);
    case FRAME_SIGNED_HEAD:
        return replay_signed_head(j, payload);
    default:
        return corrupt();
    }
}

static bool all_zero(Bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        if (bytes.ptr[i] != 0)
            return false;
    return true;
}

/* What never reached the disk whole was never answered for: a short frame, or zeros to the end. A length that no frame
 * has is no short frame: somebody changed it, and what follows was answered for. */
static bool is_torn(Bytes rest)
{
    Reader r = reader_of(rest);
    uint32_t len = read_u32(&r), crc = read_u32(&r);
    if (r.failed)
        return true;
    if (len == 0 || len > FRAME_BYTES_MAX)
        return all_zero(rest);
    if (len > r.len)
        return true;
    return len == r.len && crc32_of((Bytes){ .ptr = r.ptr, .len = len }) != crc;
}

/* *ret_good is how much of the file is whole frames. */
static Err replay(Journal *j, Bytes file, size_t *ret_good)
{
    _cleanup_(arena_free) Arena *scratch = arena_new();
    size_t at = 0;
    while (at < file.len) {
        Bytes rest = { .ptr = file.ptr + at, .len = file.len - at };
        if (is_torn(rest))
            break;
        Reader r = reader_of(rest);
        uint32_t len = read_u32(&r), crc = read_u32(&r);
        Bytes frame = read_bytes(&r, len);
        if (r.failed || crc32_of(frame) != crc)
            return corrupt();
        TRY(replay_frame(j, scratch, frame));
        arena_clear(scratch);
        at += FRAME_HEAD_BYTES + len;
    }
    *ret_good = at;
    return OK;
}

/* --- opening --- */

static Err cannot_write(void)
{
    return FAIL(ERR_UNAVAILABLE, "journal-unavailable", "The keeper's journal cannot be written; nothing is done.");
}

static bool write_all(int fd, Str bytes)
{
    while (bytes.len > 0) {
        ssize_t done = write(fd, bytes.ptr, bytes.len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        bytes = str_skip(bytes, (size_t)done);
    }
    return true;
}

static Err open_file(Journal *j, Str path)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    j->fd = open(arena_c(arena, path), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (j->fd < 0)
        return FAIL(ERR_INVALID, "journal-unavailable", "The keeper's journal cannot be opened.");
    if (flock(j->fd, LOCK_EX | LOCK_NB) != 0)
        return FAIL(ERR_CONFLICT, "keeper-running", "Another keeper is at work on this state directory.");
    size_t slash = path.len;
    while (slash > 0 && path.ptr[slash - 1] != '/')
        slash--;
    int folder = open(slash == 0 ? "." : arena_c(arena, str_first(path, slash)), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
        fsync(folder);
        close(folder);
    }
    return OK;
}

static Err read_file(int fd, Arena *arena, Bytes *ret_file)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return cannot_write();
    uint8_t *bytes = arena_alloc(arena, (size_t)info.st_size + 1, 1);
    size_t len = 0;
    while (len < (size_t)info.st_size) {
        ssize_t got = pread(fd, bytes + len, (size_t)info.st_size - len, (off_t)len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return FAIL(ERR_UNAVAILABLE, "journal-unavailable", "The keeper's journal cannot be read.");
        len += (size_t)got;
    }
    *ret_file = (Bytes){ .ptr = bytes, .len = len };
    return OK;
}

static Err replay_file(Journal *j)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Bytes file;
    size_t good = 0;
    TRY(read_file(j->fd, arena, &file));
    TRY(replay(j, file, &good));
    if (good < file.len) {
        log_warn("the journal's torn end was dropped", LOG_INT("bytes", file.len - good));
        if (ftruncate(j->fd, (off_t)good) != 0)
            return cannot_write();
    }
    return OK;
}

static Err start_boot(Journal *j)
{
    _cleanup_(buf_release) Buf payload = buf_new(256), frame = buf_new(512);
    Time now = time_now();
    Uuid boot = uuid_v7(now);
    boot_payload(&j->chain, boot, now, &payload);
    chain_start(&j->chain, boot, str_bytes(buf_str(&payload)));
    frame_add(&frame, FRAME_BOOT, str_bytes(buf_str(&payload)));
    if (!write_all(j->fd, buf_str(&frame)) || fdatasync(j->fd) != 0)
        return cannot_write();
    j->durable = j->chain;
    j->durable_position = j->position;
    return OK;
}

Err journal_open(Str path, Uuid installation, const KeyPair *signer, Journal **ret_journal)
{
    Arena *arena = arena_new();
    Journal *j = NEW(arena, Journal, 1);
    j->arena = arena;
    j->installation = installation;
    j->signer = signer;
    j->pending = buf_new(PENDING_BYTES_MAX);
    j->kept_bytes = arena_alloc(arena, KEPT_RECEIPTS, sizeof(*j->kept_bytes));
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->flushed, NULL);
    Err err = open_file(j, path);
    if (err.kind == ERR_NONE)
        err = replay_file(j);
    if (err.kind == ERR_NONE)
        err = start_boot(j);
    if (err.kind != ERR_NONE) {
        journal_free(&j);
        return err;
    }
    *ret_journal = j;
    return OK;
}

void journal_free(Journal **journal)
{
    Journal *j = *journal;
    if (j == NULL)
        return;
    if (j->fd >= 0)
        close(j->fd);
    buf_release(&j->pending);
    pthread_cond_destroy(&j->flushed);
    pthread_mutex_destroy(&j->lock);
    Arena *arena = j->arena;
    arena_free(&arena);
    *journal = NULL;
}

/* --- appending --- */

static void sign_head(Journal *j, const Chain *chain, Buf *out)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(json_release) json_t *payload = json_object();
    json_object_set_new(payload, "v", json_integer(1));
    json_object_set_new(payload, "installation", json_from_str(typeid_format(arena, STR("ins"), j->installation)));
    json_object_set_new(payload, "boot", json_from_str(uuid_format(arena, chain->boot)));
    json_object_set_new(payload, "count", json_integer(chain->count));
    json_object_set_new(payload, "head", json_from_str(digest_text(arena, chain->head)));
    json_object_set_new(payload, "at", json_from_str(time_format(arena, time_now())));
    Str jws = jws_sign(arena, j->signer, STR(RECEIPTS_TYP), json_write(arena, payload));
    frame_add(out, FRAME_SIGNED_HEAD, str_bytes(jws));
}

/* With the lock held, which is given up for the disk: writes all that is pending, with one signature and one sync. */
static void flush(Journal *j)
{
    Buf batch = TAKE(j->pending);
    Chain chain = j->chain;
    int64_t position = j->position;
    j->pending = buf_new(PENDING_BYTES_MAX);
    j->flushing = true;
    pthread_mutex_unlock(&j->lock);
    size_t head_at = batch.len + FRAME_HEAD_BYTES + 1;
    sign_head(j, &chain, &batch);
    bool written = !buf_overflowed(&batch) && write_all(j->fd, buf_str(&batch)) && fdatasync(j->fd) == 0;
    pthread_mutex_lock(&j->lock);
    j->flushing = false;
    j->broken = j->broken || !written;
    if (written) {
        j->durable = chain;
        j->durable_position = position;
        size_t len = batch.len - head_at;
        if (len < sizeof(j->signed_head_text)) {
            memcpy(j->signed_head_text, batch.ptr + head_at, len);
            j->signed_head = str_n(j->signed_head_text, len);
        }
    }
    buf_release(&batch);
    pthread_cond_broadcast(&j->flushed);
}

static void add_revoked(Journal *j, Uuid fleet, Uuids revoked)
{
    _cleanup_(buf_release) Buf payload = buf_new(FRAME_BYTES_MAX);
    buf_add_bytes(&payload, fleet.b, sizeof(fleet.b));
    buf_add_bytes(&payload, revoked.items, revoked.count * sizeof(Uuid));
    frame_add(&j->pending, FRAME_REVOKED, str_bytes(buf_str(&payload)));
    mark_revoked(j, fleet, revoked);
}

static void add_receipt(Journal *j, Receipt *receipt)
{
    _cleanup_(buf_release) Buf bytes = buf_new(sizeof(j->kept_bytes[0]));
    receipt->boot = j->chain.boot;
    receipt->number = j->chain.count + 1;
    receipt->position = j->position + 1;
    receipt->at = time_now();
    receipt->prev = j->chain.head;
    receipt_write(receipt, &bytes);
    frame_add(&j->pending, FRAME_RECEIPT, str_bytes(buf_str(&bytes)));
    apply(j, receipt, str_bytes(buf_str(&bytes)));
}

static Err append_locked(Journal *j, Receipt *receipt, Uuids revoked)
{
    if (j->broken)
        return cannot_write();
    /* The revoked go first: a generation is never durable without them. */
    if (revoked.count > 0 && receipt->outcome == ERR_NONE)
        add_revoked(j, receipt->fleet, revoked);
    add_receipt(j, receipt);
    int64_t mine = receipt->position;
    while (!j->broken && j->durable_position < mine) {
        if (j->flushing)
            pthread_cond_wait(&j->flushed, &j->lock);
        else
            flush(j);
    }
    return j->broken ? cannot_write() : OK;
}

Err journal_append(Journal *journal, Receipt *receipt, Uuids revoked)
{
    pthread_mutex_lock(&journal->lock);
    Err err = append_locked(journal, receipt, revoked);
    pthread_mutex_unlock(&journal->lock);
    return err;
}

/* --- asking --- */

JournalHead journal_head(Journal *journal)
{
    pthread_mutex_lock(&journal->lock);
    JournalHead head = {
        .boot = journal->durable.boot, .count = journal->durable.count, .head = journal->durable.head
    };
    pthread_mutex_unlock(&journal->lock);
    return head;
}

void journal_page(Journal *journal, Arena *arena, int64_t after, Receipts *ret_receipts)
{
    pthread_mutex_lock(&journal->lock);
    int64_t last = journal->durable_position, oldest = last - KEPT_RECEIPTS / 2 + 1;
    int64_t first = after < 0 ? 1 : after + 1;
    if (first < oldest)
        first = oldest;
    if (first < 1)
        first = 1;
    BytesList items = { .items = NEW(arena, Bytes, RECEIPTS_PAGE_MAX) };
    for (int64_t p = first; p <= last && items.count < RECEIPTS_PAGE_MAX; p++)
        items.items[items.count++] = arena_bytes(arena, journal->kept[p % KEPT_RECEIPTS]);
    *ret_receipts = (Receipts){
        .boot = journal->durable.boot,
        .count = journal->durable.count,
        .head = journal->durable.head,
        .items = items,
        .signed_head = arena_str(arena, journal->signed_head),
    };
    pthread_mutex_unlock(&journal->lock);
}

int64_t journal_generation(Journal *journal, Uuid fleet)
{
    pthread_mutex_lock(&journal->lock);
    const FleetMark *mark = fleet_mark(journal, fleet);
    int64_t generation = mark == NULL ? 0 : mark->generation;
    pthread_mutex_unlock(&journal->lock);
    return generation;
}

Uuids journal_revoked(Journal *journal, Arena *arena, Uuid fleet)
{
    pthread_mutex_lock(&journal->lock);
    const FleetMark *mark = fleet_mark(journal, fleet);
    Uuids revoked = { 0 };
    if (mark != NULL && mark->revoked.count > 0) {
        revoked = (Uuids){ .items = NEW(arena, Uuid, mark->revoked.count), .count = mark->revoked.count };
        memcpy(revoked.items, mark->revoked.items, revoked.count * sizeof(Uuid));
    }
    pthread_mutex_unlock(&journal->lock);
    return revoked;
}

Digest journal_certificate(Journal *journal, Uuid fleet, Digest certificate, Uuid *ret_data_plane)
{
    Digest keys = { 0 };
    pthread_mutex_lock(&journal->lock);
    const CertificateMark *mark = certificate_mark(journal, fleet, certificate);
    if (mark != NULL) {
        keys = mark->keys;
        *ret_data_plane = mark->data_plane;
    }
    pthread_mutex_unlock(&journal->lock);
    return keys;
}
