/* price.c: price books: an import is a difference that somebody approves. */
#include "cli/cli.h"

#include "base/config.h"
#include "base/json.h"

#define PRICE_FILE_BYTES_MAX ((size_t)(16 * 1024 * 1024))

static Err price_import(Cli *cli)
{
    Str text;
    TRY(file_read(cli->arena, cli_argument(cli, "FILE"), PRICE_FILE_BYTES_MAX, &text));
    bool apply = cli_flag(cli, "apply");
    Str path = apply ? STR("/v1/price-books/import") : STR("/v1/price-books/import?dry_run=true");
    _cleanup_(answer_release) Answer answer = { 0 };
    TRY(cli_call(cli, &(Call){ .method = "POST", .path = path, .raw_body = text }, &answer));
    TRY(output_item(cli, answer.body, ""));
    int64_t added = 0, changed = 0;
    json_i64(json_object_get(answer.body, "after"), "rates_new", &added);
    json_i64(json_object_get(answer.body, "after"), "rates_changed", &changed);
    if (!apply && added + changed > 0)
        cli->exit_code = EXIT_DIFFERENT;
    if (!apply)
        cli_say(cli, "nothing was changed: look at the report, then give --apply");
    return OK;
}

static const Option IMPORT_OPTIONS[] = {
    { "apply", NULL, "publish the prices; without it the report alone", NULL, OPTION_FLAG, false },
    { 0 },
};

const Command PRICE_COMMANDS[] = {
    { .words = "price import",
        .arguments = "FILE",
        .options = IMPORT_OPTIONS,
        .run = price_import,
        .summary = "Report what a price list (ours, genai-prices, LiteLLM) would change, with exit code 2 if anything; "
                   "publish it "
                   "with --apply (operators)",
        .example = "reeve price import prices.json" },
    { 0 },
};
