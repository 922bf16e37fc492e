/*
 * call.c: one request to the control plane. Only 200 (and what the caller asks for) is an answer; whatever a proxy, a
 * portal or a stranger puts in its place changes nothing.
 */
#include "parts.h"

#include <string.h>

Err pull_err(ErrKind kind, Str code, const char *detail)
{
    return (Err){ .kind = kind, .code = code, .detail = str_from_c(detail) };
}

Str pull_bearer(Puller *puller, Arena *arena)
{
    pthread_mutex_lock(&puller->mutex);
    Str token = arena_str(arena, str_from_c(puller->token));
    pthread_mutex_unlock(&puller->mutex);
    return token;
}

static ErrKind kind_of_status(int status)
{
    if (status == 401)
        return ERR_UNAUTHENTICATED;
    if (status == 403)
        return ERR_FORBIDDEN;
    if (status == 404)
        return ERR_NOT_FOUND;
    if (status == 429)
        return ERR_LIMITED;
    return ERR_UNAVAILABLE;
}

Err pull_call(Puller *puller, Arena *arena, const PullCall *call, PullReply *ret_reply)
{
    PullReply reply = { 0 };
    TRY(puller->transport.call(puller->transport.arg, arena, call, &reply));
    if (reply.status != 200 && reply.status != 201 && reply.status != 204)
        return pull_err(kind_of_status(reply.status), arena_fmt(arena, "status-%d", reply.status),
            "The control plane gave no answer that can be used.");
    if (reply.content_encoding.len > 0 && !str_eq_nocase(reply.content_encoding, STR("identity")))
        return FAIL(
            ERR_INVALID, "content-encoding", "The answer is encoded, though nothing of the kind was asked for.");
    if (reply.body.len > call->body_max)
        return FAIL(ERR_INVALID, "answer-too-long", "The answer is longer than its limit.");
    *ret_reply = reply;
    return OK;
}

Err pull_get(Puller *puller, Arena *arena, Str path, size_t body_max, int64_t timeout_us, PullReply *ret_reply)
{
    PullCall call = {
        .method = "GET",
        .path = path,
        .bearer = pull_bearer(puller, arena),
        .body_max = body_max,
        .timeout_us = timeout_us,
    };
    Err err = pull_call(puller, arena, &call, ret_reply);
    if (err.kind == ERR_UNAUTHENTICATED) { /* the next turn asks for a fresh one */
        pthread_mutex_lock(&puller->mutex);
        puller->token_renew_us = 0;
        pthread_mutex_unlock(&puller->mutex);
    }
    return err;
}
