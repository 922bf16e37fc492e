#include "keys.h"
#include "cache.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096

struct Keys {
    Key *buckets[BUCKETS];
    int count;
    bool listed;
};

Keys *keys_new(void)
{
    Keys *keys = calloc(1, sizeof *keys);
    if (!keys)
        abort();
    return keys;
}

void keys_free(Keys *keys)
{
    if (!keys)
        return;
    for (int i = 0; i < BUCKETS; i++) {
        while (keys->buckets[i]) {
            Key *key = keys->buckets[i];
            keys->buckets[i] = key->chain;
            free(key);
        }
    }
    free(keys);
}

static void digest_hex(Text text, char *ret_hex)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)text.ptr, text.len, digest);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
        snprintf(ret_hex + 2 * i, 3, "%02x", digest[i]);
}

Key *keys_find(Keys *keys, Text text)
{
    if (text.len == 0 || text.len >= KEY_BYTES_MAX)
        return NULL;
    Key **bucket = &keys->buckets[cache_hash(0, text) % BUCKETS];
    for (Key *key = *bucket; key; key = key->chain) {
        if (text_eq(text_of(key->text), text))
            return key;
    }
    if (keys->count == KEYS_MAX)
        return NULL;
    Key *key = calloc(1, sizeof *key);
    if (!key)
        abort();
    text_copy(key->text, sizeof key->text, text);
    digest_hex(text, key->digest);
    key->chain = *bucket;
    *bucket = key;
    keys->count++;
    return key;
}

bool keys_accept(const Keys *keys, const Key *key)
{
    if (!key)
        return false;
    return keys->listed ? key->state == KEY_ACCEPTED : key->state != KEY_REVOKED;
}

void keys_add(Keys *keys, Text text)
{
    Key *key = keys_find(keys, text);
    keys->listed = true;
    if (key)
        key->state = KEY_ACCEPTED;
}

void keys_revoke(Keys *keys, Text text)
{
    Key *key = keys_find(keys, text);
    if (key)
        key->state = KEY_REVOKED;
}

bool keys_load(Keys *keys, const char *path)
{
    char line[KEY_BYTES_MAX + 2];
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    for (int i = 0; i < BUCKETS; i++) {
        for (Key *key = keys->buckets[i]; key; key = key->chain)
            key->state = KEY_UNKNOWN;
    }
    keys->listed = true;
    while (fgets(line, sizeof line, file)) {
        Text text = text_trim(text_of(line));
        if (text.len && text.ptr[0] != '#')
            keys_add(keys, text);
    }
    fclose(file);
    return true;
}

void keys_each(const Keys *keys, void (*visit)(const Key *key, void *context), void *context)
{
    for (int i = 0; i < BUCKETS; i++) {
        for (const Key *key = keys->buckets[i]; key; key = key->chain)
            visit(key, context);
    }
}

void keys_forget_counts(Keys *keys)
{
    for (int i = 0; i < BUCKETS; i++) {
        for (Key *key = keys->buckets[i]; key; key = key->chain)
            key->requests = 0;
    }
}
