#include "base/testing.h"
#include "cli/ring_plan.h"

#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "cache/ring.h"

/* The page of a node with these members. */
static json_t *page_of(const char *preset, const char *const *names, size_t count)
{
    const struct hg_ring_preset *of = hg_ring_preset_find(hg_bytes_str(preset));
    struct hg_bytes bytes[8];
    struct hg_ring *ring;
    char fingerprint[32];
    json_t *members = json_array();
    for (size_t i = 0; i < count; i++) {
        bytes[i] = hg_bytes_str(names[i]);
        json_array_append_new(members, json_pack("{s:s}", "name", names[i]));
    }
    assert_int_equal(hg_ring_create(of, bytes, count, &ring), HG_OK);
    snprintf(fingerprint, sizeof(fingerprint), "%016llx",
             (unsigned long long)hg_ring_fingerprint(ring));
    hg_ring_destroy(ring);
    return json_pack("{s:s, s:s, s:i, s:s, s:o}", "ring", preset, "hash",
                     of->hash == HG_RING_CRC32 ? "crc32" : "xxh64", "points", (int)of->points,
                     "fingerprint", fingerprint, "members", members);
}

static int plan_of(json_t *page, bool is_join, const char *name, json_t **out_plan, char *error)
{
    int err = hg_ring_plan_create(page, is_join, name, out_plan, error, 160);
    json_decref(page);
    return err;
}

static double number(const json_t *json, const char *name)
{
    return json_number_value(json_object_get(json, name));
}

static void test_who_joins_takes_a_part_from_everybody(void **state)
{
    static const char *const names[] = {"b:1", "a:1", "c:1"};
    static const char *const presets[] = {"default", "hgcache", "groupcache"};
    char error[160];
    (void)state;
    for (size_t p = 0; p < HG_COUNT(presets); p++) {
        json_t *plan, *move, *member;
        size_t i;
        double sum = 0, before = 0, after = 0;
        assert_int_equal(plan_of(page_of(presets[p], names, 3), true, "d:1", &plan, error), HG_OK);
        assert_string_equal(json_string_value(json_object_get(plan, "change")), "join");
        assert_int_equal(json_array_size(json_object_get(plan, "moves")), 3);
        json_array_foreach(json_object_get(plan, "moves"), i, move)
        {
            assert_string_equal(json_string_value(json_object_get(move, "to")), "d:1");
            assert_string_equal(json_string_value(json_object_get(move, "from")), names[i]);
            sum += number(move, "share");
        }
        assert_true(sum - number(plan, "moved") < 1e-9 && number(plan, "moved") - sum < 1e-9);
        assert_true(number(plan, "moved") > 0.1 && number(plan, "moved") < 0.5);
        json_array_foreach(json_object_get(plan, "members"), i, member)
        {
            before += number(member, "before");
            after += number(member, "after");
        }
        assert_int_equal(i, 4);
        assert_true(before > 1 - 1e-9 && before < 1 + 1e-9 && after > 1 - 1e-9 && after < 1 + 1e-9);
        json_decref(plan);
    }
}

static void test_who_leaves_gives_to_everybody_and_the_way_back_moves_the_same(void **state)
{
    static const char *const four[] = {"a:1", "b:1", "c:1", "d:1"};
    char error[160];
    json_t *leave, *join, *move;
    size_t i;
    (void)state;
    assert_int_equal(plan_of(page_of("default", four, 4), false, "d:1", &leave, error), HG_OK);
    assert_int_equal(plan_of(page_of("default", four, 3), true, "d:1", &join, error), HG_OK);
    assert_true(number(leave, "moved") == number(join, "moved"));
    json_array_foreach(json_object_get(leave, "moves"), i, move)
        assert_string_equal(json_string_value(json_object_get(move, "from")), "d:1");
    assert_int_equal(i, 3);
    json_t *three = page_of("default", four, 3), *all = page_of("default", four, 4);
    assert_true(
        json_equal(json_object_get(leave, "fingerprint"), json_object_get(three, "fingerprint")));
    assert_true(
        json_equal(json_object_get(join, "fingerprint"), json_object_get(all, "fingerprint")));
    json_decref(three);
    json_decref(all);
    json_decref(leave);
    json_decref(join);
}

static void test_what_cannot_be_is_refused(void **state)
{
    static const char *const two[] = {"a:1", "b:1"};
    char error[160];
    json_t *plan = NULL;
    (void)state;
    assert_int_equal(plan_of(page_of("default", two, 2), true, "a:1", &plan, error), HG_EINVAL);
    assert_non_null(strstr(error, "member already"));
    assert_int_equal(plan_of(page_of("default", two, 2), true, "http://c:1", &plan, error),
                     HG_EINVAL); /* on the ring it would be another name */
    assert_non_null(strstr(error, "such as a:1"));
    assert_int_equal(plan_of(page_of("default", two, 2), false, "c:1", &plan, error), HG_EINVAL);
    assert_non_null(strstr(error, "no member"));
    assert_int_equal(plan_of(page_of("default", two, 1), false, "a:1", &plan, error), HG_EINVAL);
    assert_non_null(strstr(error, "only member"));
    assert_null(plan);
}

static void test_a_page_that_is_no_ring_of_ours_is_refused(void **state)
{
    static const char *const two[] = {"a:1", "b:1"};
    static const char *const texts[] = {
        "{}",
        "[]",
        "{\"members\":[]}",
        "{\"ring\":null,\"members\":[{\"name\":\"n\"}]}",
        "{\"hash\":\"xxh64\",\"points\":2048,\"fingerprint\":\"0\",\"members\":[{}]}",
        "{\"hash\":\"xxh64\",\"points\":99999999,\"fingerprint\":\"0\",\"members\":[{\"name\":"
        "\"a\"}]}",
    };
    char error[160];
    json_t *plan = NULL;
    (void)state;
    for (size_t i = 0; i < HG_COUNT(texts); i++)
        assert_int_equal(plan_of(json_loads(texts[i], 0, NULL), true, "c:1", &plan, error),
                         HG_EPROTO);
    json_t *page = page_of("default", two, 2);
    json_object_set_new(page, "fingerprint", json_string("0123456789abcdef"));
    assert_int_equal(plan_of(page, true, "c:1", &plan, error), HG_EPROTO);
    assert_non_null(strstr(error, "otherwise"));
}

static void test_a_plan_is_drawn(void **state)
{
    json_t *plan =
        json_loads("{\"change\":\"join\",\"member\":\"c:1\",\"moved\":0.3,\"fingerprint\":\"0\","
                   "\"moves\":[{\"from\":\"a:1\",\"to\":\"c:1\",\"share\":0.2},{\"from\":\"b:1\","
                   "\"to\":\"c:1\",\"share\":0.1}],"
                   "\"members\":[{\"name\":\"a:1\",\"before\":0.6,\"after\":0.4},{\"name\":\"b:1\","
                   "\"before\":0.4,\"after\":0.3},"
                   "{\"name\":\"c:1\",\"before\":0,\"after\":0.3}]}",
                   0, NULL);
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    (void)state;
    assert_int_equal(hg_ring_plan_show(plan, false, out), HG_OK);
    fclose(out);
    json_decref(plan);
    assert_string_equal(text, "c:1 would join: 30.0 % of the keys move\n"
                              "\n"
                              "from  to      keys\n"
                              "a:1   c:1   20.0 %  ##############################\n"
                              "b:1   c:1   10.0 %  ###############\n"
                              "\n"
                              "member   before    after\n"
                              "a:1      60.0 %   40.0 %  ##############################\n"
                              "b:1      40.0 %   30.0 %  ######################\n"
                              "c:1       0.0 %   30.0 %  ######################\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_joins_takes_a_part_from_everybody),
        cmocka_unit_test(test_who_leaves_gives_to_everybody_and_the_way_back_moves_the_same),
        cmocka_unit_test(test_what_cannot_be_is_refused),
        cmocka_unit_test(test_a_page_that_is_no_ring_of_ours_is_refused),
        cmocka_unit_test(test_a_plan_is_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
