/*
 * connection.c: one libpq connection: made, waited for and closed, always with a deadline. libpq's own blocking calls
 * (PQconnectdb, PQexec) appear nowhere, because a dead peer would hold them for ever.
 */
#include "internal.h"

#include <errno.h>
#include <poll.h>

/* Waits for the socket; false when the deadline passed. */
static bool wait_socket(PGconn *connection, short events, int64_t deadline_us)
{
    for (;;) {
        int64_t left_ms = (deadline_us - monotonic_us() + US_PER_MS - 1) / US_PER_MS;
        if (left_ms <= 0)
            return false;
        struct pollfd fd = { .fd = PQsocket(connection), .events = events };
        int ready = poll(&fd, 1, left_ms > 60000 ? 60000 : (int)left_ms);
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return false;
    }
}

/* PQconnectPoll until it is made, refused or late. */
static bool connect_poll(PGconn *connection, int64_t deadline_us)
{
    PostgresPollingStatusType want = PGRES_POLLING_WRITING;
    while (want != PGRES_POLLING_OK) {
        if (want == PGRES_POLLING_FAILED || PQstatus(connection) == CONNECTION_BAD)
            return false;
        if (!wait_socket(connection, want == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_us))
            return false;
        want = PQconnectPoll(connection);
    }
    return true;
}

Err error_unavailable(void)
{
    Err err = FAIL(ERR_UNAVAILABLE, "database-unavailable", "The database cannot be reached at the moment.");
    err.retry_after_s = 1;
    return err;
}

void connection_close(PGconn **connection)
{
    if (*connection != NULL)
        PQfinish(*connection);
    *connection = NULL;
}

void result_clear(PGresult **result)
{
    PQclear(*result);
    *result = NULL;
}

static void ignore_notice(void *argument, const PGresult *result)
{
    (void)argument, (void)result; /* notices may hold values */
}

Err connection_open(Arena *arena, const ConnectOptions *options, int64_t deadline_us, PGconn **ret_connection)
{
    Str settings = arena_fmt(arena,
        "-c statement_timeout=%d -c lock_timeout=2s -c idle_in_transaction_session_timeout=10s -c timezone=UTC "
        "-c search_path=reeve,ledger,pg_temp%s",
        options->statement_timeout_ms, options->as_owner ? " -c role=reeve_owner" : "");
    /* What stands before dbname is a default that the conninfo may change; what stands behind it is ours. */
    const char *keywords[] = { "gssencmode", "keepalives_idle", "tcp_user_timeout", "target_session_attrs",
        "application_name", "dbname", "options", "client_encoding", NULL };
    const char *values[] = { "disable", "30", "15000", "read-write", arena_c(arena, options->application),
        arena_c(arena, options->conninfo), arena_c(arena, settings), "UTF8", NULL };
    PGconn *connection = PQconnectStartParams(keywords, values, /* expand_dbname= */ 1);
    if (connection == NULL)
        die("out of memory");
    PQsetNoticeReceiver(connection, ignore_notice, NULL);
    if (!connect_poll(connection, deadline_us) || PQsetnonblocking(connection, 1) != 0) {
        connection_close(&connection);
        return error_unavailable();
    }
    *ret_connection = connection;
    return OK;
}

bool connection_result(PGconn *connection, int64_t deadline_us, PGresult **ret_result)
{
    for (;;) {
        int unsent = PQflush(connection);
        if (unsent < 0)
            return false;
        if (!PQisBusy(connection)) {
            *ret_result = PQgetResult(connection);
            return true;
        }
        /* Reading while there is more to send: a server that waits for us to read would never read. */
        if (!wait_socket(connection, (short)(POLLIN | (unsent > 0 ? POLLOUT : 0)), deadline_us))
            return false;
        if (!PQconsumeInput(connection))
            return false;
    }
}

bool connection_is_idle_and_well(PGconn *connection)
{
    if (PQstatus(connection) != CONNECTION_OK)
        return false;
    struct pollfd fd = { .fd = PQsocket(connection), .events = POLLIN };
    return poll(&fd, 1, 0) == 0;
}

Err connection_query(Arena *arena, PGconn *connection, const char *sql, int64_t deadline_us, PGresult **ret_result)
{
    _cleanup_(result_clear) PGresult *last = NULL;
    if (!PQsendQuery(connection, sql))
        return error_unavailable();
    Err err = OK;
    for (;;) {
        PGresult *result = NULL;
        if (!connection_result(connection, deadline_us, &result))
            return error_unavailable();
        if (result == NULL)
            break;
        PQclear(last);
        last = result;
        if (PQresultStatus(result) == PGRES_FATAL_ERROR && err.kind == ERR_NONE)
            err = error_of_result(arena, result, "(script)", NULL);
    }
    if (PQstatus(connection) != CONNECTION_OK && err.kind == ERR_NONE)
        err = error_unavailable();
    TRY(err);
    if (ret_result != NULL)
        *ret_result = TAKE(last);
    return OK;
}
