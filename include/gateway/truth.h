/*
 * truth.h: what the gateway asks of libreeve, as a table of functions, so that a call can be tested against a snapshot
 * that a test made up.
 *
 * The gateway decides nothing about keys, projects, releases or freshness itself: it asks here.
 */
#ifndef GATEWAY_TRUTH_H
#define GATEWAY_TRUTH_H

#include "reeve/reeve.h"

typedef struct Truth {
    void *arg;
    const ReeveSnapshot *(*acquire)(void *arg);
    void (*release)(void *arg, const ReeveSnapshot *snapshot);
    int64_t (*hard_expiry_us)(const ReeveSnapshot *snapshot);
    const ReeveClientKey *(*client_key)(const ReeveSnapshot *snapshot, const uint8_t digest[32]);
    const ReeveWorkflow *(*workflow)(const ReeveProject *project, const char *name, size_t name_len);
    ReeveResult (*secret_open)(void *arg, const ReeveSnapshot *snapshot, const ReeveConnection *connection,
        const char *origin, uint8_t *out, size_t out_size, size_t *ret_len, int64_t *ret_version);
    void (*status)(void *arg, ReeveStatus *ret_status);
    ReeveResult (*access_token)(void *arg, char *out, size_t out_size);
    ReeveResult (*control_url)(void *arg, char *out, size_t out_size);
} Truth;

Truth truth_of_reeve(Reeve *reeve);

#endif
