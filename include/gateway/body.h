/*
 * body.h: a client's request body: what the gateway needs to know of it, and the two edits it may make.
 *
 * Read once by the scanner, never parsed. The body that goes upstream is the client's, byte for byte, except for
 * `model` (the workflow's name becomes the target's model) and, for streams of dialects that ask for it,
 * `stream_options.include_usage` (so that every stream is metered). Adding, dropping or reordering anything else would
 * break prompt caching and features we have not heard of.
 *
 *     ChatBody body;
 *     TRY(body_read(arena, text, dialect, &body));
 *     Str upstream = body_edit(arena, &body, target->model);
 */
#ifndef GATEWAY_BODY_H
#define GATEWAY_BODY_H

#include "gateway/dialect.h"
#include "gateway/scan.h"

#define BODY_MODEL_MAX 256
#define BODY_END_USER_MAX 256

typedef enum UsageEdit {
    USAGE_KEEP,    /* asked for by the client, not a stream, or a dialect that always tells */
    USAGE_INSERT,  /* no stream_options: a new member */
    USAGE_REPLACE, /* stream_options or include_usage is null or false: its value is replaced */
    USAGE_EXTEND,  /* stream_options without include_usage: a member inside */
} UsageEdit;

typedef struct ChatBody {
    Str text;
    Str model;       /* decoded */
    Str model_value; /* as written, quotes included: what the edit replaces */
    bool stream;
    bool hide_usage; /* the client did not ask for the usage chunk that we will cause */
    UsageEdit usage_edit;
    Str usage_at;       /* what USAGE_REPLACE replaces, or the object that USAGE_EXTEND enters */
    Str usage_text;     /* what is put there */
    int64_t output_max; /* max_completion_tokens or max_tokens; 0 when absent */
    Str end_user;       /* user, or metadata.user_id; empty when absent or too long */
    Str bad_param;      /* the member an error is about */
} ChatBody;

/* Errors are the scanner's, and "model-missing", "bad-member" (ret_body->bad_param names it). */
CHECKED Err body_read(Arena *arena, Str text, Dialect dialect, ChatBody *ret_body);

/* The body with its edits, in the arena. */
Str body_edit(Arena *arena, const ChatBody *body, Str target_model);

#endif
