/*
 * meter.h: the disjoint kinds of quantity that a provider can charge for.
 *
 * Inside and in SQL a meter is its number, on the wire its name. Numbers are for ever: stored rows hold them, so a new
 * meter is appended and none is ever renumbered. The meters of one unit never overlap: their token counts add up to
 * the provider's total, or the difference is recorded as a residual.
 */
#ifndef USAGE_METER_H
#define USAGE_METER_H

#include "base/err.h"

typedef enum Meter {
    METER_NONE = 0,
    METER_INPUT_UNCACHED = 1,
    METER_CACHE_READ = 2,
    METER_CACHE_WRITE_5M = 3,
    METER_CACHE_WRITE_1H = 4,
    METER_CACHE_WRITE_OTHER = 5,
    METER_OUTPUT = 6,
    METER_REASONING = 7,
    METER_AUDIO_IN = 8,
    METER_AUDIO_OUT = 9,
    METER_IMAGE_IN = 10,
    METER_IMAGE_OUT = 11,
    METER_VIDEO_IN = 12,
    METER_TOOL_PROMPT = 13,
    METER_PREDICTION_REJECTED = 14,
    METER_CACHE_READ_AUDIO = 15,
    METER_WEB_SEARCH = 16,
    METER_REQUEST = 17,
    METER_COUNT = 18,
} Meter;

/* "input_uncached"; the empty Str for METER_NONE and for numbers this program does not know. */
Str meter_name(Meter meter);
bool meter_find(Str name, Meter *ret_meter);
bool meter_is_tokens(Meter meter); /* part of a provider's token total */
bool meter_is_input(Meter meter);  /* part of what the provider calls the context or the prompt */
/* The meter whose price holds where `meter` has none of its own (reasoning is charged as output), or METER_NONE: a
 * cached token never falls back to the price of an uncached one. */
Meter meter_fallback(Meter meter);

#endif
