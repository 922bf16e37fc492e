/* address.c: see address.h. */
#include "http/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

typedef struct Range4 {
    uint32_t base;
    unsigned bits;
    AddressClass class;
} Range4;

#define IP4(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

/* The first match counts. */
static const Range4 ranges4[] = {
    { IP4(169, 254, 0, 0), 16, ADDRESS_METADATA },
    { IP4(100, 100, 100, 200), 32, ADDRESS_METADATA }, /* Alibaba Cloud */
    { IP4(168, 63, 129, 16), 32, ADDRESS_METADATA },   /* Azure */
    { IP4(0, 0, 0, 0), 8, ADDRESS_NEVER },
    { IP4(10, 0, 0, 0), 8, ADDRESS_PRIVATE },
    { IP4(100, 64, 0, 0), 10, ADDRESS_PRIVATE },
    { IP4(127, 0, 0, 0), 8, ADDRESS_PRIVATE },
    { IP4(172, 16, 0, 0), 12, ADDRESS_PRIVATE },
    { IP4(192, 0, 0, 0), 24, ADDRESS_NEVER },
    { IP4(192, 168, 0, 0), 16, ADDRESS_PRIVATE },
    { IP4(198, 18, 0, 0), 15, ADDRESS_NEVER },
    { IP4(224, 0, 0, 0), 4, ADDRESS_NEVER },
    { IP4(240, 0, 0, 0), 4, ADDRESS_NEVER },
};

static AddressClass class_of_4(uint32_t ip)
{
    for (size_t i = 0; i < COUNT_OF(ranges4); i++) {
        uint32_t mask = UINT32_MAX << (32 - ranges4[i].bits);
        if ((ip & mask) == ranges4[i].base)
            return ranges4[i].class;
    }
    return ADDRESS_PUBLIC;
}

typedef struct Range6 {
    uint8_t base[16];
    unsigned bits;
    AddressClass class;
    int inner4; /* offset of an IPv4 address that counts instead; -1: none */
} Range6;

static const Range6 ranges6[] = {
    { { [10] = 0xff, [11] = 0xff }, 96, ADDRESS_NEVER, 12 },            /* ::ffff:0:0/96 */
    { { [1] = 0x64, [2] = 0xff, [3] = 0x9b }, 96, ADDRESS_NEVER, 12 },  /* 64:ff9b::/96 */
    { { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 }, 48, ADDRESS_NEVER, -1 },  /* 64:ff9b:1::/48, local NAT64 */
    { { 0x20, 0x02 }, 16, ADDRESS_NEVER, 2 },                           /* 2002::/16 */
    { { 0x20, 0x01, 0x00, 0x00 }, 32, ADDRESS_NEVER, -1 },              /* Teredo */
    { { 0xfd, 0x00, 0x0e, 0xc2, [15] = 0 }, 32, ADDRESS_METADATA, -1 }, /* fd00:ec2::/32, EC2 */
    { { 0xfe, 0x80 }, 10, ADDRESS_METADATA, -1 }, { { 0xfe, 0xc0 }, 10, ADDRESS_NEVER, -1 },
    { { 0xfc }, 7, ADDRESS_PRIVATE, -1 }, { { 0xff }, 8, ADDRESS_NEVER, -1 },
    { { [15] = 1 }, 128, ADDRESS_PRIVATE, -1 }, /* ::1 */
    { { 0 }, 96, ADDRESS_NEVER, -1 },           /* ::, and IPv4-compatible ones */
};

static bool is_in(const uint8_t *ip, const Range6 *range)
{
    unsigned whole = range->bits / 8, rest = range->bits % 8;
    if (memcmp(ip, range->base, whole) != 0)
        return false;
    return rest == 0 || ((ip[whole] ^ range->base[whole]) >> (8 - rest)) == 0;
}

static AddressClass class_of_6(const uint8_t *ip)
{
    for (size_t i = 0; i < COUNT_OF(ranges6); i++) {
        if (!is_in(ip, &ranges6[i]))
            continue;
        if (ranges6[i].inner4 < 0)
            return ranges6[i].class;
        const uint8_t *inner = ip + ranges6[i].inner4;
        return class_of_4(IP4(inner[0], inner[1], inner[2], inner[3]));
    }
    return ADDRESS_PUBLIC;
}

AddressClass address_class(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return class_of_4(ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
    if (address->sa_family == AF_INET6)
        return class_of_6(((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr);
    return ADDRESS_NEVER;
}

AddressClass address_class_of_text(const char *text)
{
    struct in_addr v4;
    struct in6_addr v6;
    char plain[INET6_ADDRSTRLEN];
    if (inet_pton(AF_INET, text, &v4) == 1)
        return class_of_4(ntohl(v4.s_addr));
    size_t len = strcspn(text, "%"); /* a scope is not part of the address */
    if (len >= sizeof(plain))
        return ADDRESS_NEVER;
    memcpy(plain, text, len);
    plain[len] = '\0';
    return inet_pton(AF_INET6, plain, &v6) == 1 ? class_of_6(v6.s6_addr) : ADDRESS_NEVER;
}

bool address_is_allowed(AddressClass class, bool allow_private, bool allow_metadata)
{
    switch (class) {
    case ADDRESS_PUBLIC:
        return true;
    case ADDRESS_PRIVATE:
        return allow_private;
    case ADDRESS_METADATA:
        return allow_metadata;
    default:
        return false;
    }
}
