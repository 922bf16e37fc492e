/*
 * log.h: one JSON object a line on stderr (or text for people). Names and values in pairs, never a parameter value, a
 * header, a body or anything secret. Control characters are escaped, values cut at 512 bytes.
 *
 *     log_info("listening", LOG_STR("address", address), LOG_INT("workers", workers));
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } LogLevel;

typedef struct LogPair {
    const char *name;
    Str text;
    int64_t number;
    bool is_number;
} LogPair;

#define LOG_STR(pair_name, value) ((LogPair){ .name = (pair_name), .text = (value) })
#define LOG_C(pair_name, value) ((LogPair){ .name = (pair_name), .text = str_from_c(value) })
#define LOG_INT(pair_name, value) ((LogPair){ .name = (pair_name), .number = (int64_t)(value), .is_number = true })

void log_start(const char *program, LogLevel level, bool as_text);
void log_level(LogLevel level);
CHECKED Err log_level_parse(Str text, LogLevel *ret_level);
void log_write(LogLevel level, const char *message, const LogPair *pairs, size_t count);
void log_err(const char *message, Err err); /* level by kind: INTERNAL and UNAVAILABLE are errors, the rest warnings */

#define LOG_PAIRS_(...) ((const LogPair[]){ __VA_ARGS__ }), sizeof((const LogPair[]){ __VA_ARGS__ }) / sizeof(LogPair)
#define log_debug(message, ...) log_write(LOG_DEBUG, message, LOG_PAIRS_(__VA_ARGS__))
#define log_info(message, ...) log_write(LOG_INFO, message, LOG_PAIRS_(__VA_ARGS__))
#define log_warn(message, ...) log_write(LOG_WARN, message, LOG_PAIRS_(__VA_ARGS__))
#define log_error(message, ...) log_write(LOG_ERROR, message, LOG_PAIRS_(__VA_ARGS__))

#endif
