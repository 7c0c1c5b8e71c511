#include "reconcilers/embed/exec_protocol.hpp"

#include <fmt/core.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <optional>

#include "reconcilers/embed/http_error.hpp"
#include "reconcilers/embed/request_text.hpp"

namespace homeostat {

namespace {

namespace od = simdjson::ondemand;

constexpr std::size_t kMaxAnswerBytes = 64U << 20U;
constexpr std::size_t kMaxQuoted = 120;

constexpr std::array<std::string_view, 4> kRefusals{"content", "too_large", "throttled", "transient"};

Error bad(std::string message, std::string code = "answer") {
    return {.cls = ErrorClass::bad_answer, .message = std::move(message), .origin = Origin::theirs, .code = std::move(code)};
}

template <class T, class U>
bool read(T from, U& to) {
    return std::move(from).get(to) == simdjson::SUCCESS;
}

struct Refusal {
    std::string cls;
    std::string message;
    std::optional<double> retry_after_ms;
};

std::chrono::milliseconds bounded(double wait) {
    const double within =
        std::clamp(wait, static_cast<double>(kMinRetryAfter.count()), static_cast<double>(kMaxRetryAfter.count()));
    return std::chrono::milliseconds(static_cast<std::int64_t>(within));
}

class Reader {
public:
    Reader(std::size_t expected, std::uint32_t dimensions) : expected_(expected) {
        out.dimensions = dimensions;
        out.values.reserve(expected * dimensions);
    }

    Status document(od::object object) {
        for (auto field : object) {
            std::string_view key;
            od::value value;
            if (!read(field.unescaped_key(), key) || !read(field.value(), value)) return not_json();
            if (auto s = member(key, value); !s) return s;
        }
        return {};
    }

    static Error not_json() { return bad("the line is no JSON object"); }

    Embeddings out;
    std::optional<std::uint64_t> id;
    std::optional<Refusal> refusal;
    bool has_vectors = false;

private:
    Status member(std::string_view key, od::value value) {
        if (key == "id") {
            std::uint64_t n = 0;
            if (!read(value.get_uint64(), n)) return bad("the \"id\" of the answer is no whole number");
            id = n;
        } else if (key == "tokens") {
            if (!read(value.get_uint64(), out.tokens)) return bad("the \"tokens\" of the answer are no whole number");
        } else if (key == "vectors") {
            return vectors(value);
        } else if (key == "error") {
            return error(value);
        }
        return {};
    }

    Status vectors(od::value value) {
        od::array rows;
        if (has_vectors || !read(value.get_array(), rows)) return bad("the \"vectors\" of the answer are no list");
        has_vectors = true;
        std::size_t at = 0;
        for (auto row : rows) {
            od::array numbers;
            if (!read(row.get_array(), numbers)) return bad(fmt::format("vector {} is no list of numbers", at));
            if (at == expected_)
                return bad(fmt::format("the answer has more vectors than the {} texts sent", expected_), bad_answer::kCount);
            if (auto s = vector(numbers, at); !s) return s;
            ++at;
        }
        if (at == expected_) return {};
        return bad(fmt::format("the answer has {} vectors, {} texts were sent", at, expected_), bad_answer::kCount);
    }

    Status vector(od::array numbers, std::size_t at) {
        const std::size_t before = out.values.size();
        for (auto number : numbers) {
            double v = 0;
            if (!read(number.get_double(), v)) return bad(fmt::format("vector {} holds what is no number", at));
            // No more than there is room for: the rest is only counted by those who read the message.
            if (out.values.size() - before == out.dimensions) {
                return bad(fmt::format("vector {} has more than the {} numbers declared", at, out.dimensions),
                           bad_answer::kWidth);
            }
            out.values.push_back(static_cast<float>(v));
        }
        const std::size_t width = out.values.size() - before;
        if (width == out.dimensions) return {};
        return bad(fmt::format("vector {} has {} numbers, {} were declared", at, width, out.dimensions), bad_answer::kWidth);
    }

    Status error(od::value value) {
        od::object object;
        if (!read(value.get_object(), object)) return bad("the \"error\" of the answer is no object");
        Refusal found;
        for (auto field : object) {
            std::string_view key;
            std::string_view text;
            od::value part;
            if (!read(field.unescaped_key(), key) || !read(field.value(), part)) return not_json();
            if (key == "class" && read(part.get_string(), text)) found.cls = text;
            if (key == "message" && read(part.get_string(), text)) found.message = text;
            double wait = 0;
            if (key == "retry_after_ms" && read(part.get_double(), wait)) found.retry_after_ms = wait;
        }
        refusal = std::move(found);
        return {};
    }

    std::size_t expected_;
};

}  // namespace

Error exec_refusal(std::string_view cls, std::string_view message, std::optional<double> retry_after_ms) {
    if (std::find(kRefusals.begin(), kRefusals.end(), cls) == kRefusals.end()) {
        return bad(fmt::format("the error class {} of the answer is none of content, too_large, throttled, transient{}",
                               quoted_excerpt(cls, kMaxQuoted), did_you_mean(cls, kRefusals)));
    }
    Error e{.cls = error_class_named(cls),
            .message = fmt::format("the program says {}", quoted_excerpt(message)),
            .origin = Origin::theirs,
            .code = std::string(cls),
            .said = std::string(message)};
    if (e.cls == ErrorClass::content) e.origin = Origin::user;
    if (retry_after_ms) e.retry_after = bounded(*retry_after_ms);
    return e;
}

std::string exec_request_tail(std::string_view model, std::uint32_t dimensions, TextRole role, std::string_view prefix,
                              const std::vector<std::string>& texts) {
    std::string out = ",\"model\":";
    append_json_string(out, model);
    out +=
        fmt::format(",\"dimensions\":{},\"role\":\"{}\",\"texts\":", dimensions, role == TextRole::query ? "query" : "document");
    append_json_texts(out, prefix, texts);
    out += "}\n";
    return out;
}

std::string exec_request_line(std::uint64_t id, std::string_view tail) {
    std::string out = fmt::format("{{\"id\":{}", id);
    out += tail;
    return out;
}

std::size_t exec_answer_limit(std::size_t texts, std::uint32_t dimensions) noexcept {
    // A double in full has 24 characters; a comma, a blank, and some for those who indent.
    constexpr std::size_t kNumber = 32;
    constexpr std::size_t kRest = 64 * 1024;
    return std::min(kRest + texts * (dimensions * kNumber + kNumber), kMaxAnswerBytes);
}

Result<Embeddings> parse_exec_answer(std::string line, std::uint64_t id, std::string_view model, std::size_t expected_count,
                                     std::uint32_t dimensions) {
    const std::string beginning = quoted_excerpt(std::string_view(line).substr(0, kMaxQuoted + 1), kMaxQuoted);
    const auto breach = [&](const Error& e) { return bad(fmt::format("{}: {}", e.message, beginning), e.code); };
    line.reserve(line.size() + simdjson::SIMDJSON_PADDING);
    od::parser parser;
    od::document document;
    od::object object;
    const simdjson::padded_string_view text(line.data(), line.size(), line.capacity());
    if (!read(parser.iterate(text), document) || !read(document.get_object(), object)) return breach(Reader::not_json());
    Reader reader(expected_count, dimensions);
    if (auto s = reader.document(object); !s) return breach(s.error());
    const char* rest = nullptr;
    if (read(document.current_location(), rest)) return breach(bad("something follows the JSON object"));
    if (!reader.id) return breach(bad("the answer has no \"id\""));
    if (*reader.id != id) return breach(bad(fmt::format("request {} was asked, {} answered", id, *reader.id)));
    if (const auto& r = reader.refusal) return exec_refusal(r->cls, r->message, r->retry_after_ms);
    if (!reader.has_vectors) return breach(bad("the answer has neither \"vectors\" nor an \"error\""));
    reader.out.model = model;
    if (auto valid = validate_embeddings(reader.out, expected_count, dimensions); !valid) return std::move(valid).error();
    return std::move(reader.out);
}

}  // namespace homeostat
