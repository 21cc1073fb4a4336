std = "luajit"
max_line_length = 120
files["spec"] = { std = "luajit+busted" }
files["examples/**/*_spec.lua"] = { std = "luajit+busted" }
