/*
 * scan.h: one pass over usage JSON that fills slots and allocates nothing.
 *
 * Checks the whole grammar (RFC 8259, depth and size bounded) while it looks at keys; paths that no slot names are
 * skipped. Objects named usage, usageMetadata, message, response, meta, x_groq at the top are transparent.
 */
#ifndef USAGE_SCAN_H
#define USAGE_SCAN_H

#include "dialects.h"

/* What one object said. Strings are borrowed from the text. */
typedef struct Counts {
    uint64_t present;
    bool bad_value;
    Str model, kind, tier;
    int64_t value[SLOT_COUNT];
} Counts;

typedef struct Scan {
    const char *at, *end;
    Counts top;
    Counts *iterations; /* room for USAGE_ITERATIONS_MAX, or NULL to skip them */
    size_t iteration_count;
} Scan;

/* Reads the next document at scan->at into scan->top and iterations; leaves `at` behind it and white space. False when
 * it is not one well-formed JSON object. */
bool scan_document(Scan *scan);

#endif
