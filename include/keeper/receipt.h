/*
 * receipt.h: what the keeper writes down about every operation, before it answers.
 *
 * Receipts are numbered from 1 in each boot of the keeper and chained: each holds the head before it, and the head
 * behind it is the digest of its bytes. The first of a boot holds the digest of the boot's record, which itself names
 * the last boot, its count and its head. Whoever keeps the receipts can see a missing, changed or reordered one.
 */
#ifndef KEEPER_RECEIPT_H
#define KEEPER_RECEIPT_H

#include "keeper/message.h"

#define RECEIPTS_TYP "reeve-receipts+jws"
typedef struct Receipt {
    Uuid boot;
    int64_t number;   /* 1, 2, 3, ... within the boot */
    int64_t position; /* 1, 2, 3, ... within the journal */
    Time at;
    int64_t operation; /* MessageType */
    int64_t outcome;   /* ErrKind: ERR_NONE when it was done */
    int64_t peer_uid;  /* who asked */
    Uuid org, project, secret;
    int64_t version; /* of the secret or the project key */
    Uuid fleet;
    int64_t generation;
    Uuid data_plane;
    Digest subject; /* of what was made or decided upon: a manifest, a certificate, a statement */
    Digest keys;    /* of a keyring: SHA-256 of the data plane's two public keys; else zero */
    Digest prev;    /* the head before */
} Receipt;

void receipt_write(const Receipt *receipt, Buf *out);
/* ERR_INVALID "receipt-malformed" */
CHECKED Err receipt_parse(Arena *arena, Bytes bytes, Receipt *ret_receipt);
/* The head behind it. */
Digest receipt_head(Bytes bytes);

#endif
