#include "journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define INDEX_EVERY 256

struct Journal {
    int fd;
    bool in_memory;
    Buf batch;
    int64_t written; /* bytes in the file */
    int64_t count;
    int64_t lost;
    size_t line_start;
    int64_t *index; /* offset of line 1, 1 + INDEX_EVERY, ... */
    size_t index_len, index_size;
};

Journal *journal_open(const char *path)
{
    Journal *journal = calloc(1, sizeof *journal);
    if (!journal)
        abort();
    journal->in_memory = !path;
    journal->fd =
        path ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : memfd_create("reeve-sim", MFD_CLOEXEC);
    if (journal->fd >= 0)
        return journal;
    free(journal);
    return NULL;
}

void journal_close(Journal *journal)
{
    if (!journal)
        return;
    journal_flush(journal);
    close(journal->fd);
    buf_release(&journal->batch);
    free(journal->index);
    free(journal);
}

static void index_line(Journal *journal)
{
    if (journal->count % INDEX_EVERY != 0)
        return;
    if (journal->index_len == journal->index_size) {
        journal->index_size = journal->index_size ? journal->index_size * 2 : 1024;
        journal->index = realloc(journal->index, journal->index_size * sizeof *journal->index);
        if (!journal->index)
            abort();
    }
    journal->index[journal->index_len++] = journal->written + (int64_t)journal->batch.len;
}

Buf *journal_begin(Journal *journal)
{
    index_line(journal);
    journal->line_start = journal->batch.len;
    journal->count++;
    PUT(&journal->batch, "{\"n\":");
    buf_int(&journal->batch, journal->count);
    return &journal->batch;
}

void journal_end(Journal *journal)
{
    PUT(&journal->batch, "}\n");
    bool full = journal->in_memory && journal->written + (int64_t)journal->batch.len > JOURNAL_MEMORY_BYTES_MAX;
    if (full) {
        journal->batch.len = journal->line_start;
        journal->lost++;
    } else if (journal->batch.len > JOURNAL_BATCH_BYTES) {
        journal_flush(journal);
    }
}

void journal_flush(Journal *journal)
{
    size_t done = 0;
    while (done < journal->batch.len) {
        ssize_t n = pwrite(journal->fd, journal->batch.ptr + done, journal->batch.len - done, journal->written);
        if (n <= 0) {
            perror("reeve-sim: could not write the journal");
            exit(1);
        }
        done += (size_t)n;
        journal->written += n;
    }
    journal->batch.len = 0;
}

bool journal_is_dirty(const Journal *journal)
{
    return journal->batch.len > 0;
}

int64_t journal_count(const Journal *journal)
{
    return journal->count;
}

/* Where the line after the given number starts, by the index and then by counting line ends. */
static int64_t offset_after(Journal *journal, int64_t after)
{
    static char block[65536];
    size_t slot = (size_t)(after / INDEX_EVERY);
    int64_t at = slot < journal->index_len ? journal->index[slot] : journal->written;
    int64_t left = after % INDEX_EVERY;
    while (left > 0) {
        ssize_t n = pread(journal->fd, block, sizeof block, at);
        if (n <= 0)
            return journal->written;
        const char *line_end = memchr(block, '\n', (size_t)n);
        at += line_end ? line_end - block + 1 : n;
        left -= line_end ? 1 : 0;
    }
    return at;
}

bool journal_read(Journal *journal, int64_t after, Buf *out)
{
    journal_flush(journal);
    if (journal->lost)
        return false;
    if (after >= journal->count)
        return true;
    int64_t at = offset_after(journal, after);
    buf_reserve(out, JOURNAL_PAGE_BYTES);
    ssize_t n = pread(journal->fd, out->ptr + out->len, JOURNAL_PAGE_BYTES, at);
    while (n > 0 && out->ptr[out->len + (size_t)n - 1] != '\n')
        n--;
    out->len += n > 0 ? (size_t)n : 0;
    return true;
}

void journal_clear(Journal *journal)
{
    journal->batch.len = 0;
    journal->index_len = 0;
    journal->written = journal->count = journal->lost = 0;
    if (ftruncate(journal->fd, 0) != 0)
        perror("reeve-sim: could not empty the journal");
}
