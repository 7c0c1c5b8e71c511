// A statement whose parameters have names, for those that take more than a handful: ":uid::bigint" instead of "$1::bigint".
//
// with() gives each its value in any order. A name that the text does not have, or has and is not given, throws StoreFailure: it
// is a mistake of ours, which the first call finds. A colon inside quotes or before another one is no name.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "store/pg/params.hpp"

namespace homeostat {

struct NamedValue {
    template <class T>
    NamedValue(std::string_view n, const T& v) : name(n), value(Params::of(v).values().front()) {}
    // In PostgreSQL's binary format of the parameter's type.
    NamedValue(std::string_view n, std::vector<std::byte> bytes) : name(n), value(std::move(bytes)) {}

    std::string_view name;
    Params::Value value;
};

class NamedStatement {
public:
    NamedStatement(std::string name, std::string_view text);

    const Statement& statement() const noexcept { return statement_; }
    Params with(std::initializer_list<NamedValue> values) const;

private:
    Statement statement_;
    std::vector<std::string> names_;  // of $1, $2, ...
};

}  // namespace homeostat
