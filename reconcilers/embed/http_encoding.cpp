#include "reconcilers/embed/http_encoding.hpp"

#include <brotli/decode.h>
#include <fmt/core.h>
#include <zlib.h>

#include <algorithm>
#include <memory>

#include "reconcilers/embed/request_text.hpp"

namespace homeostat {

namespace {

constexpr std::size_t kFirst = 64UL * 1024;

Error bad(std::string message) {
    return {.cls = ErrorClass::bad_answer, .message = std::move(message), .origin = Origin::theirs, .code = "encoding"};
}

Error larger(std::size_t most) { return bad(fmt::format("unpacked it is larger than the {} bytes we accept", most)); }

// Twice the room, but no more than may be filled; false where it is full.
bool grow(std::string& out, std::size_t most) {
    if (out.size() >= most) return false;
    out.resize(std::min(most, std::max(kFirst, out.size() * 2)));
    return true;
}

// A gzip file may have several, which are to be put together.
bool begins_member(const z_stream& z) { return z.avail_in >= 2 && z.next_in[0] == 0x1f && z.next_in[1] == 0x8b; }

// With 32 added zlib and gzip heads are both understood; what some servers call deflate has neither.
Result<std::string> unpack_zlib(const std::string& body, int window_bits, std::size_t most) {
    z_stream z{};
    const bool members = window_bits > MAX_WBITS;
    if (inflateInit2(&z, window_bits) != Z_OK) return internal_error("zlib cannot be used");
    const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&z, inflateEnd);
    std::string out;
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));  // NOLINT: zlib only reads it
    z.avail_in = static_cast<uInt>(body.size());
    int done = Z_OK;
    std::size_t before = 0;  // of members that have ended
    while (done == Z_OK) {
        const std::size_t have = before + z.total_out;
        if (have == out.size() && !grow(out, most)) return larger(most);
        z.next_out = reinterpret_cast<Bytef*>(out.data() + have);  // NOLINT: bytes are bytes
        z.avail_out = static_cast<uInt>(out.size() - have);
        done = inflate(&z, Z_NO_FLUSH);
        if (done != Z_STREAM_END || !members || !begins_member(z)) continue;
        before += z.total_out;
        done = inflateReset(&z);
    }
    if (done != Z_STREAM_END) return bad(z.avail_in == 0 ? "its packed body is cut off" : "its packed body is damaged");
    out.resize(before + z.total_out);
    return out;
}

Result<std::string> unpack_deflate(const std::string& body, std::size_t most) {
    Result<std::string> out = unpack_zlib(body, MAX_WBITS + 32, most);
    return out ? std::move(out) : unpack_zlib(body, -MAX_WBITS, most);
}

Result<std::string> unpack_br(const std::string& body, std::size_t most) {
    const std::unique_ptr<BrotliDecoderState, void (*)(BrotliDecoderState*)> state(
        BrotliDecoderCreateInstance(nullptr, nullptr, nullptr), BrotliDecoderDestroyInstance);
    std::size_t left = body.size();
    const auto* in = reinterpret_cast<const std::uint8_t*>(body.data());  // NOLINT: bytes are bytes
    std::string out;
    std::size_t have = 0;
    for (;;) {
        if (have == out.size() && !grow(out, most)) return larger(most);
        std::size_t room = out.size() - have;
        auto* to = reinterpret_cast<std::uint8_t*>(out.data() + have);  // NOLINT: bytes are bytes
        const BrotliDecoderResult done = BrotliDecoderDecompressStream(state.get(), &left, &in, &room, &to, nullptr);
        have = out.size() - room;
        if (done == BROTLI_DECODER_RESULT_SUCCESS) break;
        if (done == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT) return bad("its packed body is cut off");
        if (done == BROTLI_DECODER_RESULT_ERROR) return bad("its packed body is damaged");
    }
    out.resize(have);
    return out;
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return out;
}

}  // namespace

Result<std::string> unpack(std::string body, std::string_view encoding, std::size_t most) {
    while (!encoding.empty()) {
        const std::size_t comma = encoding.rfind(',');
        std::string_view last = comma == std::string_view::npos ? encoding : encoding.substr(comma + 1);
        encoding = comma == std::string_view::npos ? std::string_view() : encoding.substr(0, comma);
        while (last.starts_with(' ')) last.remove_prefix(1);
        while (last.ends_with(' ')) last.remove_suffix(1);
        const std::string name = lower(last);
        if (name.empty() || name == "identity") continue;
        Result<std::string> out = name == "gzip" || name == "x-gzip" ? unpack_zlib(body, MAX_WBITS + 32, most)
                                  : name == "deflate"                ? unpack_deflate(body, most)
                                  : name == "br"
                                      ? unpack_br(body, most)
                                      : Result<std::string>(bad(fmt::format(
                                            "it is packed as \"{}\", which nobody asked for; gzip, deflate and br are understood",
                                            clean_excerpt(name, 40))));
        if (!out) return out;
        body = *std::move(out);
    }
    return body;
}

}  // namespace homeostat
