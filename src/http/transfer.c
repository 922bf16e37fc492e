/* transfer.c: one request through libcurl: its settings, its callbacks, its timers. See client.h. */
#include "client_parts.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "http/address.h"

/* Up to here libcurl sends head and body in one piece; longer bodies are read as the socket takes them. */
#define ONE_PIECE_BYTES_MAX ((size_t)(60 * 1024))
#define TOTAL_TIMEOUT_US_MAX (15 * 60 * US_PER_S)

static const char *const end_names[TRANSFER_END_COUNT] = {
    [TRANSFER_OK] = "ok",
    [TRANSFER_RESOLVE] = "resolve",
    [TRANSFER_CONNECT] = "connect",
    [TRANSFER_CONNECT_TIMEOUT] = "connect-timeout",
    [TRANSFER_TLS] = "tls",
    [TRANSFER_DENIED] = "denied",
    [TRANSFER_FIRST_BYTE_TIMEOUT] = "first-byte-timeout",
    [TRANSFER_IDLE_TIMEOUT] = "idle-timeout",
    [TRANSFER_TOTAL_TIMEOUT] = "total-timeout",
    [TRANSFER_RESET] = "reset",
    [TRANSFER_MALFORMED] = "malformed",
    [TRANSFER_CANCELLED] = "cancelled",
};

const char *transfer_end_name(TransferEnd end)
{
    return (unsigned)end < TRANSFER_END_COUNT ? end_names[end] : "unknown";
}

/* --- why it ended --- */

typedef struct EndOfCode {
    CURLcode code;
    TransferEnd end;
} EndOfCode;

static const EndOfCode ends[] = {
    { CURLE_OK, TRANSFER_OK },
    { CURLE_COULDNT_RESOLVE_HOST, TRANSFER_RESOLVE },
    { CURLE_COULDNT_CONNECT, TRANSFER_CONNECT },
    { CURLE_SSL_CONNECT_ERROR, TRANSFER_TLS },
    { CURLE_PEER_FAILED_VERIFICATION, TRANSFER_TLS },
    { CURLE_SSL_CERTPROBLEM, TRANSFER_TLS },
    { CURLE_SSL_CIPHER, TRANSFER_TLS },
    { CURLE_SSL_CACERT_BADFILE, TRANSFER_TLS },
    { CURLE_SSL_ISSUER_ERROR, TRANSFER_TLS },
    { CURLE_SSL_INVALIDCERTSTATUS, TRANSFER_TLS },
    { CURLE_GOT_NOTHING, TRANSFER_RESET },
    { CURLE_RECV_ERROR, TRANSFER_RESET },
    { CURLE_SEND_ERROR, TRANSFER_RESET },
    { CURLE_SEND_FAIL_REWIND, TRANSFER_RESET },
    { CURLE_PARTIAL_FILE, TRANSFER_RESET },
    { CURLE_SSL_SHUTDOWN_FAILED, TRANSFER_RESET },
};

TransferEnd transfer_end_of(const Transfer *transfer, CURLcode code)
{
    if (transfer->cause != TRANSFER_OK)
        return transfer->cause;
    if (code == CURLE_OPERATION_TIMEDOUT)
        return transfer->stage <= STAGE_CONNECT ? TRANSFER_CONNECT_TIMEOUT : TRANSFER_TOTAL_TIMEOUT;
    for (size_t i = 0; i < COUNT_OF(ends); i++)
        if (ends[i].code == code)
            return ends[i].end;
    return TRANSFER_MALFORMED;
}

/* --- timers --- */

static int64_t stage_limit_us(const Transfer *transfer)
{
    switch (transfer->stage) {
    case STAGE_CONNECT:
        return transfer->options.connect_timeout_us;
    case STAGE_FIRST_BYTE:
        return transfer->options.first_byte_timeout_us;
    case STAGE_BODY:
        return transfer->is_paused ? 0 : transfer->options.idle_timeout_us;
    case STAGE_SEND:
        return transfer->options.idle_timeout_us;
    default:
        return 0;
    }
}

static TransferEnd stage_end(const Transfer *transfer)
{
    switch (transfer->stage) {
    case STAGE_CONNECT:
        return TRANSFER_CONNECT_TIMEOUT;
    case STAGE_FIRST_BYTE:
        return TRANSFER_FIRST_BYTE_TIMEOUT;
    default:
        return TRANSFER_IDLE_TIMEOUT;
    }
}

static void on_timer(void *arg)
{
    Transfer *transfer = arg;
    int64_t now_us = loop_now_us(transfer->client->loop);
    int64_t limit_us = stage_limit_us(transfer);
    if (now_us - transfer->start_us >= transfer->options.total_timeout_us)
        client_stop_transfer(transfer, TRANSFER_TOTAL_TIMEOUT);
    else if (limit_us > 0 && now_us - transfer->stage_us >= limit_us)
        client_stop_transfer(transfer, stage_end(transfer));
    else
        transfer_begin_timer(transfer);
}

/* The next moment at which something may have run out. Progress does not move the timer: when it fires, it looks how
 * much time is left and goes on. */
void transfer_begin_timer(Transfer *transfer)
{
    int64_t due_us = transfer->start_us + transfer->options.total_timeout_us;
    int64_t limit_us = stage_limit_us(transfer);
    if (limit_us > 0 && transfer->stage_us + limit_us < due_us)
        due_us = transfer->stage_us + limit_us;
    int64_t delay_us = due_us - monotonic_us();
    timer_start(transfer->client->loop, &transfer->timer, delay_us > 0 ? delay_us : 0, on_timer, transfer);
}

static void enter_stage(Transfer *transfer, TransferStage stage)
{
    int64_t old_us = transfer->stage_us + stage_limit_us(transfer);
    transfer->stage = stage;
    transfer->stage_us = monotonic_us();
    if (transfer->stage_us + stage_limit_us(transfer) < old_us || transfer->timer == NULL)
        transfer_begin_timer(transfer);
}

static int64_t since_start_us(const Transfer *transfer)
{
    int64_t us = monotonic_us() - transfer->start_us;
    return us > 0 ? us : 1;
}

/* --- addresses --- */

static bool is_allowed(const Transfer *transfer, AddressClass class)
{
    return address_is_allowed(class, transfer->options.allow_private, transfer->options.allow_metadata);
}

static void stop_now(void *arg)
{
    Transfer *transfer = arg;
    client_stop_transfer(transfer, transfer->cause);
}

/* From a callback: libcurl is told to stop by its return value, but does not always end at once (refused all sockets,
 * it waits for its connect timeout). */
static void stop_for(Transfer *transfer, TransferEnd cause)
{
    if (transfer->cause == TRANSFER_OK)
        loop_defer(transfer->client->loop, stop_now, transfer);
    transfer->cause = cause;
}

/* Called for every address that is tried. A name that leads to a denied one as well as to others is not trusted with
 * the others. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    Transfer *transfer = arg;
    (void)purpose;
    bool is_unix = address->family == AF_UNIX && transfer->options.unix_socket.len > 0;
    if (!is_unix && !is_allowed(transfer, address_class(&address->addr))) {
        stop_for(transfer, TRANSFER_DENIED);
        return CURL_SOCKET_BAD;
    }
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd >= 0)
        client_note_connection(transfer->client, fd);
    return fd;
}

/* Called whenever a request is about to be sent, on a fresh connection or a kept one. */
static int before_sending(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
    Transfer *transfer = arg;
    (void)local_ip, (void)remote_port, (void)local_port;
    /* A kept connection may have been opened for a transfer that was allowed more. */
    if (transfer->options.unix_socket.len == 0 && !is_allowed(transfer, address_class_of_text(remote_ip))) {
        stop_for(transfer, TRANSFER_DENIED);
        return CURL_PREREQFUNC_ABORT;
    }
    bool is_repeatable = strcmp(transfer->options.method, "GET") == 0 || strcmp(transfer->options.method, "HEAD") == 0;
    /* The kept connection died and libcurl would silently send again what the upstream may have executed. */
    if (transfer->sends++ > 0 && !is_repeatable) {
        stop_for(transfer, TRANSFER_RESET);
        return CURL_PREREQFUNC_ABORT;
    }
    transfer->times.connected_us = since_start_us(transfer);
    bool in_one_piece = transfer->options.body.len <= ONE_PIECE_BYTES_MAX;
    if (in_one_piece)
        transfer->times.sent_us = transfer->times.connected_us;
    enter_stage(transfer, in_one_piece ? STAGE_FIRST_BYTE : STAGE_SEND);
    return CURL_PREREQFUNC_OK;
}

/* --- request body --- */

static size_t read_body(char *ptr, size_t size, size_t count, void *arg)
{
    Transfer *transfer = arg;
    Str rest = str_skip(transfer->options.body, transfer->body_sent);
    size_t n = rest.len < size * count ? rest.len : size * count;
    memcpy(ptr, rest.ptr, n);
    transfer->body_sent += n;
    if (transfer->stage == STAGE_SEND)
        transfer->stage_us = monotonic_us();
    if (n == rest.len && transfer->stage == STAGE_SEND) {
        transfer->times.sent_us = since_start_us(transfer);
        enter_stage(transfer, STAGE_FIRST_BYTE);
    }
    return n;
}

/* --- response --- */

static void wipe_secret(Transfer *transfer)
{
    if (transfer->secret_line.len > 0)
        explicit_bzero((char *)(uintptr_t)transfer->secret_line.ptr, transfer->secret_line.len);
    transfer->secret_line = transfer->secret = (Str){ 0 };
}

/* libcurl keeps the fields of a response with its handle, and the TLS library the last record with its connection: when
 * the secret came back in a field, or may have in a trailer (by then it is wiped here), neither is used again. */
static void look_for_secret(Transfer *transfer, Str line)
{
    if (!transfer->had_secret || (!transfer->headers_done && !str_contains(line, transfer->secret)))
        return;
    transfer->is_tainted = true;
    curl_easy_setopt(transfer->easy, CURLOPT_FORBID_REUSE, 1L);
}

static void head_is_complete(Transfer *transfer)
{
    long status = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200) {
        transfer->response_count = 0; /* an interim response: the real one follows */
        return;
    }
    transfer->status = (int)status;
    transfer->headers_done = true;
    wipe_secret(transfer);
    enter_stage(transfer, STAGE_BODY);
    if (transfer->options.on_headers != NULL)
        transfer->options.on_headers(transfer, transfer->status, transfer->options.arg);
}

static void add_response_header(Transfer *transfer, Str line)
{
    Str name, value;
    if (!str_cut(line, ':', &name, &value))
        return; /* the status line */
    if (transfer->response_count == transfer->response_room) {
        size_t room = transfer->response_room + 32;
        transfer->response = mem_grow(transfer->response, transfer->response_room, room, sizeof(Header));
        transfer->response_room = room;
    }
    transfer->response[transfer->response_count++] =
        (Header){ .name = arena_str(transfer->arena, name), .value = arena_str(transfer->arena, str_trim(value)) };
}

static size_t on_header(char *ptr, size_t size, size_t count, void *arg)
{
    Transfer *transfer = arg;
    Str line = str_n(ptr, size * count);
    size_t bytes_max = transfer->options.header_bytes_max;
    look_for_secret(transfer, line);
    if (transfer->headers_done)
        return size * count; /* trailers: nobody reads them */
    if (transfer->times.first_byte_us == 0)
        transfer->times.first_byte_us = since_start_us(transfer);
    transfer->response_bytes += line.len;
    if (transfer->response_bytes > bytes_max || transfer->response_count == RESPONSE_HEADERS_MAX) {
        stop_for(transfer, TRANSFER_MALFORMED);
        return 0;
    }
    while (line.len > 0 && (line.ptr[line.len - 1] == '\n' || line.ptr[line.len - 1] == '\r'))
        line.len--;
    if (line.len == 0)
        head_is_complete(transfer);
    else
        add_response_header(transfer, line);
    return size * count;
}

static size_t on_body(char *ptr, size_t size, size_t count, void *arg)
{
    Transfer *transfer = arg;
    transfer->stage_us = monotonic_us();
    if (transfer->options.on_data == NULL)
        return size * count;
    if (transfer->options.on_data(
            transfer, (Bytes){ .ptr = (const uint8_t *)ptr, .len = size * count }, transfer->options.arg))
        return size * count;
    transfer->is_paused = true;
    return CURL_WRITEFUNC_PAUSE;
}

/* --- settings --- */

static curl_socket_t close_socket(void *arg, curl_socket_t fd)
{
    client_forget_socket(arg, fd);
    return close(fd);
}

/* What holds for every transfer. */
static void set_fixed(Transfer *transfer)
{
    CURL *easy = transfer->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* an environment's proxy would see what the address policy does not */
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* else removing a handle waits for its name to resolve */
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, 25L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 8L * 1024);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, transfer->client);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, before_sending);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, read_body);
    curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
}

static void set_method(Transfer *transfer)
{
    CURL *easy = transfer->easy;
    const TransferOptions *options = &transfer->options;
    bool is_get = strcmp(options->method, "GET") == 0, is_head = strcmp(options->method, "HEAD") == 0;
    bool has_body = options->body.len > 0 || strcmp(options->method, "POST") == 0 ||
                    strcmp(options->method, "PUT") == 0 || strcmp(options->method, "PATCH") == 0;
    curl_easy_setopt(easy, CURLOPT_NOBODY, is_head ? 1L : 0L);
    if (has_body) {
        bool in_one_piece = options->body.len <= ONE_PIECE_BYTES_MAX;
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)options->body.len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
            !in_one_piece               ? NULL
            : options->body.ptr == NULL ? ""
                                        : options->body.ptr);
    } else if (!is_head)
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    bool is_plain = is_get || is_head || strcmp(options->method, "POST") == 0;
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, is_plain && !(is_get && has_body) ? NULL : options->method);
}

static bool is_clean(Str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return false;
    return true;
}

static void add_line(Transfer *transfer, Str line)
{
    struct curl_slist *node = NEW(transfer->arena, struct curl_slist, 1);
    node->data = (char *)(uintptr_t)line.ptr;
    node->next = transfer->headers;
    transfer->headers = node;
}

/* "name: value" with the prefix before the value; made for every header of every request, so without printf. */
static Str line_of(Arena *arena, Str name, Str prefix, Str value)
{
    const Str parts[] = { name, STR(": "), prefix, value };
    char *line = NEW(arena, char, name.len + 2 + prefix.len + value.len + 1), *at = line;
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        if (parts[i].len > 0)
            memcpy(at, parts[i].ptr, parts[i].len);
        at += parts[i].len;
    }
    return str_n(line, (size_t)(at - line));
}

/* What libcurl would add by itself and nobody asked for. */
static void leave_out(Transfer *transfer, Str line)
{
    const TransferOptions *options = &transfer->options;
    for (size_t i = 0; i < options->header_count; i++)
        if (str_eq_nocase(options->headers[i].name, str_first(line, line.len - 1)))
            return;
    add_line(transfer, line);
}

static CHECKED Err add_headers(Transfer *transfer)
{
    const TransferOptions *options = &transfer->options;
    Arena *arena = transfer->arena;
    for (size_t i = 0; i < options->header_count; i++) {
        const Header *header = &options->headers[i];
        if (!is_clean(header->name) || !is_clean(header->value) || header->name.len == 0)
            return FAIL(ERR_INVALID, "bad-header", "A header to be sent has a control character.");
        /* libcurl takes "name:" for "leave it out"; "name;" sends an empty one. */
        add_line(transfer, header->value.len > 0 ? line_of(arena, header->name, STR(""), header->value)
                                                 : arena_fmt(arena, STR_FMT ";", STR_ARG(header->name)));
    }
    leave_out(transfer, STR("Accept:"));
    leave_out(transfer, STR("Expect:"));
    leave_out(transfer, STR("Content-Type:"));
    return OK;
}

static CHECKED Err add_secret(Transfer *transfer)
{
    const TransferOptions *options = &transfer->options;
    Str value = bytes_str(options->secret_value);
    if (options->secret_header.len == 0)
        return OK;
    if (!is_clean(value) || value.len == 0)
        return FAIL(ERR_INVALID, "bad-secret", "The secret is empty or has a control character.");
    transfer->secret_line = line_of(transfer->arena, options->secret_header, options->secret_prefix, value);
    transfer->secret = str_skip(transfer->secret_line, transfer->secret_line.len - value.len);
    transfer->had_secret = true;
    add_line(transfer, transfer->secret_line);
    return OK;
}

static void set_trust(Transfer *transfer)
{
    const TransferOptions *options = &transfer->options;
    if (options->ca_pem.len > 0) {
        struct curl_blob blob = {
            .data = (void *)(uintptr_t)options->ca_pem.ptr, .len = options->ca_pem.len, .flags = CURL_BLOB_COPY
        };
        curl_easy_setopt(transfer->easy, CURLOPT_CAINFO_BLOB, &blob);
        transfer->has_blob = true;
    } else if (transfer->has_blob) {
        curl_easy_setopt(transfer->easy, CURLOPT_CAINFO_BLOB, NULL);
        transfer->has_blob = false;
    }
    curl_easy_setopt(transfer->easy, CURLOPT_UNIX_SOCKET_PATH,
        options->unix_socket.len > 0 ? arena_c(transfer->arena, options->unix_socket) : NULL);
}

Err transfer_prepare(Transfer *transfer, const TransferOptions *options)
{
    transfer->options = *options;
    TransferOptions *own = &transfer->options;
    if (own->method == NULL)
        own->method = own->body.len > 0 ? "POST" : "GET";
    if (own->total_timeout_us <= 0 || own->total_timeout_us > TOTAL_TIMEOUT_US_MAX)
        own->total_timeout_us = TOTAL_TIMEOUT_US_MAX;
    if (own->connect_timeout_us <= 0)
        own->connect_timeout_us = 5 * US_PER_S;
    if (own->header_bytes_max == 0)
        own->header_bytes_max = RESPONSE_HEADER_BYTES_MAX;
    if (!is_clean(own->url) ||
        (!str_starts_with(own->url, STR("http://")) && !str_starts_with(own->url, STR("https://"))))
        return FAIL(
            ERR_INVALID, "bad-url", "The URL must start with http:// or https:// and have no control character.");
    TRY(add_headers(transfer));
    TRY(add_secret(transfer));
    curl_easy_setopt(transfer->easy, CURLOPT_URL, arena_str(transfer->arena, own->url).ptr);
    curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
    set_method(transfer);
    set_trust(transfer);
    /* The caller's copies may go now; the body is borrowed to the end. */
    own->url = own->secret_header = own->secret_prefix = own->ca_pem = (Str){ 0 };
    own->unix_socket = own->unix_socket.len > 0 ? arena_str(transfer->arena, own->unix_socket) : (Str){ 0 };
    own->secret_value = (Bytes){ 0 };
    own->headers = NULL;
    own->header_count = 0;
    return OK;
}

/* --- the pool --- */

#define POOL_MAX 256

Transfer *transfer_take(Client *client)
{
    Transfer *transfer = client->pool;
    if (transfer != NULL) {
        client->pool = transfer->next;
        client->pool_count--;
        transfer->next = NULL;
        return transfer;
    }
    transfer = MEM_NEW(Transfer, 1);
    transfer->client = client;
    transfer->arena = arena_new();
    transfer->easy = curl_easy_init();
    if (transfer->easy == NULL)
        die("out of memory (curl_easy_init)");
    set_fixed(transfer);
    return transfer;
}

void transfer_free(Transfer *transfer)
{
    timer_cancel(&transfer->timer);
    curl_easy_cleanup(transfer->easy);
    arena_free(&transfer->arena);
    mem_free(transfer->response);
    mem_free(transfer);
}

void transfer_give(Transfer *transfer)
{
    Client *client = transfer->client;
    if (client->pool_count >= POOL_MAX || transfer->is_tainted) {
        transfer_free(transfer);
        return;
    }
    timer_cancel(&transfer->timer);
    curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, NULL);
    arena_clear(transfer->arena);
    *transfer = (Transfer){ .client = client,
        .easy = transfer->easy,
        .arena = transfer->arena,
        .response = transfer->response,
        .response_room = transfer->response_room,
        .has_blob = transfer->has_blob,
        .next = client->pool };
    client->pool = transfer;
    client->pool_count++;
}

/* --- reading it --- */

int transfer_status(const Transfer *transfer)
{
    return transfer->status;
}

size_t transfer_headers(const Transfer *transfer, const Header **ret_headers)
{
    *ret_headers = transfer->response;
    return transfer->response_count;
}

Str transfer_header(const Transfer *transfer, Str name)
{
    for (size_t i = 0; i < transfer->response_count; i++)
        if (str_eq_nocase(transfer->response[i].name, name))
            return transfer->response[i].value;
    return (Str){ 0 };
}

TransferTimes transfer_times(const Transfer *transfer)
{
    return transfer->times;
}
