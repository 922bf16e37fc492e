/* The cache of unwrapped keys: time, uses, room. */
#include "support/expect.h"

#include "../../../src/keeper/cache.h"

#include "base/clock.h"

static Digest name_of(const char *text)
{
    return digest_of(str_bytes(str_from_c(text)));
}

static bool has(KeyCache *cache, const char *name, int64_t now_us)
{
    _cleanup_(secret_release) Secret key = { 0 };
    return key_cache_get(cache, name_of(name), now_us, &key);
}

TEST(key_is_found_until_its_time_is_over)
{
    KeyCache *cache = key_cache_new(4, 10, 0);
    _cleanup_(secret_release) Secret key = secret_random(32), found = { 0 };
    key_cache_put(cache, name_of("a"), 0, &key);
    assert_true(key_cache_get(cache, name_of("a"), 9 * US_PER_S, &found));
    assert_true(secret_eq(secret_bytes(&key), secret_bytes(&found)));
    assert_false(has(cache, "b", 0));
    assert_false(has(cache, "a", 10 * US_PER_S));
    assert_false(has(cache, "a", 0)); /* it is gone, not only old */
    key_cache_free(&cache);
}

TEST(key_is_found_as_often_as_it_may_be_used)
{
    KeyCache *cache = key_cache_new(4, 10, 2);
    _cleanup_(secret_release) Secret key = secret_random(32);
    key_cache_put(cache, name_of("a"), 0, &key);
    assert_true(has(cache, "a", 0));
    assert_true(has(cache, "a", 0));
    assert_false(has(cache, "a", 0));
    key_cache_free(&cache);
}

TEST(key_that_ends_first_makes_room)
{
    KeyCache *cache = key_cache_new(2, 10, 0);
    _cleanup_(secret_release) Secret key = secret_random(32);
    key_cache_put(cache, name_of("a"), 0, &key);
    key_cache_put(cache, name_of("b"), 1, &key);
    key_cache_put(cache, name_of("c"), 2, &key);
    assert_false(has(cache, "a", 3));
    assert_true(has(cache, "b", 3));
    assert_true(has(cache, "c", 3));
    key_cache_free(&cache);
}

TEST(cache_of_no_time_keeps_nothing)
{
    KeyCache *cache = key_cache_new(4, 0, 0);
    _cleanup_(secret_release) Secret key = secret_random(32);
    key_cache_put(cache, name_of("a"), 0, &key);
    assert_false(has(cache, "a", 0));
    key_cache_free(&cache);
}

int main(void)
{
    crypto_start();
    const struct CMUnitTest tests[] = {
        RUN(key_is_found_until_its_time_is_over),
        RUN(key_is_found_as_often_as_it_may_be_used),
        RUN(key_that_ends_first_makes_room),
        RUN(cache_of_no_time_keeps_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
