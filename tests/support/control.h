/*
 * control.h: a control plane in a thread, for tests and benches of the gateway: it enrols, signs, publishes and takes
 * events as the real one does, with the same builders, and keeps everything in memory.
 *
 *     Control *control = control_start(&(ControlSpec){ .workflows = { { .name = "summarize", ... } } });
 *     ... reeve-gateway with control_join_token(control) and control_url(control) ...
 *     control_publish(control, &other_spec);             // the next manifest
 *     control_events(control, arena, &events);
 *     control_stop(&control);
 */
#ifndef SUPPORT_CONTROL_H
#define SUPPORT_CONTROL_H

#include "base/arena.h"

#define CONTROL_TARGETS 4
#define CONTROL_WORKFLOWS 16

typedef struct ControlTarget {
    const char *base_url;
    const char *dialect; /* NULL: the workflow's */
    const char *model;
    const char *key;           /* the provider key; NULL: none */
    const char *sealed_origin; /* NULL: the base URL's */
    int64_t connect_ms, first_byte_ms, idle_ms, total_ms, max_attempts;
} ControlTarget;

typedef struct ControlWorkflow {
    const char *name, *dialect;
    ControlTarget targets[CONTROL_TARGETS];
    int64_t retry_budget_ms, retry_base_ms, retry_max_ms, retry_attempts;
} ControlWorkflow;

typedef struct ControlSpec {
    ControlWorkflow workflows[CONTROL_WORKFLOWS]; /* until one without a name */
    int64_t hard_expiry_s;                        /* 0: an hour */
} ControlSpec;

typedef struct Control Control;

Control *control_start(const ControlSpec *spec);
void control_stop(Control **control);
Str control_url(const Control *control);
Str control_join_token(const Control *control);
Str control_client_key(const Control *control); /* of the one project */
void control_publish(Control *control, const ControlSpec *spec);

/* Whether events are taken (else 503), and whether their text is kept (else only counted: for benches). */
void control_take_events(Control *control, bool take);
void control_keep_events(Control *control, bool keep);
size_t control_event_count(Control *control); /* distinct ids while kept */
Strs control_events(Control *control, Arena *arena);

#endif
