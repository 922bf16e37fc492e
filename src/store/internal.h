/*
 * internal.h: what the files of the store share. Nobody outside src/store includes it; it names libpq.
 *
 * Every connection of a pool stays in pipeline mode and non-blocking: one way to send, one way to wait, always with a
 * deadline. A connection that is in doubt is closed, never mended.
 */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include "store/db.h"

#include <libpq-fe.h>
#include <pthread.h>

/* Type oids of the catalogue (pg_type.dat); they never change. */
typedef enum Type {
    TYPE_BOOL = 16,
    TYPE_BYTEA = 17,
    TYPE_NAME = 19,
    TYPE_INT8 = 20,
    TYPE_INT2 = 21,
    TYPE_INT4 = 23,
    TYPE_TEXT = 25,
    TYPE_OID = 26,
    TYPE_JSON = 114,
    TYPE_UNKNOWN = 705,
    TYPE_BOOL_ARRAY = 1000,
    TYPE_BYTEA_ARRAY = 1001,
    TYPE_INT2_ARRAY = 1005,
    TYPE_INT4_ARRAY = 1007,
    TYPE_TEXT_ARRAY = 1009,
    TYPE_INT8_ARRAY = 1016,
    TYPE_BPCHAR = 1042,
    TYPE_VARCHAR = 1043,
    TYPE_DATE = 1082,
    TYPE_TIMESTAMPTZ = 1184,
    TYPE_TIMESTAMPTZ_ARRAY = 1185,
    TYPE_NUMERIC = 1700,
    TYPE_VOID = 2278,
    TYPE_UUID = 2950,
    TYPE_UUID_ARRAY = 2951,
    TYPE_JSONB = 3802,
    TYPE_XID8 = 5069,
} Type;

#define CONNECT_DEADLINE_MS 5000
#define ROUND_TRIP_GRACE_MS 2000 /* over the server's statement_timeout, which should end things first */
#define CALLS_MAX 256            /* of one pipeline */

/* --- connections (connection.c) --- */

typedef struct ConnectOptions {
    Str conninfo;
    Str application;
    int statement_timeout_ms;
    bool as_owner; /* SET ROLE reeve_owner: migrations and founding only */
} ConnectOptions;

/* Connects within deadline_us (monotonic); non-blocking from then on. ERR_UNAVAILABLE "database-unavailable". */
CHECKED Err connection_open(Arena *arena, const ConnectOptions *options, int64_t deadline_us, PGconn **ret_connection);
/* Sends what is waiting and returns the next result (NULL behind the last of a command); false when the connection is
 * lost or the deadline passed, after which it must be closed. */
bool connection_result(PGconn *connection, int64_t deadline_us, PGresult **ret_result);
/* Anything at the socket of an idle connection means that it is dead, or about to be. */
bool connection_is_idle_and_well(PGconn *connection);
/* One simple query (several statements allowed) outside pipeline mode; the last result is the caller's. */
CHECKED Err connection_query(
    Arena *arena, PGconn *connection, const char *sql, int64_t deadline_us, PGresult **ret_result);
void connection_close(PGconn **connection);
void result_clear(PGresult **result); /* for _cleanup_ */

/* --- errors (error.c) --- */

/* Sentences of constraints, read from the catalogue once. */
typedef struct Sentences {
    Arena *arena;
    struct Sentence {
        Str constraint, code, text;
    } * items;
    size_t count;
} Sentences;

Str code_of_name(Arena *arena, Str name); /* project_name_taken → project-name-taken */
/* A failed result as an Err that holds no value of anybody. */
Err error_of_result(Arena *arena, const PGresult *result, const char *statement, const Sentences *sentences);
Err error_unavailable(void);
/* True for results after which the connection must not be used again. */
bool error_ends_connection(const PGresult *result);

/* --- values (value.c) --- */

typedef struct Parameter {
    const char *value; /* NULL is null */
    int length;
    int format; /* 0 text, 1 binary */
} Parameter;

CHECKED Err value_bind(
    Arena *arena, const char *statement, const Field *field, Oid type, const void *record, Parameter *ret_parameter);
CHECKED Err value_fill(Arena *arena, const char *statement, const Field *field, Oid type, const uint8_t *value,
    int length, void *record); /* value NULL is null */

/* --- pools (pool.c) and statements (db.c) --- */

/* What the server said about a prepared statement. */
typedef struct Prepared {
    Oid *parameter_types;
} Prepared;

struct Pool {
    unsigned magic;
    Arena *arena;
    PoolOptions options;
    const Stmt **statements; /* of the role, ordered by address */
    size_t statement_count;
    pthread_mutex_t lock;
    pthread_cond_t given;
    Db **idle;
    unsigned idle_count, open_count;
    bool up;
    PoolStats stats;
    unsigned failures;       /* in a row */
    int64_t closed_until_us; /* the circuit: no attempt before */
    Sentences sentences;
};

typedef enum TxState { TX_NONE, TX_READ, TX_WRITE } TxState;

struct Db {
    unsigned magic;
    Pool *pool;
    PGconn *connection; /* NULL: to be made */
    Arena *home;        /* of this struct */
    Arena *arena;       /* of `prepared`; made anew with each connection */
    Prepared *prepared; /* one for each of pool->statements */
    TxState tx;
    bool begin_waits;  /* BEGIN goes out with the first statement */
    bool wrote;        /* this transaction has a transaction id: it changed something */
    Uuid session;      /* of this connection, for the marks of its commits */
    int64_t marks;     /* so far; the number of the last writing transaction */
    char problem[512]; /* why the last connection could not be made ready */
};

#define POOL_MAGIC 0x504f4f4cu
#define DB_MAGIC 0x44422121u

CHECKED Err db_connect(Db *db, int64_t deadline_us); /* connects and prepares */
void db_disconnect(Db *db);
void db_reset(Db *db); /* rolls back what is open */

#endif
