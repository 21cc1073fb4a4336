#include "cache/ghost.h"
#include "base/testing.h"

#include <string.h>

/* A ghost against an array of hashes, oldest first. */
#define KEYS 200

struct model {
    uint64_t hashes[KEYS];
    size_t count;
};

static size_t model_find(const struct model *model, uint64_t hash)
{
    size_t i = 0;
    while (i < model->count && model->hashes[i] != hash)
        i++;
    return i;
}

static bool model_remove(struct model *model, uint64_t hash)
{
    size_t i = model_find(model, hash);
    if (i == model->count)
        return false;
    memmove(&model->hashes[i], &model->hashes[i + 1],
            (model->count - i - 1) * sizeof(model->hashes[0]));
    model->count--;
    return true;
}

static void model_push(struct model *model, uint64_t hash, size_t limit)
{
    model_remove(model, hash);
    while (model->count > 0 && model->count >= limit)
        model_remove(model, model->hashes[0]);
    if (limit > 0)
        model->hashes[model->count++] = hash;
}

static void test_random_steps_agree_with_a_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct hg_test_random random = {seed};
        struct hg_ghost ghost = {0};
        struct model model = {.count = 0};
        size_t limit = 0;
        print_message("seed %d\n", (int)seed);
        for (int i = 0; i < 4000; i++) {
            /* Seven of each tag: keys that only their whole hash tells apart. */
            uint64_t key = hg_test_below(&random, KEYS), part = key % 7 << 8;
            uint64_t hash = part << 32 | (part ^ key / 7);
            switch (hg_test_below(&random, 8)) {
            case 0:
                assert_int_equal(hg_ghost_remove(&ghost, hash), model_remove(&model, hash));
                break;
            case 1:
                if (hg_test_below(&random, 20) == 0) {
                    limit = hg_test_below(&random, KEYS);
                    hg_ghost_trim(&ghost, limit);
                    while (model.count > ghost.capacity)
                        model_remove(&model, model.hashes[0]);
                }
                break;
            case 2:
                assert_int_equal(hg_ghost_forget_oldest(&ghost), model.count > 0);
                if (model.count > 0)
                    model_remove(&model, model.hashes[0]);
                break;
            default:
                hg_ghost_remove(&ghost, hash);
                hg_ghost_push(&ghost, hash, limit);
                model_push(&model, hash, limit);
            }
            assert_true(hg_ghost_validate(&ghost));
            assert_int_equal(ghost.count, model.count);
            for (size_t k = 0; k < model.count; k++)
                assert_true(hg_ghost_has(&ghost, model.hashes[k]));
            assert_int_equal(hg_ghost_has(&ghost, hash), model_find(&model, hash) < model.count);
        }
        hg_ghost_finish(&ghost);
    }
}

static void test_what_it_takes_is_what_an_entry_is_charged_with(void **state)
{
    (void)state;
    for (size_t wanted = 1; wanted < 5000; wanted = wanted * 3 + 1) {
        struct hg_ghost ghost = {0};
        size_t live = hg_alloc_live_bytes();
        for (uint64_t hash = 0; hash < wanted; hash++)
            hg_ghost_push(&ghost, hash, wanted);
        assert_int_equal(ghost.count, wanted);
        size_t most = wanted < 16 ? 16 * HG_GHOST_BYTES : wanted * HG_GHOST_BYTES;
        assert_true(hg_alloc_live_bytes() - live <= most + most / 4); /* the allocator rounds */
        hg_ghost_trim(&ghost, 1);
        assert_int_equal(ghost.capacity, 16);
        hg_ghost_finish(&ghost);
        assert_int_equal(hg_alloc_live_bytes(), live);
    }
}

static void test_without_memory_it_remembers_fewer(void **state)
{
    struct hg_ghost ghost = {0};
    (void)state;
    hg_alloc_fail_at(0, true);
    hg_ghost_push(&ghost, 5, 100);
    assert_true(hg_alloc_fail_clear());
    assert_false(hg_ghost_has(&ghost, 5));
    for (uint64_t hash = 1; hash <= 16; hash++)
        hg_ghost_push(&ghost, hash, 100);
    hg_alloc_fail_at(0, true);
    hg_ghost_push(&ghost, 17, 100);
    assert_true(hg_alloc_fail_clear());
    assert_int_equal(ghost.count, 16);
    assert_false(hg_ghost_has(&ghost, 1));
    assert_true(hg_ghost_has(&ghost, 2));
    assert_true(hg_ghost_has(&ghost, 17));
    hg_ghost_push(&ghost, 18, 100); /* growing keeps them */
    assert_int_equal(ghost.count, 17);
    assert_true(hg_ghost_has(&ghost, 2));
    assert_true(hg_ghost_validate(&ghost));
    hg_ghost_finish(&ghost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_steps_agree_with_a_model),
        cmocka_unit_test(test_what_it_takes_is_what_an_entry_is_charged_with),
        cmocka_unit_test(test_without_memory_it_remembers_fewer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
