--- hg.etcd{ endpoints = { "http://127.0.0.1:2379" } }: members register themselves in etcd, over its JSON gateway (3.4).
--
--   list + watch (the job)     -> M.propose       a range, then its changes from the next revision on, for cluster.refresh; again
--   register (a task beside)   -> lease, key      put with a lease, kept alive each third of it; lost: a new one, and put again
--   leave                      -> lease revoked
--
-- A member is a key `<prefix>-<uuid>` whose value is host:port, as HgCache v2 writes it; whatever else lies there is ignored and
-- counted. Our UUID is v5 of our address. Where that key is there already, our address is asked who it is: we ourselves, then it is
-- of an earlier life and taken over; another node, then this one ends; nobody, then its lease is waited for.
--
-- The last good list stays while etcd is away, older than what is known (a member of it that lags), empty, or without us; and for
-- HELD seconds where more than half of the members were gone at once and are not all back. Leases of one age end one by one: who
-- goes within GATHERED seconds of another goes together with it.

local core = require "hgcache.core"
local digest = require "hgcache.digest"
local discovery = require "hgcache.discovery"
local http = require "hgcache.http"
local schema = require "hgcache.schema"
local units = require "hgcache.units"
local cjson = require "cjson"

local TIMEOUT = 2 -- seconds, of one request
local CONNECT = 1
local MEMBERS_MAX = 1000
local VALUE_MAX = 255
local ANSWER_MAX = 16 * 1024 * 1024 -- bytes of a list, or of one line of a watch
local HELD = 30
local GATHERED = 1 -- seconds: after one leaves, and between two lists that differ
local LAGS_MAX = 3 -- times, each endpoint, that an older revision is not believed

local NAMESPACE_URL = "\107\167\184\17\157\173\17\209\128\180\0\192\79\212\48\200"
local UUID = "^" .. ("%x"):rep(8) .. ("%-" .. ("%x"):rep(4)):rep(3) .. "%-" .. ("%x"):rep(12) .. "$"

local encode, decode = digest.encode_base64, digest.decode_base64

--- UUID v5 of a text, in the namespace of URLs.
local function uuid(text)
    local bytes = { digest.sha1(NAMESPACE_URL .. text):byte(1, 16) }
    bytes[7] = bytes[7] % 16 + 80
    bytes[9] = bytes[9] % 64 + 128
    local hex = digest.hex(string.char(unpack(bytes)))
    return ("%s-%s-%s-%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(13, 16), hex:sub(17, 20), hex:sub(21))
end

local Etcd = {}
Etcd.__index = Etcd

-- Requests ------------------------------------------------------------------------------------------------------------

-- One request to one endpoint. -> answer | nil, message
function Etcd:send(endpoint, path, body, more)
    more = more or {}
    local request = http.check("hg.etcd", {
        method = "POST", body = cjson.encode(body), timeout = more.timeout or TIMEOUT, connect_timeout = CONNECT,
        max_body = more.stream and 2 ^ 52 or ANSWER_MAX, stream = more.stream,
        headers = { ["Content-Type"] = "application/json", Authorization = not more.is_open and self.token or nil },
    }, 1)
    request.tls = self.tls
    return http.run(request, endpoint .. path)
end

local function decode_json(text)
    local ok, value = pcall(cjson.decode, text)
    return ok and type(value) == "table" and value or nil
end

-- What etcd says is wrong.
local function trouble_of(answer)
    local value = answer.body and decode_json(answer.body) or {}
    local message = value.error or value.message
    return type(message) == "string" and message or "status " .. answer.status, tonumber(value.code)
end

function Etcd:authenticate(endpoint)
    local answer, message = self:send(endpoint, "/v3/auth/authenticate", { name = self.user, password = self.password },
        { is_open = true })
    if not answer then
        return nil, message
    end
    local token = answer.status == 200 and (decode_json(answer.body) or {}).token
    if not token then
        return nil, "no token for " .. self.user .. ": " .. trouble_of(answer)
    end
    self.token = token
    return true
end

local function is_token_trouble(message)
    return message:find("auth token", 1, true) or message:find("revision of auth store is old", 1, true)
        or message:find("user name is empty", 1, true)
end

-- To one endpoint, with a token where there is a user; a token that is of no use any more is asked for anew, once.
-- -> answer of status 200 | nil, message, code of etcd
function Etcd:try(endpoint, path, body, more)
    for attempt = 1, 2 do
        if self.user and not self.token then
            local ok, why = self:authenticate(endpoint)
            if not ok then
                return nil, why
            end
        end
        local answer, message = self:send(endpoint, path, body, more)
        if not answer then
            return nil, message
        elseif answer.status == 200 then
            return answer
        end
        if more and more.stream then
            answer.body = answer:read(65536)
            answer:close()
        end
        local code
        message, code = trouble_of(answer)
        if attempt == 2 or not self.user or not is_token_trouble(message) then
            return nil, message, code
        end
        self.token = nil
    end
end

function Etcd:rotate()
    self.at = self.at % #self.endpoints + 1
end

-- To the endpoint in use, then to the others, until one answers. code: of etcd, which has answered then.
-- -> table | nil, message, code
function Etcd:call(path, body)
    local answer, message, code
    for _ = 1, #self.endpoints do
        local endpoint = self.endpoints[self.at]
        answer, message, code = self:try(endpoint, path, body)
        local value = answer and decode_json(answer.body)
        if value then
            return value
        elseif code == 5 then -- not found, such as a lease: another one knows no more
            return nil, message, code
        end
        message = endpoint .. ": " .. (answer and "an answer that is no JSON" or message)
        self:rotate()
    end
    return nil, message, code
end

-- Between two attempts, so that nodes do not come together.
local function pause(seconds)
    core.sleep(seconds * (0.75 + math.random() / 2))
end

-- The list ------------------------------------------------------------------------------------------------------------

local function host_port(value)
    return #value <= VALUE_MAX and not value:find("/", 1, true) and schema.member_address(value) or nil
end

-- Notes one key of the prefix as etcd has it: value nil: it is gone.
function Etcd:note(key, value, lease)
    local name = key:sub(1, #self.before) == self.before and key:sub(#self.before + 1)
    if not name then
        return
    end
    local member = value and name:find(UUID) and host_port(value)
    self.entries[key] = member and { member = member, lease = lease } or nil
    self.ignored[key] = value and not member or nil
end

local function list_of(entries)
    local list, seen = {}, {}
    for _, entry in pairs(entries) do
        if not seen[entry.member] then
            seen[entry.member] = true
            list[#list + 1] = entry.member
        end
    end
    table.sort(list)
    return list, seen
end

-- For how many seconds the list that was taken stays because members of it are gone; none: it need not.
function Etcd:kept_for(seen)
    local now, gone = core.monotonic(), 0
    for _, member in ipairs(self.taken) do
        gone = gone + (seen[member] and 0 or 1)
    end
    if gone == 0 then
        self.gone, self.kept_since = 0, nil
        return 0
    end
    if self.gone == 0 then
        self.first_gone = now
    end
    if gone > self.gone then
        self.last_gone = now
    end
    self.gone = gone
    if not self.kept_since and gone >= 2 and gone * 2 > #self.taken then
        self.kept_since = now
        core.log.warn("members kept: %d of %d are gone from etcd at once", gone, #self.taken)
    end
    if self.kept_since then
        return self.kept_since + HELD - now
    end
    -- Leases are renewed each third of their life: so far apart may those end that nobody renews any more.
    return math.min(self.last_gone, self.first_gone + self.lease_ttl / 3) + GATHERED - now
end

function Etcd:publish_in(seconds)
    if self.is_waiting then
        return
    end
    self.is_waiting = true
    core.spawn(function()
        core.sleep(math.min(seconds, GATHERED))
        self.is_waiting = false
        self:publish()
    end)
end

function Etcd:publish()
    local list, seen = list_of(self.entries)
    local own = self.entries[self.key]
    if self.leaving then
        return
    elseif self.is_registered and self.revision >= self.put_at and (not own or own.lease ~= self.lease) then
        self.is_registered = false -- somebody took it away
        self.wakes = true
    end
    local seconds = self:kept_for(seen) -- also where it is we who are gone
    seconds = math.max(seconds, self.changed_at + GATHERED - core.monotonic())
    if not self.is_registered and not seen[self.address] then
        return -- not yet, or not again; register() says why
    elseif not seen[self.address] then
        discovery.failed(#list == 0 and "no members in etcd" or "etcd does not list this node")
        return
    elseif seconds > 0 then
        self:publish_in(seconds)
        return
    elseif #list > MEMBERS_MAX then
        discovery.failed(("%d members in etcd, at most %d are possible"):format(#list, MEMBERS_MAX))
        return
    end
    local ignored = 0
    for _ in pairs(self.ignored) do
        ignored = ignored + 1
    end
    local is_new = discovery.propose(list, ignored)
    if is_new == nil then
        self:publish_in(GATHERED) -- it may have come too soon
    else
        self.taken = list
    end
    if is_new then
        self.changed_at = core.monotonic()
    end
end

local function revision_of(value)
    return tonumber(type(value.header) == "table" and value.header.revision)
end

-- Not from a member of etcd that lags; but an etcd that was made anew counts from 1 again.
function Etcd:is_older(value)
    local revision, cluster = revision_of(value), value.header.cluster_id
    if revision >= self.revision or cluster ~= self.cluster then
        self.lags = 0
        self.put_at = cluster == self.cluster and self.put_at or 0
        self.revision, self.cluster = revision, cluster
        return false
    end
    self.lags = self.lags + 1
    if self.lags > LAGS_MAX * #self.endpoints then
        core.log.warn("etcd is at revision %d and was at %d: it must have been restored", revision, self.revision)
        self.lags, self.revision, self.put_at = 0, revision, 0
        return false
    end
    return true
end

-- -> true | nil, message
function Etcd:list()
    local value, message = self:call("/v3/kv/range",
        { key = encode(self.before), range_end = encode(self.after), limit = tostring(8 * MEMBERS_MAX) })
    if not value then
        return nil, message
    elseif not revision_of(value) then
        return nil, "an answer without a revision"
    elseif self:is_older(value) then
        self:rotate()
        return nil, ("%s is behind: revision %d, and %d was seen"):format(self.endpoints[self.at], revision_of(value),
            self.revision)
    end
    self.entries, self.ignored = {}, {}
    for _, kv in ipairs(type(value.kvs) == "table" and value.kvs or {}) do
        local key = decode(kv.key or "")
        if key then
            self:note(key, decode(kv.value or "") or "", kv.lease or "0")
        end
    end
    self:publish()
    return true
end

-- One line of a watch. -> whether to go on | nil, message
function Etcd:take_line(line)
    local value = decode_json(line)
    local result = value and value.result
    if type(result) ~= "table" then
        local trouble = value and type(value.error) == "table" and value.error.message
        return nil, trouble or "a watch ended"
    elseif result.canceled then
        local compacted = tonumber(result.compact_revision)
        if compacted and compacted > 0 then
            return false -- the list says what was missed
        end
        local why = tostring(result.cancel_reason or "a watch was canceled")
        if is_token_trouble(why) then
            self.token = nil
        end
        return nil, why
    end
    for _, event in ipairs(type(result.events) == "table" and result.events or {}) do
        local kv = type(event.kv) == "table" and event.kv or {}
        local key = decode(kv.key or "")
        if key then
            self:note(key, event.type ~= "DELETE" and (decode(kv.value or "") or "") or nil, kv.lease or "0")
        end
    end
    self.revision = math.max(self.revision, revision_of(result) or 0)
    if result.events then
        self:publish()
    end
    return true
end

-- What changes from the list's revision on, until it is time for another list. -> true | nil, message
function Etcd:watch()
    local seconds = self.refresh * (0.9 + math.random() / 5)
    local endpoint = self.endpoints[self.at]
    local answer, message = self:try(endpoint, "/v3/watch", { create_request = {
        key = encode(self.before), range_end = encode(self.after), start_revision = ("%d"):format(self.revision + 1),
    } }, { stream = true, timeout = seconds })
    if not answer then
        return nil, endpoint .. ": " .. message
    end
    local pieces, bytes = {}, 0 -- of a line that has no end yet
    while true do
        local piece, code
        piece, message, code = answer:read()
        if not piece then
            if code == "timeout" then
                return true
            end
            return nil, endpoint .. ": " .. (message or "a watch ended")
        end
        local from, to = 1, piece:find("\n", 1, true)
        while to do
            pieces[#pieces + 1] = piece:sub(from, to - 1)
            local goes_on
            goes_on, message = self:take_line(table.concat(pieces))
            if not goes_on then
                answer:close()
                return goes_on ~= nil or nil, message and endpoint .. ": " .. message
            end
            pieces, bytes = {}, 0
            from = to + 1
            to = piece:find("\n", from, true)
        end
        pieces[#pieces + 1] = piece:sub(from)
        bytes = bytes + #piece - from + 1
        if bytes > ANSWER_MAX then
            answer:close()
            return nil, endpoint .. ": a watch with a line that has no end"
        end
    end
end

-- Ourselves -------------------------------------------------------------------------------------------------------------

-- Who answers at our own address. -> "us" | "another" | "nobody"
function Etcd:who()
    local request = http.check("hg.etcd", {
        url = nil, timeout = 1, connect_timeout = 1, max_body = 65536,
        headers = { Authorization = self.peer_token and "Bearer " .. self.peer_token or nil },
    }, 1)
    local answer = http.run(request, "http://" .. self.address .. self.base_path .. "?who")
    if not answer then
        return "nobody"
    end
    return answer.body == core.members.identity() and "us" or "another"
end

-- Puts our key where it is not there, or where `anyway`. -> true | false: it is there, of another lease | nil, message, code
function Etcd:put(anyway)
    local key = encode(self.key)
    local put = { request_put = { key = key, value = encode(self.address), lease = self.lease } }
    local value, message, code = self:call("/v3/kv/txn", {
        compare = not anyway and { { key = key, target = "CREATE", result = "EQUAL", create_revision = "0" } } or nil,
        success = { put },
        failure = { { request_range = { key = key } } },
    })
    if not value then
        return nil, message, code
    end
    self.put_at = revision_of(value) or 0 -- what was listed or watched before is no word on it
    if value.succeeded then
        return true
    end
    local range = value.responses and value.responses[1] and value.responses[1].response_range
    local kv = range and range.kvs and range.kvs[1] or {}
    return kv.lease == self.lease
end

-- -> true | nil, message
function Etcd:grant()
    local value, message = self:call("/v3/lease/grant", { TTL = tostring(self.lease_ttl) })
    if not value or not value.ID then
        return nil, message or "a grant without a lease"
    end
    self.lease, self.ttl, self.kept_at = value.ID, tonumber(value.TTL) or self.lease_ttl, core.monotonic()
    return true
end

-- Puts our key, unless it is there and not ours. -> true | nil, message, code of etcd
function Etcd:claim()
    local is_ours, message, code = self:put(false)
    if is_ours ~= false then
        return is_ours, message, code
    end
    local who = self:who()
    if who == "another" then
        core.members.give_up(("another node answers at %s, which is registered in etcd as %s"):format(self.address, self.key))
    elseif who == "us" then
        return self:put(true)
    end
    return nil, ("%s is registered already and nobody answers there: waiting for its lease to end"):format(self.address)
end

-- -> true | nil, message
function Etcd:register()
    local ok, message, code = self:claim()
    if ok then
        self.is_registered = true
        core.log.info("registered in etcd key=%s address=%s lease=%s ttl=%d", self.key, self.address, self.lease, self.ttl)
        return true
    elseif code == 5 then
        self.lease = nil
    end
    return nil, message
end

-- -> true | nil, message. The lease is gone: self.lease is nil.
function Etcd:keep_alive()
    local value, message = self:call("/v3/lease/keepalive", { ID = self.lease })
    local result = value and value.result
    if type(result) ~= "table" then
        return nil, message or "no answer to a keep-alive"
    elseif not result.TTL or tonumber(result.TTL) <= 0 then
        core.log.warn("lease lost in etcd lease=%s", self.lease)
        self.lease, self.is_registered = nil, false
        return true
    end
    self.kept_at = core.monotonic()
    return true
end

-- What is to be done next about our own name. -> seconds until then | nil, message
function Etcd:step()
    local ok, message = true, nil
    if not self.lease then
        ok, message = self:grant()
        self.is_registered = false
    end
    if ok and not self.leaving and not self.is_registered then
        ok, message = self:register()
    elseif ok and not self.leaving and core.monotonic() - self.kept_at >= self.ttl / 3 then
        ok, message = self:keep_alive()
    end
    if not ok then
        return nil, message
    end
    return self.lease and math.max(0, self.ttl / 3 - (core.monotonic() - self.kept_at)) or 0
end

-- In steps, so that what the watch saw and that we leave are noticed.
function Etcd:rest(seconds)
    local until_s = core.monotonic() + seconds
    while not self.leaving and not self.wakes and core.monotonic() < until_s do
        core.sleep(math.min(0.1, math.max(0.001, until_s - core.monotonic())))
    end
    self.wakes = false
end

function Etcd:stay()
    while not self.leaving do
        self.is_stepping = true
        local ok, seconds, message = pcall(self.step, self)
        self.is_stepping = false
        if not ok or not seconds then
            core.log.warn("not registered in etcd err=%q", tostring(ok and message or seconds))
            self:rest(0.5 + math.random() / 2)
        else
            self:rest(seconds)
        end
    end
end

-- The two halves ----------------------------------------------------------------------------------------------------------

function Etcd:run()
    if not self.is_staying then
        self.is_staying = true
        core.spawn(function()
            self:stay()
        end)
    end
    while not self.leaving do
        local ok, message = self:list()
        if ok then
            ok, message = self:watch()
        end
        if not ok and not self.leaving then
            discovery.failed(message)
            self:rotate()
            pause(0.5)
        end
    end
end

function Etcd:leave()
    self.leaving = true
    local until_s = core.monotonic() + TIMEOUT
    while self.is_stepping and core.monotonic() < until_s do -- a grant under way would be left behind
        core.sleep(0.01)
    end
    if self.lease then
        local value, message = self:call("/v3/lease/revoke", { ID = self.lease })
        core.log.info("left etcd key=%s err=%q", self.key, value and "" or tostring(message))
    end
end

return function(options, cluster)
    local address = schema.member_address(cluster.self)
    local tokens = cluster.tokens or {}
    local a, b, c = digest.sha1(address .. core.now()):byte(1, 3)
    math.randomseed(a * 65536 + b * 256 + c) -- or all nodes would draw the same
    local self = setmetatable({
        endpoints = options.endpoints, at = 1, user = options.user, password = options.password,
        tls = (options.ca or options.cert) and { ca = options.ca, cert = options.cert, key = options.key } or nil,
        before = options.prefix .. "-", after = options.prefix .. ".", -- the next byte: siblings' keys are outside
        key = options.prefix .. "-" .. uuid(address), address = address, lease_ttl = options.lease_ttl,
        refresh = units.duration(cluster.refresh or schema.discoveries.etcd) / 1000,
        base_path = cluster.base_path or cluster.ring == "groupcache" and "/_groupcache/" or "/_hgcache/", peer_token = tokens[1],
        entries = {}, ignored = {}, taken = {}, gone = 0, changed_at = -GATHERED, revision = 0, lags = 0, put_at = 0,
    }, Etcd)
    return {
        run = function()
            self:run()
        end,
        leave = function()
            self:leave()
        end,
    }
end
