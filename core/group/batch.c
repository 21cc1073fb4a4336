#include "group/batch.h"

#include "base/bug.h"

bool hg_batch_join_locked(struct hg_load *load, bool is_slotless)
{
    struct hg_group *group = load->group;
    bool leads = true;

    if (!hg_is_batched(load))
        return leads;
    pthread_mutex_lock(&group->batch_lock);
    struct hg_load **open = &group->open_batch[is_slotless];
    if (*open == NULL) {
        *open = hg_config_of(group)->batch_max > 1 ? load : NULL;
    } else {
        struct hg_load *leader = *open;
        leads = false;
        atomic_store_explicit(&load->leader, leader, memory_order_release);
        hg_list_push_back(&leader->followers, &load->link);
        leader->follower_count++;
        if (leader->follower_count + 1 >= hg_config_of(group)->batch_max)
            *open = NULL;
    }
    pthread_mutex_unlock(&group->batch_lock);
    return leads;
}

void hg_batch_close(struct hg_load *leader, struct hg_list *out_followers)
{
    struct hg_group *group = leader->group;

    hg_list_init(out_followers);
    pthread_mutex_lock(&group->batch_lock);
    for (size_t i = 0; i < HG_COUNT(group->open_batch); i++)
        if (group->open_batch[i] == leader)
            group->open_batch[i] = NULL;
    hg_list_splice_back(out_followers, &leader->followers);
    leader->follower_count = 0;
    pthread_mutex_unlock(&group->batch_lock);
}

/* Begins to run, or is let go because nobody awaits it any more. */
static bool is_still_wanted(struct hg_load *load, uint64_t now_ms)
{
    struct hg_group *group = load->group;
    struct hg_shard *shard = hg_group_shard(group, load->flight.hash);

    hg_shard_lock(shard);
    bool is_wanted = load->reason != HG_LOAD_MISS || load->flight.waiter_count > 0;
    if (is_wanted) {
        load->state = HG_LOAD_STARTED;
        load->run_ms = now_ms;
        load->start_number = hg_groups_sequence(group->groups);
        shard->counters.local_loads++;
    } else {
        hg_flight_end(&shard->flights, &load->flight);
        atomic_fetch_sub(&group->groups->flight_count, 1);
    }
    hg_shard_unlock(shard);
    return is_wanted;
}

size_t hg_load_gather(struct hg_load *leader, uint64_t now_ms)
{
    struct hg_list joined;
    size_t count = 1;

    if (!hg_is_batched(leader))
        return count;
    if (leader->is_gathered)
        return leader->follower_count + 1;
    leader->is_gathered = true;
    hg_batch_close(leader, &joined);
    struct hg_list *node;
    while ((node = hg_list_pop_front(&joined)) != NULL) {
        struct hg_load *load = hg_container_of(node, struct hg_load, link);
        if (!is_still_wanted(load, now_ms)) {
            hg_load_destroy(load);
            continue;
        }
        if (hg_bug(HG_BUG_LOSE_FOLLOWER) && count == 2)
            continue;
        hg_list_push_back(&leader->followers, &load->link);
        count++;
    }
    leader->follower_count = (unsigned)count - 1;
    return count;
}
