/* One origin has one spelling, and what two readers could read differently has none. */
#include "snapshot/origin.h"

#include "check.h"

typedef struct OriginCase {
    const char *url;
    const char *origin; /* NULL: refused */
} OriginCase;

static const OriginCase cases[] = {
    { "https://api.openai.com", "https://api.openai.com" },
    { "https://API.OpenAI.com:443/v1?x=1#y", "https://api.openai.com" },
    { "HTTP://127.0.0.1:9901/", "http://127.0.0.1:9901" },
    { "http://localhost:80", "http://localhost" },
    { "https://[2001:DB8::1]:8443/x", "https://[2001:db8::1]:8443" },
    { "https://my_host-1.example", "https://my_host-1.example" },
    { "https://host:80", "https://host:80" },
    { "ftp://host", NULL },
    { "https:/host", NULL },
    { "host", NULL },
    { "", NULL },
    { "https://", NULL },
    { "https:///path", NULL },
    { "https://user@host", NULL },
    { "https://user:secret@host/", NULL },
    { "https://good.example\\@evil.example", NULL },
    { "https://host:", NULL },
    { "https://host:0", NULL },
    { "https://host:65536", NULL },
    { "https://host:080", NULL },
    { "https://host:+80", NULL },
    { "https://ho%73t", NULL },
    { "https://host.", NULL },
    { "https://.host", NULL },
    { "https://a..b", NULL },
    { "https://-a.b", NULL },
    { "https://2130706433", NULL },
    { "https://127.1", NULL },
    { "https://0x7f.0.0.1", NULL },
    { "https://0177.0.0.1", NULL },
    { "https://1.2.3.256", NULL },
    { "https://1.2.3.4.5", NULL },
    { "https://[::1", NULL },
    { "https://[::1]x", NULL },
    { "https://[fe80::1%25eth0]", NULL },
    { "https://ho st", NULL },
    { " https://host", NULL },
    { "https://h\xc3\xb6st", NULL },
};

static void test_origin_has_one_spelling_or_none(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Str origin = STR("");
        Err err = origin_of_url(arena, str_from_c(cases[i].url), &origin);
        if (cases[i].origin == NULL) {
            if (!err_is(err, "bad-url"))
                fail_msg("%s was accepted as " STR_FMT, cases[i].url, STR_ARG(origin));
            continue;
        }
        if (err.kind != ERR_NONE)
            fail_msg("%s was refused: " STR_FMT, cases[i].url, STR_ARG(err.detail));
        assert_str_is(cases[i].origin, origin);
    }
    arena_free(&arena);
}

static void test_origin_of_an_origin_is_itself(void **state)
{
    (void)state;
    assert_true(origin_is_canonical(STR("https://api.openai.com")));
    assert_false(origin_is_canonical(STR("https://api.openai.com/")));
    assert_false(origin_is_canonical(STR("https://api.openai.com:443")));
    assert_false(origin_is_canonical(STR("https://API.openai.com")));
}

static void test_origin_refuses_a_url_longer_than_its_limit(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    char url[ORIGIN_URL_BYTES_MAX + 2] = "https://host/";
    memset(url + 13, 'a', sizeof url - 13);
    Str origin = STR("");
    assert_err("bad-url", origin_of_url(arena, str_n(url, sizeof url), &origin));
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_origin_has_one_spelling_or_none),
        cmocka_unit_test(test_origin_of_an_origin_is_itself),
        cmocka_unit_test(test_origin_refuses_a_url_longer_than_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
