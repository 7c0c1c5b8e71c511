// Base64 (RFC 4648, padded) into and out of plain memory: the form in which vectors travel. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace homeostat {

// How many bytes the text stands for, judged by its length and padding alone.
std::size_t base64_decoded_size(std::string_view text) noexcept;

// Writes base64_decoded_size(text) bytes to `out`; false where the text is not base64 (then `out` holds anything). Padding may be
// left out. `out` must be that large.
bool base64_decode(std::string_view text, std::byte* out) noexcept;

// Decodes little-endian float32 values; false unless the text stands for exactly `out.size()` of them.
bool base64_decode_floats(std::string_view text, std::span<float> out) noexcept;

void base64_append(std::string& out, std::span<const std::byte> bytes);

}  // namespace homeostat
