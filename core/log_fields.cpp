#include "core/log_fields.hpp"

#include <algorithm>

namespace homeostat {

namespace {

thread_local const LogFields* innermost = nullptr;

}  // namespace

LogFields::LogFields(std::initializer_list<LogField> fields) : outer_(std::exchange(innermost, this)) {
    for (const LogField& field : fields) {
        if (!field.second.empty()) fields_.push_back(field);
    }
}

LogFields::~LogFields() { innermost = outer_; }

std::vector<LogField> LogFields::here() {
    std::vector<const LogFields*> nest;
    for (const LogFields* at = innermost; at != nullptr; at = at->outer_) nest.push_back(at);
    std::vector<LogField> out;
    for (auto at = nest.rbegin(); at != nest.rend(); ++at) {
        for (const LogField& field : (*at)->fields_) {
            const auto known = std::find_if(out.begin(), out.end(), [&](const LogField& f) { return f.first == field.first; });
            known == out.end() ? void(out.push_back(field)) : void(*known = field);
        }
    }
    return out;
}

}  // namespace homeostat
