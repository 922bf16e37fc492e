/* client.c: libcurl's multi handle in the loop. See client.h and client_parts.h. */
#include "client_parts.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "crypto/wipe.h"

void client_start(void)
{
    crypto_install_wiping_allocators();
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, mem_wiping_malloc, mem_wiping_free, mem_wiping_realloc,
            mem_wiping_strdup, mem_wiping_calloc) != CURLE_OK)
        die("libcurl could not be initialised");
}

/* --- sockets --- */

static Socket *socket_of(Client *client, curl_socket_t fd)
{
    if ((size_t)fd >= client->by_fd_count) {
        size_t count = (size_t)fd + 256;
        client->by_fd = mem_grow(client->by_fd, client->by_fd_count, count, sizeof(Socket *));
        client->by_fd_count = count;
    }
    if (client->by_fd[fd] == NULL) {
        client->by_fd[fd] = MEM_NEW(Socket, 1);
        *client->by_fd[fd] = (Socket){ .client = client, .fd = fd };
    }
    return client->by_fd[fd];
}

void client_note_connection(Client *client, int fd)
{
    socket_of(client, fd)->is_connection = true;
}

void client_forget_socket(Client *client, int fd)
{
    Socket *known = (size_t)fd < client->by_fd_count ? client->by_fd[fd] : NULL;
    if (known == NULL)
        return;
    watch_free(&known->watch);
    mem_free(known);
    client->by_fd[fd] = NULL;
}

static void on_socket_ready(void *arg, uint32_t events)
{
    Socket *ready = arg;
    int running, mask = 0;
    if (!ready->is_wanted) {
        watch_free(&ready->watch);
        ready->events = 0;
        return;
    }
    if ((events & EPOLLIN) != 0)
        mask |= CURL_CSELECT_IN;
    if ((events & EPOLLOUT) != 0)
        mask |= CURL_CSELECT_OUT;
    if ((events & (EPOLLERR | EPOLLHUP)) != 0)
        mask |= CURL_CSELECT_ERR;
    curl_multi_socket_action(ready->client->multi, ready->fd, mask, &running);
}

static void watch_socket(Socket *watched, uint32_t events)
{
    if (watched->events == events)
        return;
    if (watched->watch == NULL)
        watched->watch = watch_new(watched->client->loop, watched->fd, events, on_socket_ready, watched);
    else
        watch_change(watched->watch, events);
    watched->events = events;
}

/* libcurl may have closed it already, which forgot it. */
static void release_socket(Client *client, curl_socket_t fd)
{
    Socket *idle = (size_t)fd < client->by_fd_count ? client->by_fd[fd] : NULL;
    if (idle == NULL)
        return;
    if (!idle->is_connection) {
        client_forget_socket(client, fd);
        return;
    }
    idle->is_wanted = false;
    if (idle->watch != NULL)
        watch_socket(idle, EPOLLIN);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    (void)easy, (void)socket_arg;
    Client *client = arg;
    if (what == CURL_POLL_REMOVE) {
        release_socket(client, fd);
        return 0;
    }
    Socket *wanted = socket_of(client, fd);
    wanted->is_wanted = true;
    watch_socket(wanted,
        ((what & CURL_POLL_IN) != 0 ? (uint32_t)EPOLLIN : 0) | ((what & CURL_POLL_OUT) != 0 ? (uint32_t)EPOLLOUT : 0));
    return 0;
}

static int on_deadline(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    Client *client = arg;
    client->deadline_us = timeout_ms < 0 ? INT64_MAX : timeout_ms == 0 ? 0 : monotonic_us() + timeout_ms * US_PER_MS;
    return 0;
}

/* --- a transfer's end --- */

static void finish(Transfer *transfer, TransferEnd end)
{
    Client *client = transfer->client;
    transfer->stage = STAGE_OVER;
    timer_cancel(&transfer->timer);
    loop_forget(client->loop, transfer);
    long connects = 0;
    if (transfer->is_added) {
        curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
        curl_multi_remove_handle(client->multi, transfer->easy);
        transfer->is_added = false;
    }
    transfer->times.total_us = monotonic_us() - transfer->start_us;
    transfer->times.reused = transfer->times.connected_us > 0 && connects == 0;
    if (transfer->options.on_end != NULL)
        transfer->options.on_end(transfer, end, transfer->options.arg);
    if (transfer->prev != NULL)
        transfer->prev->next = transfer->next;
    else
        client->live = transfer->next;
    if (transfer->next != NULL)
        transfer->next->prev = transfer->prev;
    transfer_give(transfer);
}

static void leave_queue(Transfer *transfer)
{
    Client *client = transfer->client;
    for (size_t i = 0; i < client->queue_count; i++)
        if (client->queue[i] == transfer)
            client->queue[i] = NULL;
}

void client_stop_transfer(Transfer *transfer, TransferEnd end)
{
    leave_queue(transfer);
    finish(transfer, end);
}

static void drain_messages(Client *client)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        Transfer *transfer = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        finish(transfer, transfer_end_of(transfer, message->data.result));
    }
}

/* --- its share of the loop --- */

static int64_t client_deadline_us(void *arg)
{
    const Client *client = arg;
    return client->queue_count > 0 ? 0 : client->deadline_us;
}

static void kick(Client *client)
{
    int running;
    client->deadline_us = INT64_MAX;
    curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

static void client_turn(void *arg)
{
    Client *client = arg;
    if (client->deadline_us != INT64_MAX && client->deadline_us <= loop_now_us(client->loop))
        kick(client);
    drain_messages(client);
}

static void begin(Transfer *transfer)
{
    transfer->stage = STAGE_CONNECT;
    transfer->stage_us = monotonic_us();
    transfer->is_added = true;
    if (curl_multi_add_handle(transfer->client->multi, transfer->easy) != CURLM_OK)
        die("libcurl takes no more transfers");
    transfer_begin_timer(transfer);
}

static void client_dispatch(void *arg)
{
    Client *client = arg;
    if (client->queue_count == 0)
        return;
    for (size_t i = 0; i < client->queue_count; i++)
        if (client->queue[i] != NULL)
            begin(client->queue[i]);
    client->queue_count = 0;
    kick(client);
    /* A provider on a kept connection may have answered already; no event would come for that. */
    drain_messages(client);
}

/* --- life --- */

Err client_new(Loop *loop, unsigned connections_idle_max, Client **ret_client)
{
    Client *client = MEM_NEW(Client, 1);
    client->loop = loop;
    client->deadline_us = INT64_MAX;
    client->multi = curl_multi_init();
    if (client->multi == NULL)
        die("out of memory (curl_multi_init)");
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_deadline);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)connections_idle_max);
    curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    loop_part_add(
        loop, (LoopPart){
                  .deadline_us = client_deadline_us, .turn = client_turn, .dispatch = client_dispatch, .arg = client });
    *ret_client = client;
    return OK;
}

void client_free(Client **client_ptr)
{
    Client *client = TAKE(*client_ptr);
    if (client == NULL)
        return;
    while (client->live != NULL)
        client_stop_transfer(client->live, TRANSFER_CANCELLED);
    loop_part_remove(client->loop, client);
    while (client->pool != NULL) {
        Transfer *transfer = client->pool;
        client->pool = transfer->next;
        transfer_free(transfer);
    }
    curl_multi_cleanup(client->multi);
    for (size_t fd = 0; fd < client->by_fd_count; fd++)
        if (client->by_fd[fd] != NULL) {
            watch_free(&client->by_fd[fd]->watch);
            mem_free(client->by_fd[fd]);
        }
    mem_free(client->by_fd);
    mem_free(client->queue);
    mem_free(client);
}

/* --- transfers --- */

static void enqueue(Client *client, Transfer *transfer)
{
    if (client->queue_count == client->queue_room) {
        size_t room = client->queue_room == 0 ? 64 : client->queue_room * 2;
        client->queue = mem_grow(client->queue, client->queue_room, room, sizeof(Transfer *));
        client->queue_room = room;
    }
    client->queue[client->queue_count++] = transfer;
}

Err transfer_start(Client *client, const TransferOptions *options, Transfer **ret_transfer)
{
    Transfer *transfer = transfer_take(client);
    Err err = transfer_prepare(transfer, options);
    if (err.kind != ERR_NONE) {
        transfer_give(transfer);
        return err;
    }
    transfer->start_us = monotonic_us();
    transfer->next = client->live;
    if (transfer->next != NULL)
        transfer->next->prev = transfer;
    client->live = transfer;
    enqueue(client, transfer);
    if (ret_transfer != NULL)
        *ret_transfer = transfer;
    return OK;
}

static void cancel_now(void *arg)
{
    client_stop_transfer(arg, TRANSFER_CANCELLED);
}

void transfer_cancel(Transfer *transfer)
{
    if (transfer->stage == STAGE_OVER)
        return;
    leave_queue(transfer); /* cancelled at the turn's end, before the dispatch: it never leaves */
    loop_defer(transfer->client->loop, cancel_now, transfer);
}

/* on_data runs inside curl_easy_pause, and may pause again. */
static void resume_now(void *arg)
{
    Transfer *transfer = arg;
    if (!transfer->is_paused)
        return;
    transfer->is_paused = false;
    transfer->stage_us = monotonic_us();
    transfer_begin_timer(transfer);
    Client *client = transfer->client;
    CURLcode code = curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
    if (code != CURLE_OK)
        client_stop_transfer(transfer, transfer_end_of(transfer, code));
    drain_messages(client); /* it may have ended in there */
}

void transfer_resume(Transfer *transfer)
{
    if (transfer->stage != STAGE_OVER && transfer->is_paused)
        loop_defer(transfer->client->loop, resume_now, transfer);
}
