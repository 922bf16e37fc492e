/*
 * scan.h: one pass over JSON that builds nothing: grammar, UTF-8 and depth are checked, and the direct members of the
 * outermost object are reported as slices of the text.
 *
 * This is what stands on the hot path instead of a parser: a prompt of a megabyte costs one look at each byte and no
 * memory. To look into a member that is an object, scan its slice.
 *
 *     Member members[SCAN_MEMBERS_MAX];
 *     size_t count;
 *     TRY(scan_object(arena, body, SCAN_DEPTH_MAX, members, COUNT_OF(members), &count));
 *     const Member *model = member_find(members, count, STR("model"));
 *
 * Invariant: a text that is accepted is JSON by RFC 8259, and no two of its direct members have the same name, however
 * they are spelled ("model" and "mod\u0065l" are the same).
 */
#ifndef GATEWAY_SCAN_H
#define GATEWAY_SCAN_H

#include "base/arena.h"

#define SCAN_DEPTH_MAX 64
#define SCAN_MEMBERS_MAX 128

typedef enum ScanKind {
    SCAN_OBJECT,
    SCAN_ARRAY,
    SCAN_STRING,
    SCAN_NUMBER,
    SCAN_TRUE,
    SCAN_FALSE,
    SCAN_NULL,
} ScanKind;

typedef struct Member {
    Str name;  /* decoded: a slice of the text, or of the arena when it was written with escapes */
    Str value; /* as written, quotes and braces included; a slice of the text */
    ScanKind kind;
} Member;

/*
 * Checks that text is one JSON object and nothing else, and reports its direct members in order. Errors are
 * ERR_INVALID: "json-malformed", "json-not-utf8", "json-too-deep", "json-too-many-members", "json-duplicate-member";
 * their detail names the byte, never the text.
 */
CHECKED Err scan_object(
    Arena *arena, Str text, size_t depth_max, Member *members, size_t members_max, size_t *ret_count);

/* The same check for any JSON value. */
CHECKED Err scan_value(Arena *arena, Str text, size_t depth_max);

const Member *member_find(const Member *members, size_t count, Str name); /* NULL when absent */

/* The text of a SCAN_STRING member, escapes decoded (a lone surrogate becomes U+FFFD); borrowed when it had none. */
Str member_str(Arena *arena, const Member *member);

/* A whole number of at most 18 digits; false for anything else. */
bool member_i64(const Member *member, int64_t *ret_value);

#endif
