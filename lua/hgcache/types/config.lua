---@meta _
-- The configuration, from lua/hgcache/schema.lua by scripts/types.lua: not to be changed by hand.

---@alias hgcache.result string|number|nil|hgcache.value|hgcache.not_found|hgcache.fail|hgcache.keep

---@class hgcache.config
---@field node? hgcache.config.node # a table
---@field cluster? hgcache.config.cluster # absent: a cluster of one
---@field groups table<string, hgcache.config.group> # name -> group
---@field routes? table<string, hgcache.serve|hgcache.handler|hgcache.config.handler> # "METHOD /pattern" -> target
---@field cors? hgcache.config.cors # cross-origin answers of all routes
---@field http? hgcache.config.http # hooks around routes, pages of errors

---@class hgcache.config.node
---@field name? string # a label, in logs and Cache-Status, default `"hgcache"`
---@field workers? integer|"auto" # worker threads; auto = one per CPU, default `"auto"`
---@field scripts? integer|"auto"|table<string, integer|"auto"> # threads for getters and as many for routes, or a table of pools, default `"auto"`
---@field listen? hgcache.config.node.listen # addresses; absent: api 127.0.0.1:8791, admin 127.0.0.1:8792
---@field drain_timeout? number|string # most time to finish what is in flight, default `"10s"`
---@field drain_delay? number|string # time to go on accepting after leaving, default `"1s"`
---@field log? hgcache.config.node.log # a table
---@field limits? hgcache.config.node.limits # a table
---@field script? hgcache.config.node.script # a table
---@field http? hgcache.config.node.http # a table
---@field shared? hgcache.config.node.shared # a table
---@field admin? hgcache.config.node.admin # a table
---@field insecure? boolean # allow peer and admin listeners off loopback without a token, default `false`
---@field reload_guard? hgcache.config.node.reload_guard # rolls a reload back whose getters fail; absent: none is

---@class hgcache.config.node.listen
---@field peer? string # other nodes; default: the address in cluster.self
---@field api? string # the HTTP front end
---@field admin? string # health, metrics, changes

---@class hgcache.config.node.log
---@field level? "debug"|"info"|"warn"|"error" # least level written, default `"info"`
---@field format? "text"|"json" # form of a line, default `"text"`
---@field access? boolean # a line for each request, default `false`

---@class hgcache.config.node.limits
---@field key? integer|string # bytes of a key, at most 65535, default `1024`
---@field value? integer|string # bytes of a value, default `"8MiB"`
---@field headers? integer|string # bytes of a request's header block, default `"16KiB"`
---@field fields? integer # header fields of a request, default `100`
---@field body? integer|string # bytes of a request's body, default `"8MiB"`
---@field connections? integer # client connections, default `65536`
---@field pipeline? integer # requests of a connection in work, default `16`
---@field streams? integer # HTTP/2 streams of a connection, default `128`
---@field flights? integer # loads under way in the node, default `65536`
---@field waiters? integer # callers that wait for one load, default `10000`
---@field peer_message? integer|string # bytes of an answer from another node, default `"16MiB"`
---@field header_timeout? number|string # from a request's first byte to the end of its header, default `"10s"`
---@field idle_timeout? number|string # between two requests of a connection, default `"60s"`
---@field write_timeout? number|string # without progress of a write, default `"30s"`

---@class hgcache.config.node.script
---@field memory? integer|string # Lua memory of each script thread, default `"128MiB"`
---@field budget? number|string # CPU a script may use between two waits, default `"100ms"`
---@field jit? boolean # compile scripts, default `false`

---@class hgcache.config.node.http
---@field origins? string[] # whom hg.http may ask, redirects too; absent: anybody
---@field concurrency? integer # requests under way in the node, default `256`
---@field per_load? integer # requests of one load, call of a function route or run of a job, default `1000`
---@field ca? string # certificates that hg.http and hg.socket trust; absent: the system's

---@class hgcache.config.node.shared
---@field capacity? integer|string # bytes of each table, headers included, default `"1MiB"`
---@field entries? integer # entries of each table, default `65536`

---@class hgcache.config.node.admin
---@field tokens? string[] # shared secrets of the admin listener, newest first
---@field hosts? string[] # further names the Host header may have

---@class hgcache.config.node.reload_guard
---@field errors? table<integer, string|hgcache.error_page> # share of a group's loads above which the reload is rolled back, default `0.1`
---@field window? number|string # how long after a reload, default `"1m"`

---@class hgcache.config.cluster
---@field self string # this node's member string; must stand in the list exactly
---@field peers string[]|hgcache.peers|fun(): string[]?, string? # all members, this node among them, or what finds them
---@field refresh? number|string # how often what finds the members is asked; default "10s", hg.file "1s"
---@field transport? "auto"|"grpc"|"http" # how nodes are asked, default `"auto"`
---@field base_path? string # default "/_hgcache/"; "/_groupcache/" with ring = "groupcache"
---@field ring? "default"|"hgcache"|"groupcache"|hgcache.config.cluster.ring # how keys are placed, default `"default"`
---@field timeout? number|string # silence after which a peer has failed, default `"1s"`
---@field lease? number|string # bound on the life of copies, default `"2s"`
---@field tokens? string[] # secrets shared by the nodes, newest first
---@field default_group? string # the group of a request that names none
---@field min_peers? integer # members that must be known before the node is ready, default `1`

---@class hgcache.config.cluster.ring
---@field hash "xxh64"|"crc32" # hash of points and keys
---@field points integer # points of each member on the ring

---@class hgcache.config.group
---@field capacity? integer|string # bytes an entry really costs, main and hot together, default `"64MiB"`
---@field shards? integer|"auto" # lock shards; 1 = one exact order; auto: 1 for one worker, else 512 for each, up to 1024, of at least 1 MiB, default `"auto"`
---@field policy? "lru"|"fifo"|"random"|"clock"|"sampled-lru"|"lfu"|"sieve"|"s3-fifo"|"w-tinylfu"|"arc"|hgcache.policy # what is evicted first, default `"lru"`
---@field ttl? number|string|false # lifetime; 0 = do not store, default `false`
---@field ttl_jitter? number # share of the lifetime by which it is shortened at random, default `0.1`
---@field negative_ttl? number|string|false # remember not-found, default `"5s"`
---@field error_ttl? number|string|false # remember an error, default `0`
---@field error_ttl_max? number|string|false # remember errors in a row for longer and longer, up to this; default error_ttl: no longer
---@field stale_while_revalidate? number|string|false # serve stale while refreshing, default `0`
---@field stale_if_error? number|string|false # serve stale when the source fails, default `0`
---@field early_refresh? number # XFetch beta; 0 = off, default `0`
---@field hot? number # share of capacity for copies of other owners' keys, default `0.125`
---@field deadline? number|string # how long a caller waits, queueing and retries included, default `"10s"`
---@field source? hgcache.config.source|hgcache.source # guard of the getter; hg.source{...} shares one
---@field getter? fun(key: string, ctx: hgcache.ctx): hgcache.result, any?, any? # loads a key
---@field get_many? fun(keys: string[], ctx: hgcache.ctx): table<string, hgcache.result>?, any?, any? # loads several keys; instead of getter
---@field batch? hgcache.config.batch # which keys get_many is called with together
---@field pool? string # script pool that runs the getter, default `"getters"`
---@field on_evict? fun(key: string, value: string, reason: "capacity"|"expired"|"removed"|"replaced") # told of what leaves the store
---@field on_hot? fun(key: string, rate: integer) # told which keys are asked for 600 times a minute or more, with the rate
---@field on_timeout? "error"|"stale" # what a caller gets whose deadline passes, default `"error"`
---@field expose_errors? boolean # show class and message of a getter's error to clients, default `false`

---@class hgcache.config.source
---@field concurrency? integer # loads at a time, default `64`
---@field queue? integer # loads that wait for their turn, default `1024`
---@field timeout? number|string # of one run of the getter, default `"5s"`
---@field retries? integer # further runs after an error, default `0`
---@field backoff? number|string # before the first retry; doubles, default `"50ms"`
---@field breaker? hgcache.config.breaker # stops asking a source that fails

---@class hgcache.config.breaker
---@field failures? integer # failures in a row that open it; 0 = no breaker, default `5`
---@field cooldown? number|string # time until one load is tried again, default `"5s"`

---@class hgcache.config.batch
---@field window? number|string # how long the first key waits for others, default `"1ms"`
---@field max? integer # keys at most, default `100`

---@class hgcache.config.serve
---@field key? string # key template, default `"{query.key}"`
---@field as? "raw"|"envelope" # the bytes, or HgCache v2's JSON, default `"raw"`
---@field type? string # instead of the value's own content type
---@field headers? table<string, string> # further response headers; Cache-Control is then yours
---@field cache_control? boolean # send Cache-Control with the remaining life, default `true`
---@field timeout? number|string # shortens the group's deadline
---@field cors? hgcache.config.cors|false # instead of the top's; false = none
---@field before? hgcache.before|hgcache.before[] # called first, in Lua; what it returns is the answer

---@class hgcache.config.handler
---@field handler hgcache.handler # answers the request
---@field before? hgcache.before|hgcache.before[] # called first; what it returns is the answer
---@field after? hgcache.after|hgcache.after[] # called behind it, and may change the answer
---@field timeout? number|string # how long the handler may take
---@field cors? hgcache.config.cors|false # instead of the top's; false = none

---@class hgcache.config.http
---@field before? hgcache.before|hgcache.before[] # called before function routes; what it returns is the answer
---@field after? hgcache.after|hgcache.after[] # called behind them, and may change the answer
---@field errors? table<integer, string|hgcache.error_page> # pages instead of the node's own words for an error

---@class hgcache.config.cors
---@field origins? string[]|"*" # exact origins, or "*"
---@field methods? string[] # allowed methods
---@field headers? string[] # allowed request headers
---@field expose? string[] # readable response headers
---@field credentials? boolean # cookies and Authorization are allowed, default `false`
---@field max_age? number|string # how long a browser may remember a preflight, default `"12h"`
---@field origin? fun(origin: string): boolean # decides instead of origins; remembered for a minute
