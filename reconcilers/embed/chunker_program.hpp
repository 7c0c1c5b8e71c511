// A chunker that is a program, as the operator registers it in the settings. A plain record.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace homeostat {

struct ChunkerProgram {
    std::string name;
    std::vector<std::string> command;  // the absolute path first
    std::chrono::milliseconds timeout{30'000};  // of one request
    std::uint32_t memory_mb = 512;  // each
    std::uint32_t copies = 4;  // so many may run
};

}  // namespace homeostat
