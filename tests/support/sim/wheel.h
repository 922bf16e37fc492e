/*
 * wheel.h: timers in slots of a millisecond. Arming, moving and disarming one costs a few instructions, which is what
 * thousands of streams that wait for their next token need.
 */
#ifndef SIM_WHEEL_H
#define SIM_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#define WHEEL_SLOTS 4096

typedef struct Timer {
    struct Timer *next, *prev; /* NULL when not armed */
    int64_t due_ms;
} Timer;

typedef struct Wheel {
    Timer slots[WHEEL_SLOTS]; /* heads of rings */
    int64_t now_ms;           /* all timers due until then have fired */
    int64_t armed;
} Wheel;

void wheel_init(Wheel *wheel, int64_t now_ms);
void wheel_arm(Wheel *wheel, Timer *timer, int64_t due_ms);
void wheel_disarm(Wheel *wheel, Timer *timer);

/* Milliseconds until a timer may be due: 0 = at once, -1 = never. */
int wheel_wait(const Wheel *wheel, int64_t now_ms);

/* The next timer that is due, disarmed; NULL when there is none. Call until NULL. */
Timer *wheel_fire(Wheel *wheel, int64_t now_ms);

#endif
