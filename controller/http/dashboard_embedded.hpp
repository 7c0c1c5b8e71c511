// The files of controller/http/dashboard, which the build puts into the binary.
#pragma once

#include <span>
#include <string_view>

namespace homeostat {

struct EmbeddedFile {
    std::string_view name;
    std::string_view text;
};
std::span<const EmbeddedFile> embedded_dashboard();

}  // namespace homeostat
