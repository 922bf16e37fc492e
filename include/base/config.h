/*
 * config.h: one YAML file, read into a struct by its field table.
 *
 * YAML is read to JSON with line numbers; anchors, aliases, tags, duplicate keys and the unquoted words that YAML 1.1
 * takes for booleans (yes, no, on, off) are refused. Unknown keys are errors that name their line. Environment
 * overrides: PREFIX_A__B sets a.b. A member NAME_file gives NAME's value from a file (relative names are looked for in
 * $CREDENTIALS_DIRECTORY first); it stays a path here: secret_from_file (crypto) reads it.
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include "base/field.h"

#define CONFIG_BYTES_MAX (1024 * 1024)

/* Text to JSON; errors name "name:line:". */
CHECKED Err yaml_parse(Arena *arena, Str name, Str text, json_t **ret_value);
Str yaml_write(Arena *arena, const json_t *value); /* block style; used by CLI output */

/* Reads path, applies the environment's overrides, decodes; errors name the file, the line and the member. */
CHECKED Err config_load(Arena *arena, Str path, Str env_prefix, const FieldTable *table, void *ret_config);
/* The configuration as YAML with members of `write_only` fields shown as "(redacted)". */
Str config_print(Arena *arena, const FieldTable *table, const void *config);

CHECKED Err file_read(Arena *arena, Str path, size_t bytes_max, Str *ret_text);
/* Writes a temporary beside path, fsyncs it and its directory, renames. mode e.g. 0600. */
CHECKED Err file_write_atomic(Str path, Str text, unsigned mode);

#endif
