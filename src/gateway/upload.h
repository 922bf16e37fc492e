/*
 * upload.h: the thread that carries events from the spool to the control plane.
 *
 * Batches of CloudEvents, a verdict for each. What was stored, was there already or waits in quarantine is acknowledged
 * and leaves the spool; what is refused for ever is set aside in a file. While the control plane is away the events
 * wait on disk and the thread knocks with growing pauses. Sending a batch twice is harmless: ids decide.
 */
#ifndef GATEWAY_UPLOAD_H
#define GATEWAY_UPLOAD_H

#include "gateway/spool.h"
#include "metrics.h"
#include "gateway/truth.h"

#define UPLOAD_EVENTS_MAX 200
#define UPLOAD_BYTES_MAX ((size_t)512 * 1024)

typedef struct Uploader Uploader;

typedef struct UploadOptions {
    Spool *spool;
    Truth truth;
    Str ca_pem;
    bool allow_private;
    int64_t every_us; /* how long events may gather */
} UploadOptions;

Uploader *upload_start(const UploadOptions *options);
/* Tries for at most within_us to empty the spool, then ends the thread. */
void upload_stop(Uploader **uploader, int64_t within_us);
UploadStats upload_stats(Uploader *uploader);

#endif
