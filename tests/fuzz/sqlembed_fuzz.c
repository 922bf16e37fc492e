/* Any bytes as an SQL file: an answer, never a fault; what is accepted is whole. */
#define SQLEMBED_WITHOUT_MAIN
#include "../../src/tools/sqlembed.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Embedding embedding = embedding_new(arena, 64);
    Str text = str_n((const char *)data, size);
    bool migration = migration_add(&embedding, str_first(text, 20), text).kind == ERR_NONE;
    if (migration && (embedding.migrations[0].number < 1 || embedding.migrations[0].number > 9999))
        die("accepted a migration without a number");
    if (statements_parse(&embedding, STR("fuzz.sql"), text).kind != ERR_NONE)
        return 0;
    for (size_t i = 0; i < embedding.statement_count; i++) {
        const Statement *s = &embedding.statements[i];
        if (s->sql.len == 0 || s->parameter_count > PARAMETERS_MAX)
            die("accepted an empty statement");
        for (size_t p = 0; p < s->parameter_count; p++)
            if (s->parameters[p].len == 0)
                die("accepted an empty parameter");
    }
    _cleanup_(buf_release) Buf out = buf_new(OUTPUT_BYTES_MAX);
    header_write(&embedding, &out);
    source_write(&embedding, &out);
    return 0;
}
