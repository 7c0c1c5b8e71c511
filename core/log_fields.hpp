// What a log line is about, beside its sentence: which pipeline, provider, batch, reconcile and trace. JSON lines carry it as
// fields (controller/log.cpp); lines for people name what matters in the sentence.
//
// A LogFields holds for what its own thread logs while it lives, within those that surround it; an inner field of the same name
// covers an outer one. It must not live across a suspension of a coroutine, which may go on in another thread.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace homeostat {

using LogField = std::pair<std::string_view, std::string>;  // the name is constant text

class LogFields {
public:
    LogFields(std::initializer_list<LogField> fields);  // a field without value is left out
    ~LogFields();
    LogFields(const LogFields&) = delete;
    LogFields& operator=(const LogFields&) = delete;

    // Of this thread now, the outermost first, each name once.
    static std::vector<LogField> here();

private:
    std::vector<LogField> fields_;
    const LogFields* outer_;
};

}  // namespace homeostat
