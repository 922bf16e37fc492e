/*
 * world.h: what all loops of the simulated provider share, behind one lock: keys, prefix cache, faults, journal,
 * counts.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "cache.h"
#include "faults.h"
#include "journal.h"
#include "keys.h"
#include "prompt.h"

#include <pthread.h>
#include <stdatomic.h>

#define MODELS_MAX 256

typedef struct Options {
    int port;
    int threads;
    const char *port_file;
    const char *keys_file;
    const char *journal;
    const char *models; /* comma-separated, NULL = any model is served */
    bool no_journal;
    bool fast;
    int64_t first_byte_ms;
    int64_t token_us;
    int64_t tokens_per_event;
    int64_t output_tokens;
    int64_t cache_entries;
    int64_t drain_s;
} Options;

typedef struct ModelCount {
    char name[MODEL_BYTES_MAX];
    int64_t requests;
} ModelCount;

typedef struct Stats {
    int64_t requests;
    int64_t client_disconnects;
    int64_t connections;
    int64_t refused; /* answers of 4xx that no fault asked for */
    ModelCount models[MODELS_MAX];
    int model_count;
} Stats;

typedef struct World {
    Options options;
    pthread_mutex_t lock;
    Keys *keys;
    Cache *cache;
    Journal *journal; /* NULL with --no-journal */
    Faults faults;
    Stats stats;
    atomic_long in_flight;
    atomic_bool stopping;
} World;

#endif
