// The error of what is asked of a provider that is not declared like that any more.
#pragma once

#include <string>

#include "core/error.hpp"

namespace homeostat {

// What was read of a provider is no longer true: it is gone, or has been declared anew.
inline constexpr const char* kDeclaredAnew = "DeclaredAnew";
Error declared_anew(const std::string& provider);

}  // namespace homeostat
