#include "base/mutex.h"
#include "base/testing.h"

#include <pthread.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS  50000

struct world {
    struct hg_mutex mutex;
    unsigned inside;
    size_t count;
    bool is_alone;
};

static void test_one_thread(void **state)
{
    (void)state;
    struct hg_mutex mutex = {0};
    hg_mutex_lock(&mutex);
    assert_false(hg_mutex_trylock(&mutex));
    hg_mutex_unlock(&mutex);
    assert_true(hg_mutex_trylock(&mutex));
    hg_mutex_unlock(&mutex);
    assert_int_equal(mutex.state, 0);
    assert_int_equal(sizeof mutex, 4);
}

/* What the lock guards is not atomic: a thread sanitizer sees who is inside with somebody else, and so do the sums. */
static void *count_up(void *arg)
{
    struct world *world = arg;
    for (size_t i = 0; i < ROUNDS; i++) {
        if (i % 8 != 0) {
            hg_mutex_lock(&world->mutex);
        } else {
            while (!hg_mutex_trylock(&world->mutex))
                continue;
        }
        if (world->inside++ != 0)
            world->is_alone = false;
        world->count++;
        world->inside--;
        hg_mutex_unlock(&world->mutex);
    }
    return NULL;
}

static void test_one_at_a_time(void **state)
{
    (void)state;
    struct world world = {.is_alone = true};
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, &world), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_true(world.is_alone);
    assert_int_equal(world.count, THREADS * ROUNDS);
    assert_int_equal(world.mutex.state, 0);
}

static void *wait_for_it(void *arg)
{
    struct world *world = arg;
    hg_mutex_lock(&world->mutex);
    world->count++;
    hg_mutex_unlock(&world->mutex);
    return NULL;
}

/* Held until all of them sleep, which the state tells: then each is woken by the one before it. */
static void test_sleepers_are_woken(void **state)
{
    (void)state;
    for (size_t round = 0; round < 50; round++) {
        struct world world = {0};
        pthread_t threads[THREADS];
        hg_mutex_lock(&world.mutex);
        for (size_t i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, wait_for_it, &world), 0);
        while (__atomic_load_n(&world.mutex.state, __ATOMIC_RELAXED) != 2)
            usleep(10);
        assert_int_equal(world.count, 0);
        hg_mutex_unlock(&world.mutex);
        for (size_t i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(world.count, THREADS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_thread),
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_sleepers_are_woken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
