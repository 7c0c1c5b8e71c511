// The chunkers that are programs, as the settings register them (`chunkers`). Pure but for what makes them; any thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "controller/config/config.hpp"
#include "controller/config/config_yaml.hpp"
#include "core/clock.hpp"
#include "core/resource.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/embed/exec_chunker.hpp"
#include "reconcilers/factory/chunk_programs.hpp"

namespace homeostat {

// {NAME: {command: [A, B], timeout: 30s, memory: 512MiB, copies: 4}} as "NAME timeout=30s memory=512MiB copies=4 A B; ...".
Result<std::string> chunkers_line(const YamlNode& node);
// "NAME [timeout=T] [memory=S] [copies=N] PROGRAM ARGUMENT...; ..."; the program is an absolute path.
Result<std::vector<ChunkerProgram>> read_chunkers(std::string_view line);

// Those of the settings, which have been checked when they were loaded.
std::vector<ChunkerProgram> registered_chunkers(const Settings& settings);
// What the chunkers refer to outlives them.
ChunkPrograms::Maker make_chunker_maker(const Settings& settings, boost::asio::any_io_executor io, const Clock& clock,
                                        Telemetry telemetry);

}  // namespace homeostat
