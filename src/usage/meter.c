/* meter.c: the table of meters. */
#include "usage/meter.h"

typedef struct MeterRow {
    Str name;
    Meter fallback;
    bool tokens, input;
} MeterRow;

static const MeterRow meters[METER_COUNT] = {
    [METER_INPUT_UNCACHED] = { STR_INIT("input_uncached"), METER_NONE, true, true },
    [METER_CACHE_READ] = { STR_INIT("cache_read"), METER_NONE, true, true },
    [METER_CACHE_WRITE_5M] = { STR_INIT("cache_write_5m"), METER_NONE, true, true },
    [METER_CACHE_WRITE_1H] = { STR_INIT("cache_write_1h"), METER_NONE, true, true },
    [METER_CACHE_WRITE_OTHER] = { STR_INIT("cache_write_other"), METER_CACHE_WRITE_5M, true, true },
    [METER_OUTPUT] = { STR_INIT("output"), METER_NONE, true, false },
    [METER_REASONING] = { STR_INIT("reasoning"), METER_OUTPUT, true, false },
    [METER_AUDIO_IN] = { STR_INIT("audio_in"), METER_INPUT_UNCACHED, true, true },
    [METER_AUDIO_OUT] = { STR_INIT("audio_out"), METER_NONE, true, false },
    [METER_IMAGE_IN] = { STR_INIT("image_in"), METER_INPUT_UNCACHED, true, true },
    [METER_IMAGE_OUT] = { STR_INIT("image_out"), METER_NONE, true, false },
    [METER_VIDEO_IN] = { STR_INIT("video_in"), METER_INPUT_UNCACHED, true, true },
    [METER_TOOL_PROMPT] = { STR_INIT("tool_prompt"), METER_INPUT_UNCACHED, true, true },
    [METER_PREDICTION_REJECTED] = { STR_INIT("prediction_rejected"), METER_OUTPUT, true, false },
    [METER_CACHE_READ_AUDIO] = { STR_INIT("cache_read_audio"), METER_CACHE_READ, true, true },
    [METER_WEB_SEARCH] = { STR_INIT("web_search"), METER_NONE, false, false },
    [METER_REQUEST] = { STR_INIT("request"), METER_NONE, false, false },
};

static const MeterRow *row_of(Meter meter)
{
    return meter > METER_NONE && meter < METER_COUNT ? &meters[meter] : &meters[METER_NONE];
}

Str meter_name(Meter meter)
{
    return row_of(meter)->name;
}

bool meter_find(Str name, Meter *ret_meter)
{
    for (Meter m = METER_NONE + 1; m < METER_COUNT; m++)
        if (str_eq(meters[m].name, name)) {
            *ret_meter = m;
            return true;
        }
    return false;
}

bool meter_is_tokens(Meter meter)
{
    return row_of(meter)->tokens;
}

bool meter_is_input(Meter meter)
{
    return row_of(meter)->input;
}

Meter meter_fallback(Meter meter)
{
    return row_of(meter)->fallback;
}
