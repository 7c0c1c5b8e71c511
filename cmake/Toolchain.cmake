# Language level, warnings, sanitizers and build speed. `homeostat_warnings` is linked by every target of ours and by nothing else's.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Debug, Release, RelWithDebInfo" FORCE)
endif()

# -Wno-sign-conversion: sizes come from the standard library unsigned and from PostgreSQL signed; narrowing is still an error.
add_library(homeostat_warnings INTERFACE)
target_compile_options(homeostat_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Woverloaded-virtual -Wextra-semi -Werror
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety -Wunreachable-code-aggressive -Wno-missing-designated-field-initializers>
  # Left-out members of a designated initializer have defaults here, on purpose.
  -Wno-missing-field-initializers
  # GCC 12 and 13 report these inside the standard library from inlined string and variant code that is right (GCC PR 105329, 80635);
  # mismatched-new-delete likewise in inlined coroutine frames.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict -Wno-maybe-uninitialized -Wno-mismatched-new-delete>
  # GCC forgets that a header is a system's once it is precompiled, and reports more of these.
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<BOOL:${HOMEOSTAT_PCH}>>:-Wno-stringop-overflow -Wno-stringop-overread -Wno-array-bounds
  -Wno-free-nonheap-object -Wno-dangling-pointer>)
add_compile_definitions($<$<NOT:$<CONFIG:Release>>:_GLIBCXX_ASSERTIONS>)
if(HOMEOSTAT_FAULT_POINTS)
  add_compile_definitions(HOMEOSTAT_FAULT_POINTS=1)
endif()

if(HOMEOSTAT_SANITIZE)
  add_compile_options(-fsanitize=${HOMEOSTAT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${HOMEOSTAT_SANITIZE})
  if(HOMEOSTAT_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-tsan)
  endif()
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()
find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
  add_link_options(-fuse-ld=mold)
endif()

if(HOMEOSTAT_TIDY)
  find_program(CLANG_TIDY_PROGRAM NAMES clang-tidy-19 REQUIRED)
  set(CMAKE_CXX_CLANG_TIDY "${CLANG_TIDY_PROGRAM}")
endif()
