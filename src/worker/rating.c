/* rating.c: turns of rating. See rating.h. */
#include "worker/rating.h"

#include "base/log.h"

#include <time.h>

void rating_worker_release(RatingWorker *worker)
{
    price_book_free(&worker->book);
}

static Err book_refresh(RatingWorker *worker, Db *db, Arena *arena)
{
    /* In every turn: an event that came right after an import must not be rated by the book before it. */
    int64_t revision;
    TRY(price_book_revision_now(db, arena, STR("cost"), &revision));
    if (worker->book == NULL || price_book_revision(worker->book) != revision) {
        PriceBook *book;
        TRY(price_book_load(db, STR("cost"), &book));
        price_book_free(&worker->book);
        worker->book = book;
    }
    return OK;
}

Err rating_turn(RatingWorker *worker, Arena *arena, bool *ret_more)
{
    *ret_more = false;
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    TRY(db_lease(worker->pool, &lease));
    TRY(book_refresh(worker, lease.db, arena));
    RatingPass pass;
    TRY(rating_pass(lease.db, arena, worker->book, &pass));
    worker->events += (int64_t)pass.events;
    worker->lines += (int64_t)pass.lines;
    *ret_more = pass.events > 0;
    return OK;
}

static void rest(int64_t ms)
{
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

void rating_worker_run(RatingWorker *worker, const _Atomic bool *stop)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    ErrKind last = ERR_NONE;
    while (!*stop) {
        bool more = false;
        Err err = rating_turn(worker, arena, &more);
        if (err.kind != ERR_NONE && err.kind != last)
            log_err("events cannot be rated", err);
        else if (err.kind == ERR_NONE && last != ERR_NONE)
            log_info("events are rated again", LOG_INT("events", worker->events));
        last = err.kind;
        arena_clear(arena);
        if (!more)
            rest(RATING_IDLE_MS);
    }
}
