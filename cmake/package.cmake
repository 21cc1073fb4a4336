# cmake --install, and the Debian package: cmake --preset release && cmake --build --preset release, then in build/release
# cpack -G DEB. What belongs to a system and not below a prefix (unit, configuration) is in the package only.
include(GNUInstallDirs)
install(TARGETS hgcache RUNTIME)
install(DIRECTORY lua/hgcache DESTINATION share/hgcache/lua FILES_MATCHING PATTERN "*.lua")
install(DIRECTORY scripts/loaders DESTINATION share/hgcache/scripts FILES_MATCHING PATTERN "*.lua")
install(FILES docs/hgcache.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES scripts/completion.bash DESTINATION share/bash-completion/completions RENAME hgcache)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md" PATTERN "*.svg")
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES README.md configs/grafana.json configs/compose.yaml configs/kubernetes.yaml configs/full.lua
    configs/cluster.lua DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(HG_SYSTEM_DIR ${CMAKE_BINARY_DIR}/system)
file(REMOVE_RECURSE ${HG_SYSTEM_DIR})
configure_file(configs/hgcache.service ${HG_SYSTEM_DIR}/usr/lib/systemd/system/hgcache.service COPYONLY)
configure_file(configs/node.lua ${HG_SYSTEM_DIR}/etc/hgcache/config.lua COPYONLY)
configure_file(LICENSE ${HG_SYSTEM_DIR}/usr/share/doc/hgcache/copyright COPYONLY)
file(WRITE ${CMAKE_BINARY_DIR}/deb/conffiles "/etc/hgcache/config.lua\n")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME hgcache)
set(CPACK_PACKAGE_CONTACT "The hgcache authors <hgcache@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "read-through cache node that you script in Lua")
set(CPACK_PACKAGE_DESCRIPTION "One node answers from memory and loads what it lacks by a getter in Lua.
Equal nodes form a cluster: every key has one owner, and a miss calls the getter once in the whole cluster.")
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_SET_DESTDIR ON) # so that /etc is not below the prefix
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALLED_DIRECTORIES ${HG_SYSTEM_DIR} /)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION web)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# Loaded at run time: Lua's JSON always, the others when they are first needed (net/*_library.c).
set(CPACK_DEBIAN_PACKAGE_DEPENDS "lua-cjson, libcurl4, libssl3, libpq5, ca-certificates, passwd")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "lua-busted, lua-sql-sqlite3, lua-sql-mysql")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/scripts/deb/postinst ${CMAKE_SOURCE_DIR}/scripts/deb/prerm
    ${CMAKE_SOURCE_DIR}/scripts/deb/postrm ${CMAKE_BINARY_DIR}/deb/conffiles)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
