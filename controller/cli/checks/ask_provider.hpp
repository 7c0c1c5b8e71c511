// One question to a provider from the command line, through the same gateway that healing uses. Blocks the calling thread; what
// it starts has ended when it returns.
#pragma once

#include <string>
#include <vector>

#include "controller/config/config.hpp"
#include "core/resource.hpp"
#include "reconcilers/embed/embedder.hpp"

namespace homeostat {

Result<Embeddings> ask_provider(const Settings& settings, const ProviderSpec& provider, const std::string& model,
                                std::uint32_t dimensions, const std::vector<std::string>& texts, TextRole role);

}  // namespace homeostat
