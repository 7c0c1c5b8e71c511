// Bodies that a server or a proxy has packed, asked or not: gzip, deflate, br. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace homeostat {

// The body as it was before `encoding` (a Content-Encoding header; several are undone from the last to the first), at most `most`
// bytes of it. Fails, with the reason alone as its message, where it is damaged, cut off, larger, or packed in another way.
Result<std::string> unpack(std::string body, std::string_view encoding, std::size_t most);

}  // namespace homeostat
