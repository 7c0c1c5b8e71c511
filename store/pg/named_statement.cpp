#include "store/pg/named_statement.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "store/pg/session.hpp"

namespace homeostat {

namespace {

bool in_name(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; }

}  // namespace

NamedStatement::NamedStatement(std::string name, std::string_view text) : statement_{std::move(name), ""} {
    bool quoted = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\'') quoted = !quoted;
        const bool begins = !quoted && text[i] == ':' && (i == 0 || text[i - 1] != ':') && i + 1 < text.size() &&
                            text[i + 1] >= 'a' && text[i + 1] <= 'z';
        if (!begins) {
            statement_.sql += text[i];
            continue;
        }
        const auto end = std::find_if_not(text.begin() + static_cast<std::ptrdiff_t>(i) + 1, text.end(), in_name);
        const std::string parameter(text.begin() + static_cast<std::ptrdiff_t>(i) + 1, end);
        auto known = std::find(names_.begin(), names_.end(), parameter);
        if (known == names_.end()) known = names_.insert(names_.end(), parameter);
        statement_.sql += fmt::format("${}", known - names_.begin() + 1);
        i += parameter.size();
    }
}

Params NamedStatement::with(std::initializer_list<NamedValue> values) const {
    for (const NamedValue& v : values) {
        if (std::find(names_.begin(), names_.end(), v.name) == names_.end())
            throw StoreFailure(internal_error(fmt::format("statement {} has no parameter \"{}\"", statement_.name, v.name)));
    }
    Params params;
    for (const std::string& name : names_) {
        const auto found = std::find_if(values.begin(), values.end(), [&](const NamedValue& v) { return v.name == name; });
        if (found == values.end())
            throw StoreFailure(
                internal_error(fmt::format("statement {}: its parameter \"{}\" was given no value", statement_.name, name)));
        params.add_value(found->value);
    }
    return params;
}

}  // namespace homeostat
