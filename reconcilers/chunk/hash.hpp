// What a chunk is recognised by.
#pragma once

#include <string>
#include <string_view>

namespace homeostat {

// SHA-256, raw bytes: the same as PostgreSQL's sha256() of the same text, so that a sweep can check what is stored.
std::string chunk_hash(std::string_view text);

}  // namespace homeostat
