/*
 * list - intrusive doubly linked ring. A head is a node of its own; an unlinked node points to itself.
 */
#ifndef HG_BASE_LIST_H
#define HG_BASE_LIST_H

#include "base/bytes.h"

struct hg_list {
    struct hg_list *prev, *next;
};

#define HG_LIST_INIT(name) {&(name), &(name)}

static inline void hg_list_init(struct hg_list *node)
{
    node->prev = node->next = node;
}

static inline bool hg_list_is_empty(const struct hg_list *head)
{
    return head->next == head;
}

static inline void hg_list_insert_between(struct hg_list *node, struct hg_list *prev,
                                          struct hg_list *next)
{
    node->prev = prev;
    node->next = next;
    prev->next = node;
    next->prev = node;
}

static inline void hg_list_push_front(struct hg_list *head, struct hg_list *node)
{
    hg_list_insert_between(node, head, head->next);
}

static inline void hg_list_push_back(struct hg_list *head, struct hg_list *node)
{
    hg_list_insert_between(node, head->prev, head);
}

/* Safe on an unlinked (initialised) node. */
static inline void hg_list_remove(struct hg_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    hg_list_init(node);
}

/* NULL when empty. */
static inline struct hg_list *hg_list_pop_front(struct hg_list *head)
{
    struct hg_list *node = head->next;
    if (node == head)
        return NULL;
    hg_list_remove(node);
    return node;
}

/* All of `from` to the end of `to`; `from` is empty afterwards. */
static inline void hg_list_splice_back(struct hg_list *to, struct hg_list *from)
{
    if (hg_list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    hg_list_init(from);
}

#define hg_list_for_each(it, head) for (struct hg_list *it = (head)->next; it != (head); it = it->next)
/* The body may remove `it`. */
#define hg_list_for_each_safe(it, head)                                                            \
    for (struct hg_list *it = (head)->next, *it##_next = it->next; it != (head);                   \
         it = it##_next, it##_next = it->next)

#endif
