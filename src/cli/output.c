/* output.c: one list or one thing, in the form that was asked for. */
#include "cli/cli.h"

#include "base/buf.h"
#include "base/config.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COLUMNS_MAX 32
#define CELL_BYTES_MAX ((size_t)60)

typedef struct Columns {
    Str names[COLUMNS_MAX];
    size_t count;
} Columns;

static Columns columns_of(const Cli *cli, const char *standard)
{
    Columns columns = { 0 };
    Str rest = cli->globals.columns.len > 0 ? cli->globals.columns : str_from_c(standard);
    while (rest.len > 0 && columns.count < COLUMNS_MAX)
        str_cut(rest, ',', &columns.names[columns.count++], &rest);
    return columns;
}

/* What stands in a cell: text bare, nothing for null, JSON for the rest. */
static Str cell(Arena *arena, const json_t *item, Str column)
{
    const json_t *value = json_at(item, arena_c(arena, column));
    if (value == NULL || json_is_null(value))
        return STR("");
    if (json_is_string(value))
        return str_n(json_string_value(value), json_string_length(value));
    return json_write(arena, value);
}

static size_t width_of(Str text) /* characters, not bytes */
{
    size_t width = 0;
    for (size_t i = 0; i < text.len; i++)
        width += ((unsigned char)text.ptr[i] & 0xc0) != 0x80;
    return width;
}

/* Nothing a stranger named may move the cursor of our user's terminal. */
static Str for_terminal(Arena *arena, Str text)
{
    char *out = arena_alloc(arena, text.len + 1, 1);
    for (size_t i = 0; i < text.len; i++)
        out[i] = (char)((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f ? ' ' : text.ptr[i]);
    return str_n(out, text.len);
}

static bool use_colour(void)
{
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) != 0 && getenv("NO_COLOR") == NULL && (term == NULL || strcmp(term, "dumb") != 0);
}

static void pad(Str text, size_t width)
{
    printf(STR_FMT "%*s", STR_ARG(text), (int)(width > width_of(text) ? width - width_of(text) : 0), "");
}

static void table_row(Str *cells, const size_t *widths, size_t count)
{
    for (size_t c = 0; c < count; c++) {
        if (c + 1 < count)
            pad(cells[c], widths[c] + 2);
        else
            printf(STR_FMT, STR_ARG(cells[c]));
    }
    putchar('\n');
}

/* "leaf.at" is headed AT. */
static Str title_of(Arena *arena, Str column)
{
    size_t from = column.len;
    while (from > 0 && column.ptr[from - 1] != '.')
        from--;
    char *title = arena_alloc(arena, column.len - from + 1, 1);
    for (size_t i = from; i < column.len; i++)
        title[i - from] = (char)(column.ptr[i] >= 'a' && column.ptr[i] <= 'z' ? column.ptr[i] - 32 : column.ptr[i]);
    return str_n(title, column.len - from);
}

static void print_table(Cli *cli, const json_t *items, const Columns *columns)
{
    size_t rows = json_array_size(items), widths[COLUMNS_MAX] = { 0 };
    Str *cells = NEW(cli->arena, Str, (rows + 1) * columns->count);
    for (size_t c = 0; c < columns->count; c++) {
        Str name = columns->names[c];
        cells[c] = title_of(cli->arena, name);
        for (size_t r = 0; r < rows; r++)
            cells[(r + 1) * columns->count + c] =
                for_terminal(cli->arena, str_first(cell(cli->arena, json_array_get(items, r), name), 200));
        for (size_t r = 0; r <= rows; r++) {
            size_t width = width_of(cells[r * columns->count + c]);
            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    if (use_colour())
        fputs("\033[1m", stdout);
    table_row(cells, widths, columns->count);
    if (use_colour())
        fputs("\033[0m", stdout);
    for (size_t r = 1; r <= rows; r++)
        table_row(cells + r * columns->count, widths, columns->count);
    if (rows == 0)
        cli_say(cli, "(none)");
}

/* RFC 4180, and a quote before what a spreadsheet would take for a formula. */
static void csv_cell(Str text)
{
    bool formula = text.len > 0 && strchr("=+@\t\r", text.ptr[0]) != NULL;
    bool quote = formula;
    for (size_t i = 0; i < text.len; i++)
        quote = quote || strchr(",\"\r\n", text.ptr[i]) != NULL;
    if (!quote) {
        printf(STR_FMT, STR_ARG(text));
        return;
    }
    putchar('"');
    if (formula)
        putchar('\'');
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '"')
            putchar('"');
        putchar(text.ptr[i]);
    }
    putchar('"');
}

static void print_csv(Cli *cli, const json_t *items, const Columns *columns)
{
    for (size_t c = 0; c < columns->count; c++)
        printf("%s" STR_FMT, c == 0 ? "" : ",", STR_ARG(columns->names[c]));
    fputs("\r\n", stdout);
    size_t index;
    json_t *item;
    json_array_foreach(items, index, item)
    {
        for (size_t c = 0; c < columns->count; c++) {
            if (c > 0)
                putchar(',');
            csv_cell(cell(cli->arena, item, columns->names[c]));
        }
        fputs("\r\n", stdout);
    }
}

static void print_lines(Cli *cli, const json_t *items)
{
    size_t index;
    json_t *item;
    json_array_foreach(items, index, item) printf(STR_FMT "\n", STR_ARG(json_write(cli->arena, item)));
}

static bool form_is(const Cli *cli, const char *form)
{
    return str_eq(cli->globals.output, str_from_c(form));
}

Err output_check(const Cli *cli)
{
    static const char *const FORMS[] = { "table", "json", "jsonl", "yaml", "csv" };
    for (size_t i = 0; i < COUNT_OF(FORMS); i++)
        if (form_is(cli, FORMS[i]))
            return OK;
    if (cli->globals.output.len == 0)
        return OK;
    return FAIL(ERR_INVALID, "usage", "--output is table, json, jsonl, yaml or csv");
}

/* The forms that are the same for a list and for one thing; false when it is none of them. */
static bool print_document(Cli *cli, const json_t *value)
{
    if (form_is(cli, "json"))
        printf(STR_FMT "\n", STR_ARG(json_write_pretty(cli->arena, value)));
    else if (form_is(cli, "yaml"))
        printf(STR_FMT, STR_ARG(yaml_write(cli->arena, value)));
    else
        return false;
    return true;
}

Err output_items(Cli *cli, const json_t *items, const char *columns)
{
    Columns wanted = columns_of(cli, columns);
    if (print_document(cli, items))
        return OK;
    if (form_is(cli, "jsonl"))
        print_lines(cli, items);
    else if (form_is(cli, "csv"))
        print_csv(cli, items, &wanted);
    else
        print_table(cli, items, &wanted);
    return OK;
}

#define MEMBER_LINE_MAX ((size_t)100)

/* "a, b, c" over as many lines as it takes. */
static void print_words(Cli *cli, const json_t *words, size_t indent)
{
    size_t column = indent, index;
    json_t *word;
    json_array_foreach((json_t *)(uintptr_t)words, index, word)
    {
        bool is_last = index + 1 == json_array_size(words);
        Str text = for_terminal(cli->arena, str_n(json_string_value(word), json_string_length(word)));
        if (column > indent && column + width_of(text) + 1 > MEMBER_LINE_MAX) {
            printf("\n%*s", (int)indent, "");
            column = indent;
        }
        printf("%s" STR_FMT "%s", column > indent ? " " : "", STR_ARG(text), is_last ? "" : ",");
        column += width_of(text) + 2;
    }
    putchar('\n');
}

static bool are_words(const json_t *value)
{
    size_t index;
    json_t *item;
    json_array_foreach((json_t *)(uintptr_t)value, index, item) if (!json_is_string(item)) return false;
    return json_is_array(value);
}

/* One thing as a table: a member a line. */
static void print_members(Cli *cli, const json_t *item)
{
    size_t width = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)item, key, value) width = strlen(key) > width ? strlen(key) : width;
    json_object_foreach((json_t *)(uintptr_t)item, key, value)
    {
        pad(str_from_c(key), width + 2);
        if (are_words(value)) {
            print_words(cli, value, width + 2);
            continue;
        }
        Str text = json_is_string(value) ? str_n(json_string_value(value), json_string_length(value))
                   : json_is_null(value) ? STR("-")
                                         : json_write(cli->arena, value);
        printf(STR_FMT "\n", STR_ARG(for_terminal(cli->arena, text)));
    }
}

Err output_item(Cli *cli, const json_t *item, const char *columns)
{
    if (item == NULL || print_document(cli, item))
        return OK;
    if (form_is(cli, "jsonl") || form_is(cli, "csv") || cli->globals.columns.len > 0) {
        _cleanup_(json_release) json_t *items = json_array();
        json_array_append(items, (json_t *)(uintptr_t)item);
        return output_items(cli, items, columns);
    }
    print_members(cli, item);
    return OK;
}
