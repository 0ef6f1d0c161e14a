/* Loaded into a server that runs under valgrind (LD_PRELOAD), for `benches/cores.py`. The server sees CORES cores, and a clock that is SLOWNESS
   times slower than the real one. Valgrind runs one thread at a time, thousands of times slower than a core, so with the real clock every poll
   would be overdue and every handler slow, and the engine would act as on an overloaded machine. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long (*call)(long, ...);
static long slowness, cores;
static long long start[CLOCK_MONOTONIC + 1]; /* in ns: of the real-time and of the monotonic clock */

static long long nanos(const struct timespec *time) { return time->tv_sec * 1000000000LL + time->tv_nsec; }

static struct timespec timespec(long long nanos) { return (struct timespec){nanos / 1000000000, nanos % 1000000000}; }

__attribute__((constructor)) static void prepare(void) {
    struct timespec now;
    call = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    cores = atol(getenv("CORES"));
    slowness = atol(getenv("SLOWNESS"));
    for (long clock = CLOCK_REALTIME; clock <= CLOCK_MONOTONIC; clock++) {
        call(SYS_clock_gettime, clock, &now);
        start[clock] = nanos(&now);
    }
}

int sched_getaffinity(pid_t process, size_t size, cpu_set_t *set) {
    (void)process;
    CPU_ZERO_S(size, set);
    for (long core = 0; core < cores; core++) CPU_SET_S(core, size, set);
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = call(SYS_clock_gettime, clock, time);
    long long since = clock <= CLOCK_MONOTONIC ? start[clock] : 0; /* CPU time begins with 0 */
    *time = timespec(since + (nanos(time) - since) / slowness);
    return result;
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int milliseconds) {
    long long longer = (long long)milliseconds * slowness;
    if (milliseconds > 0) milliseconds = longer < 1 << 30 ? longer : 1 << 30;
    return call(SYS_epoll_pwait, (long)epoll, events, (long)most, (long)milliseconds, 0L, 8L);
}

/* The standard library calls futex(2) by this, with a time of the monotonic clock. */
long syscall(long number, ...) {
    long a[6];
    struct timespec until;
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && a[3]) {
        until = timespec(start[CLOCK_MONOTONIC] + (nanos((struct timespec *)a[3]) - start[CLOCK_MONOTONIC]) * slowness);
        a[3] = (long)&until;
    }
    return call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
