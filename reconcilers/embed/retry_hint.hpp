// How long the other side wants to be left alone, where it says so in words rather than in a header. Pure; safe from any thread.
#pragma once

#include <optional>
#include <string_view>

namespace homeostat {

// Seconds of "20", "1.5", "6m0s", "20ms", "1h2m": as headers and protobuf durations have them; garbage is absent.
std::optional<double> seconds_of(std::string_view text);

// The longest of the waits that a message in lower case asks for: "try again in 20s", "retry after 9 seconds", "please wait 1
// minute and 30 seconds". Absent where it asks for none.
std::optional<double> seconds_in_words(std::string_view lower);

}  // namespace homeostat
