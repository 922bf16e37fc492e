/*
 * work.c: a bounded ring of jobs under one lock.
 */
#include "api/work.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct Job {
    void (*fn)(void *arg);
    void *arg;
} Job;

struct Work {
    pthread_mutex_t lock;
    pthread_cond_t some;
    Job *jobs;
    unsigned capacity, first, count;
    pthread_t *threads;
    unsigned thread_count;
    bool ending;
    Arena *arena;
};

static bool take_job(Work *work, Job *ret_job)
{
    pthread_mutex_lock(&work->lock);
    while (work->count == 0 && !work->ending)
        pthread_cond_wait(&work->some, &work->lock);
    bool any = work->count > 0;
    if (any) {
        *ret_job = work->jobs[work->first];
        work->first = (work->first + 1) % work->capacity;
        work->count--;
    }
    pthread_mutex_unlock(&work->lock);
    return any;
}

static void *run_jobs(void *arg)
{
    Work *work = arg;
    Job job;
    while (take_job(work, &job))
        job.fn(job.arg);
    return NULL;
}

Work *work_new(unsigned threads, unsigned waiting_max)
{
    Arena *arena = arena_new();
    Work *work = NEW(arena, Work, 1);
    *work = (Work){ .arena = arena,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .some = PTHREAD_COND_INITIALIZER,
        .jobs = NEW(arena, Job, waiting_max),
        .capacity = waiting_max,
        .threads = NEW(arena, pthread_t, threads),
        .thread_count = threads };
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&work->threads[i], NULL, run_jobs, work) != 0)
            die("could not start a worker thread");
    return work;
}

bool work_submit(Work *work, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&work->lock);
    bool room = work->count < work->capacity && !work->ending;
    if (room) {
        work->jobs[(work->first + work->count) % work->capacity] = (Job){ fn, arg };
        work->count++;
        pthread_cond_signal(&work->some);
    }
    pthread_mutex_unlock(&work->lock);
    return room;
}

unsigned work_waiting(const Work *work)
{
    Work *w = (Work *)(uintptr_t)work;
    pthread_mutex_lock(&w->lock);
    unsigned count = w->count;
    pthread_mutex_unlock(&w->lock);
    return count;
}

void work_free(Work **work)
{
    Work *w = *work;
    if (w == NULL)
        return;
    *work = NULL;
    pthread_mutex_lock(&w->lock);
    w->ending = true;
    pthread_cond_broadcast(&w->some);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->thread_count; i++)
        pthread_join(w->threads[i], NULL);
    pthread_cond_destroy(&w->some);
    pthread_mutex_destroy(&w->lock);
    Arena *arena = w->arena;
    arena_free(&arena);
}
