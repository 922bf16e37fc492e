/*
 * journal.h: the keeper's own memory: an append-only file of receipts, and what follows from them.
 *
 *   frame:  length u32 | CRC-32 u32 | type u8 | payload          (length and CRC are of type and payload)
 *   types:  boot, receipt, revoked (data planes of a generation), signed head
 *
 * An operation is answered only when its receipt is durable: receipts that come together share one fdatasync and one
 * signature. A frame cut short at the end of the file was never answered for and is dropped at start; anything else
 * that does not fit (a CRC, the chain) stops the keeper. A journal that cannot be written refuses every operation.
 *
 * From the receipts the journal knows the highest generation of every fleet, who is revoked in it, and which keys each
 * join certificate was used for. What it does not know it has not seen: a lost journal forgets.
 */
#ifndef KEEPER_JOURNAL_H
#define KEEPER_JOURNAL_H

#include "keeper/receipt.h"

typedef struct Journal Journal;

typedef struct JournalHead {
    Uuid boot;
    int64_t count;
    Digest head;
} JournalHead;

/* Replays path and starts a new boot. signer signs heads (kept by the caller, longer than the journal). */
CHECKED Err journal_open(Str path, Uuid installation, const KeyPair *signer, Journal **ret_journal);
void journal_free(Journal **journal);

/* Fills boot, number, position, at and prev; returns when the receipt is durable. revoked: with a new generation. */
CHECKED Err journal_append(Journal *journal, Receipt *receipt, Uuids revoked);
JournalHead journal_head(Journal *journal); /* the durable one */
/* Receipts behind a position, oldest first, and the newest signed head. */
void journal_page(Journal *journal, Arena *arena, int64_t after, Receipts *ret_receipts);

int64_t journal_generation(Journal *journal, Uuid fleet); /* 0: none seen */
Uuids journal_revoked(Journal *journal, Arena *arena, Uuid fleet);
/* The keys (digest) that a join certificate was used for; zero when it was not used. */
Digest journal_certificate(Journal *journal, Uuid fleet, Digest certificate, Uuid *ret_data_plane);

#endif
