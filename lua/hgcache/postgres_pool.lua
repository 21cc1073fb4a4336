--- What hg.postgres and hg.source_postgres have in common: options of a connection, and a pool made of them.

local core = require("hgcache.core").postgres

local M = {}
local Postgres = {}
Postgres.__index = Postgres

-- Those that are libpq's, by its keywords.
local keywords = {
    host = "host", port = "port", user = "user", password = "password", database = "dbname", sslmode = "sslmode",
    sslrootcert = "sslrootcert",
}

--- The options of a connection, with their types; those of a source have more.
M.known = {
    url = "string", host = "string", port = "number", user = "string", password = "string", database = "string",
    sslmode = "string", sslrootcert = "string", pool = "number", pool_idle = true, timeout = true, max_bytes = true,
}

--- o: the options, checked by options.of; depth: of the function that calls this, as options.of has it. -> handle
function M.connect(o, depth)
    local opts, words = o:at(depth + 1).opts, {}
    for option, keyword in pairs(keywords) do
        if opts[option] ~= nil then
            words[keyword] = option == "port" and ("%d"):format(o:whole("port", 5432, 1, 65535)) or opts[option]
        end
    end
    local handle, message = core.new(opts.url, words, o:whole("pool", 10, 1, 1000), o:milliseconds("timeout", "5s"),
        o:milliseconds("pool_idle", "60s"), opts.max_bytes and o:bytes("max_bytes") or 0)
    if not handle then
        o:wrong(message)
    end
    return setmetatable({ handle = handle }, Postgres)
end

--- -> list of rows, each by position and by name of column, with `columns` and `changed` | nil, message, code, sqlstate
-- parameters: strings, numbers, booleans, hg.postgres.bytes(...), and nil or hg.null for NULL
function Postgres:query(sql, ...)
    local why = core.check(self.handle, sql, ...)
    if why then
        return nil, why, "internal"
    end
    local ok, message, code, sqlstate = core.acquire(self.handle)
    if not ok then
        return nil, message, code, sqlstate
    end
    return core.ask(self.handle, sql, ...)
end

--- Bytes as a parameter, for bytea.
function M.bytes(text)
    if type(text) ~= "string" then
        error("hg.postgres.bytes: expected a string, found " .. type(text), 2)
    end
    return core.bytes(text)
end

return M
