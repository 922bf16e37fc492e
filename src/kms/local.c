/*
 * local.c: a KMS that is a root key in a file, or a passphrase: for one machine, for trying Reeve, and for tests.
 *
 * From the root key HKDF derives what wraps, what names the key, and a check value that tells one root key from
 * another. It says in its description that it is no KMS: whoever reads the file has every key.
 */
#include "driver.h"

#include "base/config.h"
#include "base/encode.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define ROOT_KEY_BYTES 32
#define ROOT_KEY_TEXT_LEN 43
#define PASSPHRASE_BYTES_MIN 12
#define PASSPHRASE_BYTES_MAX 1024
#define NAME_MAX_LEN 64

typedef struct Local {
    Secret wrapping;
    Uuid key_id;
    Str key_id_text;
    Digest check;
} Local;

static void derive(const Secret *root, const char *label, uint8_t *out, size_t len)
{
    hkdf_sha256(secret_bytes(root), (Bytes){ 0 }, str_bytes(str_from_c(label)), out, len);
}

static Err root_from_file(Str path, Secret *ret_root)
{
    _cleanup_(secret_release) Secret text = { 0 }, root = secret_new(ROOT_KEY_BYTES);
    TRY(secret_from_file(path, ROOT_KEY_TEXT_LEN, &text));
    if (base64url_decode_into(bytes_str(secret_bytes(&text)), root.ptr, root.len).kind != ERR_NONE)
        return FAIL(ERR_INVALID, "kms-config", "A root key file holds 43 characters of base64url and nothing else.");
    *ret_root = TAKE(root);
    return OK;
}

static Err root_from_passphrase(Str path, const uint8_t *salt, Secret *ret_root)
{
    _cleanup_(secret_release) Secret passphrase = { 0 };
    TRY(secret_from_file(path, PASSPHRASE_BYTES_MAX, &passphrase));
    if (passphrase.len < PASSPHRASE_BYTES_MIN)
        return FAIL(ERR_INVALID, "kms-config", "A passphrase for the local KMS has at least 12 characters.");
    *ret_root = secret_from_passphrase(secret_bytes(&passphrase), salt);
    return OK;
}

static Err local_open(Arena *arena, Str name, const KmsLocal *local, void **ret_state)
{
    if (!str_is_name(name) || local == NULL || (local->root_key_file.len > 0) == (local->passphrase_file.len > 0))
        return FAIL(ERR_INVALID, "kms-config", "A local KMS needs either root_key_file or passphrase_file.");
    _cleanup_(secret_release) Secret root = { 0 };
    if (local->root_key_file.len > 0)
        TRY(root_from_file(local->root_key_file, &root));
    else
        TRY(root_from_passphrase(local->passphrase_file, local->salt, &root));
    Local *state = NEW(arena, Local, 1);
    state->wrapping = secret_new(KEY_BYTES);
    derive(&root, "reeve-local-kms-1 wrap", state->wrapping.ptr, KEY_BYTES);
    derive(&root, "reeve-local-kms-1 key id", state->key_id.b, sizeof(state->key_id.b));
    derive(&root, "reeve-local-kms-1 check", state->check.b, sizeof(state->check.b));
    state->key_id_text = hex_encode(arena, BYTES_OF(state->key_id.b));
    *ret_state = state;
    return OK;
}

static void local_release(void *state)
{
    secret_release(&((Local *)state)->wrapping);
}

/* name, value, name, value, ...: the envelope encodes each with its length. */
static Err context_items(KmsContext context, Bytes *items, Context *ret_context)
{
    if (context.count > KMS_CONTEXT_MAX)
        return FAIL(ERR_INTERNAL, "kms-context", "The context of a wrapped key has too many names.");
    for (size_t i = 0; i < context.count; i++) {
        items[2 * i] = str_bytes(context.items[i].name);
        items[2 * i + 1] = str_bytes(context.items[i].value);
    }
    *ret_context = (Context){ .items = items, .count = 2 * context.count };
    return OK;
}

static Err local_wrap(void *state, Arena *arena, KmsContext context, const Secret *key, Bytes *ret_sealed)
{
    const Local *local = state;
    Bytes items[2 * KMS_CONTEXT_MAX];
    Context bound;
    TRY(context_items(context, items, &bound));
    return envelope_seal(arena, &local->wrapping, local->key_id, bound, secret_bytes(key), ret_sealed);
}

static Err local_unwrap(void *state, KmsContext context, Bytes sealed, Secret *ret_key)
{
    const Local *local = state;
    Bytes items[2 * KMS_CONTEXT_MAX];
    Context bound;
    TRY(context_items(context, items, &bound));
    if (envelope_open(&local->wrapping, bound, sealed, ret_key).kind != ERR_NONE)
        return FAIL(ERR_SEALED, "cannot-unwrap", "The wrapped key cannot be opened.");
    return OK;
}

static Bytes local_key_id(const void *state)
{
    return BYTES_OF(((const Local *)state)->key_id.b);
}

static void local_describe(const void *state, KmsDescription *ret_description)
{
    const Local *local = state;
    ret_description->key_id = local->key_id_text;
    ret_description->check = local->check;
    ret_description->warning =
        STR("the local KMS is a file on this machine: whoever reads it can open every secret; use a cloud KMS, an HSM "
            "or a transit engine in production");
}

static Err local_health(void *state __attribute__((unused)))
{
    return OK;
}

const KmsDriver KMS_LOCAL_DRIVER = {
    .scheme = "local",
    .kind = KMS_LOCAL,
    .open = local_open,
    .release = local_release,
    .wrap = local_wrap,
    .unwrap = local_unwrap,
    .key_id = local_key_id,
    .describe = local_describe,
    .health = local_health,
};

Err kms_local_new_root_key(Str path)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(secret_release) Secret root = secret_random(ROOT_KEY_BYTES), text = secret_new(ROOT_KEY_TEXT_LEN + 1);
    base64url_write((char *)text.ptr, secret_bytes(&root));
    text.ptr[ROOT_KEY_TEXT_LEN] = '\n';
    int fd = open(arena_c(arena, path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return FAIL(ERR_INVALID, "kms-config", "The root key file could not be made (it may exist already).");
    bool written = write(fd, text.ptr, text.len) == (ssize_t)text.len && fsync(fd) == 0;
    close(fd);
    if (!written)
        return FAIL(ERR_UNAVAILABLE, "kms-config", "The root key file could not be written.");
    return OK;
}
