#include "net/test_tls.h"

struct setting {
    struct test_pki pki;
    struct test_tls_server server;
    struct hg_tls_context *context;
    struct test_end end;
    struct hg_tls *tls;
    struct hg_buf in;
    size_t live_bytes;
};

static struct test_pki pki;

static int make_pki(void **state)
{
    (void)state;
    test_pki_make(&pki);
    return 0;
}

static int remove_pki(void **state)
{
    (void)state;
    test_pki_remove(&pki);
    return 0;
}

static const struct hg_tls_options checked = {.server_name = "localhost", .verify = true};

static void begin(struct setting *setting, const struct hg_tls_options *options)
{
    assert_int_equal(hg_tls_create(setting->context, options, &setting->tls), HG_OK);
    test_end_open(&setting->end, &setting->server);
    hg_buf_init(&setting->in, (size_t)1 << 20);
}

static void end(struct setting *setting)
{
    hg_tls_destroy(setting->tls);
    setting->tls = NULL;
    test_end_finish(&setting->end);
    hg_buf_finish(&setting->in);
}

static void open_setting(struct setting *setting, int version)
{
    memset(setting, 0, sizeof(*setting));
    setting->live_bytes = hg_alloc_live_bytes();
    test_tls_server_open(&setting->server, &pki, version);
    assert_int_equal(hg_tls_context_create(pki.ca, &setting->context), HG_OK);
}

static void close_setting(struct setting *setting)
{
    hg_tls_context_destroy(setting->context);
    test_tls_server_close(&setting->server);
    assert_int_equal(hg_alloc_live_bytes(), setting->live_bytes);
}

/* What the client has to send goes to the server. */
static void carry_out(struct setting *setting)
{
    struct hg_bytes output = hg_tls_output(setting->tls);
    size_t len = output.len;
    test_end_feed(&setting->end, output);
    hg_tls_output_take(setting->tls, len);
}

/* And the other way, step bytes at a time; rc as the handshake says. */
static int carry_in(struct setting *setting, size_t step, int rc)
{
    char bytes[4096];
    size_t len;
    while (rc == HG_PENDING && (len = test_end_output(&setting->end, bytes, step)) > 0) {
        assert_int_equal(hg_tls_feed(setting->tls, hg_bytes(bytes, len)), HG_OK);
        rc = hg_tls_handshake(setting->tls);
    }
    return rc;
}

static int shake(struct setting *setting, size_t step)
{
    int rc = hg_tls_handshake(setting->tls);
    for (unsigned i = 0; i < 10 && rc == HG_PENDING; i++) {
        carry_out(setting);
        rc = carry_in(setting, step, rc);
    }
    carry_out(setting);
    return rc;
}

/* Everything the server has sent. */
static int receive(struct setting *setting, size_t step)
{
    char bytes[4096];
    size_t len;
    int rc = HG_OK;
    while (rc == HG_OK && (len = test_end_output(&setting->end, bytes, step)) > 0) {
        assert_int_equal(hg_tls_feed(setting->tls, hg_bytes(bytes, len)), HG_OK);
        rc = hg_tls_read(setting->tls, &setting->in);
    }
    return rc;
}

static void assert_talk(struct setting *setting, size_t step)
{
    char heard[16];
    assert_int_equal(hg_tls_write(setting->tls, HG_BYTES("hello")), HG_OK);
    carry_out(setting);
    assert_int_equal(test_end_hear(&setting->end, heard, sizeof(heard)), 5);
    assert_memory_equal(heard, "hello", 5);
    test_end_say(&setting->end, "one");
    test_end_say(&setting->end, " two");
    assert_int_equal(receive(setting, step), HG_OK);
    assert_int_equal(setting->in.len, 7);
    assert_memory_equal(setting->in.data, "one two", 7);
    assert_int_equal(hg_tls_state(setting->tls), HG_OK);
}

static void test_handshake_and_bytes_in_steps_of_any_size(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    static const size_t steps[] = {1, 7, 4096};
    struct setting setting;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        open_setting(&setting, versions[i]);
        for (size_t j = 0; j < 3; j++) {
            begin(&setting, &checked);
            assert_int_equal(shake(&setting, steps[j]), HG_OK);
            assert_talk(&setting, steps[j]);
            end(&setting);
        }
        close_setting(&setting);
    }
}

static void test_old_versions_are_refused(void **state)
{
    struct setting setting;
    (void)state;
    open_setting(&setting, TLS1_1_VERSION);
    begin(&setting, &checked);
    assert_int_equal(shake(&setting, 4096), HG_EPROTO);
    end(&setting);
    close_setting(&setting);
}

static void test_names_and_authorities_are_checked(void **state)
{
    static const struct {
        const char *name, *error; /* NULL: good */
        bool is_lax;
    } cases[] = {
        {"localhost", NULL, false},
        {"127.0.0.1", NULL, false},
        {"LOCALHOST", NULL, false},
        {"other.example", "62: hostname mismatch", false},
        {"other.example", NULL, true},
        {"127.0.0.2", "64: IP address mismatch", false},
        {"::1", "64: IP address mismatch", false},
        {"localhost.", "62: hostname mismatch", false},
        {NULL, NULL, true},
    };
    struct setting setting;
    (void)state;
    open_setting(&setting, TLS1_3_VERSION);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hg_tls_options options = {.server_name = cases[i].name, .verify = !cases[i].is_lax};
        begin(&setting, &options);
        assert_int_equal(shake(&setting, 4096), cases[i].error == NULL ? HG_OK : HG_EPROTO);
        if (cases[i].error != NULL)
            assert_string_equal(hg_tls_error(setting.tls), cases[i].error);
        end(&setting);
    }
    hg_tls_context_destroy(setting.context); /* and to whom nobody is an authority */
    assert_int_equal(hg_tls_context_create(NULL, &setting.context), HG_OK);
    begin(&setting, &checked);
    assert_int_equal(shake(&setting, 4096), HG_EPROTO);
    assert_string_equal(hg_tls_error(setting.tls), "18: self-signed certificate");
    end(&setting);
    close_setting(&setting);
}

static void test_wrong_options_are_refused(void **state)
{
    struct setting setting;
    struct hg_tls *tls = NULL;
    struct hg_tls_context *context = NULL;
    char longest[HG_TLS_NAME_MAX + 2];
    (void)state;
    open_setting(&setting, TLS1_3_VERSION);
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    const char *names[] = {"", longest, ".localhost", ".", "*", "*.localhost", "localhost.*", NULL};
    for (size_t i = 0; i < HG_COUNT(names); i++) {
        struct hg_tls_options options = {.server_name = names[i], .verify = true};
        assert_int_equal(hg_tls_create(setting.context, &options, &tls), HG_EINVAL);
    }
    assert_null(tls);
    assert_int_equal(hg_tls_context_create("/nobody is here", &context), HG_EINVAL);
    assert_null(context);
    close_setting(&setting);
}

static void test_garbage_ends_it_for_good(void **state)
{
    struct setting setting;
    (void)state;
    open_setting(&setting, TLS1_3_VERSION);
    begin(&setting, &checked);
    assert_int_equal(hg_tls_handshake(setting.tls), HG_PENDING);
    assert_int_equal(hg_tls_feed(setting.tls, HG_BYTES("220 no TLS here\r\n")), HG_OK);
    assert_int_equal(hg_tls_handshake(setting.tls), HG_EPROTO);
    assert_string_equal(hg_tls_error(setting.tls), "handshake failed: wrong version number");
    end(&setting);

    begin(&setting, &checked);
    assert_int_equal(shake(&setting, 4096), HG_OK);
    assert_int_equal(receive(&setting, 4096), HG_OK);
    assert_int_equal(hg_tls_feed(setting.tls, HG_BYTES("\x17\x03\x03\x00\x20"
                                                       "not sealed by whom it says it was")),
                     HG_OK);
    assert_int_equal(hg_tls_read(setting.tls, &setting.in), HG_EPROTO);
    assert_int_equal(hg_tls_state(setting.tls), HG_EPROTO);
    assert_int_equal(hg_tls_read(setting.tls, &setting.in), HG_EPROTO);
    assert_int_equal(setting.in.len, 0);
    end(&setting);
    close_setting(&setting);
}

static void test_ends_are_told_and_heard(void **state)
{
    struct setting setting;
    char heard[4];
    (void)state;
    open_setting(&setting, TLS1_3_VERSION);
    begin(&setting, &checked);
    assert_int_equal(shake(&setting, 4096), HG_OK);
    test_end_say(&setting.end, "last");
    hg_ssl->SSL_shutdown(setting.end.ssl);
    assert_int_equal(receive(&setting, 4096), HG_ECLOSED);
    assert_int_equal(setting.in.len, 4);
    assert_string_equal(hg_tls_error(setting.tls), "closed");
    hg_tls_shutdown(setting.tls);
    carry_out(&setting);
    int rc = hg_ssl->SSL_read(setting.end.ssl, heard, sizeof(heard));
    assert_int_equal(hg_ssl->SSL_get_error(setting.end.ssl, rc), SSL_ERROR_ZERO_RETURN);
    end(&setting);
    close_setting(&setting);
}

static void test_sessions_are_resumed_where_they_prove_as_much(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct hg_tls_options lax = {.server_name = "localhost"};
    struct hg_tls_options other = {.server_name = "127.0.0.1", .verify = true};
    struct hg_tls_options again = checked;
    struct setting setting;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        open_setting(&setting, versions[i]);
        begin(&setting, &lax);
        assert_int_equal(shake(&setting, 4096), HG_OK);
        struct hg_tls_session *unchecked = hg_tls_session(setting.tls);
        assert_talk(&setting, 4096); /* tickets come along */
        assert_false(hg_tls_is_alike(setting.tls, &checked));
        assert_true(hg_tls_is_alike(setting.tls, &lax));
        end(&setting);

        again.session = unchecked;
        begin(&setting, &again);
        assert_int_equal(shake(&setting, 4096), HG_OK);
        assert_false(hg_tls_is_resumed(setting.tls));
        struct hg_tls_session *session = hg_tls_session(setting.tls);
        assert_talk(&setting, 4096);
        assert_true(hg_tls_is_alike(setting.tls, &lax)); /* checked is good enough */
        assert_false(hg_tls_is_alike(setting.tls, &other));
        end(&setting);

        for (unsigned round = 0; round < 2; round++) { /* the newest goes on */
            again.session = session;
            begin(&setting, &again);
            assert_int_equal(shake(&setting, 4096), HG_OK);
            assert_true(hg_tls_is_resumed(setting.tls));
            hg_tls_session_unref(session);
            session = hg_tls_session(setting.tls);
            assert_talk(&setting, 4096);
            end(&setting);
        }
        other.session = session;
        begin(&setting, &other);
        assert_int_equal(shake(&setting, 4096), HG_OK);
        assert_false(hg_tls_is_resumed(setting.tls));
        end(&setting);
        hg_tls_session_unref(session);
        hg_tls_session_unref(unchecked);
        close_setting(&setting);
    }
}

static void test_what_does_not_fit_is_an_error(void **state)
{
    struct setting setting;
    (void)state;
    open_setting(&setting, TLS1_3_VERSION);
    begin(&setting, &checked);
    setting.in.max_bytes = 4096 + 2;
    assert_int_equal(shake(&setting, 4096), HG_OK);
    test_end_say(&setting.end, "one");
    assert_int_equal(receive(&setting, 4096), HG_ETOOBIG);
    assert_memory_equal(setting.in.data, "one", 3);
    end(&setting);
    close_setting(&setting);
}

static void test_no_memory_is_an_error(void **state)
{
    struct setting setting;
    bool was_refused = true;
    (void)state;
    open_setting(&setting, TLS1_3_VERSION);
    for (size_t n = 0; was_refused; n++) {
        struct hg_tls_context *context = NULL;
        struct hg_tls *tls = NULL;
        size_t before = hg_alloc_live_bytes();
        hg_alloc_fail_at(n, false);
        int err = hg_tls_context_create(pki.ca, &context);
        if (err == HG_OK)
            err = hg_tls_create(context, &checked, &tls);
        was_refused = hg_alloc_fail_clear();
        assert_int_equal(err, was_refused ? HG_ENOMEM : HG_OK);
        hg_tls_destroy(tls);
        hg_tls_context_destroy(context);
        assert_int_equal(hg_alloc_live_bytes(), before);
    }
    close_setting(&setting);
}

static void test_seeded_cuts_and_flips_never_pass(void **state)
{
    struct setting setting;
    uint64_t seed = 20240607;
    (void)state;
    open_setting(&setting, TLS1_3_VERSION);
    for (unsigned round = 0; round < 300; round++) {
        char bytes[8192];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        begin(&setting, &checked);
        assert_int_equal(hg_tls_handshake(setting.tls), HG_PENDING);
        carry_out(&setting);
        size_t len = test_end_output(&setting.end, bytes, sizeof(bytes));
        assert_true(len > 100);
        size_t at = (size_t)(seed >> 33) % len;
        if (seed & 1)
            bytes[at] ^= (char)(1 << ((seed >> 8) & 7));
        else
            len = at;
        assert_int_equal(hg_tls_feed(setting.tls, hg_bytes(bytes, len)), HG_OK);
        int rc = hg_tls_handshake(setting.tls);
        if (!(seed & 1))
            assert_int_equal(rc, HG_PENDING);
        else /* some bits nobody looks at, and a longer record is one that is not whole */
            assert_true(rc == HG_EPROTO || rc == HG_PENDING || rc == HG_OK);
        assert_int_equal(setting.in.len, 0);
        end(&setting);
    }
    close_setting(&setting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake_and_bytes_in_steps_of_any_size),
        cmocka_unit_test(test_old_versions_are_refused),
        cmocka_unit_test(test_names_and_authorities_are_checked),
        cmocka_unit_test(test_wrong_options_are_refused),
        cmocka_unit_test(test_garbage_ends_it_for_good),
        cmocka_unit_test(test_ends_are_told_and_heard),
        cmocka_unit_test(test_sessions_are_resumed_where_they_prove_as_much),
        cmocka_unit_test(test_what_does_not_fit_is_an_error),
        cmocka_unit_test(test_no_memory_is_an_error),
        cmocka_unit_test(test_seeded_cuts_and_flips_never_pass),
    };
    return cmocka_run_group_tests(tests, make_pki, remove_pki);
}
