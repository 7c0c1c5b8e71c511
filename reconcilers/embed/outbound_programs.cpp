// The secrets that programs print, as those who send requests meet them.
#include <functional>

#include "reconcilers/embed/credential_program.hpp"
#include "reconcilers/embed/outbound.hpp"
#include "reconcilers/embed/secret.hpp"
#include "reconcilers/embed/secret_source.hpp"

namespace homeostat {

namespace {

const Clock& system_clock() {
    static const SystemClock clock;
    return clock;
}

}  // namespace

Status Outbound::add_program(Bound& bound) {
    if (!is_program_source(bound.source)) return {};
    Result<std::vector<std::string>> command = program_words(bound.source);
    if (!command) return std::move(command).error();
    bound.program = std::make_shared<CredentialProgram>(bound.name, *std::move(command), system_clock());
    return {};
}

std::vector<std::shared_ptr<CredentialProgram>> Outbound::programs(const std::vector<std::string>& references,
                                                                   const Url& to) const {
    std::vector<std::shared_ptr<CredentialProgram>> out;
    for (const std::string& reference : references) {
        const Result<const Bound*> found = bound(reference, to);
        if (found && (*found)->program) out.push_back((*found)->program);
    }
    return out;
}

Result<std::string> Outbound::secret(std::string_view reference, const Url& to) const {
    const Result<const Bound*> found = bound(reference, to);
    if (!found) return found.error();
    if ((*found)->program) return (*found)->program->held();
    return read_secret((*found)->source);
}

std::size_t Outbound::mark(const std::vector<std::string>& references, const Url& to) const {
    std::size_t mark = references.size();
    for (const std::string& reference : references) {
        const Result<const Bound*> found = bound(reference, to);
        std::size_t one = 1;
        if (found && (*found)->program) {
            (*found)->program->look();
            one = (*found)->program->mark();
        } else if (const Result<std::string> secret = this->secret(reference, to)) {
            one = std::hash<std::string>{}(*secret);
        }
        mark = mark * 1'099'511'628'211U + one;
    }
    return mark == 0 ? 1 : mark;
}

boost::asio::awaitable<void> Outbound::ready(const std::vector<std::string>& references, const Url& to, SteadyTime deadline,
                                             std::stop_token stop) const {
    const std::vector<std::shared_ptr<CredentialProgram>> all = programs(references, to);
    for (const auto& program : all) co_await program->ready(deadline, stop);
}

bool Outbound::refused(const std::vector<std::string>& references, const Url& to, std::size_t sent) const {
    const std::vector<std::shared_ptr<CredentialProgram>> all = programs(references, to);
    if (all.empty()) return false;
    // Another request was refused before, and there is another secret by now.
    if (mark(references, to) != sent) return true;
    for (const auto& program : all) {
        if (const Result<std::string> held = program->held()) program->refused(*held);
    }
    return true;
}

void Outbound::accepted(const std::vector<std::string>& references, const Url& to) const {
    for (const auto& program : programs(references, to)) program->accepted();
}

}  // namespace homeostat
