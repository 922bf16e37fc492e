/* The queue: a lane that is full holds up nobody but its own. */
#include "support/expect.h"

#include "../../../src/keeper/queue.h"

TEST(items_come_in_order)
{
    Queue queue = { .cap = 1 };
    QueueItem items[3] = { { .lane = NO_LANE }, { .lane = NO_LANE }, { .lane = NO_LANE } };
    for (size_t i = 0; i < COUNT_OF(items); i++)
        queue_push(&queue, &items[i]);
    for (size_t i = 0; i < COUNT_OF(items); i++)
        assert_ptr_equal(queue_take(&queue), &items[i]);
    assert_null(queue_take(&queue));
    assert_int_equal(queue.running, 3);
}

TEST(full_lane_lets_others_pass)
{
    Queue queue = { .cap = 2 };
    QueueItem slow[4] = { { 0 }, { 0 }, { 0 }, { 0 } }, other = { .lane = 1 }, none = { .lane = NO_LANE };
    for (size_t i = 0; i < COUNT_OF(slow); i++)
        queue_push(&queue, &slow[i]);
    queue_push(&queue, &other);
    queue_push(&queue, &none);
    assert_ptr_equal(queue_take(&queue), &slow[0]);
    assert_ptr_equal(queue_take(&queue), &slow[1]);
    assert_ptr_equal(queue_take(&queue), &other); /* past the two that wait */
    assert_ptr_equal(queue_take(&queue), &none);
    assert_null(queue_take(&queue));
    assert_int_equal(queue.waiting, 2);
    queue_done(&queue, &slow[1]);
    assert_ptr_equal(queue_take(&queue), &slow[2]);
    assert_null(queue_take(&queue));
    queue_done(&queue, &slow[0]);
    assert_ptr_equal(queue_take(&queue), &slow[3]);
    assert_null(queue_take(&queue));
    assert_int_equal(queue.waiting, 0);
}

TEST(queue_is_whole_after_its_last_was_taken_from_the_middle)
{
    Queue queue = { .cap = 1 };
    QueueItem a = { .lane = 0 }, b = { .lane = 0 }, c = { .lane = NO_LANE }, d = { .lane = NO_LANE };
    queue_push(&queue, &a);
    queue_push(&queue, &b);
    queue_push(&queue, &c);
    assert_ptr_equal(queue_take(&queue), &a);
    assert_ptr_equal(queue_take(&queue), &c); /* the last goes, b stays */
    queue_push(&queue, &d);
    assert_ptr_equal(queue_take(&queue), &d);
    queue_done(&queue, &a);
    assert_ptr_equal(queue_take(&queue), &b);
    queue_push(&queue, &a);
    queue_done(&queue, &b);
    assert_ptr_equal(queue_take(&queue), &a);
    assert_null(queue_take(&queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(items_come_in_order),
        RUN(full_lane_lets_others_pass),
        RUN(queue_is_whole_after_its_last_was_taken_from_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
