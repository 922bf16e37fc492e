/*
 * vault_keys.c: wrapped project and fleet keys: what they are wrapped for is built from ids, never read from a blob.
 */
#include "vault_parts.h"

static Kms *find_kms(const Vault *v, Str uri)
{
    for (size_t i = 0; i < v->kms.count; i++)
        if (str_eq(kms_uri(v->kms.items[i]), uri))
            return v->kms.items[i];
    return NULL;
}

Err vault_kms(const Vault *v, Str uri, Kms **ret_kms)
{
    *ret_kms = find_kms(v, uri);
    if (*ret_kms == NULL)
        return FAIL(ERR_FORBIDDEN, "kms-not-allowed", "That KMS key is not one that the keeper is allowed to use.");
    return OK;
}

/* What a key is wrapped for, from ids alone: the strings lie in the arena. */
KmsContext vault_project_context(const Vault *v, Arena *arena, Uuid org, Uuid project, int64_t version)
{
    KmsPair *pairs = NEW(arena, KmsPair, 4);
    pairs[0] = (KmsPair){ STR("installation"), v->installation_text };
    pairs[1] = (KmsPair){ STR("org"), typeid_format(arena, STR("org"), org) };
    pairs[2] = (KmsPair){ STR("project"), typeid_format(arena, STR("prj"), project) };
    pairs[3] = (KmsPair){ STR("version"), arena_fmt(arena, "%lld", (long long)version) };
    return (KmsContext){ .items = pairs, .count = 4 };
}

KmsContext vault_fleet_context(const Vault *v, Arena *arena, Uuid fleet, int64_t generation)
{
    KmsPair *pairs = NEW(arena, KmsPair, 3);
    pairs[0] = (KmsPair){ STR("installation"), v->installation_text };
    pairs[1] = (KmsPair){ STR("fleet"), typeid_format(arena, STR("flt"), fleet) };
    pairs[2] = (KmsPair){ STR("generation"), arena_fmt(arena, "%lld", (long long)generation) };
    return (KmsContext){ .items = pairs, .count = 3 };
}

/* The cache's name of a wrapped key: each part with its length, so that no two requests share one. */
static Digest cache_name(Arena *arena, KmsContext context, Str uri, Bytes wrapped)
{
    Buf out = buf_new(2 * MESSAGE_BYTES_MAX);
    for (size_t i = 0; i < context.count; i++) {
        buf_u32(&out, (uint32_t)context.items[i].name.len);
        buf_add(&out, context.items[i].name);
        buf_u32(&out, (uint32_t)context.items[i].value.len);
        buf_add(&out, context.items[i].value);
    }
    buf_u32(&out, (uint32_t)uri.len);
    buf_add(&out, uri);
    buf_add_bytes(&out, wrapped.ptr, wrapped.len);
    Digest name = digest_of(str_bytes(arena_str(arena, buf_str(&out))));
    buf_release(&out);
    return name;
}

static Err unwrap(Vault *v, Arena *arena, KmsContext context, Str uri, Bytes wrapped, Secret *ret_key)
{
    Kms *kms;
    TRY(vault_kms(v, uri, &kms));
    Digest name = cache_name(arena, context, uri, wrapped);
    if (key_cache_get(v->cache, name, monotonic_us(), ret_key))
        return OK;
    TRY(kms_unwrap(kms, context, wrapped, ret_key));
    key_cache_put(v->cache, name, monotonic_us(), ret_key);
    return OK;
}

Err vault_project_key(Vault *v, Arena *arena, const SecretRef *ref, const ProjectKeyRef *key, Secret *ret_key)
{
    KmsContext context = vault_project_context(v, arena, ref->org, ref->project, key->version);
    return unwrap(v, arena, context, key->kms_uri, key->wrapped, ret_key);
}

Err vault_fleet_key(Vault *v, Arena *arena, Uuid fleet, const FleetKeyRef *key, Secret *ret_key)
{
    KmsContext context = vault_fleet_context(v, arena, fleet, key->generation);
    return unwrap(v, arena, context, key->kms_uri, key->wrapped, ret_key);
}

/* --- checks that several operations make --- */

Err vault_bad_request(const char *detail)
{
    return FAIL_STR(ERR_INVALID, "keeper-request", str_from_c(detail));
}

Err vault_check_number(int64_t number)
{
    return number >= 1 && number <= WIRE_INT_MAX ? OK : vault_bad_request("Versions and generations count from 1.");
}

Err vault_check_generation(Vault *v, Uuid fleet, int64_t generation)
{
    TRY(vault_check_number(generation));
    if (uuid_is_zero(fleet))
        return vault_bad_request("A fleet key belongs to a fleet.");
    if (generation < journal_generation(v->journal, fleet))
        return FAIL(ERR_FORBIDDEN, "generation-old", "The fleet has a newer generation; the older one is closed.");
    return OK;
}
