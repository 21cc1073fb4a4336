--- hg.postgres{ url = "postgresql://user@host/db", pool = 10 }: PostgreSQL, over libpq's calls that do not wait.
--
--   local db = hg.postgres { host = "127.0.0.1", user = "app", database = "shop" }
--   local rows, message, code, sqlstate = db:query("select name, price from items where id = $1", 42)
--   rows[1].name, rows[1][1]; rows.columns; rows.changed
--
-- A statement takes a connection of the pool and gives it back. The pool is the script thread's.

local options = require "hgcache.options"
local pool = require "hgcache.postgres_pool"

return setmetatable({ bytes = pool.bytes }, {
    __call = function(_, opts)
        return (pool.connect(options.of("hg.postgres", opts, pool.known, 1), 1))
    end,
})
