#include "reconcilers/embed/exec_chunk_protocol.hpp"

#include <fmt/core.h>
#include <simdjson.h>

#include <algorithm>

#include "core/outside_text.hpp"
#include "reconcilers/embed/exec_protocol.hpp"
#include "reconcilers/embed/request_text.hpp"

namespace homeostat {

namespace {

namespace od = simdjson::ondemand;

constexpr std::size_t kMaxAnswerBytes = 64U << 20U;
constexpr std::size_t kMaxQuoted = 120;
// Of what becomes of a text, for each byte of it: what the memory budget reckons with.
constexpr std::uint64_t kMostTimes = 8;
constexpr std::uint64_t kMostBeside = 64U << 10U;

Error bad(std::string message) {
    return {.cls = ErrorClass::bad_answer, .message = std::move(message), .origin = Origin::theirs, .code = "answer"};
}

Error not_json() { return bad("the line is no JSON object"); }

template <class T, class U>
bool read(T from, U& to) {
    return std::move(from).get(to) == simdjson::SUCCESS;
}

bool inside_letter(std::string_view text, std::uint64_t at) {
    return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U;
}

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos; }

// Class bad_answer where it is none.
Error refusal(od::object object) {
    std::string cls;
    std::string message;
    std::optional<double> wait;
    for (auto field : object) {
        std::string_view key;
        std::string_view text;
        od::value part;
        if (!read(field.unescaped_key(), key) || !read(field.value(), part)) return not_json();
        double number = 0;
        if (key == "class" && read(part.get_string(), text)) cls = text;
        if (key == "message" && read(part.get_string(), text)) message = text;
        if (key == "retry_after_ms" && read(part.get_double(), number)) wait = number;
    }
    return exec_refusal(cls, message, wait);
}

// The list of one text.
class TextReader {
public:
    TextReader(std::string_view text, std::size_t number) : text_(text), number_(number) {}

    Result<CutText> read_value(od::value value) {
        od::json_type type{};
        if (!read(value.type(), type)) return not_json();
        if (type == od::json_type::object) return refused(value);
        od::array list;
        if (!read(value.get_array(), list)) return wrong("has neither a list of chunks nor an \"error\"");
        CutText out;
        for (auto item : list) {
            od::object object;
            if (!read(item.get_object(), object)) return wrong(fmt::format("chunk {} is no object", out.chunks.size()));
            if (out.chunks.size() == kMostChunks) return wrong(fmt::format("has more than {} chunks", kMostChunks));
            Result<ProgramChunk> chunk = one(object, out.chunks.size());
            if (!chunk) return std::move(chunk).error();
            if (auto fits = check(*chunk, out.chunks); !fits) return std::move(fits).error();
            out.chunks.push_back(*std::move(chunk));
        }
        return out;
    }

private:
    Error wrong(std::string_view what) const { return bad(fmt::format("document {} {}", number_, what)); }

    // Of the classes only content is said of one document: the others are said of a request.
    Result<CutText> refused(od::value value) const {
        od::object object;
        CutText out;
        if (!read(value.get_object(), object)) return not_json();
        for (auto field : object) {
            std::string_view key;
            od::value part;
            od::object error;
            if (!read(field.unescaped_key(), key) || !read(field.value(), part)) return not_json();
            if (key != "error") continue;
            if (!read(part.get_object(), error)) return wrong("has an \"error\" that is no object");
            Error found = refusal(error);
            if (found.cls == ErrorClass::bad_answer) return found;
            if (found.cls != ErrorClass::content) return wrong("is refused with a class other than content");
            out.refused = std::move(found);
        }
        if (!out.refused) return wrong("has neither a list of chunks nor an \"error\"");
        return out;
    }

    Result<ProgramChunk> one(od::object object, std::size_t at) const {
        ProgramChunk chunk;
        bool starts = false;
        bool ends = false;
        for (auto field : object) {
            std::string_view key;
            std::string_view text;
            od::value part;
            if (!read(field.unescaped_key(), key) || !read(field.value(), part)) return not_json();
            if (key == "start") {
                starts = read(part.get_uint64(), chunk.start);
            } else if (key == "end") {
                ends = read(part.get_uint64(), chunk.end);
            } else if (key == "context") {
                if (!read(part.get_string(), text)) return wrong(fmt::format("chunk {} has a context that is no text", at));
                if (text != visible_text(text, kMostContext)) {
                    return wrong(fmt::format("chunk {} has a context that is no line of at most {} letters", at, kMostContext));
                }
                chunk.context = text;
            }
        }
        if (!starts || !ends) return wrong(fmt::format("chunk {} has no \"start\" and \"end\" that are whole numbers", at));
        return chunk;
    }

    Status check(const ProgramChunk& chunk, const std::vector<ProgramChunk>& before) {
        const auto amiss = [&](std::string_view what) {
            return wrong(
                fmt::format("chunk {} ({} to {} of {} bytes) {}", before.size(), chunk.start, chunk.end, text_.size(), what));
        };
        if (chunk.end > text_.size()) return amiss("ends outside the document");
        if (chunk.start >= chunk.end) return amiss("is empty");
        if (inside_letter(text_, chunk.start)) return amiss("begins inside a letter: offsets count bytes of UTF-8");
        if (inside_letter(text_, chunk.end)) return amiss("ends inside a letter: offsets count bytes of UTF-8");
        if (is_blank(text_.substr(chunk.start, chunk.end - chunk.start))) return amiss("is white space only");
        if (!before.empty()) {
            const ProgramChunk& last = before.back();
            if (chunk.start < last.start) return amiss("begins before the one before it");
            if (chunk.start == last.start && chunk.end == last.end) return amiss("is the one before it again");
        }
        bytes_ += chunk.end - chunk.start + chunk.context.size();
        if (bytes_ > text_.size() * kMostTimes + kMostBeside) {
            return amiss(fmt::format("is one too many: together they are more than {} times the document", kMostTimes));
        }
        return {};
    }

    std::string_view text_;
    std::size_t number_;
    std::uint64_t bytes_ = 0;  // of chunks and contexts
};

class Reader {
public:
    explicit Reader(const std::vector<std::string_view>& texts) : texts_(texts) {}

    Status document(od::object object) {
        for (auto field : object) {
            std::string_view key;
            od::value value;
            if (!read(field.unescaped_key(), key) || !read(field.value(), value)) return not_json();
            if (auto s = member(key, value); !s) return s;
        }
        return {};
    }

    std::optional<std::uint64_t> id;
    std::optional<Error> refused;
    std::optional<std::vector<CutText>> out;

private:
    Status member(std::string_view key, od::value value) {
        if (key == "id") {
            std::uint64_t n = 0;
            if (!read(value.get_uint64(), n)) return bad("the \"id\" of the answer is no whole number");
            id = n;
        } else if (key == "error") {
            od::object object;
            if (!read(value.get_object(), object)) return bad("the \"error\" of the answer is no object");
            Error found = refusal(object);
            if (found.cls == ErrorClass::bad_answer) return found;
            refused = std::move(found);
        } else if (key == "chunks") {
            return chunks(value);
        }
        return {};
    }

    Status chunks(od::value value) {
        od::array lists;
        if (out || !read(value.get_array(), lists)) return bad("the \"chunks\" of the answer are no list");
        out.emplace();
        for (auto item : lists) {
            od::value list;
            if (!read(item, list)) return not_json();
            if (out->size() == texts_.size())
                return bad(fmt::format("the answer has more lists of chunks than the {} documents sent", texts_.size()));
            Result<CutText> cut = TextReader(texts_[out->size()], out->size()).read_value(list);
            if (!cut) return std::move(cut).error();
            out->push_back(*std::move(cut));
        }
        if (out->size() == texts_.size()) return {};
        return bad(fmt::format("the answer has {} lists of chunks, {} documents were sent", out->size(), texts_.size()));
    }

    const std::vector<std::string_view>& texts_;
};

}  // namespace

std::string chunk_request_tail(const CutRules& rules, const std::vector<std::string_view>& texts) {
    std::string out = fmt::format(",\"op\":\"chunk\",\"size\":{},\"overlap\":{},\"unit\":", rules.size, rules.overlap);
    append_json_string(out, rules.unit);
    out += ",\"documents\":[";
    for (const std::string_view text : texts) {
        if (out.back() != '[') out += ',';
        append_json_string(out, text);
    }
    out += "]}\n";
    return out;
}

std::size_t chunk_answer_limit(const std::vector<std::string_view>& texts) noexcept {
    // The names of the members and two numbers have about a hundred characters; contexts are counted in what is allowed beside.
    constexpr std::size_t kChunk = 128;
    std::size_t bytes = 64 * 1024;
    for (const std::string_view text : texts)
        bytes += std::min(text.size(), kMostChunks) * kChunk + text.size() * kMostTimes + kMostBeside;
    return std::min(bytes, kMaxAnswerBytes);
}

Result<std::vector<CutText>> parse_chunk_answer(std::string line, std::uint64_t id, const std::vector<std::string_view>& texts) {
    const std::string beginning = quoted_excerpt(std::string_view(line).substr(0, kMaxQuoted + 1), kMaxQuoted);
    const auto breach = [&](const Error& e) { return bad(fmt::format("{}: {}", e.message, beginning)); };
    line.reserve(line.size() + simdjson::SIMDJSON_PADDING);
    od::parser parser;
    od::document document;
    od::object object;
    const simdjson::padded_string_view text(line.data(), line.size(), line.capacity());
    if (!read(parser.iterate(text), document) || !read(document.get_object(), object)) return breach(not_json());
    Reader reader(texts);
    if (auto s = reader.document(object); !s) return breach(s.error());
    const char* rest = nullptr;
    if (read(document.current_location(), rest)) return breach(bad("something follows the JSON object"));
    if (!reader.id) return breach(bad("the answer has no \"id\""));
    if (*reader.id != id) return breach(bad(fmt::format("request {} was asked, {} answered", id, *reader.id)));
    if (reader.refused) return *reader.refused;
    if (!reader.out) return breach(bad("the answer has neither \"chunks\" nor an \"error\""));
    return *std::move(reader.out);
}

}  // namespace homeostat
