/*
 * jose_parts.c: compact parts and protected headers.
 */
#include "jose_parts.h"

#include "base/encode.h"

Err jose_split(Str text, size_t count, Str *ret_parts)
{
    if (text.len > JWS_BYTES_MAX)
        return JOSE_MALFORMED("The text is too long for a JOSE object.");
    Str rest = text;
    for (size_t i = 0; i + 1 < count; i++)
        if (!str_cut(rest, '.', &ret_parts[i], &rest))
            return JOSE_MALFORMED("The text has too few parts for this JOSE object.");
    size_t dot;
    if (str_find(rest, '.', &dot))
        return JOSE_MALFORMED("The text has too many parts for this JOSE object.");
    ret_parts[count - 1] = rest;
    return OK;
}

Err jose_header_parse(Arena *arena, Str part, json_t **ret_header)
{
    const JsonLimits limits = { .bytes_max = JOSE_HEADER_BYTES_MAX, .depth_max = 4, .tokens_max = 256 };
    if (part.len > JOSE_HEADER_BYTES_MAX * 4 / 3 + 4)
        return JOSE_MALFORMED("The protected header is too long.");
    Bytes text;
    if (base64url_decode(arena, part, &text).kind != ERR_NONE)
        return JOSE_MALFORMED("The protected header is not canonical base64url.");
    _cleanup_(json_release) json_t *header = NULL;
    if (json_parse(bytes_str(text), limits, &header).kind != ERR_NONE || !json_is_object(header))
        return JOSE_MALFORMED("The protected header is not a JSON object.");
    *ret_header = TAKE(header);
    return OK;
}

Str jose_header_write(Arena *arena, const json_t *header)
{
    return base64url_encode(arena, str_bytes(json_write(arena, header)));
}

Err jose_check_alg_typ(const json_t *header, Str alg, Str typ)
{
    if (!str_eq(json_str(header, "alg"), alg))
        return FAIL(ERR_INVALID, "jose-algorithm", "The algorithm is not the one allowed here.");
    if (!str_eq(json_str(header, "typ"), typ))
        return FAIL(ERR_INVALID, "jose-type", "The type is not the one expected here.");
    return OK;
}

const PublicKey *jose_key_find(KeySet keys, Str kid)
{
    for (size_t i = 0; i < keys.count; i++)
        if (str_eq(str_from_c(keys.items[i].kid), kid))
            return &keys.items[i];
    return NULL;
}
