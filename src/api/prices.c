/*
 * prices.c: /v1/price-books: what providers charge, and taking over their price lists.
 */
#include "base/json.h"
#include "api/route.h"
#include "ledger/import.h"
#include "store/sql.h"

typedef struct Book {
    Str name, kind;
    int64_t revision, rates;
} Book;
static const Field book_fields[] = {
    FIELD(Book, name, .read_only = true),
    FIELD(Book, kind, .read_only = true, .doc = "cost: what providers charge; plan: what a project pays."),
    FIELD(Book, revision, .read_only = true),
    FIELD(Book, rates, .read_only = true),
};
static const FieldTable BOOK_FIELDS = FIELD_TABLE(Book, book_fields);

static Err look_books(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    List books;
    TRY(db_list(ctx->db, ctx->arena, &SQL_LEDGER_PRICE_BOOKS, REC_NONE, &BOOK_FIELDS, &books));
    json_t *body = json_object(), *data = json_array();
    for (size_t i = 0; i < books.count; i++)
        json_array_append_new(data, fields_encode(ctx->arena, &BOOK_FIELDS, (const Book *)books.items + i));
    json_object_set_new(body, "data", data);
    json_object_set_new(body, "next_page_token", json_null());
    reply_json(reply, body);
    return OK;
}

/* --- rates --- */

#define RATES_MAX 1000

typedef struct RateAsk {
    Str book, provider, model;
    int64_t limit;
} RateAsk;
static const Field rate_ask_fields[] = {
    FIELD(RateAsk, provider, .max = 64),
    FIELD(RateAsk, model, .max = 256),
    FIELD(RateAsk, book, .internal = true),
    FIELD(RateAsk, limit, .internal = true),
};
static const FieldTable RATE_ASK_FIELDS = FIELD_TABLE(RateAsk, rate_ask_fields);

typedef struct RateRow {
    Str provider, model, meter, service_tier;
    int64_t above_input;
    Time valid_from;
    MaybeInt pico;
    Str usd_per_million;
} RateRow;
static const Field rate_row_fields[] = {
    FIELD(RateRow, provider, .read_only = true),
    FIELD(RateRow, model, .read_only = true),
    FIELD(RateRow, meter, .read_only = true),
    FIELD(RateRow, service_tier, .read_only = true),
    FIELD(RateRow, above_input, .read_only = true),
    FIELD(RateRow, valid_from, .read_only = true),
    FIELD(
        RateRow, pico, .read_only = true, .doc = "Picodollars (10^-12 USD) of one unit; null: no price from then on."),
};
static const FieldTable RATE_ROW_FIELDS = FIELD_TABLE(RateRow, rate_row_fields);

static Err look_rates(Ctx *ctx, const Req *req, Reply *reply)
{
    RateAsk ask = { 0 };
    List rates;
    TRY(req_query(req, &RATE_ASK_FIELDS, &ask));
    ask.book = req_path(req, "book");
    ask.limit = RATES_MAX;
    TRY(db_list(ctx->db, ctx->arena, &SQL_LEDGER_RATES_PAGE, REC(&RATE_ASK_FIELDS, &ask), &RATE_ROW_FIELDS, &rates));
    json_t *body = json_object(), *data = json_array();
    for (size_t i = 0; i < rates.count; i++)
        json_array_append_new(data, fields_encode(ctx->arena, &RATE_ROW_FIELDS, (const RateRow *)rates.items + i));
    json_object_set_new(body, "data", data);
    json_object_set_new(body, "next_page_token", json_null());
    reply_json(reply, body);
    return OK;
}

/* --- import --- */

typedef struct ImportAsk {
    Str book, format;
    Time effective;
} ImportAsk;
static const char *const formats[] = { "genai-prices", "litellm", "reeve", NULL };
static const Field import_ask_fields[] = {
    FIELD(ImportAsk, book, .max = 64, .doc = "Which book; without it the cost book."),
    FIELD(ImportAsk, format, .one_of = formats, .doc = "What the list is taken for; without it, what it looks like."),
    FIELD(ImportAsk, effective, .doc = "From when changed prices hold; without it now."),
};
static const FieldTable IMPORT_ASK_FIELDS = FIELD_TABLE(ImportAsk, import_ask_fields);

/* With ?dry_run=true the dispatcher takes it back after the difference was made: that is what somebody approves. */
static Err post_import(Ctx *ctx, const Req *req, Reply *reply)
{
    ImportAsk ask = { .book = STR("cost") };
    PriceFile file;
    PricePlan plan;
    Uuid id = uuid_v7(ctx->now);
    TRY(req_query(req, &IMPORT_ASK_FIELDS, &ask));
    TRY(price_file_read(ctx->arena, req_raw_body(req), &file));
    if (ask.format.len > 0 && !str_eq(ask.format, file.source))
        return FAIL(ERR_INVALID, "price-file-unknown", "The file is not a price list of this form.");
    TRY(price_import_plan(
        ctx->db, ctx->arena, ask.book, &file, time_is_none(ask.effective) ? ctx->now : ask.effective, &plan));
    TRY(price_import_apply(ctx->db, ctx->arena, &plan, id));
    TRY(audit(ctx, "price-book.imported", "prc", id,
        json_pack("{s:o,s:o,s:I,s:I,s:I}", "book", json_from_str(plan.book), "source", json_from_str(plan.source),
            "new", (json_int_t)plan.rates_new, "changed", (json_int_t)plan.rates_changed, "held",
            (json_int_t)plan.held)));
    reply_one(reply, &PRICE_PLAN_FIELDS, &plan);
    return OK;
}

extern const Route PRICE_ROUTES[];
const Route PRICE_ROUTES[] = {
    ROUTE(GET, "/v1/price-books", PRICE_BOOK_READ, .says = "List price books.", .look = look_books),
    ROUTE(GET, "/v1/price-books/{book}/rates", PRICE_BOOK_READ, .says = "Rates of a book, by provider and model.",
        .look = look_rates, .query = &RATE_ASK_FIELDS),
    ROUTE(POST, "/v1/price-books/import", PRICE_BOOK_IMPORT,
        .says = "Take over a price list (genai-prices, LiteLLM, or our own form). Look at ?dry_run=true first.",
        .commit = post_import, .no_replay = true, .body_max = PRICE_FILE_BYTES_MAX, .query = &IMPORT_ASK_FIELDS,
        .reply = &PRICE_PLAN_FIELDS),
    ROUTE_END,
};
