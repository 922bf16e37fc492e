/*
 * address.h: which network addresses a transfer may connect to, by class, whatever name led there.
 *
 * IPv4 addresses inside IPv6 ones (mapped, NAT64, 6to4) are judged as what they stand for.
 */
#ifndef HTTP_ADDRESS_H
#define HTTP_ADDRESS_H

#include <sys/socket.h>

#include "base/err.h"

typedef enum AddressClass {
    ADDRESS_PUBLIC,
    ADDRESS_PRIVATE,  /* loopback, RFC 1918, RFC 6598, unique local */
    ADDRESS_METADATA, /* link-local, and the clouds' well-known metadata addresses */
    ADDRESS_NEVER,    /* unspecified, multicast, reserved, and what is not IP */
} AddressClass;

AddressClass address_class(const struct sockaddr *address);
AddressClass address_class_of_text(const char *text); /* ADDRESS_NEVER when it is not a numeric address */
bool address_is_allowed(AddressClass class, bool allow_private, bool allow_metadata);

#endif
