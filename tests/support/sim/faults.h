/*
 * faults.h: failures on demand. Rules are tried in order; the first that matches and is not used up applies.
 *
 *     {"match":{"model":"m","key_prefix":"sk-a","path":"/v1/messages","stream":true},
 *      "fault":{"kind":"status","status":429,"retry_after":2,"count":3}}
 *
 * Every member of match may be left out. A count left out means for ever.
 */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "json.h"

#define FAULT_RULES_MAX 64

typedef enum FaultKind {
    FAULT_NONE,
    FAULT_STATUS,             /* an error answer of the dialect, with Retry-After when retry_after is given */
    FAULT_HANG,               /* takes the request and never answers */
    FAULT_HANG_AFTER_HEADERS, /* sends a status line and headers, then nothing */
    FAULT_CUT_AFTER_EVENTS,   /* closes after so many content events; a JSON answer is cut in its middle */
    FAULT_HANG_AFTER_EVENTS,  /* falls silent after so many content events; a JSON answer in its middle */
    FAULT_RESET,              /* a TCP reset instead of an answer */
    FAULT_EMPTY,              /* 200 without a body, or a stream without events */
    FAULT_MALFORMED,          /* 200 with broken JSON */
    FAULT_DRIP,               /* the right answer, byte by byte, gap_ms apart */
    FAULT_SLOW_FIRST_BYTE,    /* the right answer, ms late */
    FAULT_ERROR_EVENT,        /* an error event after so many content events */
    FAULT_ECHO_AUTH,          /* the right answer, with the caller's credentials in its headers */
} FaultKind;

typedef struct Fault {
    FaultKind kind;
    int64_t status;
    int64_t retry_after; /* seconds, -1 = not sent */
    int64_t events;
    int64_t ms;
    int64_t gap_ms;
} Fault;

typedef struct FaultRule {
    char model[128], key_prefix[64], path[64];
    int stream; /* -1 = either */
    Fault fault;
    int64_t left; /* -1 = for ever */
} FaultRule;

typedef struct Faults {
    FaultRule rules[FAULT_RULES_MAX];
    int count;
} Faults;

/* Adds a rule; answers what is wrong with it, or NULL. */
const char *faults_add(Faults *faults, Text json);

/* The fault for a request; uses one up. */
Fault faults_take(Faults *faults, Text model, Text key, Text path, bool stream);

/* The kind as it is written in a rule. */
const char *fault_name(FaultKind kind);

#endif
