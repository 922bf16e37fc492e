/*
 * cell.h: one value that many threads read without a lock while one thread replaces it.
 *
 * A reader's acquire is one atomic addition: the head word holds the slot of the current value (upper 16 bits) and how
 * often it was acquired since it became current (lower 48). A swap moves that count into the value's own counter; who
 * brings a replaced value's counter to zero, reader or swapper, retires it. Retired values wait in a list until
 * cell_reap, so that a reader never pays for freeing one.
 *
 *     CellItem *item = cell_acquire(cell);    // NULL before the first swap
 *     ... cell_release(cell, item);
 */
#ifndef SNAPSHOT_PULL_CELL_H
#define SNAPSHOT_PULL_CELL_H

#include "base/err.h"

#include <stdatomic.h>

#define CELL_SLOTS 65536 /* values that may be held at once; a swap beyond them is refused */

/* First member of what a cell holds. */
typedef struct CellItem {
    _Atomic int64_t count;
    uint32_t slot;
    struct CellItem *next; /* in the retired list */
} CellItem;

typedef struct Cell Cell;

Cell *cell_new(void (*free_item)(CellItem *item, void *arg), void *arg);
void cell_free(Cell **cell); /* every reader has let go */
CellItem *cell_acquire(Cell *cell);
void cell_retain(CellItem *item); /* once more, by who holds it already */
void cell_release(Cell *cell, CellItem *item);
/* Makes item current (NULL: none), from one thread at a time. ERR_LIMITED "snapshots-held" when all slots are held. */
CHECKED Err cell_swap(Cell *cell, CellItem *item);
void cell_reap(Cell *cell); /* frees what was retired */

#endif
