/*
 * keys.h: which keys the provider accepts, and under which digest the journal knows them.
 *
 * Without a list every key is accepted that has not been revoked. A key is looked up by its text and written
 * anywhere else only as the SHA-256 of its bytes in hex.
 */
#ifndef SIM_KEYS_H
#define SIM_KEYS_H

#include "text.h"

#define KEYS_MAX 16384
#define KEY_BYTES_MAX 512
#define KEY_DIGEST_HEX 64

typedef enum KeyState { KEY_UNKNOWN, KEY_ACCEPTED, KEY_REVOKED } KeyState;

typedef struct Key {
    char text[KEY_BYTES_MAX];
    char digest[KEY_DIGEST_HEX + 1];
    KeyState state;
    int64_t requests;
    struct Key *chain;
} Key;

typedef struct Keys Keys;

Keys *keys_new(void);
void keys_free(Keys *keys);

/* The key's entry, made when it is new; NULL when it is empty, too long, or the table is full. */
Key *keys_find(Keys *keys, Text text);
bool keys_accept(const Keys *keys, const Key *key);

/* From now on only listed keys are accepted. */
void keys_add(Keys *keys, Text text);
void keys_revoke(Keys *keys, Text text);
/* One key a line; blank lines and lines that start with # are skipped. Replaces the list. */
bool keys_load(Keys *keys, const char *path);

/* Calls back for every key that was ever seen. */
void keys_each(const Keys *keys, void (*visit)(const Key *key, void *context), void *context);
void keys_forget_counts(Keys *keys);

#endif
