/* truth.c: the table that is libreeve. See truth.h. */
#include "gateway/truth.h"

static const ReeveSnapshot *acquire(void *arg)
{
    return reeve_acquire(arg);
}

static void release(void *arg, const ReeveSnapshot *snapshot)
{
    reeve_release(arg, snapshot);
}

static ReeveResult secret_open(void *arg, const ReeveSnapshot *snapshot, const ReeveConnection *connection,
    const char *origin, uint8_t *out, size_t out_size, size_t *ret_len, int64_t *ret_version)
{
    return reeve_secret_open(arg, snapshot, connection, origin, out, out_size, ret_len, ret_version);
}

static void status(void *arg, ReeveStatus *ret_status)
{
    reeve_status(arg, ret_status);
}

static ReeveResult access_token(void *arg, char *out, size_t out_size)
{
    return reeve_access_token(arg, out, out_size);
}

static ReeveResult control_url(void *arg, char *out, size_t out_size)
{
    return reeve_control_url(arg, out, out_size);
}

Truth truth_of_reeve(Reeve *reeve)
{
    return (Truth){ .arg = reeve,
        .acquire = acquire,
        .release = release,
        .hard_expiry_us = reeve_snapshot_hard_expiry_us,
        .client_key = reeve_client_key,
        .workflow = reeve_workflow,
        .secret_open = secret_open,
        .status = status,
        .access_token = access_token,
        .control_url = control_url };
}
