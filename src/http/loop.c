/* loop.c: epoll, timers (a binary heap), posts from other threads (a lock-free stack). See loop.h. */
#include "http/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "loop_parts.h"

#define EVENTS_PER_TURN 32 /* what comes later waits for the turn's end: a burst is served in slices */
#define PARTS_MAX 8
#define SLEEP_MS_MAX 60000

typedef struct Post Post;
struct Post {
    Post *next;
    void (*fn)(void *arg);
    void *arg;
};

typedef struct Deferred {
    void (*fn)(void *arg);
    void *arg;
} Deferred;

struct Watch {
    Loop *loop;
    Watch *next_dead;
    int fd; /* -1: freed in this turn */
    void (*fn)(void *arg, uint32_t events);
    void *arg;
};

struct Timer {
    Loop *loop;
    Timer **owner; /* the caller's pointer, cleared before fn runs */
    int64_t due_us;
    size_t index; /* in the heap */
    void (*fn)(void *arg);
    void *arg;
};

struct Loop {
    int epoll_fd;
    int event_fd;
    int64_t now_us;
    _Atomic(Post *) posts; /* newest first */
    atomic_bool stopping;
    Watch *dead;
    Timer **timers; /* a heap: the earliest first */
    size_t timer_count, timer_room;
    Deferred *deferred;
    size_t deferred_first, deferred_count, deferred_room;
    LoopPart parts[PARTS_MAX];
    size_t part_count;
    void (*turn_end)(void *arg);
    void *turn_end_arg;
};

/* --- life --- */

Err loop_new(Loop **ret_loop)
{
    Loop *loop = MEM_NEW(Loop, 1);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN };
    if (loop->epoll_fd < 0 || loop->event_fd < 0 ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->event_fd, &event) != 0) {
        loop_free(&loop);
        return FAIL(ERR_INTERNAL, "loop", "The event loop could not be made: too many open files?");
    }
    loop->now_us = monotonic_us();
    *ret_loop = loop;
    return OK;
}

static void drop_posts(Loop *loop)
{
    Post *post = atomic_exchange(&loop->posts, NULL);
    while (post != NULL) {
        Post *next = post->next;
        mem_free(post);
        post = next;
    }
}

static void free_dead_watches(Loop *loop)
{
    while (loop->dead != NULL) {
        Watch *watch = loop->dead;
        loop->dead = watch->next_dead;
        mem_free(watch);
    }
}

static void heap_remove(Loop *loop, size_t index);

void loop_free(Loop **loop_ptr)
{
    Loop *loop = TAKE(*loop_ptr);
    if (loop == NULL)
        return;
    drop_posts(loop);
    free_dead_watches(loop);
    while (loop->timer_count > 0) {
        Timer *timer = loop->timers[0];
        heap_remove(loop, 0);
        *timer->owner = NULL;
        mem_free(timer);
    }
    mem_free(loop->timers);
    mem_free(loop->deferred);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->event_fd >= 0)
        close(loop->event_fd);
    mem_free(loop);
}

int64_t loop_now_us(const Loop *loop)
{
    return loop->now_us;
}

void loop_on_turn_end(Loop *loop, void (*fn)(void *arg), void *arg)
{
    loop->turn_end = fn;
    loop->turn_end_arg = arg;
}

/* --- from other threads --- */

/* Safe in a signal handler: one write. */
static void wake(Loop *loop)
{
    int saved = errno;
    uint64_t one = 1;
    /* A full counter (EAGAIN) means that a wake-up is already pending. */
    ssize_t written = write(loop->event_fd, &one, sizeof(one));
    (void)written;
    errno = saved;
}

void loop_stop(Loop *loop)
{
    atomic_store(&loop->stopping, true);
    wake(loop);
}

void loop_post(Loop *loop, void (*fn)(void *arg), void *arg)
{
    Post *post = MEM_NEW(Post, 1);
    post->fn = fn;
    post->arg = arg;
    Post *first = atomic_load_explicit(&loop->posts, memory_order_relaxed);
    do
        post->next = first;
    while (
        !atomic_compare_exchange_weak_explicit(&loop->posts, &first, post, memory_order_release, memory_order_relaxed));
    /* Who found the stack empty wakes the loop; the others' posts are taken with the first. The post itself may be
     * served and freed by now. */
    if (first == NULL)
        wake(loop);
}

static void serve_posts(Loop *loop)
{
    Post *newest = atomic_exchange_explicit(&loop->posts, NULL, memory_order_acquire);
    Post *oldest = NULL;
    while (newest != NULL) {
        Post *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        Post post = *oldest;
        mem_free(oldest);
        post.fn(post.arg);
        oldest = post.next;
    }
}

static void serve_event_fd(Loop *loop)
{
    uint64_t count;
    ssize_t got = read(loop->event_fd, &count, sizeof(count));
    (void)got; /* the counter is cleared before the stack is taken, so no wake-up is lost */
    serve_posts(loop);
}

/* --- watches --- */

Watch *watch_new(Loop *loop, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events), void *arg)
{
    Watch *watch = MEM_NEW(Watch, 1);
    *watch = (Watch){ .loop = loop, .fd = fd, .fn = fn, .arg = arg };
    struct epoll_event event = { .events = events, .data.ptr = watch };
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl could not add a socket: %s", strerror(errno));
    return watch;
}

void watch_change(Watch *watch, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = watch };
    if (epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) != 0)
        die("epoll_ctl could not change a socket: %s", strerror(errno));
}

void watch_free(Watch **watch_ptr)
{
    Watch *watch = TAKE(*watch_ptr);
    if (watch == NULL)
        return;
    /* A library may have closed the descriptor already, which took it out of the set. */
    (void)epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->fd = -1;
    watch->next_dead = watch->loop->dead;
    watch->loop->dead = watch;
}

/* --- timers --- */

static void heap_set(Loop *loop, size_t index, Timer *timer)
{
    loop->timers[index] = timer;
    timer->index = index;
}

static void heap_up(Loop *loop, size_t index)
{
    Timer *timer = loop->timers[index];
    while (index > 0 && loop->timers[(index - 1) / 2]->due_us > timer->due_us) {
        heap_set(loop, index, loop->timers[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    heap_set(loop, index, timer);
}

static void heap_down(Loop *loop, size_t index)
{
    Timer *timer = loop->timers[index];
    for (;;) {
        size_t child = index * 2 + 1;
        if (child >= loop->timer_count)
            break;
        if (child + 1 < loop->timer_count && loop->timers[child + 1]->due_us < loop->timers[child]->due_us)
            child++;
        if (loop->timers[child]->due_us >= timer->due_us)
            break;
        heap_set(loop, index, loop->timers[child]);
        index = child;
    }
    heap_set(loop, index, timer);
}

static void heap_remove(Loop *loop, size_t index)
{
    Timer *last = loop->timers[--loop->timer_count];
    if (index == loop->timer_count)
        return;
    heap_set(loop, index, last);
    heap_down(loop, index);
    heap_up(loop, last->index);
}

void timer_start(Loop *loop, Timer **timer_ptr, int64_t delay_us, void (*fn)(void *arg), void *arg)
{
    timer_cancel(timer_ptr);
    Timer *timer = MEM_NEW(Timer, 1);
    *timer = (Timer){ .loop = loop, .owner = timer_ptr, .due_us = monotonic_us() + delay_us, .fn = fn, .arg = arg };
    if (loop->timer_count == loop->timer_room) {
        size_t room = loop->timer_room == 0 ? 64 : loop->timer_room * 2;
        loop->timers = mem_grow(loop->timers, loop->timer_room, room, sizeof(Timer *));
        loop->timer_room = room;
    }
    loop->timer_count++;
    heap_set(loop, loop->timer_count - 1, timer);
    heap_up(loop, loop->timer_count - 1);
    *timer_ptr = timer;
}

void timer_cancel(Timer **timer_ptr)
{
    Timer *timer = *timer_ptr;
    if (timer == NULL)
        return;
    *timer_ptr = NULL;
    heap_remove(timer->loop, timer->index);
    mem_free(timer);
}

static void serve_timers(Loop *loop)
{
    while (loop->timer_count > 0 && loop->timers[0]->due_us <= loop->now_us) {
        Timer timer = *loop->timers[0];
        timer_cancel(timer.owner);
        timer.fn(timer.arg);
    }
}

/* --- deferred calls --- */

void loop_defer(Loop *loop, void (*fn)(void *arg), void *arg)
{
    if (loop->deferred_count == loop->deferred_room) {
        size_t room = loop->deferred_room == 0 ? 256 : loop->deferred_room * 2;
        loop->deferred = mem_grow(loop->deferred, loop->deferred_room, room, sizeof(Deferred));
        loop->deferred_room = room;
    }
    loop->deferred[loop->deferred_count++] = (Deferred){ .fn = fn, .arg = arg };
}

void loop_forget(Loop *loop, void *arg)
{
    for (size_t i = loop->deferred_first; i < loop->deferred_count; i++)
        if (loop->deferred[i].arg == arg)
            loop->deferred[i].fn = NULL;
}

static void serve_deferred(Loop *loop)
{
    while (loop->deferred_first < loop->deferred_count) {
        Deferred call = loop->deferred[loop->deferred_first++];
        if (call.fn != NULL)
            call.fn(call.arg);
    }
    loop->deferred_first = loop->deferred_count = 0;
}

/* --- the turn --- */

void loop_part_add(Loop *loop, LoopPart part)
{
    assert(loop->part_count < PARTS_MAX);
    /* Clients before servers: what a response brings in is replied in the same turn. */
    size_t at = part.dispatch != NULL ? 0 : loop->part_count;
    memmove(&loop->parts[at + 1], &loop->parts[at], (loop->part_count - at) * sizeof(LoopPart));
    loop->parts[at] = part;
    loop->part_count++;
}

void loop_part_remove(Loop *loop, void *arg)
{
    loop_forget(loop, arg);
    for (size_t i = 0; i < loop->part_count; i++)
        if (loop->parts[i].arg == arg) {
            loop->part_count--;
            memmove(&loop->parts[i], &loop->parts[i + 1], (loop->part_count - i) * sizeof(LoopPart));
            return;
        }
}

static int sleep_ms(const Loop *loop)
{
    if (loop->deferred_count > 0)
        return 0;
    int64_t due_us = loop->timer_count > 0 ? loop->timers[0]->due_us : INT64_MAX;
    for (size_t i = 0; i < loop->part_count; i++) {
        int64_t part_us = loop->parts[i].deadline_us(loop->parts[i].arg);
        if (part_us < due_us)
            due_us = part_us;
    }
    if (due_us == INT64_MAX)
        return SLEEP_MS_MAX;
    int64_t left_us = due_us == 0 ? 0 : due_us - monotonic_us();
    if (left_us <= 0)
        return 0;
    int64_t left_ms = (left_us + 999) / 1000;
    return left_ms > SLEEP_MS_MAX ? SLEEP_MS_MAX : (int)left_ms;
}

static void serve_sockets(Loop *loop, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        Watch *watch = events[i].data.ptr;
        if (watch == NULL)
            serve_event_fd(loop);
        else if (watch->fd >= 0)
            watch->fn(watch->arg, events[i].events);
    }
}

static void turn(Loop *loop)
{
    struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(loop->epoll_fd, events, EVENTS_PER_TURN, sleep_ms(loop));
    loop->now_us = monotonic_us();
    serve_sockets(loop, events, count);
    serve_timers(loop);
    for (size_t i = 0; i < loop->part_count; i++)
        loop->parts[i].turn(loop->parts[i].arg);
    serve_deferred(loop);
    if (loop->turn_end != NULL)
        loop->turn_end(loop->turn_end_arg);
    for (size_t i = 0; i < loop->part_count; i++)
        if (loop->parts[i].dispatch != NULL)
            loop->parts[i].dispatch(loop->parts[i].arg);
    free_dead_watches(loop);
}

void loop_run(Loop *loop)
{
    while (!atomic_load(&loop->stopping))
        turn(loop);
    /* What was posted before the stop still runs: its owners wait for it. */
    serve_posts(loop);
    serve_deferred(loop);
    atomic_store(&loop->stopping, false);
}
