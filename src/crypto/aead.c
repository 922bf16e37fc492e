/*
 * aead.c: AES-256-GCM of libcrypto; XChaCha20-Poly1305, Ed25519 and X25519 of libsodium.
 */
#include "aead.h"

#include <openssl/evp.h>
#include <sodium.h>

#include <pthread.h>

/* Fetched once: the look-up by name costs as much as a small decryption. */
static EVP_CIPHER *gcm_cipher;
static pthread_once_t gcm_once = PTHREAD_ONCE_INIT;

static void gcm_fetch(void)
{
    gcm_cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    if (gcm_cipher == NULL)
        die("libcrypto has no AES-256-GCM");
}

static void gcm_context_release(EVP_CIPHER_CTX **context)
{
    EVP_CIPHER_CTX_free(*context); /* wipes the key schedule */
}

static EVP_CIPHER_CTX *gcm_context(void)
{
    pthread_once(&gcm_once, gcm_fetch);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    if (context == NULL)
        die("no memory for a cipher");
    return context;
}

/* libcrypto takes NULL for "this is associated data", so empty plaintext needs an address. */
static const uint8_t *address_of(Bytes bytes)
{
    static const uint8_t nothing[1];
    return bytes.ptr == NULL ? nothing : bytes.ptr;
}

void aes256gcm_seal(const uint8_t *key, const uint8_t *nonce, Str aad, Bytes plain, uint8_t *out, uint8_t *tag)
{
    _cleanup_(gcm_context_release) EVP_CIPHER_CTX *context = gcm_context();
    int len = 0;
    if (EVP_EncryptInit_ex2(context, gcm_cipher, key, nonce, NULL) != 1 ||
        EVP_EncryptUpdate(context, NULL, &len, (const uint8_t *)aad.ptr, (int)aad.len) != 1 ||
        EVP_EncryptUpdate(context, out, &len, address_of(plain), (int)plain.len) != 1 ||
        EVP_EncryptFinal_ex(context, out + len, &len) != 1 ||
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, GCM_TAG_BYTES, tag) != 1)
        die("AES-256-GCM could not encrypt");
}

bool aes256gcm_open(
    const uint8_t *key, const uint8_t *nonce, Str aad, Bytes ciphertext, const uint8_t *tag, uint8_t *out)
{
    _cleanup_(gcm_context_release) EVP_CIPHER_CTX *context = gcm_context();
    int len = 0;
    bool good = EVP_DecryptInit_ex2(context, gcm_cipher, key, nonce, NULL) == 1 &&
                EVP_DecryptUpdate(context, NULL, &len, (const uint8_t *)aad.ptr, (int)aad.len) == 1 &&
                EVP_DecryptUpdate(context, out, &len, address_of(ciphertext), (int)ciphertext.len) == 1 &&
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, GCM_TAG_BYTES, (void *)(uintptr_t)tag) == 1 &&
                EVP_DecryptFinal_ex(context, out + len, &len) == 1;
    if (!good && ciphertext.len > 0)
        sodium_memzero(out, ciphertext.len);
    return good;
}

void xchacha_seal(const uint8_t *key, const uint8_t *nonce, Str aad, Bytes plain, uint8_t *ret_sealed)
{
    crypto_aead_xchacha20poly1305_ietf_encrypt(
        ret_sealed, NULL, plain.ptr, plain.len, (const uint8_t *)aad.ptr, aad.len, NULL, nonce, key);
}

bool xchacha_open(const uint8_t *key, const uint8_t *nonce, Str aad, Bytes sealed, uint8_t *ret_plain)
{
    return crypto_aead_xchacha20poly1305_ietf_decrypt(
               ret_plain, NULL, NULL, sealed.ptr, sealed.len, (const uint8_t *)aad.ptr, aad.len, nonce, key) == 0;
}

void ed25519_sign(const KeyPair *pair, Str message, uint8_t *ret_signature)
{
    if (pair->secret.len != crypto_sign_SECRETKEYBYTES)
        die("a key that cannot sign was asked to");
    crypto_sign_detached(ret_signature, NULL, (const uint8_t *)message.ptr, message.len, pair->secret.ptr);
}

bool ed25519_verify(const uint8_t *public_key, Str message, const uint8_t *signature)
{
    return crypto_sign_verify_detached(signature, (const uint8_t *)message.ptr, message.len, public_key) == 0;
}

bool x25519_agree(const uint8_t *secret, const uint8_t *point, uint8_t *ret_shared)
{
    return crypto_scalarmult(ret_shared, secret, point) == 0;
}
