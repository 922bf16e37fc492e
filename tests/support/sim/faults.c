#include "faults.h"

static const Text names[] = {
    [FAULT_NONE] = TEXT_INIT("none"),
    [FAULT_STATUS] = TEXT_INIT("status"),
    [FAULT_HANG] = TEXT_INIT("hang"),
    [FAULT_HANG_AFTER_HEADERS] = TEXT_INIT("hang_after_headers"),
    [FAULT_CUT_AFTER_EVENTS] = TEXT_INIT("cut_after_events"),
    [FAULT_HANG_AFTER_EVENTS] = TEXT_INIT("hang_after_events"),
    [FAULT_RESET] = TEXT_INIT("reset"),
    [FAULT_EMPTY] = TEXT_INIT("empty"),
    [FAULT_MALFORMED] = TEXT_INIT("malformed"),
    [FAULT_DRIP] = TEXT_INIT("drip"),
    [FAULT_SLOW_FIRST_BYTE] = TEXT_INIT("slow_first_byte"),
    [FAULT_ERROR_EVENT] = TEXT_INIT("error_event_in_stream"),
    [FAULT_ECHO_AUTH] = TEXT_INIT("echo_auth"),
};

const char *fault_name(FaultKind kind)
{
    return names[kind].ptr;
}

static FaultKind kind_of(Text name)
{
    for (size_t i = 1; i < sizeof names / sizeof *names; i++) {
        if (text_eq(name, names[i]))
            return (FaultKind)i;
    }
    return FAULT_NONE;
}

static const char *read_match(FaultRule *rule, Text match)
{
    JsonWalk walk;
    Text name, value;
    if (!json_open(match, &walk) || walk.close != '}')
        return "match must be an object";
    while (json_next(&walk, &name, &value)) {
        if (text_eq(name, TEXT("model")))
            text_copy(rule->model, sizeof rule->model, json_raw(value));
        else if (text_eq(name, TEXT("key_prefix")))
            text_copy(rule->key_prefix, sizeof rule->key_prefix, json_raw(value));
        else if (text_eq(name, TEXT("path")))
            text_copy(rule->path, sizeof rule->path, json_raw(value));
        else if (text_eq(name, TEXT("stream")))
            rule->stream = json_is_true(value);
        else
            return "match has an unknown member; known are model, key_prefix, path, stream";
    }
    return walk.failed ? "match is not valid JSON" : NULL;
}

static const char *read_fault(FaultRule *rule, Text object)
{
    Fault *fault = &rule->fault;
    const struct {
        Text name;
        int64_t *into;
    } numbers[] = {
        { TEXT("status"), &fault->status },
        { TEXT("retry_after"), &fault->retry_after },
        { TEXT("n"), &fault->events },
        { TEXT("events"), &fault->events },
        { TEXT("ms"), &fault->ms },
        { TEXT("gap_ms"), &fault->gap_ms },
        { TEXT("count"), &rule->left },
    };
    JsonWalk walk;
    Text name, value;
    if (!json_open(object, &walk) || walk.close != '}')
        return "fault must be an object";
    while (json_next(&walk, &name, &value)) {
        bool known = text_eq(name, TEXT("kind"));
        if (known)
            fault->kind = kind_of(json_raw(value));
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers && !known; i++) {
            known = text_eq(name, numbers[i].name);
            if (known && !text_int(value, numbers[i].into))
                return "a number of the fault is not a whole number from 0 up";
        }
        if (!known)
            return "fault has an unknown member; known are kind, status, retry_after, n, ms, gap_ms, count";
    }
    return walk.failed ? "fault is not valid JSON" : NULL;
}

static const char *check(const FaultRule *rule)
{
    if (rule->fault.kind == FAULT_NONE)
        return "fault.kind is missing or unknown";
    if (rule->fault.kind == FAULT_STATUS && (rule->fault.status < 200 || rule->fault.status > 599))
        return "fault.status must be from 200 to 599";
    return NULL;
}

const char *faults_add(Faults *faults, Text json)
{
    FaultRule rule = { .stream = -1, .left = -1 };
    const char *problem = NULL;
    Text part;
    rule.fault = (Fault){ .retry_after = -1, .ms = 1000, .gap_ms = 20, .events = 1 };
    if (faults->count == FAULT_RULES_MAX)
        return "there are 64 rules already";
    if (json_member(json, TEXT("match"), &part))
        problem = read_match(&rule, part);
    if (!problem)
        problem = json_member(json, TEXT("fault"), &part) ? read_fault(&rule, part) : "fault is missing";
    if (!problem)
        problem = check(&rule);
    if (!problem)
        faults->rules[faults->count++] = rule;
    return problem;
}

static bool matches(const FaultRule *rule, Text model, Text key, Text path, bool stream)
{
    return rule->left != 0 && (!rule->model[0] || text_eq(text_of(rule->model), model)) &&
           text_starts(key, text_of(rule->key_prefix)) && (!rule->path[0] || text_eq(text_of(rule->path), path)) &&
           (rule->stream < 0 || rule->stream == stream);
}

Fault faults_take(Faults *faults, Text model, Text key, Text path, bool stream)
{
    for (int i = 0; i < faults->count; i++) {
        FaultRule *rule = &faults->rules[i];
        if (!matches(rule, model, key, path, stream))
            continue;
        if (rule->left > 0)
            rule->left--;
        return rule->fault;
    }
    return (Fault){ 0 };
}
