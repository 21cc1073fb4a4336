/*
 * hgsim - the command line. Seeds run in child processes, so that one that aborts or hangs is a finding like any
 * other, and the parent tells which it was.
 */
#include "world.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/bug.h"

#define JOBS_MAX 16
#define HANG_S   60 /* of real time, for one seed */

#ifdef HG_BUGS
enum hg_bug hg_bug_on;
#define X(name, text) {#name, text},
static const struct {
    const char *name, *text;
} bugs[] = {{"NONE", ""}, HG_BUG_LIST(X)};
#undef X
#endif

struct settings {
    uint64_t from, count;
    unsigned nodes, jobs;
    bool is_traced, is_one, is_quiet, wants_bugs, wants_hash;
    const char *bug, *file;
};

/* One a child, in shared memory. */
struct progress {
    struct report report;
    uint64_t hash, events, gets, loads, asks, done;
};

static void run_child(const struct settings *settings, unsigned job, struct progress *progress)
{
    for (uint64_t i = job; i < settings->count; i += settings->jobs) {
        uint64_t seed = settings->from + i;
        alarm(HANG_S);
        world_run(seed, settings->nodes, settings->is_traced, &progress->report);
        /* Independent of who ran it, and when. */
        progress->hash += progress->report.hash * (2 * i + 1);
        progress->events += progress->report.events;
        progress->gets += progress->report.gets;
        progress->loads += progress->report.loads;
        progress->asks += progress->report.asks;
        progress->done++;
        if (settings->is_one || settings->wants_hash)
            printf("seed 0x%llx: trace hash %016llx\n", (unsigned long long)seed,
                   (unsigned long long)progress->report.hash);
    }
    exit(0);
}

static void silence(void)
{
    int null = open("/dev/null", O_WRONLY);
    if (null >= 0) {
        dup2(null, STDERR_FILENO);
        dup2(null, STDOUT_FILENO);
        close(null);
    }
}

/* Runs them; true with the first failing seed of any child in *out_failed. */
static bool run_seeds(const struct settings *settings, struct progress *all,
                      struct report *out_failed)
{
    pid_t children[JOBS_MAX];
    bool has_failed = false;

    memset(all, 0, settings->jobs * sizeof(*all));
    fflush(NULL);
    for (unsigned i = 0; i < settings->jobs; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            if (settings->is_quiet)
                silence();
            run_child(settings, i, &all[i]);
        }
        if (children[i] < 0) {
            perror("hgsim: fork");
            exit(2);
        }
    }
    for (unsigned i = 0; i < settings->jobs; i++) {
        int status = 0;
        waitpid(children[i], &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        struct report *report = &all[i].report;
        if (!report->failure.is_failed) {
            const char *what =
                WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "a sanitizer or abort";
            snprintf(report->failure.id, sizeof(report->failure.id), "crash");
            snprintf(report->failure.text, sizeof(report->failure.text), "the process ended: %s",
                     what);
        }
        if (!has_failed || report->seed < out_failed->seed)
            *out_failed = *report;
        has_failed = true;
    }
    return has_failed;
}

static void print_failure(const struct settings *settings, const struct report *failed)
{
    printf("FAILED [%s] %s\n", failed->failure.id, failed->failure.text);
    printf("replay: hgsim --seed 0x%llx --nodes %u --trace\n", (unsigned long long)failed->seed,
           settings->nodes);
    printf("options:");
    options_print(stdout, &failed->options);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int run_plain(const struct settings *settings, struct progress *all)
{
    struct report failed;
    struct progress sum = {0};
    double began = seconds();

    bool has_failed = run_seeds(settings, all, &failed);
    for (unsigned i = 0; i < settings->jobs; i++) {
        sum.hash += all[i].hash;
        sum.events += all[i].events;
        sum.gets += all[i].gets;
        sum.loads += all[i].loads;
        sum.asks += all[i].asks;
        sum.done += all[i].done;
    }
    double took = seconds() - began;
    printf("%llu seeds, %llu events, %llu gets, %llu loads, %llu asks in %.1f s (%.0f seeds a "
           "minute); trace hash %016llx\n",
           (unsigned long long)sum.done, (unsigned long long)sum.events,
           (unsigned long long)sum.gets, (unsigned long long)sum.loads,
           (unsigned long long)sum.asks, took, (double)sum.done / took * 60,
           (unsigned long long)sum.hash);
    if (has_failed)
        print_failure(settings, &failed);
    return has_failed ? 1 : 0;
}

#define FILE_SEEDS_MAX 1000

/* Seeds of a file, one a line, each with the number of nodes; the rest of a line says what it found. */
static int run_file(struct settings settings, struct progress *all)
{
    static struct {
        uint64_t seed;
        unsigned nodes;
    } seeds[FILE_SEEDS_MAX];
    FILE *file = fopen(settings.file, "r");
    char line[512];
    unsigned count = 0, bad = 0;

    if (file == NULL) {
        perror(settings.file);
        return 2;
    }
    /* All of it before the first child, which would share the position in the file. */
    while (count < FILE_SEEDS_MAX && fgets(line, sizeof(line), file) != NULL) {
        char *end;
        seeds[count].seed = strtoull(line, &end, 0);
        if (end == line)
            continue;
        unsigned long nodes = strtoul(end, NULL, 10);
        seeds[count++].nodes = nodes >= 1 && nodes <= NODES_MAX ? (unsigned)nodes : 3;
    }
    fclose(file);
    settings.count = settings.jobs = 1;
    for (unsigned i = 0; i < count; i++) {
        struct report failed;
        settings.from = seeds[i].seed;
        settings.nodes = seeds[i].nodes;
        if (!run_seeds(&settings, all, &failed))
            continue;
        print_failure(&settings, &failed);
        bad++;
    }
    printf("%s: %u seeds passed, %u failed\n", settings.file, count - bad, bad);
    return bad > 0 || count == 0 ? 1 : 0;
}

#ifdef HG_BUGS
static int run_bugs(struct settings settings, struct progress *all)
{
    unsigned found = 0, missed = 0;

    settings.is_quiet = true;
    for (int bug = 1; bug < HG_BUG_COUNT; bug++) {
        struct report failed;
        if (settings.bug != NULL && strcmp(settings.bug, bugs[bug].name) != 0)
            continue;
        hg_bug_on = (enum hg_bug)bug;
        if (run_seeds(&settings, all, &failed)) {
            found++;
            printf("%-20s found by seed 0x%-5llx [%s] %s\n", bugs[bug].name,
                   (unsigned long long)failed.seed, failed.failure.id, failed.failure.text);
        } else {
            missed++;
            printf("%-20s NOT FOUND in %llu seeds: %s\n", bugs[bug].name,
                   (unsigned long long)settings.count, bugs[bug].text);
        }
        fflush(stdout);
    }
    printf("%u bugs found, %u not found\n", found, missed);
    return missed > 0 || found == 0 ? 1 : 0;
}
#endif

static void usage(void)
{
    fputs("usage: hgsim --seeds N [--from SEED] [--nodes 3] [--jobs 1] [--hashes]\n"
          "       hgsim --seed SEED [--nodes 3] [--trace]\n"
          "       hgsim --file sim/seeds.txt\n"
          "       hgsim --bugs [--seeds 10000] [--bug NAME]\n",
          stderr);
    exit(2);
}

static uint64_t number(const char *text)
{
    char *end = NULL;
    uint64_t value = text == NULL ? 0 : strtoull(text, &end, 0);
    if (text == NULL || end == text || *end != '\0')
        usage();
    return value;
}

static struct settings settings_parse(int argc, char **argv)
{
    struct settings settings = {.from = 1, .nodes = 3, .jobs = 1};

    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool has_value = true;
        if (strcmp(name, "--seeds") == 0) {
            settings.count = number(value);
        } else if (strcmp(name, "--from") == 0) {
            settings.from = number(value);
        } else if (strcmp(name, "--seed") == 0) {
            settings.from = number(value);
            settings.count = 1;
            settings.is_one = true;
        } else if (strcmp(name, "--nodes") == 0) {
            settings.nodes = (unsigned)number(value);
        } else if (strcmp(name, "--jobs") == 0) {
            settings.jobs = (unsigned)number(value);
        } else if (strcmp(name, "--bug") == 0 && value != NULL) {
            settings.bug = value;
        } else if (strcmp(name, "--file") == 0 && value != NULL) {
            settings.file = value;
        } else {
            has_value = false;
            if (strcmp(name, "--trace") == 0)
                settings.is_traced = true;
            else if (strcmp(name, "--hashes") == 0)
                settings.wants_hash = true;
            else if (strcmp(name, "--bugs") == 0)
                settings.wants_bugs = true;
            else
                usage();
        }
        i += has_value;
    }
    if (settings.nodes < 1 || settings.nodes > NODES_MAX || settings.jobs < 1 ||
        settings.jobs > JOBS_MAX)
        usage();
    if (settings.wants_bugs && settings.count == 0)
        settings.count = 10000;
    if (settings.count == 0 && settings.file == NULL)
        usage();
    return settings;
}

#ifndef HG_BUGS
/* The bugs are in the program beside this one. */
static void become_bugs(char **argv)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - sizeof("-bugs"));
    if (len > 0) {
        memcpy(path + len, "-bugs", sizeof("-bugs"));
        execv(path, argv);
    }
    perror("hgsim-bugs");
    exit(2);
}
#endif

int main(int argc, char **argv)
{
    struct settings settings = settings_parse(argc, argv);
    struct progress *all = mmap(NULL, JOBS_MAX * sizeof(*all), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (all == MAP_FAILED) {
        perror("hgsim: mmap");
        return 2;
    }
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    if (settings.file != NULL)
        return run_file(settings, all);
#ifdef HG_BUGS
    if (settings.wants_bugs)
        return run_bugs(settings, all);
    for (int bug = 1; settings.bug != NULL && bug < HG_BUG_COUNT; bug++)
        if (strcmp(settings.bug, bugs[bug].name) == 0)
            hg_bug_on = (enum hg_bug)bug;
#else
    if (settings.wants_bugs || settings.bug != NULL)
        become_bugs(argv);
#endif
    return run_plain(&settings, all);
}
