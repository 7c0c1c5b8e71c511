// How a program is started, of an exec provider or of a chunker: by the operator's rules, in a sandbox. Any thread.
#pragma once

#include "core/error.hpp"
#include "core/resource.hpp"
#include "reconcilers/embed/exec.hpp"
#include "reconcilers/embed/exec_pool.hpp"

namespace homeostat {

// What a new program is asked about before it is given documents.
inline constexpr const char* kHarmlessText = "This is a test.";

// An absolute path first, and nothing that no command can hold.
Status check_command(const ProviderSpec& program);

// All of a pool's settings but the probe. Of `program` its name, command, environment, timeout, memory_limit_mb and max_in_flight
// count. Refuses what can be known to be wrong without running anything, as make_exec_embedder() does. Blocks for some
// milliseconds.
Result<ExecPoolSettings> exec_pool_settings(const ProviderSpec& program, const ExecOptions& options);

}  // namespace homeostat
