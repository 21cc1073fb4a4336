/*
 * runtime_impl - what the files of this floor share about pools, threads and tasks.
 *
 *   runtime.c     create, load, stats, destroy    task.c        one coroutine: begin to end
 *   pool.c        pending work, whom to wake      load.c        a getter's run, its result
 *   thread.c      loop + VM + mailbox, its end    route_call.c  a function route's run
 *   watchdog.c    budget, blocking, refusals      evict.c       on_evict's and on_hot's queue
 *   batch.c       what get_many returned          score.c       eviction by the user's score
 *   jobs.c        hg.at_start, hg.every           discovery.c   who the members are
 *   abandon.c     giving a thread up              convert.c     Lua values to hg_value
 *   quarantine.c  keys that hung a thread         socket.c      connections of scripts
 *   lib_*.c       what scripts call (lib_http.c, http_request.c, transfer.c: hg.http, lib_socket.c, lib_tls.c: hg.socket,
 *                 lib_postgres.c: hg.postgres)
 *   postgres.c    connections to PostgreSQL that tasks share
 *
 * Who answers. A task owes one report: to its load or to its route call. Who takes it out of the
 * task under the thread's lock reports it: the thread when the task ends, or the watchdog when the
 * thread is abandoned or blocked past the deadline.
 *
 * Locks      pool lock; then thread lock; then whatever the core takes (shard lock ...). Evict
 *            lock and watchdog lock are leaves.
 * Death      a thread is abandoned only out of a run and not in the core. From then on it may look
 *            at nothing but itself, since runtime and groups may be gone when it comes back:
 *            whatever else it looks at during a run, it enters the core for.
 * In core    while a script is inside the core (hg_group_get, ...) the watchdog leaves its
 *            thread's tasks alone; entering asks under the thread's lock whether the task stands.
 */
#ifndef HG_SCRIPT_RUNTIME_IMPL_H
#define HG_SCRIPT_RUNTIME_IMPL_H

#include <pthread.h>
#include <signal.h>
#include "net/stream.h"
#include "net/timer.h"
#include "script/quarantine.h"
#include "script/runtime.h"
#include "script/vm_impl.h"

/* Waiting for a thread, per pool. */
#define HG_PENDING_LOADS_MAX 65536
#define HG_PENDING_CALLS_MAX 1024
/* Work a thread takes in one turn. */
#define HG_TASKS_PER_TURN 8
/* hg.spawn: tasks alive on one thread. */
#define HG_SPAWNED_MAX      1000
#define HG_EVICTED_MAX      1024
/* hg.socket: connections of one thread, idle ones among them. */
#define HG_SOCKETS_MAX      1024
#define HG_ABANDONED_MAX    4
#define HG_EVICT_TIMEOUT_MS 5000

struct hg_runtime;
struct hg_pool;
struct hg_task;

/* Something a task waits for that answers by itself. */
struct hg_op {
    /* NULL: the task is gone and the answer will be dropped. Under the thread's lock. */
    struct hg_task *task;
    /*
     * Under the thread's lock: true: it will not be answered any more; false: the answer is under
     * way, and frees it.
     */
    bool (*give_up)(struct hg_op *op);
    /*
     * It was given up because its deadline passed: resumes the task and frees the op. On the
     * thread.
     */
    void (*expired)(struct hg_op *op, struct hg_task *task);
    void (*destroy)(struct hg_op *op);
};

enum hg_task_kind { HG_TASK_LOAD, HG_TASK_ROUTE, HG_TASK_EVICT, HG_TASK_SCORE, HG_TASK_SPAWN, HG_TASK_JOB };
enum hg_task_state {
    HG_TASK_NEW,
    HG_TASK_RUNNING,
    HG_TASK_WAITING,
    HG_TASK_BACKOFF, /* before another run, or for company in a batch; JOB: until its tick */
    HG_TASK_ENDED
};

struct hg_task {
    struct hg_list link; /* pool->pending, then thread->tasks; under their lock */
    enum hg_task_kind kind;
    struct hg_runtime *runtime;
    struct hg_thread *thread; /* NULL while pending */
    /* Whom it owes a report; under the thread's lock once it has one. */
    struct hg_load *load;
    struct hg_route_call *call;
    bool is_taken;          /* somebody else reported it */
    struct hg_op *op;       /* what it waits for besides its timer; under the thread's lock */
    struct hg_group *group; /* EVICT, and for messages */
    struct hg_value *value; /* EVICT: what went, or is hot; LOAD: the old value, a reference for ctx.old */
    int reason;
    uint64_t minute;      /* EVICT: of on_hot, gets a minute; 0: of on_evict */
    unsigned job;         /* JOB: index into the jobs of a VM */
    uint64_t due_ms;      /* JOB: its tick */
    uint64_t deadline_ms; /* of the whole task */
    /* The thread's own. */
    enum hg_task_state state;
    lua_State *co; /* anchored in the VM */
    unsigned attempt;
    size_t fetch_count; /* requests of hg.http so far */
    size_t batch_count; /* LOAD of a group with get_many: keys of the run; 0: not gathered yet */
    bool has_waited;    /* and it has waited its window */
    uint64_t run_deadline_ms; /* of this run: the task fails with a time-out */
    uint64_t wait_deadline_ms;
    struct hg_timer timer;
    bool timer_open;
    struct hg_list sockets; /* that it opened: hg_socket.link */
    struct hg_list transfers; /* of hg.http in pieces; under the thread's lock */
    struct hg_postgres_turn *postgres_turn; /* NULL: it asks no PostgreSQL */
};

struct hg_thread {
    struct hg_loop loop;
    char name[16];
    struct hg_runtime *runtime; /* not to be touched once dead */
    struct hg_pool *pool;
    bool runs_jobs;              /* of hg.at_start and hg.every */
    bool has_jobs;               /* and they have begun in this VM */
    bool is_discovery, has_left; /* its one job is discovery; and that of leaving has begun */
    struct hg_vm *vm;            /* NULL: could not be made again; retried */
    uint64_t vm_retry_ms;
    pthread_mutex_t lock;
    struct hg_list tasks; /* under lock */
    atomic_uint task_count, spawned_count;
    atomic_bool is_dead;        /* written under lock; the thread must touch no task any more */
    atomic_bool is_in_core;     /* set under lock */
    atomic_bool has_returned;   /* dead, and its loop has been told to stop */
    atomic_bool has_stopped;    /* told to stop and did */
    atomic_size_t memory_bytes; /* of the VM, as its loop last saw it */
    void *spare_get;            /* lib_group.c */
    bool is_taking;             /* tasks of its pool, one after the other; its own thread only */
    atomic_uint change_count;   /* writes under way that will come back to the loop */
    struct hg_mail wake, stop;
    atomic_bool wake_posted;
    bool stop_posted;         /* by destroy */
    struct hg_task *resuming; /* the thread's own: whose coroutine runs */
    /* A run: from a resume to its return. Odd while one is on. */
    atomic_uint_fast64_t run;
    atomic_uint_fast64_t stop_run; /* the run that the watchdog wants to end */
    _Atomic(struct hg_task *) running;
    volatile sig_atomic_t is_hooked;
    bool budget_hit; /* set by the hook */
    pid_t tid;
    atomic_bool has_begun;
    struct hg_hold hold; /* of an answer at once */
    struct hg_fetcher *fetcher; /* of hg.http; NULL before the first request */
    struct hg_list idle_sockets; /* last used first */
    uv_timer_t idle_timer;
    bool idle_timer_open;
    atomic_uint waker_count;   /* who has chosen it and is about to wake it */
    atomic_uint socket_count; /* open ones */
    struct hg_stream_budget socket_budget;
    struct hg_tls_context *tls; /* whom its sockets trust; NULL before the first handshake */
    struct hg_list postgres; /* pools: hg_postgres.link */
    atomic_uint postgres_count; /* connections of all of them */
    char error[HG_VM_ERROR_MAX];
    struct hg_list link; /* runtime->abandoned */
    /* The watchdog's own. */
    uint64_t seen_run, seen_cpu_ns, last_cpu_ns, seen_ms;
    bool is_counted;
    atomic_bool is_blocked;
};

struct hg_pool {
    struct hg_runtime *runtime;
    char *name;
    pthread_mutex_t lock;
    struct hg_list pending;
    atomic_size_t pending_count, pending_calls;
    struct hg_thread **threads; /* slots; NULL: abandoned and not replaced */
    unsigned thread_count;
    atomic_bool is_refusing;
};

struct hg_evicted {
    struct hg_group *group;
    struct hg_value *value;
    int reason;
    uint64_t minute; /* 0: it left; else it is hot */
};

/* hg_runtime_loads */
struct hg_load_counts {
    atomic_uint_fast64_t ended, failed;
};

/* Of a group with hg.policy.sampled: score.c. */
struct hg_scoring {
    atomic_int state;
    atomic_uint_fast64_t retry_ms; /* not before; after a score that failed */
};

struct hg_runtime {
    struct hg_vm_config vm_config; /* everything in it is ours */
    uint64_t budget_ms;
    bool is_inline;
    struct hg_vm *control;
    uint64_t fingerprint;
    struct hg_group **group_list; /* by index; NULL, and so are the next two: there is none */
    const char **group_names;
    struct hg_pool **group_pools;
    struct hg_load_counts *load_counts;
    bool *group_evicts, *group_is_told; /* has on_evict, on_hot */
    struct hg_scoring *scoring;         /* of each group */
    atomic_bool score_wanted;
    size_t group_count;
    struct hg_pool *pools;
    size_t pool_count;
    void (*change)(void *ctx, struct hg_change *change);
    void *change_ctx;
    size_t reply_max;
    atomic_bool is_draining, is_stopping;
    atomic_bool is_serving, is_started; /* jobs may run; those of hg.at_start have begun */
    atomic_bool job_hung[HG_JOBS_MAX];  /* it cost a thread: not begun again */
    /* discovery.c */
    struct hg_pool *discovery; /* NULL: there is none */
    uint64_t discovery_every_ms;
    const struct hg_members_ops *members;
    void *members_ctx;
    atomic_bool is_leaving, has_left;
    atomic_size_t task_count; /* loads and calls taken on and not reported */
    struct {
#define X(name) atomic_uint_fast64_t name;
        HG_RUNTIME_COUNTERS(X)
#undef X
    } counters;
    struct hg_fetch_limits fetch_limits;
    struct {
        atomic_size_t running;
#define X(name) atomic_uint_fast64_t name;
        HG_FETCH_COUNTERS(X)
#undef X
    } fetch;
    struct hg_quarantine quarantine;

    pthread_mutex_t evict_lock;
    struct hg_evicted evicted[HG_EVICTED_MAX];
    size_t evict_head;
    atomic_size_t evict_count;

    /* watchdog.c */
    pthread_t watchdog;
    bool watchdog_started;
    pthread_mutex_t watch_lock;
    pthread_cond_t watch_changed;
    bool watch_stop;
    atomic_bool watch_asleep;
    struct hg_list refused;   /* loads to be failed, by hg_load.link; under watch_lock */
    struct hg_list abandoned; /* threads; the watchdog's own */
};

#define HG_RUNTIME_COUNT(runtime, name)                                                            \
    atomic_fetch_add_explicit(&(runtime)->counters.name, 1, memory_order_relaxed)

/* What a run came to. */
enum hg_outcome_kind { HG_OUTCOME_RESULT, HG_OUTCOME_KEEP, HG_OUTCOME_ERROR, HG_OUTCOME_MANY };
struct hg_outcome {
    enum hg_outcome_kind kind;
    struct hg_value *result;   /* RESULT: a reference */
    struct hg_value **results; /* MANY: one for each key of the batch, references; free the list */
    size_t result_count;
    uint64_t keep_ms;
    enum hg_class klass; /* ERROR */
    uint64_t retry_after_ms;
    bool is_final; /* ERROR: not to be tried again */
    char message[HG_VM_ERROR_MAX];
};
void hg_outcome_error(struct hg_outcome *outcome, enum hg_class klass, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* runtime.c: a getter's result for a key of the group is known. */
void hg_runtime_note_load(struct hg_runtime *runtime, const struct hg_group *group, bool is_failed);

/* pool.c */
int hg_pool_init(struct hg_pool *pool, struct hg_runtime *runtime,
                 const struct hg_pool_config *config);
void hg_pool_finish(struct hg_pool *pool);
int hg_pool_post(struct hg_pool *pool,
                 struct hg_task *task); /* HG_OK, HG_ELIMIT, HG_EDRAINING; taken over when HG_OK */
struct hg_task *hg_pool_take(struct hg_pool *pool);
/* Wakes idle threads while work is pending: after one was given to a thread that then blocked. */
void hg_pool_nudge(struct hg_pool *pool);
/* Moves tasks whose deadline has passed to out. */
void hg_pool_take_expired(struct hg_pool *pool, uint64_t now_ms, struct hg_list *out);

/* thread.c */
int hg_thread_create(struct hg_pool *pool, unsigned index, struct hg_thread **out_thread,
                     char **out_error);
void hg_thread_wake(struct hg_thread *thread); /* any thread that keeps it alive */
/*
 * After its loop has ended and was joined. False: writes that it began are still out, so it has to
 * stay.
 */
bool hg_thread_destroy(struct hg_thread *thread);
struct hg_thread *hg_thread_current(void); /* of this OS thread, or NULL */
int hg_thread_make_vm(struct hg_runtime *runtime, struct hg_vm **out_vm, char **out_error);
/* A run left the VM out of memory: collects, and replaces it if that did not help. */
void hg_thread_relieve(struct hg_thread *thread);
/* The thread found itself dead: its loop ends. */
void hg_thread_quit(struct hg_thread *thread);
/* Once it was told to stop and no write of it is under way, its loop ends. */
void hg_thread_stop_if_done(struct hg_thread *thread);
void hg_thread_run_begin(struct hg_thread *thread, struct hg_task *task);
void hg_thread_run_end(struct hg_thread *thread);
/*
 * A binding enters the core. False: the task is over or the thread abandoned; raise. task may be
 * NULL.
 */
bool hg_thread_enter_core(struct hg_thread *thread, struct hg_task *task);
void hg_thread_leave_core(struct hg_thread *thread);

/* task.c */
extern const char hg_task_token; /* its address is what a binding that waits yields */
struct hg_task *hg_task_create(struct hg_runtime *runtime, enum hg_task_kind kind);
void hg_task_free(struct hg_task *task); /* on no thread yet */
/* On the thread: links it and begins to run it. */
void hg_task_adopt(struct hg_thread *thread, struct hg_task *task);
/*
 * Pushes n results on L (the VM's main state) and returns n; may raise. For a new run, creates the
 * coroutine and pushes
 * the function below its n arguments.
 */
typedef int (*hg_task_push_fn)(lua_State *L, struct hg_task *task, void *ud);
void hg_task_run(struct hg_task *task, hg_task_push_fn push, void *ud); /* a new coroutine */
void hg_task_resume(struct hg_task *task, hg_task_push_fn push, void *ud);
/* The task whose coroutine calls, or NULL while loading. */
struct hg_task *hg_task_running(lua_State *L);
/* Why what runs may not wait here, to follow a name and "cannot"; NULL: it may. */
const char *hg_task_why_no_wait(lua_State *L);
/*
 * First thing in a binding that waits: the running task, or raises: while loading, or where a
 * yield cannot pass.  [-0, +0, v]
 */
struct hg_task *hg_task_check_wait(lua_State *L, const char *name);
/*
 * Waits until deadline_ms, or for op (may be NULL: sleeps). To be returned from the binding;
 * nothing may follow.
 */
int hg_task_wait(lua_State *L, struct hg_task *task, struct hg_op *op, uint64_t deadline_ms);
/*
 * The answer of op has come, on its loop. The task to resume, or NULL: dropped and counted. Free
 * the op afterwards.
 */
struct hg_task *hg_task_answered(struct hg_thread *thread, struct hg_op *op);
/*
 * A new task on this thread for the function on top of L, which is popped. HG_ELIMIT, HG_ENOMEM,
 * HG_ECANCELED.   [-1, +0, m]
 */
int hg_task_spawn(lua_State *L, struct hg_thread *thread);
/* Takes the report out of a task that somebody else is going to make; under the thread's lock. */
void hg_task_take_locked(struct hg_task *task, struct hg_load **out_load,
                         struct hg_route_call **out_call);
/* Of the thread: drops coroutine, op and timer and frees it. It must owe nothing. */
void hg_task_end(struct hg_task *task);
/* Stops waiting for its timer's sake and waits for backoff_ms, then hg_load_begin again. */
void hg_task_backoff(struct hg_task *task, uint64_t backoff_ms);
/*
 * Unlinks it and takes its report; false: it was taken by somebody else (counted), or the thread
 * is dead (then it quits).
 */
bool hg_task_claim(struct hg_task *task);

/* socket.c */
void hg_sockets_init(struct hg_thread *thread);
/* Those that the task opened; it needs them no more. */
void hg_sockets_close_of(struct hg_task *task);
/* Those that wait for the next to use them. Before its loop is finished. */
void hg_sockets_close_idle(struct hg_thread *thread);

/* transfer.c: those that the task opened. */
void hg_transfers_close_of(struct hg_task *task);
void hg_transfers_release_locked(struct hg_task *task); /* somebody else reports it: their places are free */

/* postgres.c */
/* The task asks no more: a statement of it that is under way is cancelled. */
void hg_postgres_end_turn(struct hg_task *task);
/* All pools, once no task is left. Before its loop is finished. */
void hg_postgres_close_all(struct hg_thread *thread);

/* How a coroutine ended. message and is_memory are of an error. */
struct hg_ending {
    bool is_error, is_memory, is_budget, is_timeout;
    /* on task->co's stack; for an error the object itself is there if has_object */
    int result_count;
    bool has_object;   /* the error object is on top of task->co */
    bool is_described; /* and is a table of the library's, such as hg.fail{} */
    const char *message;
};

/* load.c */
void hg_load_begin(struct hg_task *task); /* an attempt */
void hg_load_ended(struct hg_task *task, const struct hg_ending *ending);
void hg_load_report_error(struct hg_load *load, enum hg_class klass, const char *message,
                          uint64_t retry_after_ms, struct hg_loop *here);
/* An error result for a key of the load's group. NULL: out of memory. */
struct hg_value *hg_load_error_value(const struct hg_load *load, enum hg_class klass, const char *message,
                                     uint64_t retry_after_ms);
/* batch.c: as hg_convert_result, for what get_many returned to the batch that `leader` leads. */
void hg_convert_many(lua_State *L, int count, struct hg_load *leader, size_t batch_count,
                     struct hg_outcome *outcome);
void hg_outcome_finish(struct hg_outcome *outcome); /* drops results that nobody takes */
/* route_call.c */
void hg_route_begin(struct hg_task *task);
void hg_route_ended(struct hg_task *task, const struct hg_ending *ending);
void hg_route_report(struct hg_route_call *call, int status,
                     const char *text); /* text NULL: as it stands */
/* evict.c */
void hg_evict_begin(struct hg_task *task);
void hg_evict_ended(struct hg_task *task, const struct hg_ending *ending);
void hg_evict_dispatch(struct hg_runtime *runtime); /* by the watchdog */
void hg_evict_drop(struct hg_runtime *runtime);

/* jobs.c */
void hg_jobs_begin(struct hg_thread *thread); /* on it, with a VM */
void hg_jobs_rest(struct hg_thread *thread);  /* on it */
void hg_job_begin(struct hg_task *task);
void hg_job_ended(struct hg_task *task, const struct hg_ending *ending);
/* It hung its thread. */
void hg_job_forget(struct hg_runtime *runtime, struct hg_task *task);

/* Begins the job of that number in first_ms. False: no memory (logged). */
bool hg_job_start(struct hg_thread *thread, unsigned index, uint64_t first_ms);

/* discovery.c */
void hg_discovery_wake(struct hg_runtime *runtime);
void hg_discovery_begin(struct hg_thread *thread); /* on it, with a VM */
void hg_discovery_leave(struct hg_thread *thread); /* likewise, with discovery begun */

/* score.c */
void hg_score_begin(struct hg_task *task);
void hg_score_ended(struct hg_task *task, const struct hg_ending *ending);
void hg_score_dispatch(struct hg_runtime *runtime); /* by the watchdog */
/* Its thread was given up: another one may score, in a minute. */
void hg_score_forget(struct hg_runtime *runtime, struct hg_task *task);

/*
 * convert.c: results start at stack index `first` of L, count of them. In hg_vm_enter; never
 * raises for what the script did: that is an outcome.
 */
void hg_convert_result(lua_State *L, int first, int count, struct hg_bytes key,
                       struct hg_outcome *outcome);
/*
 * Reads { ttl=, tags=, ... } at index (nil is fine) into spec; tags has room for HG_TAGS_MAX. What
 * spec borrows lives as long as the
 * table. NULL or what is wrong, static or in error.
 */
const char *hg_convert_options(lua_State *L, int index, struct hg_value_spec *spec,
                               struct hg_bytes *tags, char *error, size_t error_size);
/* string, or number as digits (written into scratch); false for anything else. */
bool hg_convert_data(lua_State *L, int index, char scratch[40], struct hg_bytes *out_data,
                     char *error, size_t error_size);
/* 0 = "do not", false = for ever. NULL or what is wrong. */
const char *hg_convert_duration(lua_State *L, int index, uint64_t *out_ms);

/* lib_group.c, for the other files of hg.group: the group and its thread, or raises. */
struct hg_group *hg_lib_check_group(lua_State *L, const char *method, struct hg_thread **out_thread);
/* value, meta, or nil, message, code.   [-0, +2|+3, m] */
int hg_lib_push_result(lua_State *L, const struct hg_result *result, uint64_t now_ms);
/* opts.timeout of a call, or HG_FOREVER; raises. */
uint64_t hg_lib_check_timeout(lua_State *L, int index);
int hg_lib_get_many(lua_State *L); /* lib_many.c */

/* watchdog.c */
int hg_watchdog_start(struct hg_runtime *runtime);
void hg_watchdog_stop(struct hg_runtime *runtime);
void hg_watchdog_wake(struct hg_runtime *runtime);
/* is_inline: in its place the script's own instructions are counted. Until hg_thread_run_end. */
void hg_watchdog_count(struct hg_thread *thread);
void hg_watchdog_unblock(void); /* on a script thread: lets the watchdog's signal in */
static inline void hg_watchdog_poke(struct hg_runtime *runtime)
{
    if (atomic_load(&runtime->watch_asleep))
        hg_watchdog_wake(runtime);
}
/* Fails a load from the watchdog's thread, as its starter may not. */
void hg_watchdog_refuse(struct hg_runtime *runtime, struct hg_load *load, uint64_t retry_after_ms);

/* abandon.c, by the watchdog and destroy */
bool hg_abandon(struct hg_thread *thread, uint64_t run, bool replace);
/* Fails the tasks of a blocked thread whose deadline has passed. */
void hg_abandon_expired(struct hg_thread *thread, uint64_t now_ms);
void hg_abandoned_reap(struct hg_runtime *runtime);
/* At destroy: frees what has come back, leaves the rest behind. */
void hg_abandoned_leave(struct hg_runtime *runtime);

#endif
