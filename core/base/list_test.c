#include "base/list.h"
#include "base/testing.h"

struct item {
    int number;
    struct hg_list link;
};

static struct item *item_of(struct hg_list *node)
{
    return hg_container_of(node, struct item, link);
}

/* The numbers of a list, forwards and backwards. */
static void assert_list(struct hg_list *head, const int *numbers, size_t count)
{
    size_t i = 0;
    hg_list_for_each(node, head)
    {
        assert_true(i < count);
        assert_int_equal(item_of(node)->number, numbers[i++]);
        assert_ptr_equal(node->prev->next, node);
        assert_ptr_equal(node->next->prev, node);
    }
    assert_int_equal(i, count);
    for (struct hg_list *node = head->prev; node != head; node = node->prev)
        assert_int_equal(item_of(node)->number, numbers[--i]);
    assert_int_equal(i, 0);
    assert_int_equal(hg_list_is_empty(head), count == 0);
}

static void test_items_keep_their_order(void **state)
{
    struct hg_list head = HG_LIST_INIT(head);
    struct item items[4] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
    (void)state;
    assert_list(&head, NULL, 0);
    hg_list_push_back(&head, &items[1].link);
    hg_list_push_back(&head, &items[2].link);
    hg_list_push_front(&head, &items[0].link);
    hg_list_push_back(&head, &items[3].link);
    assert_list(&head, (int[]){0, 1, 2, 3}, 4);
    hg_list_remove(&items[1].link);
    hg_list_remove(&items[1].link); /* unlinked: nothing happens */
    assert_list(&head, (int[]){0, 2, 3}, 3);
    assert_ptr_equal(hg_list_pop_front(&head), &items[0].link);
    assert_true(hg_list_is_empty(&items[0].link));
    assert_list(&head, (int[]){2, 3}, 2);
    hg_list_pop_front(&head);
    hg_list_pop_front(&head);
    assert_null(hg_list_pop_front(&head));
}

static void test_splice_moves_all_behind(void **state)
{
    (void)state;
    for (size_t left = 0; left < 4; left++) {
        for (size_t right = 0; right < 4; right++) {
            struct hg_list to = HG_LIST_INIT(to), from = HG_LIST_INIT(from);
            struct item items[8];
            int numbers[8] = {0};
            for (size_t i = 0; i < left + right; i++) {
                numbers[i] = items[i].number = (int)i;
                hg_list_push_back(i < left ? &to : &from, &items[i].link);
            }
            hg_list_splice_back(&to, &from);
            assert_list(&to, numbers, left + right);
            assert_list(&from, NULL, 0);
        }
    }
}

static void test_walk_survives_removal_of_the_current_item(void **state)
{
    struct hg_list head = HG_LIST_INIT(head);
    struct item items[10];
    (void)state;
    for (int i = 0; i < 10; i++) {
        items[i].number = i;
        hg_list_push_back(&head, &items[i].link);
    }
    hg_list_for_each_safe(node, &head)
    {
        if (item_of(node)->number % 2 == 0)
            hg_list_remove(node);
    }
    assert_list(&head, (int[]){1, 3, 5, 7, 9}, 5);
}

#define ITEMS 12

/* Against an array that is shifted by hand. */
static void run_random_steps(uint64_t seed)
{
    struct hg_test_random random = {seed};
    struct hg_list head = HG_LIST_INIT(head);
    struct item items[ITEMS];
    int model[ITEMS];
    size_t count = 0;
    for (int i = 0; i < ITEMS; i++) {
        items[i].number = i;
        hg_list_init(&items[i].link);
    }
    for (int step = 0; step < 2000; step++) {
        int number = (int)hg_test_below(&random, ITEMS);
        struct hg_list *link = &items[number].link;
        for (size_t i = 0; i < count; i++) {
            if (model[i] == number) {
                memmove(&model[i], &model[i + 1], (count - i - 1) * sizeof(model[0]));
                count--;
            }
        }
        hg_list_remove(link);
        switch (hg_test_below(&random, 3)) {
        case 0:
            hg_list_push_front(&head, link);
            memmove(&model[1], &model[0], count * sizeof(model[0]));
            model[0] = number;
            count++;
            break;
        case 1:
            hg_list_push_back(&head, link);
            model[count++] = number;
            break;
        default:
            break;
        }
        assert_list(&head, model, count);
    }
}

static void test_random_steps_agree_with_an_array(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++)
        run_random_steps(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items_keep_their_order),
        cmocka_unit_test(test_splice_moves_all_behind),
        cmocka_unit_test(test_walk_survives_removal_of_the_current_item),
        cmocka_unit_test(test_random_steps_agree_with_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
