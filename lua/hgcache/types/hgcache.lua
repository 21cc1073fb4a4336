---@meta hgcache
-- What an editor knows of `require "hgcache"`; docs/lua.md says more. Durations: seconds, or "250ms", "10s", "5m", "1h".

---@alias hgcache.duration number|string
---@alias hgcache.class "internal"|"unavailable"|"timeout"|"denied"|"too_large"

---@class hgcache
---@field args table<string, string> # the name=value pairs of the command line
---@field null lightuserdata # JSON's null, equal to cjson.null
---@field json table # lua-cjson: encode(value), decode(text)
---@field testing hgcache.testing # only in specs, run by `hgcache test`
local hg = {}

-- What the configuration is made of -----------------------------------------------------------------------------------

---@class hgcache.serve
---@class hgcache.source
---@class hgcache.policy

---A route served natively. Without a group: `{query.group}`, or the only group.
---@param group string?
---@param options hgcache.config.serve?
---@return hgcache.serve
---@overload fun(options: hgcache.config.serve): hgcache.serve
function hg.serve(group, options) end

---A guard that several groups share.
---@param options hgcache.config.source?
---@return hgcache.source
function hg.source(options) end

hg.policy = {}

---@class hgcache.scored
---@field size integer # bytes, with everything
---@field age number # seconds
---@field idle number # seconds since its last use
---@field cost number # seconds that it took to load
---@field ttl number # seconds left, `math.huge` for ever
---@field hits integer

---Evict by a score: of a few samples the lowest goes.
---@param options { samples: integer?, score: fun(entry: hgcache.scored): number }
---@return hgcache.policy
function hg.policy.sampled(options) end

-- What getters and routes return --------------------------------------------------------------------------------------

---@class hgcache.value
---@class hgcache.not_found
---@class hgcache.fail
---@class hgcache.keep
---@class hgcache.reply

---@class hgcache.value_options
---@field ttl? hgcache.duration|false # 0: serve and do not store; false: for ever
---@field stale_while_revalidate? hgcache.duration|false
---@field stale_if_error? hgcache.duration|false
---@field tags? string[] # for removal by tag
---@field type? string # content type
---@field etag? string # of your own, without quotes
---@field meta? string # up to 256 bytes, handed back as ctx.meta
---@field uncacheable? boolean

---What a getter is told beside the key.
---@class hgcache.ctx
---@field group string
---@field reason "miss"|"refresh"|"early"
---@field attempt integer # from 1
---@field old string? # the stored value, if any
---@field age number?
---@field etag string?
---@field meta string?
---@field source { running: integer, queued: integer, breaker: "closed"|"half_open" }
---@field remaining fun(): number # seconds until nobody waits any more

---There is no such key.
---@param options { ttl: hgcache.duration|false|nil }?
---@return hgcache.not_found
function hg.not_found(options) end

---It failed.
---@param options string|{ class: hgcache.class?, message: string?, retry_after: hgcache.duration?, retry: boolean? }
---@return hgcache.fail
function hg.fail(options) end

---The old value still holds.
---@param options { ttl: hgcache.duration|false|nil }?
---@return hgcache.keep
function hg.keep(options) end

---A value with its options in one.
---@param value string|number
---@param options hgcache.value_options?
---@return hgcache.value
function hg.value(value, options) end

---@class hgcache.request
---@field method string
---@field path string # decoded
---@field query table<string, string> # first values
---@field query_all table<string, string[]>
---@field headers table<string, string> # lower-case names
---@field body string
---@field params table<string, string> # of the pattern
---@field remote string # "127.0.0.1:54321", or "unix"
local req = {}

---The body as JSON.
---@return any value
---@return string? message
function req:json() end

---@alias hgcache.before fun(req: hgcache.request): string|integer|hgcache.reply|nil, string?, table<string, string|string[]>?
---@alias hgcache.after fun(req: hgcache.request, reply: table): string|integer|hgcache.reply|nil, string?, table<string, string|string[]>?
---@alias hgcache.error_page fun(req: hgcache.request, status: integer, message: string): string|integer|hgcache.reply, string?, table?

---@alias hgcache.handler fun(req: hgcache.request): string|integer|hgcache.reply, string?, table<string, string|string[]>?

---A route's whole answer; json instead of a body; or the value of a group's key, which Lua never sees.
---@param options { status: integer?, body: string?, headers: table<string, string|string[]>?, json: any, group: string?, key: string? }
---@return hgcache.reply
function hg.reply(options) end

-- The cache -------------------------------------------------------------------------------------------------------------

---@class hgcache.meta
---@field how "hit"|"hot"|"stale"|"miss"|"collapsed"
---@field stale boolean
---@field age number
---@field ttl number? # absent: without end
---@field type string?
---@field etag string?
---@field meta string?

---@class hgcache.group
local group = {}

---A handle of a group; its methods wait.
---@param name string
---@return hgcache.group
function hg.group(name) end

---Like a client's read: it may load, here or at the owner.
---@param key string
---@param options { timeout: hgcache.duration? }?
---@return string? value
---@return hgcache.meta|string meta # or the message
---@return string? code
function group:get(key, options) end

---Several keys, waiting once.
---@param keys string[]
---@param options { timeout: hgcache.duration? }?
---@return table<string, string> values
---@return table<string, { message: string, code: string }>? errors
function group:get_many(keys, options) end

---From this node's store only.
---@param key string
---@return string? value
---@return hgcache.meta|string meta
---@return string? code
function group:peek(key) end

---Stored at the owner; copies are dropped everywhere.
---@param key string
---@param value string|number
---@param options hgcache.value_options?
---@return true? ok
---@return string? message
---@return string? code
function group:set(key, value, options) end

---@param key string
---@return boolean? was_there
---@return string? message
---@return string? code
function group:remove(key) end

---Stale from now on, still served while it is refreshed.
---@param key string
---@return true? ok
---@return string? message
---@return string? code
function group:expire(key) end

---@param tag string
---@param options { soft: boolean? }? # soft: stale from now on
---@return true? ok
---@return string? message
---@return string? code
function group:remove_tag(tag, options) end

---@return true? ok
---@return string? message
---@return string? code
function group:flush() end

-- Time and tasks --------------------------------------------------------------------------------------------------------

---@param duration hgcache.duration
function hg.sleep(duration) end

---Runs it in a task of its own, soon, on this script thread.
---@param fn fun()
function hg.spawn(fn) end

---Runs it once, when the node has begun to answer.
---@param fn fun()
function hg.at_start(fn) end

---Runs it again and again, first after one duration.
---@param duration hgcache.duration
---@param fn fun()
function hg.every(duration, fn) end

---Seconds since 1970, of the wall clock.
---@return number
function hg.now() end

---Seconds of a clock that never jumps.
---@return number
function hg.monotonic() end

-- HTTP --------------------------------------------------------------------------------------------------------------------

---@class hgcache.http_options
---@field headers? table<string, string|number|(string|number)[]>
---@field timeout? hgcache.duration # for everything, default 10 s
---@field connect_timeout? hgcache.duration # default 3 s
---@field max_body? integer|string # bytes
---@field compression? boolean
---@field redirects? integer # how many are followed, at most 10, default 0
---@field retries? integer # further tries where there was no answer, default 0
---@field stream? boolean # the answer's body is read piece by piece
---@field body_length? integer # bytes that a function as body gives

---@class hgcache.http_request: hgcache.http_options
---@field method? "GET"|"HEAD"|"POST"|"PUT"|"DELETE"|"PATCH"|"OPTIONS"
---@field url string
---@field body? string|fun(): string?, string?

---@class hgcache.http_answer
---@field status integer
---@field headers table<string, string> # lower-case names; set-cookie is a list
---@field body string # not with stream
---@field url string # where it came from
local answer = {}

---With stream: the next piece, at most n bytes; nil at the end.
---@param n integer?
---@return string? piece
---@return string? message
---@return string? code
function answer:read(n) end

---With stream: what is left is not wanted.
---@return boolean was_open
function answer:close() end

hg.http = {}

---@param url string
---@param options hgcache.http_options?
---@return hgcache.http_answer? answer
---@return string? message
---@return string? code
function hg.http.get(url, options) end

---@param url string
---@param body string|fun(): string?, string?
---@param options hgcache.http_options?
---@return hgcache.http_answer? answer
---@return string? message
---@return string? code
function hg.http.post(url, body, options) end

---@param request hgcache.http_request
---@return hgcache.http_answer? answer
---@return string? message
---@return string? code
function hg.http.request(request) end

---@class hgcache.source_http: hgcache.http_options
---@field url string # with {key} in path or query
---@field cache_control? boolean # the origin's Cache-Control decides the life, default true
---@field conditional? boolean # a stored value is asked for again with If-None-Match, default true

---A getter over an origin.
---@param options hgcache.source_http
---@return fun(key: string, ctx: hgcache.ctx): hgcache.result, any?, any?
function hg.source_http(options) end

-- Redis, databases, files, sockets ------------------------------------------------------------------------------------

---@class hgcache.redis_options
---@field host? string # default 127.0.0.1
---@field port? integer # default 6379
---@field unix? string # path of its socket
---@field user? string
---@field password? string
---@field db? integer
---@field timeout? hgcache.duration # default 1 s
---@field pool_size? integer # default 64
---@field pool_idle? hgcache.duration # default 60 s
---@field tls? boolean # verified
---@field server_name? string # where it is not the host

---@class hgcache.redis
local redis = {}

---@param name string # "GET", "SETEX", ...
---@param ... string|number
---@return string|number|table|nil reply # or hg.null
---@return string? message
---@return hgcache.class? code
function redis:command(name, ...) end

---@param options hgcache.redis_options
---@return hgcache.redis
function hg.redis(options) end

---@class hgcache.source_redis: hgcache.redis_options
---@field key? string # name in Redis, with {key} in it

---@class hgcache.source_redis_module
---@operator call(hgcache.source_redis): fun(key: string, ctx: hgcache.ctx): hgcache.result, any?, any?
hg.source_redis = {}

---One MGET for a batch: a `get_many`.
---@param options hgcache.source_redis
---@return fun(keys: string[], ctx: hgcache.ctx): table<string, hgcache.result>?, any?, any?
function hg.source_redis.many(options) end

---@class hgcache.postgres_options
---@field url? string # a URL, or libpq's "host=... dbname=..."
---@field host? string # default 127.0.0.1; or the folder of a unix socket
---@field port? integer # default 5432
---@field user? string
---@field password? string
---@field database? string
---@field sslmode? string
---@field sslrootcert? string
---@field pool? integer # connections of a script thread, default 10
---@field pool_idle? hgcache.duration # default 60 s
---@field timeout? hgcache.duration # default 5 s
---@field max_bytes? number|string # of an answer, default limits.value

---@class hgcache.postgres
local postgres = {}

---@param sql string # one statement, with $1, $2, ...
---@return { [integer]: table, columns: string[], changed: integer }? rows
---@return string? message
---@return hgcache.class? code
---@return string? sqlstate
function postgres:query(sql, ...) end

---@class hgcache.postgres_module
---@operator call(hgcache.postgres_options): hgcache.postgres
hg.postgres = {}

---A parameter of bytes, for bytea.
---@param text string
---@return table
function hg.postgres.bytes(text) end

---@class hgcache.source_postgres: hgcache.postgres_options
---@field db? hgcache.postgres # instead of the options of a connection
---@field query string # with $1, the key; for many with = any($1)
---@field parameters? fun(key: string): ...
---@field bytes? boolean # keys are bytea

---@class hgcache.source_postgres_module
---@operator call(hgcache.source_postgres): fun(key: string, ctx: hgcache.ctx): hgcache.result, any?, any?
hg.source_postgres = {}

---One statement for a batch: a `get_many`.
---@param options hgcache.source_postgres
---@return fun(keys: string[], ctx: hgcache.ctx): table<string, hgcache.result>?, any?, any?
function hg.source_postgres.many(options) end

---@class hgcache.source_mysql
---@field host? string # default 127.0.0.1
---@field port? integer # default 3306
---@field unix? string # path of its socket
---@field user? string
---@field password? string
---@field database string
---@field query string # with one ?
---@field parameters? fun(key: string): string[] # one for each ?
---@field bytes? boolean # keys are VARBINARY
---@field setup? string[] # statements that each connection runs once

---@class hgcache.source_mysql_module
---@operator call(hgcache.source_mysql): fun(key: string, ctx: hgcache.ctx): hgcache.result, any?, any?
hg.source_mysql = {}

---One statement for a batch: a `get_many`.
---@param options hgcache.source_mysql
---@return fun(keys: string[], ctx: hgcache.ctx): table<string, hgcache.result>?, any?, any?
function hg.source_mysql.many(options) end

---@class hgcache.source_sqlite
---@field path string
---@field query string # with one ?
---@field parameters? fun(key: string): string[] # one for each ?
---@field setup? string[] # statements that each connection runs once
---@field busy? hgcache.duration # default 5 s

---@class hgcache.source_sqlite_module
---@operator call(hgcache.source_sqlite): fun(key: string, ctx: hgcache.ctx): hgcache.result, any?, any?
hg.source_sqlite = {}

---One statement for a batch: a `get_many`.
---@param options hgcache.source_sqlite
---@return fun(keys: string[], ctx: hgcache.ctx): table<string, hgcache.result>?, any?, any?
function hg.source_sqlite.many(options) end

---@param options { root: string, max: number|string?, types: table<string, string>? }
---@return fun(key: string, ctx: hgcache.ctx): hgcache.result, any?, any?
function hg.source_file(options) end

---@class hgcache.peers

---@param path string
---@return hgcache.peers
function hg.file(path) end

---@param options { name: string, port: integer?, srv: boolean?, server: string?, tcp: boolean? }
---@return hgcache.peers
function hg.dns(options) end

---@class hgcache.etcd
---@field endpoints? string|string[] # default `"http://127.0.0.1:2379"`
---@field prefix? string # default `"cache"`
---@field lease_ttl? number|string # default `"10s"`
---@field user? string
---@field password? string
---@field ca? string # a file
---@field cert? string # a file
---@field key? string # a file

---@param options hgcache.etcd
---@return hgcache.peers
function hg.etcd(options) end

hg.socket = {}

---@class hgcache.sock
local sock = {}

---A socket in the shape of OpenResty's cosockets.
---@return hgcache.sock
function hg.socket.tcp() end

---tcp() and connect in one.
---@param host string # or "unix:/path"
---@param port integer|table|nil
---@param options { pool: string?, pool_size: integer? }?
---@return hgcache.sock?
---@return string? message
function hg.socket.connect(host, port, options) end

---@param host string # or "unix:/path"
---@param port integer|table|nil
---@param options { pool: string?, pool_size: integer? }?
---@return 1? ok
---@return string? message
function sock:connect(host, port, options) end

---@param data string|number|table
---@return integer? bytes
---@return string? message
function sock:send(data) end

---@param what integer|"*l"|"*a"|nil
---@return string? data
---@return string? message
---@return string? partial
function sock:receive(what) end

---@param max integer
---@return string? data
---@return string? message
function sock:receiveany(max) end

---@param pattern string # plain text
---@param options { inclusive: boolean? }?
---@return fun(size: integer?): string?, string?, string?
function sock:receiveuntil(pattern, options) end

---@param ms integer
function sock:settimeout(ms) end

---@param connect_ms integer?
---@param send_ms integer?
---@param receive_ms integer?
function sock:settimeouts(connect_ms, send_ms, receive_ms) end

---@param idle_ms integer?
---@param pool_size integer?
---@return 1? ok
---@return string? message
function sock:setkeepalive(idle_ms, pool_size) end

---@return integer
function sock:getreusedtimes() end

---@return 1? ok
---@return string? message
function sock:close() end

---@param name "keepalive"|"tcp-nodelay"|"rcvbuf"|"sndbuf"
---@param value boolean|integer
---@return 1? ok
---@return string? message
function sock:setoption(name, value) end

---Begins TLS; verified unless verify is false.
---@param session userdata|false|nil # of an earlier handshake; false: none is wanted back
---@param server_name string? # default: the host of connect
---@param verify boolean?
---@param send_status_req boolean?
---@return userdata|true|nil session
---@return string? message
function sock:sslhandshake(session, server_name, verify, send_status_req) end

-- Shared between the threads ----------------------------------------------------------------------------------------------

---@class hgcache.shared
local shared = {}

---A small table that all script threads of this node share.
---@param name string
---@return hgcache.shared
function hg.shared(name) end

---@param key string
---@return string|number|boolean|nil value
---@return number? left # seconds
function shared:get(key) end

---@param key string
---@param value string|number|boolean
---@param ttl hgcache.duration|false|nil
---@return true? ok
---@return string? message
---@return string? code
function shared:set(key, value, ttl) end

---@param key string
---@param value string|number|boolean
---@param ttl hgcache.duration|false|nil
---@return boolean? added
---@return string? message
---@return string? code
function shared:add(key, value, ttl) end

---@param key string
---@param by number? # default 1
---@param init number? # default 0
---@param ttl hgcache.duration|false|nil
---@return number? number
---@return number|string|nil left # or the message
---@return string? code
function shared:incr(key, by, init, ttl) end

---@param key string
---@return boolean was_there
function shared:delete(key) end

-- Metrics --------------------------------------------------------------------------------------------------------------------

---@alias hgcache.labels table<string, string|number|boolean>

---@class hgcache.counter
local counter = {}
---@class hgcache.gauge
local gauge = {}
---@class hgcache.histogram
local histogram = {}

---@param name string # ends in _total, by custom
---@param help string
---@param labels string[]?
---@return hgcache.counter
function hg.counter(name, help, labels) end

---@param name string
---@param help string
---@param labels string[]?
---@return hgcache.gauge
function hg.gauge(name, help, labels) end

---@param name string
---@param help string
---@param labels string[]?
---@param buckets number[]? # ascending upper bounds
---@return hgcache.histogram
function hg.histogram(name, help, labels, buckets) end

---@param by number? # default 1
---@param labels hgcache.labels?
function counter:inc(by, labels) end

---@param by number? # default 1
---@param labels hgcache.labels?
function gauge:inc(by, labels) end

---@param value number
---@param labels hgcache.labels?
function gauge:set(value, labels) end

---@param value number
---@param labels hgcache.labels?
function histogram:observe(value, labels) end

-- Log ------------------------------------------------------------------------------------------------------------------------

hg.log = {}

---@param format string # as string.format
---@param ... any
function hg.log.debug(format, ...) end

---@param format string
---@param ... any
function hg.log.info(format, ...) end

---@param format string
---@param ... any
function hg.log.warn(format, ...) end

---@param format string
---@param ... any
function hg.log.error(format, ...) end

return hg
