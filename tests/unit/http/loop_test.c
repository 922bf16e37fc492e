/* loop_test.c: posts from many threads, timers, the end of a turn. Run it under the tsan preset as well. */
#include "fixture.h"

#define THREADS 4
#define POSTS 20000

typedef struct World {
    Loop *loop;
    int next[THREADS]; /* of the loop's thread alone */
    int total, misplaced;
} World;

typedef struct Poster {
    World *world;
    int number;
    pthread_t thread;
} Poster;

typedef struct Posted {
    World *world;
    int thread, number;
} Posted;

static void on_post(void *arg)
{
    Posted *posted = arg;
    World *world = posted->world;
    if (world->next[posted->thread]++ != posted->number)
        world->misplaced++;
    if (++world->total == THREADS * POSTS)
        loop_stop(world->loop);
    free(posted);
}

static void *post_many(void *arg)
{
    Poster *poster = arg;
    for (int i = 0; i < POSTS; i++) {
        Posted *posted = malloc(sizeof(*posted));
        *posted = (Posted){ poster->world, poster->number, i };
        loop_post(poster->world->loop, on_post, posted);
    }
    return NULL;
}

static void test_posts_arrive_once_and_in_each_threads_order(void **state)
{
    (void)state;
    World world = { 0 };
    Poster posters[THREADS];
    assert_int_equal(loop_new(&world.loop).kind, ERR_NONE);
    for (int i = 0; i < THREADS; i++) {
        posters[i] = (Poster){ .world = &world, .number = i };
        pthread_create(&posters[i].thread, NULL, post_many, &posters[i]);
    }
    loop_run(world.loop);
    for (int i = 0; i < THREADS; i++)
        pthread_join(posters[i].thread, NULL);
    assert_int_equal(world.total, THREADS * POSTS);
    assert_int_equal(world.misplaced, 0);
    loop_free(&world.loop);
}

/* --- timers --- */

#define TIMERS 500

typedef struct Alarm {
    struct Clockwork *clockwork;
    Timer *timer;
    int64_t due_us;
} Alarm;

typedef struct Clockwork {
    Loop *loop;
    Alarm alarms[TIMERS];
    int fired, early, expected;
} Clockwork;

static void on_alarm(void *arg)
{
    Alarm *alarm = arg;
    Clockwork *clockwork = alarm->clockwork;
    assert_null(alarm->timer);
    clockwork->early += monotonic_us() < alarm->due_us;
    if (++clockwork->fired == clockwork->expected)
        loop_stop(clockwork->loop);
}

static void test_timers_fire_when_due_and_cancelled_ones_do_not(void **state)
{
    (void)state;
    Clockwork *clockwork = calloc(1, sizeof(*clockwork));
    assert_int_equal(loop_new(&clockwork->loop).kind, ERR_NONE);
    unsigned seed = 7;
    for (int i = 0; i < TIMERS; i++) {
        seed = seed * 1103515245 + 12345;
        Alarm *alarm = &clockwork->alarms[i];
        int64_t delay_us = (int64_t)(seed >> 16) % 100000;
        alarm->clockwork = clockwork;
        timer_start(clockwork->loop, &alarm->timer, delay_us, on_alarm, alarm);
        alarm->due_us = monotonic_us() + delay_us - 1000; /* set a moment after the timer was */
    }
    clockwork->expected = TIMERS;
    for (int i = 0; i < TIMERS; i += 3, clockwork->expected--)
        timer_cancel(&clockwork->alarms[i].timer);
    loop_run(clockwork->loop);
    assert_int_equal(clockwork->fired, clockwork->expected);
    assert_int_equal(clockwork->early, 0);
    Timer *left = NULL;
    timer_start(clockwork->loop, &left, 1000000, on_alarm, NULL);
    loop_free(&clockwork->loop); /* frees what still runs */
    assert_null(left);
    free(clockwork);
}

static void post_again(void *arg);

typedef struct Turns {
    Loop *loop;
    int posts, ends;
} Turns;

static void post_again(void *arg)
{
    Turns *turns = arg;
    if (++turns->posts == 10)
        loop_stop(turns->loop);
    else
        loop_post(turns->loop, post_again, turns);
}

static void on_turn_end(void *arg)
{
    ((Turns *)arg)->ends++;
}

static void test_the_hook_runs_at_the_end_of_every_turn(void **state)
{
    (void)state;
    Turns turns = { 0 };
    assert_int_equal(loop_new(&turns.loop).kind, ERR_NONE);
    loop_on_turn_end(turns.loop, on_turn_end, &turns);
    loop_post(turns.loop, post_again, &turns);
    loop_run(turns.loop);
    assert_int_equal(turns.posts, 10);
    assert_true(turns.ends >= 10);
    loop_free(&turns.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_posts_arrive_once_and_in_each_threads_order),
        cmocka_unit_test(test_timers_fire_when_due_and_cancelled_ones_do_not),
        cmocka_unit_test(test_the_hook_runs_at_the_end_of_every_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
