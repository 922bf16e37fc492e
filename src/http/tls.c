/* tls.c: the server's certificate, replaced while it runs. See server.h. */
#include "server_parts.h"

#include <string.h>

#include "base/config.h"
#include "base/mem.h"

#define KEY_BYTES_MAX ((size_t)(64 * 1024))
#define CHAIN_MAX 8

/* One certificate chain and its key. A handshake may still hold the previous one, so replaced keys live as long as the
 * server: a few kilobytes a reload. */
struct TlsKeys {
    TlsKeys *older;
    gnutls_pcert_st certs[CHAIN_MAX];
    unsigned cert_count;
    gnutls_privkey_t key;
};

static void free_one(TlsKeys *keys)
{
    for (unsigned i = 0; i < keys->cert_count; i++)
        gnutls_pcert_deinit(&keys->certs[i]);
    if (keys->key != NULL)
        gnutls_privkey_deinit(keys->key);
    mem_free(keys);
}

static gnutls_datum_t datum_of(Str text)
{
    return (gnutls_datum_t){ .data = (unsigned char *)(uintptr_t)text.ptr, .size = (unsigned)text.len };
}

static CHECKED Err load(TlsKeys *keys, Str cert_pem, Str key_pem)
{
    gnutls_datum_t cert = datum_of(cert_pem), key = datum_of(key_pem);
    keys->cert_count = CHAIN_MAX;
    if (gnutls_pcert_list_import_x509_raw(keys->certs, &keys->cert_count, &cert, GNUTLS_X509_FMT_PEM, 0) != 0) {
        keys->cert_count = 0;
        return FAIL(ERR_INVALID, "tls-certificate", "The TLS certificate is not a PEM chain of at most 8.");
    }
    if (gnutls_privkey_init(&keys->key) != 0 ||
        gnutls_privkey_import_x509_raw(keys->key, &key, GNUTLS_X509_FMT_PEM, NULL, 0) != 0)
        return FAIL(ERR_INVALID, "tls-key", "The TLS key is not an unencrypted PEM private key.");
    return OK;
}

static bool is_pair(const TlsKeys *keys)
{
    unsigned char of_cert[64], of_key[64];
    size_t cert_len = sizeof(of_cert), key_len = sizeof(of_key);
    gnutls_pubkey_t public_key;
    if (gnutls_pubkey_init(&public_key) != 0)
        return false;
    bool is_same = gnutls_pubkey_get_key_id(keys->certs[0].pubkey, GNUTLS_KEYID_USE_SHA256, of_cert, &cert_len) == 0 &&
                   gnutls_pubkey_import_privkey(public_key, keys->key, 0, 0) == 0 &&
                   gnutls_pubkey_get_key_id(public_key, GNUTLS_KEYID_USE_SHA256, of_key, &key_len) == 0 &&
                   bytes_eq((Bytes){ of_cert, cert_len }, (Bytes){ of_key, key_len });
    gnutls_pubkey_deinit(public_key);
    return is_same;
}

static CHECKED Err read_keys(Str cert_pem, Str key_file, TlsKeys **ret_keys)
{
    _cleanup_(arena_free) Arena *arena = arena_new(); /* wiped: it holds the key's text */
    Str key_pem;
    TRY(file_read(arena, key_file, KEY_BYTES_MAX, &key_pem));
    TlsKeys *keys = MEM_NEW(TlsKeys, 1);
    Err err = load(keys, cert_pem, key_pem);
    if (err.kind == ERR_NONE && !is_pair(keys))
        err = FAIL(ERR_INVALID, "tls-key", "The TLS key does not belong to the certificate.");
    if (err.kind != ERR_NONE) {
        free_one(keys);
        return err;
    }
    *ret_keys = keys;
    return OK;
}

Err tls_keys_add(Server *server, Str cert_pem, Str key_file)
{
    TlsKeys *keys;
    TRY(read_keys(cert_pem, key_file, &keys));
    keys->older = server->tls;
    server->tls = keys;
    return OK;
}

Err server_tls_check(Str cert_pem, Str key_file)
{
    TlsKeys *keys;
    TRY(read_keys(cert_pem, key_file, &keys));
    free_one(keys);
    return OK;
}

void tls_keys_free(Server *server)
{
    while (server->tls != NULL) {
        TlsKeys *keys = server->tls;
        server->tls = keys->older;
        free_one(keys);
    }
}

int tls_keys_retrieve(gnutls_session_t session, const gnutls_datum_t *names, int name_count,
    const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **ret_certs, unsigned *ret_count,
    gnutls_privkey_t *ret_key)
{
    (void)names, (void)name_count, (void)algorithms, (void)algorithm_count;
    Server *server = tap_server();
    if (server == NULL || server->tls == NULL)
        return -1;
    (void)session;
    *ret_certs = server->tls->certs;
    *ret_count = server->tls->cert_count;
    *ret_key = server->tls->key;
    return 0;
}
