/*
 * import.h: price lists of others, read to integer picodollars, compared with the book, and taken over only when
 * somebody says so.
 *
 * Three forms are known: genai-prices (decimal USD per million tokens, tiers, dates, patterns of model names),
 * LiteLLM's (USD per token as floating-point text), and our own (policies/prices/README.md). Digits are read as text:
 * no number of a price list ever becomes a double. What looks wrong is a finding; findings that would bill nonsense are
 * held back.
 *
 *     TRY(price_file_read(arena, text, &file));
 *     TRY(price_import_plan(db, arena, STR("cost"), &file, effective, &plan));     // the diff; nothing is written
 *     TRY(price_import_apply(db, arena, &plan, import_id));                        // in the caller's transaction
 *
 * Invariant: applying a plan twice changes nothing the second time.
 */
#ifndef LEDGER_IMPORT_H
#define LEDGER_IMPORT_H

#include "ledger/price.h"

#define PRICE_FILE_BYTES_MAX (4 * 1024 * 1024)
#define PRICE_FINDINGS_SHOWN_MAX 2000
#define PRICE_CHANGES_SHOWN_MAX 2000

/*
 * Codes. Held back: unit-error (a token dearer than a cent, or a thousand times the model's other prices), zero-price,
 * time-of-day, not-a-price. Told only: float-noise, cache-read-dearer, output-cheaper, disagrees (with the book, by
 * more than the tenth part), pattern-left-out, listed-twice, history-differs.
 */
typedef struct PriceFinding {
    Str code, provider, model, meter, detail;
    bool held;
} PriceFinding;

typedef struct PriceFile {
    Str source; /* "genai-prices", "litellm", "reeve" */
    Str digest; /* SHA-256 of the file, base64url */
    List rates; /* PriceRate; valid_from none: from the beginning */
    List aliases;
    List findings;
    int64_t models;
} PriceFile;

CHECKED Err price_file_read(Arena *arena, Str text, PriceFile *ret_file);

typedef struct PriceChange {
    Str kind; /* "new", "changed", "ended" */
    Str provider, model, meter, service_tier;
    int64_t above_input;
    Time valid_from;
    MaybeInt before_pico, after_pico;
} PriceChange;

typedef struct PricePlan {
    Str book, source, digest;
    int64_t models, rates_unchanged, rates_new, rates_changed, held, aliases;
    List changes;  /* PriceChange, the first PRICE_CHANGES_SHOWN_MAX */
    List findings; /* PriceFinding */
    List rates;    /* PriceRate: what applying inserts */
    List alias_rows;
} PricePlan;

extern const FieldTable PRICE_PLAN_FIELDS;

/* `effective`: from when a changed price holds. */
CHECKED Err price_import_plan(
    Db *db, Arena *arena, Str book, const PriceFile *file, Time effective, PricePlan *ret_plan);
CHECKED Err price_import_apply(Db *db, Arena *arena, const PricePlan *plan, Uuid import);

/* Decimal text ("2.5e-06", "0.15") times ten to the power `shift`, rounded half-even. False when it is no decimal, is
 * negative, or does not fit; *ret_exact: nothing was rounded. */
bool decimal_scaled(Str text, int shift, int64_t *ret_value, bool *ret_exact);

#endif
