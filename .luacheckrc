std = "luajit"
max_line_length = 120
max_comment_line_length = 140
cache = false
exclude_files = { "build/**" }
files["spec"] = { std = "luajit+busted" }
files["**/*_spec.lua"] = { std = "luajit+busted" }
for _, script in ipairs({ "pipeline", "sequence", "zipf" }) do
    files["bench/" .. script .. ".lua"] = { globals = { "wrk", "init", "request" } } -- run by wrk
end
