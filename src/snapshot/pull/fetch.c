/*
 * fetch.c: shards and objects by content: asked for by digest, bounded by the length that was announced, believed only
 * when digest and length are right, a few at a time.
 */
#include "parts.h"

typedef struct Fetching {
    Puller *puller;
    const FetchItem *items;
    size_t count;
    _Atomic size_t next;
    _Atomic bool failed;
    pthread_mutex_t mutex;
    Arena *arena; /* of the first error */
    Err err;
} Fetching;

static Err fetch_one(Puller *puller, Arena *arena, const FetchItem *item)
{
    PullReply reply = { 0 };
    Str path = arena_fmt(arena, "/v1/objects/" STR_FMT, STR_ARG(digest_text(arena, item->digest)));
    size_t body_max = item->length >= 0 ? (size_t)item->length : item->bytes_max;
    TRY(pull_get(puller, arena, path, body_max, PULL_FETCH_TIMEOUT_US, &reply));
    if (reply.status != 200)
        return FAIL(ERR_UNAVAILABLE, "object-absent", "An object that is listed was not given.");
    if (item->length >= 0 && reply.body.len != (size_t)item->length)
        return FAIL(ERR_INVALID, "object-length", "An object does not have the length that is listed.");
    if (!digest_eq(item->digest, digest_of(str_bytes(reply.body))))
        return FAIL(ERR_INVALID, "object-digest", "An object does not have the digest that is listed.");
    return state_object_put(puller->state, arena, item->digest, reply.body);
}

static void keep_first_error(Fetching *fetching, Err err)
{
    pthread_mutex_lock(&fetching->mutex);
    if (fetching->err.kind == ERR_NONE) {
        err.code = arena_str(fetching->arena, err.code);
        err.detail = arena_str(fetching->arena, err.detail);
        err.fields = (FieldErrs){ 0 };
        fetching->err = err;
    }
    atomic_store(&fetching->failed, true);
    pthread_mutex_unlock(&fetching->mutex);
}

static void *fetch_many(void *arg)
{
    Fetching *fetching = arg;
    Arena *arena = arena_new();
    for (;;) {
        size_t n = atomic_fetch_add(&fetching->next, 1);
        if (n >= fetching->count || atomic_load(&fetching->failed) || atomic_load(&fetching->puller->stopping))
            break;
        Err err = fetch_one(fetching->puller, arena, &fetching->items[n]);
        if (err.kind != ERR_NONE)
            keep_first_error(fetching, err);
        arena_clear(arena);
    }
    arena_free(&arena);
    return NULL;
}

static void fetch_in_threads(Fetching *fetching)
{
    pthread_t threads[PULL_FETCHERS];
    unsigned started = 0;
    while (started < PULL_FETCHERS && pthread_create(&threads[started], NULL, fetch_many, fetching) == 0)
        started++;
    if (started == 0)
        fetch_many(fetching);
    while (started > 0)
        pthread_join(threads[--started], NULL);
}

Err pull_fetch(Puller *puller, Arena *arena, const FetchItem *items, size_t count)
{
    Fetching fetching = { .puller = puller, .items = items, .count = count, .arena = arena };
    pthread_mutex_init(&fetching.mutex, NULL);
    if (count > 2 * PULL_FETCHERS)
        fetch_in_threads(&fetching);
    else
        fetch_many(&fetching);
    pthread_mutex_destroy(&fetching.mutex);
    if (fetching.err.kind == ERR_NONE && atomic_load(&puller->stopping))
        return FAIL(ERR_UNAVAILABLE, "stopping", "The puller is being closed.");
    return fetching.err;
}
