// A statement and the values for its parameters. Plain values, which own what they carry: what is sent later needs it still.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

namespace homeostat {

// Values for $1, $2, ... Text unless made by bytes(), whose type the server infers from the statement's cast.
class Params {
public:
    Params() = default;
    template <class... T>
    static Params of(T&&... values) {
        Params p;
        (p.add(std::forward<T>(values)), ...);
        return p;
    }

    Params& add(std::nullptr_t) { return values_.emplace_back(std::monostate{}), *this; }
    Params& add(std::string_view text) { return values_.emplace_back(std::string(text)), *this; }
    Params& add(const char* text) { return add(std::string_view(text)); }
    Params& add(const std::string& text) { return add(std::string_view(text)); }
    Params& add(bool b) { return add(std::string_view(b ? "t" : "f")); }
    template <class I>
        requires std::is_integral_v<I>
    Params& add(I i) {
        return values_.emplace_back(std::to_string(i)), *this;
    }
    Params& add(double d);
    template <class T>
    Params& add(const std::optional<T>& v) {
        return v ? add(*v) : add(nullptr);
    }
    // PostgreSQL's binary format of the parameter's type (see store/pg/arrays.hpp).
    Params& bytes(std::vector<std::byte> data) { return values_.emplace_back(std::move(data)), *this; }

    using Value = std::variant<std::monostate, std::string, std::vector<std::byte>>;
    Params& add_value(Value value) { return values_.push_back(std::move(value)), *this; }
    const std::vector<Value>& values() const noexcept { return values_; }

private:
    std::vector<Value> values_;
};

// A statement and the name it is prepared under; the same name with other text is prepared again. Without a name it never is.
struct Statement {
    std::string name;
    std::string sql;
};

}  // namespace homeostat
