/*
 * json.h: walking over JSON text in place, without building a tree.
 *
 *     JsonWalk walk;
 *     Text name, value;
 *     if (!json_open(text, &walk)) ...                  not an object or array
 *     while (json_next(&walk, &name, &value)) ...       name is raw, without quotes; empty in an array
 *     if (walk.failed) ...                              the text ended early or is not JSON
 *
 * The walk is lenient (the gateway is the one that must be strict): it finds where values end and no more. A long
 * string costs one memchr, so a prompt of a megabyte is walked at memory speed.
 */
#ifndef SIM_JSON_H
#define SIM_JSON_H

#include "text.h"

typedef struct JsonWalk {
    const char *at;
    const char *end;
    char close; /* '}' or ']' */
    bool failed;
} JsonWalk;

bool json_open(Text value, JsonWalk *ret_walk);
bool json_next(JsonWalk *walk, Text *ret_name, Text *ret_value);

/* The member of an object; false when it is not there. */
bool json_member(Text object, Text name, Text *ret_value);

bool json_is_string(Text value);
bool json_is_true(Text value);

/* The characters of a string value between its quotes, still escaped. Empty when it is not a string. */
Text json_raw(Text value);

/* Appends the unescaped UTF-8 text of a string value. */
void json_unescape(Buf *out, Text value);

#endif
