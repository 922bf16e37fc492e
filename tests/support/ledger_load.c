/* ledger_load.c: see ledger_load.h. Bench-only: the raw side speaks libpq itself, as its reference. */
#include "ledger_load.h"

#include "api/work.h"
#include "http/problem.h"
#include "http/server.h"
#include "ledger/ingest.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- our side: a server --- */

struct LedgerServer {
    Loop *loop;
    Server *server;
    Work *work;
    Pool *ingest;
    pthread_t thread;
};

typedef struct Post {
    LedgerServer *server;
    Exchange *exchange;
    Str body;
    Str reply;
    Err err;
} Post;

static Err serves_all(void *arg, Db *db, Arena *arena, IngestProject *projects, size_t count)
{
    (void)arg, (void)db, (void)arena;
    for (size_t i = 0; i < count; i++)
        projects[i].served = true;
    return OK;
}

static void post_answer(void *arg)
{
    Post *post = arg;
    if (post->err.kind != ERR_NONE)
        exchange_reply_err(post->exchange, post->err);
    else
        exchange_reply(
            post->exchange, &(Response){ .status = 200, .content_type = "application/json", .body = post->reply });
}

static void post_work(void *arg)
{
    Post *post = arg;
    Arena *arena = exchange_arena(post->exchange);
    IngestSource source = { .data_plane = { .b = { 7, 7, 7, 7, 7, 7, 0x80, 7, 0x80 } }, .may_serve = serves_all };
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    List verdicts = { 0 };
    post->err = db_lease(post->server->ingest, &lease);
    if (post->err.kind == ERR_NONE)
        post->err = ingest_batch(lease.db, arena, &source, post->body, time_now(), &verdicts);
    if (post->err.kind == ERR_NONE)
        post->reply = ingest_reply(arena, verdicts);
    loop_post(post->server->loop, post_answer, post);
}

static bool admit(Exchange *exchange, void *arg, size_t *ret_body_max)
{
    (void)exchange, (void)arg;
    *ret_body_max = INGEST_BYTES_MAX;
    return true;
}

static void on_request(Exchange *exchange, void *arg)
{
    Post *post = NEW(exchange_arena(exchange), Post, 1);
    *post = (Post){ .server = arg, .exchange = exchange, .body = exchange_body(exchange) };
    if (!work_submit(post->server->work, post_work, post))
        die("the work queue is full");
}

static void *run_loop(void *arg)
{
    loop_run(((LedgerServer *)arg)->loop);
    return NULL;
}

static void must(Err err)
{
    if (err.kind != ERR_NONE)
        die(STR_FMT ": " STR_FMT, STR_ARG(err.code), STR_ARG(err.detail));
}

LedgerServer *ledger_server_start(Pool *ingest, unsigned threads)
{
    LedgerServer *server = calloc(1, sizeof(LedgerServer));
    server->ingest = ingest;
    server->work = work_new(threads, 64);
    must(loop_new(&server->loop));
    ServerOptions options = { .address = STR("127.0.0.1"),
        .limits = SERVER_LIMITS_DEFAULT,
        .admit = admit,
        .on_request = on_request,
        .arg = server };
    must(server_start(server->loop, &options, &server->server));
    if (pthread_create(&server->thread, NULL, run_loop, server) != 0)
        die("no thread");
    return server;
}

uint16_t ledger_server_port(const LedgerServer *server)
{
    return server_port(server->server);
}

static void stop_in_loop(void *arg)
{
    LedgerServer *server = arg;
    server_free(&server->server);
    loop_stop(server->loop);
}

void ledger_server_stop(LedgerServer **server)
{
    work_free(&(*server)->work);
    loop_post((*server)->loop, stop_in_loop, *server);
    pthread_join((*server)->thread, NULL);
    loop_free(&(*server)->loop);
    free(*server);
    *server = NULL;
}

/* --- our side: clients --- */

typedef struct Client2 {
    uint16_t port;
    const Strs *batches;
    size_t first;
} Client2;

static void send_all(int fd, const char *ptr, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, ptr, len, MSG_NOSIGNAL);
        if (n <= 0)
            die("the server went away");
        ptr += n;
        len -= (size_t)n;
    }
}

/* Reads one answer with a Content-Length; its body is counted for verdicts other than "stored". */
static void read_answer(int fd, char *buffer, size_t capacity)
{
    size_t have = 0, need = 0;
    while (need == 0 || have < need) {
        ssize_t n = recv(fd, buffer + have, capacity - have - 1, 0);
        if (n <= 0)
            die("the server closed before its answer was complete");
        have += (size_t)n;
        buffer[have] = '\0';
        const char *end = strstr(buffer, "\r\n\r\n");
        const char *length = strcasestr(buffer, "content-length:");
        if (need == 0 && end != NULL && length != NULL)
            need = (size_t)(end + 4 - buffer) + strtoul(length + 15, NULL, 10);
    }
    if (strncmp(buffer, "HTTP/1.1 200", 12) != 0 || strstr(buffer, "refused") != NULL ||
        strstr(buffer, "conflict") != NULL || strstr(buffer, "quarantined") != NULL ||
        strstr(buffer, "duplicate") != NULL)
        die("not all was stored: %.300s", buffer);
}

static void *post_half(void *arg)
{
    const Client2 *client = arg;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(client->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        die("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    static const size_t capacity = 1 << 20;
    char *buffer = malloc(capacity);
    for (size_t i = client->first; i < client->batches->count; i += 2) {
        Str batch = client->batches->items[i];
        int n = snprintf(buffer, capacity,
            "POST /v1/usage/events HTTP/1.1\r\nHost: bench\r\nContent-Type: application/cloudevents-batch+json\r\n"
            "Content-Length: %zu\r\n\r\n",
            batch.len);
        send_all(fd, buffer, (size_t)n);
        send_all(fd, batch.ptr, batch.len);
        read_answer(fd, buffer, capacity);
    }
    free(buffer);
    close(fd);
    return NULL;
}

double load_post(uint16_t port, const Strs *batches)
{
    pthread_t threads[2];
    Client2 clients[2] = { { port, batches, 0 }, { port, batches, 1 } };
    int64_t start_us = monotonic_us();
    for (size_t i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, post_half, &clients[i]) != 0)
            die("no thread");
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return (double)(monotonic_us() - start_us) / 1e6;
}

/* --- the raw side --- */

#define RAW_EVENTS 500
#define RAW_STATEMENTS_MAX 4

/* One chunk: the results that hold its arrays, one result a statement. */
typedef struct RawChunk {
    PGresult *arrays[RAW_STATEMENTS_MAX];
} RawChunk;

struct RawRows {
    RawChunk *chunks;
    size_t count, statements;
};

/* Reading: the events numbered $1 < n <= $2 in order of their ids. Arrays come back in binary and go in again as they
 * are. */
#define NUMBERED "(select *, row_number() over (order by id) as place from ledger.event) e"
static const char *const raw_read[RAW_STATEMENTS_MAX] = {
    "select array_agg(org), array_agg(id), array_agg(digest), array_agg(data_plane), array_agg(epoch), "
    "array_agg(sequence), array_agg(project), array_agg(workflow), array_agg(revision), array_agg(client_key), "
    "array_agg(dialect), array_agg(stream), array_agg(outcome), array_agg(status), array_agg(end_user), "
    "array_agg(labels::text), array_agg(correlation_id), array_agg(trace_id), array_agg(request_id), "
    "array_agg(queue_us), array_agg(first_byte_us), array_agg(total_us) from " NUMBERED
    " where place > $1::int and place <= $2::int",
    "select array_agg(a.org), array_agg(a.event), array_agg(a.n), array_agg(a.connection), array_agg(a.provider), "
    "array_agg(a.model_asked), array_agg(a.model_answered), array_agg(a.outcome), array_agg(a.status), "
    "array_agg(a.secret), array_agg(a.secret_version), array_agg(a.connect_us), array_agg(a.first_byte_us), "
    "array_agg(a.total_us), array_agg(a.provider_request_id), array_agg(a.lease) from " NUMBERED
    " join ledger.attempt a on a.org = e.org and a.event = e.id where place > $1::int and place <= $2::int",
    "select array_agg(u.org), array_agg(u.event), array_agg(u.attempt), array_agg(u.n), array_agg(u.model), "
    "array_agg(u.meters::text), array_agg(u.quantities::text), array_agg(u.usage_raw), array_agg(u.normaliser), "
    "array_agg(u.residual), array_agg(u.stream) from " NUMBERED
    " join ledger.unit u on u.org = e.org and u.event = e.id where place > $1::int and place <= $2::int",
    "select array_agg(c.org), array_agg(c.event), array_agg(c.attempt), array_agg(c.unit), array_agg(c.run), "
    "array_agg(c.reversal), array_agg(c.model), array_agg(c.reason), array_agg(c.meters::text), "
    "array_agg(c.quantities::text), array_agg(c.rates::text), array_agg(c.amount), array_agg(c.unrated), "
    "array_agg(c.residual), array_agg(c.flags), array_agg(c.normaliser), array_agg(c.counted) from " NUMBERED
    " join ledger.charge c on c.org = e.org and c.event = e.id where place > $1::int and place <= $2::int",
};

static const char *const raw_insert[RAW_STATEMENTS_MAX] = {
    "insert into ledger.event (org, id, digest, data_plane, epoch, sequence, project, workflow, revision, client_key, "
    "dialect, stream, outcome, status, end_user, labels, correlation_id, trace_id, request_id, queue_us, "
    "first_byte_us, total_us) select c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16::jsonb, "
    "c17, "
    "c18, c19, c20, c21, c22 from unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::uuid[], $5::bigint[], $6::bigint[], "
    "$7::uuid[], $8::uuid[], $9::uuid[], $10::uuid[], $11::text[], $12::boolean[], $13::text[], $14::int[], "
    "$15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::bigint[], $21::bigint[], $22::bigint[]) as "
    "x(c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17, c18, c19, c20, c21, c22)",
    "insert into ledger.attempt (org, event, n, connection, provider, model_asked, model_answered, outcome, status, "
    "secret, secret_version, connect_us, first_byte_us, total_us, provider_request_id, lease) select * from "
    "unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], "
    "$9::int[], $10::uuid[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::text[], $16::uuid[])",
    "insert into ledger.unit (org, event, attempt, n, model, meters, quantities, usage_raw, normaliser, residual, "
    "stream) select c1, c2, c3, c4, c5, c6::smallint[], c7::bigint[], c8, c9, c10, c11 from unnest($1::uuid[], "
    "$2::uuid[], $3::smallint[], $4::smallint[], $5::text[], $6::text[], $7::text[], $8::bytea[], $9::int[], "
    "$10::bigint[], $11::boolean[]) as x(c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11)",
    /* The rows and, inline, the sums of the rows. */
    "with x as materialized (select c1 as org, c2 as event, c3 as attempt, c4 as unit, c5 as run, c6 as reversal, c7 "
    "as "
    "model, c8 as reason, c9::smallint[] as meters, c10::bigint[] as quantities, c11::bigint[] as rates, c12 as "
    "amount, "
    "c13 as unrated, c14 as residual, c15 as flags, c16 as normaliser, c17 as counted from unnest($1::uuid[], "
    "$2::uuid[], $3::smallint[], $4::smallint[], $5::bigint[], $6::boolean[], $7::text[], $8::text[], $9::text[], "
    "$10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::int[], $16::int[], $17::smallint[]) "
    "as "
    "x(c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17)), line as (insert into "
    "ledger.charge "
    "(org, event, attempt, unit, run, reversal, model, reason, meters, quantities, rates, amount, unrated, residual, "
    "flags, normaliser, counted) select * from x), part as (select x.org, $18::timestamptz as hour, a.c4 as project, "
    "x.model, q.meter, sum(q.quantity) as quantity, sum(q.quantity::numeric * q.rate) as amount, count(*) as n from x "
    "join unnest($19::uuid[], $20::uuid[]) as a(c3, c4) on a.c3 = x.event, unnest(x.meters, x.quantities, x.rates) as "
    "q(meter, quantity, rate) group by 1, 2, 3, 4, 5), hour as (insert into ledger.rollup_hour as r select org, hour, "
    "project, '00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000', "
    "'00000000-0000-0000-0000-000000000000', 'p', model, 'ok', meter, quantity, amount, 0, n, n from part order by "
    "1, 2, 3, 8, 10 on conflict on constraint rollup_hour_pk do update set quantity = r.quantity + excluded.quantity, "
    "amount = r.amount + excluded.amount, attempts = r.attempts + excluded.attempts, events = r.events + "
    "excluded.events) insert into ledger.rollup_day as r select org, hour::date, project, "
    "'00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000', "
    "'00000000-0000-0000-0000-000000000000', 'p', model, 'ok', meter, quantity, amount, 0, n, n from part order by "
    "1, 2, 3, 8, 10 on conflict on constraint rollup_day_pk do update set quantity = r.quantity + excluded.quantity, "
    "amount = r.amount + excluded.amount, attempts = r.attempts + excluded.attempts, events = r.events + "
    "excluded.events",
};

static PGconn *raw_connect(Str conninfo)
{
    PGconn *connection = PQconnectdb(conninfo.ptr);
    if (PQstatus(connection) != CONNECTION_OK)
        die("cannot connect: %s", PQerrorMessage(connection));
    return connection;
}

static PGresult *raw_check(PGconn *connection, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        die("the reference failed: %s", PQerrorMessage(connection));
    return result;
}

RawRows *raw_rows_read(Str conninfo, bool rated)
{
    PGconn *connection = raw_connect(conninfo);
    PGresult *counted = raw_check(connection, PQexec(connection, "select count(*) from ledger.event"));
    size_t events = strtoul(PQgetvalue(counted, 0, 0), NULL, 10);
    PQclear(counted);
    RawRows *rows = calloc(1, sizeof(RawRows));
    rows->statements = rated ? 4 : 3;
    rows->count = (events + RAW_EVENTS - 1) / RAW_EVENTS;
    rows->chunks = calloc(rows->count, sizeof(RawChunk));
    for (size_t i = 0; i < rows->count; i++)
        for (size_t s = 0; s < rows->statements; s++) {
            char from[24], to[24];
            snprintf(from, sizeof(from), "%zu", i * RAW_EVENTS);
            snprintf(to, sizeof(to), "%zu", (i + 1) * RAW_EVENTS);
            const char *const values[] = { from, to };
            rows->chunks[i].arrays[s] = raw_check(
                connection, PQexecParams(connection, raw_read[s], 2, NULL, values, NULL, NULL, /* binary= */ 1));
        }
    PQfinish(connection);
    return rows;
}

void raw_rows_free(RawRows **rows)
{
    for (size_t i = 0; i < (*rows)->count; i++)
        for (size_t s = 0; s < (*rows)->statements; s++)
            PQclear((*rows)->chunks[i].arrays[s]);
    free((*rows)->chunks);
    free(*rows);
    *rows = NULL;
}

#define RAW_PARAMETERS_MAX 24

typedef struct Parameters {
    const char *values[RAW_PARAMETERS_MAX];
    int lengths[RAW_PARAMETERS_MAX], formats[RAW_PARAMETERS_MAX];
    int count;
} Parameters;

static void add_value(Parameters *parameters, const PGresult *from, int column)
{
    int i = parameters->count++;
    parameters->values[i] = PQgetisnull(from, 0, column) ? NULL : PQgetvalue(from, 0, column);
    parameters->lengths[i] = PQgetlength(from, 0, column);
    parameters->formats[i] = 1;
}

static void raw_run(PGconn *connection, const RawChunk *chunk, size_t statement)
{
    char name[24];
    snprintf(name, sizeof(name), "s%zu", statement);
    Parameters parameters = { .count = 0 };
    const PGresult *arrays = chunk->arrays[statement];
    for (int column = 0; column < PQnfields(arrays); column++)
        add_value(&parameters, arrays, column);
    if (statement == 3) {
        parameters.values[parameters.count] = "2026-01-01 00:00:00Z";
        parameters.formats[parameters.count++] = 0;
        add_value(&parameters, chunk->arrays[0], 1);
        add_value(&parameters, chunk->arrays[0], 6);
    }
    PQclear(raw_check(connection, PQexecPrepared(connection, name, parameters.count, parameters.values,
                                      parameters.lengths, parameters.formats, 1)));
}

typedef struct RawClient {
    Str conninfo;
    const RawRows *rows;
    size_t first;
    pthread_barrier_t *ready;
} RawClient;

static void *raw_half(void *arg)
{
    const RawClient *client = arg;
    PGconn *connection = raw_connect(client->conninfo);
    for (size_t s = 0; s < client->rows->statements; s++) {
        char name[24];
        snprintf(name, sizeof(name), "s%zu", s);
        PQclear(raw_check(connection, PQprepare(connection, name, raw_insert[s], 0, NULL)));
    }
    pthread_barrier_wait(client->ready);
    for (size_t i = client->first; i < client->rows->count; i += 2) {
        PQclear(raw_check(connection, PQexec(connection, "begin")));
        for (size_t s = 0; s < client->rows->statements; s++)
            raw_run(connection, &client->rows->chunks[i], s);
        PQclear(raw_check(connection, PQexec(connection, "commit")));
    }
    PQfinish(connection);
    return NULL;
}

double raw_rows_insert(Str conninfo, const RawRows *rows)
{
    pthread_t threads[2];
    pthread_barrier_t ready;
    pthread_barrier_init(&ready, NULL, 3);
    RawClient clients[2] = { { conninfo, rows, 0, &ready }, { conninfo, rows, 1, &ready } };
    for (size_t i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, raw_half, &clients[i]) != 0)
            die("no thread");
    pthread_barrier_wait(&ready);
    int64_t start_us = monotonic_us();
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&ready);
    return (double)(monotonic_us() - start_us) / 1e6;
}

/* --- both --- */

void ledger_empty(const PgDatabase *database)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    (void)pg_sql(arena, database, "super",
        "truncate ledger.event, ledger.attempt, ledger.unit, ledger.charge, ledger.batch, ledger.rollup_hour, "
        "ledger.rollup_day, ledger.source; checkpoint");
}

void figures_print(const char *bench, const Figure *figures, size_t count)
{
    printf("{\"bench\":\"%s\",\"figures\":[", bench);
    for (size_t i = 0; i < count; i++) {
        printf("%s{\"name\":\"%s\",\"value\":%.4g,\"unit\":\"%s\"", i == 0 ? "" : ",", figures[i].name,
            figures[i].value, figures[i].unit);
        if (figures[i].goal > 0)
            printf(",\"goal\":%.4g", figures[i].goal);
        else
            printf(",\"goal\":null");
        printf(",\"better\":\"%s\"}", figures[i].better);
    }
    printf("]}\n");
}
