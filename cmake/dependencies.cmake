# Every outside library as one hg_dep_* target.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

function(hg_pkg name module)
    pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${module})
    add_library(hg_dep_${name} INTERFACE)
    target_link_libraries(hg_dep_${name} INTERFACE PkgConfig::${name})
endfunction()

hg_pkg(uv libuv)
hg_pkg(luajit luajit)
hg_pkg(nghttp2 libnghttp2)
# Headers only: net/curl_library.c loads the library when it is first needed.
pkg_check_modules(curl REQUIRED libcurl)
add_library(hg_dep_curl INTERFACE)
target_include_directories(hg_dep_curl SYSTEM INTERFACE ${curl_INCLUDE_DIRS})
target_link_libraries(hg_dep_curl INTERFACE ${CMAKE_DL_LIBS})
# Likewise: net/tls_library.c.
pkg_check_modules(ssl REQUIRED libssl)
add_library(hg_dep_ssl INTERFACE)
target_include_directories(hg_dep_ssl SYSTEM INTERFACE ${ssl_INCLUDE_DIRS})
target_link_libraries(hg_dep_ssl INTERFACE ${CMAKE_DL_LIBS})
# The same; net/pq_library.c.
pkg_check_modules(pq REQUIRED libpq)
add_library(hg_dep_pq INTERFACE)
target_include_directories(hg_dep_pq SYSTEM INTERFACE ${pq_INCLUDE_DIRS})
target_link_libraries(hg_dep_pq INTERFACE ${CMAKE_DL_LIBS})
hg_pkg(cares libcares)
hg_pkg(protobuf libprotobuf-c)
hg_pkg(jansson jansson)
hg_pkg(zlib zlib)
hg_pkg(xxhash libxxhash)
target_compile_definitions(hg_dep_xxhash INTERFACE XXH_INLINE_ALL)

# Off under sanitizers, which bring their own allocator.
add_library(hg_dep_jemalloc INTERFACE)
if(NOT HG_SANITIZE)
    pkg_check_modules(jemalloc IMPORTED_TARGET jemalloc)
    if(jemalloc_FOUND)
        target_link_libraries(hg_dep_jemalloc INTERFACE PkgConfig::jemalloc)
        target_compile_definitions(hg_dep_jemalloc INTERFACE HG_HAVE_JEMALLOC=1)
    endif()
endif()

# llhttp comes as C sources; strict mode refuses what the lenient one lets through.
set(HG_LLHTTP_DIR /usr/share/llhttp CACHE PATH "llhttp's C sources (package node-llhttp)")
find_path(HG_LLHTTP_INCLUDE llhttp.h PATHS /usr/share/include/llhttp /usr/include/llhttp ${HG_LLHTTP_DIR} REQUIRED)
add_library(hg_dep_llhttp STATIC ${HG_LLHTTP_DIR}/api.c ${HG_LLHTTP_DIR}/http.c ${HG_LLHTTP_DIR}/llhttp.c)
target_include_directories(hg_dep_llhttp SYSTEM PUBLIC ${HG_LLHTTP_INCLUDE})
target_compile_definitions(hg_dep_llhttp PUBLIC LLHTTP_STRICT_MODE=1)
target_compile_options(hg_dep_llhttp PRIVATE -w -O2)

if(HG_TESTS)
    hg_pkg(cmocka cmocka)
endif()
