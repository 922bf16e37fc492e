/*
 * origin.h: where a secret may go: `scheme://host[:port]`, lower case, the default port left out.
 *
 * One origin has one spelling, so origins are compared as text. A URL that two readers could understand differently
 * (user info, backslashes, percent-encoded hosts, odd IPv4 forms, a trailing dot) has no origin and is refused.
 *
 *     TRY(origin_of_url(arena, STR("https://API.openai.com:443/v1"), &origin));   // https://api.openai.com
 */
#ifndef SNAPSHOT_ORIGIN_H
#define SNAPSHOT_ORIGIN_H

#include "base/arena.h"

#define ORIGIN_URL_BYTES_MAX 2048
#define ORIGIN_HOST_BYTES_MAX 253
#define ORIGIN_BYTES_MAX (sizeof("https://") + ORIGIN_HOST_BYTES_MAX + sizeof(":65535"))

/* The origin of an absolute http or https URL, in the arena. ERR_INVALID "bad-url" with a sentence that says why. */
CHECKED Err origin_of_url(Arena *arena, Str url, Str *ret_origin);

/* Whether text is an origin in its one spelling. */
bool origin_is_canonical(Str text);

#endif
