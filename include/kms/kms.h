/*
 * kms.h: what wraps our keys: one interface, one file per KMS, chosen by the scheme of a URI ("local:default").
 *
 * Every operation has a context of named strings (opaque ids only: a cloud KMS writes them to its log in the clear); a
 * key unwraps only under the very context it was wrapped under.
 *
 *   wrapped:  format(1) | KMS kind(1) | key id length(2) | key id | what the KMS made
 *
 *     TRY(kms_open(uri, &local, &kms));
 *     TRY(kms_generate(kms, arena, context, &key, &wrapped));      // a new key and its wrapped form
 *     TRY(kms_unwrap(kms, context, wrapped, &key));
 *
 * Calls may block (a cloud answers when it answers) and may be made from several threads at once.
 * Errors: ERR_SEALED "cannot-unwrap" (another key, context, or a forgery: never retried), ERR_UNAVAILABLE
 * "kms-unavailable" (for now), ERR_FORBIDDEN "kms-denied" and ERR_INVALID "kms-config" (until a person acts).
 */
#ifndef KMS_KMS_H
#define KMS_KMS_H

#include "crypto/envelope.h"

#define KMS_FORMAT 1
#define KMS_KEY_ID_BYTES_MAX 256
#define KMS_CONTEXT_MAX 8

typedef enum KmsKind { KMS_LOCAL = 1, KMS_KIND_COUNT } KmsKind;

typedef struct KmsPair {
    Str name;
    Str value;
} KmsPair;

typedef struct KmsContext {
    const KmsPair *items;
    size_t count;
} KmsContext;

/* What a local KMS is made of: exactly one of the two files, and for a passphrase its salt. */
typedef struct KmsLocal {
    Str root_key_file; /* 43 characters of base64url: 256 random bits; mode 0600 */
    Str passphrase_file;
    uint8_t salt[PASSPHRASE_SALT_BYTES];
} KmsLocal;

typedef struct KmsDescription {
    Str kind;     /* "local" */
    Str key_id;   /* text for people */
    Str warning;  /* empty, or a sentence for readiness */
    Digest check; /* not zero: a value that only this root key gives, for a caller to remember */
} KmsDescription;

typedef struct Kms Kms;

/* local is looked at for "local:" URIs only. */
CHECKED Err kms_open(Str uri, const KmsLocal *local, Kms **ret_kms);
void kms_free(Kms **kms);
Str kms_uri(const Kms *kms);

CHECKED Err kms_generate(Kms *kms, Arena *arena, KmsContext context, Secret *ret_key, Bytes *ret_wrapped);
CHECKED Err kms_wrap(Kms *kms, Arena *arena, KmsContext context, const Secret *key, Bytes *ret_wrapped);
CHECKED Err kms_unwrap(Kms *kms, KmsContext context, Bytes wrapped, Secret *ret_key);
/* From one KMS key to another, under the same context; inside the KMS where it can. */
CHECKED Err kms_rewrap(Kms *from, Kms *to, Arena *arena, KmsContext context, Bytes wrapped, Bytes *ret_wrapped);
void kms_describe(const Kms *kms, KmsDescription *ret_description);
CHECKED Err kms_health(Kms *kms);

/* Writes a new root key file, mode 0600; refuses to replace one. */
CHECKED Err kms_local_new_root_key(Str path);

#endif
