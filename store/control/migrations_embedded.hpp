// The files of migrations/, compiled into the binary in ascending order without gaps; written at build time by
// cmake/EmbedMigrations.cmake. Constant data, safe from any thread.
#pragma once

#include <span>
#include <string_view>

namespace homeostat {

struct EmbeddedMigration {
    int number;             // NNNN of the file name, from 1
    std::string_view name;  // "what" of NNNN_what.up.sql
    std::string_view up;
    std::string_view down;
};

std::span<const EmbeddedMigration> embedded_migrations();

}  // namespace homeostat
