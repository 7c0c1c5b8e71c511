// The embedder that is an external program: an argv without a shell, in a sandbox (sandbox.hpp), asked over its standard input
// and output (docs/exec-providers.md). It is not trusted: it may hang, die, eat memory or write anything, and this process goes
// on. After three faults in a row it is asked about a harmless text; where it fails at that as well it is quarantined, and every
// request is refused at once until that is over and a probe succeeds. Where it does not, who asks has a text that is at fault.
//
// Safe to call concurrently from any thread; the programs are watched on the executor given, never waited for.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/resource.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/embed/embedder.hpp"
#include "reconcilers/embed/exec_rules.hpp"
#include "reconcilers/embed/quarantine.hpp"

namespace homeostat {

class ExecEmbedder : public Embedder {
public:
    // Why nothing is asked of the program at present, and until when; "" where it is asked. For status.
    virtual std::string quarantine_reason() const = 0;
};

// What tests turn; everybody else gives the rules, and takes the rest as it is.
struct ExecOptions {
    std::chrono::milliseconds idle{60'000};  // after which a program with nothing to do is ended
    bool namespaces = true;                  // where the system allows them
    QuarantineSettings quarantine;
    ExecRules rules;  // without any, no program is started
};

// `model` and `dimensions` are those of the pipeline, already resolved against the provider's defaults. Refuses what can be known
// to be wrong without running anything: no absolute path, no model, no dimensions, a variable that is not set, a machine without
// seccomp, or one that does not limit what the program reads; what the rules do not allow. `clock` and what `telemetry` refers to
// outlive the embedder.
Result<std::unique_ptr<ExecEmbedder>> make_exec_embedder(const ProviderSpec& provider, std::string model,
                                                         std::uint32_t dimensions, const boost::asio::any_io_executor& executor,
                                                         const Clock& clock, Telemetry telemetry,
                                                         const ExecOptions& options = {});

}  // namespace homeostat
