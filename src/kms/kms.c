/*
 * kms.c: the table of KMSs, and the head of a wrapped key that says whose it is.
 */
#include "driver.h"

#include "base/buf.h"

#include <string.h>

#define URI_BYTES_MAX 512
#define SEALED_BYTES_MAX 7168

static const KmsDriver *const drivers[] = { &KMS_LOCAL_DRIVER };

struct Kms {
    Arena *arena;
    Str uri;
    const KmsDriver *driver;
    void *state;
};

static const KmsDriver *driver_of(Str scheme)
{
    for (size_t i = 0; i < COUNT_OF(drivers); i++)
        if (str_eq(scheme, str_from_c(drivers[i]->scheme)))
            return drivers[i];
    return NULL;
}

Err kms_open(Str uri, const KmsLocal *local, Kms **ret_kms)
{
    Str scheme, name;
    if (uri.len > URI_BYTES_MAX || !str_cut(uri, ':', &scheme, &name) || name.len == 0)
        return FAIL(ERR_INVALID, "kms-config", "A KMS is named by a URI such as \"local:default\".");
    const KmsDriver *driver = driver_of(scheme);
    if (driver == NULL)
        return FAIL(ERR_INVALID, "kms-config", "The scheme of a KMS's URI is not known (known: local).");
    Arena *arena = arena_new();
    void *state = NULL;
    Err err = driver->open(arena, name, local, &state);
    if (err.kind != ERR_NONE) {
        arena_free(&arena);
        return err;
    }
    Kms *kms = NEW(arena, Kms, 1);
    *kms = (Kms){ .arena = arena, .uri = arena_str(arena, uri), .driver = driver, .state = state };
    *ret_kms = kms;
    return OK;
}

void kms_free(Kms **kms)
{
    if (*kms == NULL)
        return;
    (*kms)->driver->release((*kms)->state);
    Arena *arena = (*kms)->arena;
    arena_free(&arena);
    *kms = NULL;
}

Str kms_uri(const Kms *kms)
{
    return kms->uri;
}

static Bytes with_head(const Kms *kms, Arena *arena, Bytes sealed)
{
    _cleanup_(buf_release) Buf out = buf_new(4 + KMS_KEY_ID_BYTES_MAX + SEALED_BYTES_MAX);
    Bytes id = kms->driver->key_id(kms->state);
    buf_add_char(&out, KMS_FORMAT);
    buf_add_char(&out, (char)kms->driver->kind);
    buf_u16(&out, (uint16_t)id.len);
    buf_add_bytes(&out, id.ptr, id.len);
    buf_add_bytes(&out, sealed.ptr, sealed.len);
    if (buf_overflowed(&out))
        die("a wrapped key is larger than its limit");
    return arena_bytes(arena, str_bytes(buf_str(&out)));
}

static Err cannot_unwrap(void)
{
    return FAIL(ERR_SEALED, "cannot-unwrap", "The wrapped key cannot be opened.");
}

/* The head must name this very KMS key: a blob of another is refused before the KMS is asked. */
static Err without_head(const Kms *kms, Bytes wrapped, Bytes *ret_sealed)
{
    Reader reader = reader_of(wrapped);
    Bytes own = kms->driver->key_id(kms->state);
    uint8_t format = read_u8(&reader), kind = read_u8(&reader);
    Bytes id = read_bytes(&reader, read_u16(&reader));
    if (reader.failed || format != KMS_FORMAT || kind != kms->driver->kind || !bytes_eq(id, own) ||
        reader.len > SEALED_BYTES_MAX)
        return cannot_unwrap();
    *ret_sealed = (Bytes){ .ptr = reader.ptr, .len = reader.len };
    return OK;
}

Err kms_wrap(Kms *kms, Arena *arena, KmsContext context, const Secret *key, Bytes *ret_wrapped)
{
    Bytes sealed;
    TRY(kms->driver->wrap(kms->state, arena, context, key, &sealed));
    *ret_wrapped = with_head(kms, arena, sealed);
    return OK;
}

Err kms_generate(Kms *kms, Arena *arena, KmsContext context, Secret *ret_key, Bytes *ret_wrapped)
{
    _cleanup_(secret_release) Secret key = { 0 };
    Bytes sealed;
    if (kms->driver->generate != NULL) {
        TRY(kms->driver->generate(kms->state, arena, context, &key, &sealed));
    } else {
        key = secret_random(KEY_BYTES);
        TRY(kms->driver->wrap(kms->state, arena, context, &key, &sealed));
    }
    *ret_wrapped = with_head(kms, arena, sealed);
    *ret_key = TAKE(key);
    return OK;
}

Err kms_unwrap(Kms *kms, KmsContext context, Bytes wrapped, Secret *ret_key)
{
    Bytes sealed;
    _cleanup_(secret_release) Secret key = { 0 };
    TRY(without_head(kms, wrapped, &sealed));
    TRY(kms->driver->unwrap(kms->state, context, sealed, &key));
    if (key.len != KEY_BYTES)
        return cannot_unwrap();
    *ret_key = TAKE(key);
    return OK;
}

Err kms_rewrap(Kms *from, Kms *to, Arena *arena, KmsContext context, Bytes wrapped, Bytes *ret_wrapped)
{
    _cleanup_(secret_release) Secret key = { 0 };
    TRY(kms_unwrap(from, context, wrapped, &key));
    return kms_wrap(to, arena, context, &key, ret_wrapped);
}

void kms_describe(const Kms *kms, KmsDescription *ret_description)
{
    *ret_description = (KmsDescription){ .kind = str_from_c(kms->driver->scheme) };
    kms->driver->describe(kms->state, ret_description);
}

Err kms_health(Kms *kms)
{
    return kms->driver->health(kms->state);
}
