/*
 * spool.h: the gateway's one durable record of what it did and is about to do: intents before dispatch, events after.
 *
 *   DIR/lock                     held while a gateway runs: two on one directory are refused
 *   DIR/epoch                    rises at every start; sequence numbers are per epoch, without gaps
 *   DIR/0000000000000007.seg     records:  length | crc | epoch | kind | sequence | payload
 *   DIR/cursor                   how far the control plane has acknowledged
 *   DIR/refused.jsonl            events that the control plane will never take, set aside for a person
 *
 * An intent's payload is the event that will be sent if we crash: the same document with the outcome "indeterminate".
 * So recovery is short: every intent without an event becomes an event, word for word, once.
 *
 * Each I/O thread has a writer. What a turn of its loop adds goes out in one write at the end of the turn, before any
 * request of that turn is dispatched:
 *
 *     uint64_t sequence = spool_next(spool);
 *     spool_intent(writer, sequence, event_if_we_crash);
 *     ...                                             // end of the turn
 *     if (spool_flush(writer).kind != ERR_NONE) ...   // refuse the calls whose intents were in it
 *     ...                                             // later
 *     spool_event(writer, sequence, event);
 *
 * Durability: written data is in the kernel at once and on the disk within `sync_every_us`. A crash of the process
 * loses nothing; a crash of the machine loses at most that long. Bounds: `bytes_max` on disk. Past it, or when the disk
 * is full, intents are refused (the gateway does not serve unmetered) while events of calls that run already still have
 * the room that was set aside for them.
 *
 * Invariant: segments go away from the oldest on, and only when every event in them is acknowledged and every intent in
 * them has ended or was written again further on. So an intent is never found without its event because the event's
 * segment went first.
 */
#ifndef GATEWAY_SPOOL_H
#define GATEWAY_SPOOL_H

#include "base/arena.h"
#include "base/buf.h"

#define SPOOL_RECORD_MAX (256 * 1024)
#define SPOOL_BYTES_DEFAULT ((uint64_t)1024 * 1024 * 1024)
#define SPOOL_SEGMENT_DEFAULT ((uint64_t)8 * 1024 * 1024)
#define SPOOL_SYNC_DEFAULT_US (200 * 1000)

typedef struct Spool Spool;
typedef struct SpoolWriter SpoolWriter;

typedef struct SpoolOptions {
    Str dir; /* made when absent; its parent must be there */
    uint64_t bytes_max, segment_bytes;
    int64_t sync_every_us;
    /* For crash tests: called before every change of the directory and its files. */
    void (*on_step)(void *arg, const char *step);
    void *step_arg;
} SpoolOptions;

/* Takes the lock (ERR_CONFLICT "state-in-use"), begins a new epoch, turns unfinished intents into events. */
CHECKED Err spool_open(Arena *arena, const SpoolOptions *options, Spool **ret_spool);
void spool_close(Spool **spool); /* syncs; writers were freed before */

uint32_t spool_epoch(const Spool *spool);
uint64_t spool_next(Spool *spool); /* any thread */

bool spool_refuses(const Spool *spool); /* any thread, no lock: an intent would be refused; heals by itself */

SpoolWriter *spool_writer_new(Spool *spool);
void spool_writer_free(SpoolWriter **writer); /* flushes what is left */
/* Both copy. A second intent of the same sequence replaces the first (a further attempt). */
void spool_intent(SpoolWriter *writer, uint64_t sequence, Str event);
void spool_event(SpoolWriter *writer, uint64_t sequence, Str event);
/* ERR_UNAVAILABLE "spool-full" or "spool-failed": the intents are dropped, the events stay and go with a later flush.
 */
CHECKED Err spool_flush(SpoolWriter *writer);

typedef struct SpoolStats {
    const char *trouble; /* NULL, or why intents are refused: "full", "disk", "sync" */
    uint64_t bytes, segments, open_intents;
    uint64_t events_written, events_acknowledged, events_recovered, events_set_aside;
} SpoolStats;
SpoolStats spool_stats(Spool *spool);

/* --- for the one thread that uploads --- */
typedef struct SpoolBatch {
    Str *events;
    size_t count;
    uint64_t segment, offset; /* behind the last of them */
} SpoolBatch;

/* The next events that are not acknowledged, at most events_max and bytes_max, in the arena. None: count 0. */
CHECKED Err spool_read(Spool *spool, Arena *arena, size_t events_max, size_t bytes_max, SpoolBatch *ret_batch);
void spool_acknowledge(Spool *spool, const SpoolBatch *batch);
/* Appends the event to refused.jsonl (at most 64 MiB). */
void spool_set_aside(Spool *spool, Str event);

#endif
