--- Who the members of the cluster are, where cluster.peers is no list: on the thread of discovery (core/script/discovery.c).
--
--   job(cluster, which)  -> "discovery": function(), run at once and then each `every`; "leave": function(), when the node drains
--
-- cluster is what the chunk returned, checked already. A source of members is discovery/<kind>.lua, which returns
--   function(options, cluster) -> { run = function(), leave = nil|function() }
-- and says what it found by M.propose and M.failed.

local core = require "hgcache.core"
local schema = require "hgcache.schema"

local M = {}

local MEMBERS_MAX = 1000

--- A list of members for the node to take or to refuse. ignored: what was there beside them and is none.
-- -> true: it is new | false | nil, message: refused, or it comes too soon and has to be proposed again
function M.propose(list, ignored)
    return core.members.propose(list, ignored or 0)
end

--- There is no list to be had now; the last good one stays.
function M.failed(why)
    core.members.failed(tostring(why))
end

--- What is wrong with a list that a user's function or file gave, or nil.
function M.wrong(list)
    if type(list) ~= "table" then
        return "expected a list of members, found a " .. type(list)
    elseif #list > MEMBERS_MAX then
        return ("%d members, at most %d are possible"):format(#list, MEMBERS_MAX)
    end
    local count = 0
    for _ in pairs(list) do
        count = count + 1
    end
    if count ~= #list then
        return "expected a list of members without holes and names"
    end
    for i, member in ipairs(list) do
        local expected = schema.member_expected(member)
        if expected then
            return ("[%d]: expected %s, found %s"):format(i, expected,
                type(member) == "string" and ("%q"):format(member:sub(1, 60)) or "a " .. type(member))
        end
    end
end

local function of_function(fn)
    return {
        run = function()
            local ok, list, why = pcall(fn)
            if not ok then
                M.failed(list)
            elseif list == nil then
                M.failed(why == nil and "the function returned nil" or why)
            else
                local wrong = M.wrong(list)
                if wrong then
                    M.failed("the function's list: " .. wrong)
                else
                    M.propose(list)
                end
            end
        end,
    }
end

local sources = {} -- by cluster: one for each Lua state

--- Its tasks were ended, since another configuration serves: should this one serve again, it begins from nothing.
function M.forget()
    sources = {}
end

local function source_of(cluster)
    local source = sources[cluster]
    if not source then
        local peers = cluster.peers
        if type(peers) == "function" then
            source = of_function(peers)
        else
            source = require("hgcache.discovery." .. peers.__hgcache)(peers, cluster)
        end
        sources[cluster] = source
    end
    return source
end

function M.job(cluster, which)
    return function()
        local source = source_of(cluster)
        if which == "discovery" then
            source.run()
        elseif source.leave then
            source.leave()
        end
    end
end

return M
