std = "luajit"
max_line_length = 120
max_comment_line_length = 140
cache = false
exclude_files = { "build/**" }
files["spec"] = { std = "luajit+busted" }
files["**/*_spec.lua"] = { std = "luajit+busted" }
