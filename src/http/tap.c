/*
 * tap.c: the one place where libmicrohttpd's reads are taken over.
 *
 * The library has no hook for its input, and what it has parsed cannot be told from what was sent (a bare LF, a value
 * cut at a NUL, a folded field all look well formed afterwards). But it reads with recv(2), and with gnutls_record_recv
 * under TLS, both by the dynamic linker; so a program that links this floor's server defines the two. Outside a call
 * into our daemon (a thread-local says so) they are the libraries' own.
 *
 * Should this file ever be without effect (another build of the library, a static one), nothing is served: a request
 * that libmicrohttpd announces and the guard has not read is closed unanswered (server.c), and a test says so.
 */
#undef _FORTIFY_SOURCE /* whose inline recv could not be defined here */
#include <errno.h>
#include <sys/socket.h>

#include "server_parts.h"

static _Thread_local Server *entered;

void tap_enter(Server *server)
{
    entered = server;
}

void tap_leave(void)
{
    entered = NULL;
}

Server *tap_server(void)
{
    return entered;
}

/* The library's callbacks run strangers' code of ours (handlers, TLS): their reads are their own. */
static Connection *tapped(int fd, bool is_tls)
{
    Server *server = entered;
    if (server == NULL || (server->tls != NULL) != is_tls)
        return NULL;
    return connection_of_fd(server, fd);
}

__attribute__((visibility("default"))) ssize_t recv(int fd, void *ptr, size_t len, int flags)
{
    Connection *connection = tapped(fd, false);
    if (connection == NULL)
        return recvfrom(fd, ptr, len, flags, NULL, NULL);
    return connection_read(connection, ptr, len);
}

__attribute__((visibility("default"))) ssize_t gnutls_record_recv(gnutls_session_t session, void *ptr, size_t len)
{
    unsigned char sequence[8];
    Connection *connection = tapped(gnutls_transport_get_int(session), true);
    if (connection == NULL)
        return gnutls_record_recv_seq(session, ptr, len, sequence);
    ssize_t got = connection_read(connection, ptr, len);
    if (got >= 0)
        return got;
    if (errno == EINTR)
        return GNUTLS_E_INTERRUPTED;
    return errno == EAGAIN ? GNUTLS_E_AGAIN : GNUTLS_E_PREMATURE_TERMINATION;
}
