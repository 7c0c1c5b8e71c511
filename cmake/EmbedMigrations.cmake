# Writes OUTPUT, a .cpp that holds migrations/NNNN_what.up.sql and .down.sql as a table. FILES is a |-separated list of the ups.
cmake_policy(SET CMP0053 NEW)
include("${CMAKE_CURRENT_LIST_DIR}/EmbedText.cmake")
string(REPLACE "|" ";" FILES "${FILES}")
list(SORT FILES)
set(rows "")
set(last 0)
foreach(up IN LISTS FILES)
  get_filename_component(file "${up}" NAME)
  if(NOT file MATCHES "^([0-9][0-9][0-9][0-9])_([a-z0-9_]+)\\.up\\.sql$")
    message(FATAL_ERROR "migrations/${file}: a migration is named NNNN_what.up.sql")
  endif()
  set(digits "${CMAKE_MATCH_1}")
  set(name "${CMAKE_MATCH_2}")
  string(REGEX REPLACE "^0+" "" number "${digits}")
  math(EXPR expected "${last} + 1")
  if(NOT number EQUAL expected)
    message(FATAL_ERROR "migrations/${file}: the next number is ${expected}; numbers have no gaps and no doubles")
  endif()
  set(last ${number})
  string(REGEX REPLACE "\\.up\\.sql$" ".down.sql" down "${up}")
  if(NOT EXISTS "${down}")
    message(FATAL_ERROR "migrations/${file}: its .down.sql is missing")
  endif()
  embed_text(up_text "${up}")
  embed_text(down_text "${down}")
  string(APPEND rows "    {${number}, \"${name}\",\n${up_text},\n${down_text}},\n")
endforeach()
file(WRITE "${OUTPUT}" "// Written by cmake/EmbedMigrations.cmake from migrations/.
#include \"store/control/migrations_embedded.hpp\"

#include <array>

#if defined(__clang__)
#pragma clang diagnostic ignored \"-Woverlength-strings\"
#endif

namespace homeostat {
namespace {
constexpr std::array<EmbeddedMigration, ${last}> kMigrations{{
${rows}}};
}  // namespace
std::span<const EmbeddedMigration> embedded_migrations() { return kMigrations; }
}  // namespace homeostat
")
