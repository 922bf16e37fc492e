/*
 * sqlembed.c: the SQL files become C at build time. The only reader of the statement format; SQL text reaches the
 * program through its output and no other way.
 *
 *     sqlembed --header sql.h --source sql.c sql/project.sql ... --migrations sql/migrations/0001_base.sql ...
 *
 * A statement file holds statements of this shape, each ended by its `;`:
 *
 *     -- name: project_get
 *     -- roles: api worker
 *     -- One project by id.                             (at least one line of intent)
 *     select * from project where id = :id::uuid;       → $1, parameter "id"
 *
 * `::casts`, quoted text, quoted names, dollar quotes and comments are left alone. `bootstrap.sql` is taken as a whole,
 * and so are the migrations (NNNN_name.sql, numbers rising).
 */
#include "base/buf.h"
#include "base/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SQL_BYTES_MAX (1024 * 1024)
#define STATEMENTS_MAX 4096
#define PARAMETERS_MAX 64
#define OUTPUT_BYTES_MAX (32 * 1024 * 1024)
#define NO_END SIZE_MAX

typedef struct Statement {
    Str name;
    Str roles;
    Str sql;
    Str parameters[PARAMETERS_MAX];
    size_t parameter_count;
} Statement;

typedef struct Script {
    int number;
    Str name;
    Str sql;
} Script;

typedef struct Embedding {
    Arena *arena;
    size_t max; /* of each list */
    Statement *statements;
    size_t statement_count;
    Script *migrations;
    size_t migration_count;
    Str bootstrap;
} Embedding;

/* Where the parser is in one file. */
typedef struct Source {
    Str file;
    Str text;
    size_t at;
} Source;

static const char *const known_roles[] = { "api", "worker", "publish", "ingest", "migrate" };

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_lower_name(Str s)
{
    if (s.len == 0 || s.len > 60 || s.ptr[0] < 'a' || s.ptr[0] > 'z')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!((c >= 'a' && c <= 'z') || is_digit(c) || c == '_'))
            return false;
    }
    return true;
}

static Err refuse(Arena *arena, const Source *source, size_t at, const char *what)
{
    size_t line = 1;
    for (size_t i = 0; i < at && i < source->text.len; i++)
        line += source->text.ptr[i] == '\n';
    return FAIL_FMT(arena, ERR_INVALID, "bad-sql-file", STR_FMT ":%zu: %s", STR_ARG(source->file), line, what);
}

/* --- text that is left alone ------------------------------------------------------------------------------------ */

static size_t quoted_end(Str s, size_t at, char quote, bool backslashes)
{
    for (size_t i = at + 1; i < s.len; i++) {
        if (backslashes && s.ptr[i] == '\\')
            i++;
        else if (s.ptr[i] == quote && i + 1 < s.len && s.ptr[i + 1] == quote)
            i++;
        else if (s.ptr[i] == quote)
            return i + 1;
    }
    return NO_END;
}

static size_t line_end(Str s, size_t at)
{
    while (at < s.len && s.ptr[at] != '\n')
        at++;
    return at;
}

static size_t block_comment_end(Str s, size_t at)
{
    int depth = 0;
    for (size_t i = at; i + 1 < s.len; i++) {
        if (s.ptr[i] == '/' && s.ptr[i + 1] == '*') {
            depth++;
            i++;
        } else if (s.ptr[i] == '*' && s.ptr[i + 1] == '/') {
            i++;
            if (--depth == 0)
                return i + 1;
        }
    }
    return NO_END;
}

/* The end of $tag$ ... $tag$; `at` itself when no dollar quote starts there. */
static size_t dollar_end(Str s, size_t at)
{
    size_t tag = at + 1;
    while (tag < s.len && is_word(s.ptr[tag]))
        tag++;
    if (tag >= s.len || s.ptr[tag] != '$' || (tag > at + 1 && is_digit(s.ptr[at + 1])))
        return at;
    Str mark = str_n(s.ptr + at, tag + 1 - at);
    for (size_t i = tag + 1; i + mark.len <= s.len; i++)
        if (memcmp(s.ptr + i, mark.ptr, mark.len) == 0)
            return i + mark.len;
    return NO_END;
}

/* The index behind the text at `at` that must be left alone; `at` when it is none; NO_END when it never ends. */
static size_t opaque_end(Str s, size_t at)
{
    char c = s.ptr[at];
    char next = at + 1 < s.len ? s.ptr[at + 1] : '\0';
    bool in_word = at > 0 && is_word(s.ptr[at - 1]);
    if (c == '\'') {
        bool escapes = in_word && (s.ptr[at - 1] == 'e' || s.ptr[at - 1] == 'E') && (at < 2 || !is_word(s.ptr[at - 2]));
        return quoted_end(s, at, '\'', escapes);
    }
    if (c == '"')
        return quoted_end(s, at, '"', false);
    if (c == '-' && next == '-')
        return line_end(s, at);
    if (c == '/' && next == '*')
        return block_comment_end(s, at);
    if (c == '$' && !in_word)
        return dollar_end(s, at);
    return at;
}

/* --- one statement ---------------------------------------------------------------------------------------------- */

static size_t parameter_number(Statement *statement, Str name)
{
    for (size_t i = 0; i < statement->parameter_count; i++)
        if (str_eq(statement->parameters[i], name))
            return i + 1;
    if (statement->parameter_count == PARAMETERS_MAX)
        return 0;
    statement->parameters[statement->parameter_count++] = name;
    return statement->parameter_count;
}

/* The length of the parameter name at `at` (behind its colon); 0 when the colon starts none. */
static size_t parameter_length(Str s, size_t at)
{
    size_t end = at;
    if (end < s.len && ((s.ptr[end] >= 'a' && s.ptr[end] <= 'z') || s.ptr[end] == '_'))
        while (end < s.len && is_word(s.ptr[end]))
            end++;
    return end - at;
}

/* Reads up to the `;` that ends the statement, writing numbered parameters. */
static Err body_parse(Arena *arena, Source *source, Statement *statement)
{
    _cleanup_(buf_release) Buf out = buf_new(SQL_BYTES_MAX);
    Str s = source->text;
    size_t start = source->at;
    for (size_t i = start; i < s.len;) {
        size_t end = opaque_end(s, i);
        if (end == NO_END)
            return refuse(arena, source, i, "a quoted text or comment that starts here does not end");
        if (end == i && s.ptr[i] == ';') {
            source->at = i + 1;
            Str sql = buf_str(&out);
            while (sql.len > 0 && is_space(sql.ptr[sql.len - 1]))
                sql.len--;
            if (sql.len == 0)
                return refuse(arena, source, start, "the statement is empty");
            statement->sql = arena_str(arena, sql);
            return OK;
        }
        if (end == i && s.ptr[i] == '$' && i + 1 < s.len && is_digit(s.ptr[i + 1]))
            return refuse(arena, source, i, "parameters are named (:name), never numbered");
        if (end == i && s.ptr[i] == ':') {
            bool cast = i + 1 < s.len && s.ptr[i + 1] == ':';
            size_t length = cast ? 0 : parameter_length(s, i + 1);
            if (length > 0) {
                size_t number = parameter_number(statement, str_n(s.ptr + i + 1, length));
                if (number == 0)
                    return refuse(arena, source, i, "more than 64 parameters");
                buf_fmt(&out, "$%zu", number);
                i += 1 + length;
                continue;
            }
            end = i + (cast ? 2 : 1);
        }
        if (end == i)
            end = i + 1;
        buf_add(&out, str_n(s.ptr + i, end - i));
        i = end;
    }
    return refuse(arena, source, start, "the statement is not ended by `;`");
}

/* Takes the comment line at the cursor; false when the line there is something else. Blank lines are not skipped. */
static bool take_comment(Source *source, Str *ret_text)
{
    size_t at = source->at;
    while (at < source->text.len && (source->text.ptr[at] == ' ' || source->text.ptr[at] == '\t'))
        at++;
    if (at + 1 >= source->text.len || source->text.ptr[at] != '-' || source->text.ptr[at + 1] != '-')
        return false;
    size_t end = line_end(source->text, at);
    *ret_text = str_trim(str_n(source->text.ptr + at + 2, end - at - 2));
    source->at = end < source->text.len ? end + 1 : end;
    return true;
}

static bool take_label(Str line, Str label, Str *ret_value)
{
    if (!str_starts_with(line, label))
        return false;
    *ret_value = str_trim(str_skip(line, label.len));
    return true;
}

static bool roles_known(Str roles)
{
    size_t seen = 0;
    while (roles.len > 0) {
        Str role, rest;
        str_cut(roles, ' ', &role, &rest);
        bool known = role.len == 0;
        for (size_t i = 0; i < COUNT_OF(known_roles); i++)
            known |= str_eq(role, str_from_c(known_roles[i]));
        if (!known)
            return false;
        seen += role.len > 0;
        roles = rest;
    }
    return seen > 0;
}

/* The comment block behind `-- name:`: roles and intent, each required. */
static Err header_parse(Arena *arena, Source *source, Statement *statement)
{
    size_t start = source->at;
    bool intent = false;
    Str line, value;
    while (take_comment(source, &line)) {
        if (take_label(line, STR("name:"), &value))
            return refuse(arena, source, start, "a second name before the statement began");
        if (take_label(line, STR("roles:"), &value)) {
            if (statement->roles.len > 0 || !roles_known(value))
                return refuse(
                    arena, source, start, "`-- roles:` stands once and lists api, worker, publish, ingest or migrate");
            statement->roles = arena_str(arena, value);
        } else {
            intent |= line.len > 0;
        }
    }
    if (statement->roles.len == 0)
        return refuse(arena, source, start, "a statement needs `-- roles:`");
    if (!intent)
        return refuse(arena, source, start, "a statement needs a line of intent");
    return OK;
}

static Err statement_add(Embedding *embedding, Source *source, Str name)
{
    Arena *arena = embedding->arena;
    size_t start = source->at;
    if (!is_lower_name(name))
        return refuse(arena, source, start, "a statement's name is lower-case letters, digits and underscores");
    for (size_t i = 0; i < embedding->statement_count; i++)
        if (str_eq(embedding->statements[i].name, name))
            return refuse(arena, source, start, "a statement of this name exists already");
    if (embedding->statement_count == embedding->max)
        return refuse(arena, source, start, "too many statements");
    Statement *statement = &embedding->statements[embedding->statement_count];
    *statement = (Statement){ .name = arena_str(arena, name) };
    TRY(header_parse(arena, source, statement));
    TRY(body_parse(arena, source, statement));
    for (size_t i = 0; i < statement->parameter_count; i++)
        statement->parameters[i] = arena_str(arena, statement->parameters[i]);
    embedding->statement_count++;
    return OK;
}

/* All statements of one file. */
static Err statements_parse(Embedding *embedding, Str file, Str text)
{
    Source source = { .file = file, .text = text };
    if (str_find(text, '\0', &(size_t){ 0 }))
        return refuse(embedding->arena, &source, 0, "the file holds a zero byte");
    while (source.at < text.len) {
        Str line, name;
        if (is_space(text.ptr[source.at]))
            source.at++;
        else if (!take_comment(&source, &line))
            return refuse(
                embedding->arena, &source, source.at, "text that belongs to no statement (`-- name:` comes first)");
        else if (take_label(line, STR("name:"), &name))
            TRY(statement_add(embedding, &source, name));
    }
    return OK;
}

/* --- migrations ------------------------------------------------------------------------------------------------- */

static Str base_name(Str path)
{
    for (size_t i = path.len; i > 0; i--)
        if (path.ptr[i - 1] == '/')
            return str_skip(path, i);
    return path;
}

static Err migration_add(Embedding *embedding, Str path, Str text)
{
    Source source = { .file = path, .text = text };
    Str file = base_name(path);
    Str name = str_first(str_skip(file, 5), file.len > 9 ? file.len - 9 : 0);
    bool shaped = file.len > 9 && str_ends_with(file, STR(".sql")) && file.ptr[4] == '_' && is_lower_name(name);
    int number = 0;
    for (size_t i = 0; shaped && i < 4; i++) {
        shaped = is_digit(file.ptr[i]);
        number = number * 10 + (file.ptr[i] - '0');
    }
    if (!shaped || number == 0)
        return refuse(embedding->arena, &source, 0, "a migration is called NNNN_name.sql, from 0001 on");
    if (str_find(text, '\0', &(size_t){ 0 }))
        return refuse(embedding->arena, &source, 0, "the file holds a zero byte");
    if (embedding->migration_count > 0 && embedding->migrations[embedding->migration_count - 1].number >= number)
        return refuse(embedding->arena, &source, 0, "the number of a migration is used once, and they come in order");
    if (embedding->migration_count == embedding->max)
        return refuse(embedding->arena, &source, 0, "too many migrations");
    embedding->migrations[embedding->migration_count++] = (Script){ number, arena_str(embedding->arena, name), text };
    return OK;
}

/* --- output ----------------------------------------------------------------------------------------------------- */

/* A C string literal, one line of SQL a line. */
static void literal(Buf *out, Str text)
{
    buf_add(out, STR("\n    \""));
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c == '\n')
            buf_add(out, i + 1 < text.len ? STR("\\n\"\n    \"") : STR("\\n"));
        else if (c == '"' || c == '\\' || c == '?')
            buf_fmt(out, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            buf_fmt(out, "\\%03o", c);
        else
            buf_add_char(out, (char)c);
    }
    buf_add_char(out, '"');
}

static Str upper(Arena *arena, Str name)
{
    char *copy = arena_alloc(arena, name.len + 1, 1);
    for (size_t i = 0; i < name.len; i++)
        copy[i] = (char)(name.ptr[i] >= 'a' && name.ptr[i] <= 'z' ? name.ptr[i] - 'a' + 'A' : name.ptr[i]);
    return str_n(copy, name.len);
}

static void header_write(const Embedding *embedding, Buf *out)
{
    buf_add(out, STR("/* Made by sqlembed from sql/. */\n#ifndef STORE_SQL_H\n#define STORE_SQL_H\n\n"
                     "#include \"store/db.h\"\n\n"
                     "extern const Stmt *const ALL_STATEMENTS[]; /* ends with NULL */\n"
                     "extern const char BOOTSTRAP_SQL[];         /* for psql, once, by a superuser */\n\n"));
    for (size_t i = 0; i < embedding->statement_count; i++)
        buf_fmt(out, "extern const Stmt SQL_" STR_FMT ";\n",
            STR_ARG(upper(embedding->arena, embedding->statements[i].name)));
    buf_add(out, STR("\n#endif\n"));
}

static void statement_write(Arena *arena, const Statement *statement, Buf *out)
{
    Str name = statement->name;
    if (statement->parameter_count > 0) {
        buf_fmt(out, "static const char *const " STR_FMT "_parameters[] = {", STR_ARG(name));
        for (size_t i = 0; i < statement->parameter_count; i++)
            buf_fmt(out, " \"" STR_FMT "\",", STR_ARG(statement->parameters[i]));
        buf_add(out, STR(" };\n"));
    }
    buf_fmt(out, "const Stmt SQL_" STR_FMT " = { .name = \"" STR_FMT "\", .roles = \"" STR_FMT "\",\n",
        STR_ARG(upper(arena, name)), STR_ARG(name), STR_ARG(statement->roles));
    if (statement->parameter_count > 0)
        buf_fmt(out, "    .parameters = " STR_FMT "_parameters, .parameter_count = %zu,\n", STR_ARG(name),
            statement->parameter_count);
    buf_add(out, STR("    .sql ="));
    literal(out, statement->sql);
    buf_add(out, STR(" };\n\n"));
}

static void source_write(const Embedding *embedding, Buf *out)
{
    buf_add(out, STR("/* Made by sqlembed from sql/. */\n#include \"store/sql.h\"\n#include \"store/migrate.h\"\n\n"
                     "#pragma GCC diagnostic ignored \"-Woverlength-strings\"\n\n"));
    for (size_t i = 0; i < embedding->statement_count; i++)
        statement_write(embedding->arena, &embedding->statements[i], out);
    buf_add(out, STR("const Stmt *const ALL_STATEMENTS[] = {\n"));
    for (size_t i = 0; i < embedding->statement_count; i++)
        buf_fmt(out, "    &SQL_" STR_FMT ",\n", STR_ARG(upper(embedding->arena, embedding->statements[i].name)));
    buf_add(out, STR("    NULL,\n};\n\nconst Migration MIGRATIONS[] = {\n"));
    for (size_t i = 0; i < embedding->migration_count; i++) {
        const Script *migration = &embedding->migrations[i];
        buf_fmt(
            out, "    { .number = %d, .name = \"" STR_FMT "\", .sql =", migration->number, STR_ARG(migration->name));
        literal(out, migration->sql);
        buf_add(out, STR(" },\n"));
    }
    buf_add(out, STR("    { .number = 0 },\n};\n\nconst char BOOTSTRAP_SQL[] ="));
    literal(out, embedding->bootstrap);
    buf_add(out, STR(";\n"));
}

static Embedding embedding_new(Arena *arena, size_t max)
{
    return (Embedding){
        .arena = arena, .max = max, .statements = NEW(arena, Statement, max), .migrations = NEW(arena, Script, max)
    };
}

#ifndef SQLEMBED_WITHOUT_MAIN

static Err file_take(Embedding *embedding, Str path, bool migration)
{
    Str text;
    TRY(file_read(embedding->arena, path, SQL_BYTES_MAX, &text));
    if (migration)
        return migration_add(embedding, path, text);
    if (str_eq(base_name(path), STR("bootstrap.sql"))) {
        embedding->bootstrap = text;
        return OK;
    }
    return statements_parse(embedding, path, text);
}

static Err output_write(const Embedding *embedding, const char *path, void (*write)(const Embedding *, Buf *))
{
    _cleanup_(buf_release) Buf out = buf_new(OUTPUT_BYTES_MAX);
    write(embedding, &out);
    if (buf_overflowed(&out))
        return FAIL(ERR_TOO_LARGE, "sql-too-large", "The SQL files are too large together.");
    return file_write_atomic(str_from_c(path), buf_str(&out), 0644);
}

static Err run(Arena *arena, int argc, char **argv)
{
    Embedding embedding = embedding_new(arena, STATEMENTS_MAX);
    const char *header = NULL;
    const char *source = NULL;
    bool migrations = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--header") == 0 && i + 1 < argc)
            header = argv[++i];
        else if (strcmp(argv[i], "--source") == 0 && i + 1 < argc)
            source = argv[++i];
        else if (strcmp(argv[i], "--migrations") == 0)
            migrations = true;
        else
            TRY(file_take(&embedding, str_from_c(argv[i]), migrations));
    }
    if (header == NULL || source == NULL)
        return FAIL(ERR_INVALID, "usage", "usage: sqlembed --header H --source C FILE... [--migrations FILE...]");
    TRY(output_write(&embedding, header, header_write));
    return output_write(&embedding, source, source_write);
}

int main(int argc, char **argv)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Err err = run(arena, argc, argv);
    if (err.kind != ERR_NONE)
        fprintf(stderr, "sqlembed: " STR_FMT "\n", STR_ARG(err.detail));
    return err.kind == ERR_NONE ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
