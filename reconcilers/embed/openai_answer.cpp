#include "reconcilers/embed/openai_answer.hpp"

#include <fmt/core.h>
#include <simdjson.h>

#include <algorithm>
#include <cctype>

#include "reconcilers/embed/base64.hpp"
#include "reconcilers/embed/request_text.hpp"

namespace homeostat {

namespace {

namespace od = simdjson::ondemand;

Error bad(std::string message, const char* code = "answer") {
    return {.cls = ErrorClass::bad_answer, .message = std::move(message), .origin = Origin::theirs, .code = code};
}

constexpr const char* kOtherShape = "shape";

Error other_shape(std::string message) {
    Error e = bad(std::move(message));
    e.code = kOtherShape;
    return e;
}

Status wrong_width(std::size_t at, std::size_t has, std::uint32_t wanted) {
    return bad(fmt::format("vector {} of the answer has {} numbers, {} were declared", at, has, wanted), bad_answer::kWidth);
}

Status read_numbers(od::array numbers, std::size_t at, std::span<float> row) {
    std::size_t n = 0;
    for (auto number : numbers) {
        double v = 0;
        if (number.get_double().get(v) != simdjson::SUCCESS) return bad(fmt::format("vector {} holds what is no number", at));
        if (n < row.size()) row[n] = static_cast<float>(v);
        ++n;
    }
    if (n != row.size()) return wrong_width(at, n, static_cast<std::uint32_t>(row.size()));
    return {};
}

// As encoders of e-mail write it.
std::string without_breaks(std::string_view text) {
    std::string out(text);
    std::erase_if(out, [](char c) { return c == '\n' || c == '\r' || c == ' ' || c == '\t'; });
    return out;
}

Status read_vector(od::value value, std::size_t at, std::span<float> row) {
    od::json_type type{};
    if (value.type().get(type) != simdjson::SUCCESS) return bad(fmt::format("vector {} is not valid JSON", at));
    if (type == od::json_type::array) {
        od::array numbers;
        if (value.get_array().get(numbers) != simdjson::SUCCESS) return bad(fmt::format("vector {} is not valid JSON", at));
        return read_numbers(numbers, at, row);
    }
    std::string_view text;
    if (type != od::json_type::string || value.get_string().get(text) != simdjson::SUCCESS) {
        return bad(fmt::format("vector {} is neither a list of numbers nor base64", at));
    }
    std::string unbroken;
    if (base64_decoded_size(text) != row.size_bytes() || text.size() > 4 * ((row.size_bytes() + 2) / 3)) {
        unbroken = without_breaks(text);
        text = unbroken;
    }
    const std::size_t bytes = base64_decoded_size(text);
    if (bytes % sizeof(float) != 0) return bad(fmt::format("vector {} is no base64 of whole numbers", at));
    if (bytes != row.size_bytes()) {
        return wrong_width(at, bytes / sizeof(float), static_cast<std::uint32_t>(row.size()));
    }
    if (!base64_decode_floats(text, row)) return bad(fmt::format("vector {} is not valid base64", at));
    return {};
}

// Reads rows in the order they come and remembers where each belongs: "index" may stand before or after the vector.
class Reader {
public:
    Reader(std::size_t expected, std::uint32_t dimensions) : expected_(expected) {
        out_.dimensions = dimensions;
        out_.values.resize(expected * dimensions);
        indices_.reserve(expected);
    }

    Status document(od::object object) {
        for (auto field : object) {
            std::string_view key;
            if (field.unescaped_key().get(key) != simdjson::SUCCESS) return not_json();
            od::value value;
            if (field.value().get(value) != simdjson::SUCCESS) return not_json();
            if (auto s = member(key, value); !s) return s;
        }
        if (!seen_data_) return other_shape("the answer is JSON but has no \"data\"");
        return {};
    }

    Result<Embeddings> finish() && {
        if (indices_.size() != expected_) {
            return bad(fmt::format("the answer has {} vectors, {} texts were sent", indices_.size(), expected_),
                       bad_answer::kCount);
        }
        if (auto s = put_in_order(); !s) return std::move(s).error();
        return std::move(out_);
    }

    static Error not_json() { return other_shape("the answer is not JSON"); }

private:
    Status member(std::string_view key, od::value value) {
        if (key == "data") return data(value);
        if (key == "model") {
            std::string_view name;
            if (value.get_string().get(name) == simdjson::SUCCESS) out_.model = std::string(name);
        } else if (key == "usage") {
            usage(value);
        }
        return {};
    }

    void usage(od::value value) {
        od::object object;
        std::uint64_t total = 0;
        if (value.get_object().get(object) != simdjson::SUCCESS) return;
        for (auto field : object) {
            std::string_view key;
            std::uint64_t n = 0;
            if (field.unescaped_key().get(key) != simdjson::SUCCESS) return;
            if (field.value().get_uint64().get(n) != simdjson::SUCCESS) continue;
            if (key == "prompt_tokens") out_.tokens = n;
            if (key == "total_tokens") total = n;
        }
        if (out_.tokens == 0) out_.tokens = total;
    }

    Status data(od::value value) {
        od::array items;
        if (seen_data_ || value.get_array().get(items) != simdjson::SUCCESS)
            return other_shape("the \"data\" of the answer is no list");
        seen_data_ = true;
        for (auto entry : items) {
            od::object object;
            if (entry.get_object().get(object) != simdjson::SUCCESS) return not_json();
            if (indices_.size() == expected_)
                return bad(fmt::format("the answer has more vectors than the {} texts sent", expected_), bad_answer::kCount);
            if (auto s = item(object); !s) return s;
        }
        return {};
    }

    Status item(od::object object) {
        const std::size_t at = indices_.size();
        std::uint64_t index = at;  // an endpoint that leaves it out answers in order
        bool seen = false;
        for (auto field : object) {
            std::string_view key;
            od::value value;
            if (field.unescaped_key().get(key) != simdjson::SUCCESS || field.value().get(value) != simdjson::SUCCESS)
                return not_json();
            if (key == "embedding") {
                const std::span<float> row(out_.values.data() + at * out_.dimensions, out_.dimensions);
                if (auto s = read_vector(value, at, row); !s) return s;
                seen = true;
            } else if (key == "index" && value.get_uint64().get(index) != simdjson::SUCCESS) {
                return bad(fmt::format("the index of vector {} is no number", at), bad_answer::kOrder);
            }
        }
        if (!seen) return bad(fmt::format("item {} of the answer has no \"embedding\"", at));
        indices_.push_back(index);
        return {};
    }

    Status put_in_order() {
        std::vector<bool> taken(expected_);
        bool in_order = true;
        for (std::size_t i = 0; i < expected_; ++i) {
            const std::uint64_t to = indices_[i];
            if (to >= expected_)
                return bad(fmt::format("the answer has index {}, but only {} texts were sent", to, expected_),
                           bad_answer::kOrder);
            if (taken[to]) return bad(fmt::format("the answer has index {} twice", to), bad_answer::kOrder);
            taken[to] = true;
            in_order = in_order && to == i;
        }
        if (in_order) return {};
        std::vector<float> sorted(out_.values.size());
        for (std::size_t i = 0; i < expected_; ++i) {
            std::copy_n(out_.row(i), out_.dimensions, sorted.data() + indices_[i] * out_.dimensions);
        }
        out_.values = std::move(sorted);
        return {};
    }

    std::size_t expected_;
    Embeddings out_;
    std::vector<std::uint64_t> indices_;
    bool seen_data_ = false;
};

bool same_letter(unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); }

// "-2024-05-13", ":latest", "@001", "-v2", ".1": a date, version or tag, never the name of a sibling ("-large").
bool is_version_suffix(std::string_view text) {
    while (!text.empty()) {
        if (std::string_view("-:@._").find(text.front()) == std::string_view::npos) return false;
        text.remove_prefix(1);
        const std::size_t end = std::min(text.find_first_of("-:@._"), text.size());
        std::string_view word = text.substr(0, end);
        text.remove_prefix(end);
        if (word == "latest" || word == "preview") continue;
        if (word.starts_with('v')) word.remove_prefix(1);
        if (word.empty() || !std::all_of(word.begin(), word.end(), [](unsigned char c) { return std::isdigit(c) != 0; }))
            return false;
    }
    return true;
}

bool extends(std::string_view shorter, std::string_view longer) {
    return longer.size() >= shorter.size() && std::equal(shorter.begin(), shorter.end(), longer.begin(), same_letter) &&
           is_version_suffix(longer.substr(shorter.size()));
}

std::string_view last_segment(std::string_view name) {
    const auto slash = name.rfind('/');
    return slash == std::string_view::npos ? name : name.substr(slash + 1);
}

}  // namespace

namespace {

// Whether every bracket and every string is closed.
bool is_whole(std::string_view text) {
    int open = 0;
    bool quoted = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quoted && c == '\\') ++i;
        if (c == '"') quoted = !quoted;
        if (quoted) continue;
        open += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
    }
    return open <= 0 && !quoted;
}

// Why there is no answer in it: what it is instead, with its first words.
Error what_it_is(std::string_view text, Error found) {
    const auto blank = [](char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; };
    while (!text.empty() && blank(text.back())) text.remove_suffix(1);
    while (!text.empty() && blank(text.front())) text.remove_prefix(1);
    if (text.empty()) return bad("the answer is not JSON: it is empty");
    const std::string words = clean_excerpt(text.substr(0, 2'048));
    if (text.front() == '<') return bad(fmt::format("the answer is not JSON but a page of HTML or XML: \"{}\"", words));
    if (text.front() == '[') return bad(fmt::format("the answer is not JSON as it should be but a list: \"{}\"", words));
    if (text.front() != '{') return bad(fmt::format("the answer is not JSON: \"{}\"", words));
    if (!is_whole(text)) return bad(fmt::format("the answer is cut off after {} bytes: \"{}\"", text.size(), words));
    if (found.code == kOtherShape) found.message += fmt::format(": \"{}\"", words);
    return found;
}

Result<Embeddings> read_answer(std::string& body, std::size_t expected_count, std::uint32_t dimensions) {
    body.reserve(body.size() + simdjson::SIMDJSON_PADDING);
    od::parser parser;
    od::document document;
    od::object object;
    const std::string_view marked = without_mark(body);
    const simdjson::padded_string_view text(marked.data(), marked.size(), body.capacity() - (body.size() - marked.size()));
    if (parser.iterate(text).get(document) != simdjson::SUCCESS || document.get_object().get(object) != simdjson::SUCCESS) {
        return Reader::not_json();
    }
    Reader reader(expected_count, dimensions);
    if (auto s = reader.document(object); !s) return std::move(s).error();
    if (const char* behind = nullptr; document.current_location().get(behind) == simdjson::SUCCESS)
        return other_shape("more than one answer came, and which is meant is not said");
    return std::move(reader).finish();
}

}  // namespace

Result<Embeddings> parse_openai_answer(std::string body, std::size_t expected_count, std::uint32_t dimensions) {
    Result<Embeddings> answer = read_answer(body, expected_count, dimensions);
    if (answer) return answer;
    return what_it_is(without_mark(body), std::move(answer).error());
}

bool same_model_family(std::string_view asked, std::string_view answered) noexcept {
    if (answered.empty()) return true;
    asked = last_segment(asked);
    answered = last_segment(answered);
    return extends(asked, answered) || extends(answered, asked);
}

bool same_model_name(std::string_view before, std::string_view now) noexcept {
    before = last_segment(before);
    now = last_segment(now);
    if (before.size() > now.size()) std::swap(before, now);
    if (!extends(before, now)) return false;
    const std::string_view more = now.substr(before.size());
    const std::size_t digits = more.empty() ? 0 : std::min(more.find_first_not_of("0123456789", 1), more.size()) - 1;
    constexpr std::size_t kYear = 4;
    return more.empty() || digits >= kYear || more.substr(1) == "latest" || more.substr(1) == "preview";
}

}  // namespace homeostat
