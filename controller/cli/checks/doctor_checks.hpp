// What `doctor` looks at, one function a subject. Each says what it found, in the order looked at, with the fix for what is
// wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "controller/config/config.hpp"
#include "reconcilers/embed/sandbox.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

enum class CheckHealth : std::uint8_t { ok, warn, fail };
std::string_view to_string(CheckHealth h) noexcept;

struct Check {
    CheckHealth health = CheckHealth::ok;
    std::string subject;  // connection, extension, provider local ...
    std::string said;
    std::string fix{};    // a command or a sentence; "" where nothing is to be done
};
using Checks = std::vector<Check>;

// Connection, version, latency, clock, connections, extension, what holds back vacuum.
Checks check_server(Session& session, const Settings& settings);
// Schema against this binary. Nothing below can be asked where it fails.
Check check_schema(Session& session);
Checks check_rights(Session& session);
// Who has locked what is declared for more than a moment. `readable`: what is asked below would not wait for him.
Checks check_locks(Session& session, bool& readable);
// Each program that is registered, or that a pipeline names as its chunker, is started and asked to cut one short text.
Checks check_chunkers(Session& session, const Settings& settings);
// The same without starting any: only what is not registered here.
Checks check_registered_chunkers(Session& session, const Settings& settings);
// Of what homeostat made in the database.
Checks check_owners(Session& session);
Checks check_sources(Session& session);
// The logins that only read; nothing where none is set.
Checks check_reader_logins(Session& session);
// Each provider answers one text with vectors of the right width.
Checks check_providers(Session& session, const Settings& settings);
// Whether programs can be caged here, and how well; nothing where no provider is one.
Checks check_sandbox(Session& session);
Check judge_sandbox(const SandboxReport& report);
Check check_notifications(const ConnectOptions& options);
// The limit of the control group or the machine, against what this configuration may need.
Check check_memory(const Settings& settings, bool local_model);
bool uses_local_model(Session& session);
// What the replicas last said of their connections to the database.
Checks check_pools(Session& session);
// The standby on which sweeps observe; nothing where none is named.
Checks check_standby(Session& session, const ConnectOptions& primary, const Settings& settings);
// For `run`, when it starts: asks no provider.
Checks check_start(Session& session, const Settings& settings);

}  // namespace homeostat
