/* document_test.c: JSON within limits, field tables, YAML and configuration. */
#include "support/check.h"

#include "base/config.h"
#include "base/json.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static Arena *arena;

static int open_arena(void **state)
{
    (void)state;
    json_start();
    arena = arena_new();
    return 0;
}

static int close_arena(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static Err parse(const char *text)
{
    _cleanup_(json_release) json_t *value = NULL;
    return json_parse(str_from_c(text), JSON_LIMITS_ADMIN, &value);
}

TEST(json_that_is_hostile_is_refused_by_name)
{
    CHECK_OK(parse("{\"a\":[1,2,{\"b\":\"c\\\"d\"}]}"));
    CHECK_ERR(parse("{\"a\":1,\"a\":2}"), "json-duplicate-member");
    CHECK_ERR(parse("{\"a\":\"\xff\"}"), "json-not-utf8");
    CHECK_ERR(parse("{\"a\":1"), "json-malformed");
    CHECK_ERR(parse("{\"a\":1}}"), "json-malformed");
    CHECK_ERR(parse("{\"a\":1} x"), "json-malformed");
    CHECK_ERR(parse("{\"a"), "json-malformed");
    CHECK_ERR(parse("{\"a\":NaN}"), "json-malformed");
    CHECK_ERR(parse("{\"a\":\"\\u0000\"}"), "json-malformed");
    CHECK_ERR(parse(""), "json-malformed");
    CHECK_ERR(parse("\"text\""), "json-malformed");
    char deep[100];
    memset(deep, '[', sizeof(deep));
    deep[99] = '\0';
    CHECK_ERR(parse(deep), "json-too-deep");
}

TEST(json_limits_count_bytes_and_members)
{
    _cleanup_(json_release) json_t *value = NULL;
    JsonLimits tight = { .bytes_max = 20, .depth_max = 3, .tokens_max = 5 };
    CHECK_ERR(json_parse(STR("[                        ]"), tight, &value), "json-too-large");
    CHECK_ERR(json_parse(STR("[1,1,1,1,1,1]"), tight, &value), "json-too-many-members");
    CHECK_OK(json_parse(STR("[\",,,,,,,,\"]"), tight, &value));
}

typedef struct Target {
    Str model;
    int64_t weight;
} Target;
static const Field target_fields[] = {
    FIELD(Target, model, .required = true, .min = 1, .max = 20),
    FIELD(Target, weight, .min = 1, .max = 100),
};
static const FieldTable TARGET_FIELDS = FIELD_TABLE(Target, target_fields);

typedef struct Sample {
    Uuid id;
    Str name;
    Str kind;
    Strs tags;
    bool on;
    int64_t count;
    MaybeInt maybe;
    Time at;
    Bytes digest;
    Money price;
    List targets;
    Target first;
    Json extra;
    Str hidden;
    Str secret;
} Sample;
static const char *const KINDS[] = { "one", "two", NULL };
static const Field sample_fields[] = {
    FIELD(Sample, id, .prefix = "prj", .read_only = true),
    FIELD(Sample, name, .required = true, .name_like = true),
    FIELD(Sample, kind, .one_of = KINDS),
    FIELD(Sample, tags, .max = 3),
    FIELD(Sample, on, .required = false),
    FIELD(Sample, count, .min = 0, .max = 10),
    FIELD(Sample, maybe, .max = 1000),
    FIELD(Sample, at, .required = false),
    FIELD(Sample, digest, .min = 2, .max = 4),
    FIELD_AS(Sample, price, "price_usd", .required = false),
    FIELD(Sample, targets, .table = &TARGET_FIELDS, .max = 2),
    FIELD_NESTED(Sample, first, &TARGET_FIELDS, .required = false),
    FIELD(Sample, extra, .omit_null = true),
    FIELD(Sample, hidden, .internal = true),
    FIELD(Sample, secret, .write_only = true),
};
static const FieldTable SAMPLE_FIELDS = FIELD_TABLE(Sample, sample_fields);

static Err decode(const char *text, DecodeMode mode, Sample *sample)
{
    json_t *value = NULL;
    TRY(json_parse(str_from_c(text), JSON_LIMITS_ADMIN, &value));
    return fields_decode(arena, &SAMPLE_FIELDS, json_adopt(arena, value), mode, sample);
}

TEST(a_struct_survives_its_way_through_json)
{
    static const char TEXT[] =
        "{\"name\":\"a-b\",\"kind\":\"two\",\"tags\":[\"x\",\"y\"],\"on\":true,\"count\":7,\"maybe\":0,"
        "\"at\":\"2026-11-20T18:30:00Z\",\"digest\":\"AQID\",\"price_usd\":\"0.5\",\"targets\":[{\"model\":\"m\","
        "\"weight\":3}],"
        "\"first\":{\"model\":\"n\",\"weight\":1},\"extra\":{\"z\":[1]}}";
    Sample sample = { 0 };
    CHECK_OK(decode(TEXT, DECODE_BODY, &sample));
    CHECK_STR(sample.name, "a-b");
    CHECK_INT(sample.tags.count, 2);
    CHECK(sample.maybe.set && sample.maybe.value == 0);
    CHECK_STR(((Target *)sample.targets.items)[0].model, "m");
    CHECK_STR(sample.first.model, "n");
    CHECK(sample.price.pico == PICO_PER_USD / 2);
    sample.id = uuid_v7(time_now());
    sample.hidden = STR("internal");
    sample.secret = STR("never shown");
    _cleanup_(json_release) json_t *out = fields_encode(arena, &SAMPLE_FIELDS, &sample);
    CHECK(json_object_get(out, "hidden") == NULL && json_object_get(out, "secret") == NULL);
    CHECK(str_starts_with(json_str(out, "id"), STR("prj_")));
    json_object_del(out, "id");
    CHECK_STR(json_write(arena, out), TEXT);
}

static void check_field(Err err, const char *pointer, const char *detail)
{
    for (size_t i = 0; i < err.fields.count; i++) {
        if (!str_eq(err.fields.items[i].pointer, str_from_c(pointer)))
            continue;
        CHECK_STR(err.fields.items[i].detail, detail);
        return;
    }
    fail_msg("no complaint about %s", pointer);
}

TEST(every_bad_member_is_named_at_once)
{
    Sample sample = { .count = 5 };
    Err err =
        decode("{\"name\":\"Bad Name\",\"kind\":\"three\",\"tags\":[1],\"on\":\"yes\",\"count\":11,\"at\":\"today\","
               "\"digest\":\"AQ\",\"price_usd\":0.5,\"targets\":[{\"weight\":0}],\"id\":\"prj_x\",\"hidden\":\"x\","
               "\"nope/~\":1}",
            DECODE_BODY, &sample);
    CHECK_ERR(err, "invalid-body");
    check_field(err, "/name", "must be 1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit");
    check_field(err, "/kind", "must be one of: one, two");
    check_field(err, "/tags/0", "must be a string");
    check_field(err, "/on", "must be true or false");
    check_field(err, "/count", "must be from 0 to 10");
    check_field(err, "/at", "must be an RFC 3339 time in UTC");
    check_field(err, "/digest", "must be from 2 to 4 octets");
    check_field(err, "/price_usd", "must be a decimal string of dollars");
    check_field(err, "/targets/0/model", "is required");
    check_field(err, "/targets/0/weight", "must be from 1 to 100");
    check_field(err, "/id", "is set by the server");
    check_field(err, "/hidden", "is not a known member");
    check_field(err, "/nope~1~0", "is not a known member");
    CHECK_INT(err.fields.count, 13);
    CHECK_INT(sample.count, 5);
}

TEST(a_merge_patch_keeps_clears_and_replaces)
{
    Sample sample = {
        .name = STR("keep"), .kind = STR("one"), .count = 3, .first = { .weight = 9, .model = STR("m") }
    };
    CHECK_OK(decode("{\"kind\":null,\"first\":{\"weight\":8}}", DECODE_PATCH, &sample));
    CHECK_STR(sample.name, "keep");
    CHECK(sample.kind.ptr == NULL);
    CHECK_INT(sample.count, 3);
    CHECK_INT(sample.first.weight, 8);
    CHECK_STR(sample.first.model, "m");
    check_field(decode("{\"name\":null}", DECODE_PATCH, &sample), "/name", "must not be null");
}

TEST(integers_beyond_a_double_travel_as_strings)
{
    Sample sample = { .name = STR("n"), .maybe = { .set = true, .value = INT64_MAX } };
    _cleanup_(json_release) json_t *out = fields_encode(arena, &SAMPLE_FIELDS, &sample);
    CHECK_STR(json_str(out, "maybe"), "9223372036854775807");
}

static Err load(const char *yaml, Sample *sample)
{
    char path[] = "/tmp/reeve-config-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, yaml, strlen(yaml)) == (ssize_t)strlen(yaml));
    close(fd);
    Err err = config_load(arena, arena_str(arena, str_from_c(path)), STR("REEVE_TEST"), &SAMPLE_FIELDS, sample);
    unlink(path);
    return err;
}

TEST(configuration_names_the_line_of_what_it_refuses)
{
    Sample sample = { 0 };
    Err err = load("name: good\ncount: 99\nfirst:\n  model: m\n  colour: red\n", &sample);
    CHECK_ERR(err, "bad-config");
    CHECK(str_contains(err.detail, STR(":2: count must be from 0 to 10")));
    CHECK(str_contains(err.detail, STR(":5: first/colour is not a known member")));
}

TEST(configuration_refuses_what_yaml_is_known_for)
{
    static const struct {
        const char *yaml, *complaint;
    } ROWS[] = {
        { "name: good\non: yes\n", "boolean" },
        { "name: &a good\n", "anchors" },
        { "name: good\nname: bad\n", "twice" },
        { "name: *a\n", "alias" },
        { "name: !!str good\n", "tags" },
        { "name: good\n---\nname: bad\n", "second document" },
        { "- name\n", "mapping" },
        { "name: [\n", "" },
    };
    for (size_t i = 0; i < COUNT_OF(ROWS); i++) {
        Sample sample = { 0 };
        Err err = load(ROWS[i].yaml, &sample);
        CHECK(err.kind == ERR_INVALID);
        if (!str_contains(err.detail, str_from_c(ROWS[i].complaint)))
            fail_msg("%s: " STR_FMT, ROWS[i].yaml, STR_ARG(err.detail));
    }
}

TEST(the_environment_overrides_the_file)
{
    setenv("REEVE_TEST_COUNT", "4", 1);
    setenv("REEVE_TEST_FIRST__MODEL", "007", 1);
    Sample sample = { 0 };
    CHECK_OK(load("name: good\ncount: 1\n", &sample));
    CHECK_INT(sample.count, 4);
    CHECK_STR(sample.first.model, "007");
    setenv("REEVE_TESTS_COUNT", "5", 1); /* another program's */
    CHECK_OK(load("name: good\ncount: 1\n", &sample));
    CHECK_INT(sample.count, 4);
    setenv("REEVE_TEST_NOPE", "1", 1);
    CHECK_ERR(load("name: good\n", &sample), "bad-config");
    unsetenv("REEVE_TEST_COUNT");
    unsetenv("REEVE_TEST_FIRST__MODEL");
    unsetenv("REEVE_TEST_NOPE");
    unsetenv("REEVE_TESTS_COUNT");
}

TEST(yaml_that_is_written_reads_back_the_same)
{
    static const char TEXT[] = "{\"a\":\"plain\",\"b\":\"no\",\"c\":[1,[true,null],{\"d\":\"x: "
                               "y\"},{}],\"e\":{\"f\":\"\",\"g\":[]},\"7\":\"-1\"}";
    _cleanup_(json_release) json_t *value = NULL, *again = NULL;
    CHECK_OK(json_parse(str_from_c(TEXT), JSON_LIMITS_ADMIN, &value));
    CHECK_OK(yaml_parse(arena, STR("t"), yaml_write(arena, value), &again));
    CHECK_STR(json_write(arena, again), TEXT);
}

TEST(printed_configuration_hides_what_is_written_only)
{
    Sample sample = { .name = STR("good"), .secret = STR("hunter2") };
    Str text = config_print(arena, &SAMPLE_FIELDS, &sample);
    CHECK(str_contains(text, STR("secret: \"(redacted)\"")));
    CHECK(!str_contains(text, STR("hunter2")));
}

TEST(a_file_is_replaced_whole)
{
    char folder[] = "/tmp/reeve-file-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    Str path = arena_fmt(arena, "%s/state", folder), text;
    CHECK_OK(file_write_atomic(path, STR("one"), 0600));
    CHECK_OK(file_write_atomic(path, STR("two"), 0600));
    CHECK_OK(file_read(arena, path, 10, &text));
    CHECK_STR(text, "two");
    CHECK_ERR(file_read(arena, path, 2, &text), "file-too-large");
    unlink(path.ptr);
    CHECK_ERR(file_read(arena, path, 10, &text), "file-unreadable");
    CHECK_INT(rmdir(folder), 0); /* no temporary stays behind */
}

static void ignore_signal(int number)
{
    (void)number;
}

typedef struct Dripper {
    pthread_t reader;
    int fd;
} Dripper;

/* Half of the text, a signal while the reader waits for the rest, the rest. */
static void *drip(void *arg)
{
    const Dripper *dripper = arg;
    bool wrote = write(dripper->fd, "first ", 6) == 6;
    for (int i = 0; i < 10; i++) {
        usleep(5000);
        pthread_kill(dripper->reader, SIGUSR1);
    }
    wrote = wrote && write(dripper->fd, "second", 6) == 6;
    close(dripper->fd);
    return wrote ? arg : NULL;
}

TEST(a_signal_does_not_cut_what_is_read_from_a_pipe)
{
    int ends[2];
    pthread_t thread;
    void *wrote;
    Str text;
    struct sigaction action = { .sa_handler = ignore_signal }; /* no SA_RESTART */
    CHECK_INT(sigaction(SIGUSR1, &action, NULL), 0);
    CHECK_INT(pipe(ends), 0);
    Dripper dripper = { .reader = pthread_self(), .fd = ends[1] };
    pthread_create(&thread, NULL, drip, &dripper);
    CHECK_OK(file_read(arena, arena_fmt(arena, "/proc/self/fd/%d", ends[0]), 100, &text));
    pthread_join(thread, &wrote);
    CHECK(wrote != NULL);
    CHECK_STR(text, "first second");
    close(ends[0]);
}

TEST(a_file_that_does_not_know_its_size_is_read_whole)
{
    Str text;
    CHECK_OK(file_read(arena, STR("/proc/self/status"), 65536, &text));
    CHECK(str_contains(text, STR("\nPid:")));
}

#define WITH_ARENA(sentence) cmocka_unit_test_setup_teardown(test_##sentence, open_arena, close_arena)

int main(void)
{
    return RUN(WITH_ARENA(json_that_is_hostile_is_refused_by_name), WITH_ARENA(json_limits_count_bytes_and_members),
        WITH_ARENA(a_struct_survives_its_way_through_json), WITH_ARENA(every_bad_member_is_named_at_once),
        WITH_ARENA(a_merge_patch_keeps_clears_and_replaces), WITH_ARENA(integers_beyond_a_double_travel_as_strings),
        WITH_ARENA(configuration_names_the_line_of_what_it_refuses),
        WITH_ARENA(configuration_refuses_what_yaml_is_known_for), WITH_ARENA(the_environment_overrides_the_file),
        WITH_ARENA(yaml_that_is_written_reads_back_the_same),
        WITH_ARENA(printed_configuration_hides_what_is_written_only), WITH_ARENA(a_file_is_replaced_whole),
        WITH_ARENA(a_signal_does_not_cut_what_is_read_from_a_pipe),
        WITH_ARENA(a_file_that_does_not_know_its_size_is_read_whole));
}
