/*
 * yaml_lines.h: where in a YAML text each member stood, so that a later complaint can name its line.
 */
#ifndef BASE_YAML_LINES_H
#define BASE_YAML_LINES_H

#include "base/arena.h"

#include <jansson.h>

typedef struct YamlLine YamlLine;
struct YamlLine {
    Str pointer; /* RFC 6901 */
    size_t line; /* from 1 */
    YamlLine *next;
};

typedef struct YamlLines {
    YamlLine *first;
} YamlLines;

void yaml_lines_add(YamlLines *lines, Arena *arena, Str pointer, size_t line);
size_t yaml_line_of(const YamlLines *lines, Str pointer); /* 0 when it is not there */
/* yaml_parse that fills `lines` too. */
CHECKED Err yaml_parse_lines(Arena *arena, Str name, Str text, YamlLines *lines, json_t **ret_value);

#endif
