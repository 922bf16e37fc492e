/*
 * error.c: what PostgreSQL says, said again without anybody's values. libpq's texts may hold values of the statement
 * ("duplicate key (name)=(…)"), so nothing of them is passed on except names: SQLSTATE, constraint, our own RVxxx code.
 */
#include "internal.h"

#include <string.h>

typedef struct State {
    const char *prefix; /* of the SQLSTATE */
    Err err;
} State;

#define STATE(sqlstate, err_kind, err_code, err_detail)                                                                \
    {                                                                                                                  \
        .prefix = (sqlstate), .err = {.kind = (err_kind), .code = STR_INIT(err_code), .detail = STR_INIT(err_detail) } \
    }

/* The first row whose prefix fits. */
static const State states[] = {
    STATE("RV400", ERR_INVALID, "invalid", "The request cannot be accepted."),
    STATE("RV401", ERR_UNAUTHENTICATED, "unauthenticated", "The credential is not valid."),
    STATE("RV403", ERR_FORBIDDEN, "forbidden", "This is not allowed."),
    STATE("RV404", ERR_NOT_FOUND, "not-found", "There is no such thing."),
    STATE("RV409", ERR_CONFLICT, "conflict", "The request does not fit the present state."),
    STATE("RV412", ERR_PRECONDITION, "precondition-failed", "The thing has changed since it was read."),
    STATE("RV422", ERR_INVALID, "invalid", "The request cannot be accepted."),
    STATE("RV429", ERR_LIMITED, "limited", "A limit has been reached."),
    STATE("RV503", ERR_UNAVAILABLE, "unavailable", "This cannot be done at the moment."),
    STATE("40001", ERR_UNAVAILABLE, "serialization-failure", "Another change was made at the same moment; try again."),
    STATE("40P01", ERR_UNAVAILABLE, "serialization-failure", "Another change was made at the same moment; try again."),
    STATE("55P03", ERR_UNAVAILABLE, "database-busy", "Another change holds what this one needs; try again."),
    STATE("57014", ERR_TIMEOUT, "database-timeout", "The database took too long."),
    STATE("57P", ERR_UNAVAILABLE, "database-unavailable", "The database is shutting down or starting."),
    STATE("08", ERR_UNAVAILABLE, "database-unavailable", "The database cannot be reached at the moment."),
    STATE("53", ERR_UNAVAILABLE, "database-overloaded", "The database is out of a resource."),
    STATE("25006", ERR_UNAVAILABLE, "database-read-only", "The database takes no changes at the moment."),
    STATE("25P02", ERR_INTERNAL, "transaction-aborted", "A statement failed before in this transaction."),
    STATE("0A000", ERR_UNAVAILABLE, "schema-changed", "The database schema has just changed; try again."),
    STATE("22", ERR_INVALID, "value-not-storable", "A value is out of range or has a form that cannot be stored."),
};

/* Integrity violations: the constraint's name is the code. */
static const State violations[] = {
    STATE("23505", ERR_CONFLICT, "already-exists", "It exists already."),
    STATE("23503", ERR_CONFLICT, "reference-broken", "Something this refers to is not there, or is still referred to."),
    STATE("23514", ERR_INVALID, "rule-broken", "A value breaks a rule."),
    STATE("23P01", ERR_CONFLICT, "already-exists", "It overlaps with another."),
};

static const State *state_find(const State *table, size_t count, const char *sqlstate)
{
    for (size_t i = 0; i < count; i++)
        if (strncmp(table[i].prefix, sqlstate, strlen(table[i].prefix)) == 0)
            return &table[i];
    return NULL;
}

Str code_of_name(Arena *arena, Str name)
{
    char *copy = arena_alloc(arena, name.len + 1, 1);
    for (size_t i = 0; i < name.len; i++)
        copy[i] = (char)(name.ptr[i] == '_' ? '-' : name.ptr[i]);
    return str_n(copy, name.len);
}

static Err violation(Arena *arena, const State *state, const PGresult *result, const Sentences *sentences)
{
    Err err = state->err;
    Str name = str_from_c(PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME));
    if (str_is_empty(name))
        return err;
    for (size_t i = 0; sentences != NULL && i < sentences->count; i++)
        if (str_eq(sentences->items[i].constraint, name)) {
            err.code = sentences->items[i].code; /* both live as long as the pool */
            err.detail = sentences->items[i].text;
            return err;
        }
    err.code = code_of_name(arena, name);
    return err;
}

/* RVxxx is raised by our own SQL only: its message is the code, its detail (when given) the sentence. */
static Err raised(Arena *arena, const State *state, const PGresult *result)
{
    Err err = state->err;
    const char *code = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    if (code != NULL)
        err.code = arena_str(arena, str_from_c(code));
    if (detail != NULL)
        err.detail = arena_str(arena, str_from_c(detail));
    return err;
}

Err error_of_result(Arena *arena, const PGresult *result, const char *statement, const Sentences *sentences)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (sqlstate == NULL)
        return error_unavailable();
    const State *state = state_find(violations, COUNT_OF(violations), sqlstate);
    if (state != NULL)
        return violation(arena, state, result, sentences);
    state = state_find(states, COUNT_OF(states), sqlstate);
    if (state != NULL)
        return strncmp(sqlstate, "RV", 2) == 0 ? raised(arena, state, result) : state->err;
    return FAIL_FMT(arena, ERR_INTERNAL, "database-error", "The database refused the statement %s (SQLSTATE %s).",
        statement, sqlstate);
}

bool error_ends_connection(const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    return sqlstate == NULL || strncmp(sqlstate, "08", 2) == 0 || strncmp(sqlstate, "57P", 3) == 0 ||
           strcmp(sqlstate, "0A000") == 0;
}

bool err_is_retryable(Err err)
{
    return err_is(err, "serialization-failure") || err_is(err, "schema-changed");
}
