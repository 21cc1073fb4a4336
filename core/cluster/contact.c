#include "cluster/contact.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/bug.h"
#include "base/err.h"
#include "wire/peer_message.h"

struct member {
    struct hg_changes_place place; /* boot 0: never heard */
    uint64_t asked_ms,
        heard_ms;      /* of the ask under way; of the last one that was answered whole. 0: none */
    uint64_t distrust; /* that held when the first of these asks left */
    bool is_asking, is_going_on; /* going on: more follows upon the last answer */
    bool was_now;
};

struct hg_contact {
    struct hg_groups *groups;
    struct hg_changes *changes;
    size_t self, member_count;
    uint64_t distrust;
    struct hg_contact_stats stats;
    struct member members[];
};

int hg_contact_create(struct hg_groups *groups, struct hg_changes *changes, size_t member_count,
                      size_t self, struct hg_contact **out_contact)
{
    struct hg_contact *contact =
        hg_calloc(1, sizeof(*contact) + member_count * sizeof(struct member));
    if (contact == NULL)
        return HG_ENOMEM;
    contact->groups = groups;
    contact->changes = changes;
    contact->self = self;
    contact->member_count = member_count;
    *out_contact = contact;
    return HG_OK;
}

void hg_contact_destroy(struct hg_contact *contact)
{
    hg_free(contact);
}

void hg_contact_inherit(struct hg_contact *contact, const struct hg_contact *before,
                        const size_t *was)
{
    contact->distrust = before->distrust;
    contact->stats = before->stats;
    for (size_t i = 0; i < contact->member_count; i++) {
        if (was[i] == SIZE_MAX)
            continue;
        assert(was[i] < before->member_count);
        contact->members[i] = (struct member){.place = before->members[was[i]].place,
                                              .heard_ms = before->members[was[i]].heard_ms};
    }
}

struct hg_contact_stats hg_contact_stats(const struct hg_contact *contact)
{
    return contact->stats;
}

void hg_contact_tick(struct hg_contact *contact, uint64_t now_ms)
{
    contact->distrust = hg_groups_alive(contact->groups, now_ms);
}

bool hg_contact_ask(struct hg_contact *contact, size_t member_index, uint64_t now_ms,
                    struct hg_changes_place *out_place)
{
    struct member *member = &contact->members[member_index];

    assert(member_index != contact->self);
    if (member->is_asking)
        return false;
    member->is_asking = true;
    if (!member->is_going_on) {
        member->asked_ms = now_ms;
        member->distrust = contact->distrust;
    }
    member->was_now = member->place.boot == 0 && hg_groups_is_empty(contact->groups);
    *out_place = member->place;
    out_place->is_now = member->was_now;
    return true;
}

static void flush_all(struct hg_contact *contact, uint64_t now_ms)
{
    contact->stats.flushed++;
    hg_changes_cut(contact->changes);
    for (size_t i = 0; i < hg_groups_count(contact->groups); i++) {
        struct hg_group *group = hg_groups_at(contact->groups, i);
        if (group != NULL)
            hg_group_flush(group, now_ms);
    }
}

static int apply_all(struct hg_contact *contact, const struct hg_peer_changes *changes,
                     uint64_t now_ms)
{
    struct hg_changes_stats before, after;
    int err = HG_OK;

    hg_changes_stats(contact->changes, &before);
    for (size_t i = 0; i < changes->count && err == HG_OK; i++) {
        struct hg_peer_change change;
        void *owner = NULL;
        bool was_there;
        err = hg_peer_change_decode(changes->changes[i], &change, &owner);
        if (err == HG_OK)
            err = hg_changes_apply(contact->changes, &change, true, now_ms, &was_there);
        hg_peer_message_free(owner);
    }
    hg_changes_stats(contact->changes, &after);
    contact->stats.missed += after.applied - before.applied;
    return err;
}

/* All that any member knew when it was last asked has arrived. */
static void tell_contact(struct hg_contact *contact)
{
    uint64_t oldest_ms = UINT64_MAX;
    for (size_t i = 0; i < contact->member_count; i++)
        if (i != contact->self && contact->members[i].heard_ms < oldest_ms)
            oldest_ms = contact->members[i].heard_ms;
    if (oldest_ms != 0 && oldest_ms != UINT64_MAX)
        hg_groups_contact(contact->groups, oldest_ms);
}

/* HG_OK: what it says has been taken in. */
static int take(struct hg_contact *contact, struct member *member,
                const struct hg_peer_changes *changes, uint64_t now_ms)
{
    bool is_new_boot = member->place.boot != 0 && member->place.boot != changes->boot;
    bool is_lost = changes->is_cut || (is_new_boot && member->distrust != 0);

    if (changes->boot == 0)
        return HG_EPROTO;
    /* While that was under way something was stored: it may have missed what lies before the number. */
    if (member->was_now && !hg_groups_is_empty(contact->groups)) {
        member->place = (struct hg_changes_place){.boot = changes->boot};
        member->is_going_on = true;
        return HG_OK;
    }
    if (is_lost)
        flush_all(contact, now_ms);
    int err = apply_all(contact, changes, now_ms);
    if (err < 0)
        return err;
    member->place = (struct hg_changes_place){.boot = changes->boot, .number = changes->number};
    member->is_going_on = changes->is_part;
    if (member->is_going_on)
        return HG_OK;
    member->heard_ms = member->asked_ms;
    if (!changes->is_behind || is_lost)
        hg_groups_caught_up(contact->groups, member->distrust);
    tell_contact(contact);
    return HG_OK;
}

bool hg_contact_answered(struct hg_contact *contact, size_t member_index, struct hg_bytes body,
                         uint64_t now_ms)
{
    struct member *member = &contact->members[member_index];
    struct hg_peer_changes *changes = NULL;
    void *owner = NULL;
    int err = HG_EPEER;

    assert(member->is_asking);
    member->is_asking = false;
    if (body.len > 0) {
        changes = hg_malloc(sizeof(*changes));
        err = changes == NULL ? HG_ENOMEM : hg_peer_changes_decode(body, changes, &owner);
    }
    if (err == HG_OK)
        err = take(contact, member, changes, now_ms);
    if (err < 0) {
        contact->stats.failed++;
        member->is_going_on = false;
    }
    hg_peer_message_free(owner);
    hg_free(changes);
    return member->is_going_on;
}
