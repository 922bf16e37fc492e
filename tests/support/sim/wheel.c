#include "wheel.h"

#include <stddef.h>

void wheel_init(Wheel *wheel, int64_t now_ms)
{
    wheel->now_ms = now_ms;
    wheel->armed = 0;
    for (int i = 0; i < WHEEL_SLOTS; i++)
        wheel->slots[i].next = wheel->slots[i].prev = &wheel->slots[i];
}

void wheel_arm(Wheel *wheel, Timer *timer, int64_t due_ms)
{
    wheel_disarm(wheel, timer);
    if (due_ms <= wheel->now_ms)
        due_ms = wheel->now_ms + 1;
    Timer *head = &wheel->slots[due_ms % WHEEL_SLOTS];
    timer->due_ms = due_ms;
    timer->next = head;
    timer->prev = head->prev;
    head->prev->next = timer;
    head->prev = timer;
    wheel->armed++;
}

void wheel_disarm(Wheel *wheel, Timer *timer)
{
    if (!timer->next)
        return;
    timer->prev->next = timer->next;
    timer->next->prev = timer->prev;
    timer->next = timer->prev = NULL;
    wheel->armed--;
}

int wheel_wait(const Wheel *wheel, int64_t now_ms)
{
    if (wheel->armed == 0)
        return -1;
    for (int64_t at = wheel->now_ms + 1; at <= wheel->now_ms + WHEEL_SLOTS; at++) {
        const Timer *head = &wheel->slots[at % WHEEL_SLOTS];
        if (head->next != head)
            return at <= now_ms ? 0 : (int)(at - now_ms);
    }
    return WHEEL_SLOTS;
}

static Timer *due_in_slot(Wheel *wheel, int64_t now_ms)
{
    Timer *head = &wheel->slots[wheel->now_ms % WHEEL_SLOTS];
    for (Timer *timer = head->next; timer != head; timer = timer->next) {
        if (timer->due_ms <= now_ms)
            return timer;
    }
    return NULL;
}

Timer *wheel_fire(Wheel *wheel, int64_t now_ms)
{
    if (wheel->armed == 0) {
        wheel->now_ms = now_ms;
        return NULL;
    }
    for (;;) {
        Timer *timer = due_in_slot(wheel, now_ms);
        if (timer) {
            wheel_disarm(wheel, timer);
            return timer;
        }
        if (wheel->now_ms >= now_ms)
            return NULL;
        wheel->now_ms++;
    }
}
