/*
 * cell.c: the split reference count.
 */
#include "cell.h"

#include "base/arena.h"

#include <assert.h>
#include <pthread.h>

#define SLOT_SHIFT 48
#define COUNT_MASK ((UINT64_C(1) << SLOT_SHIFT) - 1)
#define CURRENT_BIAS (INT64_C(1) << 56) /* in the counter of the current item: nobody brings that to zero */

struct Cell {
    _Atomic uint64_t head; /* slot << 48 | acquired */
    _Atomic(CellItem *) retired;
    void (*free_item)(CellItem *item, void *arg);
    void *arg;
    Arena *arena;
    _Atomic(CellItem *) *slots; /* slot 0 is "none" */
    uint32_t next;              /* where the search for a free slot begins */
};

Cell *cell_new(void (*free_item)(CellItem *item, void *arg), void *arg)
{
    Arena *arena = arena_new();
    Cell *cell = NEW(arena, Cell, 1);
    cell->arena = arena;
    cell->free_item = free_item;
    cell->arg = arg;
    cell->slots = NEW(arena, _Atomic(CellItem *), CELL_SLOTS);
    cell->next = 1;
    return cell;
}

static void retire(Cell *cell, CellItem *item)
{
    CellItem *first = atomic_load(&cell->retired);
    do {
        item->next = first;
    } while (!atomic_compare_exchange_weak(&cell->retired, &first, item));
}

CellItem *cell_acquire(Cell *cell)
{
    uint64_t head = atomic_fetch_add_explicit(&cell->head, 1, memory_order_acquire);
    /* Safe because our count is in the head: the swapper cannot bring the item to zero before we give it back. */
    return atomic_load_explicit(&cell->slots[head >> SLOT_SHIFT], memory_order_acquire);
}

void cell_retain(CellItem *item)
{
    atomic_fetch_add_explicit(&item->count, 1, memory_order_relaxed);
}

void cell_release(Cell *cell, CellItem *item)
{
    if (item != NULL && atomic_fetch_sub_explicit(&item->count, 1, memory_order_acq_rel) == 1)
        retire(cell, item);
}

static bool slot_find(Cell *cell, uint32_t *ret_slot)
{
    for (uint32_t tried = 0; tried < CELL_SLOTS; tried++) {
        uint32_t slot = cell->next;
        cell->next = cell->next + 1 < CELL_SLOTS ? cell->next + 1 : 1;
        if (atomic_load(&cell->slots[slot]) == NULL) {
            *ret_slot = slot;
            return true;
        }
    }
    return false;
}

Err cell_swap(Cell *cell, CellItem *item)
{
    uint32_t slot = 0;
    cell_reap(cell);
    if (item != NULL) {
        if (!slot_find(cell, &slot))
            return FAIL(ERR_LIMITED, "snapshots-held", "Too many replaced snapshots are still in use.");
        item->slot = slot;
        atomic_store(&item->count, CURRENT_BIAS);
        atomic_store(&cell->slots[slot], item);
    }
    uint64_t old = atomic_exchange_explicit(&cell->head, (uint64_t)slot << SLOT_SHIFT, memory_order_acq_rel);
    CellItem *replaced = atomic_load(&cell->slots[old >> SLOT_SHIFT]);
    int64_t held = (int64_t)(old & COUNT_MASK) - CURRENT_BIAS;
    if (replaced != NULL && atomic_fetch_add_explicit(&replaced->count, held, memory_order_acq_rel) + held == 0)
        retire(cell, replaced);
    return OK;
}

void cell_reap(Cell *cell)
{
    CellItem *item = atomic_exchange(&cell->retired, NULL);
    while (item != NULL) {
        CellItem *next = item->next;
        atomic_store(&cell->slots[item->slot], NULL);
        cell->free_item(item, cell->arg);
        item = next;
    }
}

void cell_free(Cell **cell)
{
    if (*cell == NULL)
        return;
    Err err = cell_swap(*cell, NULL);
    assert(err.kind == ERR_NONE);
    cell_reap(*cell);
    Arena *arena = (*cell)->arena;
    *cell = NULL;
    arena_free(&arena);
}
