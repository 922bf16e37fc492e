/* The API's description has every route, and every route keeps the rules of the table. */
#include "support/check.h"

#include "api/openapi.h"
#include "base/json.h"

static void each_route(void (*check)(const Route *route, json_t *document), json_t *document)
{
    for (const Route *const *table = ROUTE_TABLES; *table != NULL; table++)
        for (const Route *route = *table; route->pattern != NULL; route++)
            check(route, document);
}

static void is_described(const Route *route, json_t *document)
{
    static const char *const verbs[METHOD_COUNT] = { "get", "post", "put", "patch", "delete" };
    json_t *operation =
        json_object_get(json_object_get(json_object_get(document, "paths"), route->pattern), verbs[route->method]);
    if (operation == NULL)
        print_error("%s %s is not described\n", method_name(route->method), route->pattern);
    CHECK(operation != NULL);
    CHECK(json_str(operation, "summary").len > 0);
}

TEST(the_description_is_json_and_has_every_route)
{
    json_t *document = openapi_document();
    CHECK(document != NULL);
    CHECK_STR(json_str(document, "openapi"), "3.1.0");
    each_route(is_described, document);
    json_decref(document);
}

static void keeps_the_rules(const Route *route, json_t *document)
{
    (void)document;
    CHECK(route->says != NULL && *route->says != 0);
    /* Authorisation is a column: without an action only what says why it needs no credential. */
    CHECK((route->action == ACTION_NONE) == (route->credential == CREDENTIAL_NONE));
    CHECK(route->read != NULL || route->look != NULL || route->commit != NULL);
    CHECK(route->method == METHOD_GET || route->commit != NULL);
    CHECK(!route->reveals || (route->reshow != NULL && route->method == METHOD_POST));
    CHECK(route->noun == NULL || route->commit != NULL);
    if (route->method == METHOD_PATCH)
        CHECK(route->if_match);
}

TEST(every_route_keeps_the_rules_of_the_table)
{
    each_route(keeps_the_rules, NULL);
}

static void refs_resolve_inside(json_t *value, json_t *document, int depth)
{
    const char *key;
    json_t *item;
    size_t i;
    CHECK(depth < 64);
    if (json_is_object(value)) {
        const char *ref = json_string_value(json_object_get(value, "$ref"));
        if (ref != NULL)
            CHECK(json_object_get(json_object_get(json_object_get(document, "components"), "schemas"),
                      strrchr(ref, '/') + 1) != NULL);
        json_object_foreach(value, key, item) refs_resolve_inside(item, document, depth + 1);
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, item) refs_resolve_inside(item, document, depth + 1);
    }
}

TEST(every_reference_of_the_description_resolves)
{
    json_t *document = openapi_document();
    refs_resolve_inside(document, document, 0);
    json_decref(document);
}

int main(void)
{
    json_start();
    return RUN(UNIT(the_description_is_json_and_has_every_route), UNIT(every_route_keeps_the_rules_of_the_table),
        UNIT(every_reference_of_the_description_resolves));
}
