#include "net/test_support.h"

#include <sys/stat.h>
#include <sys/un.h>

static void test_addresses_are_understood(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int family;
        bool is_loopback;
    } cases[] = {
        {"127.0.0.1:8001", AF_INET, true},
        {"127.9.9.9:1", AF_INET, true},
        {"0.0.0.0:80", AF_INET, false},
        {":80", AF_INET, false},
        {"*:80", AF_INET, false},
        {"192.0.2.7:65535", AF_INET, false},
        {"[::1]:80", AF_INET6, true},
        {"[::]:80", AF_INET6, false},
        {"[::ffff:127.0.0.1]:80", AF_INET6, true},
        {"localhost:8001", AF_INET, true},
        {"unix:/tmp/x.sock", AF_UNIX, true},
    };
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_address address;
        char error[256] = "";
        int err = hg_address_parse(hg_bytes_str(cases[i].text), &address, error, sizeof(error));
        if (err != HG_OK)
            fail_msg("%s: %s", cases[i].text, error);
        assert_int_equal(address.storage.ss_family, cases[i].family);
        assert_true(hg_address_is_loopback(&address) == cases[i].is_loopback);
        assert_string_equal(address.text, cases[i].text);
        assert_true(address.is_unix == (cases[i].family == AF_UNIX));
    }
}

static void test_numeric_addresses_are_told_from_names(void **state)
{
    (void)state;
    struct sockaddr_storage storage;
    assert_true(hg_address_numeric("192.0.2.7", 80, &storage));
    assert_int_equal(storage.ss_family, AF_INET);
    assert_int_equal(ntohs(((struct sockaddr_in *)&storage)->sin_port), 80);
    assert_true(hg_address_numeric("fe80::1%lo", 81, &storage));
    assert_int_equal(storage.ss_family, AF_INET6);
    assert_int_equal(ntohs(((struct sockaddr_in6 *)&storage)->sin6_port), 81);
    static const char *const names[] = {"", "localhost", "127.1", "1.2.3.4.5", "[::1]", "db.1"};
    for (size_t i = 0; i < HG_COUNT(names); i++)
        assert_false(hg_address_numeric(names[i], 1, &storage));
}

static void test_bad_addresses_are_refused_with_a_message(void **state)
{
    (void)state;
    static const char *cases[] = {
        "",
        "localhost",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:80x",
        "::1:80",
        "[::1]",
        "[::g]:80",
        "unix:",
        "no such host.invalid:80",
        "[127.0.0.1]:80",
    };
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_address address;
        char error[256] = "";
        int err = hg_address_parse(hg_bytes_str(cases[i]), &address, error, sizeof(error));
        if (err != HG_EINVAL || error[0] == '\0')
            fail_msg("\"%s\": %d %s", cases[i], err, error);
    }
    struct hg_address address;
    char error[64], longest[400];
    memset(longest, 'a', sizeof(longest));
    assert_int_equal(
        hg_address_parse(hg_bytes(longest, sizeof(longest)), &address, error, sizeof(error)),
        HG_EINVAL);
    memcpy(longest, "unix:/", 6);
    assert_int_equal(hg_address_parse(hg_bytes(longest, 140), &address, error, sizeof(error)),
                     HG_EINVAL);
}

static void test_taken_port_is_said_to_be_taken(void **state)
{
    (void)state;
    struct hg_address address;
    char error[256], text[64];
    uint16_t port;
    int fd = test_listen(&port), other;
    snprintf(text, sizeof(text), "127.0.0.1:%u", (unsigned)port);
    assert_int_equal(hg_address_parse(hg_bytes_str(text), &address, error, sizeof(error)), HG_OK);
    assert_int_equal(hg_address_listen(&address, 16, &other, error, sizeof(error)), HG_EADDRINUSE);
    assert_non_null(strstr(error, text));
    close(fd);
}

static void test_unavailable_address_is_refused(void **state)
{
    (void)state;
    struct hg_address address;
    char error[256];
    int fd;
    assert_int_equal(hg_address_parse(HG_BYTES("192.0.2.77:0"), &address, error, sizeof(error)),
                     HG_OK);
    assert_int_equal(hg_address_listen(&address, 16, &fd, error, sizeof(error)), HG_EADDR);
    assert_int_equal(
        hg_address_parse(HG_BYTES("unix:/no/such/folder/x"), &address, error, sizeof(error)),
        HG_OK);
    assert_int_equal(hg_address_listen(&address, 16, &fd, error, sizeof(error)), HG_EADDR);
}

static void test_stale_unix_socket_is_replaced_and_a_live_one_is_not(void **state)
{
    (void)state;
    char folder[] = "/tmp/hg-address-XXXXXX", text[128], error[256];
    struct hg_address address;
    int first, second;
    assert_non_null(mkdtemp(folder));
    snprintf(text, sizeof(text), "unix:%s/s", folder);
    assert_int_equal(hg_address_parse(hg_bytes_str(text), &address, error, sizeof(error)), HG_OK);
    assert_int_equal(hg_address_listen(&address, 16, &first, error, sizeof(error)), HG_OK);
    assert_int_equal(hg_address_listen(&address, 16, &second, error, sizeof(error)), HG_EADDRINUSE);
    close(first);
    assert_int_equal(hg_address_listen(&address, 16, &second, error, sizeof(error)), HG_OK);
    close(second);
    unlink(text + 5);

    /* A file that is no socket is nobody's left-over. */
    int file = open(text + 5, O_CREAT | O_WRONLY, 0600);
    close(file);
    assert_int_equal(hg_address_listen(&address, 16, &second, error, sizeof(error)), HG_EADDRINUSE);
    unlink(text + 5);
    rmdir(folder);
}

static void test_sockets_are_private_and_do_not_block(void **state)
{
    (void)state;
    uint16_t port;
    int fd = test_listen(&port);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_are_understood),
        cmocka_unit_test(test_numeric_addresses_are_told_from_names),
        cmocka_unit_test(test_bad_addresses_are_refused_with_a_message),
        cmocka_unit_test(test_taken_port_is_said_to_be_taken),
        cmocka_unit_test(test_unavailable_address_is_refused),
        cmocka_unit_test(test_stale_unix_socket_is_replaced_and_a_live_one_is_not),
        cmocka_unit_test(test_sockets_are_private_and_do_not_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
