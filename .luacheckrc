std = "luajit"
max_line_length = 132
max_comment_line_length = 140
cache = false
exclude_files = { "build/**" }
files["spec"] = { std = "luajit+busted" }
files["**/*_spec.lua"] = { std = "luajit+busted" }
for _, script in ipairs({ "pipeline", "sequence", "zipf" }) do
    files["bench/" .. script .. ".lua"] = { globals = { "wrk", "init", "request" } } -- run by wrk
end
files["lua/hgcache/boot.lua"] = { ignore = { "122" } } -- it makes the standard library safe for scripts
files["lua/hgcache/fakes.lua"] = { ignore = { "122" } } -- os.time is the node's own there
files["lua/hgcache/types/**"] = { max_line_length = false, max_comment_line_length = false, ignore = { "212", "241" } } -- annotations only
