/*
 * router.c: finds the row of the route table for a method and a path. Patterns are cut into segments once.
 */
#include "call.h"

#include <pthread.h>
#include <string.h>

#define ROUTES_MAX 256

typedef struct Pattern {
    const Route *route;
    Str segments[SEGMENTS_MAX];
    bool parameter[SEGMENTS_MAX];
    size_t count;
} Pattern;

static Pattern patterns[ROUTES_MAX];
static size_t pattern_count;
static pthread_once_t compiled = PTHREAD_ONCE_INIT;

const char *method_name(Method method)
{
    static const char *const names[METHOD_COUNT] = { "GET", "POST", "PUT", "PATCH", "DELETE" };
    return names[method];
}

static size_t cut_segments(Str path, Str segments[SEGMENTS_MAX])
{
    size_t count = 0;
    Str rest = str_skip(path, 1);
    for (;;) {
        if (count == SEGMENTS_MAX)
            return SEGMENTS_MAX + 1;
        Str head, tail;
        bool more = str_cut(rest, '/', &head, &tail);
        segments[count++] = head;
        if (!more)
            return count;
        rest = tail;
    }
}

static bool is_parameter(Str segment)
{
    return segment.len > 2 && segment.ptr[0] == '{';
}

static void compile_one(const Route *route)
{
    if (pattern_count == ROUTES_MAX)
        die("more than %d routes", ROUTES_MAX);
    Pattern *pattern = &patterns[pattern_count++];
    pattern->route = route;
    pattern->count = cut_segments(str_from_c(route->pattern), pattern->segments);
    for (size_t i = 0; i < pattern->count; i++)
        if ((pattern->parameter[i] = is_parameter(pattern->segments[i])))
            pattern->segments[i] = str_n(pattern->segments[i].ptr + 1, pattern->segments[i].len - 2);
}

static void compile(void)
{
    for (const Route *const *table = ROUTE_TABLES; *table != NULL; table++)
        for (const Route *route = *table; route->pattern != NULL; route++)
            compile_one(route);
}

size_t pattern_parameters(const char *pattern, Str ret_names[PATH_PARAMETERS_MAX])
{
    Str segments[SEGMENTS_MAX];
    size_t n = cut_segments(str_from_c(pattern), segments), count = 0;
    for (size_t i = 0; i < n; i++)
        if (is_parameter(segments[i]) && count < PATH_PARAMETERS_MAX)
            ret_names[count++] = str_n(segments[i].ptr + 1, segments[i].len - 2);
    return count;
}

static bool fits(const Pattern *pattern, const Str *segments, size_t count)
{
    if (pattern->count != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (pattern->parameter[i] ? segments[i].len == 0 : !str_eq(pattern->segments[i], segments[i]))
            return false;
    return true;
}

/* A literal beats a parameter: /v1/organizations/self before /v1/organizations/{org}. */
static bool is_better(const Pattern *a, const Pattern *b)
{
    for (size_t i = 0; b != NULL && i < a->count; i++)
        if (a->parameter[i] != b->parameter[i])
            return b->parameter[i];
    return b == NULL;
}

static Err take_parameters(
    Arena *arena, const Pattern *pattern, const Str *segments, Pair *ret_parameters, size_t *ret_count)
{
    size_t count = 0;
    for (size_t i = 0; i < pattern->count; i++) {
        if (!pattern->parameter[i])
            continue;
        assert(count < PATH_PARAMETERS_MAX);
        ret_parameters[count].name = pattern->segments[i];
        if (url_decode(arena, segments[i], &ret_parameters[count].value).kind != ERR_NONE)
            return FAIL(ERR_NOT_FOUND, "not-found", "There is nothing here.");
        count++;
    }
    *ret_count = count;
    return OK;
}

Err router_match(Arena *arena, Str method, Str path, const Route **ret_route, Pair *ret_parameters, size_t *ret_count,
    Str *ret_allow)
{
    pthread_once(&compiled, compile);
    Str segments[SEGMENTS_MAX];
    size_t count = path.len > 0 && path.ptr[0] == '/' ? cut_segments(path, segments) : SEGMENTS_MAX + 1;
    const Pattern *best = NULL;
    Str allow = STR("");
    for (size_t i = 0; count <= SEGMENTS_MAX && i < pattern_count; i++) {
        if (!fits(&patterns[i], segments, count))
            continue;
        const char *name = method_name(patterns[i].route->method);
        if (str_eq(method, str_from_c(name))) {
            if (is_better(&patterns[i], best))
                best = &patterns[i];
        } else {
            allow = arena_fmt(arena, STR_FMT "%s%s", STR_ARG(allow), allow.len > 0 ? ", " : "", name);
        }
    }
    if (best != NULL) {
        TRY(take_parameters(arena, best, segments, ret_parameters, ret_count));
        *ret_route = best->route;
        return OK;
    }
    if (allow.len == 0)
        return FAIL(ERR_NOT_FOUND, "not-found", "There is nothing here.");
    *ret_allow = allow;
    return FAIL_FMT(arena, ERR_METHOD, "method-not-allowed", "This path takes " STR_FMT " only.", STR_ARG(allow));
}
