/* scan.c: see scan.h. */
#include "scan.h"

#include <pthread.h>
#include <string.h>

/* --- paths by hash: a path's hash is made of its parent's and its last segment --- */

#define TABLE_SIZE 256 /* a power of two, at least three times the slots */
#define HASH_ROOT UINT32_C(2166136261)

typedef struct Entry {
    uint32_t hash;
    uint8_t slot;
    Str leaf;
} Entry;

static Entry table[TABLE_SIZE];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static uint32_t hash_segment(uint32_t parent, Str segment)
{
    uint32_t hash = (parent ^ '.') * UINT32_C(16777619);
    for (size_t i = 0; i < segment.len; i++)
        hash = (hash ^ (uint8_t)segment.ptr[i]) * UINT32_C(16777619);
    return hash;
}

static void table_fill(void)
{
    for (unsigned slot = 1; slot < SLOT_COUNT; slot++) {
        uint32_t hash = HASH_ROOT;
        Str head, tail = usage_slot_paths[slot];
        do {
            Str rest = tail;
            str_cut(rest, '.', &head, &tail);
            hash = hash_segment(hash, head);
        } while (tail.len > 0);
        uint32_t i = hash % TABLE_SIZE;
        while (table[i].slot != SLOT_NONE) {
            if (table[i].hash == hash)
                die("two usage paths share a hash: " STR_FMT, STR_ARG(usage_slot_paths[slot]));
            i = (i + 1) % TABLE_SIZE;
        }
        table[i] = (Entry){ .hash = hash, .slot = (uint8_t)slot, .leaf = head };
    }
}

static uint8_t slot_find(uint32_t hash, Str leaf)
{
    for (uint32_t i = hash % TABLE_SIZE; table[i].slot != SLOT_NONE; i = (i + 1) % TABLE_SIZE)
        if (table[i].hash == hash)
            return str_eq(table[i].leaf, leaf) ? table[i].slot : SLOT_NONE;
    return SLOT_NONE;
}

/* --- names that mean something by themselves --- */

static bool is_transparent(Str key)
{
    static const Str names[] = { STR_INIT("usage"), STR_INIT("usageMetadata"), STR_INIT("message"),
        STR_INIT("response"), STR_INIT("meta"), STR_INIT("x_groq") };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_eq(key, names[i]))
            return true;
    return false;
}

static bool is_label(Str key)
{
    return str_eq(key, STR("modality")) || str_eq(key, STR("ttl"));
}

static bool is_labelled_count(Str key)
{
    return str_eq(key, STR("tokenCount")) || str_eq(key, STR("inputTokens"));
}

/* Gemini's embeddings spell the list of prompt details in the singular. */
static Str key_canonical(Str key)
{
    return str_eq(key, STR("promptTokenDetails")) ? STR("promptTokensDetails") : key;
}

/* --- the grammar --- */

typedef struct Place {
    Counts *counts; /* NULL: skipping */
    uint32_t hash;
    unsigned depth;
    bool top;      /* an object whose members may be transparent */
    bool labelled; /* an element of a list whose member is named by its label */
} Place;

static bool scan_value(Scan *scan, Place place, Str key);

static inline void skip_space(Scan *scan)
{
    while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\r' || *scan->at == '\t'))
        scan->at++;
}

static inline bool take(Scan *scan, char c)
{
    skip_space(scan);
    if (scan->at >= scan->end || *scan->at != c)
        return false;
    scan->at++;
    return true;
}

static bool escape_is_good(Scan *scan)
{
    if (++scan->at >= scan->end)
        return false;
    if (*scan->at != 'u')
        return strchr("\"\\/bfnrt", *scan->at) != NULL && *scan->at != '\0';
    if (scan->end - scan->at < 5)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = *++scan->at;
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')))
            return false;
    }
    return true;
}

/* A string's inside as it stands: one with escapes equals no name that we look for. */
static bool scan_string(Scan *scan, Str *ret_text)
{
    if (!take(scan, '"'))
        return false;
    const char *start = scan->at;
    for (; scan->at < scan->end; scan->at++) {
        unsigned char c = (unsigned char)*scan->at;
        if (c == '"') {
            *ret_text = str_n(start, (size_t)(scan->at++ - start));
            return true;
        }
        if (c < 0x20 || (c == '\\' && !escape_is_good(scan)))
            return false;
    }
    return false;
}

static bool scan_digits(Scan *scan)
{
    const char *start = scan->at;
    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
        scan->at++;
    return scan->at > start;
}

/* *ret_whole: a non-negative integer within 64 bits. */
static bool scan_number(Scan *scan, int64_t *ret_value, bool *ret_whole)
{
    bool whole = true;
    if (*scan->at == '-') {
        whole = false;
        scan->at++;
    }
    const char *start = scan->at;
    if (!scan_digits(scan) || (*start == '0' && scan->at - start > 1))
        return false;
    int64_t value = 0;
    for (const char *c = start; c < scan->at; c++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *c - '0', &value))
            whole = false;
    if (scan->at < scan->end && *scan->at == '.') {
        whole = false;
        scan->at++;
        if (!scan_digits(scan))
            return false;
    }
    if (scan->at < scan->end && (*scan->at == 'e' || *scan->at == 'E')) {
        whole = false;
        scan->at++;
        if (scan->at < scan->end && (*scan->at == '+' || *scan->at == '-'))
            scan->at++;
        if (!scan_digits(scan))
            return false;
    }
    *ret_value = value;
    *ret_whole = whole;
    return true;
}

static bool scan_word(Scan *scan, Str word)
{
    if (!str_starts_with(str_n(scan->at, (size_t)(scan->end - scan->at)), word))
        return false;
    scan->at += word.len;
    return true;
}

static void put(Counts *counts, uint8_t slot, int64_t value, bool whole)
{
    if (slot == SLOT_NONE)
        return;
    /* A second member of the same name that says something else: neither can be believed. */
    if (!whole || ((counts->present >> slot & 1) != 0 && counts->value[slot] != value)) {
        counts->bad_value = true;
        return;
    }
    counts->present |= UINT64_C(1) << slot;
    counts->value[slot] = value;
}

static void put_text(Place place, Str key, Str text)
{
    Counts *counts = place.counts;
    if (counts == NULL || place.hash != HASH_ROOT)
        return;
    if (str_eq(key, STR("model")) || str_eq(key, STR("modelVersion")))
        counts->model = text;
    else if (str_eq(key, STR("type")))
        counts->kind = text;
    else if (str_eq(key, STR("service_tier")) || str_eq(key, STR("serviceTier")))
        counts->tier = text;
}

/* The members of an element such as {"modality": "AUDIO", "tokenCount": 44}. */
typedef struct Labelled {
    Str label;
    int64_t value;
    bool whole, has_value;
} Labelled;

static bool scan_labelled_member(Scan *scan, Place inside, Str key, Labelled *element)
{
    skip_space(scan);
    if (scan->at >= scan->end)
        return false;
    if (is_label(key) && *scan->at == '"')
        return scan_string(scan, &element->label);
    if (is_labelled_count(key) && ((*scan->at >= '0' && *scan->at <= '9') || *scan->at == '-')) {
        element->has_value = true;
        return scan_number(scan, &element->value, &element->whole);
    }
    inside.counts = NULL;
    return scan_value(scan, inside, key);
}

static bool scan_object(Scan *scan, Place place)
{
    if (!take(scan, '{') || place.depth > USAGE_DEPTH_MAX)
        return false;
    if (take(scan, '}'))
        return true;
    Labelled element = { 0 };
    do {
        Str key;
        if (!scan_string(scan, &key) || !take(scan, ':'))
            return false;
        bool labelled = place.labelled && place.counts != NULL;
        if (labelled ? !scan_labelled_member(scan, place, key, &element) : !scan_value(scan, place, key))
            return false;
    } while (take(scan, ','));
    if (element.label.ptr != NULL && element.has_value && place.counts != NULL) {
        uint8_t slot = slot_find(hash_segment(place.hash, element.label), element.label);
        put(place.counts, slot, element.value, element.whole);
    }
    return take(scan, '}');
}

static bool scan_elements(Scan *scan, Place place, bool iterations)
{
    if (!take(scan, '['))
        return false;
    if (take(scan, ']'))
        return true;
    do {
        Place inside = place;
        if (iterations) {
            if (scan->iteration_count == USAGE_ITERATIONS_MAX)
                return false;
            inside = (Place){
                .counts = &scan->iterations[scan->iteration_count++], .hash = HASH_ROOT, .depth = place.depth
            };
            *inside.counts = (Counts){ 0 };
        }
        if (!scan_value(scan, inside, STR("")))
            return false;
    } while (take(scan, ','));
    return take(scan, ']');
}

static bool scan_array(Scan *scan, Place place, Str key)
{
    bool iterations = place.counts == &scan->top && place.hash == HASH_ROOT && scan->iterations != NULL &&
                      str_eq(key, STR("iterations"));
    Place inside = { .counts = place.counts,
        .hash = key.len == 0 ? place.hash : hash_segment(place.hash, key_canonical(key)),
        .depth = place.depth + 1,
        .labelled = true };
    if (inside.depth > USAGE_DEPTH_MAX)
        return false;
    if (iterations)
        scan->iteration_count = 0;
    return scan_elements(scan, inside, iterations);
}

/* The value of member `key` (empty for an element of a list) of the object at `place`. */
static bool scan_value(Scan *scan, Place place, Str key)
{
    skip_space(scan);
    if (scan->at >= scan->end)
        return false;
    switch (*scan->at) {
    case '{': {
        Place inside = place;
        inside.depth++;
        bool transparent = place.top && is_transparent(key);
        inside.top = transparent;
        if (key.len > 0) {
            inside.labelled = false;
            if (!transparent)
                inside.hash = hash_segment(place.hash, key);
        }
        return scan_object(scan, inside);
    }
    case '[':
        return scan_array(scan, place, key);
    case '"': {
        Str text;
        if (!scan_string(scan, &text))
            return false;
        put_text(place, key, text);
        return true;
    }
    case 't':
        return scan_word(scan, STR("true"));
    case 'f':
        return scan_word(scan, STR("false"));
    case 'n':
        return scan_word(scan, STR("null"));
    default: {
        int64_t value;
        bool whole;
        if (!scan_number(scan, &value, &whole))
            return false;
        if (place.counts != NULL && key.len > 0)
            put(place.counts, slot_find(hash_segment(place.hash, key), key), value, whole);
        return true;
    }
    }
}

bool scan_document(Scan *scan)
{
    pthread_once(&table_once, table_fill);
    scan->top = (Counts){ 0 };
    scan->iteration_count = 0;
    Place root = { .counts = &scan->top, .hash = HASH_ROOT, .depth = 1, .top = true };
    skip_space(scan);
    if (!scan_object(scan, root))
        return false;
    skip_space(scan);
    return true;
}
