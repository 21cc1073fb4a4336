#include "net/test_support.h"

#include "net/pg_config.h"
#include "net/pq_library.h"

static char error[256];

static struct hg_pg_config *make(const char *conninfo, const char *keyword, const char *value)
{
    struct hg_pg_config *config = NULL;
    struct hg_pg_option option = {keyword, value};
    int err =
        hg_pg_config_create(conninfo, &option, keyword != NULL, &config, error, sizeof(error));
    if (err < 0)
        fail_msg("%s", error);
    return config;
}

static const char *value_of(const struct hg_pg_config *config, const char *keyword)
{
    for (size_t i = 0; i < config->option_count; i++)
        if (strcmp(config->keywords[i], keyword) == 0)
            return config->values[i];
    return NULL;
}

static void assert_place(const struct hg_pg_place *place, const char *host, const char *address,
                         const char *port)
{
    assert_string_equal(place->host, host);
    if (address == NULL)
        assert_null(place->address);
    else
        assert_string_equal(place->address, address);
    assert_string_equal(place->port, port);
}

static void test_defaults(void **state)
{
    struct hg_pg_config *config = make(NULL, NULL, NULL);
    (void)state;
    assert_int_equal(config->place_count, 1);
    assert_place(&config->places[0], "127.0.0.1", "127.0.0.1", "5432");
    assert_string_equal(value_of(config, "client_encoding"), "UTF8");
    assert_string_equal(value_of(config, "gssencmode"), "disable");
    hg_pg_config_unref(config);
}

static void test_strings_and_urls_are_taken_apart(void **state)
{
    struct hg_pg_config *config = make("postgresql://me:secret@db.example:5433/shop", NULL, NULL);
    (void)state;
    assert_place(&config->places[0], "db.example", NULL, "5433");
    assert_string_equal(value_of(config, "user"), "me");
    assert_string_equal(value_of(config, "password"), "secret");
    assert_string_equal(value_of(config, "dbname"), "shop");
    assert_null(value_of(config, "host"));
    hg_pg_config_unref(config);

    config = make("host=a,/run/pg,::1 port=1,2,3 user=me", "user", "other");
    assert_int_equal(config->place_count, 3);
    assert_place(&config->places[0], "a", NULL, "1");
    assert_place(&config->places[1], "/run/pg", NULL, "2");
    assert_place(&config->places[2], "::1", "::1", "3");
    assert_false(hg_pg_is_folder(&config->places[0]));
    assert_true(hg_pg_is_folder(&config->places[1]));
    assert_string_equal(value_of(config, "user"), "other");
    hg_pg_config_unref(config);

    config = make("hostaddr=10.0.0.1,10.0.0.2 port=7", NULL, NULL);
    assert_place(&config->places[1], "10.0.0.2", "10.0.0.2", "7");
    hg_pg_config_unref(config);

    config = make("host=a,b hostaddr=,10.0.0.2", "port", "9");
    assert_place(&config->places[0], "a", NULL, "9");
    assert_place(&config->places[1], "b", "10.0.0.2", "9");
    hg_pg_config_unref(config);

    config = make("host=fe80::1%lo,127.1", NULL, NULL);
    assert_place(&config->places[0], "fe80::1%lo", "fe80::1%lo", "5432");
    assert_place(&config->places[1], "127.1", NULL, "5432");
    hg_pg_config_unref(config);
}

static void test_what_is_wrong_is_told(void **state)
{
    static const struct {
        const char *conninfo, *wanted;
    } rows[] = {
        {"nonsense", "missing \"=\""},
        {"color=blue", "invalid connection option \"color\""},
        {"service=x", "service is not supported"},
        {"host=a,b port=1,2,3", "port: expected one, or as many as hosts"},
        {"host=a,b hostaddr=1.2.3.4", "hostaddr: expected as many as hosts"},
        {"host=a,b,c,d,e,f,g,h,i", "host: too many hosts"},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_pg_config *config = NULL;
        int err = hg_pg_config_create(rows[i].conninfo, NULL, 0, &config, error, sizeof(error));
        assert_int_equal(err, HG_EINVAL);
        assert_null(config);
        if (strstr(error, rows[i].wanted) == NULL || strchr(error, '\n') != NULL)
            fail_msg("%s: %s", rows[i].conninfo, error);
    }
}

static void test_each_allocation_may_fail(void **state)
{
    size_t live_bytes = hg_alloc_live_bytes();
    struct hg_pg_option option = {"dbname", "shop"};
    bool was_refused = true;
    (void)state;
    for (unsigned n = 0; was_refused; n++) {
        struct hg_pg_config *config = NULL;
        hg_alloc_fail_at(n, false);
        int err = hg_pg_config_create("host=a,b,10.0.0.1 user=me port=1,2,3", &option, 1, &config,
                                      error, sizeof(error));
        was_refused = hg_alloc_fail_clear();
        assert_int_equal(err, was_refused ? HG_ENOMEM : HG_OK);
        hg_pg_config_unref(config);
        assert_int_equal(hg_alloc_live_bytes(), live_bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_strings_and_urls_are_taken_apart),
        cmocka_unit_test(test_what_is_wrong_is_told),
        cmocka_unit_test(test_each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
