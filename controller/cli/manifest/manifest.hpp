// Manifests: YAML files of declared objects, in the shape that Kubernetes users know (apiVersion, kind, metadata, spec). Read and
// checked as a whole before anything is written. Pure but for reading files; safe from any thread.
#pragma once

#include <istream>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "store/control/resources.hpp"

namespace homeostat {

struct Manifest {
    DeclaredObject object;
    std::vector<std::string> depends_on;
    std::string origin;  // FILE:LINE
};

// The objects of one file. Every fault found is a line of the message.
Result<std::vector<Manifest>> read_manifest(std::string_view text, std::string_view file);

// Of files, directories (their .yaml, .yml and .json files but JSON schemas, by name; `recursive`: those of the directories below
// too) and "-" for `in`, in the order in which they can be applied.
Result<std::vector<Manifest>> read_manifests(const std::vector<std::string>& paths, std::istream& in, bool recursive = false);

// Providers first, pipelines after those they depend on, target views last, else as given. Refused: the same object twice, and
// circles.
Result<std::vector<Manifest>> in_order(std::vector<Manifest> manifests);

}  // namespace homeostat
