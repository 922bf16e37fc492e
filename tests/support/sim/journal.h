/*
 * journal.h: the provider's exact account of what it served, one JSON line per request, numbered from 1.
 *
 * Lines are collected in memory and written in batches; journal_flush is called when the loop is idle, every few
 * milliseconds under load, and at the end. Without a path the lines live in memory, up to JOURNAL_MEMORY_BYTES_MAX;
 * beyond that they are counted as lost and reading them is refused, for a journal with holes is no account.
 */
#ifndef SIM_JOURNAL_H
#define SIM_JOURNAL_H

#include "text.h"

#define JOURNAL_BATCH_BYTES ((size_t)256 << 10)
#define JOURNAL_MEMORY_BYTES_MAX ((int64_t)512 << 20)
#define JOURNAL_PAGE_BYTES ((size_t)4 << 20)

typedef struct Journal Journal;

/* path NULL: in memory. NULL when the file could not be opened; it is truncated. */
Journal *journal_open(const char *path);
void journal_close(Journal *journal);

/* The buffer to append a line's members to, after {"n":N; then journal_end. Not reentrant. */
Buf *journal_begin(Journal *journal);
void journal_end(Journal *journal);

/* Writes what is collected. A failed write ends the program: the account would be wrong. */
void journal_flush(Journal *journal);
bool journal_is_dirty(const Journal *journal);
int64_t journal_count(const Journal *journal);

/* Appends whole lines after the given number, about JOURNAL_PAGE_BYTES of them. False when lines were lost. */
bool journal_read(Journal *journal, int64_t after, Buf *out);
void journal_clear(Journal *journal);

#endif
