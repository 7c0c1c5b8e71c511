// What programs of exec providers the operator lets be started, what those may read, and which variables they may be given
// (settings exec.allow, exec.read, exec.environment). Whoever declares a provider writes none of it. Immutable; safe from any
// thread.
#pragma once

#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/resource.hpp"

namespace homeostat {

struct ExecRules {
    std::vector<std::string> allow;        // programs, and folders of programs; absolute
    std::vector<std::string> read;         // files and folders; absolute. "/" lets it read whatever its user may
    std::vector<std::string> environment;  // names of variables

    bool reads_all() const;
    // The program itself, past every link and "..", where it is allowed; else a sentence that says what to write in the settings.
    // A shell or interpreter, which does whatever its arguments say, is allowed by name only, not by its folder.
    Result<std::string> program(const ProviderSpec& provider) const;
    Status variables(const ProviderSpec& provider) const;
    // What a program at that path needs in order to be loaded, and what is listed.
    std::vector<std::string> readable(const std::string& program) const;
};

}  // namespace homeostat
