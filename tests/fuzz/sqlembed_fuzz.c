/* Any bytes as an SQL file: an answer, never a fault; what is accepted is whole. */
#define SQLEMBED_WITHOUT_MAIN
#include "../../src/tools/sqlembed.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    /* Smaller tables than the tool's own: a fresh one for every input. */
    Embedding embedding = {
        .arena = arena, .statements = NEW(arena, Statement, 64), .migrations = NEW(arena, Script, 1)
    };
    Str text = str_n((const char *)data, size);
    size_t lines = 0;
    for (Str rest = text, head; rest.len > 0; lines++)
        str_cut(rest, '\n', &head, &rest);
    if (lines > 64 * 3) /* a statement takes at least three lines */
        return 0;
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
