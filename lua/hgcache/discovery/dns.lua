--- hg.dns{ name = "hgcache.default.svc.cluster.local" }: every address of the name is a member, as a headless service of Kubernetes
-- has one for each pod that is ready.
--
-- Asked each cluster.refresh (10 s). cluster.self says how a member is written: its family (A or AAAA), its port where the options
-- have none, and whether "http://" stands before it.

local core = require "hgcache.core"
local discovery = require "hgcache.discovery"
local schema = require "hgcache.schema"

return function(options, cluster)
    local scheme = cluster.self:match("^http://") or ""
    local own, port = schema.split_address((schema.member_address(cluster.self)))
    local is_ip6 = own:find(":", 1, true) ~= nil
    port = options.port or port
    return {
        run = function()
            local addresses, message = core.resolve(options.name, is_ip6 and 6 or 4)
            if not addresses then
                discovery.failed(("%s: %s"):format(options.name, message))
                return
            end
            local list, seen = {}, {}
            for _, address in ipairs(addresses) do
                if not seen[address] then
                    seen[address] = true
                    list[#list + 1] = scheme .. (is_ip6 and "[" .. address .. "]" or address) .. ":" .. port
                end
            end
            table.sort(list)
            discovery.propose(list)
        end,
    }
end
