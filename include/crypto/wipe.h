/*
 * wipe.h: OpenSSL's memory is wiped when it is freed.
 *
 * The TLS of outgoing requests copies provider keys through OpenSSL's buffers; without this they stay on the heap.
 */
#ifndef CRYPTO_WIPE_H
#define CRYPTO_WIPE_H

/* Before any other use of OpenSSL in the process, and before threads; a later call has no effect. */
void crypto_install_wiping_allocators(void);

#endif
