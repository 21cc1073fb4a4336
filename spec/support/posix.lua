--- What the specs need of POSIX: processes, non-blocking TCP sockets, poll, time. LuaJIT FFI on Linux, for specs only.

local ffi = require "ffi"
local bit = require "bit"

ffi.cdef [[
typedef int pid_t;
pid_t fork(void);
int execv(const char *path, char *const argv[]);
pid_t waitpid(pid_t pid, int *status, int options);
int kill(pid_t pid, int sig);
void _exit(int status);
pid_t getpid(void);
int setenv(const char *name, const char *value, int overwrite);
int chdir(const char *path);
int dup2(int from, int to);
int close(int fd);
int open(const char *path, int flags, int mode);
int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
int mkfifo(const char *path, unsigned int mode);
char *mkdtemp(char *pattern);
struct hgs_rlimit { unsigned long soft, hard; };
int setrlimit(int resource, const struct hgs_rlimit *limit);
int getrlimit(int resource, struct hgs_rlimit *limit);

struct hgs_sockaddr_in { uint16_t family, port; uint32_t address; char zero[8]; };
struct hgs_sockaddr_un { uint16_t family; char path[108]; };
struct hgs_pollfd { int fd; short events, revents; };
struct hgs_linger { int on, seconds; };
struct hgs_timespec { long sec, nsec; };
int socket(int domain, int type, int protocol);
int connect(int fd, const void *address, unsigned int len);
int bind(int fd, const void *address, unsigned int len);
int listen(int fd, int backlog);
int accept(int fd, void *address, void *len);
int shutdown(int fd, int how);
long send(int fd, const char *data, size_t len, int flags);
long recv(int fd, char *data, size_t len, int flags);
int poll(struct hgs_pollfd *fds, unsigned long count, int timeout_ms);
int fcntl(int fd, int command, int argument);
int setsockopt(int fd, int level, int name, const void *value, unsigned int len);
int getsockopt(int fd, int level, int name, void *value, unsigned int *len);
int clock_gettime(int clock, struct hgs_timespec *out);
char *strerror(int code);
]]

local C = ffi.C
local M = { POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 16 }

M.SIGHUP, M.SIGINT, M.SIGQUIT, M.SIGKILL, M.SIGPIPE, M.SIGTERM = 1, 2, 3, 9, 13, 15
M.SIGCHLD, M.SIGCONT, M.SIGSTOP = 17, 18, 19

local EINTR, EAGAIN, EINPROGRESS, ECONNREFUSED = 4, 11, 115, 111
local RLIMIT_NOFILE = 7
local AF_UNIX, AF_INET, SOCK_STREAM = 1, 2, 1
local SOL_SOCKET, SO_REUSEADDR, SO_ERROR, SO_LINGER, SO_RCVBUF = 1, 2, 4, 13, 8
local F_SETFD, F_SETFL, FD_CLOEXEC, O_NONBLOCK = 2, 4, 1, 2048
local MSG_NOSIGNAL = 0x4000

function M.text(code)
    return ffi.string(C.strerror(code or ffi.errno()))
end

--- Seconds of a clock that never jumps.
function M.now()
    local t = ffi.new("struct hgs_timespec")
    C.clock_gettime(1, t)
    return tonumber(t.sec) + tonumber(t.nsec) / 1e9
end

--- Wait without turning: for the bounded polls below.
function M.pause(seconds)
    C.poll(nil, 0, math.max(1, math.floor(seconds * 1000)))
end

--- Asks condition() until it answers something true, and returns that; fails after so many seconds.
function M.until_true(condition, seconds, what)
    local limit = M.now() + (seconds or 10)
    while true do
        local result = condition()
        if result then
            return result
        elseif M.now() > limit then
            error(("waited %g s in vain for %s"):format(seconds or 10, what or "a condition"), 2)
        end
        M.pause(0.01)
    end
end

function M.raise_file_limit()
    local limit = ffi.new("struct hgs_rlimit")
    C.getrlimit(RLIMIT_NOFILE, limit)
    limit.soft = math.min(tonumber(limit.hard), 65536)
    C.setrlimit(RLIMIT_NOFILE, limit)
end

local temp_dirs = {}

-- Gone when the specs are through, with what is in it.
function M.temp_dir()
    local pattern = ffi.new("char[64]", "/tmp/hgcache-spec-XXXXXX")
    assert(C.mkdtemp(pattern) ~= nil, M.text())
    if #temp_dirs == 0 then
        require("busted").subscribe({ "suite", "end" }, function()
            for _, dir in ipairs(temp_dirs) do
                os.execute("rm -rf '" .. dir .. "'")
            end
        end)
    end
    temp_dirs[#temp_dirs + 1] = ffi.string(pattern)
    return temp_dirs[#temp_dirs]
end

function M.mkfifo(path)
    assert(C.mkfifo(path, 384) == 0, M.text())
end

function M.kill(pid, signal)
    return C.kill(pid, signal) == 0
end

--- { argv = { path, ... }, stdout = file, stdin = nil, env = {}, dir =, files = limit of descriptors } -> process id
function M.spawn(opts)
    local argv = ffi.new("char *[?]", #opts.argv + 1)
    local keep = {}
    for i, word in ipairs(opts.argv) do
        keep[i] = ffi.new("char[?]", #word + 1, word)
        argv[i - 1] = keep[i]
    end
    local pid = C.fork()
    assert(pid >= 0, M.text())
    if pid > 0 then
        return pid
    end
    C.prctl(1, M.SIGKILL, 0, 0, 0) -- dies with the specs
    local input = C.open("/dev/null", 0, 0)
    C.dup2(input, 0)
    if opts.stdout then
        local output = C.open(opts.stdout, 1 + 64 + 1024, 420) -- write, create, append
        C.dup2(output, 1)
        C.dup2(opts.stderr and C.open(opts.stderr, 1 + 64 + 1024, 420) or output, 2)
    end
    for fd = 3, 4095 do
        C.close(fd)
    end
    for name, value in pairs(opts.env or {}) do
        C.setenv(name, value, 1)
    end
    if opts.dir then
        C.chdir(opts.dir)
    end
    if opts.files then
        local limit = ffi.new("struct hgs_rlimit", opts.files, opts.files)
        C.setrlimit(RLIMIT_NOFILE, limit)
    end
    C.execv(argv[0], argv)
    C._exit(127)
end

--- Runs fn() in a child process, for servers that pretend to be something. -> process id
function M.fork(fn)
    local pid = C.fork()
    assert(pid >= 0, M.text())
    if pid > 0 then
        return pid
    end
    C.prctl(1, M.SIGKILL, 0, 0, 0)
    local ok, message = pcall(fn)
    if not ok then
        io.stderr:write("child: ", tostring(message), "\n")
    end
    C._exit(ok and 0 or 1)
end

--- -> nil (still running) | exit code, nil | nil, signal
function M.reap(pid, block)
    local status = ffi.new("int[1]")
    local rc
    repeat
        rc = C.waitpid(pid, status, block and 0 or 1)
    until rc >= 0 or ffi.errno() ~= EINTR
    if rc == 0 then
        return nil
    end
    local word = status[0]
    local signal = bit.band(word, 127)
    return { code = signal == 0 and bit.band(bit.rshift(word, 8), 255) or nil, signal = signal > 0 and signal or nil }
end

-- Sockets -------------------------------------------------------------------------------------------------------

local function swap16(n)
    return bit.bor(bit.lshift(bit.band(n, 255), 8), bit.rshift(n, 8))
end

local function loopback(port)
    local address = ffi.new("struct hgs_sockaddr_in")
    address.family, address.port, address.address = AF_INET, swap16(port), 0x0100007f
    return address, ffi.sizeof(address)
end

local function address_of(where)
    if type(where) == "number" then
        local address, len = loopback(where)
        return address, len, AF_INET
    end
    local address = ffi.new("struct hgs_sockaddr_un")
    address.family = AF_UNIX
    ffi.copy(address.path, where)
    return address, 2 + #where + 1, AF_UNIX
end

local function int_option(fd, name, value)
    C.setsockopt(fd, SOL_SOCKET, name, ffi.new("int[1]", value), 4)
end

--- Listening socket on 127.0.0.1:port, blocking. -> fd | nil, message
function M.listen(port, backlog)
    local fd = C.socket(AF_INET, SOCK_STREAM, 0)
    int_option(fd, SO_REUSEADDR, 1)
    C.fcntl(fd, F_SETFD, FD_CLOEXEC)
    local address, len = loopback(port)
    if C.bind(fd, address, len) ~= 0 or C.listen(fd, backlog or 128) ~= 0 then
        local message = M.text()
        C.close(fd)
        return nil, message
    end
    return fd
end

function M.set_nonblocking(fd)
    C.fcntl(fd, F_SETFL, O_NONBLOCK)
end

function M.accept(fd)
    local peer = C.accept(fd, nil, nil)
    return peer >= 0 and peer or nil
end

--- Starts to connect, non-blocking. where: a port of 127.0.0.1, or the path of a unix socket. -> fd | nil, message
function M.connect_start(where, opts)
    local address, len, family = address_of(where)
    local fd = C.socket(family, SOCK_STREAM, 0)
    if fd < 0 then
        return nil, M.text()
    end
    C.fcntl(fd, F_SETFD, FD_CLOEXEC)
    C.fcntl(fd, F_SETFL, O_NONBLOCK)
    if opts and opts.receive_buffer then
        int_option(fd, SO_RCVBUF, opts.receive_buffer)
    end
    if C.connect(fd, address, len) ~= 0 then
        local code = ffi.errno()
        if code ~= EINPROGRESS and code ~= EAGAIN then
            C.close(fd)
            return nil, code == ECONNREFUSED and "refused" or M.text(code)
        end
    end
    return fd
end

--- After POLLOUT: nil, or why the connection failed.
function M.connect_error(fd)
    local value, len = ffi.new("int[1]"), ffi.new("unsigned int[1]", 4)
    C.getsockopt(fd, SOL_SOCKET, SO_ERROR, value, len)
    if value[0] == 0 then
        return nil
    end
    return value[0] == ECONNREFUSED and "refused" or M.text(value[0])
end

--- -> bytes taken (0: try later) | nil, message
function M.send(fd, data, from)
    from = from or 1
    local n = C.send(fd, ffi.cast("const char *", data) + (from - 1), #data - from + 1, MSG_NOSIGNAL)
    if n >= 0 then
        return tonumber(n)
    end
    local code = ffi.errno()
    if code == EAGAIN or code == EINTR then
        return 0
    end
    return nil, M.text(code)
end

local chunk_size = 65536
local chunk = ffi.new("char[?]", chunk_size)

--- -> bytes | "" (closed) | nil (try later) | nil, message
function M.recv(fd, size)
    local n = tonumber(C.recv(fd, chunk, math.min(size or chunk_size, chunk_size), 0))
    if n >= 0 then
        return ffi.string(chunk, n)
    end
    local code = ffi.errno()
    if code == EAGAIN or code == EINTR then
        return nil
    end
    return nil, M.text(code)
end

--- fds: list of { fd, events } -> list of revents, or nil when the time passed
function M.poll(fds, seconds)
    local n = #fds
    local set = ffi.new("struct hgs_pollfd[?]", math.max(n, 1))
    for i = 1, n do
        set[i - 1].fd, set[i - 1].events = fds[i][1], fds[i][2]
    end
    local rc = C.poll(set, n, math.max(0, math.ceil(seconds * 1000)))
    if rc <= 0 then
        return nil
    end
    local out = {}
    for i = 1, n do
        out[i] = set[i - 1].revents
    end
    return out
end

function M.close(fd)
    C.close(fd)
end

--- Closes with a reset instead of an end.
function M.reset(fd)
    C.setsockopt(fd, SOL_SOCKET, SO_LINGER, ffi.new("struct hgs_linger", 1, 0), ffi.sizeof("struct hgs_linger"))
    C.close(fd)
end

function M.shutdown_write(fd)
    C.shutdown(fd, 1)
end

local taken = {}
local seeded = false
-- Of spec processes that run at the same time each has ports of its own (scripts/busted.sh).
local PART, PARTS = tonumber(os.getenv "HGCACHE_SPEC_PART" or 0), tonumber(os.getenv "HGCACHE_SPEC_PARTS" or 1)
local FIRST, LAST = 10000, 32000

--- A port of 127.0.0.1 that nobody listens on, outside the range that outgoing connections use.
function M.free_port()
    if not seeded then
        math.randomseed(C.getpid() * 7919 + os.time())
        seeded = true
    end
    for _ = 1, 1000 do
        local port = FIRST + math.random(0, math.floor((LAST - FIRST) / PARTS) - 1) * PARTS + PART
        if not taken[port] then
            local fd = M.listen(port)
            if fd then
                C.close(fd)
                taken[port] = true
                return port
            end
        end
    end
    error("no free port")
end

return M
