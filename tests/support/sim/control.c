#include "control.h"

#include <string.h>

typedef int Handler(World *world, const Request *request, Buf *body);

static int fail(Buf *body, int status, const char *problem)
{
    PUT(body, "{\"error\":{\"message\":");
    buf_quote(body, text_of(problem));
    PUT(body, ",\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}");
    return status;
}

static int done(Buf *body)
{
    PUT(body, "{\"ok\":true}");
    return 200;
}

/* --- faults ---------------------------------------------------------------------------------------------------- */

static int post_faults(World *world, const Request *request, Buf *body)
{
    const char *problem = faults_add(&world->faults, request->body);
    return problem ? fail(body, 400, problem) : done(body);
}

static int delete_faults(World *world, const Request *request, Buf *body)
{
    (void)request;
    world->faults.count = 0;
    return done(body);
}

static int get_faults(World *world, const Request *request, Buf *body)
{
    (void)request;
    PUT(body, "{\"faults\":[");
    for (int i = 0; i < world->faults.count; i++) {
        const FaultRule *rule = &world->faults.rules[i];
        buf_put(body, i ? TEXT(",{\"kind\":") : TEXT("{\"kind\":"));
        buf_quote(body, text_of(fault_name(rule->fault.kind)));
        PUT(body, ",\"model\":");
        buf_quote(body, text_of(rule->model));
        PUT(body, ",\"left\":");
        buf_int(body, rule->left);
        PUT(body, "}");
    }
    PUT(body, "]}");
    return 200;
}

/* --- keys ------------------------------------------------------------------------------------------------------ */

static void each_key(Keys *keys, Text list, void (*act)(Keys *keys, Text text))
{
    JsonWalk walk;
    Text name, value;
    if (!json_open(list, &walk))
        return;
    while (json_next(&walk, &name, &value))
        act(keys, json_raw(value));
}

static int post_keys(World *world, const Request *request, Buf *body)
{
    Text value;
    if (json_member(request->body, TEXT("reload"), &value) && json_is_true(value)) {
        if (!world->options.keys_file || !keys_load(world->keys, world->options.keys_file))
            return fail(body, 400, "the file of --keys could not be read");
    }
    if (json_member(request->body, TEXT("add"), &value))
        each_key(world->keys, value, keys_add);
    if (json_member(request->body, TEXT("revoke"), &value))
        each_key(world->keys, value, keys_revoke);
    return done(body);
}

/* --- journal, stats, reset -------------------------------------------------------------------------------------- */

static Text query_value(Text query, Text name)
{
    while (query.ptr) {
        Text value = text_split(&query, '&');
        if (text_eq(text_split(&value, '='), name))
            return value;
    }
    return (Text){ "", 0 };
}

static int get_journal(World *world, const Request *request, Buf *body)
{
    int64_t after = 0;
    text_int(query_value(request->query, TEXT("after")), &after);
    if (!world->journal)
        return fail(body, 404, "there is no journal (--no-journal)");
    if (!journal_read(world->journal, after, body))
        return fail(body, 500, "the journal in memory is full and has lost lines; use --journal FILE");
    return 200;
}

typedef struct CountList {
    Buf *body;
    bool any;
} CountList;

static void put_count(CountList *list, const char *name, int64_t count)
{
    buf_put(list->body, list->any ? TEXT(",") : TEXT(""));
    buf_quote(list->body, text_of(name));
    PUT(list->body, ":");
    buf_int(list->body, count);
    list->any = true;
}

static void put_key(const Key *key, void *context)
{
    if (key->requests)
        put_count(context, key->digest, key->requests);
}

static int get_stats(World *world, const Request *request, Buf *body)
{
    CountList list = { .body = body };
    const Stats *stats = &world->stats;
    (void)request;
    PUT(body, "{");
    put_count(&list, "requests", stats->requests);
    put_count(&list, "refused", stats->refused);
    put_count(&list, "in_flight", atomic_load(&world->in_flight));
    put_count(&list, "connections", stats->connections);
    put_count(&list, "client_disconnects", stats->client_disconnects);
    put_count(&list, "journal_lines", world->journal ? journal_count(world->journal) : 0);
    PUT(body, ",\"keys\":{");
    list.any = false;
    keys_each(world->keys, put_key, &list);
    PUT(body, "},\"models\":{");
    list.any = false;
    for (int i = 0; i < stats->model_count; i++)
        put_count(&list, stats->models[i].name, stats->models[i].requests);
    PUT(body, "}}");
    return 200;
}

/* Forgets prefixes, faults and counts; with ?journal=true the journal too. Keys stay. */
static int post_reset(World *world, const Request *request, Buf *body)
{
    cache_clear(world->cache);
    world->faults.count = 0;
    world->stats = (Stats){ 0 };
    keys_forget_counts(world->keys);
    if (world->journal && text_eq(query_value(request->query, TEXT("journal")), TEXT("true")))
        journal_clear(world->journal);
    return done(body);
}

/* --- models ------------------------------------------------------------------------------------------------------ */

static void put_model(Buf *body, Text name, bool anthropic)
{
    PUT(body, "{\"id\":");
    buf_quote(body, name);
    if (anthropic) {
        PUT(body, ",\"type\":\"model\",\"display_name\":");
        buf_quote(body, name);
        PUT(body, ",\"created_at\":\"2025-01-01T00:00:00Z\"}");
    } else {
        PUT(body, ",\"object\":\"model\",\"created\":1735689600,\"owned_by\":\"simulated\"}");
    }
}

static int get_models(World *world, const Request *request, Buf *body)
{
    bool anthropic = request->api_key.len || request->anthropic_version.len;
    Text rest = text_of(world->options.models ? world->options.models : "sim-large,sim-small");
    Key *key = keys_find(world->keys, request->api_key.len ? request->api_key : request->bearer);
    if (!keys_accept(world->keys, key))
        return fail(body, 401, "Incorrect API key provided.");
    buf_put(body, anthropic ? TEXT("{\"data\":[") : TEXT("{\"object\":\"list\",\"data\":["));
    for (bool first = true; rest.ptr; first = false) {
        buf_put(body, first ? TEXT("") : TEXT(","));
        put_model(body, text_trim(text_split(&rest, ',')), anthropic);
    }
    buf_put(body, anthropic ? TEXT("],\"has_more\":false}") : TEXT("]}"));
    return 200;
}

static const struct {
    Text method, path;
    Handler *handle;
} routes[] = {
    { TEXT_INIT("GET"), TEXT_INIT("/v1/models"), get_models },
    { TEXT_INIT("POST"), TEXT_INIT("/_sim/faults"), post_faults },
    { TEXT_INIT("GET"), TEXT_INIT("/_sim/faults"), get_faults },
    { TEXT_INIT("DELETE"), TEXT_INIT("/_sim/faults"), delete_faults },
    { TEXT_INIT("POST"), TEXT_INIT("/_sim/keys"), post_keys },
    { TEXT_INIT("GET"), TEXT_INIT("/_sim/journal"), get_journal },
    { TEXT_INIT("GET"), TEXT_INIT("/_sim/stats"), get_stats },
    { TEXT_INIT("POST"), TEXT_INIT("/_sim/reset"), post_reset },
};

static bool is_model_call(const Request *request)
{
    return text_eq(request->method, TEXT("POST")) &&
           (text_eq(request->path, TEXT("/v1/chat/completions")) || text_eq(request->path, TEXT("/v1/messages")));
}

bool control_answer(World *world, const Request *request, Buf *body, int *ret_status)
{
    if (is_model_call(request))
        return false;
    *ret_status = 0;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!text_eq(request->path, routes[i].path) || !text_eq(request->method, routes[i].method))
            continue;
        pthread_mutex_lock(&world->lock);
        *ret_status = routes[i].handle(world, request, body);
        pthread_mutex_unlock(&world->lock);
    }
    if (!*ret_status)
        *ret_status = fail(body, 404, "The simulated provider has no such endpoint.");
    return true;
}
