/*
 * driver.h: what each KMS gives the floor: one row of functions. Private to src/kms.
 */
#ifndef KMS_DRIVER_H
#define KMS_DRIVER_H

#include "kms/kms.h"

typedef struct KmsDriver {
    const char *scheme; /* "local" */
    KmsKind kind;
    CHECKED Err (*open)(Arena *arena, Str name, const KmsLocal *local, void **ret_state);
    void (*release)(void *state);
    /* sealed: what the KMS makes, without the head that names it. generate NULL: made here, then wrapped. */
    CHECKED Err (*generate)(void *state, Arena *arena, KmsContext context, Secret *ret_key, Bytes *ret_sealed);
    CHECKED Err (*wrap)(void *state, Arena *arena, KmsContext context, const Secret *key, Bytes *ret_sealed);
    CHECKED Err (*unwrap)(void *state, KmsContext context, Bytes sealed, Secret *ret_key);
    Bytes (*key_id)(const void *state);
    void (*describe)(const void *state, KmsDescription *ret_description);
    CHECKED Err (*health)(void *state);
} KmsDriver;

extern const KmsDriver KMS_LOCAL_DRIVER;

#endif
