/*
 * json.h: parsing strangers' JSON within limits, and writing our own.
 *
 * Before jansson sees a byte, one pass counts depth and structural tokens and checks UTF-8; duplicates and trailing
 * bytes are refused. Memory that held JSON is wiped on free (json_start installs the allocator: first line of a main).
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/arena.h"

#include <jansson.h>

typedef struct JsonLimits {
    size_t bytes_max;
    size_t depth_max;
    size_t tokens_max; /* of { [ , : and strings: bounds what a document can make the parser allocate */
} JsonLimits;

#define JSON_LIMITS_ADMIN ((JsonLimits){ .bytes_max = 256 * 1024, .depth_max = 32, .tokens_max = 20000 })
#define JSON_LIMITS_WIRE ((JsonLimits){ .bytes_max = 8 * 1024 * 1024, .depth_max = 16, .tokens_max = 1000000 })

void json_start(void); /* once, before any other JSON call and before threads */

void json_release(json_t **value); /* for _cleanup_(json_release) json_t *body = NULL; */

/* Gives the reference to the arena: it is dropped when the arena is. Returns the value, borrowed. */
json_t *json_adopt(Arena *arena, json_t *value);

/* Err codes: "json-too-large", "json-too-deep", "json-too-many-members", "json-not-utf8", "json-malformed" (the detail
 * says line and column, never the text), "json-duplicate-member". */
CHECKED Err json_parse(Str text, JsonLimits limits, json_t **ret_value);
/* Just the first pass. */
CHECKED Err json_scan(Str text, JsonLimits limits);

/* Compact, members in the order they were set; in the arena. */
Str json_write(Arena *arena, const json_t *value);
Str json_write_pretty(Arena *arena, const json_t *value);

/* Lenient looks into parsed documents: the empty Str / false / NULL when absent or of another kind. Borrowed. */
Str json_str(const json_t *object, const char *key);
bool json_i64(const json_t *object, const char *key, int64_t *ret_value);
json_t *json_at(const json_t *object, const char *path); /* "a.b.c"; borrowed */
json_t *json_from_str(Str s);                            /* a new JSON string; s must be UTF-8 (else replaced by "") */

#endif
