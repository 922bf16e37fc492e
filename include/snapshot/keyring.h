/*
 * keyring.h: the fleet key of one generation, sealed to one data plane.
 *
 *   JWS (typ reeve-keyring+jws, a key of the root's role `manifest`) over
 *   { v, installation, fleet, generation, data_plane, jwe }
 *   jwe: ECDH-ES + A256GCM, typ reeve-fleet-key+jwe, to the data plane's X25519 key; plaintext: 32 bytes
 *
 * The delivery key of a project is HKDF-SHA256(fleet key, info = "reeve-delivery-1" ‖ org ‖ project); a secret is a JWE
 * (dir, A256GCM, typ reeve-secret+jwe) under it whose header names what it is: SecretPlace.
 */
#ifndef SNAPSHOT_KEYRING_H
#define SNAPSHOT_KEYRING_H

#include "snapshot/manifest.h"

#define KEYRING_TYP "reeve-keyring+jws"
#define FLEET_KEY_TYP "reeve-fleet-key+jwe"
#define SECRET_TYP "reeve-secret+jwe"
#define KEYRING_BYTES_MAX 16384
#define FLEET_KEY_BYTES 32

typedef struct Keyring {
    Uuid installation;
    Uuid fleet;
    int64_t generation;
    Uuid data_plane;
    Str jwe;
} Keyring;

Str keyring_build(Arena *arena, const Keyring *keyring);
/* ERR_INVALID "keyring-malformed", "version-unsupported". */
CHECKED Err keyring_parse(Arena *arena, Str payload, Keyring *ret_keyring);
CHECKED Err keyring_verify(Arena *arena, Str jws, KeySet keys, Keyring *ret_keyring);

/* The 32 bytes under which this project's secrets are sealed for this fleet. */
Secret delivery_key(const Secret *fleet_key, Uuid org, Uuid project);

/* What a sealed secret version is, and where alone it may go. */
typedef struct SecretPlace {
    Uuid org;
    Uuid project;
    Uuid secret;
    int64_t version;
    Str origin;
    Uuid fleet;
    int64_t generation;
    Time not_after; /* none: the version has no end */
} SecretPlace;

/* The bound members of the JWE's header, for jwe_seal_dir and jwe_open_dir; the caller's reference. */
json_t *secret_header(Arena *arena, const SecretPlace *place);

/* The data plane's id, which nobody chooses: UUIDv8 from SHA-256("reeve-dpl" ‖ installation ‖ signing key). */
Uuid data_plane_id(Uuid installation, const PublicKey *sign);

#endif
